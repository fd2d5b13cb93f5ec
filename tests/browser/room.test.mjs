// A room as people use it, each in a window of their own: invitations and removals, roles, edits and deletions, what is
// unread and who has read it. Every step is done by hand on one page and seen on another's.

import assert from "node:assert/strict";
import { test } from "node:test";

import { waitFor } from "./runtime.mjs";
import { Browser, texts } from "./window.mjs";

const browser = new Browser();

const unread = (window, name, count) =>
  waitFor(async () => (await window.room(name))?.unread === count, `${name} to have ${count || "nothing"} unread`);
const nothingWrong = () => (assert.deepEqual(browser.faults, []), assert.deepEqual(browser.strangers, []));

test("members come, rise, go and come back", { timeout: 10 * 60_000 }, async (t) => {
  const alice = await browser.open("/?user=alice");
  const dave = await browser.open("/?user=dave");
  await alice.create("정원 모임", "bob");
  await alice.say("누가 더 올까요?");
  await alice.shows("누가 더 올까요?");

  await t.test("whoever is invited has the room at once", async () => {
    await alice.invite("dave");
    await waitFor(() => dave.room("정원 모임"), "dave to see the room");
    await dave.enter("정원 모임");
    await dave.shows("누가 더 올까요?");
    await dave.say("저요! 🙋");
    await alice.shows("저요! 🙋");
    const expected = { alice: "you, owner", bob: "", dave: "" };
    await waitFor(async () => Object.keys(await alice.members()).length === 3, "three members");
    assert.deepEqual(await alice.members(), expected);
    await waitFor(async () => Object.keys(await dave.members()).length === 3, "three members in dave's window");
    assert.equal((await dave.members()).dave, "you");
    await waitFor(async () => (await alice.page.textContent("#room-people-now")) === "3 members, 2 online", "the count of members");
    assert.equal(await dave.page.isVisible("#invite"), false, "a member is offered no invitations");
  });

  await t.test("a refusal is told in words", async () => {
    await alice.page.fill("#guests", "dave");
    await alice.page.click("#invite button");
    await alice.notice(/It is so already.*no_change/);
    await alice.onMember("alice", "Make member");
    await alice.notice(/keeps an owner.*last_owner/);
  });

  await t.test("an admin may do more, at once", async () => {
    await alice.onMember("dave", "Make admin");
    await waitFor(async () => (await dave.members()).dave === "you, admin", "dave to be an admin");
    await dave.page.fill("#new-name", "봄 정원");
    await dave.page.click("#rename button");
    await waitFor(async () => (await alice.page.textContent("#room-name")) === "봄 정원", "the new name in alice's window");
    assert.ok(await alice.room("봄 정원"), "and in her list");
    await browser.photograph(alice.page, "members");
  });

  await t.test("whoever is removed sees the room close, and hears no more of it", async () => {
    await alice.onMember("dave", "Remove");
    await waitFor(async () => /alice.* removed you from .*봄 정원/.test(await dave.page.textContent("#empty")), "the sentence");
    assert.equal(await dave.room("봄 정원"), undefined);
    assert.equal(await dave.page.isDisabled("#input"), true);
    assert.deepEqual(await dave.messages(), []);
    await waitFor(async () => !("dave" in (await alice.members())), "dave to be gone from the list");
    await alice.say("dave는 못 봐요");
    await alice.shows("dave는 못 봐요");
    await browser.photograph(dave.page, "removed");
  });

  await t.test("and is back with the next invitation, on the same line", async () => {
    await alice.invite("dave");
    await waitFor(() => dave.room("봄 정원"), "dave to see the room again");
    await dave.enter("봄 정원");
    await dave.shows("dave는 못 봐요");
    await alice.say("다시 어서 와요");
    await dave.shows("다시 어서 와요");
    const connects = await dave.page.$$eval("#frames li[data-kind=connect]", (items) => items.length);
    assert.equal(connects, 1);
  });

  await t.test("the last owner names who follows, then leaves", async () => {
    await alice.page.click("#leave");
    await alice.page.click("#leaving button.primary");
    await alice.page.waitForSelector("#succession:not([hidden])");
    assert.match(await alice.page.textContent("#leaving-notice"), /last_owner/);
    await browser.photograph(alice.page, "leaving");
    await alice.page.selectOption("#successor", "dave");
    await alice.page.click("#leaving button.primary");
    await waitFor(async () => /You left .*봄 정원/.test(await alice.page.textContent("#empty")), "the farewell");
    assert.equal(await alice.room("봄 정원"), undefined);
    await waitFor(async () => (await dave.members()).dave === "you, owner", "dave to own the room");
    assert.equal("alice" in (await dave.members()), false);
  });
  nothingWrong();
  for (const window of [alice, dave]) await window.page.close();
});

