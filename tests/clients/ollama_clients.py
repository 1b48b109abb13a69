"""The Python package `ollama`, and the command `llm` with its plugin `llm-ollama`, which speak Ollama's API only. Arguments:
the servers that they are to take, one after the other. Each has the models `small:latest`, whose provider is Ollama, and
`chat-only`, whose provider only chats."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ollama import Client, ResponseError

ASK = [{"role": "user", "content": "Hello there"}]
TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
# A picture of one pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def check(what, good, seen):
    assert good, f"{what}: {seen}"
    print("ok  ", what)


def refused(what, ask, status, text):
    try:
        answer = ask()
    except ResponseError as error:
        print("says", f"{what}: {error}"[:300])
        return check(f"{what} is refused", error.status_code == status and text in error.error, repr(error))
    check(f"{what} is refused", False, answer)


def package(server):
    client = Client(host=server)
    names = [model.model for model in client.list().models]
    check("list", names == ["chat-only", "small:latest"], names)
    loaded = [model.model for model in client.ps().models]
    check("ps", loaded == ["small:latest"], loaded)
    for model in ("small", "chat-only"):
        shown = client.show(model)
        check(f"{model}: show", {"completion", "tools"} <= set(shown.capabilities), shown)
        chat = client.chat(model, messages=ASK, options={"num_predict": 9, "temperature": 0}, keep_alive="5m")
        check(f"{model}: chat", chat.message.content.strip() == "You said: Hello there" and chat.done_reason == "stop", chat)
        check(f"{model}: counts", (chat.prompt_eval_count, chat.eval_count) == (3, 5), chat)
        parts = list(client.chat(model, messages=ASK, stream=True))
        text = "".join(part.message.content for part in parts)
        check(f"{model}: chat streamed", text.strip() == "You said: Hello there" and parts[-1].done and len(parts) > 3, parts)
        called = client.chat(model, messages=ASK, tools=[TOOL]).message
        check(f"{model}: tools", called.tool_calls[0].function.arguments == {"city": "Oslo"}, called)
        parts = list(client.chat(model, messages=ASK, tools=[TOOL], stream=True))
        calls = [call for part in parts for call in part.message.tool_calls or []]
        check(f"{model}: tools streamed", [call.function.name for call in calls] == ["weather"], parts)
        history = [*ASK, called, {"role": "tool", "tool_name": "weather", "content": "It rains."}]
        answer = client.chat(model, messages=history, tools=[TOOL]).message.content
        check(f"{model}: what the tool said goes back", answer.strip() == "You said: It rains.", answer)
        seen = client.chat(model, messages=[{**ASK[0], "images": [PIXEL]}], format=SCHEMA, think=False)
        check(f"{model}: images, format and think", seen.message.content.strip() == "You said: Hello there", seen)
        made = client.generate(model, "Hello there")
        check(f"{model}: generate", made.response.strip() == "You said: Hello there" and made.done, made)
        text = "".join(part.response for part in client.generate(model, "Hello there", stream=True))
        check(f"{model}: generate streamed", text.strip() == "You said: Hello there", text)
        vectors = client.embed(model, ["a", "b"]).embeddings
        check(f"{model}: embed", [list(vector) for vector in vectors] == [[0.5, -1.0]] * 2, vectors)
        vector = list(client.embeddings(model, "a").embedding)
        check(f"{model}: embeddings", vector == [0.5, -1.0], vector)
    refused("an unknown model", lambda: client.chat("none", messages=ASK), 404, "model 'none' not found")
    refused("an unknown model, streamed", lambda: list(client.chat("none", messages=ASK, stream=True)), 404, "this room has")
    refused("pull", lambda: client.pull("small"), 501, "The hub keeps no models")
    refused("pull, streamed", lambda: list(client.pull("small", stream=True)), 501, "The hub keeps no models")
    refused("delete", lambda: client.delete("small"), 501, "The hub keeps no models")
    refused("copy", lambda: client.copy("small", "other"), 501, "The hub keeps no models")


def program(server):
    llm = Path(sys.executable).with_name("llm")
    with tempfile.TemporaryDirectory() as home:
        here = {**os.environ, "OLLAMA_HOST": server, "HOME": home, "LLM_USER_PATH": home, "XDG_CACHE_HOME": home}

        def run(*args):
            ran = subprocess.run([llm, *args], env=here, capture_output=True, text=True, timeout=120)
            assert ran.returncode == 0, f"llm {args}: {ran.stdout}{ran.stderr}"
            return ran.stdout

        models = run("models", "list")
        check("llm: models", "ollama/small:latest" in models and "ollama/chat-only" in models, models)
        for model in ("small", "chat-only"):
            for way in ([], ["--no-stream"]):
                said = run("-m", f"ollama/{model}", *way, "Hello there")
                check(f"llm: {model} {way}", said.strip() == "You said: Hello there", said)


for server in sys.argv[1:]:
    print("    ", server)
    package(server)
    program(server)
