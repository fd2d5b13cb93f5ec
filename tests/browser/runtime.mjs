// The local runtime as a newcomer meets it: `cargo run`, and what it prints.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** The first start may build everything. */
const START_MS = 15 * 60_000;
/** Longer than the runtime itself gives its parts to end. */
const STOP_MS = 90_000;

/**
 * Starts a runtime on a free port, with flags of its own. Resolves, once it has printed how to use it, to its addresses,
 * all that it printed, and `stop`, which ends it the way Ctrl-C does and takes nothing but a clean end.
 */
export async function startRuntime(...flags) {
  const child = spawn("cargo", ["run", "--quiet", "--", "--port", "0", ...flags], { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise((resolve) => child.once("close", (code, signal) => resolve(code ?? signal)));
  let printed = "";
  let told = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (told = (told + text).slice(-20_000)));
  child.stdout.setEncoding("utf8").on("data", (text) => (printed += text));

  const end = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGINT");
    const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    const outcome = await ended;
    clearTimeout(late);
    return outcome;
  };
  const ready = waitFor(() => /npx wscat/.test(printed) && /^ *\{"action":"send".*\}\n/m.test(printed), "the runtime to print how to use it", START_MS);
  const early = ended.then((outcome) => Promise.reject(new Error(`the runtime ended with ${outcome} before it was ready:\n${told}`)));
  try {
    await Promise.race([ready, early]);
  } catch (error) {
    await end();
    throw Object.assign(error, { message: `${error.message}\n${printed}\n${told}` });
  }
  early.catch(() => {}); // From here on an end is `stop`'s doing, or a test's to notice.
  const stop = async () => assert.equal(await end(), 0, `the runtime ends cleanly:\n${told}`);
  const [url] = printed.match(/http:\/\/(?:127\.0\.0\.1|localhost):\d+/);
  const [websocket] = printed.match(/ws:\/\/[^\s?"]+/);
  return { url, websocket, printed, stop };
}

/** Waits until `condition` gives something true, and resolves to that. */
export async function waitFor(condition, what, withinMs = 30_000) {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited ${withinMs / 1_000} s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
