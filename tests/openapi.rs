//! The description of the API is true: Schemathesis drives hubs by it, with all its checks and on all operations. What it
//! can't know of a hub, such as codes of rooms that are there, it is told in `openapi/hooks.py`.
//!
//! `make api` lets it think longer than `make test` does, and otherwise each time.

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use gambi::hub::{DeclaredRoom, DirectPolicy, HubKey, HubOptions, RoomPassword};
use gambi::participant::Session;
use serde_json::{Value, json};

use support::{Conn, TestHub, python, skip};

const KEY: &str = "the-hubs-key";
const PASSWORD: &str = "open sesame";
const TOKEN: &str = "the-token-of-those-who-work-here-0";
/// In which participants work: the first is the document's own example, the second a private one.
const WORK: [&str; 2] = ["ABC234", "WORK22"];
/// In which they come and go.
const MOVE: [&str; 2] = ["MOVE22", "MOVE33"];
/// The document's own example.
const WORKER: &str = "ann-laptop";
/// Responses, rooms and participants that are there to be asked for and deleted.
const KEPT: usize = 200;

/// Python with Schemathesis and a validator, installed once.
fn tools() -> Result<&'static Path, &'static str> {
    static TOOLS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let installed = || python("openapi_spec_validator").and_then(|_| python("schemathesis>=4.32,<5"));
    TOOLS.get_or_init(installed).as_ref().map(PathBuf::as_path).map_err(String::as_str)
}

/// A hub with participants that work.
struct Lab {
    hub: TestHub,
    key: Option<&'static str>,
    provider: Child,
    provider_url: String,
    sessions: Vec<Session>,
}

impl Lab {
    fn open(python: &Path, key: Option<&'static str>) -> Self {
        let hub = TestHub::with(|options| {
            options.rooms = rooms();
            options.key = key.and_then(HubKey::new);
            options.strict = key.is_some();
            set_up(options);
        });
        let mut provider = Command::new(python)
            .arg(files().join("provider.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a provider");
        let mut url = String::new();
        BufReader::new(provider.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let mut lab = Lab { hub, key, provider, provider_url: url.trim().to_owned(), sessions: Vec::new() };
        lab.sessions = WORK.iter().map(|room| lab.join(room)).collect();
        lab
    }

    fn join(&self, room: &str) -> Session {
        let session = Session::builder(self.hub.url(), room).participant_id(WORKER).model("m").concurrency(64);
        let session = session.endpoint(&self.provider_url).password(PASSWORD).participant_token(TOKEN);
        let session = if let Some(key) = self.key { session.hub_key(key) } else { session };
        session.start().expect("a participant")
    }

    /// Sends something so many times, to a path with a number in it; one text out of each answer.
    fn made(&self, method: &str, path: &str, body: &Value, text: impl Fn(&Value) -> String) -> String {
        let bearer = format!("Bearer {}", self.key.unwrap_or_default());
        let headers: &[(&str, &str)] = if self.key.is_some() { &[("Authorization", &bearer)] } else { &[] };
        let mut conn = Conn::open(self.hub.addr());
        let one = |n: usize| {
            let path = path.replace("{}", &n.to_string());
            text(&conn.ask(method, &path, headers, Some(&body.to_string())).answer().json())
        };
        (0..KEPT).map(one).collect::<Vec<_>>().join(",")
    }

    /// A few examples, the same each time; or as many as are asked for, and others each time. What is at the limits of each
    /// value is much, and the same whether or not there is a key.
    fn thoroughness(&self) -> Vec<String> {
        let all = "examples,coverage,fuzzing,stateful";
        match std::env::var("API_EXAMPLES") {
            Ok(count) => vec!["--phases", all, "--max-examples", &count].into_iter().map(str::to_owned).collect(),
            Err(_) => {
                let phases = if self.key.is_some() { "examples,fuzzing,stateful" } else { all };
                ["--phases", phases, "--max-examples", "6", "--seed", "1"].map(str::to_owned).to_vec()
            }
        }
    }

    /// Runs Schemathesis against the hub.
    fn drive(&self, python: &Path, name: &str) {
        let path = format!("/rooms/{}/v1/responses", WORK[0]);
        let responses = self
            .made("POST", &path, &json!({ "model": "any", "input": "Hi" }), |r| r["id"].as_str().unwrap().to_owned());
        let host = |r: &Value| format!("{}:{}", r["room"]["code"].as_str().unwrap(), r["hostId"].as_str().unwrap());
        let doomed = self.made("POST", "/rooms", &json!({ "name": "Doomed" }), host);
        let leaving = json!({ "nickname": "Leaving", "model": "m", "endpoint": self.provider_url });
        let token = |r: &Value| {
            let (id, token) = (&r["data"]["participant"]["id"], &r["data"]["participantToken"]);
            format!("{}:{}", id.as_str().unwrap(), token.as_str().unwrap())
        };
        let leaving = self.made("PUT", &format!("/v1/rooms/{}/participants/leaving-{{}}", MOVE[0]), &leaving, token);
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("openapi-{name}"));
        std::fs::create_dir_all(&dir).unwrap();
        let mut run = Command::new(python.with_file_name("schemathesis"));
        run.current_dir(&dir).arg("--config-file").arg(files().join("schemathesis.toml")).arg("run");
        // From a file: of a document that it fetches itself, Schemathesis leaves out the operation that fetches it.
        std::fs::write(dir.join("openapi.json"), gambi::hub::openapi()).unwrap();
        run.args(["openapi.json", "--url", &self.hub.url()]);
        run.args(["--checks", "all", "--no-color"]);
        run.args(["--report", "har", "--report-har-path", "seen.har"]);
        // How long Schemathesis thinks is the machine's business.
        run.args(["--suppress-health-check", "too_slow", "--request-timeout", "60"]);
        run.args(self.thoroughness());
        if let Some(key) = self.key {
            run.arg("-H").arg(format!("Authorization: Bearer {key}"));
            run.arg("-H").arg(format!("X-Gambi-Room-Password: {PASSWORD}"));
            run.args(["--generation-with-security-parameters", "false"]);
        }
        run.env("SCHEMATHESIS_HOOKS", "hooks").env("PYTHONPATH", files()).env("LAB_PROVIDER", &self.provider_url);
        run.env("LAB_WORK", WORK.join(",")).env("LAB_MOVE", MOVE.join(",")).env("LAB_WORKER", WORKER);
        run.env("LAB_TOKEN", TOKEN);
        run.env("LAB_RESPONSES", responses).env("LAB_DOOMED", doomed).env("LAB_LEAVING", leaving);
        run.env("LAB_KEYED", if self.key.is_some() { "1" } else { "" });
        let output = run.output().expect("Schemathesis to run");
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the {name} is not as it is described:\n{}", shortened(&told));
        // A few examples without those at the limits need not come to all of them.
        if self.key.is_none() || std::env::var("API_EXAMPLES").is_ok() {
            let seen: Value = serde_json::from_slice(&std::fs::read(dir.join("seen.har")).unwrap()).unwrap();
            assert_eq!(never_done(&seen), Vec::<String>::new(), "nothing of these was ever answered well");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.sessions.clear();
        let _ = self.provider.kill();
        let _ = self.provider.wait();
    }
}

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi")
}

fn set_up(options: &mut HubOptions) {
    options.max_stream_duration = Some(std::time::Duration::from_millis(30));
    options.direct = DirectPolicy::Private;
}

fn rooms() -> Vec<DeclaredRoom> {
    let room = |code: &str, protected: bool, private| DeclaredRoom {
        code: code.into(),
        name: "Lab".into(),
        password: protected.then(|| RoomPassword::Plain(PASSWORD.into())),
        private,
        ..DeclaredRoom::default()
    };
    vec![
        room(WORK[0], false, false),
        room(WORK[1], true, true),
        room(MOVE[0], false, false),
        room(MOVE[1], true, false),
    ]
}

/// The failures, without what was fine.
fn shortened(told: &str) -> String {
    let from = told.find("= FAILURES =").or_else(|| told.find("= ERRORS =")).unwrap_or_default();
    told[from..].lines().map(|line| line.chars().take(2000).collect::<String>() + "\n").collect()
}

/// Operations that no request succeeded with. A tunnel is none for a client of HTTP, and some are described to say that
/// they are not served.
fn never_done(seen: &Value) -> Vec<String> {
    let document: Value = serde_json::from_str(gambi::hub::openapi()).unwrap();
    let done: Vec<(&str, &str)> = seen["log"]["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["response"]["status"].as_u64().is_some_and(|status| (200..300).contains(&status)))
        .map(|entry| (entry["request"]["method"].as_str().unwrap(), entry["request"]["url"].as_str().unwrap()))
        .collect();
    let succeeded = |method: &str, path: &str| done.iter().any(|(m, url)| *m == method && fits(path, url));
    let can_succeed = |operation: &Value| {
        let statuses = operation["responses"].as_object();
        statuses.is_some_and(|statuses| statuses.keys().any(|status| status.starts_with(['1', '2'])))
    };
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(key, operation)| (key, operation, path)))
        .filter(|(_, operation, _)| can_succeed(operation))
        .map(|(key, _, path)| (key.to_ascii_uppercase(), path))
        .filter(|(method, path)| method != "PARAMETERS" && !path.ends_with("/tunnel") && !succeeded(method, path))
        .map(|(method, path)| format!("{method} {path}"))
        .collect()
}