test("what one person says stands in the order of its saying", { timeout: 10 * 60_000 }, async (t) => {
  const alice = await browser.open("/?user=alice");
  await alice.create("한달음", "bob");
  const bob = await browser.open(`/?user=bob#${await alice.roomId()}`);
  let total = 0;
  const bothSee = async (said) => {
    total += said.length;
    for (const window of [alice, bob]) {
      await waitFor(async () => (await window.messages()).length >= total, "all messages to be shown");
      assert.deepEqual(texts(await window.messages()).slice(total - said.length), said);
    }
  };
  const many = (what) => Array.from({ length: 20 }, (_, index) => `${what} ${index + 1}`);

  await t.test("when it is said in one tick", async () => {
    const said = many("단숨에");
    await alice.sayAtOnce(said);
    await bothSee(said);
  });

  await t.test("when it was said while the line was cut", async () => {
    bob.refuse = true;
    await bob.cut();
    await bob.page.waitForSelector("#state[data-state=waiting]");
    const said = many("끊긴 동안");
    await bob.sayAtOnce(said);
    bob.refuse = false;
    await bothSee(said);
  });

  await t.test("when the first has to wait; and one that is refused lets the next one go", async () => {
    let refused = false;
    alice.answer = ({ action, id }) => {
      if (action !== "send" || refused) return null;
      refused = true;
      return { type: "error", id, code: "unavailable", message: "Try again.", retryable: true, retryAfterMs: 500 };
    };
    await alice.sayAtOnce(["기다렸다가", "길".repeat(4_001), "그다음"]);
    await bothSee(["기다렸다가", "그다음"]);
    assert.ok(refused);
    assert.match(await alice.page.textContent("#messages li[data-state=failed] .mark"), /content_too_long/);
  });
  nothingWrong();
  for (const window of [alice, bob]) await window.page.close();
});

