// Code examples for the open room. They name secrets by variable or file and contain no untrusted names. Each is a list
// of lines, since the minifier removes indentation.

/** The environment variable that holds the API key for this room. */
function credential() {
  if (isPrivate(state.room)) return "GAMBI_ROOM_PASSWORD";
  return secrets.get("key") ? "GAMBI_HUB_KEY" : null;
}

const QUESTION = '"messages": [{"role": "user", "content": "Hello!"}]';

const SNIPPETS = {
  curl: (base, variable) => [
    `curl -N ${base}/chat/completions \\`,
    ...(variable ? [`  -H "Authorization: Bearer $${variable}" \\`] : []),
    "  -H 'Content-Type: application/json' \\",
    `  -d '{"model": "any", "stream": true, ${QUESTION}}'`,
  ],

  Python: (base, variable) => [
    ...(variable ? ["import os"] : []),
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url="${base}", api_key=${variable ? `os.environ["${variable}"]` : '"unused"'})`,
    "chat = client.chat.completions.create(",
    '    model="any", messages=[{"role": "user", "content": "Hello!"}])',
    "print(chat.choices[0].message.content)",
  ],

  JavaScript: (base, variable) => [
    `const response = await fetch("${base}/chat/completions", {`,
    '  method: "POST",',
    "  headers: {",
    '    "Content-Type": "application/json",',
    ...(variable ? [`    Authorization: \`Bearer \${process.env.${variable}}\`,`] : []),
    "  },",
    `  body: JSON.stringify({ "model": "any", ${QUESTION} }),`,
    "});",
    "const chat = await response.json();",
    "console.log(chat.choices[0].message.content);",
  ],

  Join: () => [
    `gambi join --hub ${url("").replace(/\/$/, "")} --room ${state.room} \\`,
    ...(secrets.get("key") ? ["  --key-file hub.key \\"] : []),
    ...(state.rooms.get(state.room).passwordProtected ? ["  --password-file room.password \\"] : []),
    "  --participant-id my-machine --model llama3 --endpoint http://localhost:11434",
  ],
};

let snippetKind = "curl";

function drawSnippet() {
  setText($("snippet"), SNIPPETS[snippetKind](url(`rooms/${state.room}/v1`), credential()).join("\n"));
  $("snippet").setAttribute("aria-label", `Example: ${snippetKind}`);
}

$("snippets").append(
  ...Object.keys(SNIPPETS).map((kind) => {
    const input = el("input", { type: "radio", name: "snippet", value: kind, checked: kind === snippetKind });
    input.addEventListener("change", () => {
      snippetKind = kind;
      drawSnippet();
    });
    return el("label", {}, input, el("span", {}, kind === "Join" ? "gambi join" : kind));
  }),
);
$("snippet-copy").addEventListener("click", () => copy($("snippet").textContent, $("snippet-copy")));
