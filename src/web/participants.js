// The open room's participants, and lists that are updated in place.

/** Cards drawn at most; the filter finds the others. */
const MAX_CARDS = 500;
const MANY_CARDS = 50;

/** Rows by list element. */
const drawn = new WeakMap();

// Makes a list show these items in this order. A row is created once per key, filled on every call, and moved only if
// needed, so that focus, selection and scroll position stay.
function updateList(list, items, keyOf, make, fill) {
  const before = drawn.get(list) ?? new Map();
  const after = new Map();
  for (const item of items) {
    const key = keyOf(item);
    const row = before.get(key) ?? make(item);
    after.set(key, row);
    fill(row, item);
  }
  for (const [key, row] of before) if (!after.has(key)) row.node.remove();
  let at = list.firstElementChild;
  for (const { node } of after.values()) {
    if (node === at) at = at.nextElementSibling;
    else list.insertBefore(node, at);
  }
  drawn.set(list, after);
}

const isUp = (participant) => participant.status !== "offline" && participant.connection.connected;
const collator = new Intl.Collator("en", { numeric: true });
const byName = (a, b) => isUp(b) - isUp(a) || collator.compare(a.nickname, b.nickname) || (a.id < b.id ? -1 : 1);

function inFlightOf(participant) {
  // Busy without a known request: it started before this page was opened.
  return inFlight.get(participant.id) || (participant.status === "busy" ? 1 : 0);
}

/** Requests in flight by participant id. */
let inFlight = new Map();

function countInFlight() {
  inFlight = new Map(state.earlier);
  for (const id of state.inFlight.values()) inFlight.set(id, (inFlight.get(id) ?? 0) + 1);
}

const measuredOf = (id) => state.measured.get(id);

const isDraining = ({ draining, connection }) => draining === true && connection.connected;
const lacksProvider = ({ providerDown, connection }) => providerDown === true && connection.connected;

/** Silence after which a participant counts as shaky, milliseconds: two heartbeat intervals. */
const MAX_SILENCE = 20000;

const isShaky = ({ id, lastSeen }) => state.listedAt - lastSeen > MAX_SILENCE || failedLately(id);

/** The same words as in the monitor (src/monitor/words.rs compares them). */
function statusOf(participant) {
  const [kind, status] = reportedStatusOf(participant);
  return kind !== "offline" && isShaky(participant) ? ["shaky", "Shaky"] : [kind, status];
}

/** The status as the hub tells it. */
function reportedStatusOf(participant) {
  if (isDraining(participant)) return ["offline", "Draining"];
  if (lacksProvider(participant)) return ["offline", "Provider down"];
  if (participant.status === "offline") return ["offline", "Offline"];
  if (!participant.connection.connected) return ["offline", "No tunnel"];
  return participant.status === "busy" ? ["busy", "Busy"] : ["online", "Online"];
}

function specsOf({ gpu, vram, ram, memoryGb, cpu }) {
  const memory = ram ?? memoryGb;
  const parts = [
    gpu && plain(gpu),
    vram && `${number(vram)} GB VRAM`,
    cpu && plain(cpu),
    memory && `${number(memory)} GB RAM`,
  ];
  return parts.filter(Boolean).join(" · ");
}

function connectionOf({ transport, connected, lastTunnelSeenAt }) {
  if (transport === "direct") return "called at its address";
  if (!connected) return "tunnel closed";
  return lastTunnelSeenAt ? `tunnel open, heard ${ago(lastTunnelSeenAt)}` : "tunnel open";
}

function factsOfRequests(recent) {
  const parts = [];
  if (recent.requests) parts.push(plural(recent.requests, "request"));
  if (recent.errors) parts.push(`${number(recent.errors)} failed`);
  if (recent.ttftMs) parts.push(`first token ${millis(recent.ttftMs.p50)}`);
  return parts.join(" · ");
}

function drawParticipants() {
  const all = [...state.participants.values()];
  const words = $("participants-filter").value.trim().toLowerCase();
  const text = (p) => `${p.nickname} ${p.id} ${p.model} ${statusOf(p)[1]}`.toLowerCase();
  const found = (words ? all.filter((p) => text(p).includes(words)) : all).sort(byName);
  // Short lists are rendered completely, for printing; long ones only where visible.
  $("participants").classList.toggle("many", found.length > MANY_CARDS);
  updateList($("participants"), found.slice(0, MAX_CARDS), (p) => p.id, makeParticipant, fillParticipant);
  const more = found.length - MAX_CARDS;
  const note = $("participants-none");
  setVisible(note, found.length === 0 || more > 0);
  if (more > 0) setText(note, `The first ${MAX_CARDS} of ${number(found.length)}: filter to see others.`);
  else if (all.length) setText(note, "No participant matches the filter.");
  else setText(note, state.listed ? "No participants yet. See Connect for how to join." : "Loading participants");
}

function makeParticipant(participant) {
  const line = (name) => el("p", { class: name });
  const row = {
    name: el("bdi", { class: "name" }),
    status: el("span"),
    model: el("bdi"),
    id: el("bdi", { class: "muted" }),
  };
  Object.assign(row, { connection: line("muted"), load: line(""), facts: line("muted"), specs: line("muted") });
  row.rate = el("strong");
  row.spark = svg("path", {});
  row.image = svg("svg", { viewBox: "0 0 56 20", preserveAspectRatio: "none", role: "img" });
  row.image.append(row.spark);
  const speed = el("p", { class: "speed" }, el("span", {}, row.rate, " tokens/s"), row.image);
  row.talk = el("button", { type: "button", onclick: () => chatWith(participant.id) }, "Chat");
  const head = el("div", { class: "head" }, row.name, row.status);
  const model = el("p", { class: "model" }, row.model, " ", row.id);
  row.node = el("li", {}, head, speed, model, row.load, row.facts, row.connection, row.specs, row.talk);
  return row;
}

function fillParticipant(row, participant) {
  const [kind, status] = state.gone ? ["offline", "Unknown"] : statusOf(participant);
  setText(row.name, clean(participant.nickname));
  row.name.title = clean(participant.nickname);
  setText(row.status, status);
  row.status.className = `pill ${kind}`;
  setText(row.model, clean([participant.model, ...(participant.aliases ?? [])].join(", ")));
  setText(row.id, clean(participant.id));
  const most = participant.concurrency ?? 1;
  setText(row.load, `${inFlightOf(participant)} of ${most} in flight · seen ${ago(participant.lastSeen)}`);
  const recent = recentStats(measuredOf(participant.id), participant.id);
  setText(row.rate, recent.tokensPerSecond ? number(recent.tokensPerSecond) : "–");
  setText(row.facts, factsOfRequests(recent));
  const spark = sparkOf(participant.id);
  row.image.toggleAttribute("hidden", !spark);
  if (spark) {
    row.spark.setAttribute("d", spark.path);
    row.image.setAttribute("aria-label", spark.label);
  }
  setText(row.connection, connectionOf(participant.connection));
  setText(row.specs, specsOf(participant.specs ?? {}));
  row.talk.setAttribute("aria-label", `Chat with ${plain(participant.nickname)}`);
  row.talk.disabled = state.gone || !isUp(participant);
}

$("participants-filter").addEventListener("input", drawParticipants);
