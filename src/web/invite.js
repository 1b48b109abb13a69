// The open room's base URL, the invitation to it, and its deletion.

const hostOf = (code) => `host.${code}`;

/** Shows the base URL of the open room. */
function drawBase() {
  setText($("base-url"), url(`rooms/${state.room}/v1`));
}

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
  setText($("invite-line"), `gambi participant join ${told.invitation}`);
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
    setText($("delete-wrong"), error instanceof TypeError ? "The hub does not answer." : error.message);
  }
}

$("base-copy").addEventListener("click", () => copy($("base-url").textContent, $("base-copy")));
$("invite-open").addEventListener("click", openInvite);
$("invite-page-copy").addEventListener("click", () => copy($("invite-page").textContent, $("invite-page-copy")));
$("invite-line-copy").addEventListener("click", () => copy($("invite-line").textContent, $("invite-line-copy")));
$("delete-open").addEventListener("click", openDelete);
$("delete-form").addEventListener("submit", deleteRoom);
