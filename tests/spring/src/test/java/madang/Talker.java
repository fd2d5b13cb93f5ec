package madang;

import jakarta.websocket.ContainerProvider;
import jakarta.websocket.WebSocketContainer;
import java.lang.reflect.Type;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Predicate;
import org.springframework.messaging.converter.JacksonJsonMessageConverter;
import org.springframework.messaging.simp.stomp.StompCommand;
import org.springframework.messaging.simp.stomp.StompFrameHandler;
import org.springframework.messaging.simp.stomp.StompHeaders;
import org.springframework.messaging.simp.stomp.StompSession;
import org.springframework.messaging.simp.stomp.StompSession.Receiptable;
import org.springframework.messaging.simp.stomp.StompSession.Subscription;
import org.springframework.messaging.simp.stomp.StompSessionHandlerAdapter;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;
import org.springframework.web.socket.WebSocketHttpHeaders;
import org.springframework.web.socket.client.standard.StandardWebSocketClient;
import org.springframework.web.socket.messaging.WebSocketStompClient;
import tools.jackson.databind.JsonNode;

/** One STOMP connection through Spring's client, and everything that it has heard. */
final class Talker extends StompSessionHandlerAdapter implements AutoCloseable {
    /** A WebSocket message may carry several frames: up to 128 KB, where Tomcat takes 8,192 characters unless told. */
    static final int BUFFER = 128 * 1024;
    static final String USER_QUEUE = "/user/queue/events";

    /** What was heard; `command` is RECEIPT_LOST when Spring gave a receipt up, and LOST when the connection ended. */
    record Frame(String command, String on, StompHeaders headers, JsonNode body) {
        boolean is(String command, String on) {
            return this.command.equals(command) && (on == null || on.equals(this.on));
        }

        /** Text of the body's member. */
        String at(String name) {
            return body == null ? "" : body.path(name).asString("");
        }
    }

    final Heard<Frame> heard = new Heard<>();
    final CompletableFuture<StompSession> session;
    private final ThreadPoolTaskScheduler scheduler = new ThreadPoolTaskScheduler();

    /** As Spring does unless told: without a subprotocol. */
    Talker(StompHeaders connectHeaders, int buffer, Consumer<WebSocketStompClient> configure) {
        this(new WebSocketHttpHeaders(), connectHeaders, buffer, configure);
    }

    Talker(WebSocketHttpHeaders handshake, StompHeaders connectHeaders, int buffer, Consumer<WebSocketStompClient> configure) {
        WebSocketContainer container = ContainerProvider.getWebSocketContainer();
        container.setDefaultMaxTextMessageBufferSize(buffer);
        scheduler.initialize(); // Receipts that never come are noticed by it.
        WebSocketStompClient client = new WebSocketStompClient(new StandardWebSocketClient(container));
        client.setTaskScheduler(scheduler);
        client.setMessageConverter(new JacksonJsonMessageConverter());
        configure.accept(client);
        String url = Person.ENDPOINTS.get("websocket").asString();
        session = client.connectAsync(url, handshake, connectHeaders, this);
    }

    /** A connection with whatever headers in CONNECT. */
    static Talker open(String... namesAndValues) {
        StompHeaders headers = new StompHeaders();
        add(headers, namesAndValues);
        return new Talker(headers, BUFFER, client -> {});
    }

    /** A connection of somebody with a good token. */
    static Talker connect(Person person, int buffer, Consumer<WebSocketStompClient> configure) throws Exception {
        StompHeaders headers = new StompHeaders();
        add(headers, "Authorization", "Bearer " + person.token());
        Talker talker = new Talker(headers, buffer, configure);
        talker.session().setAutoReceipt(true);
        return talker;
    }

    private static void add(StompHeaders headers, String... namesAndValues) {
        for (int index = 0; index < namesAndValues.length; index += 2) headers.add(namesAndValues[index], namesAndValues[index + 1]);
    }

    StompSession session() throws Exception {
        return session.get(30, TimeUnit.SECONDS);
    }

    /** Subscribes, and waits until the subscription stands. */
    Subscription subscribe(String destination, String id, String... namesAndValues) throws Exception {
        StompHeaders headers = headers(destination);
        headers.setId(id);
        add(headers, namesAndValues);
        Subscription subscription = subscribe(headers);
        receipt(headers.getReceipt());
        return subscription;
    }

