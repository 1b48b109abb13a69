//! The command line as scripts see it: the real binary, its output, its exit codes, signals.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use gambi::proto::management::CreateRoom;
use serde_json::{Value, json};

use support::{FakeHub, FakeProvider, Part, Script, TestHub, wait_for, wait_until};

/// The binary, in a home without a config file and without variables of whoever runs the tests.
fn gambi(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
    command.args(args).env_clear().env("PATH", std::env::var("PATH").unwrap_or_default());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("no JSON ({e}): {} {}", self.out, self.err))
    }

    /// The `data` of the printed document.
    fn data(&self) -> Value {
        self.json()["data"].take()
    }
}

fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

fn run(args: &[&str]) -> Ran {
    ran(gambi(args).output().expect("gambi to run"))
}

/// A command that goes on until it is told to stop.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = gambi(args).spawn().expect("gambi to run");
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines }
    }

    /// The next event, which must be of that type; its data.
    fn event(&mut self, kind: &str) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{kind}: {e}: {line:?}"));
        assert_eq!(event["type"], kind, "{line}");
        assert!(event["timestamp"].is_u64());
        event["data"].clone()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill");
        assert!(status.success());
    }

    /// Its exit code, what else it printed, and its stderr.
    fn end(mut self) -> Ran {
        let mut out = String::new();
        self.lines.read_to_string(&mut out).unwrap();
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Ran { code: self.child.wait().unwrap().code().unwrap_or(-1), out, err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of the test's own.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn help_and_version_are_there_for_everything() {
    let version = run(&["--version"]).out;
    assert!(version.starts_with("gambi ") && run(&["version"]).out == version, "{version}");
    let start = run(&[]);
    assert!(start.code == 0 && start.out.lines().count() == 6, "{}", start.out);
    for args in [&["--help"][..], &["help"], &["room"], &["room", "--help"], &["hub", "serve", "-h"]] {
        let ran = run(args);
        let missing = args == ["room"];
        assert_eq!(ran.code, if missing { 2 } else { 0 }, "{args:?}: {}", ran.err);
        assert_eq!(ran.out.contains("Usage: gambi"), !missing, "{args:?}");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_to_do() {
    for args in [
        &["nonsense"][..],
        &["room", "create"],
        &["room", "create", "--name", " "],
        &["room", "get"],
        &["room", "list", "--sort", "size"],
        &["room", "list", "--format", "xml"],
        &["room", "list", "--hub", "nonsense"],
        &["room", "list", "--env", "gone"],
        &["room", "list", "--interactive"],
        &["room", "create", "-n", "x", "--config", "/no/such/file"],
        &["participant", "join", "-r", "ABC234", "-m", "m"],
        &["participant", "join", "-r", "ABC234", "-m", "m", "--participant-id", "x", "--header", "nonsense"],
        &["participant", "join", "-r", "ABC234", "-m", "m", "--participant-id", "x", "--header-env", "A=GONE"],
        &["participant", "join", "-r", "ABC234", "--models", "all", "-m", "m", "--participant-id", "x"],
        &["participant", "join", "-r", "ABC234", "--models", "some", "--participant-id", "x"],
        &["participant", "join", "-r", "ABC234", "-m", "m", "-m", "", "--participant-id", "x"],
        &["participant", "join", "-r", "ABC234", "-m", "m", "--weight", "101", "--participant-id", "x"],
        &["participant", "leave", "-r", "ABC234"],
        &["participant", "heartbeat", "--participant-id", "x"],
        &["events", "watch"],
        &["hub", "serve", "--port", "70000"],
        &["hub", "serve", "--max-body", "lots"],
        &["hub", "serve", "--keep-alive-timeout", "0"],
        &["hub", "serve", "--public-url", "hub.example"],
        &["hub", "serve", "--code-prefix", "ABC"],
        &["hub", "serve", "--port", "0", "--code-prefix", "K", "--room", "LAB001=Lab"],
        &["hub", "serve", "--cors", "a b"],
        &["hub", "serve", "--default-room", "LAB"],
        &["provider", "--delay", "-1"],
    ] {
        let ran = run(args);
        assert_eq!(ran.code, 2, "{args:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.starts_with("Error: ") && ran.out.is_empty(), "{args:?}: {}", ran.err);
    }
    assert!(run(&["room", "create"]).err.contains("--name"));
}

#[test]
fn a_default_room_comes_from_a_flag_a_variable_or_the_config_file() {
    let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("default-room");
    std::fs::create_dir_all(home.join("gambi")).unwrap();
    let config = r#"{"defaultEnv":"lab","envs":{"lab":{"serve":{"defaultRoom":"fff222"}}}}"#;
    std::fs::write(home.join("gambi/config.json"), config).unwrap();
    let dry = |args: &[&str], variable: Option<&str>| {
        let mut command = gambi(&[&["hub", "serve", "--dry-run"], args].concat());
        command.env("XDG_CONFIG_HOME", &home).envs(variable.map(|code| ("GAMBI_DEFAULT_ROOM", code)));
        ran(command.output().unwrap())
    };
    assert_eq!(dry(&[], None).data()["payload"]["defaultRoom"], "FFF222");
    assert_eq!(dry(&[], Some("eee222")).data()["payload"]["defaultRoom"], "EEE222");
    assert_eq!(dry(&["--default-room", "LAB001"], Some("EEE222")).data()["payload"]["defaultRoom"], "LAB001");
    let wrong = dry(&[], Some("nope"));
    assert!(wrong.code == 2 && wrong.err.contains("GAMBI_DEFAULT_ROOM must be a room's code"), "{}", wrong.err);
}

#[test]
fn rooms_are_made_and_listed_in_every_format() {
    let hub = TestHub::start();
    let url = hub.url();
    let made = run(&["room", "create", "--hub", &url, "--name", "Lab", "--password", "s3cret"]).data();
    let code = made["room"]["code"].as_str().unwrap().to_owned();
    assert_eq!(made["hostId"], made["room"]["hostId"]);
    assert_eq!(run(&["room", "get", "-H", &url, "-c", &code]).data()["name"], "Lab");
    hub.room_with(&CreateRoom { name: "A\u{1b}[2J".into(), ..CreateRoom::default() });
    let list = run(&["room", "list", "-H", &url, "--sort", "name"]).data();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(list[1]["name"], "Lab");
    let reversed = run(&["room", "list", "-H", &url, "--sort", "name", "--reverse"]).data();
    assert_eq!(reversed[0]["name"], "Lab");
    let text = ran(gambi(&["room", "list"]).env("GAMBI_HUB", &url).env("GAMBI_FORMAT", "text").output().unwrap());
    assert!(text.out.contains(&code) && text.out.starts_with("CODE"), "{}", text.out);
    assert!(!text.out.contains('\u{1b}'), "a name must not steer the terminal");
    assert!(run(&["room", "get", "-H", &url, "-c", &code, "--format", "text"]).out.contains("Lab"));
}

#[test]
fn a_rooms_figures_are_shown() {
    let hub = TestHub::start();
    let (url, room) = (hub.url(), hub.room());
    hub.client.participants(&room).upsert("w\u{e9}", &support::registration()).unwrap();
    let json = run(&["room", "stats", &room, "-H", &url]).data();
    assert_eq!((&json["roomCode"], &json["participants"][0]["participantId"]), (&json!(room), &json!("w\u{e9}")));
    assert_eq!(json["models"][0]["windows"]["15m"]["requests"], 0);
    let text = run(&["room", "stats", "-c", &room, "-H", &url, "--format", "text", "--over", "1m"]).out;
    assert!(text.starts_with(&format!("Room {room}: 0 in flight")) && text.contains("The last 1m:"), "{text}");
    assert!(text.contains("w\u{e9}") && text.contains("offline"), "{text}");
    assert_eq!(run(&["room", "stats", &room, "-H", &url, "--over", "1h"]).code, 2);
    assert_eq!(run(&["room", "stats", "ZZZZZZ", "-H", &url]).code, 4);
}

#[test]
fn a_rooms_defaults_come_from_a_file_or_stdin() {
    let (hub, dir) = (TestHub::start(), Dir::new("defaults"));
    let file = dir.file("d.json", r#"{"temperature": 0.5, "instructions": "Be brief."}"#);
    let made = run(&["room", "create", "-H", &hub.url(), "-n", "x", "--config", &file]).data();
    assert_eq!(made["room"]["defaults"], json!({ "temperature": 0.5, "hasInstructions": true }));
    let url = hub.url();
    let mut child =
        gambi(&["room", "create", "-H", &url, "-n", "x", "--config", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"seed\": 7}").unwrap();
    assert_eq!(ran(child.wait_with_output().unwrap()).data()["room"]["defaults"]["seed"], 7);
    let bad = dir.file("bad.json", r#"{"temperature": 5}"#);
    let refused = run(&["room", "create", "-H", &hub.url(), "-n", "x", "--config", &bad]);
    assert!(refused.code == 2 && refused.err.contains("temperature"), "{}", refused.err);
}

#[test]
fn the_hubs_refusals_have_their_exit_codes_and_ids() {
    let hub = TestHub::start();
    let url = hub.url();
    let missing = run(&["room", "get", "-H", &url, "-c", "ABC234"]);
    assert_eq!(missing.code, 4);
    let lines: Vec<&str> = missing.err.lines().collect();
    assert_eq!(lines[0], "Error: Room not found.");
    assert!(lines[1].starts_with("Hint: ") && lines[2].starts_with("request_id: "), "{}", missing.err);
    assert_eq!(run(&["participant", "leave", "-H", &url, "-r", "ABC234", "--participant-id", "x"]).code, 4);
    assert_eq!(run(&["events", "watch", "-H", &url, "-r", "ABC234"]).code, 4);
    hub.hub.shutdown();
    let gone = run(&["room", "list", "-H", &url]);
    assert!(gone.code == 3 && gone.err.contains(&url), "{}", gone.err);
}

#[test]
fn too_many_wrong_passwords_end_with_the_exit_code_of_credentials() {
    let hub = TestHub::start();
    let room = CreateRoom { name: "x".into(), password: Some("pw".into()), ..CreateRoom::default() };
    let (url, code) = (hub.url(), hub.room_with(&room));
    let provider = FakeProvider::start(Script::Echo);
    let endpoint = provider.url();
    let guess = |password: &str| run(&[join_args(&url, &code, &endpoint), vec!["-p", password]].concat());
    let wrong = guess("wrong");
    assert!(wrong.code == 3 && wrong.err.contains("Error: Invalid password."), "{}", wrong.err);
    for n in 0..4 {
        let sent = json!({ "nickname": "A", "model": "m", "endpoint": "http://x", "password": format!("wrong {n}") });
        hub.put(&format!("/v1/rooms/{code}/participants/ann"), &sent).expect(401);
    }
    let slowed = guess("pw");
    assert!(slowed.code == 3 && slowed.err.contains("Too many wrong secrets"), "{}", slowed.err);
}

#[test]
fn the_config_file_stands_behind_flags_and_variables() {
    let (hub, dir) = (TestHub::start(), Dir::new("config"));
    let provider = FakeProvider::start(Script::Echo);
    let config = json!({ "defaultEnv": "lab", "envs": {
        "lab": { "hubUrl": hub.url(), "endpoint": provider.url(), "headers": { "Authorization": "Bearer s3cret" }, "noSpecs": true,
                 "serve": { "host": "127.0.0.1", "port": 4321, "mdns": false } },
        "gone": { "hubUrl": "http://127.0.0.1:1" },
    } });
    dir.file("gambi/config.json", &config.to_string());
    let with = |args: &[&str]| ran(gambi(args).env("XDG_CONFIG_HOME", &dir.0).output().unwrap());
    assert_eq!(with(&["room", "list"]).code, 0);
    assert_eq!(with(&["room", "list", "--env", "gone"]).code, 3);
    assert_eq!(with(&["room", "list", "--env", "gone", "--hub", &hub.url()]).code, 0);
    let variable = gambi(&["room", "list"]).env("XDG_CONFIG_HOME", &dir.0).env("GAMBI_ENV", "gone").output().unwrap();
    assert_eq!(ran(variable).code, 3);
    let plan = with(&["participant", "join", "-r", "R", "-m", "m", "--participant-id", "x", "--dry-run"]);
    let payload = plan.data()["payload"].take();
    assert_eq!(payload["endpoint"], json!(provider.url()), "{}", plan.err);
    assert_eq!(payload["authHeaders"], json!({ "Authorization": "[redacted]" }));
    assert!(payload.get("specs").is_none() && !plan.out.contains("s3cret"));
    let serve = with(&["hub", "serve", "--dry-run"]).data()["payload"].take();
    assert_eq!((&serve["host"], &serve["port"]), (&json!("127.0.0.1"), &json!(4321)));

    dir.file("gambi/config.json", "{\n  \"envs\": [}");
    let broken = with(&["room", "list"]);
    assert!(broken.code == 2 && broken.err.contains("config.json") && broken.err.contains("line 2"), "{}", broken.err);
}

#[test]
fn dry_runs_touch_nothing_and_show_no_secret() {
    let url = "http://127.0.0.1:1";
    let dir = Dir::new("dry");
    let config = dir.file("c.json", r#"{"instructions": "s3cret-words", "top_p": 1}"#);
    let room = run(&["room", "create", "-H", url, "-n", "Lab", "-p", "s3cret-pw", "--config", &config, "--dry-run"]);
    let payload = json!({
        "name": "Lab", "password": "[redacted]", "defaults": { "instructions": "[redacted]", "top_p": 1 },
    });
    assert_eq!(room.json(), json!({ "data": { "dryRun": true, "hubUrl": url, "payload": payload } }), "{}", room.err);
    let provider = FakeProvider::with_models(Script::Missing, &["llama3", "qwen3"]);
    let endpoint = provider.url();
    let join = [
        "participant",
        "join",
        "-H",
        url,
        "-r",
        "ABC234",
        "--participant-id",
        "worker-1",
        "-m",
        "llama3",
        "-e",
        &endpoint,
        "-p",
        "s3cret-pw",
        "--header",
        "X-Key=s3cret-key",
        "--config",
        &config,
        "--dry-run",
    ];
    let join = run(&join);
    let data = join.data();
    assert_eq!(
        (&data["hubUrl"], &data["room"], &data["participantId"]),
        (&json!(url), &json!("ABC234"), &json!("worker-1"))
    );
    assert_eq!((&data["connection"], &data["models"]), (&json!({ "kind": "tunnel" }), &json!(["llama3", "qwen3"])));
    let payload = &data["payload"];
    assert_eq!((&payload["nickname"], &payload["password"]), (&json!("llama3@worker"), &json!("[redacted]")));
    assert_eq!(payload["authHeaders"], json!({ "X-Key": "[redacted]" }));
    assert_eq!(payload["config"], json!({ "instructions": "[redacted]", "top_p": 1 }));
    assert_eq!(
        payload["specs"]["cpu"].is_string(),
        fs::read_to_string("/proc/cpuinfo").is_ok_and(|t| t.contains("model name"))
    );
    for ran in [&room, &join] {
        assert!(!ran.out.contains("s3cret") && !ran.err.contains("s3cret"), "{}{}", ran.out, ran.err);
    }
}

/// Runs a command that looks for providers at these addresses.
fn run_near(providers: &str, args: &[&str]) -> Ran {
    ran(gambi(args).env("GAMBI_PROVIDERS", providers).output().expect("gambi to run"))
}

#[test]
fn a_join_finds_the_room_the_provider_and_the_model_where_there_is_one_of_each() {
    let hub = TestHub::start();
    let room = hub.room();
    let (url, provider) = (hub.url(), FakeProvider::with_models(Script::Echo, &["llama3"]));
    let silent = "127.0.0.1:1";
    let joined = run_near(
        &format!("{silent},{}", provider.url()),
        &["participant", "join", "--hub", &url, "--participant-id", "ann", "--no-specs", "--dry-run"],
    );
    assert_eq!(joined.code, 0, "{}", joined.err);
    let plan: Value = serde_json::from_str(joined.out.lines().last().unwrap()).unwrap();
    assert_eq!(plan["data"]["room"], room, "{plan}");
    assert_eq!(plan["data"]["payload"]["model"], "llama3");
    assert!(
        joined.err.contains(&format!("--room {room} --endpoint {} --model llama3", provider.url())),
        "{}",
        joined.err
    );
    // The older command takes the host's name as the id.
    let flat = run_near(&provider.url(), &["join", "--hub", &url, "--no-specs", "--dry-run"]);
    assert!(flat.code == 0 && flat.err.contains("--participant-id "), "{}", flat.err);
    let unnamed = run_near(&provider.url(), &["participant", "join", "--hub", &url, "--dry-run"]);
    assert!(unnamed.code == 2 && unnamed.err.contains("--participant-id is missing"), "{}", unnamed.err);
}

#[test]
fn a_join_without_a_terminal_lists_what_it_cannot_choose_from() {
    let hub = TestHub::start();
    let url = hub.url();
    let join = |providers: &str, more: &[&str]| {
        let joined =
            run_near(providers, &[&["participant", "join", "--hub", &url, "--participant-id", "a"], more].concat());
        assert_eq!(joined.code, 2, "{}", joined.err);
        joined.err
    };
    let none = join("127.0.0.1:1", &[]);
    assert!(none.contains("--room is missing") && none.contains("gambi room create"), "{none}");
    let (one, two) = (hub.room(), hub.room());
    let rooms = join("127.0.0.1:1", &[]);
    assert!(rooms.contains("--room CODE") && rooms.contains(&one) && rooms.contains(&two), "{rooms}");
    let nobody = join("127.0.0.1:1", &["--room", &one]);
    assert!(nobody.contains("http://127.0.0.1:1") && nobody.contains("--endpoint URL"), "{nobody}");
    let several = FakeProvider::with_models(Script::Echo, &["llama3", "qwen3"]);
    let models = join(&several.url(), &["--room", &one]);
    assert!(models.contains("--model is missing") && models.contains("llama3, qwen3"), "{models}");
    let other = FakeProvider::with_models(Script::Echo, &["phi4"]);
    let providers = join(&format!("{} {}", several.url(), other.url()), &["--room", &one]);
    assert!(providers.contains("--endpoint is missing") && providers.contains(&other.url()), "{providers}");
    assert!(providers.contains("2 models") && providers.contains("phi4"), "{providers}");
    // A hub is no provider: its requests would come back to it.
    assert!(join(&url, &["--room", &one]).contains("no provider with a model"));
}

#[test]
fn a_join_says_that_the_provider_requires_a_key_and_how_it_is_given() {
    let (hub, provider) = (TestHub::start(), FakeProvider::start(Script::Echo));
    let (url, room) = (hub.url(), hub.room());
    for (status, path) in [(401, "/v1/models"), (403, "/api/tags")] {
        for known in ["/v1/models", "/api/tags"] {
            provider.set_path(known, Script::json(if known == path { status } else { 404 }, &json!({})));
        }
        let join = ["participant", "join", "--hub", &url, "--participant-id", "a", "--room", &room];
        let guessed = run_near(&provider.url(), &join);
        assert_eq!(guessed.code, 2, "{}", guessed.err);
        assert!(
            guessed.err.contains(&format!("{} requires a key (status {status})", provider.url())),
            "{}",
            guessed.err
        );
        assert!(guessed.err.contains("--endpoint") && guessed.err.contains("--header-env"), "{}", guessed.err);
        let named = run(&[&join[..], &["--endpoint", &provider.url()]].concat());
        assert_eq!(named.code, 3, "{}", named.err);
        assert!(named.err.contains("refuses to list its models without a valid key"), "{}", named.err);
        assert!(named.err.contains("--header-env Authorization=KEY"), "{}", named.err);
    }
}

#[test]
fn a_dry_run_of_a_join_ends_with_3_if_the_model_is_not_there() {
    let provider = FakeProvider::with_models(Script::Missing, &["llama3", "qwen3"]);
    let endpoint = provider.url();
    let args = [&join_args("http://127.0.0.1:1", "ABC234", &endpoint)[..], &["--dry-run"]].concat();
    let missing = run(&args);
    assert_eq!((missing.code, missing.out.as_str()), (3, ""), "{}", missing.err);
    assert!(missing.err.contains("Hint: It has: llama3, qwen3."), "{}", missing.err);
    let args = [&join_args("http://127.0.0.1:1", "ABC234", "http://127.0.0.1:1")[..], &["--dry-run"]].concat();
    assert_eq!(run(&args).code, 3);
}

#[test]
fn commands_that_answer_once_print_data_and_the_hubs_request_id() {
    let hub = TestHub::start();
    let (room, url) = (hub.room(), hub.url());
    let provider = FakeProvider::start(Script::Echo);
    let _ann = hub.join(&room, "ann", &provider);
    for args in [
        &["room", "create", "-n", "x"][..],
        &["create", "x"],
        &["room", "list"],
        &["list"],
        &["room", "get", "-c", &room],
        &["room", "stats", &room],
        &["participant", "list", "-r", &room],
        &["participant", "heartbeat", "-r", &room, "--participant-id", "ann"],
        &["chat", "-r", &room, "Hi"],
        &["participant", "leave", "-r", &room, "--participant-id", "ann"],
    ] {
        for format in ["json", "ndjson"] {
            // In this format a chat is a stream, and a participant leaves only once.
            if format == "ndjson" && (args[0] == "chat" || args.contains(&"leave")) {
                continue;
            }
            let ran = run(&[args, &["-H", &url, "--format", format]].concat());
            let printed = ran.json();
            assert_eq!(printed.as_object().unwrap().keys().collect::<Vec<_>>(), ["data", "meta"], "{args:?}");
            let id = printed["meta"]["requestId"].as_str().unwrap_or_default();
            assert!(id.len() == 36 && !printed["data"].is_null(), "{args:?}: {}", ran.out);
            assert_eq!(ran.out.lines().count() > 1, format == "json", "{args:?}: {}", ran.out);
        }
    }
}

#[test]
fn a_hub_serves_until_a_signal() {
    for (name, signal) in [("-INT", "SIGINT"), ("-TERM", "SIGTERM")] {
        let mut hub = Running::start(&["hub", "serve", "--host", "127.0.0.1", "--port", "0", "--max-body", "1KiB"]);
        let started = hub.event("started");
        let all = ["bindUrl", "host", "hubUrl", "mdns", "port"];
        assert_eq!(started.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>(), all);
        let url = started["hubUrl"].as_str().unwrap().to_owned();
        assert_eq!(run(&["room", "create", "-H", &url, "-n", "x"]).code, 0);
        assert_eq!(run(&["room", "create", "-H", &url, "-n", &"x".repeat(3000)]).code, 2);
        let taken = run(&["hub", "serve", "--host", "127.0.0.1", "--port", &started["port"].to_string()]);
        assert!(taken.code == 1 && taken.err.contains("--port"), "{}", taken.err);
        hub.signal(name);
        assert_eq!(hub.event("signal_received"), json!({ "signal": signal }));
        assert_eq!(hub.event("stopped"), json!({ "signal": signal }));
        assert_eq!(hub.end().code, 0);
    }
}

fn join_args<'a>(hub: &'a str, room: &'a str, endpoint: &'a str) -> Vec<&'a str> {
    vec![
        "participant",
        "join",
        "-H",
        hub,
        "-r",
        room,
        "--participant-id",
        "ann",
        "-m",
        "m",
        "-e",
        endpoint,
        "--no-specs",
    ]
}

#[test]
fn a_participant_joins_serves_and_leaves() {
    let hub = TestHub::start();
    let (room, url) = (hub.room(), hub.url());
    let provider = FakeProvider::start(Script::Echo);
    let mut join = Running::start(&join_args(&url, &room, &provider.url()));
    let prepared = join.event("prepared");
    assert_eq!(prepared["capabilities"]["chatCompletions"], "supported");
    assert_eq!(prepared["connection"], json!({ "kind": "tunnel" }));
    let registered = join.event("registered");
    assert_eq!(registered["participant"]["nickname"], "m@ann");
    assert!(registered["roomId"].is_string());
    assert_eq!(registered["tunnel"].as_object().unwrap().keys().collect::<Vec<_>>(), ["url"]);
    assert_eq!(join.event("tunnel_connected"), json!({ "participantId": "ann", "room": room }));
    hub.chat(&room, "ann").expect(200);
    let beat = run(&["participant", "heartbeat", "-H", &url, "-r", &room, "--participant-id", "ann"]).json();
    assert_eq!((&beat["data"]["success"], &beat["data"]["status"]), (&json!(true), &json!("online")));
    join.signal("-INT");
    assert_eq!(join.event("leaving")["signal"], "SIGINT");
    join.event("left");
    assert_eq!(join.end().code, 0);
    assert!(hub.client.participants(&room).list().unwrap().is_empty());
}

#[test]
fn a_participant_offers_all_models_and_looks_for_more_on_sighup() {
    let hub = TestHub::start();
    let (room, url) = (hub.room(), hub.url());
    let provider = FakeProvider::with_models(Script::Echo, &["a", "b"]);
    let endpoint = provider.url();
    let common = ["-H", &url, "-e", &endpoint, "--no-specs", "--weight", "3", "--fallback"];
    for (words, models, reconnect) in [
        (&["participant", "join", "-r", &room, "--participant-id", "ann"][..], &["--models", "all"][..], true),
        (&["join", &room, "--participant-id", "ann"], &["--model", "a", "-m", "b", "--model", "b"], false),
    ] {
        provider.set_models(&["b", "a"]);
        let reconnect: &[&str] = if reconnect { &["--reconnect"] } else { &[] };
        let mut join = Running::start(&[words, models, reconnect, &common].concat());
        assert_eq!(join.event("prepared")["models"], json!(["b", "a"]));
        let shown = join.event("registered")["participant"].clone();
        assert_eq!((&shown["weight"], &shown["fallback"]), (&json!(3), &json!(true)));
        assert_eq!(shown["models"].as_array().unwrap().len(), 2);
        join.event("tunnel_connected");
        let (listed, left) = if models.len() == 2 { (&["b", "a", "c"][..], 3) } else { (&["a", "c"][..], 1) };
        provider.set_models(listed);
        join.signal("-HUP");
        let count = |shown: Value| shown["models"].as_array().map_or(1, Vec::len);
        wait_until("the models to be followed", || count(hub.participant(&room, "ann")) == left);
        join.signal("-TERM");
        assert_eq!(join.event("leaving")["signal"], "SIGTERM");
        join.event("left");
        assert_eq!(join.end().code, 0);
    }
}

#[test]
fn a_lost_session_ends_with_3() {
    let hub = TestHub::start();
    let (room, url) = (hub.room(), hub.url());
    let provider = FakeProvider::start(Script::Echo);
    let mut join = Running::start(&join_args(&url, &room, &provider.url()));
    for kind in ["prepared", "registered", "tunnel_connected"] {
        join.event(kind);
    }
    let left = run(&["participant", "leave", "-H", &url, "-r", &room, "--participant-id", "ann"]);
    assert_eq!(left.data(), json!({ "success": true }));
    let lost = join.event("tunnel_failed");
    assert_eq!((&lost["participantId"], &lost["room"]), (&json!("ann"), &json!(room)));
    assert_eq!(lost["reason"], "tunnel_closed");
    assert!(lost["message"].as_str().unwrap().contains("removed"), "{lost}");
    assert_eq!(join.end().code, 3);
}

#[test]
fn a_reconnecting_participant_prints_each_step_and_why_its_session_ended() {
    let hub = TestHub::start();
    let (room, url) = (hub.room(), hub.url());
    let provider = FakeProvider::start(Script::Echo);
    let endpoint = provider.url();
    let mut join = Running::start(&[&join_args(&url, &room, &endpoint)[..], &["--reconnect"]].concat());
    assert_eq!(join.event("prepared")["connection"], json!({ "kind": "tunnel" }));
    assert!(join.event("registered")["tunnel"]["url"].as_str().unwrap().starts_with("ws://"));
    join.event("tunnel_connected");
    hub.client.participants(&room).remove("ann").unwrap();
    let lost = join.event("tunnel_failed");
    let expected = (&json!("ann"), &json!(room), &json!("tunnel_closed"));
    assert_eq!((&lost["participantId"], &lost["room"], &lost["reason"]), expected);
    let ended = join.end();
    assert_eq!((ended.code, ended.out.as_str()), (3, ""), "{}", ended.err);
}

#[test]
fn a_tunnel_that_cannot_be_opened_is_an_event_and_ends_with_3() {
    let hub = FakeHub::start(Part::NoTunnel);
    let provider = FakeProvider::start(Script::Echo);
    let (url, endpoint) = (hub.url(), provider.url());
    let args = join_args(&url, "ABC234", &endpoint);
    let mut join = Running::start(&args);
    join.event("prepared");
    join.event("registered");
    let failed = join.event("tunnel_failed");
    assert_eq!((&failed["participantId"], &failed["room"]), (&json!("ann"), &json!("ABC234")));
    assert!(!failed["message"].as_str().unwrap().is_empty());
    assert_eq!(join.end().code, 3);
    let mut join = Running::start(&[&args[..], &["--reconnect"]].concat());
    join.event("prepared");
    join.event("registered");
    let failed = join.event("tunnel_failed");
    assert_eq!((&failed["participantId"], &failed["reason"]), (&json!("ann"), &json!("tunnel_closed")));
    join.event("waiting");
}

#[test]
fn a_join_that_cannot_be_ends_with_its_code() {
    let hub = TestHub::start();
    let url = hub.url();
    let room = hub.room_with(&CreateRoom { name: "x".into(), password: Some("pw".into()), ..CreateRoom::default() });
    let provider = FakeProvider::with_models(Script::Echo, &["llama3"]);
    let endpoint = provider.url();
    let missing = run(&join_args(&url, &room, &endpoint));
    assert!(missing.code == 3 && missing.err.contains("It has: llama3."), "{}", missing.err);
    let away = run(&join_args(&url, &room, "http://127.0.0.1:1"));
    assert!(away.code == 3 && away.err.contains("http://127.0.0.1:1"), "{}", away.err);
    let provider = FakeProvider::start(Script::Echo);
    let endpoint = provider.url();
    let unprotected = run(&join_args(&url, &room, &endpoint));
    assert!(unprotected.code == 3 && unprotected.err.contains("password"), "{}", unprotected.err);
    let mut args = join_args(&url, "ABC234", &endpoint);
    assert_eq!(run(&args).code, 4);
    args = join_args("http://127.0.0.1:1", &room, &endpoint);
    assert_eq!(run(&args).code, 3);
}

#[test]
fn events_are_printed_as_the_hub_sent_them() {
    let hub = TestHub::start();
    let (room, url) = (hub.room(), hub.url());
    let mut watch = Running::start(&["events", "watch", "-H", &url, "-r", &room, "--format", "json"]);
    watch.event("connected");
    hub.client.participants(&room).upsert("ann", &support::registration()).unwrap();
    let mut line = String::new();
    watch.lines.read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"type\":\"participant.joined\",\"timestamp\":"), "{line}");
    assert!(
        line.contains(&format!("\"roomCode\":\"{room}\",\"data\":{{")) && line.contains("\"id\":\"ann\""),
        "{line}"
    );
    watch.signal("-INT");
    assert_eq!(watch.end().code, 0);

    let mut text = Running::start(&["events", "watch", "-H", &url, "-r", &room, "--format", "text"]);
    let mut line = String::new();
    text.lines.read_line(&mut line).unwrap();
    assert!(line.contains("connected"), "{line}");
    hub.hub.shutdown();
    let ended = text.end();
    assert!(ended.code == 3 && ended.err.contains(&url), "{}", ended.err);
}

#[test]
fn a_closed_pipe_ends_quietly_and_leaves_the_room() {
    let hub = TestHub::start();
    let (room, url) = (hub.room(), hub.url());
    let mut watch = Running::start(&["events", "watch", "-H", &url, "-r", &room]);
    watch.event("connected");
    let mut err = watch.child.stderr.take().unwrap();
    // Putting another reader in its place drops the one whose pipe the command writes to.
    let (reader, _) = std::io::pipe().unwrap();
    watch.lines = BufReader::new(ChildStdout::from(std::os::fd::OwnedFd::from(reader)));
    // A process that another test is just starting may hold the pipe open for a moment: one event might not be enough.
    let ended = wait_for("the end of the command", || {
        hub.room();
        watch.child.try_wait().unwrap()
    });
    assert_eq!(ended.code(), Some(0));
    let mut text = String::new();
    err.read_to_string(&mut text).unwrap();
    assert_eq!(text, "");
}

#[test]
fn the_provider_and_the_demo_run() {
    let mut provider = Running::start(&["provider", "--port", "0", "--model", "parrot"]);
    let url = provider.event("started")["url"].as_str().unwrap().to_owned();
    let hub = TestHub::start();
    let room = hub.room();
    let mut args = join_args("", &room, &url);
    let hub_url = hub.url();
    args[3] = &hub_url;
    args[9] = "parrot";
    let join = Running::start(&args);
    hub.wait_for_status(&room, "ann", "online");
    let answer = hub.chat(&room, "any").expect(200).json();
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().ends_with("Hi"));
    drop(join);
    hub.wait_for_status(&room, "ann", "offline");
    provider.signal("-TERM");
    provider.event("signal_received");
    provider.event("stopped");
    assert_eq!(provider.end().code, 0);

    let demo = run(&["demo", "--once", "--delay", "1", "--format", "text"]);
    assert_eq!(demo.code, 0, "{}", demo.err);
    assert!(demo.out.contains("Hello from the other end of the tunnel!\n"), "{}", demo.out);
}

#[test]
fn a_participant_killed_in_mid_stream_breaks_its_stream_and_goes_offline() {
    let hub = TestHub::start();
    let (room, url) = (hub.room(), hub.url());
    let provider = FakeProvider::start(Script::StreamAndHang(vec!["data: 1\n\n".into()]));
    let mut join = Running::start(&join_args(&url, &room, &provider.url()));
    for kind in ["prepared", "registered", "tunnel_connected"] {
        join.event(kind);
    }
    let events = hub.watch_room(&room);
    let mut chat = hub.stream(&room, "ann");
    assert_eq!(chat.head().status, 200);
    assert_eq!(chat.chunk().unwrap(), b"data: 1\n\n");
    join.signal("-KILL");
    assert!(chat.chunk().unwrap().starts_with(b"data: {\"error\":{"));
    assert_eq!(chat.chunk(), None);
    assert_eq!(events.next("llm.error")["stage"], "stream");
    hub.wait_for_status(&room, "ann", "offline");
    wait_until("the provider to be left", || provider.abandoned() == 1);
}

#[test]
fn a_second_signal_ends_at_once() {
    let hub = TestHub::start();
    let (room, url) = (hub.room(), hub.url());
    let mut watch = Running::start(&["events", "watch", "-H", &url, "-r", &room]);
    watch.event("connected");
    watch.signal("-TERM");
    watch.signal("-TERM");
    // By the first signal in order, or by the second: either way it ends.
    let code = watch.end().code;
    assert!(code == 0 || code == -1, "{code}");
}

#[test]
fn the_older_commands_work_as_the_seeds_write_them() {
    let mut hub = Running::start(&["serve", "--host", "127.0.0.1", "--port", "0", "--room", "LAB001=Old lab"]);
    let url = hub.event("started")["hubUrl"].as_str().unwrap().to_owned();
    let made = run(&["create", "My AI Room", "--password", "secret123", "--hub", &url]).data();
    assert_eq!((&made["room"]["name"], &made["room"]["passwordProtected"]), (&json!("My AI Room"), &json!(true)));
    let list = run(&["list", "-j", "-H", &url]).json();
    assert_eq!(list.as_array().unwrap().len(), 2);
    let provider = FakeProvider::start(Script::Echo);
    let endpoint = provider.url();
    let code = made["room"]["code"].as_str().unwrap();
    let join = |code: &str, password: &str| {
        let args = [
            "join",
            code,
            "--nickname",
            "Alice",
            "--model",
            "m",
            "--endpoint",
            &endpoint,
            "--password",
            password,
            "-H",
            &url,
        ];
        Running::start(&args)
    };
    assert_eq!(run(&["join", "--model", "m", "-H", &url]).code, 2);
    for (code, password) in [(code, "secret123"), ("lab001", "")] {
        let mut alice = join(code, password);
        alice.event("prepared");
        let participant = alice.event("registered")["participant"].clone();
        assert_eq!((&participant["nickname"], participant["id"].as_str().unwrap().len()), (&json!("Alice"), 36));
        alice.event("tunnel_connected");
        alice.signal("-TERM");
        assert_eq!(alice.event("leaving")["signal"], "SIGTERM");
        alice.event("left");
    }
    hub.signal("-INT");
    assert_eq!(hub.end().code, 0);
}

#[test]
fn the_flat_commands_take_the_flags_that_were_released() {
    let mut hub = Running::start(&["serve", "-h", "127.0.0.1", "-p", "0", "-q"]);
    let started = hub.event("started");
    assert_eq!(started["host"], "127.0.0.1");
    let url = started["hubUrl"].as_str().unwrap().to_owned();
    let made = run(&["create", "-n", "Lab", "-p", "pw", "-H", &url]).data();
    let code = made["room"]["code"].as_str().unwrap();
    let provider = FakeProvider::start(Script::Echo);
    let endpoint = provider.url();
    let args = ["join", "-c", code, "-m", "m", "-e", &endpoint, "-n", "Bob", "-p", "pw", "-H", &url, "--no-specs"];
    let ignored = ["--network-endpoint", "http://192.168.1.9:11434", "--no-network-rewrite"];
    let mut join = Running::start(&[&args[..], &ignored].concat());
    assert_eq!(join.event("prepared")["endpoint"], json!(endpoint));
    let participant = join.event("registered")["participant"].clone();
    assert_eq!((&participant["nickname"], &participant["endpoint"]), (&json!("Bob"), &json!(endpoint)));
    join.event("tunnel_connected");
    let mut monitor = Running::start(&["monitor", "-h", &url]);
    let seen = wait_for("the participant", || {
        let mut line = String::new();
        monitor.lines.read_line(&mut line).unwrap();
        let change: Value = serde_json::from_str(&line).unwrap();
        (change["type"] == "participant").then_some(change)
    });
    assert_eq!(seen["data"]["nickname"], "Bob");
    join.signal("-INT");
    join.event("leaving");
    join.event("left");
    assert!(run(&["-v"]).out.starts_with("gambi "));
    assert!(run(&["join", "--help"]).out.contains("through a tunnel, no endpoint needs rewriting"));
    hub.signal("-INT");
    assert_eq!(hub.end().code, 0);
}

#[test]
fn rooms_are_declared_in_a_file() {
    let dir = Dir::new("rooms");
    let serve = |text: &str| {
        let file = dir.file("rooms.json", text);
        run(&["hub", "serve", "--dry-run", "--rooms", &file])
    };
    let good = serve(
        r#"[{"code": "LAB001", "name": "Lab", "password": "pw", "defaults": {"temperature": 0}}, {"code": "LAB002", "name": "x"}]"#,
    );
    assert_eq!(good.data()["payload"]["rooms"], json!(["LAB001", "LAB002"]));
    for bad in [
        "{}",
        "[{}]",
        r#"[{"code": "X", "name": "x", "pasword": "x"}]"#,
        r#"[{"code": "LAB001", "name": "x", "defaults": {"seed": "x"}}]"#,
    ] {
        let ran = serve(bad);
        assert!(ran.code == 2 && ran.err.contains("rooms.json"), "{bad}: {}", ran.err);
    }
    for args in
        [["--room", "LAB001"], ["--room", "LAB=x"], ["--room", "LAB001="], ["--direct", "maybe"], ["--room-ttl", "x"]]
    {
        assert_eq!(
            run(&[&["hub", "serve", "--host", "127.0.0.1", "--port", "0"], &args[..]].concat()).code,
            2,
            "{args:?}"
        );
    }
}

#[test]
fn a_room_is_talked_to_from_scripts() {
    let hub = TestHub::start();
    let (room, url) = (hub.room(), hub.url());
    let mut provider = Running::start(&["provider", "--port", "0"]);
    let endpoint = provider.event("started")["url"].as_str().unwrap().to_owned();
    let mut args = join_args(&url, &room, &endpoint);
    args[9] = "echo";
    args.push("--reconnect");
    let mut join = Running::start(&args);
    for kind in ["prepared", "registered", "tunnel_connected"] {
        join.event(kind);
    }
    let chat = |more: &[&str]| run(&[&["chat", "-H", &url, "-r", &room], more].concat());
    let told = chat(&["Hello there"]);
    assert!(told.out.ends_with("You said: Hello there\n") && told.out.lines().count() == 1, "{}", told.out);
    assert!(told.err.starts_with("ann · echo · ") && told.err.lines().count() == 1, "{}", told.err);
    assert_eq!(chat(&["Hello there", "--quiet"]).err, "");
    assert_eq!(chat(&["Hello there", "--thinking", "perhaps"]).code, 2);
    let whole = chat(&["-m", "model:echo", "--system", "Be brief.", "--format", "json", "Hello"]).data();
    assert!(whole["choices"][0]["message"]["content"].as_str().unwrap().ends_with("Hello"));
    let pieces = chat(&["--prompt", "Hello", "--format", "ndjson"]).out;
    assert!(pieces.lines().count() > 3 && pieces.lines().all(|line| line.starts_with('{')), "{pieces}");
    for text in ["From a pipe\n", "\"\"\"\nFrom a pipe\n\"\"\"\n"] {
        let mut piped = gambi(&["chat", "-H", &url, "-r", &room]).stdin(Stdio::piped()).spawn().unwrap();
        piped.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(ran(piped.wait_with_output().unwrap()).out.ends_with("You said: From a pipe\n"));
    }
    assert_eq!(chat(&[]).code, 2);
    assert_eq!(chat(&["-m", "nobody", "Hi"]).code, 4);
    assert_eq!(run(&["chat", "-H", "http://127.0.0.1:1", "-r", &room, "Hi"]).code, 3);
    assert_eq!(run(&["models", "-H", &url, "-r", &room]).data()[0]["id"], "ann");
    assert_eq!(run(&["participant", "list", "-H", &url, "-r", &room]).data()[0]["status"], "online");
    assert!(run(&["participant", "list", "-H", &url, "-r", &room, "--format", "text"]).out.contains("ann"));
    join.signal("-INT");
    join.event("leaving");
    join.event("left");
    assert_eq!(join.end().code, 0);
    assert_eq!(run(&["models", "-H", &url, "-r", &room, "--format", "ndjson"]).out, "{\"data\":[]}\n");
}

#[test]
fn a_room_is_deleted_with_its_hosts_id() {
    let hub = TestHub::start();
    let url = hub.url();
    let made = run(&["room", "create", "-H", &url, "-n", "x"]).data();
    let (code, host) = (made["room"]["code"].as_str().unwrap(), made["hostId"].as_str().unwrap());
    assert_eq!(run(&["room", "delete", "-H", &url, "-c", code, "--host-id", "x"]).code, 3);
    assert_eq!(run(&["room", "delete", "-H", &url, "-c", code, "--host-id", host]).data(), json!({ "success": true }));
    assert_eq!(run(&["room", "delete", "-H", &url, "-c", code, "--host-id", host]).code, 4);
}

#[test]
fn completions_and_the_man_page_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).out.contains("_gambi"));
        let found = run(&["completions", shell, "--", "room", "cr"]).out;
        assert!(found.starts_with("create") && found.lines().count() == 1, "{shell}: {found}");
    }
    assert_eq!(run(&["completions", "bash", "--", "hub", "serve", "--key-file", ""]).out, ":files\n");
    assert_eq!(run(&["completions", "bash", "--", "nonsense", ""]).out, "");
    assert_eq!(run(&["completions", "tcsh"]).code, 2);
    assert!(run(&["man"]).out.starts_with(".TH GAMBI 1"));
}

