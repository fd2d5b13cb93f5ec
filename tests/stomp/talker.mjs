// One STOMP connection of one person, whatever client makes it: frames are sent, and what comes is waited for.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import { waitFor } from "../browser/runtime.mjs";
import { kept, saying } from "./person.mjs";

export const topic = (room) => `/topic/rooms/${room}`;
export const app = (room, action) => `/app/rooms/${room}/${action}`;
export const USER_QUEUE = "/user/queue/events";

export class Talker {
  /** `client` makes the calls, at once or later; see StompJs and Webstomp. */
  constructor(client) {
    this.client = client;
  }

  async frames(condition = () => true) {
    return (await this.client.heard()).frames.filter(condition);
  }

  /** Waits for a frame, and answers with the first such. */
  hears(condition, what) {
    return waitFor(async () => (await this.frames(condition))[0], what);
  }

  connected() {
    return this.hears(({ command }) => command === "CONNECTED", "CONNECTED");
  }

  /** Waits for the ERROR, and for the close that follows; nothing comes after it. */
  async isEnded(code) {
    const { headers, body } = await this.hears(({ command }) => command === "ERROR", `ERROR ${code}`);
    await waitFor(async () => (await this.client.heard()).closed, "the close");
    assert.equal(headers.code, code);
    assert.equal((await this.frames()).at(-1).command, "ERROR");
    return { headers, body };
  }

  /** Subscribes, and waits until the subscription stands. */
  async subscribe(destination, headers = {}) {
    const all = { id: randomUUID(), receipt: randomUUID(), ...headers };
    await this.client.subscribe(destination, all);
    await this.receipt(all.receipt);
    return all.id;
  }

  /** Sends, and waits until it is kept. */
  async send(destination, body, headers = {}) {
    const all = { receipt: randomUUID(), ...headers };
    await this.client.send(destination, body && JSON.stringify(body), all);
    await this.receipt(all.receipt);
  }

  async say(room, content) {
    const message = saying(content);
    await this.send(app(room, "send"), message);
    return message;
  }

  receipt(id) {
    return this.hears(({ command, headers }) => command === "RECEIPT" && headers["receipt-id"] === id, `the receipt ${id}`);
  }

  /** The MESSAGE frames for which a subscription's callback was called. */
  on(id, type) {
    return this.frames((frame) => frame.command === "MESSAGE" && frame.on === id && (!type || frame.headers.type === type));
  }

  /** The room events that a client keeps of what a subscription has heard. */
  async events(id) {
    return kept((await this.on(id, "event")).map((frame) => JSON.parse(frame.body)));
  }

  /** Waits until a subscription has heard so many such frames, and answers with the last; one that came twice is one. */
  hearsTimes(id, type, times, condition) {
    const such = async () => {
      const frames = (await this.on(id, type)).filter((frame) => condition(JSON.parse(frame.body)));
      return [...new Map(frames.map((frame) => [frame.body, frame])).values()];
    };
    return waitFor(async () => (await such())[times - 1], `${type} on ${id}, ${times} times`);
  }

  hearsOn(id, type, condition = () => true) {
    return this.hearsTimes(id, type, 1, condition);
  }

  /** Waits for a message with this text on a subscription. */
  hearsText(id, content) {
    return this.hearsOn(id, "event", (event) => event.content === content);
  }

  /** Waits for what the user queue says of a refused frame: an error with one of these codes, and no receipt. */
  async isRefused(queue, receipt, ...codes) {
    const ofFrame = ({ headers }) => headers["receipt-id"] === receipt;
    const { headers, body } = await waitFor(async () => (await this.on(queue)).find(ofFrame), `a refusal of ${receipt}`);
    const { type, code } = JSON.parse(body);
    assert.deepEqual([headers.type, type], ["error", "error"]);
    assert.ok(codes.includes(code), `${code} instead of ${codes}`);
    assert.deepEqual(await this.frames((frame) => frame.command === "RECEIPT" && ofFrame(frame)), []);
  }
}
