// @stomp/stompjs in Node: the conversation, and what only this library does.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import WebSocket from "ws";

import { startRuntime, waitFor } from "../browser/runtime.mjs";
import { Stage, conversation } from "./conversation.mjs";
import { saying } from "./person.mjs";
import { StompJs } from "./stompjs.mjs";
import { Talker, app, topic } from "./talker.mjs";

// Node 20 has none of its own; the library's documentation asks for it.
globalThis.WebSocket = WebSocket;

const start = (settings) => new StompJs(settings);
const LIMIT = { timeout: 60_000 };
let runtime;

before(async () => (runtime = await startRuntime()));
after(() => runtime?.stop());

conversation("stompjs", () => runtime, start);

test("stompjs comes back by itself, with a fresh token, and has missed nothing", LIMIT, async (t) => {
  const stage = new Stage(t, runtime, start);
  const [alice, bob] = [stage.person("alice"), stage.person("bob")];
  const room = await alice.makeRoom(bob);
  const owner = await stage.connect(alice);
  const missed = ["끊긴 동안 1", "끊긴 동안 2"];
  const unsaid = [...missed];
  let last, connects = 0;
  const client = new StompJs({
    url: runtime.websocket,
    reconnectDelay: 10,
    beforeConnect: async (library) => {
      if (last) for (const text of unsaid.splice(0)) await owner.say(room, text);
      library.connectHeaders = { Authorization: `Bearer ${await bob.token()}` };
    },
    onConnect: () => {
      connects += 1;
      client.subscribe(topic(room), { id: "room", receipt: `subscribed ${connects}`, ...last });
    },
  });
  t.after(() => client.stop());
  const member = new Talker(client);
  await member.receipt("subscribed 1");
  await owner.say(room, "끊기기 전");
  const { headers } = await member.hearsText("room", "끊기기 전");
  last = { "after-seq": headers.seq, epoch: headers.epoch };

  client.client.webSocket.terminate();
  await member.receipt("subscribed 2");
  await owner.say(room, "다시 있을 때");
  const texts = ["끊기기 전", ...missed, "다시 있을 때"];
  await waitFor(async () => (await member.events("room")).length >= texts.length, "what was missed, and what followed");
  assert.deepEqual((await member.events("room")).map(({ content }) => content), texts);
});

test("a token in the handshake will do", LIMIT, async (t) => {
  const stage = new Stage(t, runtime, start);
  const alice = stage.person("alice");
  const talker = await stage.open({ url: `${runtime.websocket}?token=${await alice.token()}`, headers: {} });
  assert.equal(decodeURIComponent((await talker.connected()).headers["user-name"]), alice.id);
});

test("a frame that stompjs has split is an ERROR that names the setting", LIMIT, async (t) => {
  const stage = new Stage(t, runtime, start);
  const alice = stage.person("alice");
  const room = await alice.makeRoom();
  const talker = await stage.connect(alice, { splitLargeFrames: true });
  await talker.client.send(app(room, "send"), JSON.stringify(saying("긴 글 ".repeat(1_000) + "x".repeat(1_000) + '"'.repeat(2_000))), {});
  const error = await talker.hears(({ command }) => command === "ERROR", "ERROR");
  assert.match(JSON.stringify(error), /splitLargeFrames/);
  await waitFor(() => talker.client.closed, "the close");
  assert.deepEqual((await alice.log(room)).filter(({ kind }) => kind === "message"), []);
});

test("a backslash in an id is stompjs's own to read back", LIMIT, async (t) => {
  const stage = new Stage(t, runtime, start);
  const alice = stage.person("alice");
  const room = await alice.makeRoom();
  const talker = await stage.connect(alice);
  await talker.subscribe(topic(room), { id: "a\\b" });
  await talker.subscribe(topic(room), { id: "a\\new", receipt: "new" });
  await talker.say(room, "둘 다");
  await talker.hearsText("a\\b", "둘 다");
  // The library reads the `\n` in `\\n` first, and so finds no callback: nothing that a server can mend.
  const lost = await talker.hears(({ command, on }) => command === "MESSAGE" && on === undefined, "the unheard copy");
  assert.equal(lost.headers.subscription, "a\\\new");
});

test("transactions and binary frames are refused", LIMIT, async (t) => {
  const stage = new Stage(t, runtime, start);
  const alice = stage.person("alice");
  const talker = await stage.connect(alice);
  talker.client.client.begin("tx");
  await talker.hears(({ command }) => command === "ERROR", "ERROR");
  await waitFor(() => talker.client.closed, "the close");

  // As API Gateway does: before any function sees it.
  const binary = await stage.open({ headers: { Authorization: `Bearer ${await alice.token()}` }, forceBinaryWSFrames: true });
  await waitFor(() => binary.client.closed, "the close");
  assert.deepEqual(await binary.frames(), []);
});

test("one session too many ends the oldest with an ERROR", LIMIT, async (t) => {
  const stage = new Stage(t, runtime, start);
  const alice = stage.person("alice");
  const talkers = [];
  for (let count = 0; count < 6; count += 1) talkers.push(await stage.connect(alice));
  const { body } = await talkers[0].isEnded("session_replaced");
  const { type, reconnect } = JSON.parse(body);
  assert.deepEqual([type, reconnect], ["bye", "never"]);
  assert.deepEqual(await talkers[5].frames(({ command }) => command === "ERROR"), []);
});
