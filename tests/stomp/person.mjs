// Somebody with a token: what they do over HTTP, and how they talk as JSON.

import { randomUUID } from "node:crypto";
import WebSocket from "ws";

import { waitFor } from "../browser/runtime.mjs";

export class Person {
  /** Nobody else in the runtime has this name, so that no test sees what another has left. */
  constructor(runtime, name) {
    this.runtime = runtime;
    this.id = `${name}-${randomUUID().slice(0, 8)}`;
  }

  async token(expiresInSeconds = 3600) {
    const answer = await fetch(`${this.runtime.url}/dev/token?sub=${encodeURIComponent(this.id)}&expiresIn=${expiresInSeconds}`);
    return (await answer.json()).token;
  }

  async call(method, path, body) {
    const headers = { authorization: `Bearer ${await this.token()}`, "content-type": "application/json" };
    const answer = await fetch(this.runtime.url + path, { method, headers, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  async makeRoom(...others) {
    const { roomId } = await this.call("POST", "/rooms", { name: "마당", userIds: others.map((other) => other.id) });
    return roomId;
  }

  /** The room's log as it is stored, from its start. */
  async log(room) {
    return (await this.call("GET", `/rooms/${room}/events?after=0&limit=100`)).events;
  }

  /** Joins a room as a JSON person. */
  async joinAsJson(t, room) {
    const headers = { authorization: `Bearer ${await this.token()}` };
    const socket = new WebSocket(this.runtime.websocket, "chat.v1.json", { headers });
    t.after(() => socket.terminate());
    const frames = [];
    socket.on("message", (text) => frames.push(JSON.parse(text)));
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    const ask = async (action, fields) => {
      const id = randomUUID();
      socket.send(JSON.stringify({ action, id, roomId: room, ...fields }));
      return waitFor(() => frames.find((frame) => frame.id === id), `an answer to ${action}`);
    };
    const events = () => kept(frames.filter((frame) => frame.type === "events").flatMap((frame) => frame.events));
    await ask("subscribe", {});
    return { ask, events };
  }
}

/** Events by the client's rule: a batch that the platform delivers again makes some come twice, or late. */
export function kept(events) {
  const bySeq = new Map(events.map((event) => [event.seq, event]));
  return [...bySeq.values()].sort((one, other) => one.seq - other.seq);
}

/** A message as `send` takes it. */
export const saying = (content) => ({ clientMessageId: randomUUID(), content });
