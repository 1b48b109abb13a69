#!/usr/bin/env python3
"""How the hub's cost grows, in instructions (valgrind's callgrind), so that other load does not matter.

    tests/bench/growth.py GAMBI [participants|watchers|rooms|line ...]

GAMBI needs symbols only for reading callgrind's own reports; `cargo build --profile load` has them. The slope is the exponent
between the last two counts: 0 is flat, 1 is linear. The cost of an idle hub in the same time is not subtracted.
"""
import json, math, re, resource, socket, subprocess, sys, tempfile, time

ROOM, ADMIT = "BENCH2", ["--max-connections", "8192", "--registry-memory", "1GiB", "--queue-limit", "4096", "--queue-timeout", "3600s"]
CHAT = json.dumps({"model": "any", "messages": [{"role": "user", "content": "hi"}]})
COUNTS = {"participants": [1, 10, 100, 1000], "watchers": [10, 100, 1000, 2000],
          "rooms": [1, 100, 1000, 10000], "line": [0, 10, 100, 1000]}
REPEATS = 20


class Conn:
    def __init__(self, port):
        self.port, self.socket = port, socket.create_connection(("127.0.0.1", port), timeout=60)
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
        self.conn, self.dumps, self.joined, self.kept, self.held = Conn(self.port), 0, 0, [], None

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
        self.renew()
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
        self.joined = max(self.joined, number + 1)
        body = {"id": f"p{number}", "nickname": f"p{number}", "model": "echo", "endpoint": self.provider}
        self.conn.call("POST", f"/rooms/{ROOM}/join", json.dumps(body | {"concurrency": concurrency}))

    def renew(self):
        """Registers all participants again: they send no heartbeats, and would count as silent."""
        for number in range(self.joined):
            self.join(number)
        if self.held:
            self.held.join()

    def grow(self, kind, before, count):
        for number in range(before, count):
            if kind == "participants":
                self.join(number)
            elif kind == "rooms" and number > 0:
                self.conn.call("POST", "/v1/rooms", json.dumps({"name": "r"}))
            elif kind == "watchers":
                conn = Conn(self.port)
                self.kept.append(conn)
                conn.send("GET", f"/v1/rooms/{ROOM}/events")
                conn.socket.recv(1 << 12)
        if kind == "line":
            self.held.grow(count)

    def measure(self):
        call = lambda *args: lambda: self.conn.call(*args)
        rows = {"grant": self.cost(self.held.grant)} if self.held else {}
        return rows | {
            "chat": self.cost(call("POST", f"/rooms/{ROOM}/v1/chat/completions", CHAT)),
            "pick by id": self.cost(call("POST", f"/rooms/{ROOM}/v1/chat/completions", CHAT.replace("any", "p0"))),
            "event": self.cost(lambda: self.join(0)),
            "scrape": self.cost(call("GET", "/metrics"), 3),
            "room's metrics": self.cost(call("GET", f"/v1/rooms/{ROOM}/metrics"), 3),
        }


class Held:
    """A participant of another model with one slot, and the requests for it. Its provider answers one when told to."""

    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"

    def __init__(self, lab):
        self.lab, self.conns, self.provider = lab, [], socket.create_server(("127.0.0.1", 0))
        self.join()
        self.grow(0)
        self.accept()

    def join(self):
        endpoint = f"http://127.0.0.1:{self.provider.getsockname()[1]}"
        body = {"id": "held", "nickname": "h", "model": "held", "endpoint": endpoint, "concurrency": 1}
        self.lab.conn.call("POST", f"/rooms/{ROOM}/join", json.dumps(body))

    def send(self, number):
        body = CHAT.replace("any", "model:held").replace("hi", f"number {number}")
        self.conns[number].send("POST", f"/rooms/{ROOM}/v1/chat/completions", body)

    def accept(self):
        """The provider gets the next request: its connection, and which one it is."""
        self.running, request = self.provider.accept()[0], b""
        while not (number := re.search(rb"number (\d+)", request)):
            request += self.running.recv(1 << 16)
        self.number = int(number[1])

    def grow(self, count):
        while len(self.conns) <= count:
            self.conns.append(Conn(self.lab.port))
            self.send(len(self.conns) - 1)
        self.join()
        while json.loads(self.lab.conn.call("GET", f"/v1/rooms/{ROOM}/metrics"))["data"]["queued"] < count:
            time.sleep(0.1)

    def grant(self):
        """The running request ends, the next in line gets its slot, and another one joins the line."""
        self.running.sendall(self.ANSWER)
        self.running.close()
        ended, answer = self.number, b""
        while not answer.endswith(b"{}"):
            piece = self.conns[ended].socket.recv(1 << 16)
            if not piece:
                raise OSError("a request in line was not served")
            answer += piece
        self.send(ended)
        self.accept()


def main(gambi, kinds):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16384), most))
    for kind in kinds:
        lab, rows, before = Lab(gambi), [], 0
        try:
            lab.join(0)
            if kind == "line":
                lab.held = Held(lab)
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
