// Stories about what a room does: who waits, the last hour, who used how much, how one's requests went, and the ways in and
// out of a room.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { writeFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Hub, provider, stop, until, view } from "./lab.mjs";

const card = (page, name) => page.locator("#participants li", { hasText: name });
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

async function chat(page, text) {
  await page.getByLabel("Message").fill(text);
  await page.keyboard.press("Enter");
}

/** A chat of another client. Its answer is not awaited. */
function ask(hub, text, headers = {}) {
  const body = JSON.stringify({ model: "any", messages: [{ role: "user", content: text }] });
  const init = { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body };
  return fetch(`${hub.url}/rooms/LAB001/v1/chat/completions`, init).then((response) => response.text());
}

/** A provider that answers only once it is told to. */
async function heldProvider() {
  const held = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    if (request.method === "GET") return response.end(JSON.stringify({ data: [{ id: "echo" }] }));
    const { messages, stream } = JSON.parse(body);
    if (!messages) return response.writeHead(400).end("{}");
    held.push(() => {
      if (stream) {
        response.writeHead(200, { "Content-Type": "text/event-stream" });
        return response.end(`data: ${JSON.stringify({ choices: [{ delta: { content: "Done" } }] })}\n\ndata: [DONE]\n\n`);
      }
      response.writeHead(200, { "Content-Type": "application/json" });
      response.end(JSON.stringify({ choices: [{ message: { content: "Done" } }], usage: { completion_tokens: 3 } }));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${server.address().port}`;
  return { url, held, end: () => (server.close(), server.closeAllConnections()) };
}

export const activity = {
  async "who waits is shown with place, name, model and time, without addresses"({ gambi, open, accessible, picture }) {
    const dir = await mkdtemp(join(tmpdir(), "gambi-"));
    const file = join(dir, "keys.json");
    const key = (name) => `gk-${name}-0123456789abcdef`;
    const people = ["root", "Bea", "Cyd"].map((name) => ({ name, key: key(name), admin: name === "root" }));
    await writeFile(file, JSON.stringify(people));
    const slow = await heldProvider();
    try {
      const hub = await Hub.start(gambi, "--keys", file, "--room", "LAB001=Lab");
      const keyFile = join(dir, "key");
      await writeFile(keyFile, key("root"));
      await hub.join("LAB001", "ann", slow.url, "--nickname", "Ann", "--key-file", keyFile);
      const bearer = (name) => ({ Authorization: `Bearer ${key(name)}` });
      const asked = [ask(hub, "first", bearer("Bea"))];
      await until("the first to be held", () => slow.held.length === 1);
      for (const [count, name] of ["Bea", "Cyd", "root"].entries()) {
        asked.push(ask(hub, "more", bearer(name)));
        const queued = async () => (await (await fetch(`${hub.url}/v1/rooms/LAB001/queue`, { headers: bearer("root") })).json()).data.queued;
        await until("it to wait", async () => (await queued()) === count + 1);
      }
      const page = await open();
      await page.goto(hub.url);
      await page.getByLabel("Secret").fill(key("root"));
      await page.keyboard.press("Enter");
      const row = (name) => page.locator("#queue tr", { hasText: name });
      await row("Cyd").waitFor();
      assert.match(await row("root").textContent(), /^[12]root youany[\d.]+ m?s$/);
      assert.equal(await row("Bea").locator("td").first().textContent(), "3", "who has used the most waits the longest");
      await accessible(page, "a queue");
      await picture(page, "data-queue", { fullPage: true });
      for (let answered = 0; answered < 4; answered += 1) {
        await until("the next", () => slow.held.length > answered);
        slow.held[answered]();
      }
      await Promise.all(asked);
      await page.locator("#queue-panel").waitFor({ state: "hidden" });
      await view(page, "Activity");
      const used = page.locator("#callers tr", { hasText: "Bea" });
      await used.getByRole("cell", { name: "2", exact: true }).waitFor();
      await picture(page, "data-callers", { fullPage: true });
    } finally {
      slow.end();
      await rm(dir, { recursive: true });
    }
  },

  async "the last hour is there for a page that was just opened, by pointer, keyboard and as a table"(tools) {
    const { gambi, open, accessible, picture } = tools;
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    const page = await open();
    await page.goto(hub.url);
    await view(page, "Activity");
    await page.getByText("No request in the last hour").waitFor();
    await hub.join("LAB001", "ann", await provider(gambi), "--nickname", "Ann");
    for (let count = 0; count < 4; count += 1) await ask(hub, `Hello ${count}`);
    await page.reload();
    await view(page, "Activity");
    await page.getByRole("img", { name: /Requests over the last hour: at most [1-4]/ }).waitFor();
    const told = page.locator("#minute-told");
    assert.match(await told.textContent(), /^Since \d+:\d+: /);
    const slider = page.getByRole("slider", { name: "Minute" });
    await slider.focus();
    await page.keyboard.press("Home");
    assert.match(await slider.getAttribute("aria-valuetext"), /^\d+:\d+: nothing$/);
    await page.locator("#charts .plot").first().hover({ position: { x: 3, y: 20 } });
    await page.locator("#charts .cursor[d^=M]").first().waitFor({ state: "attached" });
    await page.getByText("As a table").click();
    const cells = page.locator("#timeline-table tbody tr");
    await cells.first().waitFor();
    const sum = async () => {
      const rows = await cells.allTextContents();
      assert.ok(rows.length <= 2, `${rows.length} minutes`);
      return page.locator("#timeline-table tbody td:nth-child(2)").allTextContents();
    };
    assert.equal((await sum()).map(Number).reduce((a, b) => a + b), 4);
    await page.locator("#callers").getByText("Without a key").waitFor();
    await accessible(page, "the last hour");
    await picture(page, "data-timeline-light", { fullPage: true });
    await view(page, "Participants");
    await card(page, "Ann").getByRole("img", { name: /by minute over the last 15 minutes/ }).waitFor();
  },

  async "each request of one's own can be looked into, try by try"({ gambi, open, accessible, picture }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    await hub.join("LAB001", "ann", await provider(gambi, 20), "--nickname", "Ann");
    const page = await open({ colorScheme: "dark" });
    await page.goto(hub.url);
    await card(page, "Ann").getByText("Online").waitFor();
    await chat(page, "How does it go?");
    const trace = page.locator("#talk .trace").first();
    await trace.getByText(/^How it went: .*, 1 attempt$/).click();
    await trace.getByText(/ann complete · status 200/).waitFor();
    await trace.getByText(/Until the head .* · Answer .* · Tokens .* out/).waitFor();
    await accessible(page, "a trace");
    await picture(page, "data-trace-dark", { fullPage: true });
    await hub.ask("DELETE", "/v1/rooms/LAB001/participants/ann");
    await page.getByText("No participants yet").waitFor();
    await chat(page, "Anyone?");
    await page.locator("#talk .trace").nth(1).getByText(/^How it went/).click();
    await page.getByText(/No participant took it: MODEL_NOT_FOUND|No participant took it: /).waitFor();
  },

  async "others are invited by link, code and line, and the host deletes the room"({ gambi, open, accessible, picture }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    const page = await open();
    await page.goto(`${hub.url}/#LAB001`);
    await view(page, "Connect");
    const base = page.locator("#base-url", { hasText: `${hub.url}/rooms/LAB001/v1` });
    await base.waitFor();
    await page.locator("#base-copy").click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${hub.url}/rooms/LAB001/v1`);
    await page.getByRole("button", { name: "Invite" }).click();
    await page.getByRole("heading", { name: "Invite to Lab" }).waitFor();
    await page.locator("#invite").getByText(`${hub.url}/#LAB001`).waitFor();
    await page.getByRole("img", { name: "QR code of the page" }).waitFor();
    await page.locator("#invite").getByText(/^gambi join gambi:[A-Z0-9]+$/i).waitFor();
    await page.locator("#invite").getByText(/Only this machine reaches the hub/).waitFor();
    await accessible(page, "an invitation");
    await picture(page, "data-invite");
    await page.locator("#invite").getByRole("button", { name: "Close" }).click();

    const remove = page.getByRole("button", { name: "Delete", exact: true });
    await remove.first().click();
    await page.getByRole("heading", { name: "Delete room LAB001?" }).waitFor();
    await page.getByLabel("Host id").fill("wrong");
    await page.locator("#delete").getByRole("button", { name: "Delete" }).click();
    await page.getByText("That is not the host id of this room").waitFor();
    await accessible(page, "a room that is not to be deleted");
    await picture(page, "data-delete");
    await page.locator("#delete").getByRole("button", { name: "Cancel" }).click();

    // Who has made the room in this page needs no id.
    await page.getByRole("button", { name: "New room" }).click();
    await page.getByLabel("Name", { exact: true }).fill("Mine");
    await page.getByRole("button", { name: "Create", exact: true }).click();
    await page.getByRole("heading", { name: "Mine", exact: true }).waitFor();
    await remove.first().click();
    assert.ok(!(await page.getByLabel("Host id").isVisible()));
    await page.locator("#delete").getByRole("button", { name: "Delete" }).click();
    await page.locator("#rooms", { hasText: "Mine" }).waitFor({ state: "detached" });
    assert.equal((await hub.ask("GET", "/v1/rooms")).length, 1);
  },

  async "a hub that is gone is told once, with the next try"({ gambi, open, picture }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    const page = await open();
    await page.goto(hub.url);
    await page.locator("#connection", { hasText: "Up" }).waitFor();
    await stop(hub.child);
    await page.locator("#trouble-retry").getByText(/^(Next try in \d+ s|Trying)$/).waitFor();
    await picture(page, "data-gone");
    await Hub.start(gambi, "--room", "LAB001=Lab", "--port", String(hub.port));
    // The banner may have gone by itself in between.
    const once = { timeout: 2000 };
    await page.getByRole("button", { name: "Try now" }).click(once).catch(() => {});
    await page.locator("#connection", { hasText: "Up" }).waitFor();
    await page.locator("#trouble").waitFor({ state: "hidden" });
  },

  async "a phone shows the activity in its width"({ gambi, open, accessible, picture }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    await hub.join("LAB001", "ann", await provider(gambi, 5), "--nickname", "Ann");
    const page = await open({ ...PHONE, colorScheme: "dark" });
    await page.goto(`${hub.url}/#LAB001`);
    await page.locator("#views").getByRole("button", { name: "Chat" }).click();
    await chat(page, "Hello from a phone");
    await page.locator("#talk .trace summary").click();
    await page.getByText(/ann complete/).waitFor();
    const fits = async (what) => {
      const [wide, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(wide <= screen, `${what} is ${wide} wide on a screen of ${screen}`);
      await accessible(page, `a phone's ${what}`);
      await picture(page, `data-phone-${what}`);
    };
    await fits("trace");
    await page.locator("#views").getByRole("button", { name: "Activity" }).click();
    await page.locator("#callers").waitFor();
    await fits("activity");
    await page.getByRole("button", { name: "Invite" }).click();
    await page.getByRole("img", { name: "QR code of the page" }).waitFor();
    await fits("invite");
  },
};
