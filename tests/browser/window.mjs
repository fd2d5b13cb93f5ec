// Windows on the page, in headless Chromium: what each shows, and ways to cut its line, to swallow what it is sent, or to
// answer in the server's place.

import assert from "node:assert/strict";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

import { startRuntime, waitFor } from "./runtime.mjs";

const BROWSER = process.env.CHROMIUM ?? "/usr/bin/chromium";
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const PAGE = fileURLToPath(new URL("../../infra/local/page/index.html", import.meta.url));

/** A browser for all tests of a file, on a site that `start` starts for them. It gathers what goes wrong in its pages, and whom they ask beside the site. */
export class Browser {
  faults = [];
  strangers = [];

  constructor(start = startRuntime) {
    before(async () => {
      this.site = await start();
      this.process = await chromium.launch({ executablePath: BROWSER, args: QUIET, timeout: 120_000 });
      this.screenshots = await mkdtemp(join(tmpdir(), "madang-screenshots-"));
      this.context = await this.newContext();
    });
    after(async () => {
      await this.process?.close();
      await this.site?.stop();
    });
  }

  /** Another person's machine, or another device of the same person: it shares nothing with the others. */
  async newContext() {
    const context = await this.process.newContext({ viewport: { width: 1280, height: 800 } });
    context.on("page", (page) => {
      page.on("pageerror", (error) => this.faults.push(String(error.stack ?? error)));
      page.on("console", (message) => /Content Security Policy/.test(message.text()) && this.faults.push(message.text()));
    });
    context.on("request", (request) => new URL(request.url()).origin === this.site.url || request.url().startsWith("data:") || this.strangers.push(request.url()));
    // For whoever works on the page: PAGE_FROM_DISK=1 tries it as it is now, without building it into the runtime.
    if (process.env.PAGE_FROM_DISK) {
      await context.route((url) => url.pathname === "/", (route) => route.fulfill({ path: PAGE, contentType: "text/html; charset=utf-8" }));
      await context.grantPermissions(["local-network-access"]); // A page that came from no address counts as a stranger's.
    }
    return context;
  }

  async open(path, context = this.context) {
    return Window.open(await context.newPage(), this.site.url + path);
  }

  async photograph(page, name) {
    await page.bringToFront();
    await page.screenshot({ path: join(this.screenshots, `${name}.png`), animations: "disabled" });
  }
}

/** One window of one person. */
export class Window {
  cut = null;
  swallow = () => false;
  answer = () => null;
  refuse = false;

  constructor(page) {
    this.page = page;
  }

  static async open(page, url) {
    const window = new Window(page);
    await page.routeWebSocket(/\/local\?/, (client) => {
      if (window.refuse) return client.close({ code: 1001 });
      const server = client.connectToServer();
      window.cut = () => Promise.all([client.close({ code: 1001 }), server.close()]);
      window.push = (frame) => client.send(JSON.stringify(frame));
      client.onMessage((frame) => {
        const answer = window.answer(JSON.parse(frame));
        if (answer) window.push(answer);
        else server.send(frame);
      });
      server.onMessage((frame) => window.swallow(JSON.parse(frame)) || client.send(frame));
    });
    await page.goto(url);
    await window.ready();
    return window;
  }

  async ready() {
    await this.page.waitForSelector("#state[data-state=open]");
    await this.page.waitForSelector("#input:not([disabled])");
    await this.hasHistory();
  }

  async reload() {
    await this.page.reload();
    await this.ready();
  }

  /** Waits for what was said in the open room: its first event has seq 1. Before that the page may move the focus. */
  hasHistory() {
    return waitFor(async () => Number(await this.page.textContent("#seq")) > 0, "the history of the open room");
  }

  /** Waits until a room is open, with what was said in it. */
  async isIn(name) {
    await waitFor(async () => (await this.page.textContent("#room-name")) === name, `${name} to be open`);
    await this.hasHistory();
  }

  /** The id of the open room. */
  roomId() {
    return this.page.evaluate(() => decodeURIComponent(location.hash.slice(1)));
  }

  async say(text) {
    await this.page.fill("#input", text);
    await this.page.press("#input", "Enter");
  }

  /** Opens a room as somebody would, by the form. */
  async create(name, people = "") {
    await this.page.click("nav summary");
    await this.page.fill("#room-title", name);
    await this.page.fill("#room-people", people);
    await this.page.click("#group button");
    await this.isIn(name);
  }

