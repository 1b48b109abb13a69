//! The log: a line for each request, what is in it and what never is, and that nobody waits for it.

mod support;

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gambi::client::Client;
use gambi::hub::{Log, LogFormat, LogLevel};
use gambi::participant::Session;
use serde_json::{Value, json};

use support::{Conn, FakeProvider, RawParticipant, Script, TestHub, wait_for, wait_until};

/// What was logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("UTF-8")
    }

    /// The lines, each of which is JSON.
    fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.text().lines().map(parse).collect()
    }

    /// Waits for the only line that fits.
    fn line(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || self.lines().into_iter().find(|line| fits(line)))
    }

    fn request(&self, path: &str) -> Value {
        self.line(path, |line| line["about"] == "request" && line["path"] == path)
    }

    fn count(&self, path: &str) -> usize {
        self.lines().iter().filter(|line| line["about"] == "request" && line["path"] == path).count()
    }
}

fn hub(level: LogLevel) -> (TestHub, Logged) {
    let logged = Logged::default();
    let log = Log::to(logged.clone()).level(level).format(LogFormat::Json);
    (TestHub::with(|options| options.log = Some(log)), logged)
}

fn keys(line: &Value) -> Vec<&str> {
    line.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_request_has_one_line_and_one_name_everywhere() {
    let (hub, logged) = hub(LogLevel::Debug);
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    let events = hub.watch_room(&room);
    let mut chat = hub.stream(&room, "any");
    let request = ann.receive();
    let usage = r#"data: {"usage":{"prompt_tokens":5,"completion_tokens":7}}"#;
    ann.begin(&request, "text/event-stream", &[usage, "\n\n"]);
    ann.end(&request);
    let answer = chat.answer().expect(200);
    let id = answer.header("x-gambi-request-id").unwrap();
    assert_eq!(request["requestId"], id, "on the tunnel");
    assert_eq!(
        (events.next("llm.request")["requestId"].as_str(), events.next("llm.complete")["requestId"].as_str()),
        (Some(id), Some(id))
    );

    let path = format!("/rooms/{room}/v1/chat/completions");
    let line = logged.request(&path);
    assert_eq!((line["requestId"].as_str(), line["level"].as_str()), (Some(id), Some("info")));
    assert_eq!((&line["method"], &line["status"], &line["room"]), (&json!("POST"), &json!(200), &json!(room)));
    assert_eq!(
        (&line["participant"], &line["model"], &line["protocol"]),
        (&json!("ann"), &json!("any"), &json!("chatCompletions"))
    );
    assert_eq!(
        (&line["inputTokens"], &line["outputTokens"], &line["peer"]),
        (&json!(5), &json!(7), &json!("127.0.0.1"))
    );
    assert!(line["bytes"].as_u64().unwrap() > answer.body.len() as u64, "{line}");
    assert!(line["durationMs"].as_u64() >= line["ttftMs"].as_u64(), "{line}");
    let mut allowed = vec!["about", "bytes", "durationMs", "inputTokens", "level", "method", "model", "outputTokens"];
    allowed.extend(["participant", "path", "peer", "protocol", "requestId", "room", "status", "time", "ttftMs"]);
    assert_eq!(keys(&line), allowed);
    for about in ["llm.request", "llm.complete"] {
        assert_eq!(logged.line(about, |line| line["about"] == about)["requestId"], id);
    }
    assert_eq!(logged.count(&path), 1);

    let list = hub.get("/v1/rooms").expect(200).json();
    assert_eq!(
        list["meta"]["requestId"],
        logged.line("the list", |l| l["path"] == "/v1/rooms" && l["method"] == "GET")["requestId"]
    );
    let missing = hub.get("/v1/rooms/ZZZZZZ?token=s3cret").expect(404).json();
    let line = logged.request("/v1/rooms/ZZZZZZ");
    assert_eq!(
        (&line["requestId"], &line["code"], &line["status"]),
        (&missing["meta"]["requestId"], &json!("ROOM_NOT_FOUND"), &json!(404))
    );
    let refused = hub.chat(&room, "nobody").expect(404);
    let id = refused.header("x-gambi-request-id").unwrap().to_owned();
    let line = logged.line("the refusal", |line| line["requestId"] == id.as_str());
    assert_eq!(
        (&line["code"], &line["model"], &line["participant"]),
        (&json!("MODEL_NOT_FOUND"), &json!("nobody"), &Value::Null)
    );

    drop(ann);
    let tunnel = logged.request(&format!("/v1/rooms/{room}/participants/ann/tunnel"));
    assert_eq!(
        (&tunnel["status"], &tunnel["participant"], &tunnel["peer"]),
        (&json!(101), &json!("ann"), &json!("127.0.0.1"))
    );
    assert!(!logged.text().contains("token=") && !logged.text().contains("s3cret"), "{}", logged.text());
}

#[test]
fn it_tells_who_hung_up_and_what_failed() {
    let (hub, logged) = hub(LogLevel::Info);
    let room = hub.room();
    let path = format!("/rooms/{room}/v1/chat/completions");
    let at = |status: u64| {
        logged.line(&format!("a line with {status}"), |l| l["path"] == path.as_str() && l["status"] == status)
    };
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");

    let first = hub.stream(&room, "ann");
    let asked = ann.receive();
    let waiting = hub.stream(&room, "ann");
    wait_until("it to stand in line", || hub.hub.waiting() == 1);
    waiting.hang_up();
    let line = at(499);
    assert_eq!(
        (&line["stage"], &line["participant"], &line["level"], &line["peer"]),
        (&json!("cancelled"), &Value::Null, &json!("info"), &json!("127.0.0.1"))
    );
    first.hang_up();
    let gone = logged.line("the first", |line| line["requestId"] == asked["requestId"]);
    assert_eq!(
        (&gone["status"], &gone["stage"], &gone["participant"], &gone["peer"]),
        (&json!(499), &json!("cancelled"), &json!("ann"), &json!("127.0.0.1"))
    );
    assert_eq!(ann.receive()["type"], "tunnel.cancel");

    let failing = hub.stream(&room, "ann");
    let asked = ann.receive();
    ann.fail(&asked, "a-prompt-that-was-quoted");
    let line = at(502);
    assert_eq!(
        (&line["stage"], &line["code"], &line["level"]),
        (&json!("fetch"), &json!("ENDPOINT_NOT_REACHABLE"), &json!("warn"))
    );
    drop(failing);
    let mut broken = hub.stream(&room, "ann");
    let asked = ann.receive();
    ann.begin(&asked, "text/event-stream", &["data: {}\n\n"]);
    broken.head();
    broken.chunk();
    ann.fail(&asked, "a-prompt-that-was-quoted");
    let line = logged.line("the broken stream", |line| line["requestId"] == asked["requestId"]);
    assert_eq!((&line["status"], &line["stage"], &line["level"]), (&json!(200), &json!("stream"), &json!("warn")));

    let failing = hub.stream(&room, "ann");
    let id = ann.receive()["requestId"].clone();
    let stage = "The prompt was: a-prompt-that-was-quoted";
    ann.send(&json!({ "type": "tunnel.response.error", "requestId": id, "stage": stage, "message": "" }));
    assert_eq!(logged.line("the last", |line| line["requestId"] == id)["stage"], "participant");
    drop(failing);
    assert!(!logged.text().contains("quoted"), "what participants say of a failure is not told: {}", logged.text());
}

#[test]
fn an_error_that_came_after_the_status_is_told_too() {
    let logged = Logged::default();
    let hub = TestHub::with(|options| {
        options.log = Some(Log::to(logged.clone()).format(LogFormat::Json));
        options.timeouts.comment = Duration::from_millis(50);
    });
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    let mut waiting = hub.stream(&room, "ann");
    let asked = ann.receive();
    assert_eq!(waiting.head().status, 200);
    ann.fail(&asked, "no");
    let line = logged.line("the failure", |line| line["requestId"] == asked["requestId"]);
    let told = (&line["status"], &line["code"], &line["stage"], &line["level"]);
    assert_eq!(told, (&json!(200), &json!("ENDPOINT_NOT_REACHABLE"), &json!("fetch"), &json!("warn")));
}

#[test]
fn a_request_that_was_sent_to_a_second_participant_tells_which_one_answered() {
    for (winner, told) in [("first", "lost"), ("second", "won")] {
        let logged = Logged::default();
        let hub = TestHub::with(|options| {
            options.log = Some(Log::to(logged.clone()).format(LogFormat::Json));
            options.hedge_after_min = Some(Duration::from_millis(100));
        });
        let room = hub.room();
        let mut first = RawParticipant::join(&hub, &room, "first");
        hub.wait_for_status(&room, "first", "online");
        let mut chat = hub.stream(&room, "any");
        let asked = first.receive();
        let mut second = RawParticipant::join(&hub, &room, "second");
        let asked_again = second.receive();
        let (answering, request) = if told == "won" { (&mut second, &asked_again) } else { (&mut first, &asked) };
        answering.begin(request, "text/event-stream", &["data: 1\n\n"]);
        answering.end(request);
        assert_eq!(chat.answer().text(), "data: 1\n\n");
        let line = logged.line("the request", |line| line["requestId"] == asked["requestId"]);
        assert_eq!((&line["participant"], &line["hedge"]), (&json!(winner), &json!(told)));
    }
}

#[test]
fn levels_leave_out_what_they_should() {
    let (hub, logged) = hub(LogLevel::Warn);
    let room = hub.room();
    hub.chat(&room, "nobody").expect(404);
    let provider = FakeProvider::start(Script::Slam);
    let _session =
        Session::builder(hub.url(), &room).participant_id("ann").model("m").endpoint(provider.url()).start().unwrap();
    hub.chat(&room, "ann").expect(502);
    logged.line("the failure", |line| line["status"] == 502);
    assert!(logged.lines().iter().all(|line| line["level"] == "warn"), "{}", logged.text());

    // What never became a request is told of too.
    let (hub, logged) = self::hub(LogLevel::Info);
    assert!(Conn::open(hub.addr()).send("GET / HTTP/1.1\r\nHost : x\r\n\r\n").answer().status == 400);
    let line = logged.line("the bad head", |line| line["about"] == "refused");
    assert_eq!(
        (&line["status"], &line["code"], &line["peer"]),
        (&json!(400), &json!("INVALID_REQUEST"), &json!("127.0.0.1"))
    );
}

#[test]
fn strangers_forge_no_lines() {
    let forged = "\n{\"level\":\"error\"}\r\u{1b}[2J\u{202e}\u{2028}\u{9b}";
    for format in [LogFormat::Json, LogFormat::Text] {
        let logged = Logged::default();
        let hub =
            TestHub::with(|options| options.log = Some(Log::to(logged.clone()).level(LogLevel::Debug).format(format)));
        let room = hub.room();
        hub.chat(&room, &format!("m{forged}{}", "x".repeat(5000))).expect(404);
        hub.get("/v1/rooms/%0A%1B%5B2J").expect(404);
        // Bytes in a path that are no text, raw.
        Conn::open(hub.addr())
            .send(b"GET /\xe2\x80\xae\xff\x1b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .rest();
        let mut names = support::registration();
        names.nickname = "🦀".repeat(200);
        hub.client.participants(&room).upsert("🦀\"=\\", &names).unwrap();
        wait_until("all to be told", || logged.text().contains("participant.joined"));
        let text = logged.text();
        assert!(text.chars().all(|c| c == '\n' || !(c.is_control() || "\u{202e}\u{2028}".contains(c))), "{text:?}");
        for line in text.lines() {
            assert!(line.len() < 1500, "{line}");
            match format {
                LogFormat::Json => {
                    assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"] != "error"), "{line}")
                }
                LogFormat::Short { .. } => unreachable!("not tried here"),
                LogFormat::Text => assert!(line.starts_with("20") && !line.contains(" error "), "{line}"),
            }
        }
    }
}

fn process(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
    command.args(args).env_clear().env("PATH", std::env::var("PATH").unwrap_or_default());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

const SERVE: [&str; 8] = ["hub", "serve", "--host", "127.0.0.1", "--port", "0", "--format", "ndjson"];

/// A hub in a process of its own, its stderr unread.
fn serve(args: &[&str], vars: &[(&str, &str)]) -> (support::Killed, String) {
    let mut child = process(&[&SERVE[..], args].concat()).envs(vars.iter().copied()).spawn().expect("gambi to run");
    let mut line = String::new();
    let mut byte = [0];
    let out = child.stdout.as_mut().unwrap();
    while !line.ends_with('\n') && out.read(&mut byte).unwrap() == 1 {
        line.push(char::from(byte[0]));
    }
    let started: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let url = started["data"]["hubUrl"].as_str().unwrap().to_owned();
    (support::Killed(child), url)
}

#[test]
fn a_full_pipe_holds_nobody_up() {
    let (mut hub, url) = serve(&["--log-level", "debug", "--log-format", "json"], &[]);
    let addr = url.trim_start_matches("http://").parse().unwrap();
    // A pipe takes 64 KiB and the hub keeps 256 KiB; this is more than a megabyte.
    let mut conn = Conn::open(addr);
    for n in 0..4000 {
        let answer = conn.ask("GET", &format!("/v1/rooms/ZZZZZZ/{}{n}", "x".repeat(150)), &[], None).answer();
        assert_eq!(answer.status, 404);
    }
    let metrics = conn.ask("GET", "/metrics", &[], None).answer().expect(200).text();
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("gambi_log_lines_dropped_total ")).unwrap();
    let dropped: u64 = dropped.parse().unwrap();
    assert!((1000..4000).contains(&dropped), "{dropped}");
    drop(conn);
    // Once it is read again, what was dropped is told of.
    let mut err = hub.0.stderr.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).unwrap();
        text
    });
    Client::new(&url).unwrap().health().unwrap();
    hub.signal("-TERM");
    assert!(hub.0.wait().unwrap().success());
    let text = reader.join().unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("whole lines")).collect();
    let told: u64 = lines.iter().filter(|l| l["about"] == "lines_dropped").map(|l| l["count"].as_u64().unwrap()).sum();
    assert!(told >= dropped, "{told} of {dropped}");
    let requests = lines.iter().filter(|l| l["about"] == "request").count() as u64;
    assert_eq!(requests + told, 4002, "each is there or was counted");
}

