// What goes wrong on the way: refusals, lost frames and lost answers, lines that do not last. What was said stands in the
// room once and in its order, what cannot be said is told, and nothing is tried for ever.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { waitFor } from "./runtime.mjs";
import { Browser } from "./window.mjs";

const browser = new Browser();
let alice, bob;

beforeEach(async (t) => {
  alice = await browser.open("/?user=alice");
  await alice.create(t.name, "bob");
  bob = await browser.open(`/?user=bob#${await alice.roomId()}`);
  await bob.isIn(t.name);
});
afterEach(async () => {
  for (const window of [alice, bob]) await window.page.close();
  assert.deepEqual(browser.faults, []);
  assert.deepEqual(browser.strangers, []);
});

const failed = (window) => window.page.$$eval("#messages li[data-state=failed] .mark", (marks) => marks.map((mark) => mark.textContent));
const bothShow = async (expected) => {
  for (const window of [alice, bob]) await window.showsAll(expected);
};
/** From here on the window's time can be moved forward. */
const takeTheClock = async (window) => {
  await window.page.clock.install();
  await window.reload();
};
/** Holds back what a window asks for under paths with this end, until what this resolves to is called. */
const hold = async (window, end) => {
  let letGo;
  const held = new Promise((resolve) => (letGo = resolve));
  await window.page.route((url) => url.pathname.endsWith(end), async (route) => (await held, route.continue()));
  return letGo;
};
const refusal = ({ id }, code) => ({ type: "error", id, code, message: "No.", retryable: false });

test("too long for a frame", async () => {
  await alice.sayAtOnce(["길".repeat(11_000), "그다음"]);
  await bothShow(["그다음"]);
  assert.match((await failed(alice))[0], /content_too_long/);
  await alice.reload();
  await alice.say("다시");
  await bothShow(["그다음", "다시"]);
  assert.match((await failed(alice))[0], /content_too_long/, "it stays refused");
});

test("half an emoji", async () => {
  await alice.page.$eval("#input", (input) => {
    input.value = "반쪽 \ud83d";
    input.form.requestSubmit();
  });
  await alice.say("온전한 🌙");
  await bothShow(["반쪽 \ufffd", "온전한 🌙"]);
});

test("said in a room that is not open", async (t) => {
  await alice.create("앞방");
  await alice.enter(t.name);
  alice.refuse = true;
  await alice.cut();
  await alice.page.waitForSelector("#state[data-state=waiting]");
  await alice.sayAtOnce(["두고 간 글 1", "두고 간 글 2"]);
  await alice.enter("앞방");
  await alice.page.reload();
  alice.refuse = false;
  await alice.ready();
  await bob.showsAll(["두고 간 글 1", "두고 간 글 2"]);
  assert.equal(await alice.page.textContent("#room-name"), "앞방", "it goes out from behind");
  await alice.enter(t.name);
  await alice.showsAll(["두고 간 글 1", "두고 간 글 2"]);
});

test("an expired token", async () => {
  let refused = 0;
  alice.answer = (frame) => (frame.action === "send" && refused++ === 0 ? refusal(frame, "token_expired") : null);
  await alice.sayAtOnce(["가", "나"]);
  await bothShow(["가", "나"]);
  assert.deepEqual(await failed(alice), []);
});

test("refused for good", async () => {
  await alice.say("길".repeat(4_001));
  await waitFor(async () => (await failed(alice)).length, "the refusal");
  await alice.reload();
  await alice.say("그래도");
  await bothShow(["그래도"]);
  assert.equal((await alice.sent("send")).length, 1, "what was refused is not tried again by itself");
  assert.match((await failed(alice))[0], /content_too_long/);
});

