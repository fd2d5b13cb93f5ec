// Has Maven run the tests against a runtime of their own. With the JSON line of a running system in MADANG_ENDPOINTS,
// `mvn test` alone runs them against that one.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { startRuntime } from "../browser/runtime.mjs";

const runtime = await startRuntime();
try {
  const endpoints = JSON.stringify({ http: runtime.url, websocket: runtime.websocket });
  const maven = spawn("mvn", ["--batch-mode", "--no-transfer-progress", "test", ...process.argv.slice(2)], {
    cwd: fileURLToPath(new URL(".", import.meta.url)),
    env: { ...process.env, MADANG_ENDPOINTS: endpoints },
    stdio: ["ignore", "inherit", "inherit"],
  });
  const [code] = await once(maven, "close");
  process.exitCode = code ?? 1;
} finally {
  await runtime.stop();
}
