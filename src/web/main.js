// Where the page begins: the head, the views of a narrow screen, and the first look at the hub.

const CONNECTIONS = {
  connecting: ["Connecting", "busy"],
  live: ["Live", "online"],
  lost: ["Reconnecting", "busy"],
  locked: ["Locked", "offline"],
  asleep: ["Asleep", "offline"],
};

function setConnection(how, error = null) {
  const [text, kind] = CONNECTIONS[how];
  say($("connection"), text);
  $("connection").className = `pill ${kind}`;
  show($("unlock"), how === "locked");
  // A hub that restarts is back in a moment: only what it says itself is worth a line.
  const told = error instanceof Refused ? error.message : "";
  show($("trouble"), how === "lost" && told !== "");
  say($("trouble"), told);
}

function setView(view) {
  document.body.dataset.view = view;
  for (const button of $("views").children) button.setAttribute("aria-pressed", button.dataset.view === view);
}

say($("host"), location.host);
setView("people");
$("views").addEventListener("click", ({ target }) => target.dataset.view && setView(target.dataset.view));
$("unlock").addEventListener("click", () => {
  declined.clear();
  watchHub();
});
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
addEventListener("hashchange", () => {
  // Somebody was led past the rooms, not to one.
  if (location.hash === "#main") history.replaceState(null, "", state.room ? `#${state.room}` : "#");
  else openFromHash();
  drawWelcome();
});
setInterval(() => document.hidden || !state.room || paint(drawRoom), 2000);
watchHub();
