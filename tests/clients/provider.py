"""A provider that speaks chat completions, embeddings and Anthropic's messages, and no Responses. It calls a tool where it is given
one, and otherwise says what it was asked. Prints its address; stdlib only."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


def text_of(content):
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def events(self, events):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            data = event.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def do_GET(self):
        if self.path == "/v1/models":
            return self.reply(200, {"data": [{"id": "chat-only"}]})
        self.reply(404, {"error": "not found"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.path == "/v1/embeddings" and "input" in body:
            texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
            data = [{"object": "embedding", "index": n, "embedding": [0.5, -1.0]} for n, _ in enumerate(texts)]
            return self.reply(200, {"object": "list", "data": data, "model": body["model"], "usage": USAGE})
        if self.path not in ("/v1/chat/completions", "/v1/messages"):
            return self.reply(404, {"error": {"message": "not found"}})
        if "messages" not in body:
            return self.reply(400, {"error": {"message": "messages are required"}})
        (self.chat if self.path == "/v1/chat/completions" else self.messages)(body)

    def chat(self, body):
        messages = body["messages"]
        last = messages[-1]
        answered = last["role"] == "tool"
        if body.get("tools") and not answered:
            names = [tool["function"]["name"] for tool in body["tools"]]
            calls = [
                {"index": n, "id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": '{"city": "Oslo"}'}}
                for n, name in enumerate(names)
            ]
            message, finish = {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
        else:
            message, finish = {"role": "assistant", "content": "You said: " + text_of(last["content"])}, "stop"
        base = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish}
            return self.reply(200, {**base, "object": "chat.completion", "choices": [choice], "usage": USAGE})

        def chunk(delta, finish=None):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return f"data: {json.dumps({**base, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"

        events = [chunk({"role": "assistant", "content": ""})]
        for call in message.get("tool_calls", []):
            whole = call["function"]["arguments"]
            events.append(chunk({"tool_calls": [{**call, "function": {**call["function"], "arguments": ""}}]}))
            for part in (whole[:5], whole[5:]):
                events.append(chunk({"tool_calls": [{"index": call["index"], "function": {"arguments": part}}]}))
        for word in (message["content"] or "").split(" "):
            events.append(chunk({"content": word + " "}))
        events.append(chunk({}, finish))
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append(f"data: {json.dumps({**base, 'object': 'chat.completion.chunk', 'choices': [], 'usage': USAGE})}\n\n")
        self.events(events + ["data: [DONE]\n\n"])

    def messages(self, body):
        assert self.headers["anthropic-version"], "the version goes along"
        assert not self.headers["x-api-key"], "the client's key does not"
        text = "You said: " + text_of(body["messages"][-1]["content"])
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "stop_sequence": None}
        if not body.get("stream"):
            content = [{"type": "text", "text": text}]
            usage = {"input_tokens": 3, "output_tokens": 5}
            return self.reply(200, {**message, "content": content, "stop_reason": "end_turn", "usage": usage})

        def event(kind, **data):
            return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n"

        start = {**message, "content": [], "stop_reason": None, "usage": {"input_tokens": 3, "output_tokens": 1}}
        block = {"type": "text", "text": ""}
        deltas = [event("content_block_delta", index=0, delta={"type": "text_delta", "text": w + " "}) for w in text.split(" ")]
        stop = event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 5})
        head = [event("message_start", message=start), event("content_block_start", index=0, content_block=block)]
        self.events(head + deltas + [event("content_block_stop", index=0), stop, event("message_stop")])


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
sys.exit(0)
