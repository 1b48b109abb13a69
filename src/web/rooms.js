// The list of rooms, the open room's header, and the form for a new room.

/** Rows drawn at most; the filter finds the others. */
const MAX_ROOMS = 200;

function onRooms(wasPrivate) {
  drawRooms();
  // A hub usually has one room: it is opened at once.
  if (!location.hash && state.rooms.size === 1 && !state.room) location.replace(`#${[...state.rooms.keys()][0]}`);
  if (state.room && isPrivate(state.room) !== wasPrivate) watchRoom();
  openFromHash();
}

function roomMatches(room, words) {
  return !words || `${room.code} ${room.name}`.toLowerCase().includes(words);
}

function drawRooms() {
  const words = $("room-filter").value.trim().toLowerCase();
  const rooms = [...state.rooms.values()].filter((room) => roomMatches(room, words));
  rooms.sort(
    (a, b) => b.participantCount - a.participantCount || a.createdAt - b.createdAt || (a.code < b.code ? -1 : 1),
  );
  updateList($("rooms"), rooms.slice(0, MAX_ROOMS), (room) => room.code, makeRoom, fillRoom);
  setVisible($("room-filter"), state.rooms.size > 8);
  setVisible($("rooms-more"), rooms.length > MAX_ROOMS);
  setText($("rooms-more"), `and ${number(rooms.length - MAX_ROOMS)} more: filter by name or code`);
  drawWelcome();
}

function makeRoom(room) {
  const parts = { name: el("bdi", { class: "name" }), facts: el("span", { class: "muted" }) };
  const code = el("span", { class: "code" }, room.code);
  parts.link = el("a", { href: `#${room.code}` }, parts.name, code, parts.facts);
  const copyCode = el("button", { type: "button", "aria-label": `Copy code ${room.code}` }, "Copy");
  copyCode.addEventListener("click", () => copy(room.code, copyCode));
  return { node: el("li", {}, parts.link, copyCode), ...parts };
}

function fillRoom(row, room) {
  const guarded = room.private ? ", private" : room.passwordProtected ? ", password" : "";
  setText(row.name, clean(room.name));
  row.name.title = clean(room.name);
  setText(row.facts, plural(room.participantCount, "participant") + guarded);
  const current = room.code === state.room ? "page" : null;
  if (current) row.link.setAttribute("aria-current", current);
  else row.link.removeAttribute("aria-current");
}

/** What is shown while the rooms are not known, by the connection. */
const UNKNOWN = {
  locked: ["This hub requires its key", "Enter it to see the rooms."],
  lost: ["The hub does not answer", "The rooms are shown once it does."],
};

function drawWelcome() {
  const { size } = state.rooms;
  setVisible($("welcome-new"), state.known && size === 0);
  setVisible($("welcome"), !state.room);
  if (!state.known) {
    const [title, text] = UNKNOWN[state.connection] ?? ["Loading rooms", ""];
    setText($("welcome-title"), title);
    return setText($("welcome-text"), text);
  }
  const missing = requestedCode() !== "" && !state.rooms.has(requestedCode());
  // On a narrow screen the rooms are in the same column, so the hint is not needed.
  $("welcome").classList.toggle("idle", size > 0 && !missing);
  if (missing) {
    setText($("welcome-title"), `No room ${plain(requestedCode())}`);
    setText(
      $("welcome-text"),
      "It was deleted or never existed. A hub keeps rooms in memory: after a restart it has only declared ones.",
    );
  } else {
    setText($("welcome-title"), size ? "Choose a room" : "No rooms yet");
    setText(
      $("welcome-text"),
      size
        ? `${plural(size, "room")} on this hub.`
        : "Create one and share its code. Machines with a model join with gambi join.",
    );
  }
}

/** The room code in the URL's fragment. */
const requestedCode = () => location.hash.slice(1).toUpperCase();

/** Opens the room that the URL names, if it exists, and closes the previous one. */
function openFromHash() {
  const code = state.rooms.has(requestedCode()) ? requestedCode() : null;
  if (code === state.room) return;
  Object.assign(state, {
    room: code,
    participants: new Map(),
    listed: false,
    metrics: null,
    queue: null,
    history: null,
    measured: new Map(),
    inFlight: new Map(),
    earlier: new Map(),
  });
  document.body.classList.toggle("open", code !== null);
  document.title = code ? `${code} · gambi` : "gambi";
  setVisible($("room"), code !== null);
  setLocked(false);
  resetLog();
  resetMeasures();
  resetChat();
  watchRoom();
  drawRooms();
  if (!code) return;
  drawRoom();
  drawBase();
  askAddresses();
  drawActivity();
  drawSnippet();
  if (document.activeElement !== document.body) $("room-name").focus({ preventScroll: true });
}