#[test]
fn a_refusal_names_the_flag_that_mends_it() {
    let hub = TestHub::with(|options| options.strict = true);
    let url = hub.url();
    let private = CreateRoom { name: "x".into(), password: Some("pw".into()), private: true, ..CreateRoom::default() };
    let (room, open) = (hub.room_with(&private), hub.room());
    hub.client.participants(&open).upsert("ann", &support::registration()).unwrap();
    let provider = FakeProvider::start(Script::Echo);
    let endpoint = provider.url();
    let join = join_args(&url, &room, &endpoint);
    let dir = Dir::new("refusal");
    let token = dir.file("token", &"t".repeat(40));
    let leave = ["participant", "leave", "--participant-id", "ann", "-H", &url, "-r", &open];
    let with_token = [&leave[..], &["--token-file", &token]].concat();
    let delete = ["room", "delete", "-H", &url, "-c", &open, "--host-id", "x"];
    for (args, says, flag) in [
        (&join[..], "No password given", "Use --password-file"),
        (&["chat", "Hi", "-H", &url, "-r", &room], "No password given", "Use --password-file"),
        (&["models", "-H", &url, "-r", &room], "No password given", "Use --password-file"),
        (&["models", "-H", &url, "-r", &room, "-p", "x"], "is missing or wrong", "--password-file"),
        (&leave, "No token given", "Use --token-file"),
        (&with_token, "The token in --token-file is not that", "Use --token-file"),
        (&delete, "Only the room's host", "Use --host-id"),
    ] {
        let ran = run(args);
        let lines: Vec<&str> = ran.err.lines().collect();
        assert_eq!(ran.code, 3, "{args:?}: {}", ran.err);
        assert!(lines[0].contains(says) && lines[1].starts_with("Hint: "), "{args:?}: {}", ran.err);
        assert!(lines[1].contains(flag) && !ran.err.contains("X-Gambi"), "{args:?}: {}", ran.err);
    }
    for unsendable in [" pw", "größe"] {
        let ran = run(&["models", "-H", &url, "-r", &room, "-p", unsendable]);
        assert!(ran.code == 2 && ran.err.contains("must be printable ASCII"), "{unsendable}: {}", ran.err);
    }
}

