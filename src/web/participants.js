// The open room's participants, and lists that are changed where they differ instead of made anew.

/** Cards that are drawn; more are narrowed down by the filter. */
const PEOPLE_SHOWN = 500;
const MANY_PEOPLE = 50;

/** Rows of a list, by the list. */
const drawn = new WeakMap();

// Makes a list show these items in this order. A row is made once for each key, filled whenever it is shown, and moved
// only if it must: focus, selections and scroll positions stay.
function keyed(list, items, keyOf, make, fill) {
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
  // One that is busy without any has a request that began before this page looked.
  return inFlight.get(participant.id) || (participant.status === "busy" ? 1 : 0);
}

/** Requests under way by participant. */
let inFlight = new Map();

function countInFlight() {
  inFlight = new Map(state.before);
  for (const id of state.inFlight.values()) inFlight.set(id, (inFlight.get(id) ?? 0) + 1);
}

const measuredOf = (id) => state.measured.get(id);

function statusOf(participant) {
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

function connectionOf({ kind, connected, lastTunnelSeenAt }) {
  if (kind === "direct") return "called at its address";
  if (!connected) return "tunnel closed";
  return lastTunnelSeenAt ? `tunnel open, heard ${ago(lastTunnelSeenAt)}` : "tunnel open";
}

function speedOf(id) {
  const recent = recentOf(measuredOf(id), id);
  const parts = [];
  if (recent.ttftMs) parts.push(`first token ${millis(recent.ttftMs.p50)}`);
  if (recent.tokensPerSecond) parts.push(`${number(recent.tokensPerSecond)} tokens/s`);
  if (recent.errors) parts.push(plural(recent.errors, "failure"));
  return parts.join(" · ");
}

function drawPeople() {
  const all = [...state.participants.values()];
  const words = $("people-filter").value.trim().toLowerCase();
  const text = (p) => `${p.nickname} ${p.id} ${p.model} ${statusOf(p)[1]}`.toLowerCase();
  const found = (words ? all.filter((p) => text(p).includes(words)) : all).sort(byName);
  // Few are drawn whole, which printing and pictures of the page want; many only where they are looked at.
  $("people").classList.toggle("many", found.length > MANY_PEOPLE);
  keyed($("people"), found.slice(0, PEOPLE_SHOWN), (p) => p.id, makePerson, fillPerson);
  const more = found.length - PEOPLE_SHOWN;
  show($("people-none"), found.length === 0 || more > 0);
  if (more > 0) say($("people-none"), `The first ${PEOPLE_SHOWN} of ${number(found.length)}: filter to see others.`);
  else if (all.length) say($("people-none"), "Nobody fits the filter.");
  else say($("people-none"), state.looked ? "Nobody is here yet. See Connect for how to join." : "Looking who is here");
}

function makePerson(participant) {
  const line = (name) => el("p", { class: name });
  const row = {
    name: el("bdi", { class: "name" }),
    status: el("span"),
    model: el("bdi"),
    id: el("bdi", { class: "muted" }),
  };
  Object.assign(row, { connection: line("muted"), load: line(""), speed: line(""), specs: line("muted") });
  row.talk = el("button", { type: "button", onclick: () => talkTo(participant.id) }, "Chat");
  const head = el("div", { class: "head" }, row.name, row.status);
  const model = el("p", { class: "model" }, row.model, " ", row.id);
  row.node = el("li", {}, head, model, row.load, row.speed, row.connection, row.specs, row.talk);
  return row;
}

function fillPerson(row, participant) {
  const [kind, status] = statusOf(participant);
  say(row.name, clean(participant.nickname));
  row.name.title = clean(participant.nickname);
  say(row.status, status);
  row.status.className = `pill ${kind}`;
  say(row.model, clean([participant.model, ...(participant.aliases ?? [])].join(", ")));
  say(row.id, clean(participant.id));
  const most = participant.concurrency ?? 1;
  say(row.load, `${inFlightOf(participant)} of ${most} in flight · seen ${ago(participant.lastSeen)}`);
  say(row.speed, speedOf(participant.id));
  say(row.connection, connectionOf(participant.connection));
  say(row.specs, specsOf(participant.specs ?? {}));
  row.talk.setAttribute("aria-label", `Chat with ${plain(participant.nickname)}`);
  row.talk.disabled = !isUp(participant);
}

$("people-filter").addEventListener("input", drawPeople);
