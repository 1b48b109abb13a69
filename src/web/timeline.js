// The open room's last hour, as the hub has kept it: four charts with one axis of time, a slider that picks a minute, a
// table of the same, and who has used how much.

/** Minutes before the one that has begun. */
const HOUR = 60;
const MINUTE = 60000;
const [WIDTH, HEIGHT] = [305, 80];

const TIMELINES = [
  {
    title: "Requests",
    unit: number,
    bars: true,
    series: [
      { name: "ended", kind: "line", of: (m) => m.requests },
      { name: "failed", kind: "bad", of: (m) => m.errors },
    ],
  },
  {
    title: "Tokens/s",
    unit: number,
    series: [{ name: "of answers", kind: "line", of: (m) => m.tokensPerSecond }],
  },
  {
    title: "First token",
    unit: millis,
    series: [
      { name: "median", kind: "line", of: (m) => m.ttftMs?.p50 },
      { name: "95th percentile", kind: "high", of: (m) => m.ttftMs?.p95 },
    ],
  },
  {
    title: "Queue",
    unit: number,
    bars: true,
    series: [{ name: "waiting at most", kind: "line", of: (m) => m.queued }],
  },
];

/** The minute that the slider or the pointer has picked; null for the newest. */
let pickedMinute = null;

const svg = (tag, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  return node;
};

/** The minutes of the last hour by their place, of which the last one is `HOUR`. */
function minutesByPlace() {
  const { timestamp = 0, minutes = [] } = state.history ?? {};
  const places = minutes.map((minute) => [HOUR - Math.floor((timestamp - minute.at) / MINUTE), minute]);
  return new Map(places.filter(([place]) => place >= 0 && place <= HOUR));
}

/** The time of day at which a minute began. */
function timeOfPlace(place, minutes) {
  const { timestamp } = state.history;
  const [known, minute] = [...minutes][0] ?? [HOUR, { at: timestamp - (timestamp % MINUTE) }];
  return wallTime(minute.at + (place - known) * MINUTE).slice(0, 5);
}

function makeTimeline(chart) {
  chart.top = el("span", { class: "muted top" });
  chart.image = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  chart.cursor = svg("path", { class: "cursor" });
  const grid = svg("path", { class: "grid", d: `M0 1H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 1}H${WIDTH}` });
  chart.image.append(grid, chart.cursor);
  const legend = chart.series.map((series) => {
    series.path = svg("path", { class: chart.bars ? `${series.kind} bar` : series.kind });
    series.dots = svg("path", { class: `${series.kind} dots` });
    series.value = el("strong");
    chart.image.append(series.path, series.dots);
    return el("span", { class: `key ${series.kind}` }, `${series.name} `, series.value);
  });
  const plot = el("div", { class: "plot" }, chart.image, chart.top);
  plot.addEventListener("pointermove", (event) => {
    const { left, width } = plot.getBoundingClientRect();
    pickMinute(Math.floor(((event.clientX - left) / width) * (HOUR + 1)));
  });
  plot.addEventListener("pointerleave", () => document.activeElement === $("minute") || pickMinute(null));
  return el("figure", {}, el("figcaption", {}, chart.title, el("span", { class: "keys" }, ...legend)), plot);
}

/** Picks a minute, by its place; null for the newest one. */
function pickMinute(place) {
  pickedMinute = place === null ? null : Math.max(0, Math.min(HOUR, place));
  drawTimeline();
}

const xOf = (place) => ((place + 0.5) * WIDTH) / (HOUR + 1);

/** A series as a path: bars, or a line whose gaps are minutes without a value, and dots for what stands alone. */
function pathsOf(values, top, bars) {
  const y = (value) => (HEIGHT - 3 - (value / top) * (HEIGHT - 8)).toFixed(1);
  let [path, dots, last] = ["", "", null];
  for (const [place, value] of values) {
    const x = xOf(place).toFixed(1);
    if (bars) path += value ? `M${x} ${HEIGHT - 1}V${y(value)}` : "";
    else {
      path += last === place - 1 ? `L${x} ${y(value)}` : `M${x} ${y(value)}`;
      dots += `M${x} ${y(value)}h0`;
    }
    last = place;
  }
  return [path, dots];
}