#[test]
fn a_hub_that_is_told_to_stop_lets_requests_end_and_takes_no_new_ones() {
    let mut hub = Running::start(&["hub", "serve", "--host", "127.0.0.1", "--port", "0", "--room", "LAB001=Lab"]);
    let started = hub.event("started");
    let (url, port) = (started["hubUrl"].as_str().unwrap().to_owned(), started["port"].as_u64().unwrap());
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
    let provider = FakeProvider::start(Script::Held(Box::new(Script::Echo)));
    let builder = gambi::participant::Session::builder(&url, "LAB001").participant_id("ann").model("m");
    let session = builder.concurrency(2).endpoint(provider.url()).start().unwrap();
    let path = "/rooms/LAB001/v1/chat/completions";
    let body = r#"{"model":"any","messages":[]}"#;
    let mut chat = support::Conn::open(addr);
    chat.ask("POST", path, &[], Some(body));
    provider.wait_for_request(1);
    // The one that has come stays held; others that come before the hub has heard the signal are answered.
    provider.set(Script::Echo);
    hub.signal("-TERM");
    hub.event("signal_received");
    wait_until("new requests to be refused", || {
        let refused = support::request(addr, "POST", path, Some(body));
        refused.status == 503 && refused.header("retry-after").is_some()
    });
    provider.release();
    assert_eq!(chat.answer().expect(200).json()["model"], "m");
    hub.event("stopped");
    assert_eq!(hub.end().code, 0);
    assert_eq!(session.wait_until_closed().reason.as_str(), "tunnel_closed");
}

