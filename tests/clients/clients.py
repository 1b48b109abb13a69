"""The Python packages `openai`, `anthropic` and `litellm` against a room. Arguments: the room's base URL, the id of a
participant with Responses of its own, the id of one that only chats."""

import sys

import anthropic
import litellm
from openai import BadRequestError, OpenAI

base, native, chat_only = sys.argv[1:4]
client = OpenAI(base_url=base, api_key="unused", max_retries=0)
tool = {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
clock = {**tool, "name": "clock"}
ask = [{"role": "user", "content": "Hello there"}]


def check(what, good, seen):
    assert good, f"{what}: {seen}"
    print("ok  ", what)


for who in (native, chat_only):
    response = client.responses.create(model=who, input="Hello there", instructions="Be brief.")
    check(f"{who}: response", response.output_text.strip().endswith("Hello there") and response.status == "completed", response)
    check(f"{who}: usage", response.usage.total_tokens > 0, response.usage)
    events = list(client.responses.create(model=who, input=ask, stream=True))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    last = events[-1]
    check(f"{who}: response streamed", text.strip().endswith("Hello there") and last.type == "response.completed", events)
    check(f"{who}: the stream's parts agree", last.response.output_text == text, last)
    with client.responses.stream(model=who, input="Hello there") as stream:
        final = stream.get_final_response()
    check(f"{who}: the package's own accumulation", final.output_text.strip().endswith("Hello there"), final)
    chat = client.chat.completions.create(model=who, messages=ask)
    check(f"{who}: chat", chat.choices[0].message.content.strip().endswith("Hello there"), chat)

tools = [{"type": "function", **t} for t in (tool, clock)]
response = client.responses.create(model=chat_only, input="Weather?", tools=tools)
calls = [item for item in response.output if item.type == "function_call"]
check("tools in parallel", [c.name for c in calls] == ["weather", "clock"] and calls[0].arguments == '{"city": "Oslo"}', response)
history = [{"role": "user", "content": "Weather?"}] + [c.model_dump() for c in calls]
history += [{"type": "function_call_output", "call_id": c.call_id, "output": "It rains."} for c in calls]
answer = client.responses.create(model=chat_only, input=history, tools=tools)
check("what the tools said goes back", answer.output_text == "You said: It rains.", answer)
events = list(client.responses.create(model=chat_only, input="Weather?", tools=tools, stream=True))
done = [e for e in events if e.type == "response.function_call_arguments.done"]
check("tools streamed", [e.arguments for e in done] == ['{"city": "Oslo"}'] * 2, events)
chat_tools = [{"type": "function", "function": tool}]
chunks = list(client.chat.completions.create(model=chat_only, messages=ask, tools=chat_tools, stream=True))
pieces = [c.choices[0].delta.tool_calls[0].function.arguments for c in chunks if c.choices and c.choices[0].delta.tool_calls]
check("tools in a streamed chat", "".join(p or "" for p in pieces) == '{"city": "Oslo"}', chunks)
try:
    client.responses.create(model=chat_only, input="x", previous_response_id="resp_1")
    check("what a chat cannot do is refused", False, "it was answered")
except BadRequestError as error:
    check("what a chat cannot do is refused", "previous_response_id" in error.response.text, error)

claude = anthropic.Anthropic(base_url=base.removesuffix("/v1"), api_key="unused", max_retries=0)
message = claude.messages.create(model=chat_only, max_tokens=9, messages=ask)
check("anthropic", message.content[0].text == "You said: Hello there", message)
with claude.messages.stream(model=chat_only, max_tokens=9, messages=ask) as stream:
    text = "".join(stream.text_stream)
check("anthropic streamed", text.strip() == "You said: Hello there", text)

lite = {"api_base": base, "api_key": "unused"}
answer = litellm.completion(model=f"openai/{chat_only}", messages=ask, **lite)
check("litellm", answer.choices[0].message.content == "You said: Hello there", answer)
pieces = [c.choices[0].delta.content or "" for c in litellm.completion(model=f"openai/{chat_only}", messages=ask, stream=True, **lite)]
check("litellm streamed", "".join(pieces).strip() == "You said: Hello there", pieces)


def refused(name, ask):
    """What a client's user is shown of a refused request: it must be the hub's sentence, not only a status."""
    try:
        ask()
    except Exception as error:
        print("says", f"{name}: {error}"[:300])
        return check(f"{name}: a refusal is told", "No available participant" in str(error), repr(error))
    check(f"{name}: a refusal is told", False, "it was answered")


refused("openai", lambda: client.chat.completions.create(model="none", messages=ask))
refused("openai, responses", lambda: client.responses.create(model="none", input="x"))
refused("anthropic", lambda: claude.messages.create(model="none", max_tokens=9, messages=ask))
refused("litellm", lambda: litellm.completion(model="openai/none", messages=ask, **lite))
