// Who waits for a participant of the open room, in the order in which they get one.

function drawQueue() {
  const { queue } = state;
  const waits = (queue?.requests.length ?? 0) > 0 && !state.gone;
  setVisible($("queue-panel"), waits);
  if (!waits) return;
  updateList($("queue"), queue.requests, ({ place }) => place, makeWaiting, fillWaiting);
  const more = queue.queued - queue.requests.length;
  setText($("queue-more"), more > 0 ? `and ${number(more)} more` : "");
}

function makeWaiting() {
  const row = { place: el("td"), who: el("bdi"), own: el("span", { class: "pill own" }, "you") };
  Object.assign(row, { model: el("bdi"), time: el("td") });
  row.node = el("tr", {}, row.place, el("th", { scope: "row" }, row.who, " ", row.own), el("td", {}, row.model), row.time);
  return row;
}

function fillWaiting(row, waiting) {
  setText(row.place, number(waiting.place));
  setText(row.who, waiting.caller === undefined ? `Client ${waiting.client}` : clean(waiting.caller));
  setVisible(row.own, waiting.own);
  setText(row.model, plain(waiting.model));
  setText(row.time, millis(Math.max(0, Date.now() + clockOffset - waiting.since)));
}
