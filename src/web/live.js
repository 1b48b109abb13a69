// The page's state and how it is kept up to date: event streams that reconnect, and polling for what events omit.

const state = {
  /** The connection to the hub: a key of `CONNECTIONS`. */
  connection: "connecting",
  /** Whether the hub can't be reached, so that nothing shown is current. */
  gone: false,
  /** Whether the rooms have been listed. */
  known: false,
  /** Room summaries by code. */
  rooms: new Map(),
  /** The open room's code. */
  room: null,
  /** The open room's participants by id. */
  participants: new Map(),
  /** Whether the participants have been listed, and when by the hub's clock. */
  listed: false,
  listedAt: 0,
  /** The hub's metrics of the open room; null if it has none. */
  metrics: null,
  /** Who waits; null while nobody does. */
  queue: null,
  /** The hub's history of the open room; null until it is read. */
  history: null,
  /** When the hub is asked again, of `performance.now`; null while it is connected. */
  retryAt: null,
  /** The participants' part of the metrics, by id. */
  measured: new Map(),
  /** Requests in flight in the open room, as seen in events: request id to participant id. */
  inFlight: new Map(),
  /** Requests in flight that started before this page was opened, by participant id. */
  earlier: new Map(),
};

const RETRY_FIRST = 500;
const RETRY_MAX = 15000;
const POLL_INTERVAL = 5000;
const ROOMS_INTERVAL = 30000;
/** A browser allows six connections per host across all tabs, so a hidden tab closes its own. */
const HIDDEN_TIMEOUT = 60000;

const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

/** A pause with up to a quarter more or less, so that pages do not all return at once. */
const withJitter = (ms) => ms * (0.75 + Math.random() / 2);

/** Follows an event stream until aborted, reconnecting with back-off. `begin` is called on every connection. */
async function watch(path, room, signal, { begin, event, lost }) {
  let [wait, after] = [RETRY_FIRST, 0];
  while (!signal.aborted) {
    try {
      const response = await request(path, { room, signal });
      for await (const { type, data: text } of eventsOf(response)) {
        if (signal.aborted) return;
        if (type === "connected") {
          wait = RETRY_FIRST;
          begin();
        } else {
          event(JSON.parse(text));
        }
      }
      lost(null, (after = withJitter(wait)));
    } catch (error) {
      if (signal.aborted) return;
      lost(error, (after = withJitter(wait)));
      if (error instanceof SecretMissing || (error instanceof HubError && error.status === 404)) return;
    }
    await pause(after, signal);
    wait = Math.min(wait * 2, RETRY_MAX);
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
      state.retryAt = null;
      setConnection("live");
      state.inFlight.clear();
      hasMetrics = true;
      pollHub();
      pollRoom();
    },
    event: (event) => onEvent(event),
    lost: (error, after) => {
      state.retryAt = performance.now() + after;
      setConnection(error instanceof SecretMissing ? "locked" : "lost", error);
    },
  });
}

/** The hub's stream leaves private rooms out; they have streams of their own. */
function watchRoom() {
  roomWatch?.abort();
  roomWatch = new AbortController();
  const code = state.room;
  if (!code || !hubWatch) return;
  const { signal } = roomWatch;
  pollLoop(signal);
  if (!isPrivate(code)) return;
  watch(`v1/rooms/${code}/events`, code, signal, {
    begin: () => pollRoom(),
    event: (event) => event.type.startsWith("room.") || onEvent(event),
    lost: (error) => onRoomError(code, error),
  });
}

/** Polls the open room, less often if a poll takes long. */
async function pollLoop(signal) {
  while (!signal.aborted) {
    const began = performance.now();
    await pollRoom();
    await pause(Math.max(POLL_INTERVAL, 20 * (performance.now() - began)), signal);
  }
}

async function pollHub() {
  try {
    const before = Date.now();
    const { timestamp } = await data("v1/health");
    clockOffset = timestamp - (before + Date.now()) / 2;
    const rooms = await data("v1/rooms");
    const wasPrivate = isPrivate(state.room);
    state.rooms = new Map(rooms.map((room) => [room.code, room]));
    state.known = true;
    onRooms(wasPrivate);
  } catch {
    // The event stream reports the failure.
  }
}

let hasMetrics = true;

