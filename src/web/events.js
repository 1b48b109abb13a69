// The event log: newest first, drawn a few times a second, limited in length.

/** Events kept, and rows drawn. */
const MAX_EVENTS = 500;
const MAX_ROWS = 100;
/** Above this many events per second, the log says that it omits some. */
const HIGH_RATE = 40;

const log = {
  /** Events of the whole hub without private rooms, newest last. */
  all: [],
  /** Events of the open room, newest last. */
  room: [],
  number: 0,
  /** The number of the newest event drawn. */
  drawn: 0,
  paused: false,
  /** Events since `since`, to compute the rate. */
  count: 0,
  since: performance.now(),
  rate: 0,
};

function logEvent(event) {
  const entry = { number: ++log.number, event };
  append(log.all, entry);
  if (event.roomCode === state.room) append(log.room, entry);
  if (event.roomCode === state.room || !state.room) log.count += 1;
  paint(drawLog);
}

function append(entries, entry) {
  entries.push(entry);
  if (entries.length > MAX_EVENTS * 2) entries.splice(0, entries.length - MAX_EVENTS);
}

/** Called when another room is opened, or none. */
function resetLog() {
  log.room = log.all.filter(({ event }) => event.roomCode === state.room);
  log.count = 0;
  log.rate = 0;
  redrawLog();
}

const protocols = { openResponses: "Responses", chatCompletions: "chat", ollama: "Ollama chat" };

/** Describes an event; untrusted names are in elements of their own. */
function wordsOf({ type, data }) {
  const who = name(data.participantId ?? data.name ?? data.id ?? "");
  const about = { "llm.complete": data.metrics, "llm.error": data };
  switch (type) {
    case "room.created":
      return ["Room ", who, " was created"];
    case "room.deleted":
      return ["Room ", who, " was deleted"];
    case "participant.joined":
      return [who, " joined with ", name(data.model)];
    case "participant.updated":
      if (lacksProvider(data) && !isDraining(data)) return [who, "'s provider is down"];
      return [who, ` is ${reportedStatusOf(data)[1].toLowerCase()}`];
    case "participant.left":
      return [who, " left"];
    case "participant.offline":
      return [who, " went offline"];
    case "llm.request":
      return [who, " got a request for ", name(data.model), `, ${protocols[data.protocol] ?? data.protocol}`, ...callerOf(data)];
    case "llm.complete":
      return [who, ` answered in ${millis(about[type].durationMs)}`, measuresOf(about[type]), ...callerOf(data)];
    case "llm.error":
      return [who, data.stage === "cancelled" ? ": request cancelled" : ` failed (${data.stage}): ${plain(data.error)}`];
    default:
      return [plain(type)];
  }
}

/** Whose request it was, if that person has a key of their own. */
function callerOf({ caller }) {
  return caller ? [", for ", name(caller)] : [];
}

function measuresOf({ ttftMs, outputTokens, tokensPerSecond }) {
  const parts = [];
  if (ttftMs !== undefined) parts.push(`first token after ${millis(ttftMs)}`);
  if (outputTokens !== undefined) parts.push(plural(outputTokens, "token"));
  if (tokensPerSecond !== undefined) parts.push(`${number(tokensPerSecond)} tokens/s`);
  return parts.length ? `, ${parts.join(", ")}` : "";
}

function rowOf({ event }) {
  const place = state.room || !event.roomCode ? [] : [el("span", { class: "code" }, event.roomCode)];
  const kind = event.type.replace(/\W/g, "-");
  return el(
    "li",
    { class: kind },
    el("time", {}, wallTime(event.timestamp)),
    ...place,
    el("span", { class: "what" }, ...wordsOf(event)),
  );
}

function fits({ event }) {
  const words = $("log-filter").value.trim().toLowerCase();
  return event.type.startsWith($("log-kind").value) && (!words || JSON.stringify(event).toLowerCase().includes(words));
}

function drawLog() {
  drawRate();
  if (log.paused) return;
  const entries = state.room ? log.room : log.all;
  const fresh = [];
  for (let at = entries.length - 1; at >= 0 && entries[at].number > log.drawn && fresh.length < MAX_ROWS; at -= 1) {
    if (fits(entries[at])) fresh.push(rowOf(entries[at]));
  }
  log.drawn = log.number;
  const list = $("log");
  list.prepend(...fresh);
  while (list.children.length > MAX_ROWS) list.lastElementChild.remove();
}

/** Draws the whole list again, after the filter, the room or the pause has changed. */
function redrawLog() {
  log.drawn = 0;
  $("log").replaceChildren();
  drawLog();
}

function drawRate() {
  const passed = performance.now() - log.since;
  if (passed > 1000) {
    log.rate = (log.count * 1000) / passed;
    log.count = 0;
    log.since = performance.now();
  }
  const many = log.rate > HIGH_RATE ? `, showing the newest ${MAX_ROWS}` : "";
  const rate = log.rate >= 1 ? `${number(Math.round(log.rate))} a second${many}` : "";
  setText($("log-rate"), log.paused ? "Paused" : rate);
}

setInterval(() => paint(drawLog), 2000);
$("log-kind").addEventListener("change", redrawLog);
$("log-filter").addEventListener("input", redrawLog);
$("log-pause").addEventListener("click", () => {
  log.paused = !log.paused;
  setText($("log-pause"), log.paused ? "Resume" : "Pause");
  if (log.paused) drawRate();
  else redrawLog();
});
