// What the page knows, and how it stays true: streams of events that come back when they break, and a look now and then
// at what no event tells.

const state = {
  /** Room summaries by code. */
  rooms: new Map(),
  /** The open room's code. */
  room: null,
  /** The open room's participants by id. */
  participants: new Map(),
  /** Whether those are known yet. */
  looked: false,
  /** What the hub has measured in the open room; null where it measures nothing. */
  metrics: null,
  /** Its part about each participant, by id. */
  measured: new Map(),
  /** Requests under way in the open room, as events tell: request id to participant id. */
  inFlight: new Map(),
  /** How many more there are, by participant, that began before this page looked. */
  before: new Map(),
};

const RETRY_FIRST = 500;
const RETRY_MOST = 15000;
const LOOK_EVERY = 5000;
const ROOMS_EVERY = 30000;
/** A browser has six connections for a hub and all tabs together: one that nobody looks at gives its own back. */
const HIDDEN_FOR = 60000;

const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

/** Watches a stream of events until aborted, again and again. `begin` is called whenever it has (re)connected. */
async function watch(path, room, signal, { begin, event, lost }) {
  let wait = RETRY_FIRST;
  while (!signal.aborted) {
    try {
      const response = await ask(path, { room, signal });
      for await (const { type, data: text } of eventsOf(response)) {
        if (signal.aborted) return;
        if (type === "connected") {
          wait = RETRY_FIRST;
          begin();
        } else {
          event(JSON.parse(text));
        }
      }
      lost(null);
    } catch (error) {
      if (signal.aborted) return;
      lost(error);
      if (error instanceof Locked || (error instanceof Refused && error.status === 404)) return;
    }
    await pause(wait * (0.75 + Math.random() / 2), signal);
    wait = Math.min(wait * 2, RETRY_MOST);
  }
}

let hubWatch = null;
let roomWatch = null;

function watchHub() {
  hubWatch?.abort();
  hubWatch = new AbortController();
  setConnection("connecting");
  watch("v1/events", null, hubWatch.signal, {
    begin: () => {
      setConnection("live");
      state.inFlight.clear();
      metricsThere = true;
      lookAtHub();
      lookAtRoom();
    },
    event: (event) => happened(event),
    lost: (error) => setConnection(error instanceof Locked ? "locked" : "lost", error),
  });
}

/** The hub's own stream is silent about private rooms: they have streams of their own. */
function watchRoom() {
  roomWatch?.abort();
  roomWatch = new AbortController();
  const code = state.room;
  if (!code || !hubWatch) return;
  const { signal } = roomWatch;
  keepLooking(signal);
  if (!isPrivate(code)) return;
  watch(`v1/rooms/${code}/events`, code, signal, {
    begin: () => lookAtRoom(),
    event: (event) => event.type.startsWith("room.") || happened(event),
    lost: (error) => keptOut(code, error),
  });
}

/** Looks at the open room again and again; less often where a look takes long. */
async function keepLooking(signal) {
  while (!signal.aborted) {
    const began = performance.now();
    await lookAtRoom();
    await pause(Math.max(LOOK_EVERY, 20 * (performance.now() - began)), signal);
  }
}

async function lookAtHub() {
  try {
    const before = Date.now();
    const { timestamp } = await data("v1/health");
    clockAhead = timestamp - (before + Date.now()) / 2;
    const rooms = await data("v1/rooms");
    const wasPrivate = isPrivate(state.room);
    state.rooms = new Map(rooms.map((room) => [room.code, room]));
    roomsKnown(wasPrivate);
  } catch {
    // The stream of events tells what is wrong.
  }
}

let metricsThere = true;

/** What is there now. Answers that come when another room is open are too late. */
async function lookAtRoom() {
  const code = state.room;
  if (!code || !state.rooms.has(code)) return;
  try {
    const participants = await data(`v1/rooms/${code}/participants`, { room: code });
    const metrics = await measured(code);
    if (state.room !== code) return;
    state.participants = new Map(participants.map((participant) => [participant.id, participant]));
    state.looked = true;
    state.metrics = metrics;
    state.measured = new Map(metrics?.participants?.map((measured) => [measured.participantId, measured]));
    state.before = new Map();
    countInFlight();
    for (const [id, told] of state.measured) state.before.set(id, Math.max(0, told.inFlight - (inFlight.get(id) ?? 0)));
    setLocked(false);
    paint(drawRoom);
  } catch (error) {
    keptOut(code, error);
  }
}

/** A room whose password is not known, or that makes those wait who guessed wrong. */
function keptOut(code, error) {
  if (state.room !== code) return;
  if (error instanceof Locked) setLocked(true);
  else if (error instanceof Refused && error.status === 429) setLocked(true, error.message);
}

async function measured(code) {
  if (!metricsThere) return null;
  try {
    return await data(`v1/rooms/${code}/metrics`, { room: code });
  } catch (error) {
    // A hub that measures nothing has no such route.
    if (error.status === 404 && error.code !== "ROOM_NOT_FOUND") metricsThere = false;
    return null;
  }
}

/** An event of the hub or of the open room. */
function happened(event) {
  const { type, roomCode, data: about } = event;
  const room = state.rooms.get(roomCode);
  if (type === "room.created") state.rooms.set(roomCode, about);
  if (type === "room.deleted") state.rooms.delete(roomCode);
  if (room && type === "participant.joined") room.participantCount += 1;
  if (room && type === "participant.left") room.participantCount = Math.max(0, room.participantCount - 1);
  if (type.startsWith("room.") || type === "participant.joined" || type === "participant.left") paint(drawRooms);
  logged(event);
  if (roomCode !== state.room) return;
  if (type.startsWith("participant.")) participantEvent(type, about);
  if (type.startsWith("llm.")) requestEvent(type, about);
  paint(drawRoom);
}

function participantEvent(type, about) {
  const known = state.participants.get(about.participantId);
  if (type === "participant.left") state.participants.delete(about.participantId);
  else if (type === "participant.offline")
    known && (known.status = "offline") && (known.connection.connected = known.connection.kind === "direct");
  else state.participants.set(about.id, about);
}

function requestEvent(type, about) {
  const { requestId, participantId } = about;
  if (type === "llm.request") state.inFlight.set(requestId, participantId);
  else if (!state.inFlight.delete(requestId))
    state.before.set(participantId, Math.max(0, (state.before.get(participantId) ?? 0) - 1));
  measure(type, about);
  const participant = state.participants.get(participantId);
  if (!participant || participant.status === "offline") return;
  // The list tells it too, but seconds later.
  participant.status = "online";
  countInFlight();
  if (inFlight.get(participantId)) participant.status = "busy";
}

setInterval(() => document.hidden || lookAtHub(), ROOMS_EVERY);

let hiddenTimer = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiddenTimer);
  if (!document.hidden && !hubWatch) {
    watchHub();
    watchRoom();
  } else if (document.hidden) {
    hiddenTimer = setTimeout(() => {
      hubWatch?.abort();
      roomWatch?.abort();
      hubWatch = null;
      setConnection("asleep");
    }, HIDDEN_FOR);
  }
});
