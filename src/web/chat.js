// A chat with the open room: one question at a time, its answer streamed, and a button to stop it.

/** `follows`: whether the end of the conversation is kept in view, until one scrolls up. */
const chat = { messages: [], abort: null, follows: true, top: 0 };

/** Called when another room is opened: the conversation belongs to the previous one. */
function resetChat() {
  chat.abort?.abort();
  chat.abort = null;
  chat.messages = [];
  setChatBusy(false);
  $("talk").replaceChildren();
  $("chat-to").replaceChildren();
  drawTargets();
}

/** Fills the list of models and participants. It is replaced only if it differs, since replacing closes an open list. */
function drawTargets() {
  const up = [...state.participants.values()].filter(isUp).sort(byName);
  const models = [...new Set(up.map((participant) => participant.model))].sort(collator.compare);
  const options = [["any", "Any participant"], ...models.map((m) => [`model:${m}`, `Model ${plain(m)}`])];
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

function chatWith(id) {
  drawTargets();
  $("chat-to").value = id;
  setView("chat");
  $("chat-text").focus();
}

function addMessage(who, text) {
  const body = el("p", { class: "text", dir: "auto" }, text);
  const by = name(who);
  const note = el("p", { class: "muted" });
  $("talk").append(el("div", { class: who === "You" ? "mine" : "theirs" }, el("p", { class: "by" }, by), body, note));
  scrollTalk(true);
  return { by, body, note };
}

function scrollTalk(always) {
  chat.follows ||= always === true;
  if (chat.follows) $("talk").scrollTop = $("talk").scrollHeight;
}

/** What is added below moves the end away but scrolls nothing: only who scrolls up stops the following. */
function onTalkScroll() {
  const { scrollTop, scrollHeight, clientHeight } = $("talk");
  if (scrollHeight - scrollTop - clientHeight < 8) chat.follows = true;
  else if (scrollTop < chat.top) chat.follows = false;
  chat.top = scrollTop;
}

/** Yields the pieces of an answer: text and reasoning. A provider may answer in one piece. */
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
    if (chunk.error) throw new HubError(200, chunk.error.message ?? String(chunk.error));
    const delta = chunk.choices?.[0]?.delta ?? {};
    ended ||= Boolean(chunk.choices?.[0]?.finish_reason);
    const thought = delta.reasoning_content ?? delta.reasoning ?? "";
    yield { text: delta.content ?? "", thought, usage: chunk.usage };
  }
  // Not all providers send [DONE].
  if (!ended) throw new HubError(200, "The answer broke off");
}

async function send(event) {
  event?.preventDefault();
  const text = $("chat-text").value.trim();
  if (!text || chat.abort || state.gone) return;
  const room = state.room;
  const abort = new AbortController();
  chat.abort = abort;
  chat.messages.push({ role: "user", content: text });
  addMessage("You", text);
  $("chat-text").value = "";
  setChatBusy(true);
  const shown = addMessage("…", "");
  const answer = { requestId: null, text: "", began: performance.now(), first: null, tokens: undefined };
  try {
    await receive(room, abort.signal, shown, answer);
    setText(shown.note, summaryOf(answer));
  } catch (error) {
    answer.requestId ??= error.requestId;
    fail(shown, answer, abort.signal.aborted, error);
  } finally {
    addTrace(shown.note, room, answer.requestId);
    pollHistory(true);
    if (chat.abort === abort) {
      if (answer.text) chat.messages.push({ role: "assistant", content: answer.text });
      else withdrawQuestion();
      chat.abort = null;
      setChatBusy(false);
      scrollTalk();
    }
  }
}

/** Removes a question that got no answer from the conversation, so that it can be sent again. */
function withdrawQuestion() {
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
  const response = await request(`rooms/${room}/v1/chat/completions`, { method: "POST", body, room, signal });
  answer.requestId = response.headers.get("X-Gambi-Request-Id");
  setText(shown.by, clean(decodeURIComponent(response.headers.get("X-Gambi-Participant") ?? "Answer")));
  // Appending to one text node avoids laying out the whole text again.
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
  if (shown.by.textContent === "…") setText(shown.by, stopped ? "Stopped" : "No answer");
  shown.note.className = stopped ? "muted" : "wrong";
  const lost =
    error instanceof TypeError
      ? answer.text
        ? "The connection to the hub broke off."
        : "The hub does not answer."
      : error.message;
  const why = stopped ? "Stopped." : error instanceof SecretMissing ? "The hub requires a key or password." : lost;
  setText(shown.note, why);
  announce(why);
}

function setChatBusy(talking) {
  // If the button that disappears has the focus, move it to its replacement.
  const [at, next] = talking ? ["chat-send", "chat-stop"] : ["chat-stop", "chat-text"];
  const follow = document.activeElement === $(at);
  setVisible($("chat-send"), !talking);
  setVisible($("chat-stop"), talking);
  // Screen readers announce the answer once it is complete.
  $("talk").setAttribute("aria-busy", talking);
  if (follow) $(next).focus();
}

$("talk").addEventListener("scroll", onTalkScroll);
$("chat-form").addEventListener("submit", send);
$("chat-stop").addEventListener("click", () => chat.abort?.abort());
$("chat-clear").addEventListener("click", () => {
  resetChat();
  $("chat-text").focus();
});
$("chat-text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
});
