// How a request that was sent from this page went: how long it waited, and each attempt at a participant.

/** The parts of an attempt, with the times at which they begin. */
const PHASES = [
  ["wait", "Queue", (attempt, before) => [before, attempt.startedMs]],
  ["connect", "Until the head", (attempt) => [attempt.startedMs, attempt.headMs ?? attempt.endedMs]],
  ["first", "Until the first token", (attempt) => [attempt.headMs, attempt.firstTokenMs]],
  ["answer", "Answer", (attempt) => [attempt.firstTokenMs, attempt.endedMs]],
];
const TRACE_WIDTH = 300;

/** The hub keeps a request once it is done with it, which may be after the last byte has arrived here: milliseconds to wait. */
const TRACE_DELAYS = [0, 250, 1500];

/** Adds what the hub remembers of a request below an answer, if it tells it. */
async function addTrace(below, room, id) {
  for (const delay of id ? TRACE_DELAYS : []) {
    await new Promise((resolve) => setTimeout(resolve, delay));
    // A hub that is busy with others' requests has forgotten it, or is gone.
    const trace = await data(`v1/rooms/${room}/requests/${id}`, { room }).catch(() => null);
    if (!trace) continue;
    if (below.isConnected) below.after(traceDetails(trace));
    return scrollTalk();
  }
}

function traceDetails(trace) {
  const legend = PHASES.map(([kind, title]) => el("span", { class: `key ${kind}` }, title));
  const attempts = trace.attempts.map((attempt, at) => attemptItem(trace, attempt, trace.attempts[at - 1]?.endedMs ?? 0));
  if (trace.refused) attempts.push(el("li", {}, `No participant took it: ${trace.refused} after ${millis(trace.endedMs)}`));
  return el(
    "details",
    { class: "trace" },
    el("summary", {}, `How it went: ${millis(trace.endedMs)}, ${plural(trace.attempts.length, "attempt")}`),
    el("p", { class: "keys" }, ...legend),
    el("ol", {}, ...attempts),
    el("p", { class: "muted" }, "Request ", el("span", { class: "code" }, trace.requestId)),
  );
}

/** An attempt: who, how it ended, a bar of its parts on the request's axis of time, and the parts' lengths. */
function attemptItem(trace, attempt, endBefore) {
  const scale = TRACE_WIDTH / Math.max(trace.endedMs, 0.01);
  // One that ran beside another one did not wait for its end.
  const before = Math.min(endBefore, attempt.startedMs);
  const parts = PHASES.map(([kind, title, of]) => [kind, title, ...of(attempt, before)]);
  const known = parts.filter(([, , from, to]) => Number.isFinite(from) && Number.isFinite(to) && to > from);
  const bar = svg("svg", { viewBox: `0 0 ${TRACE_WIDTH} 10`, preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const [kind, , from, to] of known) {
    const [x, width] = [from * scale, Math.max((to - from) * scale, 1)];
    bar.append(svg("rect", { class: kind, x: x.toFixed(1), y: 0, width: width.toFixed(1), height: 10 }));
  }
  const times = known.map(([, title, from, to]) => `${title} ${millis(to - from)}`);
  const tokens = [];
  if (attempt.inputTokens !== undefined) tokens.push(`${number(attempt.inputTokens)} in`);
  if (attempt.outputTokens !== undefined) tokens.push(`${number(attempt.outputTokens)} out`);
  if (tokens.length) times.push(`Tokens ${tokens.join(", ")}`);
  const ended = attempt.stage ? `${attempt.outcome} (${plain(attempt.stage)})` : attempt.outcome;
  const status = attempt.status ? ` · status ${attempt.status}` : "";
  const failed = attempt.outcome !== "complete";
  return el(
    "li",
    {},
    el("p", {}, name(attempt.participantId), " ", el("span", { class: failed ? "wrong" : "" }, ended), status),
    bar,
    el("p", { class: "muted" }, times.join(" · ")),
    ...(failed && attempt.error ? [el("p", { class: "wrong" }, clean(attempt.error))] : []),
  );
}