#[test]
fn a_participant_that_is_told_to_stop_finishes_its_answers_and_takes_no_new_ones() {
    for reconnect in [&[][..], &["--reconnect"]] {
        let hub = TestHub::start();
        let (room, url) = (hub.room(), hub.url());
        let provider = FakeProvider::start(Script::Held(Box::new(Script::Echo)));
        let endpoint = provider.url();
        let args = [&join_args(&url, &room, &endpoint)[..], &["--concurrency", "2"], reconnect].concat();
        let mut join = Running::start(&args);
        for kind in ["prepared", "registered", "tunnel_connected"] {
            join.event(kind);
        }
        let mut chat = hub.stream(&room, "any");
        provider.wait_for_request(1);
        join.signal("-INT");
        let leaving = join.event("leaving");
        assert_eq!((&leaving["signal"], &leaving["requests"]), (&json!("SIGINT"), &json!(1)));
        wait_until("the hub to be told", || hub.participant(&room, "ann")["draining"] == true);
        assert_eq!(hub.participant(&room, "ann")["status"], "offline");
        let list = run(&["participant", "list", "--format", "text", "--hub", &url, "--room", &room]);
        assert!(list.out.contains("draining"), "{}", list.out);
        // The hub sends new requests to another participant.
        let other = FakeProvider::start(Script::Echo);
        let _bob = hub.join(&room, "bob", &other);
        for _ in 0..4 {
            hub.chat(&room, "any").expect(200);
        }
        assert_eq!((other.seen().len(), provider.seen().len()), (4, 1));
        let refused = hub.chat(&room, "ann").expect(503);
        assert!(refused.text().contains("draining") && refused.header("retry-after").is_some(), "{}", refused.text());
        provider.release();
        assert!(chat.answer().expect(200).text().ends_with("data: [DONE]\n\n"));
        join.event("left");
        let ended = join.end();
        assert_eq!((ended.code, ended.err.as_str()), (0, ""));
        let left: Vec<_> = hub.client.participants(&room).list().unwrap().into_iter().map(|p| p.id).collect();
        assert_eq!(left, ["bob"]);
    }
}

