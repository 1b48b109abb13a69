// Stories about bad input, hostile names, invalid responses, wrong clocks, many participants and floods of events.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as ask } from "node:http";
import { Hub, provider, until, view } from "./lab.mjs";

const card = (page, name) => page.locator("#participants li", { hasText: name });
const CROWD = 500;
const DAYS = 86400000;

/** Events per second that the flood adds, and milliseconds between its writes. */
const RATE = 1000;
const WRITES = 20;

/** The events of a busy room: completed requests and changing participants. */
function eventsOf(number) {
  const event = (type, data) =>
    `event: ${type}\ndata: ${JSON.stringify({ type, timestamp: Date.now(), roomCode: "LAB001", data })}\n\n`;
  const dispatch = {
    requestId: `r${number}`,
    participantId: `p${number % CROWD}`,
    model: "any",
    protocol: "chatCompletions",
  };
  const metrics = {
    ttftMs: 20 + (number % 60),
    durationMs: 300,
    outputTokens: 20,
    tokensPerSecond: 40 + (number % 30),
  };
  return event("llm.request", dispatch) + event("llm.complete", { ...dispatch, metrics });
}

/** A proxy to the hub that adds a flood to its events, since clients alone cannot cause one on a small machine. */
async function flooded(hub) {
  const tide = { count: 0 };
  const server = createServer((request, response) => {
    const forward = ask(hub.url + request.url, { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      if (request.url !== "/v1/events") return;
      const timer = setInterval(() => {
        for (let n = 0; n < RATE / WRITES; n += 2, tide.count += 2) response.write(eventsOf(tide.count));
      }, 1000 / WRITES);
      response.once("close", () => (clearInterval(timer), forward.destroy()));
    });
    forward.on("error", () => response.destroy());
    response.once("close", () => forward.destroy());
    request.pipe(forward);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  tide.url = `http://127.0.0.1:${server.address().port}`;
  tide.end = () => (server.close(), server.closeAllConnections());
  return tide;
}

const piece = (delta, finish = null) =>
  `data: ${JSON.stringify({ choices: [{ delta, finish_reason: finish }] })}\r\n\r\n`;

/** Provider responses by prompt, and what the page should show. */
const ANSWERS = {
  "no end mark": [[piece({ content: "no " }), piece({ content: "mark" }, "stop")], /^no mark first token after/],
  thoughts: [
    [piece({ reasoning: "hmm " }), piece({ content: "42" }, "stop"), "data: [DONE]\n\n"],
    /^hmm 42 first token/,
  ],
  "cut off": [[piece({ content: "half" })], /^half The answer broke off/],
  "an error": [
    [piece({ content: "half" }), 'data: {"error": {"message": "out of memory"}}\n\n'],
    /^half out of memory/,
  ],
  whole: [JSON.stringify({ choices: [{ message: { content: "at once" } }] }), /^at once first token/],
  "no key": [JSON.stringify({ error: { message: "Bad API key", code: "invalid_api_key" } }), /^Bad API key/, 401],
  "no JSON": ["<h1>Oops</h1>", /^The hub answered 500/, 500],
};

/** A provider that sends those responses. */
async function oddProvider() {
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    if (request.method === "GET")
      return response.end(JSON.stringify({ data: [{ id: "echo" }], models: [{ name: "echo" }] }));
    const [answer, , status] = ANSWERS[JSON.parse(body).messages?.at(-1).content] ?? ["{}", null, 400];
    const kind = Array.isArray(answer) ? "text/event-stream; charset=utf-8" : "application/json";
    response.writeHead(status ?? 200, { "Content-Type": kind });
    response.end([answer].flat().join(""));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    end: () => (server.close(), server.closeAllConnections()),
  };
}

/** Lines of one large piece: more than the page shows at once. */
const LINES = "line\n".repeat(60);

/** A provider whose answer goes on, by a large piece, whenever it is told to. */
async function haltingProvider() {
  const pieces = [];
  let next = () => {};
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    if (request.method === "GET") return response.end(JSON.stringify({ data: [{ id: "echo" }] }));
    if (!JSON.parse(body).messages) return response.writeHead(400).end("{}");
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    for (;;) {
      while (!pieces.length) await new Promise((resolve) => (next = resolve));
      response.write(piece({ content: `${LINES}${pieces.shift()}` }));
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${server.address().port}`;
  const say = (text) => (pieces.push(text), next());
  return { url, say, end: () => (server.close(), server.closeAllConnections()) };
}

export const crowds = {
  async "an answer is followed however large its pieces, until one scrolls up"({ gambi, open }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    const halting = await haltingProvider();
    await hub.join("LAB001", "ann", halting.url);
    const page = await open();
    await page.goto(hub.url);
    await card(page, "ann").getByText("Online").waitFor();
    const talk = page.locator("#talk");
    const below = () => talk.evaluate((node) => node.scrollHeight - node.scrollTop - node.clientHeight);
    await page.getByLabel("Message").fill("Go on");
    await page.keyboard.press("Enter");
    for (const text of ["first", "second", "third"]) {
      halting.say(text);
      await talk.getByText(text).waitFor();
      await until(`the end of the ${text} piece in view`, async () => (await below()) < 8);
    }
    await talk.hover();
    await page.mouse.wheel(0, -200);
    await until("the view to scroll up", async () => (await below()) > 100);
    const top = await talk.evaluate((node) => node.scrollTop);
    halting.say("fourth");
    await talk.getByText("fourth").waitFor();
    halting.say("fifth");
    await talk.getByText("fifth").waitFor();
    assert.ok((await talk.evaluate((node) => node.scrollTop)) <= top, "who reads above is left there");
    await page.mouse.wheel(0, 100000);
    await until("the end in view", async () => (await below()) < 8);
    halting.say("sixth");
    await talk.getByText("sixth").waitFor();
    await until("the end of the sixth piece in view", async () => (await below()) < 8);
    halting.end();
  },

  async "answers are shown for what they are"({ gambi, open }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    const odd = await oddProvider();
    await hub.join("LAB001", "ann", odd.url);
    const page = await open();
    await page.goto(hub.url);
    await card(page, "ann").getByText("Online").waitFor();
    const answer = page.locator("#talk .theirs").last();
    for (const [question, [, shown]] of Object.entries(ANSWERS)) {
      await page.getByRole("button", { name: "New chat" }).and(page.locator(":enabled")).click({ timeout: 500 }).catch(() => {});
      await page.getByLabel("Message").fill(question);
      await page.getByLabel("Message").press("Enter");
      await page.getByRole("button", { name: "Send" }).waitFor();
      // Without the author: the answer itself, and the note below it.
      const shownText = async () =>
        (await answer.locator("p:not(.by)").allTextContents()).join(" ").trim().replace(/\s+/g, " ");
      await until(`an answer to "${question}"`, async () => shown.test(await shownText()));
    }
    odd.end();
  },

  async "names that strangers chose stay names"({ gambi, open, accessible, picture }) {
    const hub = await Hub.start(gambi, "--room", 'LAB001=<img src=x onerror="alert(1)">');
    const page = await open();
    await page.goto(hub.url);
    await page.locator("#connection", { hasText: "Up" }).waitFor();
    const names = {
      markup: '"><script>alert(1)</script><img src=x onerror=alert(2)>',
      template: "${alert(3)}{{constructor.constructor('alert(4)')()}}",
      backwards: "\u202Egnp.exe\u2069 مرحبا بالعالم",
      emoji: "👩‍👩‍👧‍👦".repeat(36) + "😀".repeat(20),
      long: "x".repeat(1000),
    };
    for (const [id, name] of Object.entries(names))
      await hub.register("LAB001", id, { nickname: name, model: name, specs: { gpu: name } });
    await hub.register("LAB001", "javascript:alert(5)", { nickname: "id" });
    await until("all cards", async () => (await page.locator("#participants li").count()) === 6);
    // Bidirectional controls are removed: the name must not be read as exe.png.
    names.backwards = "gnp.exe  مرحبا بالعالم";
    for (const name of Object.values(names)) {
      assert.ok((await page.locator("#participants .name").allTextContents()).includes(name), name);
    }
    assert.equal(await page.locator("main img, main script, main iframe").count(), 0);
    const { wide, tall } = await page.evaluate(() => ({
      wide: document.documentElement.scrollWidth - innerWidth,
      tall: Math.max(...[...document.querySelectorAll("#participants li")].map((li) => li.offsetHeight)),
    }));
    assert.ok(wide <= 0 && tall < 400, `${wide} ${tall}`);
    await page.locator("#log").getByText("javascript:alert(5) joined").waitFor({ state: "attached" });
    await accessible(page, "odd names");
    await picture(page, "odd-names", { fullPage: true });
  },

  async "a clock that is off does not matter"({ gambi, open }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    for (const days of [-400, 400]) {
      const page = await open();
      await page.addInitScript((ahead) => {
        const real = Date.now;
        Date.now = () => real() + ahead;
      }, days * DAYS);
      await page.goto(hub.url);
      await hub.register("LAB001", "ann");
      await card(page, "ann")
        .getByText(/seen (now|\d+ s ago)/)
        .waitFor();
      await page.context().close();
    }
  },

  async "five hundred participants and a thousand events a second leave it usable"({
    gambi,
    open,
    accessible,
    picture,
  }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Crowd");
    await hub.join("LAB001", "ann", await provider(gambi, 5), "--nickname", "Ann of the crowd");
    const lane = async (first) => {
      for (let n = first; n < CROWD; n += 8)
        await hub.register("LAB001", `p${n}`, { nickname: `Participant ${n}`, model: `model-${n % 7}` });
    };
    await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(lane));
    const tide = await flooded(hub);
    const page = await open();
    await page.goto(tide.url);
    await page.getByText(`The first 500 of ${CROWD + 1}`).waitFor();
    await view(page, "Events");
    await page.getByText(/[\d,]+ a second, showing the newest 100/).waitFor();
    await view(page, "Participants");
    // The page stays usable during the flood.
    await page.locator("#participants-filter").fill("Participant 49");
    await until("eleven cards", async () => (await page.locator("#participants li").count()) === 11);
    await page.locator("#participants-filter").fill("of the crowd");
    await card(page, "Ann of the crowd").getByRole("button").click();
    await page.keyboard.type("In the flood");
    await page.keyboard.press("Enter");
    await page.getByText("You said: In the flood").waitFor();
    await page.getByText(/all after/).waitFor();
    await page.locator("#participants-filter").fill("");
    const seen = tide.count;
    await until("more of the flood", () => tide.count > seen + RATE);
    // The number of drawn elements is bounded.
    assert.equal(await page.locator("#participants li").count(), 500);
    assert.ok((await page.locator("#log li").count()) <= 100);
    assert.equal(await page.locator("#connection").textContent(), "Up");
    await picture(page, "crowd");
    tide.end();
    assert.equal((await hub.ask("GET", "/v1/health")).status, "ok");
    // Axe checks every element; a few cards represent the others.
    await page.locator("#participants-filter").fill("Participant 49");
    await until("few cards", async () => (await page.locator("#participants li").count()) === 11);
    await accessible(page, "a crowd");
  },
};
