package madang;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import madang.Talker.Frame;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.messaging.converter.StringMessageConverter;
import org.springframework.messaging.simp.stomp.StompHeaders;
import org.springframework.web.socket.WebSocketHttpHeaders;
import org.springframework.web.socket.messaging.WebSocketStompClient;
import tools.jackson.databind.JsonNode;

/** What a team with Spring's STOMP client does with a running system. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class ConversationTest {
    /** As long as a message may be: 16,000 bytes, and beyond Tomcat's 8,192 characters with its envelope. */
    private static final String LONGEST = "🌸".repeat(4_000);

    private final List<AutoCloseable> opened = new ArrayList<>();

    private Talker connect(Person person) throws Exception {
        return opened(Talker.connect(person, Talker.BUFFER, client -> {}));
    }

    private <T extends AutoCloseable> T opened(T closeable) {
        opened.add(closeable);
        return closeable;
    }

    @AfterEach
    void closeAll() throws Exception {
        for (AutoCloseable each : opened) each.close();
    }

    private static String topic(String room) {
        return "/topic/rooms/" + room;
    }

    private static List<String> texts(List<JsonNode> events) {
        return events.stream().map(event -> event.path("content").asString("")).toList();
    }

    @Test
    void theTokenStandsInConnect() throws Exception {
        Person alice = new Person("앨리스 A:1%");
        for (List<String> headers : List.of(List.of("Authorization", "Bearer " + alice.token()), List.of("passcode", alice.token()))) {
            opened(Talker.open(headers.toArray(String[]::new))).session();
        }
    }

    @Test
    void theHandshakeMayHaveTheTokenAndTheSubprotocol() throws Exception {
        Person alice = new Person("alice");
        WebSocketHttpHeaders handshake = new WebSocketHttpHeaders();
        handshake.setSecWebSocketProtocol(List.of("v11.stomp", "v12.stomp"));
        handshake.setBearerAuth(alice.token());
        Talker talker = opened(new Talker(handshake, new StompHeaders(), Talker.BUFFER, client -> {}));
        talker.session().setAutoReceipt(true);
        String room = alice.makeRoom();
        talker.subscribe(topic(room), "room");
        talker.say(room, "머리글에");
        talker.hearsText("room", "머리글에");
    }

    @Test
    void aStringIsTakenAsJson() throws Exception {
        Person alice = new Person("alice");
        String room = alice.makeRoom();
        Consumer<WebSocketStompClient> strings = client -> client.setMessageConverter(new StringMessageConverter());
        Talker talker = opened(Talker.connect(alice, Talker.BUFFER, strings));
        talker.act(room, "send", Person.JSON.writeValueAsString(Talker.saying("글자 그대로 نص")));
        Talker listener = connect(alice);
        listener.subscribe(topic(room), "room", "after-seq", "1", "epoch", alice.epoch(room));
        listener.hearsText("room", "글자 그대로 نص");
    }

    @Test
    void aBadTokenIsAnErrorAndTheEnd() throws Exception {
        Person alice = new Person("alice");
        Map<String, String[]> cases = Map.of(
                "token_missing", new String[0],
                "token_invalid", new String[] {"Authorization", "Bearer " + alice.token() + "x"},
                "token_expired", new String[] {"passcode", alice.token(-3600)});
        for (var each : cases.entrySet()) {
            Talker talker = opened(Talker.open(each.getValue()));
            talker.isEnded(each.getKey());
            assertThrows(ExecutionException.class, talker::session);
        }
    }

    @Test
    void whatIsSaidIsHeardOnceAndByteForByte() throws Exception {
        Person alice = new Person("앨리스 A:1%");
        Person bob = new Person("bob");
        String room = alice.makeRoom(bob);
        Talker speaker = connect(alice);
        Talker listener = connect(bob);
        List<Talker> both = List.of(speaker, listener);
        for (Talker talker : both) talker.subscribe(topic(room), "a:b\\c 구독");

        List<String> said =
                List.of("안녕하세요, 밥!", "مرحبا يا أليس، كيف حالك؟", "👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽", "<b>a & \"b\"</b>\n\\", LONGEST);
        for (String text : said) {
            speaker.say(room, text);
            for (Talker talker : both) talker.hearsText("a:b\\c 구독", text);
        }
        List<JsonNode> stored = alice.messages(room);
        assertEquals(said, texts(stored));
        for (Talker talker : both) {
            assertEquals(stored, talker.events("a:b\\c 구독"));
            for (Frame frame : talker.heard.all(frame -> frame.is("MESSAGE", null))) {
                assertEquals(topic(room), frame.headers().getDestination());
                assertEquals(frame.at("seq"), frame.headers().getFirst("seq"));
                assertEquals(alice.id, URLDecoder.decode(frame.headers().getFirst("sender"), StandardCharsets.UTF_8));
                assertEquals(frame.at("clientMessageId"), frame.headers().getFirst("client-message-id"));
            }
        }
        assertEquals(said.size() + 1, speaker.heard.all(frame -> frame.is("RECEIPT", null)).size());
        assertEquals(List.of(), speaker.heard.all(frame -> frame.command().startsWith("FAULT")));
    }

    @Test
    void springAndJsonShareARoom() throws Exception {
        Person alice = new Person("alice");
        Person bob = new Person("bob");
        String room = alice.makeRoom(bob);
        Talker spring = connect(alice);
        spring.subscribe(topic(room), "room");
        Person.JsonTalker json = bob.joinAsJson(room);
        opened(json::close);

        spring.say(room, "스프링에서 🌱");
        String messageId = spring.hearsText("room", "스프링에서 🌱").at("messageId");
        spring.act(room, "edit", Map.of("messageId", messageId, "content", "스프링에서 고침 🌱"));
        spring.hears("room", "the edit", frame -> frame.at("kind").equals("message.edited"));
        json.ask(Map.of("action", "send", "id", "1", "roomId", room, "clientMessageId", "from-json", "content", "من جسون"));
        spring.hearsText("room", "من جسون");
        spring.act(room, "rename", Map.of("name", "봄 정원"));
        spring.hears("room", "the new name", frame -> frame.at("kind").equals("room.renamed"));

        assertEquals(spring.events("room"), json.events(4), "the same objects in the same order");
    }

    @Test
    void aRefusalComesToTheUserQueueAndItsReceiptDoesNotCome() throws Exception {
        Person alice = new Person("alice");
        Person bob = new Person("bob");
        String hers = alice.makeRoom();
        String his = bob.makeRoom();
        Talker talker = opened(Talker.connect(alice, Talker.BUFFER, client -> client.setReceiptTimeLimit(10_000)));
        talker.subscribe(Talker.USER_QUEUE, Talker.USER_QUEUE);

        String empty = talker.send("/app/rooms/" + hers + "/send", Talker.saying("  "));
        talker.isRefused(empty, "content_empty");
        StompHeaders headers = Talker.headers(topic(his));
        headers.setId("his");
        talker.subscribe(headers);
        talker.isRefused(headers.getReceipt(), "not_member");
        for (String receipt : List.of(empty, headers.getReceipt())) {
            talker.heard.await("Spring to give up " + receipt, frame -> frame.is("RECEIPT_LOST", receipt));
        }

        talker.subscribe(topic(hers), "hers");
        talker.say(hers, "그래도 여기 있어요");
        talker.hearsText("hers", "그래도 여기 있어요");
    }

    @Test
    void withoutTheUserQueueARefusalIsAnErrorAndTheEnd() throws Exception {
        Person alice = new Person("alice");
        String room = alice.makeRoom();
        Talker talker = connect(alice);
        String receipt = talker.send("/app/rooms/" + room + "/send", Talker.saying("\u200b"));
        Frame error = talker.isEnded("content_empty");
        assertEquals(receipt, error.headers().getFirst("receipt-id"));
        assertEquals("content_empty", error.at("code"));
    }

    @Test
    void whoIsRemovedHearsNoMoreAndIsBackWithoutReconnecting() throws Exception {
        Person alice = new Person("alice");
        Person bob = new Person("bob");
        String room = alice.makeRoom(bob);
        Talker owner = connect(alice);
        Talker member = connect(bob);
        owner.subscribe(topic(room), "hers");
        member.subscribe(Talker.USER_QUEUE, Talker.USER_QUEUE);
        member.subscribe(topic(room), "his");
        owner.say(room, "있을 때");
        member.hearsText("his", "있을 때");

        owner.act(room, "kick", Map.of("userId", bob.id));
        member.hears("his", "the removal", frame -> frame.at("kind").equals("member.kicked") && frame.at("userId").equals(bob.id));
        member.hears(Talker.USER_QUEUE, "the notice", frame -> frame.at("kind").equals("kicked"));
        owner.say(room, "없을 때");
        owner.hearsText("hers", "없을 때");
        member.isRefused(member.send("/app/rooms/" + room + "/send", Talker.saying("저도요")), "not_member");

        owner.act(room, "invite", Map.of("userIds", List.of(bob.id)));
        member.hears(Talker.USER_QUEUE, "the invitation", frame -> frame.at("kind").equals("invited"));
        member.subscribe(topic(room), "his again");
        owner.say(room, "돌아와서");
        member.hearsText("his again", "돌아와서");
        assertEquals(List.of("있을 때", ""), texts(member.events("his")));
        assertEquals(List.of("돌아와서"), texts(member.events("his again")));
    }

    @Test
    void aNewConnectionCatchesUpOrIsToldThatItCannot() throws Exception {
        Person alice = new Person("alice");
        Person bob = new Person("bob");
        String room = alice.makeRoom(bob);
        Talker owner = connect(alice);
        Talker before = connect(bob);
        before.subscribe(topic(room), "room");
        owner.subscribe(topic(room), "room");
        owner.say(room, "끊기기 전");
        StompHeaders last = before.hearsText("room", "끊기기 전").headers();
        before.close();
        List<String> missed = List.of("끊긴 동안 1", LONGEST, "끊긴 동안 ٣");
        for (String text : missed) {
            owner.say(room, text);
            owner.hearsText("room", text);
        }

        Talker after = connect(bob);
        after.subscribe(topic(room), "room", "after-seq", last.getFirst("seq"), "epoch", last.getFirst("epoch"));
        owner.say(room, "다시 있을 때");
        after.heard.await("what was missed, and what followed", any -> after.events("room").size() > missed.size());
        assertEquals(Stream.concat(missed.stream(), Stream.of("다시 있을 때")).toList(), texts(after.events("room")));
        assertEquals(Long.parseLong(last.getFirst("seq")) + 1, after.events("room").get(0).get("seq").asLong());

        after.subscribe(topic(room), "stale", "after-seq", last.getFirst("seq"), "epoch", "another");
        Frame resync = after.hears("stale", "resync", frame -> frame.at("type").equals("resync"));
        assertEquals("resync", resync.headers().getFirst("type"));
        assertEquals(last.getFirst("epoch"), resync.at("epoch"));
    }

    @Test
    void twoSubscriptionsHaveACopyEachUntilOneEnds() throws Exception {
        Person alice = new Person("alice");
        String room = alice.makeRoom();
        Talker talker = connect(alice);
        var one = talker.subscribe(topic(room), "one");
        talker.subscribe(topic(room), "other", "ack", "client-individual");
        talker.say(room, "둘 다");
        Frame first = talker.hearsText("one", "둘 다");
        Frame second = talker.hearsText("other", "둘 다");
        assertTrue(!first.headers().getMessageId().equals(second.headers().getMessageId()));
        talker.session().acknowledge(second.headers().getAck(), true);
        StompHeaders goodbye = new StompHeaders();
        goodbye.setReceipt("gone");
        one.unsubscribe(goodbye);
        talker.say(room, "하나만");
        talker.hearsText("other", "하나만");
        assertEquals(List.of("둘 다"), texts(talker.events("one")));
    }

    /** What Tomcat takes unless it is told otherwise is enough, whatever is put together, while each message is short. */
    @Test
    void tomcatsOwnBufferTakesManyShortMessages() throws Exception {
        Person alice = new Person("alice");
        String room = alice.makeRoom();
        Talker owner = connect(alice);
        owner.subscribe(topic(room), "room");
        List<String> said = IntStream.range(0, 60).mapToObj(index -> index + " " + "마당".repeat(150)).toList();
        for (String text : said) owner.say(room, text);
        owner.hearsText("room", said.get(59));
        Talker talker = opened(Talker.connect(alice, 8 * 1024, client -> {}));
        talker.subscribe(topic(room), "room", "after-seq", "1", "epoch", alice.epoch(room));
        talker.heard.await("all of it", any -> talker.events("room").size() >= said.size());
        assertEquals(said, texts(talker.events("room")));
    }

    /** A trap of the client's own: the message is there, and Tomcat ends the connection over it unless it is told more. */
    @Test
    void tomcatsOwnBufferIsTooSmall() throws Exception {
        Person alice = new Person("alice");
        String room = alice.makeRoom();
        Talker talker = opened(Talker.connect(alice, 8 * 1024, client -> {}));
        talker.subscribe(topic(room), "room");
        connect(alice).say(room, LONGEST);
        talker.heard.await("the end", frame -> frame.is("LOST", null));
    }
}