#[test]
fn answers_in_progress_are_cut_off_by_a_second_signal_and_by_the_drain_timeout() {
    for (flags, signals) in [(&["--drain-timeout", "1ms"][..], 1), (&[], 2)] {
        let hub = TestHub::start();
        let (room, url) = (hub.room(), hub.url());
        let provider = FakeProvider::start(Script::StreamAndHang(vec!["data: 1\n\n".into()]));
        let endpoint = provider.url();
        let mut join = Running::start(&[&join_args(&url, &room, &endpoint)[..], &["--format", "text"], flags].concat());
        hub.wait_for_status(&room, "ann", "online");
        let mut chat = hub.stream(&room, "ann");
        assert_eq!(chat.head().status, 200);
        assert_eq!(chat.chunk().unwrap(), b"data: 1\n\n");
        join.signal("-INT");
        let says = wait_for("the end to be told", || {
            let mut line = String::new();
            join.lines.read_line(&mut line).unwrap();
            line.starts_with("SIGINT").then_some(line)
        });
        assert_eq!(says, "SIGINT: finishing one answer. Ctrl-C again stops at once.\n");
        if signals == 2 {
            join.signal("-INT");
        }
        wait_until("the provider to be left", || provider.abandoned() == 1);
        assert!(chat.chunk().unwrap().starts_with(b"data: {\"error\":{"));
        let ended = join.end();
        assert_eq!(
            (ended.code, ended.err.contains("--drain-timeout")),
            if signals == 2 { (-1, false) } else { (0, true) }
        );
    }
}

