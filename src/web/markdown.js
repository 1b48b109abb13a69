// Markdown as models write it. Parsed to plain data, then built as elements: text from models never becomes markup.

/** Text beyond this many characters is shown as it is, and so is a paragraph beyond `LONGEST_INLINE`. */
const LONGEST_MARKDOWN = 200000;
const LONGEST_INLINE = 20000;
/** Quotes, lists and emphasis inside one another, at most. */
const DEEPEST = 6;

// None of these can match the same characters in two ways: with a hostile line, that takes the square of its length or more.
const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const HEADING = /^ {0,3}(#{1,6})(?![^ \t])/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])[ \t]+(?:\[([ xX])\][ \t]+)?(.*)$/;
const DIVIDER = /^ {0,3}(?:\|[ \t]*)?:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*(?:\|[ \t]*)?$/;
const isBlank = (line) => /^\s*$/.test(line);

/** Without carriage returns, and with one kind of line end: `.` and `$` mean others too. */
const plainLines = (text) => text.replaceAll("\r", "").replace(/[\u2028\u2029]/g, "\n");

/** The blocks of lines: `{ type, at, ... }`, where `at` is the line that they begin in. */
function parseLines(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at++;
      continue;
    }
    const [block, next] = parseBlock(lines, at, depth);
    blocks.push({ at, ...block });
    at = next;
  }
  return blocks;
}

/** The block that begins in a line, and the line after it. */
function parseBlock(lines, at, depth) {
  const line = lines[at];
  const fence = fenceOf(line);
  if (fence) return parseFence(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return [{ type: "heading", level: heading[1].length, text: headingText(line) }, at + 1];
  if (RULE.test(line)) return [{ type: "rule" }, at + 1];
  if (depth < DEEPEST && QUOTE.test(line)) return parseQuote(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return parseList(lines, at, depth);
  const table = beginsTable(lines, at) && parseTable(lines, at);
  if (table) return table;
  let end = at + 1;
  while (end < lines.length && !isBlank(lines[end]) && !beginsBlock(lines[end], depth) && !beginsTable(lines, end)) end++;
  return [{ type: "paragraph", text: lines.slice(at, end).join("\n") }, end];
}

/** What opens code: its mark and the language. Backticks may not follow backticks. */
function fenceOf(line) {
  const mark = FENCE.exec(line)?.[1];
  const info = mark && line.trimStart().slice(mark.length).trim();
  return mark && !(mark[0] === "`" && info.includes("`")) ? { mark, language: info.split(/\s/, 1)[0] } : null;
}

/** A heading's text, without the marks that may close it. */
function headingText(line) {
  const text = line.trim().replace(/^#+/, "").trim();
  let end = text.length;
  while (text[end - 1] === "#") end--;
  return end === 0 || /[ \t]/.test(text[end - 1]) ? text.slice(0, end).trim() : text;
}

const beginsTable = (lines, at) => lines[at].includes("|") && DIVIDER.test(lines[at + 1] ?? "");

/** Whether a line ends the paragraph before it. */
function beginsBlock(line, depth) {
  return fenceOf(line) !== null || HEADING.test(line) || RULE.test(line) || (depth < DEEPEST && (QUOTE.test(line) || ITEM.test(line)));
}

/** A fence that is still open takes the rest: the answer may not be complete. */
function parseFence(lines, at, { mark, language }) {
  const indent = lines[at].search(/\S/);
  const isEnd = (line) => {
    const text = line.trim();
    return text.length >= mark.length && text === mark[0].repeat(text.length);
  };
  let end = at + 1;
  while (end < lines.length && !isEnd(lines[end])) end++;
  const code = lines.slice(at + 1, end).map((line) => line.slice(Math.min(indent, Math.max(0, line.search(/\S/)))));
  return [{ type: "code", language, text: code.join("\n"), closed: end < lines.length }, end + 1];
}

function parseQuote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end++;
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return [{ type: "quote", blocks: parseLines(inner, depth + 1) }, end];
}

/** A list: its items' continuation lines are indented, and may be blank in between. */
function parseList(lines, at, depth) {
  const [, { length: indent }, marker] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(marker);
  const items = [];
  let end = at;
  while (end < lines.length) {
    // Items may be apart by a blank line.
    const next = isBlank(lines[end]) ? end + 1 : end;
    const item = ITEM.exec(lines[next] ?? "");
    if (!item || item[1].length > indent + 1 || item[1].length < indent || /\d/.test(item[2]) !== ordered) break;
    if (RULE.test(lines[next])) break;
    const inner = [item[4]];
    end = next + 1;
    while (end < lines.length && continuesItem(lines, end, indent)) inner.push(lines[end++]);
    while (inner.length > 1 && isBlank(inner.at(-1))) inner.pop();
    items.push({ checked: item[3] === undefined ? null : item[3] !== " ", blocks: parseLines(outdent(inner, indent), depth + 1) });
  }
  return [{ type: "list", ordered, start: ordered ? parseInt(marker, 10) : 1, items }, end];
}

function continuesItem(lines, at, indent) {
  if (!isBlank(lines[at])) {
    const spaces = lines[at].search(/\S/);
    if (spaces > indent + 1) return true;
    // A line that follows without indentation belongs to the item's paragraph.
    return !isBlank(lines[at - 1]) && !ITEM.test(lines[at]) && !beginsBlock(lines[at], 0);
  }
  const next = lines.slice(at + 1, at + 3).find((line) => !isBlank(line));
  return next !== undefined && next.search(/\S/) > indent + 1;
}

/** An item's lines without the indentation that its continuation lines share. */
function outdent([first, ...rest], indent) {
  const spaces = rest.filter((line) => !isBlank(line)).map((line) => line.search(/\S/));
  const shared = spaces.filter((count) => count > indent).reduce((least, count) => Math.min(least, count), indent + 5);
  return [first, ...rest.map((line) => line.slice(Math.min(shared, Math.max(0, line.search(/\S/)))))];
}

/** The cells of a row. A bar inside code or behind a backslash does not end a cell. */
function cellsOf(line) {
  const cells = [""];
  let code = false;
  for (let at = 0; at < line.length; at++) {
    if (line[at] === "`") code = !code;
    if (line[at] === "\\" && line[at + 1] === "|") cells[cells.length - 1] += line[++at];
    else if (line[at] === "|" && !code) cells.push("");
    else cells[cells.length - 1] += line[at];
  }
  const trimmed = cells.map((cell) => cell.trim());
  if (trimmed[0] === "") trimmed.shift();
  if (trimmed.at(-1) === "") trimmed.pop();
  return trimmed;
}

function parseTable(lines, at) {
  const head = cellsOf(lines[at]);
  const marks = cellsOf(lines[at + 1]);
  if (head.length !== marks.length || head.length === 0) return null;
  const align = marks.map((mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "center" : "right") : "left"));
  const rows = [];
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|") && !isBlank(lines[end])) {
    const cells = cellsOf(lines[end++]);
    rows.push(head.map((_, column) => cells[column] ?? ""));
  }
  return [{ type: "table", head, align, rows }, end];
}

