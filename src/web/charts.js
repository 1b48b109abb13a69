// Latency and speed of the open room, measured from the events of the last minutes, before the hub's figures come.

/** Seconds per point, and points per chart. */
const BUCKET = 5;
const BUCKETS = 60;
/** Samples kept per bucket; beyond that, a random selection. */
const SAMPLES = 50;

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

/** Whether a request of a participant failed in the last minute. */
const failedLately = (id) => buckets.some((bucket) => bucket.at > bucketNow() - 60 / BUCKET && bucket.by.get(id)?.errors);

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
