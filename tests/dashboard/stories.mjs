// Stories: what users do with the page, one for each of its features.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Hub, provider, startProvider, stop, until, view } from "./lab.mjs";

const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true };
const card = (page, name) => page.locator("#participants li", { hasText: name });
const logged = (page, text) => page.locator("#log").getByText(text).first().waitFor({ state: "attached" });
const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());
const figure = (page, name) =>
  page.locator("#stats div", { has: page.getByText(name, { exact: true }) }).locator("dd");

async function chat(page, text) {
  await page.getByLabel("Message").fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

/** Writes a secret to a file for as long as it is needed. */
async function withFile(text, use) {
  const directory = mkdtempSync(join(tmpdir(), "gambi-"));
  try {
    writeFileSync(join(directory, "secret"), text, { mode: 0o600 });
    return await use(join(directory, "secret"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The clipboard is shared by all browsers, so only the first story uses it. */
export const stories = {
  async "a first room is made, by keyboard alone, and copied from"({ gambi, open, accessible, picture }) {
    const hub = await Hub.start(gambi);
    const page = await open();
    await page.goto(hub.url);
    await page.getByText("No rooms yet").waitFor();
    await accessible(page, "an empty hub");
    await page.getByRole("button", { name: "New room" }).focus();
    await page.keyboard.press("Enter");
    await accessible(page, "the dialog of a new room");
    await page.keyboard.type("Café <b>Lab</b>");
    await page.keyboard.press("Tab");
    await page.keyboard.type("pässword");
    await page.getByText("Default settings").focus();
    await page.keyboard.press("Enter");
    await page.getByLabel("Instructions").fill("Be brief.");
    const temperature = page.locator("#create-form").getByLabel("Temperature");
    await temperature.fill("0.5");
    await page.getByLabel("Stop sequences").fill("END\nFIN");
    await accessible(page, "the dialog with defaults");
    await picture(page, "new-room");
    await temperature.press("Enter");
    await page.getByRole("heading", { name: "Café <b>Lab</b>" }).waitFor();
    const [room] = await hub.ask("GET", "/v1/rooms");
    assert.equal(room.name, "Café <b>Lab</b>");
    assert.ok(room.passwordProtected && !room.private);
    assert.deepEqual(room.defaults, { temperature: 0.5, stop: ["END", "FIN"], hasInstructions: true });
    await page.getByText("temperature 0.5").waitFor();
    await page.locator("#room-code").click();
    await until("the code on the clipboard", async () => (await clipboard(page)) === room.code);
    await view(page, "Connect");
    await page.locator("#snippet-copy").click();
    await until("the example on the clipboard", async () => (await clipboard(page)).startsWith("curl -N "));
    assert.equal(await clipboard(page), await page.locator("#snippet").textContent());
    // Most hubs are used without TLS, where the clipboard API is not available.
    await page.evaluate(
      () => (navigator.clipboard.writeText("old"), Object.defineProperty(navigator, "clipboard", { value: undefined })),
    );
    await page
      .locator("#rooms")
      .getByRole("button", { name: `Copy code ${room.code}` })
      .click();
    await view(page, "Participants");
    await page.locator("#participants-filter").focus();
    await page.keyboard.press("Control+V");
    assert.equal(await page.locator("#participants-filter").inputValue(), room.code);
  },

  async "a form that the hub refuses says why"({ gambi, open }) {
    const hub = await Hub.start(gambi);
    const page = await open();
    await page.goto(hub.url);
    await page.getByRole("button", { name: "New room" }).click();
    await page.getByLabel("Name", { exact: true }).fill("Shut");
    await page.getByLabel("Private").check();
    await page.getByRole("button", { name: "Create", exact: true }).click();
    await page.getByText("must be given for a private room").waitFor();
    await page.getByRole("button", { name: "Cancel" }).click();
    assert.deepEqual(await hub.ask("GET", "/v1/rooms"), []);
  },

  async "participants come, work, and go while one looks"({ gambi, open, accessible, picture }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab", "--room", "LAB002=Other");
    const page = await open();
    await page.goto(`${hub.url}/#lab001`);
    await page.getByText("No participants yet").waitFor();
    const specs = { gpu: "RTX 4090", vram: 24, ram: 64, cpu: "Ryzen 9" };
    await hub.register("LAB001", "silent", { nickname: "Silent one", model: "llama3:70b", specs, aliases: ["big"] });
    await card(page, "Silent one").getByText("Offline").waitFor();
    for (const text of [
      "llama3:70b, big",
      "tunnel closed",
      "RTX 4090 · 24 GB VRAM · Ryzen 9 · 64 GB RAM",
      "0 of 1 in flight",
    ]) {
      await card(page, "Silent one").getByText(text).waitFor();
    }
    const slow = await provider(gambi, 50);
    const child = await hub.join("LAB001", "ann", slow, "--nickname", "Ann", "--concurrency", "4");
    await card(page, "Ann").getByText("Online").waitFor();
    await card(page, "Ann").getByText("tunnel open").waitFor();
    await page.locator("#rooms").getByText("2 participants").waitFor();
    await page.getByLabel("To", { exact: true }).selectOption("ann");
    await chat(page, "word ".repeat(1000));
    await card(page, "Ann").getByText("1 of 4 in flight").waitFor();
    assert.equal(await figure(page, "In flight").textContent(), "1");
    await accessible(page, "a room at work, light");
    await page.evaluate(() => scrollTo(0, 0));
    await picture(page, "room-light", { fullPage: true });
    await page.getByRole("button", { name: "Stop" }).click();
    await card(page, "Ann").getByText("0 of 4 in flight").waitFor();
    await stop(child);
    await card(page, "Ann").getByText("Offline").waitFor();
    await page.locator("#participants-filter").fill("llama3");
    await card(page, "Ann").waitFor({ state: "detached" });
    await hub.ask("DELETE", "/v1/rooms/LAB001/participants/silent");
    await page.getByText("No participant matches the filter").waitFor();
    await logged(page, "silent left");
  },

  async "a chat streams, can be stopped, and goes on"({ gambi, open, accessible, picture }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    const slow = await provider(gambi, 30);
    await hub.join("LAB001", "ann", slow, "--nickname", "Ann");
    const page = await open({ colorScheme: "dark" });
    await page.goto(hub.url);
    await card(page, "Ann").getByRole("button", { name: "Chat with Ann" }).click();
    assert.equal(await page.getByLabel("To", { exact: true }).inputValue(), "ann");
    await page.getByLabel("Message").fill(`Grüße, <i>who</i> is there? ${"so ".repeat(60)}END`);
    await page.keyboard.press("Enter");
    // The answer is streamed: its beginning is shown before its end exists.
    const answer = page.locator("#talk .theirs").first();
    await page.waitForFunction(
      () => {
        const text = document.querySelector("#talk .theirs .text")?.textContent ?? "";
        return text.startsWith("This is") && !text.includes("END");
      },
      null,
      { polling: 10 },
    );
    await answer.getByText(/You said: Grüße, <i>who<\/i> is there\? (so )+END/).waitFor();
    await answer.getByText(/first token after .* · all after .* · \d+ tokens/).waitFor();
    await chat(page, "long ".repeat(2000));
    const second = page.locator("#talk .theirs").nth(1);
    await second.getByText("long long").waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await second.getByText("Stopped.").waitFor();
    await logged(page, "ann: request cancelled");
    await chat(page, "Third");
    await page.locator("#talk .theirs").nth(2).getByText("You said: Third").waitFor();
    await page.getByRole("button", { name: "Send" }).waitFor();
    await view(page, "Activity");
    await page.getByRole("img", { name: /First token over the last hour: at most \d+/ }).waitFor();
    await page.getByRole("img", { name: /Requests over the last hour: at most \d/ }).waitFor();
    await accessible(page, "a chat, dark");
    await picture(page, "room-dark", { fullPage: true });
    await view(page, "Participants");
    await hub.ask("DELETE", "/v1/rooms/LAB001/participants/ann");
    await page.getByText("No participants yet").waitFor();
    await chat(page, "Anyone?");
    await page
      .getByText(/No available participant/)
      .first()
      .waitFor();
    assert.equal(await page.getByLabel("Message").inputValue(), "Anyone?");
    await page.getByRole("button", { name: "New chat" }).click();
    assert.equal(await page.locator("#talk > *").count(), 0);
  },

  async "what the hub has measured is shown, from before one looked too"({ gambi, open }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    await hub.register("LAB001", "ann");
    const of = (requests, errors, p50) => ({
      requests,
      errors,
      cancelled: 0,
      errorRate: errors / requests,
      inputTokens: 1,
      outputTokens: 2,
      ttftMs: { p50, p95: 900 },
      tokensPerSecond: 41,
    });
    const windows = { "1m": of(1, 0, 1), "5m": of(1234, 56, 78), "15m": of(9999, 99, 99) };
    const measured = {
      timestamp: 1,
      inFlight: 3,
      queued: 7,
      windows,
      participants: [{ participantId: "ann", inFlight: 3, windows }],
      models: [],
    };
    const page = await open();
    await page.route("**/v1/rooms/LAB001/metrics", (route) =>
      route.fulfill({ json: { data: measured, meta: { requestId: "r" } } }),
    );
    await page.goto(hub.url);
    const shown = {
      "In flight": "3",
      Queued: "7",
      Requests: "1,234",
      Failures: "56",
      "First token": "78 ms",
      "Tokens/s": "41",
    };
    for (const [what, value] of Object.entries(shown))
      await figure(page, what).getByText(value, { exact: true }).waitFor();
    await card(page, "ann").getByText("1,234 requests · 56 failed · first token 78 ms").waitFor();
    await card(page, "ann").getByText("41 tokens/s").waitFor();
    await card(page, "ann").getByText("3 of 1 in flight").waitFor();
  },

  async "a reload leaves the events and the charts as they were"({ gambi, open }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    await hub.join("LAB001", "ann", await provider(gambi), "--nickname", "Ann");
    const page = await open();
    await page.goto(hub.url);
    await card(page, "Ann").getByText("Online").waitFor();
    await chat(page, "Remember this");
    await logged(page, "ann answered in");
    await view(page, "Activity");
    await page.getByRole("img", { name: /First token over the last hour: at most/ }).waitFor();
    await page.reload();
    await logged(page, "ann answered in");
    await view(page, "Activity");
    assert.equal(await page.locator("#log").getByText("ann answered in").count(), 1);
    await view(page, "Activity");
    await page.getByRole("img", { name: /First token over the last hour: at most/ }).waitFor();
    assert.ok(!(await page.evaluate(() => JSON.stringify({ ...sessionStorage }))).includes("Remember this"));
  },

  async "a provider that is down is shown as such until it is back"({ gambi, open }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    const { child, data } = await startProvider(gambi);
    await hub.join("LAB001", "ann", data.url, "--nickname", "Ann");
    const page = await open();
    await page.goto(hub.url);
    await card(page, "Ann").getByText("Online").waitFor();
    await stop(child);
    await chat(page, "Are you there?");
    await card(page, "Ann").getByText("Provider down").waitFor();
    assert.ok(await card(page, "Ann").getByRole("button", { name: "Chat with Ann" }).isDisabled());
    await logged(page, "ann's provider is down");
    await startProvider(gambi, 0, Number(new URL(data.url).port));
    // For a minute after the request that failed.
    await card(page, "Ann").getByText("Shaky").waitFor();
    await logged(page, "ann is online");
  },

  async "events are filtered, and held while one reads"({ gambi, open }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab", "--room", "LAB002=Other");
    const page = await open();
    await page.goto(hub.url);
    const log = page.locator("#log");
    await page.locator("#connection", { hasText: "Up" }).waitFor();
    await hub.register("LAB001", "one");
    await hub.register("LAB002", "two");
    await log.getByText("two joined with m").waitFor();
    assert.match(await log.locator("li").first().textContent(), /LAB002/);
    await page.locator("#log-filter").fill("lab001");
    await until("the filter to hold", async () => (await log.locator("li").count()) === 1);
    await page.locator("#log-filter").fill("");
    await page.goto(`${hub.url}/#LAB001`);
    await view(page, "Events");
    await log.getByText("one joined").waitFor();
    assert.equal(await log.getByText("two joined").count(), 0);
    await page.getByRole("button", { name: "Pause" }).click();
    await hub.register("LAB001", "three");
    await card(page, "three").waitFor({ state: "attached" });
    assert.equal(await log.getByText("three joined").count(), 0);
    await page.getByRole("button", { name: "Resume" }).click();
    await log.getByText("three joined").waitFor();
    await page.locator("#log-kind").selectOption("llm.");
    await until("the kind to hold", async () => (await log.locator("li").count()) === 0);
  },

  async "the examples do what they say"({ gambi, open }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    const echo = await provider(gambi);
    await hub.join("LAB001", "ann", echo);
    const page = await open();
    await page.goto(hub.url);
    await view(page, "Connect");
    const example = async (kind) => {
      await page.getByLabel(kind, { exact: true }).check();
      return page.locator("#snippet").textContent();
    };
    const run = (program, ...args) =>
      execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], timeout: 30000 });
    assert.match(run("sh", "-c", await example("curl")), /"content":"Hello!"/);
    assert.match(run("node", "--input-type=module", "-e", await example("JavaScript")), /You said: Hello!/);
    run("python3", "-c", "import ast, sys; ast.parse(sys.argv[1])", await example("Python"));
    const shown = (await example("gambi join")).replace(/^gambi/, '"$0"').replace("--model llama3", "--model echo");
    const join = `${shown} --endpoint ${echo} --dry-run`;
    assert.match(run("sh", "-c", join, gambi), /LAB001/);
  },

  async "a hub's key is asked for once, and kept by the page alone"({ gambi, open, accessible }) {
    await withFile("open-sesame", async (file) => {
      const hub = await Hub.start(gambi, "--key-file", file, "--room", "LAB001=Lab");
      hub.headers.Authorization = "Bearer open-sesame";
      const page = await open();
      await page.goto(hub.url);
      await page.getByRole("heading", { name: "The hub's key" }).waitFor();
      await accessible(page, "the question for the key");
      await page.getByRole("button", { name: "Cancel" }).click();
      await page.locator("#connection", { hasText: "Locked" }).waitFor();
      await page.getByRole("heading", { name: "This hub requires its key" }).waitFor();
      assert.equal(await page.getByText("Loading rooms").count(), 0);
      await page.getByRole("button", { name: "New room" }).click();
      await page.getByLabel("Name", { exact: true }).fill("Lab");
      await page.getByRole("button", { name: "Create", exact: true }).click();
      await page.locator("#create-wrong", { hasText: /^The hub requires its key\.$/ }).waitFor();
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Enter the hub's key" }).click();
      await page.getByLabel("Secret").fill("wrong");
      await page.keyboard.press("Enter");
      await page.getByText("That is wrong").waitFor();
      await page.getByLabel("Secret").fill("open-sesame");
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { name: "Lab", exact: true }).waitFor();
      await hub.register("LAB001", "late");
      await card(page, "late").waitFor();
      assert.match(await page.locator("#snippet").textContent(), /Bearer \$GAMBI_HUB_KEY/);
      assert.ok(!(await page.locator("#ask").isVisible()));
      assert.ok(!(await page.content()).includes("open-sesame"));
      // Other scripts of the same origin cannot read the secret.
      assert.equal(await page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }])), "[{},{}]");
      assert.equal(await page.evaluate(() => document.cookie + typeof globalThis.secrets), "undefined");
      await logged(page, "late joined");
      await page.reload();
      assert.equal(await page.evaluate(() => sessionStorage.length), 0, "what needs a key is not stored");
      await page.getByLabel("Secret").fill("open-sesame");
      await page.keyboard.press("Enter");
      await card(page, "late").waitFor();
      // The page knows the password of a private room that was created in it.
      await page.getByRole("button", { name: "New room" }).click();
      await page.getByLabel("Name", { exact: true }).fill("Shut");
      await page.getByLabel("Password to join").fill("s3cret!");
      await page.getByLabel("Private").check();
      await page.getByRole("button", { name: "Create", exact: true }).click();
      await page.getByRole("heading", { name: "Shut", exact: true }).waitFor();
      await page.getByText("No participants yet").waitFor();
      const { code } = (await hub.ask("GET", "/v1/rooms")).find((room) => room.private);
      await hub.register(code, "inside", { password: "s3cret!" });
      await logged(page, "inside joined");
      await card(page, "inside").waitFor();
      assert.ok(!(await page.locator("#ask").isVisible()));
    });
  },

  async "a private room opens to its password"({ gambi, open, accessible }) {
    const hub = await Hub.start(gambi, "--room", "LAB002=Open");
    const { room } = await hub.ask("POST", "/v1/rooms", { name: "Shut", password: "s3cret!", private: true });
    const page = await open();
    await page.goto(hub.url);
    await page.locator("#rooms").getByText("private").waitFor();
    await page.locator("#rooms a", { hasText: "Shut" }).click();
    await page.getByRole("heading", { name: `Password of room ${room.code}` }).waitFor();
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.locator("#room-why", { hasText: "This room is private." }).waitFor();
    await accessible(page, "a locked room");
    await page.getByRole("button", { name: "Enter its password" }).click();
    await page.getByLabel("Secret").fill("s3cret!");
    // The page lists the participants before it is told of events, so an event must wait until it is.
    const events = page.waitForResponse((response) => response.url().endsWith(`/${room.code}/events`) && response.ok());
    await page.keyboard.press("Enter");
    await page.getByText("No participants yet").waitFor();
    await events;
    hub.headers["X-Gambi-Room-Password"] = "s3cret!";
    await hub.register(room.code, "inside", { password: "s3cret!" });
    await logged(page, "inside joined");
    await card(page, "inside").waitFor();
    const file = await provider(gambi);
    await withFile("s3cret!", (password) => hub.join(room.code, "ann", file, "--password-file", password));
    await chat(page, "Let me in");
    await page.getByText("You said: Let me in").waitFor();
    assert.match(await page.locator("#snippet").textContent(), /Bearer \$GAMBI_ROOM_PASSWORD/);
    assert.ok(!(await page.locator("#ask").isVisible()));
    assert.equal(await page.evaluate(() => sessionStorage.length + localStorage.length), 0);
    await page.reload();
    assert.ok(!(await page.evaluate(() => JSON.stringify({ ...sessionStorage }))).includes(room.code));
    await page.getByLabel("Secret").fill("s3cret!");
    await page.keyboard.press("Enter");
    await card(page, "inside").waitFor();
  },

  async "a hub may have no page"({ gambi }) {
    const hub = await Hub.start(gambi, "--no-dashboard");
    assert.equal((await fetch(hub.url)).status, 404);
    assert.equal((await hub.ask("GET", "/v1/health")).status, "ok");
  },

  async "a hub that is gone leaves nothing that looks current"({ gambi, open, accessible, picture }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    await hub.join("LAB001", "ann", await provider(gambi), "--nickname", "Ann");
    const page = await open();
    await page.goto(hub.url);
    await card(page, "Ann").getByText("Online").waitFor();
    const buttons = ["New room", "Send", "Chat with Ann"].map((name) => page.getByRole("button", { name }));
    for (const button of buttons) assert.ok(await button.isEnabled());
    await stop(hub.child);
    await page.getByRole("alert").getByText(/^The hub does not answer. What is shown is from \d+:\d+:\d+.$/).waitFor();
    await card(page, "Ann").getByText("Unknown").waitFor();
    assert.equal(await page.locator("#participants .pill.online").count(), 0);
    await figure(page, "Up").getByText("– of 1").waitFor();
    for (const button of buttons) assert.ok(await button.isDisabled());
    await page.getByLabel("Message").fill("Lost");
    await page.keyboard.press("Enter");
    assert.equal(await page.locator("#talk > *").count(), 0);
    await accessible(page, "a room whose hub is gone");
    await picture(page, "gone");
    await Hub.start(gambi, "--room", "LAB001=Lab", "--port", String(hub.port));
    await page.getByRole("alert").getByText("The hub does not answer").waitFor({ state: "hidden" });
    await page.getByRole("button", { name: "Send" }).and(page.locator(":enabled")).waitFor();
  },

  async "a hub that restarts is found again"({ gambi, open }) {
    let hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    const { room } = await hub.ask("POST", "/v1/rooms", { name: "Forgotten" });
    const page = await open();
    await page.goto(`${hub.url}/#${room.code}`);
    await page.getByRole("heading", { name: "Forgotten" }).waitFor();
    await stop(hub.child);
    await page.locator("#connection", { hasText: "Lost" }).waitFor();
    hub = await Hub.start(gambi, "--room", "LAB001=Lab", "--port", String(hub.port));
    await page.locator("#connection", { hasText: "Up" }).waitFor();
    await page.getByText(`No room ${room.code}`).waitFor();
    await page.locator("#rooms a", { hasText: "Lab" }).click();
    await hub.register("LAB001", "back");
    await card(page, "back").waitFor();
  },

  async "a phone shows one thing at a time, and all of it"({ gambi, open, accessible, picture }) {
    const hub = await Hub.start(
      gambi,
      "--room",
      "LAB001=Lab",
      "--room",
      "LAB002=Donaudampfschifffahrtsgesellschaftskapitänspatent",
    );
    await hub.join("LAB001", "ann", await provider(gambi), "--nickname", "Ann");
    const page = await open(PHONE);
    await page.goto(hub.url);
    await picture(page, "phone-rooms");
    await page.locator("#rooms a", { hasText: "LAB001" }).click();
    for (const what of ["Chat", "Participants", "Activity", "Events", "Connect"]) {
      await page.locator("#views").getByRole("button", { name: what }).click();
      await page.getByRole("heading", { level: 3 }).first().waitFor();
      assert.equal(await page.getByRole("heading", { level: 3 }).count(), 1, what);
      const [wide, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(wide <= screen, `${what} is ${wide} wide on a screen of ${screen}`);
      await accessible(page, `a phone's ${what}`);
      await picture(page, `phone-${what}`);
    }
    await page.getByRole("link", { name: "All rooms" }).click();
    await page.locator("#rooms a", { hasText: "LAB002" }).waitFor();
  },
};
