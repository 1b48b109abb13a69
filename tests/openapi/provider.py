"""A provider that takes whatever it is sent, and keeps the responses that it makes until they are deleted.

The description of the hub's API says what the hub asks of a request, not what a provider does: so this one asks nothing.
It prints its address, and ends when its stdin does.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

kept = {}


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, value):
        self.send(status, "application/json", json.dumps(value).encode())

    def send(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def earlier(self):
        """The response that a path is about, and what follows it."""
        id, _, rest = urlsplit(self.path).path.removeprefix("/v1/responses/").partition("/")
        return unquote(id), rest

    def unknown(self):
        self.answer(404, {"error": {"message": "no such response", "type": "invalid_request_error"}})

    def do_GET(self):
        if self.path == "/v1/models":
            return self.answer(200, {"object": "list", "data": [{"id": "m", "object": "model"}]})
        if self.path == "/api/version":
            return self.answer(200, {"version": "0.12.0"})
        if self.path == "/api/tags":
            return self.answer(200, {"models": [{"name": "m"}]})
        id, rest = self.earlier()
        if id not in kept:
            return self.unknown()
        self.answer(200, {"object": "list", "data": []} if rest else kept[id])

    def do_DELETE(self):
        id, _ = self.earlier()
        if kept.pop(id, None) is None:
            return self.unknown()
        self.answer(200, {"id": id, "object": "response", "deleted": True})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        id, rest = self.earlier()
        if rest == "cancel":
            return self.answer(200, kept[id]) if id in kept else self.unknown()
        made = {"id": f"resp_{os.urandom(12).hex()}", "object": "response", "status": "completed", "model": "m", "output": []}
        if urlsplit(self.path).path == "/v1/responses":
            kept[made["id"]] = made
        if body.get("stream") is True:
            events = [{"type": "response.created", "response": made}, {"choices": [], "usage": {"total_tokens": 3}}]
            text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
            return self.send(200, "text/event-stream", text.encode())
        self.answer(200, made)


server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{server.server_port}", flush=True)
sys.stdin.read()
