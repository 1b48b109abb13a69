// Talking to the open room: one question at a time, its answer streamed, and a button to stop it.

/** The open conversation, those before it, and the question that is being answered. */
const chat = { room: null, conversations: [], current: null, shown: [], pending: null };

const newConversation = () => ({ id: Date.now(), messages: [], system: "", temperature: "" });

/** Called when another room is opened: its latest conversation goes on. */
function resetChat() {
  // Not stored: of a room that was deleted it is not known any more whether it was private.
  leaveAnswer();
  chat.room = state.room;
  chat.conversations = state.room ? loadConversations(state.room) : [];
  $("chat-to").replaceChildren();
  drawTargets();
  openConversation(chat.conversations[0] ?? newConversation());
}

function openConversation(conversation) {
  if (leaveAnswer()) storeConversations(chat.room, chat.conversations);
  chat.current = conversation;
  if (!chat.conversations.includes(conversation)) chat.conversations.unshift(conversation);
  $("chat-system").value = conversation.system ?? "";
  $("chat-temperature").value = conversation.temperature ?? "";
  $("talk").replaceChildren();
  chat.shown = conversation.messages.map(addMessage);
  drawConversations();
  scrollTalk(true);
}

/** Fills the list of conversations, and what belongs to the open one. */
function drawConversations() {
  const { current, conversations, room } = chat;
  drawActions(current.messages, chat.shown, { edit: editQuestion, retry: askAgain });
  const options = conversations.map((one) => el("option", { value: one.id, selected: one === current }, titleOf(one)));
  $("chat-list").replaceChildren(...options);
  setVisible($("chat-list"), conversations.length > 1);
  // A question that failed is in its input again, and why it failed is still shown.
  setVisible($("talk-empty"), !$("talk").hasChildNodes());
  for (const button of [$("chat-new"), $("chat-delete"), $("chat-export")]) button.disabled = current.messages.length === 0;
  const kept = mayStore(room) ? "Conversations are kept in this browser only." : "Conversations are kept until this page is closed.";
  setText($("chat-kept"), kept);
  setText($("chat-settings"), current.system || current.temperature !== "" ? "Settings (changed)" : "Settings");
}

/** Keeps the open conversation as the latest one. */
function keepConversation() {
  const { current } = chat;
  chat.conversations = [current, ...chat.conversations.filter((one) => one !== current)];
  storeConversations(chat.room, chat.conversations);
  drawConversations();
}

