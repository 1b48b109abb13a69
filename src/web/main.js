// Entry point: header, tabs of narrow screens, and the first connection to the hub.

const CONNECTIONS = {
  connecting: ["Connecting", "busy"],
  live: ["Up", "online"],
  lost: ["Lost", "busy"],
  locked: ["Locked", "offline"],
  asleep: ["Asleep", "offline"],
};

function setConnection(how, error = null) {
  const [text, kind] = CONNECTIONS[how];
  setText($("connection"), text);
  $("connection").className = `pill ${kind}`;
  setVisible($("unlock"), how === "locked");
  state.connection = how;
  setGone(how === "lost" && isUnreachable(error));
  const told = error instanceof HubError ? error.message : "";
  const message = state.gone ? `The hub does not answer. What is shown is from ${lastHeard}.` : told;
  setVisible($("trouble"), how === "lost" && message !== "");
  // An alert is read aloud whenever its text changes: the countdown is no part of it.
  setText($("trouble-text"), message);
  drawRetry();
  drawWelcome();
}

/** When the hub is asked again. */
function drawRetry() {
  const seconds = Math.ceil((state.retryAt - performance.now()) / 1000);
  setText($("trouble-retry"), state.retryAt !== null && seconds > 0 ? `Next try in ${seconds} s` : "Trying");
}

/** Whether no hub is there, or a proxy says so. A stream that merely ended is opened again first. */
const isUnreachable = (error) => error instanceof TypeError || [502, 504].includes(error?.status);

/** When the hub was found to be gone, as local time of day. */
let lastHeard = "";

/** Marks what is shown as no longer current, or as current again. */
function setGone(gone) {
  if (gone === state.gone) return;
  state.gone = gone;
  lastHeard = new Date().toLocaleTimeString([], { hour12: false });
  document.body.classList.toggle("gone", gone);
  for (const button of document.querySelectorAll("#new-room, #create-form .main, #chat-send, #room-unlock, #invite-open, #delete-open"))
    button.disabled = gone;
  paint(drawRoom);
}

function setView(view) {
  document.body.dataset.view = view;
  for (const button of $("views").children) button.setAttribute("aria-pressed", button.dataset.view === view);
}

setText($("host"), location.host);
setView("chat");
$("views").addEventListener("click", ({ target }) => target.dataset.view && setView(target.dataset.view));
$("unlock").addEventListener("click", () => {
  declined.clear();
  watchHub();
});
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => copy($(button.dataset.copy).textContent, button));
}
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
addEventListener("hashchange", () => {
  // The skip link was used; it does not name a room.
  if (location.hash === "#main") history.replaceState(null, "", state.room ? `#${state.room}` : "#");
  else openFromHash();
  drawWelcome();
});
$("retry").addEventListener("click", () => {
  watchHub();
  watchRoom();
});
setInterval(() => $("trouble").hidden || drawRetry(), 1000);
restoreEvents();
setInterval(() => document.hidden || !state.room || paint(drawRoom), 2000);
watchHub();