test("lines that do not last", async () => {
  await alice.page.addInitScript(() => (Math.random = () => 0.999));
  await takeTheClock(alice);
  // Time flows: a state may be over before anybody looks.
  await alice.page.evaluate(() => {
    const state = document.getElementById("state");
    globalThis.states = [];
    new MutationObserver(() => states.push(state.textContent)).observe(state, { childList: true });
  });
  const cut = async (seconds) => {
    await alice.page.evaluate(() => (states.length = 0));
    await alice.cut();
    const wait = `reconnecting in ${seconds} s`;
    await waitFor(() => alice.page.evaluate((wait) => states.some((state) => state.includes(wait)), wait), wait);
    await alice.page.clock.fastForward(seconds * 1_000);
    await alice.page.waitForSelector("#state[data-state=open]");
  };
  for (const seconds of [1, 2, 4]) await cut(seconds);
  await alice.page.clock.fastForward(60_000);
  await cut(1);

  alice.push({ type: "bye", code: "protocol_error", reconnect: "backoff", retryAfterMs: 60_000 });
  await alice.cut();
  await alice.page.waitForSelector("#state[data-state=waiting]");
  const online = () => alice.page.evaluate(() => (dispatchEvent(new Event("online")), document.getElementById("state").dataset.state));
  assert.equal(await online(), "waiting", "not sooner than the server asks for");
  await alice.page.clock.fastForward(60_000);
  await alice.page.waitForSelector("#state[data-state=open]");
});

/** Removes bob and invites him again. He hears nothing of it; resolves to the notices of both. */
const removeAndInvite = async () => {
  const seqs = () => alice.page.$$eval("#messages li.event", (items) => items.map((item) => Number(item.dataset.seq)));
  const before = (await seqs()).length;
  bob.swallow = ({ type }) => type === "events" || type === "notice";
  await alice.onMember("bob", "Remove");
  await waitFor(async () => !("bob" in (await alice.members())), "bob to be gone");
  await alice.invite("bob");
  await waitFor(async () => (await seqs()).length === before + 2, "bob to be back");
  bob.swallow = ({ type }) => type === "notice";
  const [removal, invitation] = (await seqs()).slice(before);
  const roomId = await alice.roomId();
  const event = (kind, seq) => ({ seq, kind: `member.${kind}`, sender: "alice", userId: "bob" });
  const notice = (kind, seq) => ({ type: "notice", kind, roomId, event: event(kind, seq) });
  return { kicked: notice("kicked", removal), invited: notice("invited", invitation) };
};

test("removed and invited, learnt late", async () => {
  const { invited } = await removeAndInvite();
  bob.push(invited);
  await alice.say("들리나요?");
  await bothShow(["들리나요?"]);

  const { kicked } = await removeAndInvite();
  await alice.page.fill("#new-name", "다시 한번");
  await alice.page.click("#rename button");
  await alice.isIn("다시 한번");
  bob.push({ type: "events", roomId: "g-unknown", events: [] });
  await bob.isIn("다시 한번"); // He has it from the list of rooms, with his new membership.
  bob.push(kicked);
  await alice.say("그리고 지금은?");
  await bothShow(["들리나요?", "그리고 지금은?"]);
});

test("removed and invited while a subscription is on its way", async () => {
  const roomId = await alice.roomId();
  let subscribed;
  const isAnswer = ({ type, roomId: of }) => type === "subscribed" && of === roomId;
  bob.swallow = (frame) => !subscribed && isAnswer(frame) && (subscribed = frame);
  await bob.cut();
  await waitFor(() => subscribed, "the answer");
  const { invited } = await removeAndInvite();
  bob.push(invited);
  const asked = () => bob.page.$$eval("#frames li.http .gist", (gists) => gists.map((gist) => gist.textContent));
  const hasLooked = async () => (await asked()).some((path) => path.startsWith(`/rooms/${roomId} →`));
  await waitFor(hasLooked, "bob to look at the room anew");
  bob.push(subscribed);
  await alice.say("들리나요?");
  await bothShow(["들리나요?"]);
});

test("a notice that never comes", async () => {
  bob.swallow = ({ type }) => type === "notice";
  await alice.create("모르는 방", "bob");
  const comeBack = () => bob.page.evaluate(() => dispatchEvent(new Event("focus")));
  await waitFor(async () => (await comeBack(), bob.room("모르는 방")), "the room to be in the list");
});

