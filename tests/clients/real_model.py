"""A real model server (llama-cpp-python, with a tiny random model) in a room, asked by the `openai` package. Arguments: the
room's base URL."""

import sys

from openai import OpenAI

client = OpenAI(base_url=sys.argv[1], api_key="unused", max_retries=0)
ask = [{"role": "user", "content": "Hello"}]


def check(what, good, seen):
    assert good, f"{what}: {seen}"
    print("ok  ", what)


chat = client.chat.completions.create(model="tiny", messages=ask, max_tokens=8, temperature=0)
check("chat", chat.usage.completion_tokens > 0 and chat.choices[0].finish_reason == "length", chat)
chunks = list(client.chat.completions.create(model="any", messages=ask, max_tokens=8, temperature=0, stream=True))
text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
check("chat streamed", text == chat.choices[0].message.content, text)
response = client.responses.create(model="any", input="Hello", max_output_tokens=8, temperature=0)
check("response", response.status == "incomplete" and response.output_text == text, response)
events = list(client.responses.create(model="any", input="Hello", max_output_tokens=8, temperature=0, stream=True))
streamed = "".join(e.delta for e in events if e.type == "response.output_text.delta")
check("response streamed", streamed == text and events[-1].type == "response.incomplete", events)
completion = client.completions.create(model="any", prompt="Hello", max_tokens=4)
check("completion", completion.choices[0].finish_reason == "length", completion)
