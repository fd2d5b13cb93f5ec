// Has schemathesis call the HTTP API of a runtime of its own, in which somebody has said something to somebody. With the
// JSON line of a running system in MADANG_ENDPOINTS it calls that one.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { startRuntime, waitFor } from "../browser/runtime.mjs";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const running = process.env.MADANG_ENDPOINTS;
const runtime = running ? { url: JSON.parse(running).http, stop: () => {} } : await startRuntime();
try {
  const { token } = await (await fetch(`${runtime.url}/dev/token?sub=alice&expiresIn=3600`)).json();
  const call = async (method, path, body) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const answer = await fetch(runtime.url + path, { method, headers, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const { roomId } = await call("POST", "/rooms", { name: "Courtyard", userIds: ["bob", "carol"] });
  await call("POST", `/rooms/${roomId}/messages`, { clientMessageId: "first", content: "안녕" });
  const history = async () => (await call("GET", `/rooms/${roomId}/messages`)).messages[0];
  const { messageId } = await waitFor(history, "the message to be in the history");
  const made = { MADANG_TOKEN: token, MADANG_ROOM: roomId, MADANG_MESSAGE: messageId };
  const schemathesis = spawn(
    "schemathesis",
    ["--config-file", path("schemathesis.toml"), "run", path("../../infra/openapi.yaml"), "--url", runtime.url],
    { env: { ...process.env, ...made }, stdio: ["ignore", "inherit", "inherit"] },
  );
  const [code] = await once(schemathesis, "close");
  process.exitCode = code ?? 1;
} finally {
  await runtime.stop();
}
