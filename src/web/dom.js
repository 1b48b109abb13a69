// Elements, texts and times. Elements are made by hand, never out of markup: whatever strangers are called stays text.

const $ = (id) => document.getElementById(id);

/** An element with attributes (`onclick` and the like are listeners; null and false are left out) and children. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** Sets a text where it has changed: touching it makes the browser lay it out again. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Shows or hides. */
function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** A text that a stranger chose, without what turns letters round: `gnp.exe` must not be read as `exe.png`. */
const clean = (text) =>
  String(text)
    .replace(/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, " ")
    .trim();

/** Such a text in an element of its own, so that its direction does not become that of what follows. */
const name = (text) => el("bdi", {}, clean(text));

/** Such a text where there can be no element, and no more of it than fits there. */
function plain(text) {
  const letters = [...clean(text)];
  return letters.slice(0, 60).join("") + (letters.length > 60 ? "…" : "");
}

/** Tells those who do not see the page. */
function announce(text) {
  $("said").textContent = text;
}

const number = (n) => n.toLocaleString("en-US", { maximumFractionDigits: n < 10 ? 1 : 0 });
const plural = (n, one, many = one + "s") => `${number(n)} ${n === 1 ? one : many}`;
const millis = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${number(ms / 1000)} s`);

/** How much the hub's clock is ahead of this browser's: either may be wrong. */
let clockAhead = 0;

/** A time of the hub's clock, as a distance from now. A clock that was put back gives no time in the future. */
function ago(timestamp) {
  const seconds = Math.max(0, Math.round((Date.now() + clockAhead - timestamp) / 1000));
  if (seconds < 2) return "now";
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${number(Math.round(seconds / 86400))} days ago`;
}

/** A time of the hub's clock, on the wall of whoever looks. */
function wallTime(timestamp) {
  const date = new Date(timestamp - clockAhead);
  return Number.isNaN(date.getTime()) ? "?" : date.toLocaleTimeString([], { hour12: false });
}

/** The value in the middle, or `part` of the way up. */
function quantile(values, part = 0.5) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
}

/** Copies a text. Browsers keep their clipboard from pages without TLS, as most hubs' are: there the old way works. */
async function copy(text, button) {
  let copied = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { class: "unseen", "aria-hidden": "true", tabindex: -1 });
    area.value = text;
    (button.closest("dialog") ?? document.body).append(area);
    area.select();
    copied = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const told = copied ? "Copied" : "Select and copy it by hand";
  announce(told);
  button.dataset.told = told;
  setTimeout(() => delete button.dataset.told, 1500);
}

const PAINT_EVERY = 300;
const dirty = new Set();
let paintedAt = -PAINT_EVERY;
let painting = 0;

/** Has a part of the page drawn soon: however much happens, a few times a second and no more. */
function paint(painter) {
  dirty.add(painter);
  if (painting) return;
  painting = setTimeout(
    () => {
      const painters = [...dirty];
      dirty.clear();
      painting = 0;
      painters.forEach((draw) => draw());
      paintedAt = performance.now();
    },
    Math.max(0, paintedAt + PAINT_EVERY - performance.now()),
  );
}
