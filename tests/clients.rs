//! Clients that others wrote, against a real hub: curl and OpenAI's own Python package, and a person at a terminal.
//!
//! Python's packages come from a virtual environment under `target/` that is made on first use. Where a tool can't be
//! had the test says that it was skipped; with `CI=true` that is a failure.

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use gambi::hub::{DeclaredRoom, HubKey, HubOptions, KeysFile};
use gambi::participant::Session;
use gambi::provider::{Provider, ProviderOptions};
use serde_json::Value;

use support::{TestHub, python, skip};

/// The key of a hub that has one.
const HUB_KEY: &str = "the-hubs-own-key";

/// A hub, a room, and the echo provider behind a tunnel.
struct Lab {
    hub: TestHub,
    room: String,
    provider: Provider,
    _session: Session,
}

impl Lab {
    fn open() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut HubOptions)) -> Self {
        let room = "LAB001".to_owned();
        let declared = DeclaredRoom { code: room.clone(), name: "Lab".into(), ..DeclaredRoom::default() };
        let hub = TestHub::with(|options| {
            options.rooms.push(declared);
            options.default_room = Some(room.clone());
            change(options);
        });
        let provider = Provider::bind(ProviderOptions { port: 0, ..ProviderOptions::default() }).unwrap();
        let session = Session::builder(hub.url(), &room)
            .participant_id("echo-1")
            .nickname("Echo")
            .hub_key(HUB_KEY)
            .model("echo")
            .endpoint(format!("http://{}", provider.addr()))
            .start()
            .unwrap();
        Lab { hub, room, provider, _session: session }
    }

    fn base(&self) -> String {
        format!("{}/rooms/{}/v1", self.hub.url(), self.room)
    }
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

const OPENAI: &str = r#"
import sys
from openai import OpenAI, NotFoundError

client = OpenAI(base_url=sys.argv[1], api_key="unused")
models = client.models.list().data
assert [m.id for m in models] == ["echo-1"], models
question = [{"role": "user", "content": "Grüße, tunnel!"}]

whole = client.chat.completions.create(model="echo-1", messages=question)
assert whole.choices[0].message.content.endswith("Grüße, tunnel!"), whole
assert whole.choices[0].finish_reason == "stop" and whole.usage.total_tokens > 0, whole

pieces = []
usage = None
stream = client.chat.completions.create(model="model:echo", messages=question, stream=True, stream_options={"include_usage": True})
for chunk in stream:
    usage = chunk.usage or usage
    pieces += [c.delta.content for c in chunk.choices if c.delta.content]
assert len(pieces) > 3 and "".join(pieces) == whole.choices[0].message.content, pieces
assert usage.total_tokens == whole.usage.total_tokens, usage

try:
    client.chat.completions.create(model="nobody", messages=question)
    raise SystemExit("a model that is not there was answered")
except NotFoundError as error:
    assert "No available participant" in error.message and error.code == "MODEL_NOT_FOUND", (error.code, error.body)
    assert error.type == "invalid_request_error", error
told = client.responses.create(model="any", input="Through the hub")
assert told.output_text.endswith("Through the hub"), told
deltas = [e.delta for e in client.responses.create(model="any", input="Through the hub", stream=True) if e.type == "response.output_text.delta"]
assert "".join(deltas) == told.output_text, deltas

direct = OpenAI(base_url=sys.argv[2], api_key="unused")
vectors = direct.embeddings.create(model="echo", input=["a", "b"]).data
assert len(vectors) == 2 and len(vectors[0].embedding) > 1 and vectors[0].embedding != vectors[1].embedding, vectors
response = direct.responses.create(model="echo", input="Hi")
assert response.output_text.endswith("Hi") and response.usage.total_tokens > 0, response
deltas = [e.delta for e in direct.responses.create(model="echo", input="Hi", stream=True) if e.type == "response.output_text.delta"]
assert "".join(deltas) == response.output_text, deltas
print("all well")
"#;