const MARKS = [
  ["***", "strongem"],
  ["___", "strongem"],
  ["**", "strong"],
  ["__", "strong"],
  ["~~", "del"],
  ["*", "em"],
  ["_", "em"],
];
const LINK = /^\[([^[\]]{1,500})\]\(<?(https?:\/\/[^\s<>()]{1,2000}(?:\([^\s<>()]{0,200}\)[^\s<>()]{0,500})?)>?(?:[ \t]+"[^"]{0,200}")?\)/;
const ADDRESS = /^https?:\/\/[^\s<>"'`]{1,2000}/;
const isWord = (letter) => letter !== undefined && /[\p{L}\p{N}]/u.test(letter);

/** The parts of a line of text: strings, and `{ type, ... }` for what is marked. */
function parseInline(text, depth = 0) {
  if (text.length > LONGEST_INLINE || depth > DEEPEST) return [text];
  const parts = [];
  /** Marks that are known to have no end in the rest of the text: each is searched for once. */
  const endless = new Set();
  let plainFrom = 0;
  let at = 0;
  const add = (part, length) => {
    if (at > plainFrom) parts.push(text.slice(plainFrom, at));
    parts.push(part);
    at += length;
    plainFrom = at;
  };
  while (at < text.length) {
    const found = inlineAt(text, at, depth, endless);
    if (found) add(...found);
    else at++;
  }
  if (plainFrom < text.length) parts.push(text.slice(plainFrom));
  return parts;
}

/** What is marked at a place, and how many characters it takes. */
function inlineAt(text, at, depth, endless) {
  switch (text[at]) {
    case "\\":
      return /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "") ? [text[at + 1], 2] : null;
    case "\n":
      return [{ type: "break" }, 1];
    case "`":
      return codeAt(text, at, endless);
    case "[":
      return linkAt(text, at, depth, "");
    case "!":
      return linkAt(text, at, depth, "!");
    case "h":
      return isWord(text[at - 1]) ? null : addressAt(text, at);
    case "*":
    case "_":
    case "~":
      return markAt(text, at, depth, endless);
    default:
      return null;
  }
}

/** A link, or an image after its mark: as a link, since images are not loaded. */
function linkAt(text, at, depth, mark) {
  const from = at + mark.length;
  const link = text[from] === "[" ? LINK.exec(text.slice(from, from + 4000)) : null;
  return link && [{ type: "link", to: link[2], parts: parseInline(link[1], depth + 1) }, mark.length + link[0].length];
}

function codeAt(text, at, endless) {
  const mark = /^`+/.exec(text.slice(at, at + 100))[0];
  const end = endless.has(mark) ? -1 : codeEnd(text, at + mark.length, mark);
  if (end < 0) {
    endless.add(mark);
    return [mark, mark.length];
  }
  const inner = text.slice(at + mark.length, end);
  const padded = inner.length > 2 && inner.startsWith(" ") && inner.endsWith(" ") && !isBlank(inner);
  return [{ type: "code", text: padded ? inner.slice(1, -1) : inner }, end + mark.length - at];
}

/** Where as many backticks are as opened the code, no more and no fewer, or -1. */
function codeEnd(text, from, mark) {
  for (let end = text.indexOf(mark, from); end >= 0; end = text.indexOf(mark, end)) {
    let after = end + mark.length;
    if (text[after] !== "`") return end;
    while (text[after] === "`") after++;
    end = after;
  }
  return -1;
}

