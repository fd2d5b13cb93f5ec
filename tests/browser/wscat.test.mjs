// The line that `cargo run` prints for wscat, as it would be pasted, and the frames to paste into it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";

import { startRuntime, waitFor } from "./runtime.mjs";

let runtime;
before(async () => (runtime = await startRuntime()));
after(() => runtime?.stop());

/** wscat as a shell would start the printed line, with the installed wscat in the place of what npx would fetch. */
function startWscat(line) {
  const binaries = fileURLToPath(new URL("./node_modules/.bin", import.meta.url));
  const command = line.replace(/^npx wscat/, "exec wscat");
  const environment = { ...process.env, PATH: `${binaries}:${process.env.PATH}` };
  const child = spawn("sh", ["-c", command], { env: environment, stdio: ["pipe", "pipe", "pipe"] });
  const heard = [];
  let errors = "", rest = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (errors += text));
  child.stdout.setEncoding("utf8").on("data", (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    // Its prompt stands before what it hears.
    heard.push(...lines.map((line) => line.replace(/^(> )+/, "")).filter(Boolean).map((line) => JSON.parse(line)));
  });
  const ended = new Promise((resolve) => child.once("close", resolve));
  const of = (type) => heard.filter((frame) => frame.type === type);
  return {
    paste: (frame) => child.stdin.write(`${typeof frame === "string" ? frame : JSON.stringify(frame)}\n`),
    hear: (condition, what) => waitFor(() => { assert.equal(errors, ""); return heard.find(condition); }, what),
    of,
    // wscat says nothing about being connected unless it stands in a terminal; whoever answers a ping is.
    async connected() {
      await waitFor(() => { assert.equal(errors, ""); if (!of("pong").length) this.paste({ action: "ping", id: "ping" }); return of("pong").length; }, "a pong");
    },
    stop: () => (child.stdin.end(), child.kill("SIGTERM"), ended),
  };
}

test("the printed line and frames work when pasted", { timeout: 20 * 60_000 }, async (t) => {
  const lines = runtime.printed.split("\n").map((line) => line.trim());
  const line = lines.find((line) => line.startsWith("npx wscat"));
  const [subscribe, send] = ["subscribe", "send"].map((action) => lines.find((line) => line.startsWith(`{"action":"${action}"`)));
  const { roomId, content } = JSON.parse(send);
  const wscat = startWscat(line);
  t.after(() => wscat.stop());
  await wscat.connected();

  wscat.paste(subscribe);
  const subscribed = await wscat.hear((each) => each.type === "subscribed", "subscribed");
  assert.equal(subscribed.roomId, roomId);

  wscat.paste(send);
  const ack = await wscat.hear((each) => each.type === "ack", "an ack");
  const { events: [event] } = await wscat.hear((each) => each.type === "events", "the event");
  assert.equal(event.commandId, ack.commandId);
  assert.equal(event.content, content);
  assert.equal(event.seq, subscribed.lastSeq + 1);

  // Pasted again it is the same message: the same clientMessageId.
  wscat.paste(send);
  const duplicate = await wscat.hear((each) => each.type === "duplicate", "a duplicate");
  assert.equal(duplicate.seq, event.seq);

  wscat.paste({ action: "send", id: "second", roomId, clientMessageId: crypto.randomUUID(), content: "붙여 넣은 글 مرحبا 🌿" });
  const later = await wscat.hear((each) => each.type === "events" && each.events[0].seq === event.seq + 1, "the next event");
  assert.equal(later.events[0].content, "붙여 넣은 글 مرحبا 🌿");

  wscat.paste("not json");
  const error = await wscat.hear((each) => each.type === "error", "an error");
  assert.equal(error.code, "bad_json");
});
