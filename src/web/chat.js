// A conversation with whoever is in the open room: one question at a time, its answer as it streams, a way to stop it.

const chat = { messages: [], abort: null };

/** Another room is open: what was said belongs to the old one. */
function chatOpened() {
  chat.abort?.abort();
  chat.abort = null;
  chat.messages = [];
  setTalking(false);
  $("talk").replaceChildren();
  $("chat-to").replaceChildren();
  drawTargets();
}

/** Whom one can ask. Made anew only where it differs, so that an open list does not close under the pointer. */
function drawTargets() {
  const up = [...state.participants.values()].filter(isUp).sort(byName);
  const models = [...new Set(up.map((participant) => participant.model))].sort(collator.compare);
  const options = [["any", "Anyone"], ...models.map((m) => [`model:${m}`, `Model ${plain(m)}`])];
  options.push(...up.map((p) => [p.id, `${plain(p.nickname)} (${plain(p.id)})`]));
  const select = $("chat-to");
  const chosen = select.value;
  const known = JSON.stringify(options);
  if (select.dataset.known === known && select.options.length) return;
  select.dataset.known = known;
  if (chosen && !options.some(([value]) => value === chosen)) options.push([chosen, `${plain(chosen)} (not here now)`]);
  select.replaceChildren(...options.map(([value, label]) => el("option", { value }, label)));
  select.value = chosen || "any";
}

function talkTo(id) {
  drawTargets();
  $("chat-to").value = id;
  setView("chat");
  $("chat-text").focus();
}

function said(who, text) {
  const body = el("p", { class: "text", dir: "auto" }, text);
  const by = name(who);
  const note = el("p", { class: "muted" });
  $("talk").append(el("div", { class: who === "You" ? "mine" : "theirs" }, el("p", { class: "by" }, by), body, note));
  scrollTalk(true);
  return { by, body, note };
}

function scrollTalk(always) {
  const talk = $("talk");
  if (always || talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80) talk.scrollTop = talk.scrollHeight;
}

/** The pieces of an answer: what is said, and what is thought before. A provider may answer in one piece. */
async function* piecesOf(response) {
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
    const message = (await response.json()).choices?.[0]?.message;
    yield { text: message?.content ?? "" };
    return;
  }
  let ended = false;
  for await (const { data: text } of eventsOf(response)) {
    if (text === "[DONE]") return;
    const chunk = JSON.parse(text);
    if (chunk.error) throw new Refused(200, chunk.error.message ?? String(chunk.error));
    const delta = chunk.choices?.[0]?.delta ?? {};
    ended ||= Boolean(chunk.choices?.[0]?.finish_reason);
    const thought = delta.reasoning_content ?? delta.reasoning ?? "";
    yield { text: delta.content ?? "", thought, usage: chunk.usage };
  }
  // Not all providers say that they are done.
  if (!ended) throw new Refused(200, "The answer broke off");
}

async function send(event) {
  event?.preventDefault();
  const text = $("chat-text").value.trim();
  if (!text || chat.abort) return;
  const room = state.room;
  const abort = new AbortController();
  chat.abort = abort;
  chat.messages.push({ role: "user", content: text });
  said("You", text);
  $("chat-text").value = "";
  setTalking(true);
  const shown = said("…", "");
  const answer = { text: "", began: performance.now(), first: null, tokens: undefined };
  try {
    await receive(room, abort.signal, shown, answer);
    say(shown.note, summaryOf(answer));
  } catch (error) {
    fail(shown, answer, abort.signal.aborted, error);
  } finally {
    if (chat.abort === abort) {
      if (answer.text) chat.messages.push({ role: "assistant", content: answer.text });
      else takeBack();
      chat.abort = null;
      setTalking(false);
      scrollTalk();
    }
  }
}

/** A question without an answer is no part of the conversation: it can be asked again. */
function takeBack() {
  const { content } = chat.messages.pop();
  $("chat-text").value ||= content;
}

async function receive(room, signal, shown, answer) {
  const body = {
    model: $("chat-to").value,
    stream: true,
    stream_options: { include_usage: true },
    messages: chat.messages,
  };
  const response = await ask(`rooms/${room}/v1/chat/completions`, { method: "POST", body, room, signal });
  say(shown.by, clean(decodeURIComponent(response.headers.get("X-Gambi-Participant") ?? "Answer")));
  // A text that is added to is not laid out anew as a whole.
  const into = shown.body.appendChild(document.createTextNode(""));
  let thought = null;
  for await (const piece of piecesOf(response)) {
    if (piece.text || piece.thought) answer.first ??= performance.now();
    if (piece.thought) {
      if (!thought) shown.body.before((thought = el("p", { class: "thought muted", dir: "auto" })));
      thought.append(piece.thought);
    }
    answer.tokens = piece.usage?.completion_tokens ?? answer.tokens;
    answer.text += piece.text;
    into.appendData(piece.text);
    paint(scrollTalk);
  }
}

function summaryOf({ began, first, tokens }) {
  const now = performance.now();
  if (first === null) return "The answer was empty.";
  const parts = [`first token after ${millis(first - began)}`, `all after ${millis(now - began)}`];
  if (tokens) parts.push(plural(tokens, "token"));
  if (tokens > 1 && now - first >= 100) parts.push(`${number(((tokens - 1) * 1000) / (now - first))} tokens/s`);
  return parts.join(" · ");
}

function fail(shown, answer, stopped, error) {
  if (shown.by.textContent === "…") say(shown.by, stopped ? "Stopped" : "No answer");
  shown.note.className = stopped ? "muted" : "wrong";
  const lost =
    error instanceof TypeError
      ? answer.text
        ? "The connection to the hub broke off."
        : "The hub does not answer."
      : error.message;
  const why = stopped ? "Stopped." : error instanceof Locked ? "It needs a key or password." : lost;
  say(shown.note, why);
  announce(why);
}

function setTalking(talking) {
  // Whoever is on a button that goes is led to what comes for it.
  const [at, next] = talking ? ["chat-send", "chat-stop"] : ["chat-stop", "chat-text"];
  const follow = document.activeElement === $(at);
  show($("chat-send"), !talking);
  show($("chat-stop"), talking);
  // Readers are told the answer once it is whole.
  $("talk").setAttribute("aria-busy", talking);
  if (follow) $(next).focus();
}

$("chat-form").addEventListener("submit", send);
$("chat-stop").addEventListener("click", () => chat.abort?.abort());
$("chat-clear").addEventListener("click", () => {
  chatOpened();
  $("chat-text").focus();
});
$("chat-text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
});