function addressAt(text, at) {
  const address = ADDRESS.exec(text.slice(at, at + 2100));
  if (!address) return null;
  // What ends a sentence, or closes a bracket that the address does not open, is no part of it.
  let to = address[0];
  while (".,;:!?*_~".includes(to.at(-1))) to = to.slice(0, -1);
  if (to.endsWith(")") && !to.includes("(")) to = to.slice(0, -1);
  return /^https?:..[^/]/.test(to) ? [{ type: "link", to, parts: [to] }, to.length] : null;
}

function markAt(text, at, depth, endless) {
  for (const [mark, type] of MARKS) {
    if (!text.startsWith(mark, at)) continue;
    const from = at + mark.length;
    if (/^\s|^$/.test(text[from] ?? "") || (mark[0] === "_" && isWord(text[at - 1]))) continue;
    const end = endless.has(mark) ? -1 : markEnd(text, from, mark);
    if (end < 0) {
      endless.add(mark);
      continue;
    }
    const parts = parseInline(text.slice(from, end), depth + 1);
    const part = type === "strongem" ? { type: "strong", parts: [{ type: "em", parts }] } : { type, parts };
    return [part, end + mark.length - at];
  }
  const run = /^[*_~]+/.exec(text.slice(at, at + 100))[0];
  return [run, run.length];
}

/** Where a mark ends that begins before `from`, or -1. */
function markEnd(text, from, mark) {
  for (let end = text.indexOf(mark, from + 1); end >= 0; end = text.indexOf(mark, end + 1)) {
    const after = text[end + mark.length];
    if (/\s|\\/.test(text[end - 1]) || (mark[0] === "_" && isWord(after))) continue;
    // A single mark is not half of a double one.
    if (mark.length === 1 && (after === mark || text[end - 1] === mark)) continue;
    return end;
  }
  return -1;
}

/** Elements of the parts of a line. */
function inlineNodes(text) {
  return partNodes(parseInline(text));
}

function partNodes(parts) {
  return parts.map((part) => {
    if (typeof part === "string") return part;
    if (part.type === "break") return el("br");
    if (part.type === "code") return el("code", { dir: "ltr" }, part.text);
    if (part.type !== "link") return el(part.type, {}, ...partNodes(part.parts));
    return el("a", { href: part.to, target: "_blank", rel: "noopener noreferrer" }, ...partNodes(part.parts));
  });
}

const BLOCKS = {
  // All of one rank, whichever one a model begins with: the page's headings have no gaps for screen readers.
  heading: ({ level, text }) => el("h4", { class: `level${level}` }, ...inlineNodes(text)),
  rule: () => el("hr"),
  paragraph: ({ text }) => el("p", { dir: "auto" }, ...inlineNodes(text)),
  quote: ({ blocks }) => el("blockquote", {}, ...blocks.map(blockNode)),
  code: ({ language, text }) => codeNode(language, text),
  list: ({ ordered, start, items }) =>
    el(ordered ? "ol" : "ul", { start: ordered && start !== 1 ? start : null, dir: "auto" }, ...items.map(itemNode)),
  table: tableNode,
};

