import com.clickhouse.client.api.Client;
import com.clickhouse.client.api.ServerException;
import com.clickhouse.client.api.query.GenericRecord;
import com.clickhouse.data.ClickHouseFormat;
import java.io.ByteArrayInputStream;
import java.util.List;
import java.util.Map;

/** Writes as the owner and reads as the analyst with the defaults of Java's client-v2, LZ4 among them. */
public class ClientV2 {
    static Client client(String address, String user, String password) {
        return new Client.Builder().addEndpoint("http://" + address).setUsername(user).setPassword(password)
                .setDefaultDatabase("tidemark").build();
    }

    public static void main(String[] arguments) throws Exception {
        try (Client owner = client(arguments[0], "default", arguments[1])) {
            owner.execute("CREATE OR REPLACE TABLE from_client_v2 (a UInt64, b String) ENGINE = MergeTree ORDER BY a").get();
            StringBuilder rows = new StringBuilder();
            for (int number = 0; number < 10_000; number++) {
                rows.append(number).append("\tit's; ").append(number).append('\n');
            }
            owner.insert("from_client_v2", new ByteArrayInputStream(rows.toString().getBytes()), ClickHouseFormat.TSV)
                    .get().close();
        }
        try (Client analyst = client(arguments[0], "analyst", arguments[2])) {
            List<GenericRecord> all = analyst.queryAll("SELECT a, b FROM from_client_v2 WHERE (a >= 5000) ORDER BY a");
            System.out.println("read " + all.size() + " " + all.get(all.size() - 1).getString("b"));
            List<GenericRecord> one = analyst.queryAll(
                    "SELECT b FROM from_client_v2 WHERE a = {n:UInt64}", Map.<String, Object>of("n", 7));
            System.out.println("parameter " + one.get(0).getString("b"));
            try {
                analyst.queryAll("SELECT * FROM nowhere");
                System.out.println("error none");
            } catch (Exception error) {
                Throwable cause = error.getCause();
                int code = cause instanceof ServerException ? ((ServerException) cause).getCode() : 0;
                System.out.println("error " + code + " " + String.valueOf(cause).contains("nowhere"));
            }
        }
    }
}
