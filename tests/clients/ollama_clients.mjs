// The npm package `ollama` against rooms. Arguments as in ollama_clients.py.
import { Ollama } from "ollama";

const check = (what, good, seen) => {
  if (!good) throw new Error(`${what}: ${JSON.stringify(seen)}`);
  console.log("ok  ", what);
};
const says = (text) => text.trim() === "You said: Hello there";
const messages = [{ role: "user", content: "Hello there" }];
const parameters = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ type: "function", function: { name: "weather", description: "d", parameters } }];

const refused = async (what, ask, status, text) => {
  const error = await ask().then(() => new Error("it was answered"), (error) => error);
  console.log("says", `${what}: ${error.message}`.slice(0, 300));
  check(`${what} is refused`, error.status_code === status && error.message.includes(text), error);
};

for (const host of process.argv.slice(2)) {
  console.log("    ", host);
  const client = new Ollama({ host });
  const { models } = await client.list();
  check("list", models.map((model) => model.model).join() === "chat-only,small:latest", models);
  check("version", (await client.version()).version.startsWith("0."), models);
  for (const model of ["small", "chat-only"]) {
    const shown = await client.show({ model });
    check(`${model}: show`, shown.capabilities.includes("tools"), shown);
    const whole = await client.chat({ model, messages });
    check(`${model}: chat`, says(whole.message.content) && whole.eval_count === 5, whole);
    let text = "";
    let last;
    for await (const part of await client.chat({ model, messages, stream: true })) {
      text += part.message.content;
      last = part;
    }
    check(`${model}: chat streamed`, says(text) && last.done && last.done_reason === "stop", last);
    const called = await client.chat({ model, messages, tools });
    check(`${model}: tools`, called.message.tool_calls[0].function.arguments.city === "Oslo", called);
    const made = await client.generate({ model, prompt: "Hello there" });
    check(`${model}: generate`, says(made.response), made);
    const { embeddings } = await client.embed({ model, input: ["a", "b"] });
    check(`${model}: embed`, JSON.stringify(embeddings) === "[[0.5,-1],[0.5,-1]]", embeddings);
  }
  await refused("an unknown model", () => client.chat({ model: "none", messages }), 404, "model 'none' not found");
  await refused("pull", () => client.pull({ model: "small" }), 501, "The hub keeps no models");
}