fn fits(path: &str, url: &str) -> bool {
    let given = url.splitn(4, '/').nth(3).unwrap_or_default().split('?').next().unwrap_or_default();
    let (wanted, given): (Vec<_>, Vec<_>) = (path[1..].split('/').collect(), given.split('/').collect());
    wanted.len() == given.len() && wanted.iter().zip(given).all(|(w, g)| w.starts_with('{') || *w == g)
}

#[test]
fn an_open_hub_is_as_it_is_described() {
    match tools() {
        Ok(python) => Lab::open(python, None).drive(python, "open hub"),
        Err(why) => skip(&format!("Schemathesis: {why}")),
    }
}

#[test]
fn a_strict_hub_with_a_key_is_as_it_is_described() {
    match tools() {
        Ok(python) => Lab::open(python, Some(KEY)).drive(python, "hub with a key"),
        Err(why) => skip(&format!("Schemathesis: {why}")),
    }
}

#[test]
fn the_document_is_an_openapi_document() {
    let validate = "import json, sys; from openapi_spec_validator import OpenAPIV31SpecValidator as V; V(json.load(open(sys.argv[1]))).validate()";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hub/api/openapi.json");
    match tools() {
        Ok(python) => {
            let output = Command::new(python).args(["-c", validate]).arg(file).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Err(why) => skip(&format!("openapi-spec-validator: {why}")),
    }
}

#[test]
fn the_command_prints_what_the_hub_answers() {
    let hub = TestHub::start();
    let answer = hub.get("/openapi.json").expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    let printed = Command::new(env!("CARGO_BIN_EXE_gambi")).arg("openapi").output().unwrap();
    assert!(printed.status.success());
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), answer.text());
    assert_eq!(answer.json()["openapi"], "3.1.0");
}

#[test]
fn a_stream_of_events_ends_when_its_time_is_over() {
    let hub = TestHub::with(set_up);
    hub.watch("/v1/events").wait_for_end();
}
