// The open room's base URL, the invitation to it, and its deletion.

const hostOf = (code) => `host.${code}`;

/** Shows the base URL of the open room. */
function drawBase() {
  setText($("base-url"), url(`rooms/${state.room}/v1`));
}

/** The addresses of the open room for others, once the hub has told them. */
let addresses = null;

/** Asks the hub for the room's addresses: it knows by which other machines reach it. */
async function askAddresses() {
  const code = state.room;
  addresses = null;
  const answer = await data(`v1/rooms/${code}/invitation`, { room: code }).catch(() => null);
  if (state.room === code) addresses = answer;
  drawTargets();
}

/** What an empty conversation says: how the room gets its first participant, or what can be asked. */
function drawEmptyTalk(up) {
  if (!state.room) return;
  const none = state.listed && up === 0;
  const title = none ? "No model is in this room yet" : state.listed ? "Ask the models in this room" : "Loading participants";
  setText($("talk-empty-title"), title);
  const count = plural(up, "participant answers", "participants answer");
  setText($("talk-empty-text"), none ? "Three steps to the first answer:" : up ? `${count} here. Choose one below, or let the hub choose.` : "");
  setVisible($("steps"), none);
  setText($("step-join"), `gambi join ${addresses?.invitation ?? `--hub ${hubAddress()} --room ${state.room}`}`);
  setText($("step-page"), addresses?.pageUrl ?? location.href);
  setText($("step-base"), addresses?.baseUrl ?? url(`rooms/${state.room}/v1`));
}

const hubAddress = () => url("").replace(/\/$/, "");

/** What else someone needs to enter the room. */
function alsoNeeded(room) {
  const needed = [];
  if (secrets.get("key")) needed.push("the hub's key");
  if (room.private) needed.push("the room's password");
  else if (room.passwordProtected) needed.push("the room's password, to join with a machine");
  return needed.length ? `It takes ${needed.join(" and ")} too.` : "";
}

async function openInvite() {
  const room = state.rooms.get(state.room);
  const told = await data(`v1/rooms/${room.code}/invitation`, { room: room.code }).catch(() => null);
  if (!told || state.room !== room.code) return;
  setText($("invite-title"), `Invite to ${plain(room.name)}`);
  setText($("invite-page"), told.pageUrl);
  setText($("invite-line"), `gambi join ${told.invitation}`);
  const isLocal = /^\w+:\/\/(localhost|127\.|\[::1\])/.test(told.pageUrl);
  const reach = isLocal ? "Only this machine reaches the hub at this address: open this page by another one to invite." : "";
  setText($("invite-note"), [alsoNeeded(room), reach].filter(Boolean).join(" "));
  const { size, path } = told.pageQr ?? { size: 0, path: "" };
  // Readers need a light margin.
  const image = svg("svg", { viewBox: `-4 -4 ${size + 8} ${size + 8}`, role: "img", "aria-label": "QR code of the page" });
  image.append(svg("rect", { class: "light", x: -4, y: -4, width: size + 8, height: size + 8 }), svg("path", { d: path }));
  $("invite-qr").replaceChildren(...(size ? [image] : []));
  $("invite").showModal();
}

function openDelete() {
  const code = state.room;
  setText($("delete-title"), `Delete room ${code}?`);
  setText($("delete-wrong"), "");
  $("delete-host").value = secrets.get(hostOf(code)) ?? "";
  setVisible($("delete-host").closest("label"), !secrets.has(hostOf(code)));
  $("delete").showModal();
}

async function deleteRoom(event) {
  event.preventDefault();
  const code = state.room;
  try {
    await data(`v1/rooms/${code}`, { method: "DELETE", body: { hostId: $("delete-host").value.trim() } });
    secrets.delete(hostOf(code));
    $("delete").close();
    announce(`Room ${code} was deleted`);
    location.hash = "";
  } catch (error) {
    const wrong = error.status === 403 ? "That is not the host id of this room." : error.message;
    setText($("delete-wrong"), error instanceof TypeError ? "The hub does not answer." : wrong);
  }
}

$("base-copy").addEventListener("click", () => copy($("base-url").textContent, $("base-copy")));
$("invite-open").addEventListener("click", openInvite);
$("invite-page-copy").addEventListener("click", () => copy($("invite-page").textContent, $("invite-page-copy")));
$("invite-line-copy").addEventListener("click", () => copy($("invite-line").textContent, $("invite-line-copy")));
$("delete-open").addEventListener("click", openDelete);
$("delete-form").addEventListener("submit", deleteRoom);
