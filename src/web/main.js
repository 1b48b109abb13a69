// Entry point: header, tabs of narrow screens, and the first connection to the hub.

const CONNECTIONS = {
  connecting: ["Connecting", "busy"],
  live: ["Live", "online"],
  lost: ["Reconnecting", "busy"],
  locked: ["Locked", "offline"],
  asleep: ["Asleep", "offline"],
};

function setConnection(how, error = null) {
  const [text, kind] = CONNECTIONS[how];
  setText($("connection"), text);
  $("connection").className = `pill ${kind}`;
  setVisible($("unlock"), how === "locked");
  // A restarting hub is back in a moment, so only errors that the hub itself reports are shown.
  const message = error instanceof HubError ? error.message : "";
  setVisible($("trouble"), how === "lost" && message !== "");
  setText($("trouble"), message);
}

function setView(view) {
  document.body.dataset.view = view;
  for (const button of $("views").children) button.setAttribute("aria-pressed", button.dataset.view === view);
}

setText($("host"), location.host);
setView("participants");
$("views").addEventListener("click", ({ target }) => target.dataset.view && setView(target.dataset.view));
$("unlock").addEventListener("click", () => {
  declined.clear();
  watchHub();
});
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
addEventListener("hashchange", () => {
  // The skip link was used; it does not name a room.
  if (location.hash === "#main") history.replaceState(null, "", state.room ? `#${state.room}` : "#");
  else openFromHash();
  drawWelcome();
});
setInterval(() => document.hidden || !state.room || paint(drawRoom), 2000);
watchHub();