test("what is edited or taken back changes everywhere, and stays so", { timeout: 10 * 60_000 }, async (t) => {
  const alice = await browser.open("/?user=alice");
  await alice.create("고쳐 쓰기", "bob");
  const bob = await browser.open(`/?user=bob#${await alice.roomId()}`);
  const says = async (text) => (await alice.say(text), await bob.shows(text), await alice.shows(text));

  await t.test("an edit by the menu", async () => {
    await says("오타가 잇어요");
    await alice.onMessage("오타가 잇어요", "Edit");
    assert.equal(await alice.page.inputValue("#input"), "오타가 잇어요");
    await browser.photograph(alice.page, "editing");
    await alice.say("오타가 있었어요");
    for (const window of [alice, bob]) {
      await window.shows("오타가 있었어요");
      assert.equal((await texts(await window.messages())).includes("오타가 잇어요"), false);
      await waitFor(async () => /edited #\d+/.test(await window.page.textContent("#messages li:not(.event) .mark")), "the mark");
    }
    assert.equal(await alice.page.isVisible("#editing"), false);
  });

  await t.test("an edit by the keyboard, and one given up", async () => {
    await alice.page.press("#input", "ArrowUp");
    assert.equal(await alice.page.inputValue("#input"), "오타가 있었어요");
    await alice.page.press("#input", "Escape");
    assert.equal(await alice.page.inputValue("#input"), "");
    await alice.page.press("#input", "ArrowUp");
    await alice.say("مرحبا يا بوب ✍️");
    await bob.shows("مرحبا يا بوب ✍️");
  });

  await t.test("a deletion leaves a tombstone, in the list of rooms too", async () => {
    await says("비밀이에요 🤫");
    await alice.onMessage("비밀이에요", "Delete");
    for (const window of [alice, bob]) {
      await window.shows("message deleted");
      assert.equal((await window.page.textContent("#messages")).includes("비밀이에요"), false);
      await waitFor(async () => (await window.room("고쳐 쓰기")).last === "message deleted", "the preview");
      assert.equal(await window.page.isVisible("#messages li.gone .toggle"), false, "nothing more can be done with it");
    }
    await browser.photograph(bob.page, "deleted");
  });

  await t.test("after a reload too", async () => {
    await bob.reload();
    await bob.shows("message deleted");
    assert.deepEqual(texts(await bob.messages()), ["مرحبا يا بوب ✍️", "message deleted"]);
    assert.match(await bob.page.textContent("#messages li:not(.event) .mark"), /edited/);
  });

  await t.test("an owner takes back what another said; a member cannot", async () => {
    await bob.say("광고: 싸게 팝니다");
    await alice.shows("광고: 싸게 팝니다");
    assert.equal(await bob.page.$("#messages li:not(.mine):not(.event) .toggle"), null);
    await alice.onMessage("광고", "Delete");
    await bob.shows("message deleted", 2);
  });
  nothingWrong();
  for (const window of [alice, bob]) await window.page.close();
});

test("what is unread is counted, and reading clears it", { timeout: 10 * 60_000 }, async (t) => {
  const minji = await browser.open("/?user=minji");
  const yusuf = await browser.open("/?user=yusuf");
  await minji.create("연못", "yusuf");
  await yusuf.reload();
  const says = async (text) => (await minji.say(text), await minji.shows(text));

  await t.test("in a room that is not open", async () => {
    await says("하나");
    await says("둘");
    await unread(yusuf, "연못", "2");
    assert.deepEqual((await yusuf.rooms())[0], { name: "연못", unread: "2", last: "\u2068minji\u2069: 둘" }, "at the top");
    assert.match(await yusuf.page.title(), /^\(2\) /);
    assert.equal((await minji.room("연못")).unread, "", "one's own messages never count");
    await browser.photograph(yusuf.page, "unread");
  });

  await t.test("what is taken back counts no more", async () => {
    await minji.onMessage("둘", "Delete");
    await unread(yusuf, "연못", "1");
  });

  await t.test("a reload counts the same", async () => {
    await yusuf.reload();
    await unread(yusuf, "연못", "1");
  });

  await t.test("opening it is reading it", async () => {
    await yusuf.enter("연못");
    await unread(yusuf, "연못", "");
    const seq = Number(await yusuf.page.textContent("#seq"));
    await waitFor(async () => (await yusuf.sent("read")).length === 1, "the read frame");
    assert.match((await yusuf.sent("read"))[0], new RegExp(`seq ${seq}\\b`));
    assert.doesNotMatch(await yusuf.page.title(), /\(/);
  });

  await t.test("not while the window has no focus", async () => {
    await yusuf.leaveFor(minji);
    await says("보고 있나요?");
    await yusuf.shows("보고 있나요?");
    await unread(yusuf, "연못", "1");
    assert.match(await yusuf.page.title(), /^\(1\) /);
    assert.equal((await yusuf.sent("read")).length, 1);
    await yusuf.comeBack();
    await unread(yusuf, "연못", "");
    await waitFor(async () => (await yusuf.sent("read")).length === 2, "the second read frame");
  });
  nothingWrong();
  for (const window of [minji, yusuf]) await window.page.close();
});

test("what is seen and written is told to those who watch", { timeout: 10 * 60_000 }, async (t) => {
  const minji = await browser.open("/?user=minji");
  const yusuf = await browser.open("/?user=yusuf");
  await minji.create("대청마루", "yusuf, haru");
  await yusuf.reload();
  await yusuf.enter("대청마루");
  const isOn = (window, user) => window.page.isVisible(`#members li[data-user=${user}] .dot.on`);

  await t.test("a receipt stands beside the last message that was read", async () => {
    await minji.say("첫째");
    await waitFor(async () => /^read by .*yusuf/.test(await minji.readers("첫째")), "the first receipt");
    await minji.say("둘째");
    await waitFor(async () => /^read by .*yusuf/.test(await minji.readers("둘째")), "the second receipt");
    assert.equal(await minji.readers("첫째"), "", "it has moved");
    await browser.photograph(minji.page, "receipt");
  });

  await t.test("another device of the same person agrees", async () => {
    const device = await browser.newContext();
    const roomId = await yusuf.page.getAttribute("#rooms button:has(.name:text-is('alice'))", "data-room");
    const other = await browser.open(`/?user=yusuf#${roomId}`, device);
    await yusuf.leaveFor(minji);
    await minji.say("어느 기기에서 볼까요?");
    for (const window of [yusuf, other]) await unread(window, "대청마루", "1");
    await yusuf.comeBack();
    for (const window of [yusuf, other]) await unread(window, "대청마루", "");
    await device.close();
  });

  await t.test("typing is shown, told rarely, and over with the message", async () => {
    const before = (await yusuf.sent("typing")).length;
    const started = Date.now();
    await waitFor(async () => {
      // Typing that comes five seconds late is shown to nobody: on a slow machine he goes on typing.
      await yusuf.page.fill("#input", "");
      await yusuf.page.locator("#input").pressSequentially("천천히 씁니다");
      return /yusuf.* is typing/.test(await minji.page.textContent("#typing"));
    }, "the hint");
    const told = (await yusuf.sent("typing")).length - before;
    assert.ok(told >= 1 && told <= 1 + (Date.now() - started) / 3_000, `told ${told} times`);
    await browser.photograph(minji.page, "typing");
    await yusuf.page.press("#input", "Enter");
    await minji.shows("천천히 씁니다");
    await waitFor(async () => (await minji.page.textContent("#typing")) === "", "the hint to go");
  });

  await t.test("whoever comes is online at once", async () => {
    assert.equal(await isOn(minji, "haru"), false);
    const asked = () => minji.page.$$eval("#frames .gist", (items) => items.filter((item) => /members/.test(item.textContent)).length);
    const before = await asked();
    const menu = minji.page.locator("#members li[data-user=haru]");
    await menu.locator("summary").click();
    const haru = await browser.open("/?user=haru");
    await waitFor(() => isOn(minji, "haru"), "haru to be online");
    assert.equal(await asked(), before, "a frame said so, not another question");
    assert.ok(await menu.locator(".acts").isVisible(), "an open menu stays open");
    await haru.page.close();
  });
  nothingWrong();
  for (const window of [minji, yusuf]) await window.page.close();
});

test("the oldest of too many windows steps back, and says so", { timeout: 10 * 60_000 }, async () => {
  const windows = [];
  for (let index = 0; index < 6; index += 1) windows.push(await browser.open("/?user=noor"));
  await waitFor(async () => /a newer window took this one’s place/.test(await windows[0].page.textContent("#state")), "the oldest to be told");
  await browser.photograph(windows[0].page, "replaced");
  await windows[0].page.click("#state button:has-text('Use it here')");
  await windows[0].ready();
  await waitFor(async () => /a newer window/.test(await windows[1].page.textContent("#state")), "the next oldest to be told");
  nothingWrong();
  for (const window of windows) await window.page.close();
});

test("the figures count what is said, while one looks", async () => {
  const alice = await browser.open("/?user=alice");
  await alice.create("Figures");
  const figure = async (name) => {
    const rows = await alice.page.$$eval("#figures tr", (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
    return Number(new Map(rows).get(name) ?? 0);
  };
  assert.equal(await figure("accepted"), 0, "nothing is asked for unseen");
  await alice.page.click("#figures summary");
  await waitFor(() => figure("records"), "the figures to be shown");
  const before = await figure("accepted");
  await alice.say("Count me");
  await alice.shows("Count me");
  await waitFor(async () => (await figure("accepted")) > before, "the message to be counted");
  await waitFor(() => figure("delivery latency milliseconds, average"), "its delivery to be measured");
  nothingWrong();
  await alice.page.close();
});
