// @stomp/stompjs in headless Chromium, on a page of another origin that imports the package as an ES module: the same
// conversation as in Node, with the browser's own WebSocket.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { test } from "node:test";

import { startRuntime, waitFor } from "../browser/runtime.mjs";
import { Browser } from "../browser/window.mjs";
import { Stage, conversation } from "./conversation.mjs";
import { topic } from "./talker.mjs";

const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript", mjs: "text/javascript" };

/** Serves the page, its two modules and the package as npm has installed it, until the tests end. */
async function servePage() {
  const server = createServer(async ({ url }, answer) => {
    const path = url.replace(/^\/$/, "/page.html").replace(/^\/stompjs\//, "/node_modules/@stomp/stompjs/esm6/");
    try {
      const file = await readFile(new URL(`.${path}`, import.meta.url));
      answer.writeHead(200, { "content-type": TYPES[path.split(".").at(-1)] ?? "application/octet-stream" }).end(file);
    } catch {
      answer.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  return `http://127.0.0.1:${server.address().port}`;
}

/** A client that lives on a page; every call is made there. */
class PageClient {
  static async start(settings) {
    const client = new PageClient();
    client.page = await browser.context.newPage();
    await client.page.goto(page);
    await client.page.waitForFunction(() => globalThis.begin);
    await client.page.evaluate((settings) => begin(settings), settings);
    return client;
  }

  async #call(method, ...args) {
    return this.page.evaluate(([method, args]) => talking[method](...args), [method, args]);
  }

  heard = () => this.#call("heard");
  subscribe = (...args) => this.#call("subscribe", ...args);
  unsubscribe = (...args) => this.#call("unsubscribe", ...args);
  send = (...args) => this.#call("send", ...args);
  acknowledge = (...args) => this.#call("acknowledge", ...args);
  sendRaw = (...args) => this.#call("sendRaw", ...args);
  disconnect = () => this.#call("disconnect");
  stop = () => this.page.close();
}

let page, runtime;
const browser = new Browser(async () => {
  page = await servePage();
  runtime = await startRuntime("--allow-origin", page);
  return { url: page, stop: runtime.stop };
});

conversation("stompjs in Chromium", () => runtime, PageClient.start);

test("two people in two windows, to be looked at", { timeout: 60_000 }, async (t) => {
  const stage = new Stage(t, runtime, PageClient.start);
  const [alice, bob] = [stage.person("앨리스"), stage.person("بوب")];
  const room = await alice.makeRoom(bob);
  const [hers, his] = [await stage.connect(alice), await stage.connect(bob)];
  const [herId, hisId] = [await hers.subscribe(topic(room)), await his.subscribe(topic(room))];
  const exchange = [
    [hers, "안녕하세요, 밥! 🌸"],
    [his, "مرحبا يا أليس، كيف حالك اليوم؟"],
    [hers, "👨‍👩‍👧‍👦 🏳️‍🌈 <b>not bold</b>"],
  ];
  for (const [speaker, text] of exchange) {
    await speaker.say(room, text);
    for (const [talker, id] of [[hers, herId], [his, hisId]]) await talker.hearsText(id, text);
  }
  for (const [talker, name] of [[hers, "stomp-alice"], [his, "stomp-bob"]]) {
    const shown = await talker.client.page.$$eval("[data-command=MESSAGE] .text", (parts) => parts.map((part) => part.textContent));
    assert.deepEqual([...new Set(shown)], exchange.map(([, text]) => text));
    await browser.photograph(talker.client.page, name);
  }
  t.diagnostic(`screenshots: ${browser.screenshots}`);
  assert.deepEqual([browser.faults, browser.strangers], [[], []]);
});

test("a page of an origin that is not on the list does not get in", { timeout: 60_000 }, async (t) => {
  const stage = new Stage(t, runtime, PageClient.start);
  const headers = { Authorization: `Bearer ${await stage.person("alice").token()}` };
  const window = await browser.context.newPage();
  t.after(() => window.close());
  await window.goto(page.replace("127.0.0.1", "localhost"));
  await window.waitForFunction(() => globalThis.begin);
  await window.evaluate((settings) => begin(settings), { url: runtime.websocket, headers });
  const heard = () => window.evaluate(() => talking.heard());
  await waitFor(async () => (await heard()).closed, "the close");
  assert.deepEqual((await heard()).frames, []);
});
