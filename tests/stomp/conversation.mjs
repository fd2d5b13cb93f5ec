// What every STOMP client must be able to do with a running system: talk, be refused, be removed and come back, catch
// up, and share a room with people who speak JSON. A client takes part by the calls of StompJs and Webstomp.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { waitFor } from "../browser/runtime.mjs";
import { Person, saying } from "./person.mjs";
import { Talker, USER_QUEUE, app, topic } from "./talker.mjs";

/** 4,000 scalar values are the most that a message may have: 16,000 bytes of UTF-8, 8,000 of JavaScript's characters. */
const LONGEST = "🌸".repeat(4_000);
const TEXTS = [
  "안녕하세요, 밥! 오늘 마당에 꽃이 피었어요",
  "مرحبا يا أليس، كيف حالك اليوم؟ (3 + 4 = 7)",
  "👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇰🇷",
  "두 줄로\n씁니다: a\\b\tc \"d\" \u0001",
  "<script>alert(1)</script> &lt;b&gt; a < b && c",
  LONGEST,
];
/** How a destination is refused that is none of the person's own. */
const MISPLACED = ["forbidden", "invalid_field"];
const MINUTES = 60_000;

/** Registers the conversation's tests. `start` opens a client; both are asked for only once the tests run. */
export function conversation(name, runtime, start) {
  const talks = (what, body) => test(`${name}: ${what}`, { timeout: 5 * MINUTES }, (t) => body(new Stage(t, runtime(), start)));

  talks("a token in CONNECT opens the connection", async (stage) => {
    const alice = stage.person("앨리스 A:1%");
    for (const header of ["Authorization", "passcode"]) {
      const token = await alice.token();
      const talker = await stage.open({ headers: { [header]: header === "passcode" ? token : `Bearer ${token}` } });
      const { headers } = await talker.connected();
      assert.equal(headers.version, "1.2");
      assert.equal(headers["heart-beat"], "0,300000");
      assert.match(headers.server, /^madang\//);
      assert.equal(decodeURIComponent(headers["user-name"]), alice.id);
      const endsInMs = Number(headers["token-expires-at"]) - Date.now();
      assert.ok(endsInMs > 59 * MINUTES && endsInMs < 61 * MINUTES, headers["token-expires-at"]);
    }
  });

  talks("older versions are spoken when nothing newer is offered", async (stage) => {
    const alice = stage.person("alice");
    const room = await alice.makeRoom();
    for (const version of ["1.1", "1.0"]) {
      const talker = await stage.connect(alice, { versions: [version] });
      assert.equal((await talker.connected()).headers.version, version);
      const id = await talker.subscribe(topic(room));
      await talker.say(room, `${version}: 안녕`);
      await talker.hearsText(id, `${version}: 안녕`);
    }
  });

  talks("without a good token there is an ERROR and the end", async (stage) => {
    const alice = stage.person("alice");
    const [head, claims, signature] = (await alice.token()).split(".");
    const forged = [head, claims, [...signature].reverse().join("")].join(".");
    const expired = await alice.token(-3600);
    const cases = [
      [{}, "token_missing"],
      [{ Authorization: "Bearer none" }, "token_invalid"],
      [{ Authorization: `Bearer ${forged}` }, "token_invalid"],
      [{ Authorization: `Bearer ${expired}` }, "token_expired"],
      [{ passcode: expired }, "token_expired"],
    ];
    for (const [headers, code] of cases) {
      const talker = await stage.open({ headers });
      await talker.isEnded(code);
    }
  });

  talks("a fresh token is taken on the way, but nobody else's", async (stage) => {
    const [alice, bob] = [stage.person("alice"), stage.person("bob")];
    const talker = await stage.connect(alice);
    const queue = await talker.subscribe(USER_QUEUE);
    await talker.send("/app/auth", { token: await alice.token() });
    await talker.client.send("/app/auth", JSON.stringify({ token: await bob.token() }), { receipt: "bob's" });
    await talker.isRefused(queue, "bob's", "subject_mismatch");
  });

  talks("what is said is heard, once and byte for byte", async (stage) => {
    const [alice, bob] = [stage.person("앨리스 A:1%"), stage.person("bob")];
    const room = await alice.makeRoom(bob);
    const speaker = await stage.connect(alice);
    const listener = await stage.connect(bob);
    const ids = new Map([[speaker, await speaker.subscribe(topic(room))], [listener, await listener.subscribe(topic(room))]]);

    const said = [];
    for (const text of TEXTS) {
      said.push(await speaker.say(room, text));
      for (const [talker, id] of ids) await talker.hearsText(id, text);
    }
    const stored = (await alice.log(room)).filter(({ kind }) => kind === "message");
    assert.deepEqual(stored.map(({ clientMessageId, content }) => ({ clientMessageId, content })), said);
    for (const [talker, id] of ids) {
      assert.deepEqual(await talker.events(id), stored, "the log, live");
      for (const { headers, body } of await talker.on(id)) {
        const { seq, clientMessageId } = JSON.parse(body);
        assert.equal(headers.destination, topic(room));
        assert.equal(headers.subscription, id);
        assert.equal(headers.type, "event");
        assert.equal(headers["room-id"], room);
        assert.equal(headers.seq, String(seq));
        assert.equal(decodeURIComponent(headers.sender), alice.id);
        assert.equal(headers["client-message-id"], clientMessageId);
        assert.match(headers["content-type"], /^application\/json/);
        assert.equal(headers["content-length"], String(Buffer.byteLength(body)));
      }
    }
    const receipts = (await speaker.frames(({ command }) => command === "RECEIPT")).map(({ headers }) => headers["receipt-id"]);
    assert.equal(receipts.length, TEXTS.length + 1, "a receipt for each frame that asked for one");
    assert.equal(new Set(receipts).size, receipts.length, "and only one");
  });

  talks("a message that is sent again is one message", async (stage) => {
    const alice = stage.person("alice");
    const room = await alice.makeRoom();
    const talker = await stage.connect(alice);
    const queue = await talker.subscribe(USER_QUEUE);
    const id = await talker.subscribe(topic(room));
    const message = saying("한 번만");
    await talker.send(app(room, "send"), message);
    const first = JSON.parse((await talker.hearsText(id, "한 번만")).body);
    await talker.send(app(room, "send"), message);
    const { body } = await talker.hearsOn(queue, "duplicate");
    const duplicate = JSON.parse(body);
    assert.deepEqual([duplicate.clientMessageId, duplicate.seq], [message.clientMessageId, first.seq]);
    assert.equal((await talker.events(id)).length, 1);
  });

  talks("everything that members do is done by STOMP, and heard alike by STOMP and JSON", async (stage) => {
    const [alice, bob, carol] = [stage.person("alice"), stage.person("bob"), stage.person("carol")];
    const room = await alice.makeRoom(bob);
    const talker = await stage.connect(alice);
    const id = await talker.subscribe(topic(room));
    const json = await bob.joinAsJson(stage.t, room);

    const next = async (action, body) => {
      const count = (await talker.events(id)).length;
      await talker.send(app(room, action), body);
      return waitFor(async () => (await talker.events(id))[count], `the event of ${action}`);
    };
    const { messageId } = await next("send", saying("오타가 잇어요"));
    await next("edit", { messageId, content: "오타가 있었어요" });
    await next("delete", { messageId });
    await next("rename", { name: "봄 정원" });
    await next("invite", { userIds: [carol.id] });
    await next("role", { userId: carol.id, role: "admin" });
    await next("kick", { userId: carol.id });
    await json.ask("send", saying("JSON에서 왔어요 🌿"));
    await talker.hearsText(id, "JSON에서 왔어요 🌿");
    await talker.send(app(room, "leave"), { successor: bob.id });

    const members = ["member.invited", "member.role", "member.kicked"];
    const kinds = ["message", "message.edited", "message.deleted", "room.renamed", ...members, "message", "member.left"];
    await waitFor(() => json.events().length === kinds.length, "all events in JSON");
    const log = (await bob.log(room)).slice(-kinds.length);
    assert.deepEqual(log.map(({ kind }) => kind), kinds);
    // The log has messages and edits in their current state: the deleted one's words stand in live frames only.
    const heard = json.events();
    assert.deepEqual(heard.map(({ seq }) => seq), log.map(({ seq }) => seq));
    assert.deepEqual(heard.slice(2), log.slice(2));
    await waitFor(async () => (await talker.events(id)).length >= kinds.length - 1, "all events in STOMP");
    const stomp = await talker.events(id);
    assert.deepEqual(stomp, heard.slice(0, stomp.length), "the same objects in STOMP and in JSON");
  });

  talks("signals come to whoever asks for them", async (stage) => {
    const [alice, bob] = [stage.person("alice"), stage.person("bob")];
    const room = await alice.makeRoom(bob);
    const [talker, listener] = [await stage.connect(alice), await stage.connect(bob)];
    const id = await talker.subscribe(topic(room));
    const queue = await talker.subscribe(USER_QUEUE);
    const signals = await listener.subscribe(`${topic(room)}/signals`);
    await talker.say(room, "읽어 보세요");
    const { headers } = await talker.hearsText(id, "읽어 보세요");

    // Said again while it lasts, since what comes late is dropped.
    const typing = await waitFor(async () => {
      await talker.send(app(room, "typing"));
      return (await listener.on(signals, "typing"))[0];
    }, "typing");
    assert.equal(JSON.parse(typing.body).userId, alice.id);
    await talker.send(app(room, "read"), { seq: Number(headers.seq) });
    for (const { body } of [await listener.hearsOn(signals, "read"), await talker.hearsOn(queue, "read")]) {
      const { userId, seq } = JSON.parse(body);
      assert.deepEqual([userId, seq], [alice.id, Number(headers.seq)]);
    }
    assert.deepEqual(await listener.events(signals), [], "who asked for signals only hears signals only");
  });

  talks("a refusal comes to the user queue, and the conversation goes on", async (stage) => {
    const [alice, bob] = [stage.person("alice"), stage.person("bob")];
    const [hers, his] = [await alice.makeRoom(), await bob.makeRoom(alice)];
    const strangers = await bob.makeRoom();
    const talker = await stage.connect(alice);
    const queue = await talker.subscribe(USER_QUEUE);
    const sends = [
      [app(strangers, "send"), saying("들어가도 돼요?"), "not_member"],
      [app(hers, "send"), saying("   "), "content_empty"],
      [app(hers, "send"), saying("x".repeat(4_001)), "content_too_long"],
      [app(hers, "send"), { content: "no id" }, "invalid_field"],
      [app(his, "kick"), { userId: bob.id }, "forbidden"],
      [topic(hers), saying("straight to the members"), ...MISPLACED],
      [`${app(hers, "send")}/more`, saying("too deep"), "unknown_action"],
    ];
    const subscriptions = [
      [topic(strangers), "not_member"],
      [`/user/${bob.id}/queue/events`, ...MISPLACED],
      ["/topic/rooms/*", ...MISPLACED],
      ["/topic/rooms/>", ...MISPLACED],
      [`${topic(hers)},${topic(strangers)}`, ...MISPLACED],
      [`${topic(hers)}/../${strangers}`, ...MISPLACED],
    ];
    for (const [destination, body, ...codes] of sends) {
      const receipt = randomUUID();
      await talker.client.send(destination, JSON.stringify(body), { receipt });
      await talker.isRefused(queue, receipt, ...codes);
    }
    for (const [destination, ...codes] of subscriptions) {
      const [id, receipt] = [randomUUID(), randomUUID()];
      await talker.client.subscribe(destination, { id, receipt });
      await talker.isRefused(queue, receipt, ...codes);
    }
    const id = await talker.subscribe(topic(hers));
    await talker.say(hers, "그래도 여기 있어요");
    await talker.hearsText(id, "그래도 여기 있어요");
    assert.equal((await talker.events(id)).length, 1);
    assert.equal((await bob.log(strangers)).filter(({ kind }) => kind === "message").length, 0);
  });

  talks("without the user queue a refusal is an ERROR and the end", async (stage) => {
    const [alice, bob] = [stage.person("alice"), stage.person("bob")];
    const [hers, strangers] = [await alice.makeRoom(), await bob.makeRoom()];
    const refusals = [
      ["content_empty", (client, receipt) => client.send(app(hers, "send"), JSON.stringify(saying("\u200b")), { receipt })],
      ["not_member", (client, receipt) => client.subscribe(topic(strangers), { id: "s", receipt })],
    ];
    for (const [code, act] of refusals) {
      const talker = await stage.connect(alice);
      await act(talker.client, `refuse ${code}`);
      const { headers, body } = await talker.isEnded(code);
      assert.equal(headers["receipt-id"], `refuse ${code}`);
      assert.deepEqual([JSON.parse(body).type, JSON.parse(body).code], ["error", code]);
    }
  });

  talks("who is removed hears that and no more, and is back without reconnecting", async (stage) => {
    const [alice, bob] = [stage.person("alice"), stage.person("bob")];
    const room = await alice.makeRoom(bob);
    const [owner, member] = [await stage.connect(alice), await stage.connect(bob)];
    const hers = await owner.subscribe(topic(room));
    const queue = await member.subscribe(USER_QUEUE);
    let id = "here";
    await member.subscribe(topic(room), { id });
    for (const [round, again] of ["here", "back"].entries()) {
      await owner.say(room, `${round}: 있을 때`);
      await member.hearsText(id, `${round}: 있을 때`);

      await owner.send(app(room, "kick"), { userId: bob.id });
      await member.hearsTimes(id, "event", round + 1, (event) => event.kind === "member.kicked" && event.userId === bob.id);
      await member.hearsTimes(queue, "notice", round + 1, (notice) => notice.kind === "kicked" && notice.roomId === room);
      await owner.say(room, `${round}: 없을 때`);
      await owner.hearsText(hers, `${round}: 없을 때`);
      await member.client.send(app(room, "send"), JSON.stringify(saying("저도요")), { receipt: `refused ${round}` });
      await member.isRefused(queue, `refused ${round}`, "not_member");

      await owner.send(app(room, "invite"), { userIds: [bob.id] });
      await member.hearsTimes(queue, "notice", round + 1, (notice) => notice.kind === "invited");
      await member.subscribe(topic(room), { id: again });
      id = again;
      await owner.say(room, `${round}: 돌아와서`);
      await member.hearsText(id, `${round}: 돌아와서`);
    }
    const heard = (await member.frames()).map(({ body }) => body).join("\n");
    assert.doesNotMatch(heard, /없을 때/);
  });

  talks("what the room refuses later is a nack that names its receipt", async (stage) => {
    const [alice, bob] = [stage.person("alice"), stage.person("bob")];
    const room = await alice.makeRoom(bob);
    const [owner, member] = [await stage.connect(alice), await stage.connect(bob)];
    const queue = await member.subscribe(USER_QUEUE);
    const eventSource = (isPaused) =>
      fetch(`${stage.runtime.url}/dev/faults`, { method: "PUT", body: JSON.stringify({ pauseEventSource: isPaused }) });
    await eventSource(true);
    const message = saying("아직 있는 줄 알았어요");
    try {
      await owner.send(app(room, "kick"), { userId: bob.id });
      await member.send(app(room, "send"), message, { receipt: "too late" });
    } finally {
      await eventSource(false);
    }
    const { headers, body } = await member.hearsOn(queue, "nack");
    const { code, clientMessageId } = JSON.parse(body);
    assert.deepEqual([headers["receipt-id"], code, clientMessageId], ["too late", "not_member", message.clientMessageId]);
    assert.deepEqual((await alice.log(room)).filter(({ kind }) => kind === "message"), []);
  });

  talks("a new connection catches up, or is told that it cannot", async (stage) => {
    const [alice, bob] = [stage.person("alice"), stage.person("bob")];
    const room = await alice.makeRoom(bob);
    const owner = await stage.connect(alice);
    const before = await stage.connect(bob);
    const id = await before.subscribe(topic(room));
    const hers = await owner.subscribe(topic(room));
    await owner.say(room, "끊기기 전");
    const { headers } = await before.hearsText(id, "끊기기 전");
    await before.client.stop();
    const texts = ["끊긴 동안 1", LONGEST, "끊긴 동안 ٣", "다시 있을 때"];
    for (const text of texts.slice(0, -1)) {
      await owner.say(room, text);
      await owner.hearsText(hers, text);
    }
    const after = await stage.connect(bob);
    await after.subscribe(topic(room), { id, "after-seq": headers.seq, epoch: headers.epoch });
    await owner.say(room, texts.at(-1));
    await waitFor(async () => (await after.events(id)).length >= texts.length, "what was missed, and what followed");
    const [last, kept] = [Number(headers.seq), await after.events(id)];
    assert.deepEqual(kept.map(({ content }) => content), texts);
    assert.deepEqual(kept.map(({ seq }) => seq), texts.map((_, index) => last + 1 + index));

    await after.subscribe(topic(room), { id: "stale", "after-seq": headers.seq, epoch: "another" });
    const resync = await after.hearsOn("stale", "resync");
    assert.deepEqual(JSON.parse(resync.body), { type: "resync", roomId: room, epoch: headers.epoch, lastSeq: kept.at(-1).seq });
    await owner.say(room, "그다음");
    await after.hearsText("stale", "그다음");
  });

  talks("two subscriptions to one room have a copy each", async (stage) => {
    const alice = stage.person("alice");
    const room = await alice.makeRoom();
    const talker = await stage.connect(alice);
    const [one, other] = [await talker.subscribe(topic(room)), await talker.subscribe(topic(room), { ack: "client" })];
    await talker.say(room, "둘 다");
    const copies = [await talker.hearsText(one, "둘 다"), await talker.hearsText(other, "둘 다")];
    assert.notEqual(copies[0].headers["message-id"], copies[1].headers["message-id"]);
    assert.equal(copies[0].headers.ack, undefined);
    assert.ok(copies[1].headers.ack, "what is to be acknowledged says how");
    await talker.client.acknowledge(copies[1].headers["message-id"]);

    await talker.client.unsubscribe(one, { receipt: "gone" });
    await talker.receipt("gone");
    await talker.say(room, "하나만");
    await talker.hearsText(other, "하나만");
    assert.deepEqual((await talker.events(one)).map(({ content }) => content), ["둘 다"]);
    const unheard = await talker.frames(({ on, body }) => on === undefined && body.includes("하나만"));
    assert.deepEqual(unheard, [], "no copy for a subscription that is over");
  });

  talks("ids come back as they were sent", async (stage) => {
    const alice = stage.person("alice");
    const room = await alice.makeRoom();
    for (const [odd, ...versions] of [["a:b", "1.2", "1.1", "1.0"], ["구독 🌿", "1.2"], ["a,b;c=d/e", "1.1"], ["%3A", "1.0"]]) {
      for (const version of versions) {
        const talker = await stage.connect(alice, { versions: [version] });
        assert.equal(await talker.subscribe(topic(room), { id: odd, receipt: `subscribed ${odd}` }), odd);
        await talker.send(app(room, "send"), saying(`to ${odd}`), { receipt: `sent ${odd}` });
        await talker.hearsText(odd, `to ${odd}`);
        await talker.client.unsubscribe(odd, { receipt: `left ${odd}` });
        await talker.receipt(`left ${odd}`);
        await talker.client.stop();
      }
    }
  });

  talks("an id that is taken is an ERROR and the end", async (stage) => {
    const alice = stage.person("alice");
    const room = await alice.makeRoom();
    const talker = await stage.connect(alice);
    const id = await talker.subscribe(topic(room));
    await talker.client.subscribe(USER_QUEUE, { id });
    await talker.hears(({ command }) => command === "ERROR", "ERROR");
    await waitFor(async () => (await talker.client.heard()).closed, "the close");
  });

  // Without waiting for receipts, as clients do when they have connected, and pages when they are redrawn. The platform
  // hands over the messages of a connection side by side.
  talks("what is asked in one breath is done in that order", async (stage) => {
    const [alice, bob] = [stage.person("alice"), stage.person("bob")];
    const [room, strangers] = [await alice.makeRoom(), await bob.makeRoom()];
    const talker = await stage.connect(alice);
    const { client } = talker;
    await talker.subscribe(topic(room), { id: "again" });
    await stage.warm(talker, room, 6);
    await Promise.all([
      client.subscribe(USER_QUEUE, { id: "queue" }),
      client.subscribe(topic(strangers), { id: "strangers", receipt: "refused" }),
      client.subscribe(topic(room), { id: "given up" }),
      client.unsubscribe("given up", { receipt: "given up" }),
      client.unsubscribe("again", {}),
      client.subscribe(topic(room), { id: "again", receipt: "again" }),
    ]);
    await talker.isRefused("queue", "refused", "not_member");
    for (const receipt of ["given up", "again"]) await talker.receipt(receipt);
    await talker.say(room, "이제");
    await talker.hearsText("again", "이제");
    const copies = await talker.frames(({ command, body }) => command === "MESSAGE" && body.includes("이제"));
    assert.deepEqual([...new Set(copies.map(({ headers }) => headers.subscription))], ["again"]);
  });

  talks("a line feed alone is taken in silence, and frames may share a WebSocket message", async (stage) => {
    const alice = stage.person("alice");
    const room = await alice.makeRoom();
    const talker = await stage.connect(alice);
    const id = await talker.subscribe(topic(room));
    const others = () => talker.frames(({ headers }) => headers.type !== "event");
    const before = await others();
    await talker.client.sendRaw("\n");
    const frame = (content) => `SEND\r\ndestination:${app(room, "send")}\r\n\r\n${JSON.stringify(saying(content))}\0`;
    await talker.client.sendRaw(`${frame("하나")}\n\n${frame("둘")}\n${frame("셋")}`);
    await talker.hearsText(id, "셋");
    assert.deepEqual((await talker.events(id)).map(({ content }) => content), ["하나", "둘", "셋"]);
    assert.deepEqual(await others(), before);
  });

  talks("a goodbye ends the connection", async (stage) => {
    const talker = await stage.connect(stage.person("alice"));
    await talker.client.disconnect();
    await waitFor(async () => (await talker.client.heard()).closed, "the close");
    assert.deepEqual(await talker.frames(({ command }) => command === "ERROR"), []);
  });
}

/** What one test opens, and closes at its end. */
export class Stage {
  constructor(t, runtime, start) {
    Object.assign(this, { t, runtime, start });
  }

  person(name) {
    return new Person(this.runtime, name);
  }

  /** Has as many processes of the message function as frames are to come at once: none is to wait for a start. */
  async warm(talker, room, count) {
    const isMessage = ({ name }) => name === "message";
    await waitFor(async () => {
      await Promise.all(Array.from({ length: count }, () => talker.send(app(room, "typing"))));
      const { functions } = await (await fetch(`${this.runtime.url}/dev/functions`)).json();
      return functions.filter(isMessage).length >= count;
    }, `${count} processes`);
  }

  async open(settings) {
    const client = await this.start({ url: this.runtime.websocket, ...settings });
    this.t.after(() => client.stop());
    return new Talker(client);
  }

  /** A connection of somebody with a good token. */
  async connect(person, settings) {
    const talker = await this.open({ headers: { Authorization: `Bearer ${await person.token()}` }, ...settings });
    await talker.connected();
    return talker;
  }
}