/** Fills the list of models and participants. It is replaced only if it differs, since replacing closes an open list. */
function drawTargets() {
  const up = [...state.participants.values()].filter(isUp).sort(byName);
  const models = [...new Set(up.map((participant) => participant.model))].sort(collator.compare);
  const options = [["any", "Any participant"], ...models.map((m) => [`model:${m}`, `Model ${plain(m)}`])];
  options.push(...up.map((p) => [p.id, `${plain(p.nickname)} (${plain(p.id)})`]));
  drawEmptyTalk(up.length);
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

/** Yields the pieces of an answer: text and reasoning. A provider may answer in one piece. */
async function* piecesOf(response, onComment) {
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
    const { choices, usage } = await response.json();
    const message = choices?.[0]?.message;
    yield { text: message?.content ?? "", thought: message?.reasoning_content ?? "", usage };
    return;
  }
  let ended = false;
  for await (const { data: text } of eventsOf(response, onComment)) {
    // Read on to the end: the hub would count a stream that is closed before as cancelled.
    if (text === "[DONE]") {
      ended = true;
      continue;
    }
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

function send(event) {
  event?.preventDefault();
  const content = $("chat-text").value.trim();
  if (!content || chat.pending || state.gone) return;
  $("chat-text").value = "";
  fitInput();
  chat.current.messages.push({ role: "user", content });
  chat.shown.push(addMessage(chat.current.messages.at(-1)));
  ask();
}

/** Asks the last question of the open conversation. */
async function ask() {
  const { current, room } = chat;
  for (const { actions } of chat.shown) actions.replaceChildren();
  const shown = addMessage({ role: "assistant", content: "", note: "Waiting for the answer" });
  const answer = { requestId: null, text: "", thought: "", by: "", began: performance.now(), first: null, tokens: undefined };
  const pending = { abort: new AbortController(), current, shown, answer };
  chat.pending = pending;
  setChatBusy(true);
  scrollTalk(true);
  try {
    await receive(pending.abort.signal, shown, answer);
    setText(shown.note, summaryOf(answer));
  } catch (error) {
    answer.requestId ??= error.requestId;
    fail(shown, answer, pending.abort.signal.aborted, error);
  }
  shown.view.draw();
  addTrace(shown.note, room, answer.requestId);
  pollHistory(true);
  // Where its conversation was left meanwhile, `leaveAnswer` has kept the answer.
  if (chat.pending === pending) endAnswer(pending);
}

/** Shows the end of an answer. A question that got none goes back to where it can be sent again. */
function endAnswer(pending) {
  chat.pending = null;
  setChatBusy(false);
  const unanswered = keepAnswer(pending);
  if (unanswered === null) {
    chat.shown.push(pending.shown);
  } else {
    chat.shown.pop();
    $("chat-text").value ||= unanswered;
    fitInput();
  }
  keepConversation();
  scrollTalk();
}

/** Stops the answer in progress, since its conversation is closed. False if there is none. */
function leaveAnswer() {
  const { pending } = chat;
  if (!pending) return false;
  chat.pending = null;
  setChatBusy(false);
  pending.abort.abort();
  setText(pending.shown.note, "Stopped.");
  keepAnswer(pending);
  return true;
}

/** Adds an answer to its conversation. A question that got none is taken out of it and returned. */
function keepAnswer({ current: { messages }, shown, answer: { text, thought, by } }) {
  if (!text) return messages.pop().content;
  messages.push({ role: "assistant", content: text, by, note: shown.note.textContent, thought });
  return null;
}

/** The request's body. */
function requestBody({ messages, system, temperature }) {
  const sent = messages.map(({ role, content }) => ({ role, content }));
  if (system) sent.unshift({ role: "system", content: system });
  const body = { model: $("chat-to").value, stream: true, stream_options: { include_usage: true }, messages: sent };
  if (temperature !== "") body.temperature = Number(temperature);
  return body;
}

async function receive(signal, shown, answer) {
  const { room } = chat;
  const body = requestBody(chat.current);
  const response = await request(`rooms/${room}/v1/chat/completions`, { method: "POST", body, room, signal });
  answer.requestId = response.headers.get("X-Gambi-Request-Id");
  showAnswerer(shown, answer, response.headers.get("X-Gambi-Participant"));
  const draw = () => {
    shown.view.draw();
    scrollTalk();
  };
  const onComment = (text) => {
    const by = /^answered by (\S+)$/.exec(text);
    if (by) showAnswerer(shown, answer, by[1]);
    else if (answer.first === null) setText(shown.note, placeIn(text));
  };
  for await (const piece of piecesOf(response, onComment)) {
    if (piece.text || piece.thought) {
      if (answer.first === null) setText(shown.note, "");
      answer.first ??= performance.now();
    }
    if (piece.thought) addThought(shown, piece.thought);
    answer.tokens = piece.usage?.completion_tokens ?? answer.tokens;
    answer.text += piece.text;
    answer.thought += piece.thought ?? "";
    shown.view.append(piece.text);
    paint(draw);
  }
}

/** Shows which participant answers, with its model. A stream that waited tells it by a comment, not by the header. */
function showAnswerer(shown, answer, encodedId) {
  const id = clean(decodeURIComponent(encodedId ?? ""));
  const participant = state.participants.get(id);
  answer.by = participant ? `${clean(participant.nickname)} · ${clean(participant.model)}` : id || "Answer";
  setText(shown.by, answer.by);
  shown.by.title = id;
}

/** What a comment of the stream tells of the place in the line. */
function placeIn(comment) {
  const place = /^waiting in line, (\d+) of (\d+)$/.exec(comment);
  return place ? `Waiting in line: ${place[1]} of ${place[2]}` : "Waiting";
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
  shown.note.className = `note-line ${stopped ? "muted" : "wrong"}`;
  const lost =
    error instanceof TypeError
      ? answer.text
        ? "The connection to the hub broke off."
        : "The hub does not answer."
      : error.message;
  const why = stopped ? "Stopped." : lost;
  setText(shown.note, why);
  announce(why);
}

/** Takes the last answer back, and asks for another one. */
function askAgain() {
  if (chat.pending || state.gone) return;
  dropMessages(chat.current.messages.length - 1);
  ask();
}

/** Takes the last question back to be changed. */
function editQuestion() {
  if (chat.pending) return;
  const at = chat.current.messages.findLastIndex(({ role }) => role === "user");
  $("chat-text").value = chat.current.messages[at].content;
  dropMessages(at);
  keepConversation();
  fitInput();
  $("chat-text").focus();
}

/** Removes the messages from a place on, with the failures shown between and after them. */
function dropMessages(from) {
  const first = chat.shown[from].node;
  while (first.nextSibling) first.nextSibling.remove();
  first.remove();
  chat.shown.length = from;
  chat.current.messages.length = from;
}

function deleteConversation() {
  chat.conversations = chat.conversations.filter((one) => one !== chat.current);
  storeConversations(chat.room, chat.conversations);
  openConversation(chat.conversations[0] ?? newConversation());
  $("chat-text").focus();
}

/** Saves the open conversation as a file. */
function exportConversation() {
  const link = el("a", { download: `gambi-${chat.room}.md` });
  link.href = URL.createObjectURL(new Blob([exportText(chat.current)], { type: "text/markdown" }));
  link.click();
  URL.revokeObjectURL(link.href);
}

function setChatBusy(talking) {
  // If the button that disappears has the focus, move it to its replacement.
  const [at, next] = talking ? ["chat-send", "chat-stop"] : ["chat-stop", "chat-text"];
  const follow = document.activeElement === $(at);
  setVisible($("chat-send"), !talking);
  setVisible($("chat-stop"), talking);
  $("chat-list").disabled = talking;
  // Screen readers announce the answer once it is complete.
  $("talk").setAttribute("aria-busy", talking);
  if (follow) $(next).focus();
}

/** Makes the input as high as its text, within the limits of the style sheet. */
function fitInput() {
  const input = $("chat-text");
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight + 2}px`;
}

$("chat-form").addEventListener("submit", send);
$("chat-stop").addEventListener("click", () => chat.pending?.abort.abort());
$("chat-new").addEventListener("click", () => {
  openConversation(newConversation());
  $("chat-text").focus();
});
$("chat-list").addEventListener("change", ({ target }) =>
  openConversation(chat.conversations.find(({ id }) => String(id) === target.value)),
);
$("chat-delete").addEventListener("click", deleteConversation);
$("chat-export").addEventListener("click", exportConversation);
$("chat-system").addEventListener("change", ({ target }) => {
  chat.current.system = target.value.trim();
  keepConversation();
});
$("chat-temperature").addEventListener("change", ({ target }) => {
  chat.current.temperature = target.validity.valid ? target.value : "";
  keepConversation();
});
$("chat-text").addEventListener("input", fitInput);
$("chat-text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
});
