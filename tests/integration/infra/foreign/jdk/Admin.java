import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Writes a channel and makes a key with the JDK's own client, which offers `Upgrade: h2c` with each request. */
public class Admin {
    static HttpResponse<String> send(String method, String address, String key, String body) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(address))
                .header("Authorization", "Bearer " + key)
                .header("Content-Type", "application/json")
                .method(method, HttpRequest.BodyPublishers.ofString(body))
                .build();
        return HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    }

    public static void main(String[] arguments) throws Exception {
        String workspace = arguments[0] + "/admin/v1/workspaces/" + arguments[2];
        String channel = "{\"platform\": \"bluesky\", \"external_id\": \"did:plc:jdk\", \"username\": \"jdk\"}";
        System.out.println("channel " + send("PUT", workspace + "/channels/jdk", arguments[1], channel).statusCode() / 100);
        String key = "{\"scopes\": [\"analytics:read\"], \"style\": \"tidemark\"}";
        HttpResponse<String> made = send("POST", workspace + "/keys", arguments[1], key);
        System.out.println("key " + made.statusCode() / 100 + " " + made.body().contains("\"key\""));
        String filler = "{\"scopes\": [\"nonsense\"], \"style\": \"" + "x".repeat(100_000) + "\"}";
        System.out.println("refused " + send("POST", workspace + "/keys", arguments[1], filler).statusCode() / 100);
    }
}
