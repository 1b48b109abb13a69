// The Markdown of the chat, without a browser: what is parsed from usual, hostile and unfinished texts.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { runInNewContext } from "node:vm";

/** The nodes that the script builds. */
class FakeNode {
  constructor(tag) {
    Object.assign(this, { tag, attributes: {}, children: [], parent: null });
  }
  setAttribute(name, value) {
    this.attributes[name] = String(value);
  }
  getAttribute(name) {
    return this.attributes[name] ?? null;
  }
  addEventListener() {}
  append(...children) {
    for (const child of children) {
      child.remove?.();
      if (child instanceof FakeNode) child.parent = this;
      this.children.push(child);
    }
  }
  appendChild(child) {
    this.append(child);
    return child;
  }
  remove() {
    const place = this.parent ? this.parent.children.lastIndexOf(this) : -1;
    if (place >= 0) this.parent.children.splice(place, 1);
    this.parent = null;
  }
  get firstChild() {
    return this.children[0];
  }
  get lastChild() {
    return this.children.at(-1);
  }
  get childNodes() {
    return this.children;
  }
  get textContent() {
    return this.children.map((child) => child.textContent ?? child).join("");
  }
  set textContent(text) {
    this.children = [text];
  }
  /** As markup, so that a test can compare it. */
  get shown() {
    const inner = this.children.map((child) => child.shown ?? child.replace(/[<&]/g, (c) => `&#${c.charCodeAt()};`)).join("");
    const attributes = Object.entries(this.attributes).filter(([name]) => ["href", "start", "class"].includes(name));
    return `<${this.tag}${attributes.map(([name, value]) => ` ${name}=${value}`).join("")}>${inner}</${this.tag}>`;
  }
  *[Symbol.iterator]() {
    yield this;
    for (const child of this.children) if (child instanceof FakeNode) yield* child;
  }
}

const source = ["dom.js", "markdown.js"].map((file) => readFileSync(new URL(`../../src/web/${file}`, import.meta.url), "utf8"));
const page = { document: { createElement: (tag) => new FakeNode(tag) }, performance, setTimeout };
const { parseLines, plainLines, parseInline, MarkdownView, LONGEST_MARKDOWN, LONGEST_INLINE, DEEPEST } = runInNewContext(
  `${source.join("")};({ parseLines, plainLines, parseInline, MarkdownView, LONGEST_MARKDOWN, LONGEST_INLINE, DEEPEST })`,
  page,
);

/** A text as it is shown once all of it has come, in pieces of `size` characters. */
function view(text, size = text.length || 1) {
  const into = new FakeNode("div");
  const shown = new MarkdownView(into);
  for (let at = 0; at < text.length; at += size) {
    shown.append(text.slice(at, at + size));
    shown.draw();
  }
  return into;
}

const shown = (text, size) =>
  view(text, size)
    .children.map((node) => node.shown)
    .join("");
const parseMarkdown = (text) => parseLines(plainLines(text).split("\n"), 0);
const plainOf = (value) => JSON.parse(JSON.stringify(value));

const USUAL = {
  "# One\n## Two ##\n#none": "<h4 class=level1>One</h4><h4 class=level2>Two</h4><p>#none</p>",
  "#": "<h4 class=level1></h4>",
  "a *b* **c** ***d*** ~~e~~ `f`": "<p>a <em>b</em> <strong>c</strong> <strong><em>d</em></strong> <del>e</del> <code>f</code></p>",
  "snake_case_name and 2 * 3 * 4": "<p>snake_case_name and 2 * 3 * 4</p>",
  "**bold with *em* inside**": "<p><strong>bold with <em>em</em> inside</strong></p>",
  "`` `a` `` and `a``b`": "<p><code>`a`</code> and <code>a``b</code></p>",
  "\\*not\\* \\`code\\`": "<p>*not* `code`</p>",
  "one\ntwo": "<p>one<br></br>two</p>",
  "- a\n- b\n  - c\n  - d\n- e": "<ul><li>a</li><li>b<ul><li>c</li><li>d</li></ul></li><li>e</li></ul>",
  "3. a\n4. b": "<ol start=3><li>a</li><li>b</li></ol>",
  "1. a\n\n   more\n\n2. b": "<ol><li>a<p>more</p></li><li>b</li></ol>",
  "- [ ] a\n- [x] b": "<ul><li class=task><span class=box>☐ </span>a</li><li class=task><span class=box>☑ </span>b</li></ul>",
  "> a\n> > b": "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>",
  "---\n***\n- - -": "<hr></hr><hr></hr><hr></hr>",
  "[a](https://a.example/b_(c)) https://b.example/.":
    "<p><a href=https://a.example/b_(c)>a</a> <a href=https://b.example/>https://b.example/</a>.</p>",
  "text\n| a | b |\n|---|--:|\n| `x|y` | 1 \\| 2 |\n| 3 |":
    "<p>text</p><div class=wide><table><thead><tr><th class=left>a</th><th class=right>b</th></tr></thead>" +
    "<tbody><tr><td class=left><code>x|y</code></td><td class=right>1 | 2</td></tr>" +
    "<tr><td class=left>3</td><td class=right></td></tr></tbody></table></div>",
  "![a](https://a.example/b.png)!": "<p><a href=https://a.example/b.png>a</a>!</p>",
  "a | b\nc | d": "<p>a | b<br></br>c | d</p>",
};
for (const [text, want] of Object.entries(USUAL)) {
  assert.equal(shown(text), want, text);
  assert.equal(shown(text, 1), want, `${text}, letter by letter`);
  assert.equal(shown(text.replaceAll("\n", "\r\n")), want, `${text}, with the line ends of Windows`);
}