#[test]
fn a_hubs_key_comes_from_a_file_or_the_environment() {
    let dir = Dir::new("key");
    let file = dir.file("key", "k3y-from-a-file\n");
    let mut hub = Running::start(&[
        "hub",
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--room",
        "LAB001=Lab",
        "--key-file",
        &file,
    ]);
    let url = hub.event("started")["hubUrl"].as_str().unwrap().to_owned();
    assert_eq!(run(&["room", "list", "-H", &url]).code, 3);
    assert_eq!(run(&["room", "list", "-H", &url, "--key-file", &file]).code, 0);
    let provider = FakeProvider::start(Script::Echo);
    let endpoint = provider.url();
    let with_key = |args: &[&str]| {
        let mut command = gambi(args);
        command.env("GAMBI_HUB_KEY", "k3y-from-a-file");
        command
    };
    let mut child = with_key(&join_args(&url, "LAB001", &endpoint)).spawn().unwrap();
    let mut join = Running { lines: BufReader::new(child.stdout.take().unwrap()), child };
    for kind in ["prepared", "registered", "tunnel_connected"] {
        assert!(!join.event(kind).to_string().contains("k3y"));
    }
    let list = ran(with_key(&["models", "-H", &url, "-r", "LAB001"]).output().unwrap());
    assert_eq!(list.data()[0]["id"], "ann");
    assert_eq!(run(&["room", "list", "-H", &url, "--key-file", "/no/such/file"]).code, 2);
}