function fillTimeline(chart, minutes, place) {
  const told = chart.series.map(({ of }) =>
    [...minutes].map(([at, minute]) => [at, of(minute)]).filter(([, value]) => Number.isFinite(value)),
  );
  const top = Math.max(...told.flat().map(([, value]) => value), 0);
  chart.series.forEach((series, at) => {
    const [path, dots] = pathsOf(told[at], top || 1, chart.bars);
    series.path.setAttribute("d", path);
    series.dots.setAttribute("d", dots);
    const value = minutes.has(place) ? series.of(minutes.get(place)) : chart.bars ? 0 : undefined;
    setText(series.value, Number.isFinite(value) ? chart.unit(value) : "–");
  });
  setText(chart.top, top ? chart.unit(top) : "");
  chart.cursor.setAttribute("d", pickedMinute === null ? "" : `M${xOf(place).toFixed(1)} 0V${HEIGHT}`);
  const most = top ? `at most ${chart.unit(top)}` : "nothing yet";
  chart.image.setAttribute("aria-label", `${chart.title} over the last hour: ${most}`);
}

/** What happened in one minute, in words. */
function wordsOfMinute(minute) {
  if (!minute) return "nothing";
  const parts = [plural(minute.requests, "request")];
  if (minute.errors) parts.push(`${number(minute.errors)} failed`);
  if (minute.tokensPerSecond) parts.push(`${number(minute.tokensPerSecond)} tokens/s`);
  if (minute.ttftMs) parts.push(`first token ${millis(minute.ttftMs.p50)}, p95 ${millis(minute.ttftMs.p95)}`);
  if (minute.queued) parts.push(`${number(minute.queued)} queued`);
  return parts.join(" · ");
}

function drawTimeline() {
  const holder = $("charts");
  if (!holder.children.length) holder.append(...TIMELINES.map(makeTimeline));
  const minutes = minutesByPlace();
  setVisible($("timeline-none"), minutes.size === 0);
  setVisible($("timeline"), minutes.size > 0);
  setText($("timeline-none"), state.history ? "No request in the last hour. Send one from Chat." : "Loading the last hour");
  if (!minutes.size) return;
  const place = pickedMinute ?? HOUR;
  TIMELINES.forEach((chart) => fillTimeline(chart, minutes, place));
  const when = pickedMinute === null ? `Since ${timeOfPlace(place, minutes)}` : timeOfPlace(place, minutes);
  const words = `${when}: ${wordsOfMinute(minutes.get(place))}`;
  setText($("minute-told"), words);
  $("minute").value = place;
  $("minute").setAttribute("aria-valuetext", words);
  if ($("timeline-table").parentElement.open) drawTimelineTable(minutes);
}

const cell = (value, unit = number) => el("td", {}, Number.isFinite(value) ? unit(value) : "–");

function drawTimelineTable(minutes = minutesByPlace()) {
  const row = ([place, minute]) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, timeOfPlace(place, minutes)),
      ...[minute.requests, minute.errors, minute.tokensPerSecond].map((value) => cell(value)),
      ...[minute.ttftMs?.p50, minute.ttftMs?.p95].map((value) => cell(value, millis)),
      cell(minute.queued),
    );
  $("timeline-table").querySelector("tbody").replaceChildren(...[...minutes].reverse().map(row));
}

/** Who has used how much of the room: people by name, all clients without a key together. */
function drawCallers() {
  const callers = state.history?.callers ?? [];
  setVisible($("callers"), callers.length > 0);
  const all = callers.reduce((sum, one) => sum + one.inputTokens + one.outputTokens, 0);
  const row = (one) => {
    const share = all ? `${Math.round((100 * (one.inputTokens + one.outputTokens)) / all)} %` : "–";
    const others = one.caller === "*" ? "Others with a key" : one.caller;
    const who = others ? name(others) : "Without a key";
    const counts = [one.requests, one.errors, one.inputTokens, one.outputTokens].map((value) => cell(value));
    return el("tr", {}, el("th", { scope: "row" }, who), ...counts, el("td", {}, share));
  };
  $("callers").querySelector("tbody").replaceChildren(...callers.map(row));
}

/** The sparkline of a participant: output tokens by minute, or its requests where its provider tells no tokens. */
function sparkOf(id) {
  const told = state.history?.participants.find((one) => one.participantId === id);
  if (!told) return null;
  const hasTokens = told.outputTokens.some(Boolean);
  const values = hasTokens ? told.outputTokens : told.requests;
  const top = Math.max(...values, 1);
  const points = values.map((value, at) => `${at * 4},${(18 - (value / top) * 16).toFixed(1)}`);
  const what = hasTokens ? "tokens" : "requests";
  return { path: `M${points.join("L")}`, label: `${what} by minute over the last 15 minutes, at most ${number(top)}` };
}

$("minute").addEventListener("input", () => pickMinute($("minute").valueAsNumber));
$("minute").addEventListener("blur", () => pickMinute(null));
$("timeline-table").parentElement.addEventListener("toggle", () => drawTimelineTable());
