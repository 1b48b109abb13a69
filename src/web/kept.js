// The newest events, kept across a reload of this tab. Other scripts of the same origin can read the tab's storage, so
// what only a key or a password shows is never put there.

/** Events kept at most, and their characters. */
const MAX_KEPT = 300;
const MAX_KEPT_SIZE = 300000;
/** A proxy may serve several hubs below one origin. */
const KEPT = `gambi.events ${new URL(".", document.baseURI).pathname}`;

const isOpenToAll = ({ event }) => state.rooms.has(event.roomCode) && !isPrivate(event.roomCode);

function keepEvents() {
  const entries = secrets.has("key") ? [] : log.all.filter(isOpenToAll).slice(-MAX_KEPT);
  const text = JSON.stringify(entries.map(({ event }) => event));
  try {
    sessionStorage.removeItem(KEPT);
    if (entries.length && text.length <= MAX_KEPT_SIZE) sessionStorage.setItem(KEPT, text);
  } catch {
    // The browser blocks storage, or it is full.
  }
}

function restoreEvents() {
  try {
    const events = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]").filter((event) => event?.type && event.data);
    for (const event of events) append(log.all, { number: ++log.number, event });
  } catch {
    // The browser blocks storage, or another script has written there.
  }
}

addEventListener("pagehide", keepEvents);