#[test]
fn the_openai_package_lists_chats_and_streams() {
    let python = match python("openai") {
        Ok(python) => python,
        Err(why) => return skip(&format!("Python's openai package: {why}")),
    };
    let lab = Lab::open();
    let output = Command::new(python)
        .args(["-c", OPENAI, &lab.base(), &format!("http://{}/v1", lab.provider.addr())])
        .output()
        .unwrap();
    assert_eq!(text(&output), "all well\n");
}

const LIMITED: &str = r#"
import sys
from openai import OpenAI, RateLimitError

client = OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
question = [{"role": "user", "content": "Hi"}]
raw = client.chat.completions.with_raw_response.create(model="any", messages=question)
assert raw.headers["x-ratelimit-limit-requests"] == "1" and raw.headers["x-ratelimit-remaining-requests"] == "0", raw.headers
assert raw.parse().choices[0].message.content.endswith("Hi")
try:
    client.chat.completions.create(model="any", messages=question)
    raise SystemExit("a request past the limit was answered")
except RateLimitError as error:
    assert error.status_code == 429 and error.code == "rate_limit_exceeded" and error.type == "rate_limit_error", error.body
    assert 0 < int(error.response.headers["retry-after"]) <= 60, error.response.headers
    assert error.response.headers["x-ratelimit-reset-requests"].endswith("s"), error.response.headers
    print(error.body["message"].split("): ")[0])
"#;

