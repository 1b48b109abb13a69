// Runs the stories, a few in parallel, each in a browser profile of its own. Fails on errors in the page, violations of
// its content security policy, and requests to other hosts.

import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { stopAll } from "./lab.mjs";
import { stories } from "./stories.mjs";
import { crowds } from "./crowds.mjs";
import { activity } from "./activity.mjs";
import { talking } from "./talking.mjs";

const [gambi, packages, pictures, only] = process.argv.slice(2);
const require = createRequire(resolve(packages, "node_modules/"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

// Keeps Chromium from looking for updates and contacting its vendor.
const QUIET = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const PATIENCE = 30000;
/** Stories mostly wait, so more run in parallel than there are cores. */
const AT_ONCE = 3;

/** Opens a page in a new browser profile; `wrong` collects errors. */
async function open(browser, wrong, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    permissions: ["clipboard-read", "clipboard-write"],
    ...options,
  });
  context.setDefaultTimeout(PATIENCE);
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) =>
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`),
    );
  });
  const page = await context.newPage();
  page.on("pageerror", (error) => wrong.push(error.stack));
  // Error responses and an unreachable hub cause console messages too.
  page.on(
    "console",
    (message) =>
      message.type() === "error" && !message.text().startsWith("Failed to load resource") && wrong.push(message.text()),
  );
  page.on("request", (request) => {
    if (!/^(data:|http:\/\/127\.0\.0\.1:)/.test(request.url())) wrong.push(`asked ${request.url()}`);
  });
  page.on("dialog", (dialog) => (wrong.push(`a dialog: ${dialog.message()}`), dialog.dismiss()));
  return page;
}

/** The accessibility problems that axe finds on the current page. */
async function accessible(page, where) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const found = violations.map((v) => `${v.id}: ${v.help}\n  ${v.nodes.map((n) => n.html).join("\n  ")}`);
  if (found.length) throw new Error(`axe, ${where}:\n${found.join("\n")}`);
}

/** Runs one story. Resolves to whether it passed. */
async function tell(browser, [name, story]) {
  const [wrong, pages, began] = [[], [], Date.now()];
  const tools = {
    gambi,
    accessible,
    open: async (options) => (pages.push(await open(browser, wrong, options)), pages.at(-1)),
    picture: (page, what, options = {}) => page.screenshot({ path: join(pictures, `${what}.png`), ...options }),
  };
  let well = true;
  try {
    await story(tools);
    if (wrong.length) throw new Error("the page did what it must not");
    console.log(`ok ${name} (${Date.now() - began} ms)`);
  } catch (error) {
    well = false;
    console.log(`FAILED ${name}: ${error.stack}\n${wrong.join("\n")}`);
    await pages
      .at(-1)
      ?.screenshot({ path: join(pictures, "failed.png") })
      .catch(() => {});
  }
  await Promise.all(pages.map((page) => page.context().close()));
  return well;
}

mkdirSync(pictures, { recursive: true });
const queue = Object.entries({ ...stories, ...crowds, ...activity, ...talking }).filter(([name]) => !only || name.startsWith(only));
if (!queue.length) throw new Error(`there is no story called ${only}`);
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: QUIET, chromiumSandbox: false });
let failed = 0;
const teller = async () => {
  while (queue.length) {
    const well = await tell(browser, queue.shift());
    failed += !well;
  }
};
try {
  await Promise.all(Array.from({ length: AT_ONCE }, teller));
} finally {
  await browser.close();
  await stopAll();
}
console.log(failed ? `${failed} failed` : "all stories passed");
process.exitCode = failed ? 1 : 0;
