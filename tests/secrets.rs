//! Secrets appear nowhere but where they are meant to: everything that a whole session writes, lists and answers is
//! searched for them.

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use support::{Conn, FakeProvider, Script, wait_for, wait_until};

const HUB_KEY: &str = "the-hubs-key-4711";
const PASSWORD: &str = "the-rooms-password-4712";
const WRONG: &str = "a-wrong-guess-4713";
const PROVIDER_KEY: &str = "the-providers-key-4714";
const PROMPT: &str = "a-prompt-4715";
const ANSWER: &str = "an-answer-4716";
const INSTRUCTIONS: &str = "instructions-4717";

/// Processes whose output goes to files, and a folder for those and for secrets.
struct Lab {
    dir: PathBuf,
    children: Vec<Child>,
    /// What was seen of the command lines, as everybody on the machine can.
    command_lines: String,
}

impl Lab {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("gambi-secrets-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Lab { dir, children: Vec::new(), command_lines: String::new() }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    /// Starts gambi; what it prints goes to `NAME.out` and `NAME.err`.
    fn start(&mut self, name: &str, args: &[&str], input: &str) -> u32 {
        let file = |kind: &str| File::create(self.dir.join(format!("{name}.{kind}"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gambi"))
            .args(args)
            .arg("--verbose")
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("GAMBI_HUB_KEY", HUB_KEY)
            .env("GAMBI_ROOM_PASSWORD", PASSWORD)
            .env("PROVIDER_KEY", PROVIDER_KEY)
            .stdin(File::open(self.file(&format!("{name}.in"), input)).unwrap())
            .stdout(Stdio::from(file("out")))
            .stderr(Stdio::from(file("err")))
            .spawn()
            .expect("gambi to run");
        let id = child.id();
        self.command_lines += &fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        self.children.push(child);
        id
    }

    fn run(&mut self, name: &str, args: &[&str], input: &str) -> i32 {
        self.start(name, args, input);
        self.children.pop().unwrap().wait().unwrap().code().unwrap_or(-1)
    }

    fn output(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    fn wait_for_output(&self, name: &str, what: &str) -> String {
        wait_for(&format!("{what} in {name}"), || Some(self.output(name)).filter(|text| text.contains(what)))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Everything in a folder but the secrets' own files and what was typed in.
fn written(dir: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let printed = files.filter(|path| path.extension().is_some_and(|e| e == "out" || e == "err"));
    printed.map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect()
}

fn ask(hub: &str, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> String {
    let headers: Vec<_> = headers.iter().copied().chain([("Connection", "close")]).collect();
    let body = body.map(Value::to_string);
    let answer = Conn::open(hub.parse().unwrap()).ask(method, path, &headers, body.as_deref()).answer();
    let shown = path.split('?').next().unwrap();
    format!("{method} {shown}: {} {:?} {}", answer.status, answer.headers, answer.text())
}

/// Requests that are refused, with secrets in them, and lists.
fn questions(hub: &str) -> Vec<String> {
    let bearer = |secret: &str| format!("Bearer {secret}");
    let (key, wrong) = (bearer(HUB_KEY), bearer(WRONG));
    let body = json!({
        "nickname": 1, "password": WRONG, "authHeaders": { "Authorization": PROVIDER_KEY }, "messages": PROMPT
    });
    let mut answers = Vec::new();
    for (method, path) in [
        ("GET", "/v1/rooms"),
        ("GET", "/v1/rooms/LAB001"),
        ("GET", "/v1/rooms/LAB001/participants"),
        ("GET", "/v1/rooms/LAB001/metrics"),
        ("GET", "/metrics"),
        ("GET", "/v1/rooms?token=a-wrong-guess-4713"),
        ("GET", "/rooms/LAB001/v1/models"),
        ("PUT", "/v1/rooms/LAB001/participants/ann"),
        ("POST", "/v1/rooms/LAB001/participants/ann/heartbeat"),
        ("POST", "/rooms/LAB001/v1/chat/completions"),
        ("POST", "/rooms/LAB001/join"),
        ("POST", "/v1/rooms"),
        ("GET", "/nothing"),
    ] {
        let body = (method != "GET").then_some(&body);
        let password = ("X-Gambi-Room-Password", PASSWORD);
        for headers in [&[("Authorization", wrong.as_str())][..], &[("Authorization", &key), password]] {
            answers.push(ask(hub, method, path, headers, body));
        }
    }
    answers
}

#[test]
fn secrets_are_written_nowhere() {
    let body = json!({ "choices": [{ "message": { "role": "assistant", "content": ANSWER } }] });
    let answer = Script::json(200, &body);
    let provider = FakeProvider::start(answer);
    let mut lab = Lab::new();
    let rooms = json!([{
        "code": "LAB001", "name": "Lab", "password": PASSWORD, "private": true,
        "defaults": { "instructions": INSTRUCTIONS }
    }]);
    let rooms = lab.file("rooms", &rooms.to_string());
    let (key, password) = (lab.file("key", HUB_KEY), lab.file("password", &format!("{PASSWORD}\n")));
    let hub = ["hub", "serve", "--host", "127.0.0.1", "--port", "0", "--rooms", &rooms, "--key-file", &key, "--strict"];
    let hub = [&hub[..], &["--log-level", "debug"]].concat();
    lab.start("hub", &hub, "");
    let started: Value = serde_json::from_str(lab.wait_for_output("hub.out", "\n").lines().next().unwrap()).unwrap();
    let url = started["data"]["hubUrl"].as_str().unwrap().to_owned();

    let (url, room) = (url.as_str(), "LAB001");
    lab.start("events", &["events", "watch", "--hub", url, "--room", room, "--password-file", &password], "");
    lab.start("hub-events", &["events", "watch", "--hub", url, "--room", room, "--format", "text"], "");
    lab.wait_for_output("hub-events.out", "connected");
    let (token, endpoint) = (lab.path("token"), provider.url());
    let join = [
        &["participant", "join", "--hub", url, "--room", room, "--participant-id", "ann", "--model", "m"][..],
        &["--endpoint", &endpoint, "--header-env", "Authorization=PROVIDER_KEY", "--token-file", &token],
        &["--password-file", &password],
    ]
    .concat();
    let participant = lab.start("join", &join, "");
    lab.wait_for_output("join.out", "tunnel_connected");
    let token = fs::read_to_string(&token).unwrap().trim().to_owned();

    assert_eq!(lab.run("chat", &["chat", "--hub", url, "--room", room], PROMPT), 0);
    assert!(lab.output("chat.out").contains(ANSWER), "the one who asked is answered");
    fs::remove_file(lab.dir.join("chat.out")).unwrap();
    lab.wait_for_output("events.out", "llm.complete");
    let seen = provider.wait_for_request(1);
    assert_eq!(seen.header("authorization"), Some(PROVIDER_KEY));
    assert!(seen.body.contains(PROMPT) && seen.body.contains(INSTRUCTIONS));

    provider.set(Script::Slam);
    assert_ne!(lab.run("failed-chat", &["chat", "--hub", url, "--room", room], PROMPT), 0);
    lab.run("dry-join", &[&join[..], &["--dry-run"]].concat(), "");
    lab.run("dry-hub", &[&hub[..], &["--dry-run"]].concat(), "");
    assert_eq!(lab.run("stats", &["room", "stats", room, "--hub", url, "--password-file", &password], ""), 0);
    assert_eq!(lab.run("list", &["participant", "list", "--hub", url, "--room", room], ""), 0);
    assert_ne!(lab.run("wrong", &["models", "--hub", url, "--room", room, "--password", "another-wrong-one"], ""), 0);
    let answers = questions(url.trim_start_matches("http://"));

    Command::new("kill").args(["-INT", &participant.to_string()]).status().unwrap();
    lab.wait_for_output("join.out", "\"left\"");
    wait_until("the room to be empty", || lab.output("events.out").contains("participant.left"));

    for told in [
        "participant.joined",
        "llm.error",
        "/chat/completions status=200",
        "/v1/rooms status=401",
        "/tunnel status=101",
    ] {
        lab.wait_for_output("hub.err", told);
    }
    assert!(answers.iter().any(|answer| answer.contains("gambi_requests_total{room=\"LAB001\"")), "{answers:?}");
    let mut places = written(&lab.dir);
    assert!(
        places.len() >= 14 && places.iter().any(|(_, text)| text.contains("llm.error")),
        "there is something to see"
    );
    places.push(("the command lines".into(), lab.command_lines.clone()));
    places.extend(answers.into_iter().map(|answer| ("an answer".into(), answer)));
    let secrets = [HUB_KEY, PASSWORD, WRONG, PROVIDER_KEY, PROMPT, ANSWER, INSTRUCTIONS, "$argon2", "?token=", &token];
    for (place, text) in &places {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in {place}: {text}");
        }
    }
}
