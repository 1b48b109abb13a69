#!/usr/bin/env python3
"""How the hub's cost grows, in instructions (valgrind's callgrind), so that other load does not matter.

    tests/bench/growth.py GAMBI [participants|watchers|rooms|line ...]

GAMBI needs symbols only for reading callgrind's own reports; `cargo build --profile load` has them. The slope is the exponent
between the last two counts: 0 is flat, 1 is linear. The cost of an idle hub in the same time is not subtracted.
"""
import json, math, os, re, socket, subprocess, sys, tempfile, time

ROOM, ADMIT = "BENCH2", ["--max-connections", "8192", "--registry-memory", "1GiB"]
CHAT = json.dumps({"model": "any", "messages": [{"role": "user", "content": "hi"}]})
COUNTS = {"participants": [1, 10, 100, 1000], "watchers": [10, 100, 400], "rooms": [1, 100, 1000, 10000], "line": [1, 10, 100, 400]}
REPEATS = 20


class Conn:
    def __init__(self, port):
        self.port, self.socket = port, socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, method, path, body=""):
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n"
        self.socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())

    def call(self, method, path, body=""):
        self.send(method, path, body)
        answer = b""
        while True:
            head, end, rest = answer.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.I)
            if end and len(rest) >= (int(length[1]) if length else 0):
                return rest
            piece = self.socket.recv(1 << 16)
            if not piece:
                raise OSError(f"{method} {path}: the hub closed the connection")
            answer += piece


class Lab:
    """A hub under callgrind, and the echo provider."""

    def __init__(self, gambi):
        self.dir = tempfile.TemporaryDirectory()
        tool = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--max-threads=4096", "--quiet"]
        tool.append(f"--callgrind-out-file={self.dir.name}/out")
        serve = ["hub", "serve", "--host", "127.0.0.1", "--port", "0", "--log-level", "off", "--format", "ndjson"]
        self.processes = []
        started = self.start(tool + [gambi] + serve + ["--room", f"{ROOM}=bench"] + ADMIT)
        self.port = int(re.search(r'"hubUrl":"http://[^":]+:(\d+)', started)[1])
        self.provider = re.search(r"http://[^/\"\s]+", self.start([gambi, "provider", "--port", "0"]))[0]
        self.conn, self.dumps, self.kept = Conn(self.port), 0, []

    def start(self, args):
        process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.processes.append(process)
        return process.stdout.readline()

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()

    def control(self, *args):
        subprocess.run(["callgrind_control", *args, str(self.processes[0].pid)], check=True, capture_output=True)

    def cost(self, action, repeats=REPEATS):
        """Instructions of one action, all of the hub's threads together."""
        action()
        self.control("-i", "on")
        self.control("-z")
        for _ in range(repeats):
            action()
        self.control("-d")
        self.control("-i", "off")
        self.dumps += 1
        text = open(f"{self.dir.name}/out.{self.dumps}").read()
        return int(re.search(r"^(?:totals|summary): (\d+)", text, re.M)[1]) // repeats

    def join(self, number, concurrency=4096):
        body = {"id": f"p{number}", "nickname": f"p{number}", "model": "echo", "endpoint": self.provider}
        self.conn.call("POST", f"/rooms/{ROOM}/join", json.dumps(body | {"concurrency": concurrency}))

    def grow(self, kind, before, count):
        for number in range(before, count):
            if kind == "participants":
                self.join(number)
            elif kind == "rooms" and number > 0:
                self.conn.call("POST", "/v1/rooms", json.dumps({"name": "r"}))
            elif kind in ("watchers", "line"):
                conn = Conn(self.port)
                self.kept.append(conn)
                if kind == "watchers":
                    conn.send("GET", f"/v1/rooms/{ROOM}/events")
                    conn.socket.recv(1 << 12)
                else:
                    conn.send("POST", f"/rooms/{ROOM}/v1/chat/completions", CHAT.replace("any", "model:held"))
        if kind == "line":
            while json.loads(self.conn.call("GET", f"/v1/rooms/{ROOM}/metrics"))["data"]["queued"] < count:
                time.sleep(0.1)

    def measure(self):
        call = lambda *args: lambda: self.conn.call(*args)
        return {
            "chat": self.cost(call("POST", f"/rooms/{ROOM}/v1/chat/completions", CHAT)),
            "pick by id": self.cost(call("POST", f"/rooms/{ROOM}/v1/chat/completions", CHAT.replace("any", "p0"))),
            "event": self.cost(lambda: self.join(0)),
            "scrape": self.cost(call("GET", "/metrics"), 3),
            "room's metrics": self.cost(call("GET", f"/v1/rooms/{ROOM}/metrics"), 3),
        }


def hold(lab):
    """A participant of another model with one slot, which a provider that never answers keeps."""
    silent = socket.create_server(("127.0.0.1", 0))
    body = {"id": "held", "nickname": "h", "model": "held", "endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}"}
    lab.conn.call("POST", f"/rooms/{ROOM}/join", json.dumps(body | {"concurrency": 1}))
    first = Conn(lab.port)
    first.send("POST", f"/rooms/{ROOM}/v1/chat/completions", CHAT.replace("any", "model:held"))
    lab.kept += [silent, first]
    silent.accept()


def main(gambi, kinds):
    for kind in kinds:
        lab, rows, before = Lab(gambi), [], 0
        try:
            lab.join(0)
            if kind == "line":
                hold(lab)
            for count in COUNTS[kind]:
                lab.grow(kind, before, count)
                before = count
                rows.append((count, lab.measure()))
        finally:
            lab.close()
        print(f"{kind:16}" + "".join(f"{count:>12,}" for count, _ in rows) + "       slope")
        for name in rows[0][1]:
            costs = [costs[name] for _, costs in rows]
            slope = math.log(costs[-1] / costs[-2]) / math.log(rows[-1][0] / rows[-2][0])
            print(f"{name:16}" + "".join(f"{cost:>12,}" for cost in costs) + f"{slope:12.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or list(COUNTS))