test("a room that loads slowly", async (t) => {
  await bob.create("옆방");
  await bob.reload();
  const load = await hold(bob, "/messages");
  bob.swallow = ({ type }) => type === "events";
  await bob.choose(t.name);
  await alice.say("들어오는 사이에");
  await alice.shows("들어오는 사이에");
  await bob.page.click("nav summary");
  await bob.page.fill("#room-title", "다음 방");
  load();
  await bob.shows("들어오는 사이에");
  const focused = await bob.page.evaluate(() => document.activeElement.id);
  assert.equal(focused, "room-title", "the focus is where bob has put it");
  await waitFor(async () => (await bob.sent("read")).length, "bob to say that he has read it");
});

test("read before the members are known", async () => {
  await bob.page.close();
  await alice.say("읽었나요?");
  await alice.shows("읽었나요?");
  const [{ seq }] = await alice.messages();
  const load = await hold(alice, "/members");
  const asked = alice.page.waitForRequest(/\/members\?/);
  await alice.reload();
  await asked;
  alice.push({ type: "read", roomId: await alice.roomId(), userId: "bob", seq });
  load();
  await waitFor(async () => /^read by .*bob/.test(await alice.readers("읽었나요?")), "the receipt");
});

test("a new epoch whose history does not come", async () => {
  await alice.say("처음부터");
  await bothShow(["처음부터"]);
  const roomId = await alice.roomId();
  let told = 0, lost = 0;
  bob.answer = ({ action, id, roomId: of, after }) => {
    if (action !== "subscribe" || of !== roomId || told++) return null;
    return { type: "subscribed", id, roomId, recovered: false, epoch: after.epoch };
  };
  const isHistory = (url) => url.pathname.endsWith("/messages");
  await bob.page.route(isHistory, (route) => (lost++ ? route.fallback() : route.abort()));
  await bob.cut();
  await waitFor(() => lost, "bob to ask for the history");
  await bothShow(["처음부터"]);
});

test("no more subscriptions", async () => {
  await takeTheClock(alice);
  const roomId = await alice.roomId();
  let refused = 0; // Of this room alone: what waits in the rooms of other tests asks for theirs.
  await alice.say("First");
  await alice.shows("First");
  alice.answer = (frame) => (frame.action === "subscribe" && frame.roomId === roomId ? (refused++, refusal(frame, "limit_reached")) : null);
  await alice.cut();
  await alice.page.clock.fastForward(1_000);
  await alice.notice(/limit_reached/);
  await alice.page.clock.fastForward(10_000);
  await alice.say("Still here");
  await alice.shows("Still here");
  assert.equal(refused, 1, "it is asked once");
});

test("a lost answer to a new room", async () => {
  let lost = 0;
  await alice.page.route((url) => url.pathname === "/rooms", async (route) => {
    if (route.request().method() !== "POST" || lost++) return route.fallback();
    await route.fetch();
    await route.abort();
  });
  await alice.page.click("nav summary");
  await alice.page.fill("#room-title", "처음 이름");
  await alice.page.click("#group button");
  await alice.notice(/./);
  await alice.page.fill("#room-title", "다른 이름");
  await alice.page.click("#group button");
  await alice.isIn("다른 이름");
  await alice.reload();
  assert.ok(await alice.room("처음 이름"), "the first room is there all the same");
});

test("a lost refusal", async () => {
  await takeTheClock(alice);
  alice.answer = ({ action, id, clientMessageId }) => (action === "send" ? { type: "ack", id, clientMessageId, commandId: "01JD" } : null);
  await alice.page.route(/\/commands\/01JD\?clientMessageId=/, (route) => route.fulfill({ json: { state: "refused", code: "forbidden" } }));
  await alice.say("들렸나요?");
  await alice.page.waitForSelector("#messages li[data-state=acked]");
  await alice.page.clock.fastForward(10_000);
  await waitFor(async () => /forbidden/.test((await failed(alice))[0]), "the refusal to be shown");
});