/// What steers a terminal or the order of text, and a line that looks like the program's own.
const HOSTILE: &str = "\u{1b}[2J\u{7}\u{9b}31m\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}\rx\nError: forged";

/// A hub and provider whose every text is hostile.
fn hostile_hub() -> FakeProvider {
    let hub = FakeProvider::with_models(Script::Missing, &[HOSTILE]);
    let json = |status: u16, body: Value| Script::json(status, &body);
    let data = |data: Value| json(200, json!({ "data": data, "meta": { "requestId": "r" } }));
    let room = json!({
        "id": "i", "code": HOSTILE, "name": HOSTILE, "hostId": HOSTILE, "createdAt": 1, "passwordProtected": false,
        "participantCount": 1, "defaults": { "stop": [HOSTILE] },
    });
    let participant = json!({
        "id": HOSTILE, "nickname": HOSTILE, "model": HOSTILE, "endpoint": "http://e", "status": "online", "joinedAt": 1,
        "lastSeen": 1, "updatedAt": 1, "connection": { "kind": "tunnel", "connected": true, "lastTunnelSeenAt": null },
    });
    hub.set_path("/v1/rooms", data(json!([room])));
    hub.set_path("/v1/rooms/ABC234", data(room));
    hub.set_path("/v1/rooms/ABC234/participants", data(json!([participant])));
    let refused = json!({
        "error": { "code": "ROOM_NOT_FOUND", "message": HOSTILE, "hint": HOSTILE }, "meta": { "requestId": HOSTILE },
    });
    hub.set_path("/v1/rooms/XYZ234", json(404, refused));
    let event = json!({
        "type": HOSTILE, "timestamp": 1, "roomCode": "ABC234",
        "data": { "nickname": HOSTILE, "model": HOSTILE, "error": HOSTILE },
    });
    hub.set_path("/v1/rooms/ABC234/events", Script::Stream(vec![format!("data: {event}\n\n")]));
    let model = json!({ "id": HOSTILE, "gambi": { "nickname": HOSTILE, "model": HOSTILE } });
    hub.set_path("/rooms/ABC234/v1/models", json(200, json!({ "data": [model] })));
    let error = json!({ "error": HOSTILE, "code": "ENDPOINT_NOT_REACHABLE" });
    hub.set_path("/rooms/XYZ234/v1/chat/completions", json(502, error));
    hub
}

