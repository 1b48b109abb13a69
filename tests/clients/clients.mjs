// The npm packages `openai` and `ai` (with its two adapters) against a room. Arguments as in clients.py.
import OpenAI from "openai";
import { generateText, streamText, tool, jsonSchema } from "ai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createOpenResponses } from "@ai-sdk/open-responses";

const [base, native, chatOnly] = process.argv.slice(2);
const check = (what, good, seen) => {
  if (!good) throw new Error(`${what}: ${JSON.stringify(seen)}`);
  console.log("ok  ", what);
};
const says = (text) => text.trim().endsWith("Hello there");

const client = new OpenAI({ baseURL: base, apiKey: "unused", maxRetries: 0 });
const messages = [{ role: "user", content: "Hello there" }];
for (const who of [native, chatOnly]) {
  const response = await client.responses.create({ model: who, input: "Hello there" });
  check(`${who}: response`, says(response.output_text), response);
  let text = "";
  let last;
  for await (const event of await client.responses.create({ model: who, input: "Hello there", stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event;
  }
  check(`${who}: response streamed`, says(text) && last.type === "response.completed", last);
  text = "";
  for await (const chunk of await client.chat.completions.create({ model: who, messages, stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? "";
  }
  check(`${who}: chat streamed`, says(text), text);
}
const parameters = { type: "object", properties: { city: { type: "string" } } };
const called = await client.responses.create({
  model: chatOnly, input: "Weather?", tools: [{ type: "function", name: "weather", parameters, strict: false }],
});
check("tools", called.output[0].name === "weather" && JSON.parse(called.output[0].arguments).city === "Oslo", called);

const compatible = createOpenAICompatible({ name: "room", baseURL: base });
const responses = createOpenResponses({ name: "room", url: `${base}/responses`, apiKey: "unused" });
for (const [name, model] of [["openai-compatible", compatible(chatOnly)], ["open-responses", responses(chatOnly)]]) {
  const whole = await generateText({ model, prompt: "Hello there" });
  check(`ai, ${name}`, says(whole.text), whole.text);
  const stream = streamText({ model, prompt: "Hello there" });
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  check(`ai, ${name}: streamed`, says(text), text);
  const tools = { weather: tool({ description: "d", inputSchema: jsonSchema(parameters) }) };
  const result = await generateText({ model, prompt: "Weather?", tools });
  check(`ai, ${name}: tools`, result.toolCalls[0]?.input?.city === "Oslo", result.toolCalls);
}

// What a client's user is shown of a refused request: the hub's sentence, not only a status.
const refused = async (name, ask) => {
  const error = await ask().then(() => new Error("it was answered"), (error) => error);
  console.log("says", `${name}: ${error.message}`.slice(0, 300));
  check(`${name}: a refusal is told`, error.message.includes("No available participant"), error);
};
await refused("openai", () => client.chat.completions.create({ model: "none", messages }));
await refused("openai-compatible", () => generateText({ model: compatible("none"), messages, maxRetries: 0 }));
await refused("open-responses", () => generateText({ model: responses("none"), messages, maxRetries: 0 }));