/** Shows or hides the open room's contents, and the hub's reason. */
function setLocked(locked, why = "") {
  setVisible($("room-locked"), locked);
  setText($("room-why"), why || "This room is private.");
  document.body.classList.toggle("locked", locked);
}

function drawRoom() {
  const room = state.rooms.get(state.room);
  if (!room) return state.room && openFromHash();
  setText($("room-name").firstChild, clean(room.name));
  setText($("room-code"), room.code);
  $("room-code").setAttribute("aria-label", `Copy code ${room.code}`);
  setText($("room-facts"), factsOf(room));
  countInFlight();
  drawStats();
  drawParticipants();
  drawQueue();
  drawTargets();
}

function factsOf(room) {
  const facts = [`created ${ago(room.createdAt)}`];
  if (room.private) facts.push("private");
  else if (room.passwordProtected) facts.push("password needed to join");
  for (const [name, value] of Object.entries(room.defaults ?? {})) {
    if (name === "hasInstructions") value && facts.push("has instructions");
    else facts.push(`${name} ${plain(Array.isArray(value) ? value.join(" ") : value)}`);
  }
  return facts.join(" · ");
}

function drawStats() {
  const people = [...state.participants.values()];
  const up = people.filter(isUp).length;
  const { metrics } = state;
  const recent = recentStats(metrics);
  const stats = [
    ["Up", `${state.gone ? "–" : number(up)} of ${number(people.length)}`],
    ["In flight", number(people.reduce((sum, p) => sum + inFlightOf(p), 0))],
    ["Queued", metrics ? number(metrics.queued ?? 0) : "–"],
    ["Requests", number(recent.requests)],
    ["Failures", number(recent.errors)],
    ["First token", recent.ttftMs ? millis(recent.ttftMs.p50) : "–"],
    ["Tokens/s", recent.tokensPerSecond ? number(recent.tokensPerSecond) : "–"],
  ];
  const list = $("stats");
  while (list.children.length < stats.length) list.append(el("div", {}, el("dt"), el("dd")));
  stats.forEach(([name, value], at) => {
    setText(list.children[at].firstChild, name);
    setText(list.children[at].lastChild, value);
  });
}

const SETTINGS = ["temperature", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty"];

/** The form's values as a request body. */
function newRoom() {
  const body = { name: $("new-name").value.trim() };
  if ($("new-password").value) body.password = $("new-password").value;
  if ($("new-private").checked) body.private = true;
  const given = SETTINGS.filter((name) => $(`new-${name}`).value !== "");
  const defaults = Object.fromEntries(given.map((name) => [name, $(`new-${name}`).valueAsNumber]));
  if ($("new-instructions").value.trim()) defaults.instructions = $("new-instructions").value;
  const stop = $("new-stop").value.split("\n").filter(Boolean);
  if (stop.length) defaults.stop = stop;
  if (Object.keys(defaults).length) body.defaults = defaults;
  return body;
}

async function createRoom(event) {
  event.preventDefault();
  const body = newRoom();
  setText($("create-wrong"), "");
  try {
    const { room, hostId } = await data("v1/rooms", { method: "POST", body });
    secrets.set(hostOf(room.code), hostId);
    if (room.private) secrets.set(passwordOf(room.code), body.password);
    state.rooms.set(room.code, room);
    $("create-form").reset();
    $("create").close();
    announce(`Room ${room.code} was created`);
    location.hash = room.code;
  } catch (error) {
    setText($("create-wrong"), error instanceof TypeError ? "The hub does not answer." : error.message);
  }
}

for (const id of ["new-room", "welcome-new"]) $(id).addEventListener("click", () => $("create").showModal());
$("create-form").addEventListener("submit", createRoom);
$("room-filter").addEventListener("input", drawRooms);
$("room-code").addEventListener("click", () => copy(state.room, $("room-code")));
$("room-unlock").addEventListener("click", () => {
  declined.clear();
  watchRoom();
});
