// The main story in a second engine: a room is made, talked in, and an answer stopped. Firefox is driven with Marionette,
// the protocol that it has built in.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Hub, provider, stop, stopAll, until } from "./lab.mjs";

const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";
const RETURN = "\ue006";

const PREFERENCES = {
  "marionette.port": 0,
  // Nothing is asked of other hosts, and no page but ours is opened.
  "app.update.disabledForTesting": true,
  "browser.shell.checkDefaultBrowser": false,
  "browser.startup.homepage_override.mstone": "ignore",
  "browser.startup.page": 0,
  "captivedetect.canonicalURL": "",
  "datareporting.policy.dataSubmissionEnabled": false,
  "extensions.getAddons.cache.enabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "services.settings.server": "data:,",
  "toolkit.telemetry.server": "data:,",
  "ui.prefersReducedMotion": 1,
};

/** Whether an element is there, but cannot be used now. */
function isNotYet(error) {
  if (!/^element (not interactable|click intercepted)/.test(error.message)) throw error;
  return false;
}

/** A headless Firefox with a profile of its own. */
class Firefox {
  static async start() {
    const firefox = new Firefox();
    firefox.profile = mkdtempSync(join(tmpdir(), "gambi-firefox-"));
    const lines = Object.entries(PREFERENCES).map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});\n`);
    writeFileSync(join(firefox.profile, "user.js"), lines.join(""));
    const args = ["--headless", "--no-remote", "--marionette", "--profile", firefox.profile];
    firefox.child = spawn("firefox-esr", args, { stdio: ["ignore", "pipe", "pipe"] });
    firefox.said = "";
    for (const stream of [firefox.child.stdout, firefox.child.stderr]) stream.on("data", (text) => (firefox.said += text));
    const portFile = join(firefox.profile, "MarionetteActivePort");
    await until("the port of Marionette", () => {
      assert.equal(firefox.child.exitCode, null, firefox.said);
      return existsSync(portFile) && readFileSync(portFile, "utf8") !== "";
    });
    await firefox.connect(Number(readFileSync(portFile, "utf8")));
    await firefox.ask("WebDriver:NewSession", { capabilities: { alwaysMatch: { webSocketUrl: false } } });
    return firefox;
  }

  /** Messages are JSON with their length in bytes before them. */
  async connect(port) {
    this.asked = new Map();
    this.socket = connect(port, "127.0.0.1");
    let bytes = Buffer.alloc(0);
    this.socket.on("data", (more) => {
      bytes = Buffer.concat([bytes, more]);
      for (let colon = bytes.indexOf(":"); colon > 0; colon = bytes.indexOf(":")) {
        const end = colon + 1 + Number(bytes.subarray(0, colon));
        if (bytes.length < end) return;
        this.receive(JSON.parse(bytes.subarray(colon + 1, end)));
        bytes = bytes.subarray(end);
      }
    });
    this.socket.on("close", () => this.asked.forEach(({ reject }) => reject(new Error(`Firefox is gone: ${this.said}`))));
  }

  receive(message) {
    // The first message only tells the version.
    if (!Array.isArray(message)) return;
    const [, id, error, result] = message;
    const { resolve, reject } = this.asked.get(id);
    this.asked.delete(id);
    if (error) reject(new Error(`${error.error}: ${error.message}`));
    else resolve(result);
  }

  ask(command, parameters = {}) {
    this.count = (this.count ?? 0) + 1;
    const text = JSON.stringify([0, this.count, command, parameters]);
    const answer = new Promise((resolve, reject) => this.asked.set(this.count, { resolve, reject }));
    this.socket.write(`${Buffer.byteLength(text)}:${text}`);
    return answer;
  }

  open(url) {
    return this.ask("WebDriver:Navigate", { url });
  }

  /** What a function of the page returns. */
  async eval(expression) {
    return (await this.ask("WebDriver:ExecuteScript", { script: `return ${expression}`, args: [] })).value;
  }

  waitFor(expression) {
    return until(`${expression}, with ${this.said.slice(-500)}`, () => this.eval(expression));
  }

  async find(selector) {
    const found = await this.ask("WebDriver:FindElement", { using: "css selector", value: selector });
    return found.value[ELEMENT];
  }

  /** Clicks as a user does: what is hidden or covered cannot be clicked until it is neither. */
  async click(selector) {
    const id = await this.find(selector);
    await until(`a click on ${selector}`, () => this.ask("WebDriver:ElementClick", { id }).then(() => true, isNotYet));
  }

  async type(selector, text) {
    await this.ask("WebDriver:ElementSendKeys", { id: await this.find(selector), text });
  }

  async picture(path) {
    const { value } = await this.ask("WebDriver:TakeScreenshot", { full: false });
    writeFileSync(path, Buffer.from(value, "base64"));
  }

  async end() {
    this.socket?.destroy();
    await stop(this.child);
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

const text = (selector) => `(document.querySelector(${JSON.stringify(selector)})?.textContent ?? "")`;

async function story(firefox, gambi, picture) {
  const hub = await Hub.start(gambi);
  await firefox.ask("WebDriver:SetWindowRect", { width: 1280, height: 900 });
  await firefox.open(hub.url);
  await firefox.waitFor(`${text("#welcome-title")} === "No rooms yet"`);
  await firefox.eval(
    "(window.wrong = [], addEventListener('error', ({ message }) => window.wrong.push(message))," +
      "addEventListener('unhandledrejection', ({ reason }) => window.wrong.push(String(reason)))," +
      "addEventListener('securitypolicyviolation', ({ violatedDirective }) => window.wrong.push(violatedDirective)), 0)",
  );
  await firefox.click("#welcome-new");
  await firefox.type("#new-name", `Lab <i>1</i>${RETURN}`);
  await firefox.waitFor(`${text("#room-name")} === "Lab <i>1</i>"`);
  const [{ code }] = await hub.ask("GET", "/v1/rooms");

  await hub.join(code, "ann", await provider(gambi, 30), "--nickname", "Ann");
  await firefox.waitFor(`${text("#participants")}.includes("Online")`);
  const letters = Array.from({ length: 40 }, (_, at) => `- item ${at}\\n`).join("");
  await firefox.eval(`(document.querySelector("#chat-text").value = "Say:\\n\\n${letters}\\n**bold** <b>END</b>", 0)`);
  await firefox.click("#chat-send");
  // The answer is streamed: its beginning is shown before its end exists.
  await firefox.waitFor(`${text("#talk .theirs")}.includes("You said") && !${text("#talk .theirs")}.includes("END")`);
  await firefox.waitFor(`${text("#talk .theirs .rich")}.endsWith("<b>END</b>")`);
  assert.equal(await firefox.eval(text("#talk .theirs strong")), "bold");
  assert.equal(await firefox.eval(`document.querySelectorAll("#talk .theirs .rich li").length`), 40);
  // The end of the answer is in view, and the page itself does not scroll.
  await firefox.waitFor(
    "(({ scrollTop, scrollHeight, clientHeight }) => scrollHeight > clientHeight && scrollHeight - scrollTop - clientHeight < 8)" +
      "(document.querySelector('#talk'))",
  );
  assert.ok(await firefox.eval("document.documentElement.scrollHeight <= innerHeight"));
  await picture("firefox-chat");

  // Until the answer is complete no other question is taken.
  await firefox.waitFor(`document.querySelector("#talk").getAttribute("aria-busy") === "false"`);
  await firefox.type("#chat-text", "word ".repeat(500) + RETURN);
  await firefox.waitFor(`${text("#talk .theirs:last-child")}.includes("word word")`);
  await firefox.click("#chat-stop");
  await firefox.waitFor(`${text("#talk .theirs:last-child")}.includes("Stopped.")`);
  await until("no request in flight", async () => (await hub.ask("GET", `/v1/rooms/${code}/metrics`)).inFlight === 0);
  assert.deepEqual(await firefox.eval("window.wrong"), []);

  // What was said is still there after a reload, which only this browser's storage can tell.
  await firefox.ask("WebDriver:Refresh");
  await firefox.waitFor(`${text("#talk .theirs strong")} === "bold"`);
  await firefox.click("#room-code");
  await firefox.waitFor(`document.querySelector("#room-code").dataset.notice === "Copied"`);
}

const [gambi, pictures] = process.argv.slice(2);
mkdirSync(pictures, { recursive: true });
const firefox = await Firefox.start();
const picture = (what) => firefox.picture(join(pictures, `${what}.png`));
try {
  await story(firefox, gambi, picture);
  console.log("the story passed in Firefox");
} catch (error) {
  await picture("firefox-failed").catch(() => {});
  throw error;
} finally {
  await firefox.end();
  await stopAll();
}
