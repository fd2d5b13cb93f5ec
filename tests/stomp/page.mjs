// The page's side of a conversation: the client that the test asks for, and every frame that it hears, for people to see.

import { StompJs } from "./stompjs.mjs";

class Shown extends StompJs {
  hear(frame, on) {
    super.hear(frame, on);
    const { command, headers, body } = frame;
    const event = body ? JSON.parse(body) : {};
    const item = document.createElement("li");
    item.dataset.command = command;
    const parts = {
      what: [command, headers.seq && `#${headers.seq}`, headers.type].filter(Boolean).join(" "),
      sender: event.sender ?? "",
      text: event.content ?? event.kind ?? event.code ?? headers.message ?? headers["receipt-id"] ?? headers.server ?? "",
    };
    for (const [name, text] of Object.entries(parts)) {
      // Each has a direction of its own.
      const part = Object.assign(document.createElement("bdi"), { className: name, textContent: text.slice(0, 200) });
      item.append(part);
    }
    document.querySelector("#frames").append(item);
    if (command === "CONNECTED") document.querySelector("#user").textContent = decodeURIComponent(headers["user-name"]);
  }
}

globalThis.begin = (settings) => {
  globalThis.talking = new Shown(settings);
};
