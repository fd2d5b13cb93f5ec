// webstomp-client behind the few calls that a conversation makes.

import WebSocket from "ws";
import webstomp from "webstomp-client";

/** The library's own list, in its order: the lowest version first. */
const VERSIONS = ["1.0", "1.1", "1.2"];

export class Webstomp {
  frames = [];
  closed = 0;
  #messages = new Map();

  constructor({ url, headers, versions = VERSIONS, maxWebSocketFrameSize }) {
    const protocols = versions.map((version) => `v${version.replace(".", "")}.stomp`);
    this.socket = new WebSocket(url, protocols);
    // The library takes the socket's `onclose` back before it disconnects.
    this.socket.addEventListener("close", () => (this.closed += 1));
    this.socket.addEventListener("error", () => {}); // A close follows.
    this.client = webstomp.over(this.socket, { debug: false, protocols });
    if (maxWebSocketFrameSize) this.client.maxWebSocketFrameSize = maxWebSocketFrameSize;
    this.client.onreceipt = (frame) => this.hear(frame);
    this.client.onreceive = (frame) => this.hear(frame);
    this.client.connect({ ...headers }, (frame) => this.hear(frame), (ended) => ended.command && this.hear(ended));
  }

  hear({ command, headers, body, ...frame }, on) {
    if (command === "MESSAGE") this.#messages.set(headers["message-id"], frame);
    this.frames.push({ command, headers, body, on });
  }

  heard = () => ({ frames: this.frames, closed: this.closed });
  subscribe = (destination, headers) => this.client.subscribe(destination, (frame) => this.hear(frame, headers.id), headers);
  unsubscribe = (id, headers) => this.client.unsubscribe(id, headers);
  send = (destination, body, headers) => this.client.send(destination, body, headers);
  acknowledge = (messageId) => this.#messages.get(messageId).ack();
  sendRaw = (text) => this.socket.send(text);
  disconnect = () => this.client.disconnect();
  stop = () => this.socket.terminate();
}
