// Two people on the page, in headless Chromium: a conversation in Korean, Arabic and emoji, a reload and a cut
// connection in the middle, and every message once and in order in both windows.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Browser, texts } from "./window.mjs";

const browser = new Browser();

test("two people talk, through a reload and a cut line", { timeout: 20 * 60_000 }, async (t) => {
  const expected = [];
  const alice = await browser.open("/");
  assert.equal(await alice.page.textContent("#user"), "alice", "the first window is alice's");

  await t.test("a second window asks who comes", async () => {
    const page = await browser.context.newPage();
    await page.goto(`${browser.site.url}/`);
    await page.waitForSelector("dialog[open]");
    assert.match(await page.textContent("#taken"), /alice is already here/);
    await browser.photograph(page, "who");
    await page.close();
  });

  const href = await alice.page.getAttribute("#other", "href");
  assert.match(href, /^\?user=bob/);
  const bob = await browser.open(`/${href}`);
  assert.equal(await bob.page.textContent("#user"), "bob");

  const exchange = async (speaker, listener, text) => {
    expected.push(text);
    await speaker.say(text);
    await listener.shows(text);
    await speaker.shows(text);
  };
  const agree = async () => {
    for (const window of [alice, bob]) await window.showsAll(expected);
    const seqs = (await alice.messages()).map((message) => message.seq);
    assert.deepEqual(seqs, seqs.map((_, index) => seqs[0] + index), "no hole");
    assert.deepEqual((await bob.messages()).map((message) => message.seq), seqs, "the same seqs in both windows");
    for (const window of [alice, bob]) assert.equal(Number(await window.page.textContent("#seq")), seqs.at(-1));
  };

  await t.test("in Korean, Arabic and emoji", async () => {
    await exchange(alice, bob, "안녕하세요, 밥! 오늘 마당에 꽃이 피었어요 🌸");
    await exchange(bob, alice, "مرحبا يا أليس، كيف حالك اليوم؟");
    await exchange(alice, bob, "👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇰🇷");
    await exchange(bob, alice, "שלום (3 + 4 = 7) و ‎hello‎ 한꺼번에");
    await exchange(alice, bob, "두 줄로\n씁니다");
    await agree();
    const [, arabic] = await alice.page.$$("#messages li:not(.event) .text");
    assert.equal(await arabic.evaluate((node) => getComputedStyle(node).direction), "rtl");
  });

  await t.test("what is written stays text", async () => {
    await exchange(bob, alice, "<img src=x onerror=\"document.title='owned'\"> <script>alert(1)</script> &lt;b&gt; a < b && c");
    assert.equal(await alice.page.$("#messages img"), null);
    assert.doesNotMatch(await alice.page.title(), /owned/);
    await agree();
  });

  await t.test("a reload resumes without a hole", async () => {
    const reloading = bob.page.reload();
    for (const text of ["새로고침 하는 동안 하나", "둘 ٢", "셋 3️⃣"]) {
      expected.push(text);
      await alice.say(text);
    }
    await reloading;
    await bob.ready();
    await alice.shows(expected.at(-1)); // They go out one by one.
    await exchange(bob, alice, "다시 왔어요 🙇");
    await agree();
  });

  await t.test("a message in flight survives a reload, once", async () => {
    const text = "보내자마자 새로고침 ⏳";
    expected.push(text);
    bob.swallow = (frame) => frame.type === "ack" || frame.type === "events";
    await bob.say(text);
    await alice.shows(text);
    bob.swallow = () => false;
    await bob.reload();
    await bob.shows(text);
    await exchange(bob, alice, "그대로 있네요");
    await agree();
  });

  await t.test("a cut line catches up, and what was said meanwhile goes out", async () => {
    bob.refuse = true;
    await bob.cut();
    await bob.page.waitForSelector("#state[data-state=waiting]");
    for (const text of ["끊긴 동안 1", "끊긴 동안 2"]) await exchange(alice, alice, text);
    await bob.say("오프라인에서 쓴 글 ✍️");
    expected.push("오프라인에서 쓴 글 ✍️");
    bob.refuse = false;
    await alice.shows("오프라인에서 쓴 글 ✍️");
    await agree();
    const frames = await bob.page.$$eval("#frames li", (items) => items.map((item) => item.textContent));
    assert.ok(frames.some((text) => /subscribe.*after.*"seq":\d+/.test(text)), "bob asked for what he missed");
  });

  await t.test("a swallowed frame is a hole, and the hole is filled", async () => {
    let swallowed = 0;
    bob.swallow = (frame) => frame.type === "events" && swallowed++ === 0;
    expected.push("사라진 프레임");
    await alice.say("사라진 프레임");
    await alice.shows("사라진 프레임");
    await exchange(alice, bob, "그다음 프레임");
    bob.swallow = () => false;
    assert.ok(swallowed > 1);
    await agree();
  });

  await t.test("no token is shown, nobody else is asked, nothing went wrong", async () => {
    const { token } = await (await fetch(`${browser.site.url}/dev/token?sub=alice`)).json();
    const shown = await alice.page.$eval("#frames", (frames) => frames.textContent);
    assert.ok(!shown.includes(token.split(".")[0] + "."), "a token is shown");
    assert.match(shown, /token=‹redacted›/);
    assert.deepEqual(browser.strangers, []);
    assert.deepEqual(browser.faults, []);
  });

  await t.test("history over HTTP agrees", async () => {
    const { token } = await (await fetch(`${browser.site.url}/dev/token?sub=alice`)).json();
    const path = `/rooms/${await alice.roomId()}/messages?limit=100`;
    const answer = await fetch(browser.site.url + path, { headers: { authorization: `Bearer ${token}` } });
    const { messages } = await answer.json();
    assert.deepEqual(texts(messages.map(({ content }) => ({ text: content }))).reverse(), expected);
  });

  await t.test("it can be looked at", async () => {
    await browser.photograph(alice.page, "alice");
    await alice.page.click("#frames li:nth-child(2) summary");
    await browser.photograph(alice.page, "alice-frame");
    await bob.page.emulateMedia({ colorScheme: "dark" });
    await browser.photograph(bob.page, "bob-dark");
    await bob.page.setViewportSize({ width: 390, height: 780 });
    await browser.photograph(bob.page, "bob-phone");
    t.diagnostic(`screenshots: ${browser.screenshots}`);
  });
});

test("a room of one's own making, and a third person", { timeout: 5 * 60_000 }, async () => {
  const alice = await browser.open("/?user=alice");
  const carol = await browser.open("/?user=carol");
  await alice.create("마당 모임", "bob, carol");
  await carol.enter("마당 모임");
  await alice.say("새 방에 오신 걸 환영해요 🎉");
  await carol.shows("새 방에 오신 걸 환영해요 🎉");
  await carol.say("شكرا!");
  for (const window of [alice, carol]) await window.shows("شكرا!");
  await browser.photograph(alice.page, "room");
  assert.deepEqual(texts(await alice.messages()), texts(await carol.messages()));
  assert.deepEqual(browser.faults, []);
});