/** Polls the open room. A response that arrives after another room was opened is ignored. */
async function pollRoom() {
  const code = state.room;
  if (!code || !state.rooms.has(code)) return;
  try {
    const metrics = await measured(code);
    const queue = metrics?.queued ? await data(`v1/rooms/${code}/queue`, { room: code }) : null;
    // Last, since what events tell until the list is here is not in it.
    const participants = await data(`v1/rooms/${code}/participants`, { room: code });
    if (state.room !== code) return;
    state.queue = queue;
    state.participants = new Map(participants.map((participant) => [participant.id, participant]));
    state.listed = true;
    state.listedAt = Date.now() + clockOffset;
    state.metrics = metrics;
    state.measured = new Map(metrics?.participants?.map((measured) => [measured.participantId, measured]));
    state.earlier = new Map();
    countInFlight();
    for (const [id, stats] of state.measured) {
      state.earlier.set(id, Math.max(0, stats.inFlight - (inFlight.get(id) ?? 0)));
    }
    setLocked(false);
    paint(drawRoom);
    pollHistory();
  } catch (error) {
    onRoomError(code, error);
  }
}

/** Milliseconds between two readings of the room's history, whose finest part is a minute. */
const HISTORY_INTERVAL = 10000;
let historyRead = -HISTORY_INTERVAL;

/** Reads the open room's history, if it has not been read just now. */
async function pollHistory(anyway = false) {
  const code = state.room;
  if (!code || (!anyway && state.history && performance.now() - historyRead < HISTORY_INTERVAL)) return;
  historyRead = performance.now();
  try {
    const history = await data(`v1/rooms/${code}/history`, { room: code });
    if (state.room !== code) return;
    state.history = history;
    paint(drawActivity);
  } catch {
    // It is read again with the next poll.
  }
}

function drawActivity() {
  drawTimeline();
  drawCallers();
  drawParticipants();
}

/** Locks the view if the room's password is missing, or the hub throttles after wrong ones. */
function onRoomError(code, error) {
  if (state.room !== code) return;
  if (error instanceof SecretMissing) setLocked(true);
  else if (error instanceof HubError && error.status === 429) setLocked(true, error.message);
}

async function measured(code) {
  if (!hasMetrics) return null;
  try {
    return await data(`v1/rooms/${code}/metrics`, { room: code });
  } catch (error) {
    // Older hubs have no such route.
    if (error.status === 404 && error.code !== "ROOM_NOT_FOUND") hasMetrics = false;
    return null;
  }
}

/** Handles an event of the hub or of the open room. */
function onEvent(event) {
  const { type, roomCode, data: about } = event;
  const room = state.rooms.get(roomCode);
  if (type === "room.created") state.rooms.set(roomCode, about);
  if (type === "room.deleted") state.rooms.delete(roomCode);
  if (room && type === "participant.joined") room.participantCount += 1;
  if (room && type === "participant.left") room.participantCount = Math.max(0, room.participantCount - 1);
  if (type.startsWith("room.") || type === "participant.joined" || type === "participant.left") paint(drawRooms);
  logEvent(event);
  if (roomCode !== state.room) return;
  if (type.startsWith("participant.")) onParticipantEvent(type, about);
  if (type.startsWith("llm.")) onRequestEvent(type, about);
  paint(drawRoom);
}

function onParticipantEvent(type, about) {
  const known = state.participants.get(about.participantId);
  if (type === "participant.left") state.participants.delete(about.participantId);
  else if (type === "participant.offline")
    known && (known.status = "offline") && (known.connection.connected = known.connection.transport === "direct");
  else state.participants.set(about.id, about);
}

function onRequestEvent(type, about) {
  const { requestId, participantId } = about;
  if (type === "llm.request") state.inFlight.set(requestId, participantId);
  else if (!state.inFlight.delete(requestId))
    state.earlier.set(participantId, Math.max(0, (state.earlier.get(participantId) ?? 0) - 1));
  measure(type, about);
  const participant = state.participants.get(participantId);
  if (!participant || participant.status === "offline") return;
  // Polling would bring it too, but seconds later.
  participant.status = "online";
  countInFlight();
  if (inFlight.get(participantId)) participant.status = "busy";
}

setInterval(() => document.hidden || pollHub(), ROOMS_INTERVAL);

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
    }, HIDDEN_TIMEOUT);
  }
});