#[test]
fn flags_win_over_variables_and_these_over_the_config_file() {
    let home = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("logs-{}", std::process::id()));
    std::fs::create_dir_all(home.join("gambi")).unwrap();
    let config =
        json!({ "defaultEnv": "a", "envs": { "a": { "serve": { "logLevel": "warn", "logFormat": "json" } } } });
    std::fs::write(home.join("gambi/config.json"), config.to_string()).unwrap();
    let dry = |args: &[&str], vars: &[(&str, &str)]| {
        let mut command = process(&[&SERVE[..], &["--dry-run"], args].concat());
        let output = command.env("XDG_CONFIG_HOME", &home).envs(vars.iter().copied()).output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let wrong = String::from_utf8(output.stderr).unwrap();
        let told = &told["data"]["payload"];
        (
            told["logLevel"].as_str().unwrap_or(&wrong).to_owned(),
            told["logFormat"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let is = |level: &str, format: &str| (level.to_owned(), format.to_owned());
    assert_eq!(dry(&[], &[]), is("warn", "json"));
    let vars = [("GAMBI_LOG_LEVEL", "debug"), ("GAMBI_LOG_FORMAT", "text")];
    assert_eq!(dry(&[], &vars), is("debug", "text"));
    assert_eq!(dry(&["--log-level", "off", "--log-format", "json"], &vars), is("off", "json"));
    assert!(dry(&["--log-level", "loud"], &[]).0.contains("--log-level must be off, error"));
    assert!(dry(&[], &[("GAMBI_LOG_FORMAT", "xml")]).0.contains("GAMBI_LOG_FORMAT must be text or json"));
    std::fs::remove_dir_all(&home).unwrap();
    let none = process(&[&SERVE[..], &["--dry-run"]].concat()).output().unwrap();
    let told: Value = serde_json::from_slice(&none.stdout).unwrap();
    let told = &told["data"]["payload"];
    assert_eq!((&told["logLevel"], &told["logFormat"]), (&json!("info"), &json!("text")));
    let quiet = process(&[&SERVE[..], &["--dry-run", "--quiet"]].concat()).output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&quiet.stdout).unwrap()["data"]["payload"]["logLevel"], "error");
}

#[test]
fn a_hub_tells_by_default_what_it_does_and_can_be_told_not_to() {
    for (args, told) in [(&[][..], true), (&["--log-level", "off"], false)] {
        let (mut hub, url) = serve(args, &[]);
        Client::new(&url).unwrap().health().unwrap();
        hub.signal("-INT");
        let mut text = String::new();
        hub.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(hub.0.wait().unwrap().success());
        assert_eq!(text.contains(" info  request ") && text.contains(" path=/v1/health status=200 "), told, "{text:?}");
        assert_eq!(text.is_empty(), !told, "{text:?}");
    }
    let demo = process(&["demo", "--once"]).output().unwrap();
    assert!(demo.status.success() && demo.stderr.is_empty(), "{}", String::from_utf8_lossy(&demo.stderr));
}