// Code: its text as it is, with the language, also while the end is missing.
const fenced = (text) => plainOf(parseMarkdown(text)).map(({ type, language, text, closed }) => [type, language, text, closed]);
assert.deepEqual(fenced("```rust,no_run\nfn a() {}\n\n    b\n```\n"), [["code", "rust,no_run", "fn a() {}\n\n    b", true]]);
assert.deepEqual(fenced("````\n```\nin\n```\n````"), [["code", "", "```\nin\n```", true]]);
assert.deepEqual(fenced("~~~ sh\n`x`"), [["code", "sh", "`x`", false]]);
assert.deepEqual(fenced("```not` a fence"), [["paragraph", undefined, "```not` a fence", undefined]]);
assert.deepEqual(plainOf(parseMarkdown("1. a\n   ```\n   b\n     c\n   ```"))[0].items[0].blocks[1].text, "b\n  c");

// What a model may be made to write never becomes markup, a script's address or a request.
const HOSTILE = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "![a](https://evil.example/x.png)",
  "[a](javascript:alert(1))",
  "[a](JaVaScRiPt:alert(1)) [b](data:text/html,x) [c](vbscript:x) [d](//evil.example) [e](\u0001javascript:x)",
  "[a](java\tscript:x) <javascript:x> [a]: javascript:x",
  "<a href='javascript:x'>a</a>",
  '[a](https://a.example" onmouseover="x)',
  "```<img src=x>\n</code></pre><script>x</script>\n```",
  "| <b>a</b> | `</td>` |\n|-|-|\n| <i>b</i> | [x](file:///etc/passwd) |",
  "# <svg onload=x>\n> <iframe src=x>\n- <style>*{display:none}</style>",
  "__proto__ [__proto__](https://a.example) `constructor`\n\n```__proto__\n```\n\n- [x] toString",
];
const TAGS = "div h4 p hr blockquote ul ol li span table thead tbody tr th td figure figcaption button pre code a br em strong del";
const ATTRIBUTES = "class type href target rel dir start tabindex role aria-label";
for (const text of HOSTILE) {
  const root = view(text);
  for (const node of root) {
    assert.ok(TAGS.split(" ").includes(node.tag), `${text}: ${node.tag}`);
    for (const name of Object.keys(node.attributes)) assert.ok(ATTRIBUTES.split(" ").includes(name), `${text}: ${name}`);
    if (node.tag !== "a") continue;
    assert.match(node.attributes.href, /^https?:\/\/[^\s<>"]+$/, text);
    assert.deepEqual([node.attributes.rel, node.attributes.target], ["noopener noreferrer", "_blank"], text);
  }
}
assert.ok(view(HOSTILE[0]).textContent.includes("<script>"), "what is not markup is still shown");
assert.equal([...view(HOSTILE[2])].filter(({ tag }) => tag === "img").length, 0);

// Nesting is bounded, so that no text exhausts the stack.
const depthOf = (node) => 1 + Math.max(0, ...node.children.filter((child) => child instanceof FakeNode).map(depthOf));
const DEEP = [
  "> ".repeat(5000) + "a",
  Array.from({ length: 400 }, (_, depth) => `${"  ".repeat(depth)}- a`).join("\n"),
  "- ".repeat(5000) + "a",
  "*_".repeat(5000) + "a" + "_*".repeat(5000),
  `${"[".repeat(5000)}a${"](https://a.example)".repeat(5000)}`,
  "> - ".repeat(3000) + "a",
];
for (const text of DEEP) assert.ok(depthOf(view(text)) < 8 * DEEPEST, text.slice(0, 20));

// The work grows with the length of a text, not with its square: as a count of steps cannot be had from regular expressions,
// each text is so long that a quadratic parser would take minutes. The runner ends this script long before.
const LONG = LONGEST_MARKDOWN;
const many = (part, count = LONG / part.length) => part.repeat(Math.floor(count));
const SLOW = {
  "spaces in a heading": `# ${many(" ")}x`,
  "closing marks of a heading": `# ${many(" #")}x`,
  "spaces in a fence": `\`\`\`${many(" ")}\``,
  "letters in a fence": `\`\`\`${many("x")}\``,
  "backticks": many("`"),
  "spaces in a divider": `a|b\n-${many(" ")}x`,
  "dashes in a divider": `a|b\n${many("-|")}x`,
  "spaces in a rule": `-${many(" -")}x`,
  "spaces in an item": `-${many(" ")}\u2028`,
  "an item with many lines": `- a\n${many(" b\n")}`,
  "blank lines in an item": `- a\n${many("\n")}b`,
  "many items": many("- a\n"),
  "items apart": many("- a\n\n"),
  "ever deeper items": Array.from({ length: 600 }, (_, depth) => `${" ".repeat(depth)}- a`).join("\n"),
  "many quotes": many("> a\n"),
  "quotes of many quotes": many("> > > > > > > a\n"),
  "a table with many columns": `${many("|a", LONG / 5)}|\n${many("|-", LONG / 5)}|\n`,
  "a table with many rows": `|a|b|\n|-|-|\n${many("|a|b|\n")}`,
  "headings of tables": many("a|b\n-\n"),
  "open fences": many("```a`\n"),
  "lines of pipes": many("|\n"),
  "only marks": many("*", LONGEST_INLINE),
  "marks of two kinds": many("*_", LONGEST_INLINE / 2),
  "marks that begin and do not end": many("*a ", LONGEST_INLINE / 3),
  "marks that end and do not begin": many("a* ", LONGEST_INLINE / 3),
  "all marks": many("***a __b ~~c _d `e ", LONGEST_INLINE / 19),
  "ever longer backticks": Array.from({ length: 190 }, (_, n) => "`".repeat(n + 1)).join(" "),
  "open brackets": many("[", LONGEST_INLINE),
  "links that do not end": many("[a](https://a", LONGEST_INLINE / 13),
  "brackets in links": many("[a](https://a(b", LONGEST_INLINE / 15),
  "addresses": many("https://", LONGEST_INLINE / 8),
  "dots after addresses": many(`https://a${".".repeat(1900)}x `, LONGEST_INLINE / 1912),
  "backslashes": many("\\", LONGEST_INLINE),
  "paragraphs": many("*a*\n\n"),
  "line ends of Windows": many("- a\r\n"),
};
const times = [];
for (const [what, text] of Object.entries(SLOW)) {
  const began = performance.now();
  const nodes = view(text, 50000);
  times.push([Math.round(performance.now() - began), what]);
  assert.ok(nodes.children.length > 0, what);
}

// A text in pieces is shown like the whole, wherever it is cut.
const ALL = Object.keys(USUAL).join("\n\n") + "\n\n```js\nlet a = 1;\n```\n\nend\r\n";
for (const size of [1, 2, 3, 7, 50]) assert.equal(shown(ALL, size), shown(ALL), `in pieces of ${size}`);

// What is complete is not built again while the text grows.
let built = 0;
page.document.createElement = (tag) => ((built += 1), new FakeNode(tag));
const blocks = 500;
const growing = new MarkdownView(new FakeNode("div"));
for (let at = 0; at < blocks; at++) {
  growing.append(`Paragraph *${at}*\n\n`);
  growing.draw();
}
assert.ok(built < blocks * 8, `${built} elements for ${blocks} paragraphs`);
built = 0;
const listing = new MarkdownView(new FakeNode("div"));
for (let at = 0; at < blocks; at++) {
  listing.append(`- item ${at}\n`);
  listing.draw();
}
assert.ok(built < blocks * 8, `${built} elements for a list of ${blocks} items`);

// Beyond the limits a text is shown as it is, and all of it.
const over = `${many("word ")}*tail*`;
assert.ok(view(over).textContent.endsWith("*tail*"));
assert.equal(view(over, 9000).textContent, view(over).textContent);
assert.deepEqual(plainOf(parseInline("*a*".repeat(LONGEST_INLINE))).length, 1);

if (process.env.TIMES) console.log(times.sort((a, b) => b[0] - a[0]).slice(0, 12));
console.log("all texts parsed");
