// Bad input and odd data: names that want to be more than names, clocks that are off, crowds and floods.

import assert from "node:assert/strict";
import { Hub, provider, until } from "./lab.mjs";

const card = (page, name) => page.locator("#people li", { hasText: name });
const CROWD = 500;
const DAYS = 86400000;

/** Registers again and again, from several connections, until told to stop; how often, so far. */
function flood(hub, room) {
  const tide = { count: 0, over: false };
  const pour = async (lane) => {
    for (let n = 0; !tide.over; n += 1) {
      await hub.register(room, `wave-${lane}-${n % 20}`, { nickname: `Wave ${lane}` });
      tide.count += 1;
    }
  };
  tide.ended = Promise.all([0, 1, 2, 3].map(pour));
  // A story that failed before its flood was over has said so already.
  tide.ended.catch(() => {});
  return tide;
}

export const crowds = {
  async "names that strangers chose stay names"({ gambi, open, accessible, picture }) {
    const hub = await Hub.start(gambi, "--room", 'LAB001=<img src=x onerror="alert(1)">');
    const page = await open();
    await page.goto(hub.url);
    await page.locator("#connection", { hasText: "Live" }).waitFor();
    const names = {
      markup: '"><script>alert(1)</script><img src=x onerror=alert(2)>',
      template: "${alert(3)}{{constructor.constructor('alert(4)')()}}",
      backwards: "\u202Egnp.exe\u2069 مرحبا بالعالم",
      emoji: "👩‍👩‍👧‍👦".repeat(36) + "😀".repeat(20),
      long: "x".repeat(1000),
    };
    for (const [id, name] of Object.entries(names)) await hub.register("LAB001", id, { nickname: name, model: name, specs: { gpu: name } });
    await hub.register("LAB001", "javascript:alert(5)", { nickname: "id" });
    await until("all cards", async () => (await page.locator("#people li").count()) === 6);
    for (const name of Object.values(names)) {
      assert.ok((await page.locator("#people .name").allTextContents()).includes(name), name);
    }
    assert.equal(await page.locator("main img, main script, main iframe").count(), 0);
    const { wide, tall } = await page.evaluate(() => ({
      wide: document.documentElement.scrollWidth - innerWidth,
      tall: Math.max(...[...document.querySelectorAll("#people li")].map((li) => li.offsetHeight)),
    }));
    assert.ok(wide <= 0 && tall < 400, `${wide} ${tall}`);
    await page.locator("#log").getByText("javascript:alert(5) joined").waitFor();
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
      await card(page, "ann").getByText(/seen (now|\d+ s ago)/).waitFor();
      await page.context().close();
    }
  },

  async "five hundred participants and a flood of events leave it usable"({ gambi, open, accessible, picture }) {
    const hub = await Hub.start(gambi, "--room", "LAB001=Crowd");
    const slow = await provider(gambi, 5);
    await hub.join("LAB001", "ann", slow, "--nickname", "Ann of the crowd");
    for (let n = 0; n < CROWD; n += 1) await hub.register("LAB001", `p${n}`, { nickname: `Participant ${n}`, model: `model-${n % 7}` });
    const page = await open();
    await page.goto(hub.url);
    const tide = flood(hub, "LAB001");
    await until("the flood", () => tide.count > 2000);
    // What is drawn is bounded, whatever comes.
    assert.ok((await page.locator("#log li").count()) <= 100);
    await page.getByText("showing the newest 100").waitFor();
    // And all the while it does what it is asked to.
    await page.locator("#people-filter").fill("Participant 4");
    await card(page, "Participant 42").first().waitFor();
    await page.locator("#people-filter").fill("of the crowd");
    await card(page, "Ann of the crowd").getByRole("button").click();
    await page.keyboard.type("In the flood");
    await page.keyboard.press("Enter");
    await page.getByText("You said: In the flood").waitFor();
    await page.getByText(/all after/).waitFor();
    const seen = tide.count;
    await until("more of the flood", () => tide.count > seen + 1000);
    tide.over = true;
    await tide.ended;
    await page.locator("#people-filter").fill("");
    await page.getByText(`The first 500 of ${CROWD + 81}`).waitFor();
    assert.equal(await page.locator("#people li").count(), 500);
    await picture(page, "crowd");
    assert.equal((await hub.ask("GET", "/v1/health")).status, "ok");
    // Axe looks at each of thousands of elements: a few cards are like the others.
    await page.locator("#people-filter").fill("Participant 49");
    await until("few cards", async () => (await page.locator("#people li").count()) === 11);
    await accessible(page, "a crowd");
  },
};
