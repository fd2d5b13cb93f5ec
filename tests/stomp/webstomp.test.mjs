// webstomp-client in Node: the conversation, and what only this library does.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startRuntime, waitFor } from "../browser/runtime.mjs";
import { Stage, conversation } from "./conversation.mjs";
import { saying } from "./person.mjs";
import { app, topic } from "./talker.mjs";
import { Webstomp } from "./webstomp.mjs";

const start = (settings) => new Webstomp(settings);
const LIMIT = { timeout: 60_000 };
let runtime;

before(async () => (runtime = await startRuntime()));
after(() => runtime?.stop());

conversation("webstomp-client", () => runtime, start);

test("a frame that webstomp-client has split is an ERROR that names the setting; unsplit it is kept", LIMIT, async (t) => {
  const stage = new Stage(t, runtime, start);
  const alice = stage.person("alice");
  const room = await alice.makeRoom();
  // Few scalar values, and above 16 Ki characters once JSON has escaped them.
  const text = "\u0001".repeat(3_000) + "끝";

  const split = await stage.connect(alice);
  await split.client.send(app(room, "send"), JSON.stringify(saying(text)), {});
  const error = await split.hears(({ command }) => command === "ERROR", "ERROR");
  assert.match(JSON.stringify(error), /maxWebSocketFrameSize/);
  await waitFor(() => split.client.closed, "the close");
  assert.deepEqual((await alice.log(room)).filter(({ kind }) => kind === "message"), []);

  const whole = await stage.connect(alice, { maxWebSocketFrameSize: 32 * 1024 });
  const id = await whole.subscribe(topic(room));
  await whole.say(room, text);
  await whole.hearsText(id, text);
});

test("what webstomp-client does not escape is an ERROR, not a guess", LIMIT, async (t) => {
  const stage = new Stage(t, runtime, start);
  const alice = stage.person("alice");
  const room = await alice.makeRoom();
  const talker = await stage.connect(alice);
  await talker.client.subscribe(topic(room), { id: "a\\b" });
  await talker.hears(({ command }) => command === "ERROR", "ERROR");
  await waitFor(() => talker.client.closed, "the close");
});
