"""A provider that speaks Ollama's own API, and nothing else. It calls a tool where it is given one, and otherwise says what it
was asked. Prints its address; stdlib only."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "small:latest"
DETAILS = {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "1B", "quantization_level": "Q4_0"}
LISTED = {"name": MODEL, "model": MODEL, "modified_at": "2026-01-02T03:04:05Z", "size": 7, "digest": "0" * 64, "details": DETAILS}
COUNTS = {"total_duration": 9, "load_duration": 1, "prompt_eval_count": 3, "prompt_eval_duration": 2, "eval_count": 5, "eval_duration": 6}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def lines(self, lines):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            data = json.dumps(line).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def do_GET(self):
        known = {
            "/api/version": {"version": "0.13.0"},
            "/api/tags": {"models": [LISTED]},
            "/api/ps": {"models": [{**LISTED, "expires_at": "2026-01-02T03:09:05Z", "size_vram": 7}]},
        }
        self.reply(200, known[self.path]) if self.path in known else self.reply(404, {"error": "not found"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        route = {"/api/chat": self.chat, "/api/generate": self.generate, "/api/embed": self.embed}
        route |= {"/api/embeddings": self.embeddings, "/api/show": self.show}
        if self.path not in route:
            return self.reply(404, {"error": "not found"})
        if body.get("model") not in (MODEL, MODEL.removesuffix(":latest")):
            return self.reply(404, {"error": f"model '{body.get('model')}' not found"})
        route[self.path](body)

    def say(self, body, pieces, wrap, end):
        """Pieces of an answer, as lines or together."""
        base = {"model": body["model"], "created_at": "2026-01-02T03:04:05.678901Z"}
        if body.get("stream", True):
            lines = [{**base, **wrap(piece), "done": False} for piece in pieces]
            return self.lines([*lines, {**base, **wrap(""), **end, "done": True, **COUNTS}])
        self.reply(200, {**base, **wrap("".join(pieces)), **end, "done": True, **COUNTS})

    def chat(self, body):
        last = body["messages"][-1]
        calls = [{"function": {"name": t["function"]["name"], "arguments": {"city": "Oslo"}}} for t in body.get("tools") or []]
        if calls and last["role"] != "tool":
            message = {"role": "assistant", "content": "", "tool_calls": calls}
            base = {"model": body["model"], "created_at": "2026-01-02T03:04:05Z", "message": message}
            end = {**base, "done": True, "done_reason": "stop", **COUNTS}
            return self.lines([{**base, "done": False}, {**end, "message": {"role": "assistant", "content": ""}}]) if body.get("stream", True) else self.reply(200, end)
        words = ["You said: ", *(word + " " for word in last["content"].split(" "))]
        self.say(body, words, lambda text: {"message": {"role": "assistant", "content": text}}, {"done_reason": "stop"})

    def generate(self, body):
        self.say(body, ["You said: ", body["prompt"]], lambda text: {"response": text}, {"done_reason": "stop", "context": [1, 2]})

    def embed(self, body):
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        self.reply(200, {"model": body["model"], "embeddings": [[0.5, -1.0] for _ in texts], "total_duration": 9, "prompt_eval_count": 3})

    def embeddings(self, _):
        self.reply(200, {"embedding": [0.5, -1.0]})

    def show(self, _):
        self.reply(200, {"details": DETAILS, "model_info": {"general.architecture": "llama"}, "capabilities": ["completion", "tools"]})


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
