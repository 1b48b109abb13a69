// How a conversation is shown: its messages, and following its end while an answer grows.

/** `follows`: whether the end of the conversation is kept in view, until one scrolls up. */
const talk = { follows: true, top: 0 };

/** Adds a message; its parts can be changed while it is streamed. */
function addMessage({ role, content, by = "", note = "", thought = "" }) {
  const mine = role === "user";
  const parts = {
    by: name(mine ? "You" : by || "…"),
    body: el("div", { class: mine ? "text" : "text rich", dir: "auto" }, mine ? content : ""),
    note: el("p", { class: "muted note-line" }, note),
    actions: el("p", { class: "actions" }),
    thought: null,
  };
  const head = el("p", { class: "by" }, parts.by);
  parts.node = el("article", { class: mine ? "mine" : "theirs" }, head, parts.body, parts.note, parts.actions);
  if (!mine) parts.view = new MarkdownView(parts.body);
  $("talk").append(parts.node);
  if (thought) addThought(parts, thought);
  if (!mine && content) {
    parts.view.append(content);
    parts.view.draw();
  }
  setVisible($("talk-empty"), false);
  return parts;
}

/** Adds to the reasoning, which is folded away once the answer begins. */
function addThought(parts, text) {
  if (!parts.thought) {
    parts.thought = el("p", { class: "muted", dir: "auto" });
    parts.fold = el("details", { class: "thought" }, el("summary", {}, "Reasoning"), parts.thought);
    parts.body.before(parts.fold);
  }
  parts.thought.append(text);
}

/** The buttons below the messages: each answer can be copied, the last one be asked for again. */
function drawActions(messages, shown, { edit, retry }) {
  const lastQuestion = messages.findLastIndex(({ role }) => role === "user");
  messages.forEach(({ role, content }, at) => {
    const buttons = [];
    const add = (text, onclick) => buttons.push(el("button", { type: "button", class: "quiet", onclick }, text));
    if (role === "assistant") add("Copy", ({ currentTarget }) => copy(content, currentTarget));
    if (role === "assistant" && at === messages.length - 1) add("Try again", retry);
    if (at === lastQuestion) add("Edit", edit);
    shown[at].actions.replaceChildren(...buttons);
  });
}

function scrollTalk(always) {
  talk.follows ||= always === true;
  if (talk.follows) $("talk").scrollTop = $("talk").scrollHeight;
}

/** What is added below moves the end away but scrolls nothing: only who scrolls up stops the following. */
function onTalkScroll() {
  const { scrollTop, scrollHeight, clientHeight } = $("talk");
  if (scrollHeight - scrollTop - clientHeight < 8) talk.follows = true;
  else if (scrollTop < talk.top) talk.follows = false;
  talk.top = scrollTop;
  setVisible($("talk-end"), !talk.follows);
}

$("talk").addEventListener("scroll", onTalkScroll);
$("talk-end").addEventListener("click", () => scrollTalk(true));
