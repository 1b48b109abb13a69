// The conversations with each room, kept in this browser. Other scripts of the same origin can read its storage, so what only a
// key or a password shows is kept until the page is closed.

/** Conversations kept of a room at most, and their characters. */
const MAX_CONVERSATIONS = 30;
const MAX_HISTORY_SIZE = 500000;
const LONGEST_TITLE = 48;

/** A proxy may serve several hubs below one origin. */
const historyOf = (code) => `gambi.chats ${new URL(".", document.baseURI).pathname} ${code}`;
const mayStore = (code) => !secrets.has("key") && !isPrivate(code);

/** Conversations of rooms that must not be stored, by code. */
const unstored = new Map();

const isConversation = (one) =>
  Number.isFinite(one?.id) &&
  Array.isArray(one.messages) &&
  one.messages.every(({ role, content }) => typeof role === "string" && typeof content === "string");

/** The conversations with a room, the latest first. */
function loadConversations(code) {
  if (!mayStore(code)) return unstored.get(code) ?? [];
  try {
    return JSON.parse(localStorage.getItem(historyOf(code)) ?? "[]").filter(isConversation);
  } catch {
    // The browser blocks storage, or another script has written there.
    return [];
  }
}

/** Keeps the conversations with a room. The oldest ones make room for others. */
function storeConversations(code, conversations) {
  const kept = conversations.filter(({ messages }) => messages.length).slice(0, MAX_CONVERSATIONS);
  if (!mayStore(code)) return unstored.set(code, kept);
  let text = JSON.stringify(kept);
  while (text.length > MAX_HISTORY_SIZE && kept.length) {
    kept.pop();
    text = JSON.stringify(kept);
  }
  try {
    if (kept.length) localStorage.setItem(historyOf(code), text);
    else localStorage.removeItem(historyOf(code));
  } catch {
    // The browser blocks storage, or it is full.
  }
}

/** The title of a conversation: how its first question begins. */
function titleOf({ messages }) {
  const words = clean(messages[0]?.content ?? "").replace(/\s+/g, " ");
  return words.length > LONGEST_TITLE ? `${words.slice(0, LONGEST_TITLE)}…` : words || "New chat";
}

/** A conversation as a Markdown document. */
function exportText({ messages, system }) {
  const parts = messages.map(({ role, content, by }) => `## ${role === "user" ? "You" : plain(by || "Answer")}\n\n${content}\n`);
  return [`# ${titleOf({ messages })}\n`, ...(system ? [`> ${system.replaceAll("\n", "\n> ")}\n`] : []), ...parts].join("\n");
}
