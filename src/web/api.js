// HTTP requests to the hub, the secrets sent with them, and parsing of event streams.

/** An error response of the hub. */
class HubError extends Error {
  constructor(status, message, code, requestId) {
    super(message);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
  }
}

/** The user was asked for a secret and cancelled. */
class SecretMissing extends Error {
  constructor(name) {
    super(name === "key" ? "The hub requires its key." : "The room requires its password.");
  }
}

/** Secrets are kept in this module while the page is open: scripts of the same origin could read browser storage. */
const secrets = new Map();

/** Resolves a path relative to the page, since a proxy may serve it below a prefix. */
const url = (path) => new URL(path, document.baseURI).href;
const isPrivate = (code) => state.rooms.get(code)?.private === true;
const passwordOf = (code) => `room.${code}`;

function secretHeaders(room) {
  const headers = {};
  const key = secrets.get("key");
  const password = room && secrets.get(passwordOf(room));
  if (key) headers.Authorization = `Bearer ${key}`;
  if (password && isPrivate(room)) headers["X-Gambi-Room-Password"] = password;
  return headers;
}

/** Reads an error response; the planes have different shapes. */
async function hubError(response) {
  const body = await response
    .clone()
    .json()
    .catch(() => ({}));
  const error = body?.error;
  const text = typeof error === "string" ? error : error?.message;
  const message = [text ?? `The hub answered ${response.status}`, error?.hint]
    .filter(Boolean)
    .join(". ")
    .replace(/\.\./g, ".");
  const requestId = response.headers.get("X-Gambi-Request-Id");
  return new HubError(response.status, message, body?.code ?? error?.code, requestId);
}

// Sends a request, and prompts for a secret if the hub requires one. `room` is the room whose password may be needed.
// Throws HubError, SecretMissing, AbortError, or TypeError if the hub can't be reached.
async function request(path, { method = "GET", body, room, signal } = {}) {
  for (;;) {
    const name = isPrivate(room) ? passwordOf(room) : "key";
    const tried = secrets.get(name);
    const headers = secretHeaders(room);
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const text = body === undefined ? undefined : JSON.stringify(body);
    const response = await fetch(url(path), { method, headers, body: text, signal, cache: "no-store" });
    if (response.ok) return response;
    const error = await hubError(response);
    // A provider may answer 401 too; that is not about the hub's key.
    if (response.status !== 401 || error.code !== "INVALID_PASSWORD") throw error;
    if (secrets.get(name) === tried) await requestSecret(name, room, tried !== undefined);
  }
}

/** The `data` of a response of the v1 plane. */
const data = async (path, options) => (await (await request(path, options)).json()).data;

/** Open prompts by secret, and secrets that the user declined: no secret is prompted for twice. */
const prompts = new Map();
const declined = new Set();
/** Prompts are shown one after the other, since there is one dialog. */
let lastPrompt = Promise.resolve();

function requestSecret(name, room, wrong) {
  if (declined.has(name)) return Promise.reject(new SecretMissing(name));
  if (!prompts.has(name)) {
    const prompt = lastPrompt.then(() => promptForSecret(name, room, wrong));
    lastPrompt = prompt.catch(() => {});
    prompts.set(
      name,
      prompt.finally(() => prompts.delete(name)),
    );
  }
  return prompts.get(name);
}

function promptForSecret(name, room, wrong) {
  const [dialog, field] = [$("ask"), $("secret")];
  setText($("ask-title"), room && name !== "key" ? `Password of room ${room}` : "The hub's key");
  setText($("ask-why"), name === "key" ? "This hub requires a key." : "This room is private.");
  setText($("ask-wrong"), wrong ? "That is wrong. Try again." : "");
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    dialog.addEventListener(
      "close",
      () => {
        const secret = field.value;
        field.value = "";
        if (dialog.returnValue === "give" && secret) {
          secrets.set(name, secret);
          resolve();
        } else {
          declined.add(name);
          reject(new SecretMissing(name));
        }
      },
      { once: true },
    );
  });
}

$("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  // Header values are limited to these characters, so no valid key or private room's password has others.
  if (/^[ -~]+$/.test($("secret").value)) $("ask").close("give");
  else setText($("ask-wrong"), "Keys and passwords of private rooms are printable ASCII.");
});

/** The longest line accepted in a stream, in characters. */
const LONGEST_LINE = 32 << 20;

/** Parses server-sent events: yields their types and data. `onComment` gets the texts of comments. */
async function* eventsOf(response, onComment) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let [type, lines] = ["", []];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split(/\r?\n/);
      rest = parts.pop();
      if (rest.length > LONGEST_LINE) throw new Error("A line of the stream is too long");
      for (const line of parts) {
        if (line.startsWith("data:")) lines.push(line.slice(line[5] === " " ? 6 : 5));
        else if (line.startsWith("event:")) type = line.slice(6).trim();
        else if (line.startsWith(":")) onComment?.(line.slice(1).trim());
        else if (line === "") {
          if (lines.length) yield { type, data: lines.join("\n") };
          [type, lines] = ["", []];
        }
      }
    }
  } finally {
    // A stream that is not read to its end keeps its connection. One that broke off rejects this.
    reader.cancel().catch(() => {});
  }
}