  /** The frames of an action that this window has sent, the oldest first, as its panel shows them. */
  async sent(action) {
    const frames = await this.page.$$eval("#frames li.out", (items) => items.map((item) => [item.dataset.kind, item.textContent]));
    return frames.filter(([kind]) => kind === action).map(([, text]) => text).reverse();
  }

  notice(words) {
    return waitFor(async () => words.test(await this.page.textContent("#notice")), `the notice ${words}`);
  }

  /** Waits until the open room's messages are these, and no more. */
  async showsAll(expected) {
    await waitFor(async () => (await this.messages()).length >= expected.length, "all messages to be shown");
    assert.deepEqual(texts(await this.messages()), expected);
  }

  /** Says several things in one tick, sooner than anything can be answered. Each is shown at once, as on its way. */
  async sayAtOnce(texts) {
    const shown = await this.page.evaluate((texts) => {
      const input = document.getElementById("input");
      for (const text of texts) {
        input.value = text;
        input.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
      }
      return [...document.querySelectorAll("#messages li[data-state=sending] .text")].map((node) => node.textContent);
    }, texts);
    assert.deepEqual(shown, texts);
  }

  /** Every message that has its place in the log: its seq, whether it is this person's, and its text. */
  messages() {
    return this.page.$$eval("#messages li[data-state=committed]:not(.event)", (items) =>
      items.map((item) => ({ seq: Number(item.dataset.seq), mine: item.classList.contains("mine"), text: item.querySelector(".text").textContent })),
    );
  }

  async shows(text, times = 1) {
    const shown = async () => (await this.messages()).filter((message) => message.text === text).length >= times;
    await waitFor(shown, `${JSON.stringify(text)} to be shown`);
  }

  /** The list of rooms, from the top: name, number of unread messages, last message. */
  rooms() {
    return this.page.$$eval("#rooms button", (buttons) =>
      buttons.map((button) => Object.fromEntries(["name", "unread", "last"].map((part) => [part, button.querySelector(`.${part}`).textContent]))),
    );
  }

  async room(name) {
    return (await this.rooms()).find((room) => room.name === name);
  }

  /** What stands beneath a message, or an event, of those who have read it. */
  readers(text) {
    return this.page.locator("#messages li", { hasText: text }).locator(".readers").textContent();
  }

  /** The members of the open room: name → what stands beside it. */
  members() {
    return this.page.$$eval("#members li", (items) =>
      Object.fromEntries(items.map((item) => [item.dataset.user, item.querySelector(".quiet").textContent])),
    );
  }

  /** Presses a room in the list. */
  choose(name) {
    return this.page.click(`#rooms button:has(.name:text-is(${JSON.stringify(name)}))`);
  }

  async enter(name) {
    await this.choose(name);
    await this.isIn(name);
  }

  /** Invites people, and waits for the ack, which empties the form. */
  async invite(people) {
    await this.page.fill("#guests", people);
    await this.page.click("#invite button");
    await waitFor(async () => (await this.page.inputValue("#guests")) === "", "the ack of an invitation");
  }

  /** Presses a button of a member or of a message. */
  async onMember(user, button) {
    const member = this.page.locator(`#members li[data-user=${JSON.stringify(user)}]`);
    if (!(await member.locator(".acts").isVisible())) await member.locator("summary").click();
    await member.locator("button", { hasText: button }).click();
  }

  async onMessage(text, button) {
    const message = this.page.locator("#messages li", { has: this.page.locator(".text", { hasText: text }) });
    await message.hover();
    await message.locator(".toggle").click();
    await message.locator(".acts button", { hasText: button }).click();
  }

  /** Turns away to another window. A headless browser lets every page believe that it has the focus, until it is told not to. */
  async leaveFor(other) {
    const session = await this.page.context().newCDPSession(this.page);
    await session.send("Emulation.setFocusEmulationEnabled", { enabled: false });
    await other.page.bringToFront();
    await waitFor(async () => !(await this.page.evaluate(() => document.hasFocus())), "the focus to be elsewhere");
  }

  async comeBack() {
    await this.page.bringToFront();
    await waitFor(() => this.page.evaluate(() => document.hasFocus()), "the focus to be back");
  }
}

export const texts = (messages) => messages.map((message) => message.text);
