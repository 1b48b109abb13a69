// Latency and speed of the open room: measurements from the events of the last minutes, and two charts of them.

/** Seconds per point, and points per chart. */
const BUCKET = 5;
const BUCKETS = 60;
/** Samples kept per bucket; beyond that, a random selection. */
const SAMPLES = 50;
const [WIDTH, HEIGHT] = [300, 80];

/** Newest last: {at, requests, errors, ttft: [], speed: [], by: Map of the same per participant}. */
let buckets = [];

const bucketNow = () => Math.floor(performance.now() / 1000 / BUCKET);
const emptyMeasure = () => ({ requests: 0, errors: 0, ttft: [], speed: [] });

/** Called when another room is opened: what is known of its requests is measured again. */
function resetMeasures() {
  buckets = [];
  for (const { event } of log.room) {
    const age = Math.max(0, Date.now() + clockOffset - event.timestamp) / 1000;
    const at = bucketNow() - Math.floor(age / BUCKET);
    if (event.type.startsWith("llm.") && at > bucketNow() - BUCKETS) measure(event.type, event.data, at);
  }
}

/** Keeps an approximately uniform sample of all values seen. */
function sample(values, value, seen) {
  if (!Number.isFinite(value)) return;
  if (values.length < SAMPLES) values.push(value);
  else if (Math.random() < SAMPLES / seen) values[Math.floor(Math.random() * SAMPLES)] = value;
}

function measure(type, { participantId, metrics, stage }, at = bucketNow()) {
  const cancelled = stage === "cancelled";
  if (type === "llm.request" || cancelled) return;
  buckets = buckets.filter((bucket) => bucket.at > at - BUCKETS);
  if (!(buckets.at(-1)?.at >= at)) buckets.push({ at, ...emptyMeasure(), by: new Map() });
  const bucket = buckets.at(-1);
  const own = bucket.by.get(participantId) ?? emptyMeasure();
  bucket.by.set(participantId, own);
  for (const part of [bucket, own]) {
    part.requests += 1;
    if (type === "llm.error") part.errors += 1;
    sample(part.ttft, metrics?.ttftMs, part.requests);
    sample(part.speed, metrics?.tokensPerSecond, part.requests);
  }
}

/** Local measurements in the shape of the hub's metrics: of the room, or of one participant. */
function measuredLocally(id) {
  const oldest = bucketNow() - BUCKETS;
  const parts = buckets
    .filter((b) => b.at > oldest)
    .map((b) => (id === undefined ? b : b.by.get(id)))
    .filter(Boolean);
  const sum = (what) => parts.reduce((all, part) => all + part[what], 0);
  const [ttft, speed] = [parts.flatMap((part) => part.ttft), parts.flatMap((part) => part.speed)];
  const stats = { requests: sum("requests"), errors: sum("errors") };
  if (ttft.length) stats.ttftMs = { p50: quantile(ttft), p95: quantile(ttft, 0.95) };
  if (speed.length) stats.tokensPerSecond = quantile(speed);
  return stats;
}

/** The last five minutes as the hub measured them, unless this page has seen more requests. */
function recentStats(stats, id) {
  const [there, here] = [stats?.windows?.["5m"], measuredLocally(id)];
  return there && there.requests >= here.requests ? there : here;
}

const CHARTS = [
  { what: "ttft", title: "Time to first token", unit: millis, ofHub: ({ ttftMs }) => [ttftMs?.p50, ttftMs?.p95] },
  { what: "speed", title: "Tokens per second", unit: number, ofHub: (s) => [s.tokensPerSecond, s.tokensPerSecond] },
];

function drawCharts() {
  const holder = $("charts");
  if (!holder.children.length) holder.append(...CHARTS.map(makeChart));
  const newest = bucketNow();
  CHARTS.forEach((chart) => fillChart(chart, newest));
}

const svg = (tag, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  return node;
};

function makeChart(chart) {
  chart.value = el("strong");
  chart.top = el("span", { class: "muted top" });
  chart.line = svg("path", { class: "line" });
  chart.dots = svg("path", { class: "dots" });
  chart.high = svg("path", { class: "high" });
  chart.image = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const grid = svg("path", { class: "grid", d: `M0 1H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 1}H${WIDTH}` });
  chart.image.append(grid, chart.high, chart.line, chart.dots);
  const axis = el("div", { class: "axis muted" }, el("span", {}, "5 min ago"), el("span", {}, "now"));
  return el(
    "figure",
    {},
    el("figcaption", {}, `${chart.title} `, chart.value),
    el("div", { class: "plot" }, chart.image, chart.top),
    axis,
  );
}

/** Draws adjacent points as a line and isolated ones as dots. */
function path(points) {
  let [line, dots, last] = ["", "", null];
  for (const [slot, x, y] of points) {
    line += last === slot - 1 ? `L${x} ${y}` : `M${x} ${y}`;
    dots += `M${x} ${y}h0`;
    last = slot;
  }
  return { line, dots };
}

/** Draws the hub's own figures of the five minutes, which have no course, as level lines. */
function fillLevel(chart, [median, high]) {
  const y = (value) => (HEIGHT - 4 - (value / (high || 1)) * (HEIGHT - 8)).toFixed(1);
  chart.line.setAttribute("d", `M0 ${y(median)}H${WIDTH}`);
  chart.high.setAttribute("d", `M0 ${y(high)}H${WIDTH}`);
  chart.dots.setAttribute("d", "");
  setText(chart.value, chart.unit(median));
  setText(chart.top, chart.unit(high));
  const summary = `${chart.unit(median)} in all, as the hub measured`;
  chart.image.setAttribute("aria-label", `${chart.title} over the last 5 minutes: ${summary}`);
}

function fillChart(chart, newest) {
  const seen = buckets.filter((bucket) => bucket.at > newest - BUCKETS && bucket[chart.what].length);
  const level = chart.ofHub(state.metrics?.windows?.["5m"] ?? {});
  if (!seen.length && level.every(Number.isFinite)) return fillLevel(chart, level);
  const middle = seen.map((bucket) => quantile(bucket[chart.what]));
  const high = seen.map((bucket) => quantile(bucket[chart.what], 0.95));
  const top = Math.max(...high, 0) || 1;
  const place = (value, at) => {
    const slot = seen[at].at - newest + BUCKETS - 1;
    return [
      slot,
      (((slot + 0.5) / BUCKETS) * WIDTH).toFixed(1),
      (HEIGHT - 4 - (value / top) * (HEIGHT - 8)).toFixed(1),
    ];
  };
  const { line, dots } = path(middle.map(place));
  chart.line.setAttribute("d", line);
  chart.dots.setAttribute("d", dots);
  chart.high.setAttribute("d", path(high.map(place)).line);
  const all = seen.flatMap((bucket) => bucket[chart.what]);
  const summary = all.length
    ? `${chart.unit(quantile(all))} median, ${chart.unit(quantile(all, 0.95))} 95th percentile`
    : "nothing measured yet";
  setText(chart.value, all.length ? chart.unit(quantile(all)) : "–");
  setText(chart.top, all.length ? chart.unit(top) : "");
  chart.image.setAttribute("aria-label", `${chart.title} over the last 5 minutes: ${summary}`);
}
