// Requests to the hub, the secrets that they show, and streams of events. What is asked for, and what becomes of the
// answers, is other files' business.

/** Why a request was not answered as hoped. */
class Refused extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Whoever was asked for a secret did not give it. */
class Locked extends Error {}

/** Secrets live as long as the page, in this module alone: any script of this origin could read a browser's storage. */
const secrets = new Map();

/** Beside the page, wherever a proxy has put it. */
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

/** What the hub says about a failure, in whichever plane's shape. */
async function refusal(response) {
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
  return new Refused(response.status, message, body?.code ?? error?.code);
}

// Asks the hub, and for a secret where the hub wants one. `room` is the room whose password may be needed.
// Throws Refused, Locked, AbortError, or TypeError where the hub is not there.
async function ask(path, { method = "GET", body, room, signal } = {}) {
  for (;;) {
    const name = isPrivate(room) ? passwordOf(room) : "key";
    const tried = secrets.get(name);
    const headers = secretHeaders(room);
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const text = body === undefined ? undefined : JSON.stringify(body);
    const response = await fetch(url(path), { method, headers, body: text, signal, cache: "no-store" });
    if (response.ok) return response;
    const refused = await refusal(response);
    // A provider may answer 401 as well: that is no question for the hub's key.
    if (response.status !== 401 || refused.code !== "INVALID_PASSWORD") throw refused;
    if (secrets.get(name) === tried) await secretFor(name, room, tried !== undefined);
  }
}

/** The `data` of an answer of the v1 plane. */
const data = async (path, options) => (await (await ask(path, options)).json()).data;

/** Questions under way, and those that were turned down: nobody is asked twice at a time, nor again and again. */
const questions = new Map();
const declined = new Set();
/** One dialog shows one question. */
let lastQuestion = Promise.resolve();

function secretFor(name, room, wrong) {
  if (declined.has(name)) return Promise.reject(new Locked(name));
  if (!questions.has(name)) {
    const question = lastQuestion.then(() => openQuestion(name, room, wrong));
    lastQuestion = question.catch(() => {});
    questions.set(
      name,
      question.finally(() => questions.delete(name)),
    );
  }
  return questions.get(name);
}

function openQuestion(name, room, wrong) {
  const [dialog, field] = [$("ask"), $("secret")];
  say($("ask-title"), room && name !== "key" ? `Password of room ${room}` : "The hub's key");
  say($("ask-why"), name === "key" ? "This hub answers those who have its key." : "This room is private.");
  say($("ask-wrong"), wrong ? "That was not it. Try again." : "");
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
          reject(new Locked(name));
        }
      },
      { once: true },
    );
  });
}

$("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  // A header carries no more than that, and no key or private room's password is anything else.
  if (/^[ -~]+$/.test($("secret").value)) $("ask").close("give");
  else say($("ask-wrong"), "Keys and passwords of private rooms are letters, digits and signs of ASCII.");
});

/** The longest line of a stream that is waited for. */
const LONGEST_LINE = 32 << 20;

/** The events of a stream, as they come: their types and data. */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let [type, lines] = ["", []];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n/);
    rest = parts.pop();
    if (rest.length > LONGEST_LINE) throw new Error("A line of the stream is too long");
    for (const line of parts) {
      if (line.startsWith("data:")) lines.push(line.slice(line[5] === " " ? 6 : 5));
      else if (line.startsWith("event:")) type = line.slice(6).trim();
      else if (line === "") {
        if (lines.length) yield { type, data: lines.join("\n") };
        [type, lines] = ["", []];
      }
    }
  }
}
