package madang;

import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.WebSocket;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Somebody with a token: what they do over HTTP, and how they talk as JSON. Nobody else has this name. */
final class Person {
    static final JsonMapper JSON = new JsonMapper();
    static final JsonNode ENDPOINTS = endpoints();
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    final String id;

    Person(String name) {
        id = name + "-" + UUID.randomUUID().toString().substring(0, 8);
    }

    private static JsonNode endpoints() {
        String line = System.getenv("MADANG_ENDPOINTS");
        if (line == null) throw new IllegalStateException("MADANG_ENDPOINTS is not set: node run.mjs starts a runtime and sets it");
        return JSON.readTree(line);
    }

    String token(int expiresInSeconds) throws Exception {
        String subject = URLEncoder.encode(id, StandardCharsets.UTF_8);
        String path = "/dev/token?sub=" + subject + "&expiresIn=" + expiresInSeconds;
        return answer(request(path).build()).get("token").asString();
    }

    String token() throws Exception {
        return token(3600);
    }

    /** A new room with others in it. */
    String makeRoom(Person... others) throws Exception {
        List<String> userIds = Stream.of(others).map(other -> other.id).toList();
        String body = JSON.writeValueAsString(Map.of("name", "마당", "userIds", userIds));
        HttpRequest request = request("/rooms").header("Authorization", "Bearer " + token()).header("Content-Type", "application/json")
                .POST(BodyPublishers.ofString(body)).build();
        return answer(request).get("roomId").asString();
    }

    /** The messages in the room's log, as they are stored, oldest first. */
    List<JsonNode> messages(String room) throws Exception {
        return log(room).get("events").valueStream().filter(event -> event.get("kind").asString().equals("message")).toList();
    }

    String epoch(String room) throws Exception {
        return log(room).get("epoch").asString();
    }

    private JsonNode log(String room) throws Exception {
        HttpRequest.Builder request = request("/rooms/" + room + "/events?after=0&limit=100");
        return answer(request.header("Authorization", "Bearer " + token()).build());
    }

    /** Subscribes to a room as a JSON person. */
    JsonTalker joinAsJson(String room) throws Exception {
        JsonTalker talker = new JsonTalker();
        talker.socket = HTTP.newWebSocketBuilder().subprotocols("chat.v1.json").header("Authorization", "Bearer " + token())
                .buildAsync(URI.create(ENDPOINTS.get("websocket").asString()), talker).get(30, TimeUnit.SECONDS);
        talker.ask(Map.of("action", "subscribe", "id", "subscribe", "roomId", room));
        return talker;
    }

    private static HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create(ENDPOINTS.get("http").asString() + path));
    }

    private static JsonNode answer(HttpRequest request) throws Exception {
        var answer = HTTP.send(request, BodyHandlers.ofString());
        if (answer.statusCode() >= 300) throw new AssertionError(request + ": " + answer.statusCode() + " " + answer.body());
        return JSON.readTree(answer.body());
    }

    /** Events by the client's rule: a batch that the platform delivers again makes some come twice, or late. */
    static List<JsonNode> kept(Stream<JsonNode> events) {
        SortedMap<Long, JsonNode> bySeq = new TreeMap<>();
        events.forEach(event -> bySeq.put(event.get("seq").asLong(), event));
        return List.copyOf(bySeq.values());
    }

    /** A connection that speaks the JSON protocol. */
    static final class JsonTalker implements WebSocket.Listener {
        private final Heard<JsonNode> frames = new Heard<>();
        private final StringBuilder partial = new StringBuilder();
        private WebSocket socket;

        /** Sends a frame, and waits for its answer. */
        void ask(Map<String, Object> frame) throws Exception {
            socket.sendText(JSON.writeValueAsString(frame), true).get(30, TimeUnit.SECONDS);
            frames.await("an answer to " + frame, answer -> frame.get("id").equals(answer.path("id").asString("")));
        }

        /** Waits until so many events have come, and answers with them. */
        List<JsonNode> events(int count) throws Exception {
            frames.await(count + " events", any -> events().size() >= count);
            return events();
        }

        private List<JsonNode> events() {
            var batches = frames.all(frame -> frame.get("type").asString().equals("events")).stream();
            return kept(batches.flatMap(frame -> frame.get("events").valueStream()));
        }

        @Override
        public CompletionStage<?> onText(WebSocket socket, CharSequence text, boolean last) {
            partial.append(text);
            if (last) {
                frames.add(JSON.readTree(partial.toString()));
                partial.setLength(0);
            }
            socket.request(1);
            return null;
        }

        void close() {
            socket.abort();
        }
    }
}
