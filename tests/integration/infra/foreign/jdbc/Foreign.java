import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Base64;

/** Reads as the analyst and writes as the owner with the JDBC driver's defaults, and posts with the JDK's own client. */
public class Foreign {
    public static void main(String[] arguments) throws Exception {
        String address = arguments[0];
        try (Connection owner = DriverManager.getConnection("jdbc:clickhouse://" + address + "/tidemark", "default", arguments[1]);
                Statement statement = owner.createStatement()) {
            statement.execute("CREATE OR REPLACE TABLE from_jdbc (a UInt64, b String) ENGINE = MergeTree ORDER BY a");
            try (PreparedStatement insert = owner.prepareStatement("INSERT INTO from_jdbc (a, b) VALUES (?, ?)")) {
                for (int number = 0; number < 1000; number++) {
                    insert.setLong(1, number);
                    insert.setString(2, "it's; " + number);
                    insert.addBatch();
                }
                insert.executeBatch();
            }
        }
        try (Connection analyst = DriverManager.getConnection("jdbc:clickhouse://" + address + "/tidemark", "analyst", arguments[2])) {
            try (Statement statement = analyst.createStatement()) {
                try (ResultSet rows = statement.executeQuery("SELECT count(), max(b) FROM from_jdbc")) {
                    rows.next();
                    System.out.println("read " + rows.getLong(1) + " " + rows.getString(2));
                }
                statement.setMaxRows(10);
                try (ResultSet rows = statement.executeQuery("SELECT a FROM from_jdbc ORDER BY a")) {
                    int count = 0;
                    while (rows.next()) {
                        count++;
                    }
                    System.out.println("limited " + count);
                }
            }
            try (PreparedStatement prepared = analyst.prepareStatement("SELECT b FROM from_jdbc WHERE a = ?")) {
                prepared.setLong(1, 7);
                try (ResultSet rows = prepared.executeQuery()) {
                    rows.next();
                    System.out.println("prepared " + rows.getString(1));
                }
            }
            try (ResultSet tables = analyst.getMetaData().getTables(null, "tidemark", "from_jdbc", null)) {
                System.out.println("tables " + tables.next());
            }
            try (ResultSet columns = analyst.getMetaData().getColumns(null, "tidemark", "from_jdbc", null)) {
                int count = 0;
                while (columns.next()) {
                    count++;
                }
                System.out.println("columns " + count);
            }
            try (Statement statement = analyst.createStatement()) {
                statement.executeQuery("SELECT * FROM nowhere");
                System.out.println("error none");
            } catch (SQLException error) {
                System.out.println("error " + error.getErrorCode() + " " + error.getMessage().contains("nowhere"));
            }
        }
        String basic = Base64.getEncoder().encodeToString(("default:" + arguments[1]).getBytes());
        HttpRequest post = HttpRequest.newBuilder(URI.create("http://" + address + "/"))
                .header("Authorization", "Basic " + basic)
                .POST(HttpRequest.BodyPublishers.ofString("SELECT 'posted by ' || 'the JDK'"))
                .build();
        System.out.print(HttpClient.newHttpClient().send(post, HttpResponse.BodyHandlers.ofString()).body());
    }
}
