"""The eight HTTP create requests of Open Responses' compliance runner, whole and streamed, checked against the published
schema as the package openresponses-types has it. Usage: open_responses.py BASE MODEL, BASE ending in /v1."""

import json
import sys
import urllib.request

from openresponses_types import types

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather of a place",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}


def message(role, content):
    return {"type": "message", "role": role, "content": content}


IMAGE = [{"type": "input_text", "text": "What is in this image?"}, {"type": "input_image", "image_url": PIXEL}]
# Name, input, tools, streamed.
CASES = [
    ("basic", [message("user", "Say hello.")], [], False),
    ("streamed", [message("user", "Count to 5.")], [], True),
    ("system prompt", [message("system", "Speak like a pirate."), message("user", "Say hello.")], [], False),
    ("tool", [message("user", "How is the weather in Oslo?")], [WEATHER], False),
    ("tool, streamed", [message("user", "How is the weather in Oslo?")], [WEATHER], True),
    ("image", [message("user", IMAGE)], [], False),
    ("several turns", [message("user", "I am Ada."), message("assistant", "Hello, Ada."), message("user", "Who am I?")], [], False),
    ("several turns, streamed", [message("user", "I am Ada."), message("assistant", "Hello."), message("user", "Who?")], [], True),
]


def event_models():
    """Each streamed event's model by its type."""
    models = {}
    for name in dir(types):
        if name.endswith("StreamingEvent"):
            model = getattr(types, name)
            (kind,) = list(model.model_fields["type"].annotation)
            models[kind.value] = model
    return models


MODELS = event_models()


def post(base, body):
    request = urllib.request.Request(base + "/responses", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return response.read().decode()


def events(text):
    for block in text.split("\n\n"):
        lines = [line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":")]
        fields = dict(lines)
        if fields.get("data", "[DONE]") != "[DONE]":
            data = json.loads(fields["data"])
            assert fields["event"] == data["type"], fields
            yield data


def check_stream(text):
    """Every event has its schema's shape, and they are numbered without a gap; gives the final response."""
    seen = list(events(text))
    assert [event["sequence_number"] for event in seen] == list(range(len(seen))), [e["sequence_number"] for e in seen]
    for event in seen:
        MODELS[event["type"]].model_validate(event)
    kinds = [event["type"] for event in seen]
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed", kinds
    return seen[-1]["response"], kinds


def run(base, model, case):
    name, given, tools, stream = case
    text = post(base, {"model": model, "input": given, "stream": stream, **({"tools": tools} if tools else {})})
    response, kinds = check_stream(text) if stream else (json.loads(text), [])
    types.ResponseResource.model_validate(response)
    missing = types.ResponseResource.model_fields.keys() - response.keys()
    assert not missing, f"{name}: {missing} are missing"
    assert response["status"] == "completed" and response["output"], response
    if tools:
        (call,) = [item for item in response["output"] if item["type"] == "function_call"]
        assert call["name"] == "get_weather" and json.loads(call["arguments"]), call
        assert response["tools"][0]["strict"] in (None, True, False), response["tools"]
        wanted = ["response.function_call_arguments.delta", "response.function_call_arguments.done"]
        assert not stream or all(kind in kinds for kind in wanted), kinds


for one in CASES:
    try:
        run(sys.argv[1], sys.argv[2], one)
    except Exception as error:
        raise SystemExit(f"{one[0]}: {error}") from error
print(f"{len(CASES)} passed")
