// Helpers for elements, text and times. Elements are never built from markup, so names from others remain text.

const $ = (id) => document.getElementById(id);

/** Creates an element with attributes (`on...` are listeners; null and false are left out) and children. */
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

/** Sets a node's text if it differs: assigning causes a new layout. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Shows or hides a node. */
function setVisible(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** Untrusted text without bidirectional controls: `gnp.exe` must not be displayed as `exe.png`. */
const clean = (text) =>
  String(text)
    .replace(/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, " ")
    .trim();

/** Untrusted text in an element of its own, so that its direction does not affect the text after it. */
const name = (text) => el("bdi", {}, clean(text));

/** Untrusted text for places that take no elements, cut to 60 characters. */
function plain(text) {
  const letters = [...clean(text)];
  return letters.slice(0, 60).join("") + (letters.length > 60 ? "…" : "");
}

/** Announces a text to screen readers. */
function announce(text) {
  $("said").textContent = text;
}

const number = (n) => n.toLocaleString("en-US", { maximumFractionDigits: n < 10 ? 1 : 0 });
const plural = (n, one, many = one + "s") => `${number(n)} ${n === 1 ? one : many}`;
const millis = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${number(ms / 1000)} s`);

/** How far the hub's clock is ahead of this browser's, milliseconds. */
let clockOffset = 0;

/** Formats a time of the hub's clock relative to now. Times in the future count as now. */
function ago(timestamp) {
  const seconds = Math.max(0, Math.round((Date.now() + clockOffset - timestamp) / 1000));
  if (seconds < 2) return "now";
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${number(Math.round(seconds / 86400))} days ago`;
}

/** Formats a time of the hub's clock as local time of day. */
function wallTime(timestamp) {
  const date = new Date(timestamp - clockOffset);
  return Number.isNaN(date.getTime()) ? "?" : date.toLocaleTimeString([], { hour12: false });
}

/** A quantile; by default the median. */
function quantile(values, part = 0.5) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
}

/** Copies text. Without TLS there is no clipboard API, so the older command is used there. */
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
  const notice = copied ? "Copied" : "Select and copy it by hand";
  announce(notice);
  button.dataset.notice = notice;
  setTimeout(() => delete button.dataset.notice, 1500);
}

const PAINT_INTERVAL = 300;
const dirty = new Set();
let paintedAt = -PAINT_INTERVAL;
let painting = 0;

/** Schedules a part of the page to be drawn, at most once per PAINT_INTERVAL however often it is called. */
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
    Math.max(0, paintedAt + PAINT_INTERVAL - performance.now()),
  );
}