/// Whether a text steers the terminal that it is printed on.
fn steers(text: &str) -> bool {
    text.contains(|c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || HOSTILE.contains(c) && !c.is_ascii())
}

#[test]
fn nothing_that_a_hub_a_participant_or_a_provider_writes_steers_the_terminal() {
    let hub = hostile_hub();
    let url = hub.url();
    for (args, code) in [
        (&["room", "list"][..], 0),
        (&["room", "get", "--code", "ABC234"], 0),
        (&["room", "get", "--code", "XYZ234"], 4),
        (&["participant", "list", "--room", "ABC234"], 0),
        (&["models", "--room", "ABC234"], 0),
        (&["events", "watch", "--room", "ABC234"], 3),
        (&["chat", "--room", "XYZ234", "--prompt", "hi"], 1),
        (&["participant", "join", "--room", "ABC234", "--participant-id", "p", "--model", "m", "--endpoint", &url], 3),
    ] {
        let mut args = args.to_vec();
        args.extend(["--hub", &url, "--format", "text"]);
        let ran = run(&args);
        let all = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, code, "{args:?}: {all:?}");
        assert!(all.contains("[2J") && !steers(&all), "{args:?}: {all:?}");
        assert!(!all.lines().any(|line| line.starts_with("Error: forged")), "{args:?}: {all:?}");
    }
    // A script gets what the hub said, as JSON writes it.
    let ran = run(&["room", "list", "--hub", &url, "--format", "json"]);
    assert_eq!(ran.data()[0]["name"], HOSTILE);
}

#[test]
fn an_answer_keeps_its_lines_and_steers_no_terminal() {
    let hub = FakeProvider::start(Script::Missing);
    let piece = |text: &str| format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": text } }] }));
    let pieces =
        [piece("one\n\ttwo\r\n"), piece("\u{1b}]0;title\u{7}"), piece("\u{202e}three"), "data: [DONE]\n\n".into()];
    hub.set_path("/rooms/ABC234/v1/chat/completions", Script::Stream(pieces.into()));
    let ran = run(&["chat", "--room", "ABC234", "--hub", &hub.url(), "--format", "text", "--prompt", "hi"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "one\n\ttwo\n\u{fffd}]0;title\u{fffd}three\n"), "{}", ran.err);
}

#[test]
fn an_answer_that_is_not_streamed_is_printed_too() {
    let hub = TestHub::start();
    let (room, url) = (hub.room(), hub.url());
    let choice = json!({ "message": { "role": "assistant", "content": "Whole\nanswer." } });
    let body = serde_json::to_string_pretty(&json!({ "model": "m", "choices": [choice] })).unwrap();
    let provider = FakeProvider::start(Script::Answer { status: 200, kind: "application/json", body });
    let _ann = hub.join(&room, "ann", &provider);
    let ran = run(&["chat", "--room", &room, "--hub", &url, "hi"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "Whole\nanswer.\n"), "{}", ran.err);
    assert!(ran.err.starts_with("ann · m · first token "), "{}", ran.err);
}

#[test]
fn an_answer_that_breaks_off_is_told_with_its_participant() {
    let hub = TestHub::start();
    let (room, url) = (hub.room(), hub.url());
    let piece = format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": "half" } }] }));
    let provider = FakeProvider::start(Script::StreamAndDie(vec![piece]));
    let _ann = hub.join(&room, "ann", &provider);
    let ran = run(&["chat", "--room", &room, "--hub", &url, "--format", "text", "hi"]);
    assert_eq!((ran.code, ran.out.as_str()), (3, "half\n"), "{}", ran.err);
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(lines[0].starts_with("Error: the answer of the participant \"ann\" broke off: "), "{}", ran.err);
    assert!(lines[1].starts_with("Hint: Send it again") && lines[2].starts_with("request_id: "), "{}", ran.err);
    // One that was sent whole, by a hub that is lost meanwhile.
    let lost = FakeProvider::start(Script::Raw(
        b"HTTP/1.1 200 OK\r\nX-Gambi-Participant: bob\r\nContent-Length: 99\r\n\r\n{".to_vec(),
    ));
    let ran = run(&["chat", "--room", "ABC234", "--hub", &lost.url(), "--format", "json", "hi"]);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{}", ran.err);
    assert!(ran.err.starts_with("Error: the answer of the participant \"bob\" broke off: "), "{}", ran.err);
}

#[test]
fn tools_that_hang_do_not_keep_a_participant_from_joining() {
    let dir = Dir::new("tools");
    let provider = FakeProvider::start(Script::Echo);
    let held = dir.0.join("held");
    let stays = "#!/bin/sh\nexec >&-\nexec /bin/sleep 600\n".to_owned();
    let forks = format!("#!/bin/sh\n/bin/sleep 600 &\necho $! > {}\n", held.display());
    for text in [stays, forks] {
        let file = dir.file("nvidia-smi", &text);
        assert!(Command::new("chmod").args(["755", &file]).status().unwrap().success());
        let args = ["participant", "join", "--dry-run", "--room", "ABC234", "--participant-id", "p", "--model", "m"];
        let mut command = gambi(&args);
        command
            .args(["--hub", "http://127.0.0.1:1", "--endpoint", &provider.url(), "--format", "json"])
            .env("PATH", &dir.0);
        let start = std::time::Instant::now();
        let ran = ran(command.output().unwrap());
        assert!(start.elapsed().as_secs() < 300, "the tool was waited for");
        assert_eq!(ran.code, 0, "{}", ran.err);
        let specs = ran.data()["payload"]["specs"].take();
        assert!(specs.is_object() && specs.get("gpu").is_none(), "{}", ran.out);
    }
    let child = fs::read_to_string(&held).unwrap();
    assert!(Command::new("kill").arg(child.trim()).status().unwrap().success());
}
