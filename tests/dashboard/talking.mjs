// Stories about the states of a conversation: Markdown, reasoning, failures, waiting. Each of them is accessible.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { Hub, until } from "./lab.mjs";

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

const ANSWER = [
  "### How a queue works\n\nIt keeps requests **in order**, see [the text](https://a.example/) or [this](javascript:x).\n",
  "```rust\nlet mut line: VecDeque<&str> = VecDeque::with_capacity(8); // wider than the screen of any phone, by far\n```\n",
  "1. The hub takes it.\n   - It checks the key.\n\n2. It waits.\n\n- [x] streams\n- [ ] images\n",
  "| Model | Size | Speed | Notes |\n|---|--:|:-:|---|\n| `qwen2.5-coder:32b` | 19 GB | 18.4 | for code, on large machines |\n",
  "> A note <img src=x onerror=alert(1)>\n\n---\n\n![picture](https://a.example/x.png) That is all.",
].join("\n");

/** A provider that answers in Markdown after some reasoning, fails, sends what is no event, or waits until it is told to go on. */
async function markdownProvider() {
  const held = [];
  const work = { abandoned: 0 };
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    if (request.method === "GET") return response.end(JSON.stringify({ data: [{ id: "echo" }] }));
    const { messages } = JSON.parse(body);
    if (!messages) return response.writeHead(400).end("{}");
    const question = messages.at(-1).content;
    if (question === "fail") return response.writeHead(500).end(JSON.stringify({ error: { message: "out of memory" } }));
    response.on("close", () => (work.abandoned += !response.writableEnded));
    if (question.startsWith("hold")) await new Promise((go) => held.push(go));
    if (question === "hold, then fail") return response.writeHead(400).end(JSON.stringify({ error: { message: "bad question" } }));
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    if (question === "garble") return response.write("data: {garbled\n\n");
    const say = (choice) => response.write(`data: ${JSON.stringify({ choices: [choice] })}\n\n`);
    say({ delta: { reasoning_content: "First the order,\nthen an example." } });
    for (let at = 0; at < ANSWER.length; at += 9) say({ delta: { content: ANSWER.slice(at, at + 9) } });
    say({ delta: {}, finish_reason: "stop" });
    response.end("data: [DONE]\n\n");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${server.address().port}`;
  return { url, held, work, end: () => (server.close(), server.closeAllConnections()) };
}

/** Opens a room whose participant answers in Markdown. */
async function withRoom({ gambi, open }, options, use) {
  const provider = await markdownProvider();
  try {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    await hub.join("LAB001", "ann", provider.url, "--nickname", "Ann");
    const page = await open(options);
    await page.goto(hub.url);
    await page.getByText("1 participant answers here").waitFor();
    await use(page, hub, provider);
  } finally {
    provider.end();
  }
}

async function ask(page, text) {
  await page.getByLabel("Message").fill(text);
  await page.keyboard.press("Enter");
}

const isInWidth = (page) => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);

export const talking = {
  async "an answer in Markdown is built from elements, in each theme and width"(tools) {
    for (const [what, options] of [
      ["light", {}],
      ["dark", { colorScheme: "dark" }],
      ["phone", PHONE],
    ]) {
      await withRoom(tools, options, async (page) => {
        await tools.accessible(page, `a room that nobody has talked in, ${what}`);
        await ask(page, "How does a queue work?");
        const answer = page.locator("#talk .theirs .rich");
        await answer.getByText("That is all.").waitFor();
        await page.getByRole("button", { name: "Send" }).waitFor();
        assert.equal(await answer.getByRole("heading", { name: "How a queue works" }).count(), 1);
        assert.deepEqual(await answer.locator("a").evaluateAll((links) => links.map((link) => [link.href, link.rel])), [
          ["https://a.example/", "noopener noreferrer"],
          ["https://a.example/x.png", "noopener noreferrer"],
        ]);
        assert.equal(await answer.locator("ol > li").count(), 2, "the items are of one list");
        assert.equal(await answer.locator("img").count(), 0);
        assert.ok((await answer.textContent()).includes("<img src=x onerror=alert(1)>"));
        assert.ok(!(await page.getByText("First the order").isVisible()));
        await page.getByText("Reasoning").click();
        await page.getByText("First the order").waitFor();
        await answer.getByRole("button", { name: "Copy" }).click();
        await answer.locator("button[data-notice=Copied]").waitFor();
        assert.ok(await isInWidth(page));
        await tools.accessible(page, `an answer in Markdown, ${what}`);
        await tools.picture(page, `markdown-${what}`);
        // A conversation is there after a reload, and gone when it is deleted.
        await page.reload();
        await answer.getByText("That is all.").waitFor();
        await page.locator("#chat-settings").click();
        await tools.accessible(page, `the settings of a chat, ${what}`);
        await page.getByRole("button", { name: "Delete chat" }).click();
        await page.getByText("1 participant answers here").waitFor();
      });
    }
  },

  async "a first question that fails says why, and can be sent again"(tools) {
    await withRoom(tools, {}, async (page) => {
      await ask(page, "fail");
      await page.locator("#talk").getByText("out of memory").first().waitFor();
      assert.equal(await page.getByLabel("Message").inputValue(), "fail");
      await tools.accessible(page, "a question that failed");
      await tools.picture(page, "question-failed");
      await ask(page, "Again?");
      await page.getByText("That is all.").waitFor();
    });
  },

  async "a question that fails goes back into the input unless another one is being typed there"(tools) {
    await withRoom(tools, {}, async (page, hub, provider) => {
      await ask(page, "hold, then fail");
      await until("the question", () => provider.held.length === 1);
      await page.getByLabel("Message").fill("And the next?");
      provider.held[0]();
      await page.locator("#talk").getByText("bad question").first().waitFor();
      await page.getByRole("button", { name: "Send" }).waitFor();
      assert.equal(await page.getByLabel("Message").inputValue(), "And the next?");
      await page.keyboard.press("Enter");
      await page.getByText("That is all.").waitFor();
      await page.getByRole("button", { name: "Try again" }).waitFor();
    });
  },

  async "a conversation that is left or deleted while it is answered changes no other"(tools) {
    await withRoom(tools, {}, async (page, hub, provider) => {
      const [mine, theirs] = [page.locator("#talk .mine"), page.locator("#talk .theirs")];
      const counts = async () => [await mine.count(), await theirs.count()];
      const done = () => page.getByRole("button", { name: "Try again" }).waitFor();
      await ask(page, "First?");
      await done();
      await ask(page, "hold the first");
      await until("the question", () => provider.held.length === 1);
      await page.getByRole("button", { name: "New chat" }).click();
      await until("the end of its answer", () => provider.work.abandoned === 1);
      await ask(page, "Second?");
      await done();
      assert.deepEqual(await counts(), [1, 1]);
      await ask(page, "hold the second");
      await until("the question", () => provider.held.length === 2);
      // What was asked is not kept, since nobody answered it.
      await page.locator("#chat-settings").click();
      await page.getByRole("button", { name: "Delete chat" }).click();
      await until("the end of its answer", () => provider.work.abandoned === 2);
      await mine.getByText("First?").waitFor();
      await done();
      assert.deepEqual(await counts(), [1, 1]);
      await page.reload();
      await done();
      assert.deepEqual(await counts(), [1, 1]);
    });
  },

  async "an answer that cannot be read is not waited for"(tools) {
    await withRoom(tools, {}, async (page, hub, provider) => {
      await ask(page, "garble");
      await until("the end of the request", () => provider.work.abandoned === 1);
      assert.equal(await page.getByLabel("Message").inputValue(), "garble");
    });
  },

  async "who waits in the line sees the place, and then who answers"(tools) {
    await withRoom(tools, { colorScheme: "dark" }, async (page, hub, provider) => {
      const init = { method: "POST", headers: { "Content-Type": "application/json" } };
      const body = JSON.stringify({ model: "any", messages: [{ role: "user", content: "hold" }] });
      const first = fetch(`${hub.url}/rooms/LAB001/v1/chat/completions`, { ...init, body }).then((answer) => answer.text());
      await until("the first request", () => provider.held.length === 1);
      await ask(page, "And I?");
      await page.getByText("Waiting for the answer").waitFor();
      await page.getByText("Waiting in line: 1 of 1").waitFor();
      await tools.accessible(page, "waiting");
      await tools.picture(page, "waiting");
      provider.held[0]();
      await first;
      await page.getByText("That is all.").waitFor();
      await page.locator("#talk .by", { hasText: "Ann · echo" }).waitFor();
    });
  },

  async "the chosen theme is kept, whatever the system's is"({ gambi, open, accessible }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Lab");
    const page = await open({ colorScheme: "dark" });
    await page.goto(hub.url);
    const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await back();
    await page.getByLabel("Colours").selectOption("light");
    const light = await back();
    assert.notEqual(light, dark);
    await page.reload();
    assert.equal(await back(), light);
    await page.getByText("No model is in this room yet").waitFor();
    await accessible(page, "the light theme on a dark system");
    await page.getByLabel("Colours").selectOption("");
    assert.equal(await back(), dark);
  },
};