    Subscription subscribe(StompHeaders headers) throws Exception {
        Subscription subscription = session().subscribe(headers, new StompFrameHandler() {
            @Override
            public Type getPayloadType(StompHeaders headers) {
                return JsonNode.class;
            }

            @Override
            public void handleFrame(StompHeaders message, Object body) {
                heard.add(new Frame("MESSAGE", headers.getId(), message, (JsonNode) body));
            }
        });
        note(subscription, headers.getReceipt());
        return subscription;
    }

    /** Sends; the receipt's id. */
    String send(String destination, Object body) throws Exception {
        StompHeaders headers = headers(destination);
        note(session().send(headers, body), headers.getReceipt());
        return headers.getReceipt();
    }

    /** Sends to a room, and waits until it is kept. */
    void act(String room, String action, Object body) throws Exception {
        receipt(send("/app/rooms/" + room + "/" + action, body));
    }

    void say(String room, String content) throws Exception {
        act(room, "send", saying(content));
    }

    static Map<String, Object> saying(String content) {
        return Map.of("clientMessageId", UUID.randomUUID().toString(), "content", content);
    }

    static StompHeaders headers(String destination) {
        StompHeaders headers = new StompHeaders();
        headers.setDestination(destination);
        headers.setReceipt(UUID.randomUUID().toString());
        return headers;
    }

    void receipt(String id) throws Exception {
        heard.await("the receipt " + id, frame -> frame.is("RECEIPT", id));
    }

    /** Waits for a message on a subscription. */
    Frame hears(String on, String what, Predicate<Frame> condition) throws Exception {
        return heard.await(what + " on " + on, frame -> frame.is("MESSAGE", on) && condition.test(frame));
    }

    Frame hearsText(String on, String content) throws Exception {
        return hears(on, content, frame -> frame.at("content").equals(content));
    }

    /** Waits for what the user queue says of a refused frame. */
    void isRefused(String receipt, String code) throws Exception {
        Frame refusal = hears(USER_QUEUE, "a refusal", frame -> receipt.equals(frame.headers().getFirst("receipt-id")));
        if (!refusal.at("type").equals("error") || !refusal.at("code").equals(code)) throw new AssertionError(refusal);
    }

    /** Waits for an ERROR, and for the end that follows it. */
    Frame isEnded(String code) throws Exception {
        Frame error = heard.await("ERROR " + code, frame -> frame.is("ERROR", null));
        heard.await("the close", frame -> frame.is("LOST", null));
        if (!code.equals(error.headers().getFirst("code"))) throw new AssertionError(error);
        return error;
    }

    /** The room events that a client keeps of what a subscription has heard. */
    List<JsonNode> events(String on) {
        Predicate<Frame> isEvent = frame -> frame.is("MESSAGE", on) && "event".equals(frame.headers().getFirst("type"));
        return Person.kept(heard.all(isEvent).stream().map(Frame::body));
    }

    private void note(Receiptable asked, String id) {
        asked.addReceiptTask(headers -> heard.add(new Frame("RECEIPT", id, headers, null)));
        asked.addReceiptLostTask(() -> heard.add(new Frame("RECEIPT_LOST", id, null, null)));
    }

    @Override
    public Type getPayloadType(StompHeaders headers) {
        return JsonNode.class;
    }

    /** Called with an ERROR. */
    @Override
    public void handleFrame(StompHeaders headers, Object body) {
        heard.add(new Frame("ERROR", null, headers, (JsonNode) body));
    }

    @Override
    public void handleException(StompSession session, StompCommand command, StompHeaders headers, byte[] payload, Throwable fault) {
        heard.add(new Frame("FAULT " + fault, null, headers, null));
    }

    @Override
    public void handleTransportError(StompSession session, Throwable fault) {
        heard.add(new Frame("LOST", fault.toString(), null, null));
    }

    /** Ends the connection. */
    @Override
    public void close() throws Exception {
        if (session.isDone() && !session.isCompletedExceptionally() && session().isConnected()) session().disconnect();
        scheduler.shutdown();
    }
}
