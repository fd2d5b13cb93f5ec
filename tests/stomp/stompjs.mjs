// @stomp/stompjs behind the few calls that a conversation makes. It is the same module in Node and on the page.

import { Client, Versions } from "@stomp/stompjs";

export class StompJs {
  frames = [];
  closed = 0;
  #messages = new Map();

  /** `headers` are those of CONNECT, `config` whatever else the library is to be told. */
  constructor({ url, headers, versions = ["1.2", "1.1", "1.0"], ...config }) {
    this.client = new Client({
      brokerURL: url,
      connectHeaders: headers,
      stompVersions: new Versions(versions),
      reconnectDelay: 0,
      onConnect: (frame) => this.hear(frame),
      onStompError: (frame) => this.hear(frame),
      onUnhandledMessage: (frame) => this.hear(frame),
      onUnhandledReceipt: (frame) => this.hear(frame),
      onWebSocketClose: () => (this.closed += 1),
      ...config,
    });
    this.client.activate();
  }

  /** Notes a frame; `on` is the subscription whose callback was called, if one was. */
  hear({ command, headers, body, ...frame }, on) {
    if (command === "MESSAGE") this.#messages.set(headers["message-id"], frame);
    this.frames.push({ command, headers, body, on });
  }

  heard = () => ({ frames: this.frames, closed: this.closed });

  subscribe(destination, headers) {
    this.#awaitReceipt(headers);
    this.client.subscribe(destination, (frame) => this.hear(frame, headers.id), headers);
  }

  unsubscribe(id, headers) {
    this.#awaitReceipt(headers);
    this.client.unsubscribe(id, headers);
  }

  send(destination, body, headers) {
    this.#awaitReceipt(headers);
    this.client.publish({ destination, body, headers });
  }

  acknowledge = (messageId) => this.#messages.get(messageId).ack();
  sendRaw = (text) => this.client.webSocket.send(text);
  disconnect = () => this.client.deactivate();
  stop = () => this.client.deactivate({ force: true });

  // The library drops a watcher once it was called, so a second receipt is heard as one that nobody waits for.
  #awaitReceipt({ receipt }) {
    if (receipt) this.client.watchForReceipt(receipt, (frame) => this.hear(frame));
  }
}