const blockNode = (block) => BLOCKS[block.type](block);

function itemNode({ checked, blocks }) {
  const box = checked === null ? [] : [el("span", { class: "box", role: "img", "aria-label": checked ? "done" : "to do" }, checked ? "☑ " : "☐ ")];
  const [first, ...rest] = blocks;
  // A tight item's text needs no paragraph of its own.
  const head = first?.type === "paragraph" ? inlineNodes(first.text) : first ? [blockNode(first)] : [];
  return el("li", { class: checked === null ? null : "task" }, ...box, ...head, ...rest.map(blockNode));
}

function codeNode(language, text) {
  const button = el("button", { type: "button" }, "Copy");
  const code = el("code", {}, text);
  button.addEventListener("click", () => copy(code.textContent, button));
  const title = el("figcaption", {}, el("span", {}, language || "code"), button);
  return el("figure", { class: "code-block" }, title, el("pre", { tabindex: 0, dir: "ltr" }, code));
}

function rowNode(tag, cells, align) {
  return el("tr", {}, ...cells.map((text, column) => el(tag, { class: align[column] }, ...inlineNodes(text))));
}

function tableNode({ head, align, rows }) {
  const body = el("tbody");
  for (const cells of rows) body.append(rowNode("td", cells, align));
  const table = el("table", {}, el("thead", {}, rowNode("th", head, align)), body);
  return el("div", { class: "wide", tabindex: 0 }, table);
}

/** Adds what a block has more than before to its elements, by type. Returns whether they could be kept. */
const GROWTH = {
  code(node, old, { language, text }) {
    if (old.language !== language || !text.startsWith(old.text)) return false;
    node.lastChild.firstChild.append(text.slice(old.text.length));
    return true;
  },
  list(node, old, { ordered, start, items }) {
    if (old.ordered !== ordered || old.start !== start) return false;
    return growParts(node, old.items, items, itemNode);
  },
  table(node, old, block) {
    if (String([old.head, old.align]) !== String([block.head, block.align])) return false;
    return growParts(node.firstChild.lastChild, old.rows, block.rows, (cells) => rowNode("td", cells, block.align));
  },
};

/** Builds the last of the parts again, and those after it: only the end of a text grows. */
function growParts(node, old, parts, build) {
  const kept = Math.min(Math.max(0, old.length - 1), parts.length);
  while (node.childNodes.length > kept) node.lastChild.remove();
  for (const part of parts.slice(kept)) node.append(build(part));
  return true;
}

/** Shows a growing text in `into`. What is complete stays as it is, so that it can be selected while text is added. */
class MarkdownView {
  constructor(into) {
    this.into = into;
    this.text = "";
    /** Where the blocks begin in the text that may still grow. */
    this.from = 0;
    /** Those blocks, with their elements: the last one, or two while the first line of the last is not complete. */
    this.open = [];
  }

  append(text) {
    this.text += plainLines(text);
  }

  draw() {
    const lines = this.text.slice(this.from, LONGEST_MARKDOWN).split("\n");
    const blocks = parseLines(lines, 0);
    blocks.forEach((block, at) => this.show(block, at));
    this.dropFrom(blocks.length);
    // After `2` comes a full stop perhaps, which makes it an item of the list above it.
    const grows = Math.max(0, blocks.length - (blocks.at(-1)?.at === lines.length - 1 ? 2 : 1));
    for (let line = 0; line < (blocks[grows]?.at ?? 0); line++) this.from += lines[line].length + 1;
    this.open.splice(0, grows);
    if (this.text.length > LONGEST_MARKDOWN) this.drawRest();
  }

  /** Shows the block at a place among those that grow: in its old elements if they can be kept. */
  show(block, at) {
    const { block: old, node } = this.open[at] ?? {};
    if (old?.type === block.type && GROWTH[block.type]?.(node, old, block)) this.open[at].block = block;
    else {
      this.dropFrom(at);
      this.open.push({ block, node: blockNode(block) });
      this.into.append(this.open[at].node);
    }
  }

  dropFrom(at) {
    for (const { node } of this.open.splice(at)) node.remove();
  }

  /** Text beyond the limit, without markup. */
  drawRest() {
    this.rest ??= el("p", { class: "plain", dir: "auto" });
    this.into.append(this.rest);
    setText(this.rest, this.text.slice(LONGEST_MARKDOWN));
  }
}