#[test]
fn the_openai_package_tells_that_a_limit_is_reached() {
    let python = match python("openai") {
        Ok(python) => python,
        Err(why) => return skip(&format!("Python's openai package: {why}")),
    };
    let key = "gk-ann-0123456789abcdef";
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("limited-keys.json");
    std::fs::write(&file, format!(r#"[{{"name": "ann", "key": "{key}", "requestsPerMinute": 1}}]"#)).unwrap();
    let lab = Lab::with(|options| {
        options.keys = Some(KeysFile::read(&file).unwrap());
        options.key = HubKey::new(HUB_KEY);
    });
    let output = Command::new(python).args(["-c", LIMITED, &lab.base(), key]).output().unwrap();
    assert_eq!(text(&output), "The key of ann is past its limit (requests a minute: 1\n");
}

const OLLAMA: &str = r#"
import sys
from ollama import Client, ResponseError

for host in sys.argv[1:]:
    client = Client(host=host)
    assert [m.model for m in client.list().models] == ["echo"], client.list()
    assert "tools" in client.show("echo").capabilities
    question = [{"role": "user", "content": "Grüße, tunnel!"}]
    whole = client.chat("echo", messages=question)
    assert whole.message.content.endswith("Grüße, tunnel!") and whole.done_reason == "stop" and whole.eval_count > 0, whole
    parts = list(client.chat("echo:latest", messages=question, stream=True))
    assert len(parts) > 3 and parts[-1].done, parts
    assert "".join(part.message.content for part in parts) == whole.message.content, parts
    assert len(client.embed("echo", ["a", "b"]).embeddings) == 2
    for ask in (lambda: client.chat("nobody", messages=question), lambda: list(client.pull("echo", stream=True))):
        try:
            ask()
            raise SystemExit("it was answered")
        except ResponseError as error:
            assert "model 'nobody' not found" in error.error or error.status_code == 501, error
print("all well")
"#;

#[test]
fn ollamas_package_lists_chats_and_streams_with_a_path_and_without() {
    let python = match python("ollama") {
        Ok(python) => python,
        Err(why) => return skip(&format!("Python's ollama package: {why}")),
    };
    let lab = Lab::open();
    let hosts = [format!("{}/rooms/{}", lab.hub.url(), lab.room), lab.hub.url()];
    let output = Command::new(python).args(["-c", OLLAMA]).args(hosts).output().unwrap();
    assert_eq!(text(&output), "all well\n");
}

/// A chat-only provider in Python, as `make clients` uses it.
struct ChatOnly(Child, String);

impl ChatOnly {
    fn start(python: &Path) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/provider.py");
        let mut child = Command::new(python).arg(script).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        ChatOnly(child, url.trim().to_owned())
    }
}

impl Drop for ChatOnly {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn responses_have_the_shapes_that_open_responses_publishes() {
    let python = match python("openresponses-types") {
        Ok(python) => python,
        Err(why) => return skip(&format!("Python's openresponses-types package: {why}")),
    };
    let lab = Lab::open();
    let chat_only = ChatOnly::start(&python);
    let _session = Session::builder(lab.hub.url(), &lab.room)
        .participant_id("chat-only")
        .model("chat-only")
        .endpoint(&chat_only.1)
        .start()
        .unwrap();
    for participant in ["chat-only", "echo-1"] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/open_responses.py");
        let output = Command::new(&python).args([script, &lab.base(), participant]).output().unwrap();
        assert_eq!(text(&output), "8 passed\n", "{participant}");
    }
}

#[test]
fn curl_reaches_every_route() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("curl");
    }
    let lab = Lab::open();
    let (url, room) = (lab.hub.url(), &lab.room);
    let curl = |args: &[&str], path: &str| {
        let output = Command::new("curl")
            .args(["-sS", "--fail-with-body", "-N"])
            .args(args)
            .arg(format!("{url}{path}"))
            .output()
            .unwrap();
        text(&output)
    };
    let data = |args: &[&str], path: &str| serde_json::from_str::<Value>(&curl(args, path)).unwrap()["data"].clone();
    let json = ["-H", "Content-Type: application/json", "-d"];
    let with = |body: &'static str| [json[0], json[1], json[2], body];

    assert_eq!(data(&[], "/v1/health")["status"], "ok");
    assert_eq!(data(&with(r#"{"name":"By curl"}"#), "/v1/rooms")["room"]["name"], "By curl");
    assert_eq!(data(&[], "/v1/rooms").as_array().unwrap().len(), 2);
    assert_eq!(data(&[], &format!("/v1/rooms/{room}"))["participantCount"], 1);
    let participants = format!("/v1/rooms/{room}/participants");
    let body = r#"{"nickname":"C","model":"m","endpoint":"http://localhost:1"}"#;
    let put = data(&["-X", "PUT", json[0], json[1], json[2], body], &format!("{participants}/by-curl"));
    assert!(put["tunnel"]["url"].as_str().unwrap().starts_with(&url.replace("http", "ws")));
    assert_eq!(data(&[], &participants).as_array().unwrap().len(), 2);
    assert_eq!(data(&["-X", "POST"], &format!("{participants}/by-curl/heartbeat"))["success"], true);
    assert_eq!(data(&["-X", "DELETE"], &format!("{participants}/by-curl"))["success"], true);
    assert!(curl(&["-I"], "/v1/health").starts_with("HTTP/1.1 200 "));
    assert!(curl(&["-X", "OPTIONS", "-i"], "/v1/rooms").starts_with("HTTP/1.1 204 "));

    let base = format!("/rooms/{room}/v1");
    assert_eq!(data(&[], &format!("{base}/models"))[0]["id"], "echo-1");
    let chat = curl(
        &with(r#"{"model":"any","messages":[{"role":"user","content":"Hi"}]}"#),
        &format!("{base}/chat/completions"),
    );
    assert!(chat.contains("You said: Hi"), "{chat}");
    let stream = with(r#"{"model":"any","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#);
    assert!(curl(&stream, &format!("{base}/chat/completions")).ends_with("data: [DONE]\n\n"));
    // A body of more than a kilobyte makes curl ask before it sends.
    let long = format!(r#"{{"model":"any","messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(2 << 20));
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("long.json");
    std::fs::write(&file, &long).unwrap();
    let from_file = format!("@{}", file.display());
    assert!(
        curl(&[json[0], json[1], "--data-binary", &from_file], &format!("{base}/chat/completions")).len() > 2 << 20
    );

    // Without an end of its own: what came in one second.
    let events =
        Command::new("curl").args(["-sN", "-m", "1"]).arg(format!("{url}/v1/rooms/{room}/events")).output().unwrap();
    assert!(String::from_utf8(events.stdout).unwrap().starts_with("event: connected\ndata: {"));
}

const TERMINAL: &str = r#"
import os, pty, sys, select, termios
gambi, args, answers = sys.argv[1], sys.argv[1:sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1:]
pid, fd = pty.fork()
if pid == 0:
    os.execv(gambi, args)
seen, asked = b"", 0
def read():
    try:
        return os.read(fd, 4096)
    except OSError:
        return b""
while True:
    data = read()
    if not data:
        break
    seen += data
    prompt = seen.endswith((b": ", b"\n> ")) and not seen.endswith(b"You said: ")
    if prompt and asked < len(answers):
        hidden = not termios.tcgetattr(fd)[3] & termios.ECHO
        sys.stderr.write("hidden\n" if hidden else "shown\n")
        os.write(fd, answers[asked].encode() + b"\n")
        asked += 1
_, status = os.waitpid(pid, 0)
sys.stdout.write(seen.decode())
sys.exit(os.waitstatus_to_exitcode(status))
"#;

#[test]
fn a_person_at_a_terminal_is_asked_for_what_is_missing() {
    if Command::new("python3").arg("--version").output().is_err()
        || Command::new("stty").arg("--version").output().is_err()
    {
        return skip("python3 and stty, which play the person");
    }
    let hub = TestHub::start();
    let args = ["room", "create", "--interactive", "--hub", &hub.url(), "--", "My lab", "s3cret"];
    let output = Command::new("python3")
        .args(["-c", TERMINAL, env!("CARGO_BIN_EXE_gambi")])
        .args(args)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let seen = text(&output);
    assert!(seen.contains("Created the room My lab"), "{seen}");
    assert!(!seen.contains("s3cret"), "{seen}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "shown\nhidden\n");
    let room = &hub.client.rooms().list().unwrap()[0];
    assert!(room.name == "My lab" && room.password_protected);
}

#[test]
fn a_person_at_a_terminal_joins_by_pressing_enter_and_choosing_models() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skip("python3, which plays the person");
    }
    let hub = TestHub::start();
    let provider = support::FakeProvider::with_models(support::Script::Echo, &["llama3", "qwen3", "phi4"]);
    let join = |answers: &[&str]| {
        let args = ["join", "--hub", &hub.url(), "--no-specs", "--dry-run", "--"];
        let mut person = Command::new("python3");
        person.args(["-c", TERMINAL, env!("CARGO_BIN_EXE_gambi")]).args(args).args(answers);
        text(&person.env("GAMBI_PROVIDERS", provider.url()).env("NO_COLOR", "1").output().unwrap())
    };
    let room = hub.client.rooms().get(&hub.room()).unwrap();
    let made = join(&["all"]);
    assert!(made.contains(&format!("Would join the room {}", room.code)) && made.contains("with 3 models"), "{made}");
    assert!(made.contains(&format!("--room {} --endpoint {} --models all", room.code, provider.url())), "{made}");
    let other = hub.room();
    let chosen = join(&["2", "4", "1,3"]);
    assert!(
        chosen.contains("That is no choice of the list") && chosen.contains("--model llama3 --model phi4"),
        "{chosen}"
    );
    assert!(chosen.contains(&other) && chosen.contains("with 2 models"), "{chosen}");
}

#[test]
fn a_person_at_a_terminal_holds_a_conversation() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skip("python3, which plays the person");
    }
    let lab = Lab::open();
    let args = ["chat", "--hub", &lab.hub.url(), "--room", &lab.room, "--no-history", "--"];
    let mut person = Command::new("python3");
    // A dumb terminal: tests/conversation.rs has the others.
    person.env("TERM", "dumb").args(["-c", TERMINAL, env!("CARGO_BIN_EXE_gambi")]).args(args);
    let output = person.args(["First", "", "Second", "/quit"]).output().unwrap();
    let seen = text(&output);
    assert!(seen.contains("You said: First\r\n") && seen.contains("You said: Second\r\n"), "{seen}");
    assert_eq!(seen.matches("\r\n> ").count(), 4, "{seen}");
}
