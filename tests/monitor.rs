//! `gambi monitor`: its plain table in tmux, and its output without a terminal.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use gambi::client::Client;
use gambi::hub::HubKey;
use gambi::proto::management::{CreateRoom, Registration};
use serde_json::{Value, json};

use support::{FakeProvider, OldHub, PATIENCE, Script, Terminal, TestHub, registration, skip, wait_until};

/// A monitor whose output is read by a program.
struct Piped {
    child: Child,
    lines: Receiver<Value>,
}

impl Piped {
    fn start(args: &[&str], key: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
        command.arg("monitor").args(args).env_clear().env("GAMBI_HUB_KEY", key);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("gambi to run");
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).expect("a line of JSON"));
            }
        });
        Piped { child, lines }
    }

    /// Skips to a change. Returns its data.
    fn wait(&self, what: &str, is_it: impl Fn(&str, &Value) -> bool) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{what}: {e}"));
            if is_it(line["type"].as_str().unwrap(), &line["data"]) {
                return line["data"].clone();
            }
        }
    }

    fn end(&mut self) -> i32 {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        self.child.wait().unwrap().code().expect("an exit code")
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer() -> Script {
    let body = r#"{"choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":40}}"#;
    Script::Answer { status: 200, kind: "application/json", body: body.into() }
}

#[test]
fn a_program_reads_what_changes() {
    let hub = TestHub::start();
    let (room, provider) = (hub.room(), FakeProvider::start(answer()));
    let mut monitor = Piped::start(&["--hub", &hub.url()], "");
    monitor.wait("the hub", |kind, data| kind == "hub" && data["status"] == "up");
    monitor.wait("the room", |kind, data| kind == "room" && data["room"] == *room);
    let session = hub.join(&room, "ann", &provider);
    monitor.wait("ann", |kind, data| kind == "participant" && data["id"] == "ann" && data["health"] == "online");
    hub.chat(&room, "ann").expect(200);
    let answered = monitor.wait("the answer", |_, data| data["requests"] == 1 && data["id"] == "ann");
    assert_eq!((&answered["errors"], &answered["room"]), (&0.into(), &room.as_str().into()));
    drop(session);
    let gone = monitor.wait("ann's end", |kind, _| kind == "participant_gone");
    assert_eq!(gone["id"], "ann");
    hub.hub.shutdown();
    let lost = monitor.wait("the hub's end", |kind, data| kind == "hub" && data["status"] == "lost");
    assert!(lost["message"].as_str().is_some_and(|text| !text.is_empty()));
    assert_eq!(monitor.end(), 0);
}

#[test]
fn it_has_a_hub_of_its_own_if_asked() {
    let mut monitor = Piped::start(&["--serve", "--host=127.0.0.1", "--port=0", "--room=LAB001=Lab"], "k3y");
    let started = monitor.wait("the hub", |kind, _| kind == "started");
    monitor.wait("the room", |kind, data| kind == "room" && data["room"] == "LAB001");
    let client = Client::new(started["hubUrl"].as_str().unwrap()).unwrap();
    assert_eq!(client.rooms().list().unwrap_err().status(), Some(401));
    let client = client.with_key("k3y");
    assert_eq!(client.rooms().list().unwrap()[0].code, "LAB001");
    client.participants("LAB001").upsert("ann", &registration()).unwrap();
    monitor.wait("ann", |kind, data| kind == "participant" && data["health"] == "offline");
    assert_eq!(monitor.end(), 0);
    assert!(client.health().is_err());
}

#[test]
fn a_hub_of_its_own_takes_a_certificate_and_the_keys_of_people_as_any_other() {
    const ANN: &str = "gk-ann-0123456789abcdef";
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("monitor-serve");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("keys.json"), format!(r#"[{{"name": "ann", "key": "{ANN}", "rooms": ["LAB001"]}}]"#)).unwrap();
    let (pem, keys, usage) = (path("hub.pem"), path("keys.json"), path("usage.jsonl"));
    let hub = ["--serve", "--host=127.0.0.1", "--port=0", "--room=LAB001=Lab", "--default-room=LAB001"];
    let files = ["--tls=self", "--tls-key", &pem, "--keys", &keys, "--usage", &usage];
    let monitor = Piped::start(&[&hub[..], &files].concat(), "");
    let started = monitor.wait("the hub", |kind, _| kind == "started");
    monitor.wait("the room, although it was given no key", |kind, data| kind == "room" && data["room"] == "LAB001");
    let url = started["hubUrl"].as_str().unwrap();
    assert!(url.starts_with("https://"), "{url}");
    let fingerprint = started["fingerprint"].as_str().unwrap().parse().unwrap();
    let client = Client::new(url).unwrap().with_fingerprint(Some(fingerprint)).unwrap();
    assert_eq!(client.room("LAB001").models().unwrap_err().status(), Some(401));
    let ann = client.with_key(ANN);
    ann.participants("LAB001").upsert("ann", &registration()).unwrap();
    monitor.wait("ann", |kind, data| kind == "participant" && data["id"] == "ann");
    // Ann's own monitor has her room, although her key opens no stream of all rooms' events.
    let anns = Piped::start(&["--hub", url, "--hub-fingerprint", started["fingerprint"].as_str().unwrap()], ANN);
    anns.wait("ann", |kind, data| kind == "participant" && data["id"] == "ann");
    assert!(std::path::Path::new(&usage).exists());
}

#[test]
fn a_private_room_shows_itself_to_who_knows_its_password() {
    let hub = TestHub::start();
    let room = CreateRoom { name: "P".into(), password: Some("s3cret".into()), private: true, ..Default::default() };
    let room = hub.room_with(&room);
    let stranger = Piped::start(&["--hub", &hub.url()], "");
    let refused = stranger.wait("the refusal", |kind, data| kind == "room" && data.get("refused").is_some());
    assert!(refused["refused"].as_str().unwrap().contains("password"), "{refused}");
    let friend = Piped::start(&["--hub", &hub.url(), "--room", &room, "--password", "s3cret"], "");
    friend.wait("the room", |kind, data| kind == "room" && data["room"] == *room);
    let registration = Registration { password: Some("s3cret".into()), ..registration() };
    hub.client.participants(&room).upsert("ann", &registration).unwrap();
    friend.wait("ann", |kind, data| kind == "participant" && data["id"] == "ann");
}

#[test]
fn what_cannot_be_watched_is_said_at_once() {
    let hub = TestHub::with(|options| options.key = HubKey::new("k3y"));
    let run = |args: &[&str], key: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
        let output = command.arg("monitor").args(args).env_clear().env("GAMBI_HUB_KEY", key).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (url, room, key, code) in [
        (hub.url().as_str(), None, "", 3),
        (hub.url().as_str(), Some("NOROOM"), "k3y", 4),
        ("http://127.0.0.1:9", None, "", 3),
        ("nonsense", None, "", 2),
    ] {
        let mut args = vec!["--hub", url];
        args.extend(room.into_iter().flat_map(|room| ["--room", room]));
        let (ended, error) = run(&args, key);
        assert_eq!(ended, Some(code), "{url}: {error}");
        assert!(error.starts_with("Error: "), "{error}");
    }
    for args in [
        &["--serve", "--hub", &hub.url()][..],
        &["--password", "x"],
        &["--serve", "--room", "nonsense"],
        &["--keys", "keys.json"],
    ] {
        assert_eq!(run(args, "").0, Some(2), "{args:?}");
    }
}

#[test]
fn an_older_hubs_rooms_are_watched_one_by_one_and_what_it_cannot_tell_is_said() {
    for generation in [OldHub::RoomStreams, OldHub::LegacyStreams, OldHub::LegacyPlane] {
        let hub = generation.start();
        let url = hub.url();
        let rooms = if generation == OldHub::LegacyStreams { &[][..] } else { &["--room", "ABC234"] };
        let mut monitor = Piped::start(&[&["--hub", &url], rooms].concat(), "");
        let up = monitor.wait("the hub", |kind, data| kind == "hub" && data["status"] == "up");
        let limits = up["limits"].as_str().unwrap();
        assert_eq!(limits.contains("passwords"), generation == OldHub::LegacyPlane, "{generation:?}: {limits}");
        let ann = monitor.wait("ann's requests", |_, data| data["id"] == "ann" && data["requests"] == 2);
        assert_eq!((&ann["errors"], &ann["inFlight"]), (&1.into(), &0.into()), "{generation:?}: {ann}");
        assert_eq!((&ann["ttftMs"], &ann["health"]), (&120.into(), &"shaky".into()), "{generation:?}: {ann}");
        assert_eq!(monitor.end(), 0);
        let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
        command.args(["monitor", "--room", "NOROOM", "--hub", &hub.url()]).env_clear();
        assert_ne!(command.output().unwrap().status.code(), Some(0));
    }
}

#[test]
fn a_room_that_a_busy_hub_does_not_list_is_shown_by_a_later_poll() {
    let hub = OldHub::RoomStreams.start();
    let participants = "/v1/rooms/ABC234/participants";
    let busy = json!({ "error": { "code": "INTERNAL_ERROR", "message": "Too many connections." } });
    let listed = hub.script_of(participants).expect("the hub's list");
    hub.set_path(participants, Script::json(503, &busy));
    let mut monitor = Piped::start(&["--hub", &hub.url()], "");
    wait_until("the poll of the busy hub", || hub.seen().iter().any(|seen| seen.path == participants));
    hub.set_path(participants, listed);
    let ann = monitor.wait("ann", |_, data| data["id"] == "ann" || data.get("refused").is_some());
    assert_eq!(ann["id"], "ann", "{ann}");
    assert_eq!(monitor.end(), 0);
}

#[test]
fn an_older_hub_that_goes_away_is_lost() {
    let hub = OldHub::RoomStreams.start();
    let mut monitor = Piped::start(&["--hub", &hub.url()], "");
    monitor.wait("the hub", |kind, data| kind == "hub" && data["status"] == "up");
    hub.set_path("/v1/health", Script::Slam);
    let lost = monitor.wait("its end", |kind, data| kind == "hub" && data["status"] == "lost");
    assert!(lost["message"].as_str().is_some_and(|text| !text.is_empty()));
    assert_eq!(monitor.end(), 0);
}

#[test]
fn a_current_hub_tells_everything() {
    let hub = TestHub::start();
    let mut monitor = Piped::start(&["--hub", &hub.url()], "");
    let up = monitor.wait("the hub", |kind, data| kind == "hub" && data["status"] == "up");
    assert!(up.get("limits").is_none(), "{up}");
    assert_eq!(monitor.end(), 0);
}

/// The command line of the plain table.
fn plain(hub: &TestHub) -> String {
    format!("{} monitor --plain --hub {}", env!("CARGO_BIN_EXE_gambi"), hub.url())
}

#[test]
fn a_terminal_shows_a_table_that_is_drawn_again() {
    let hub = TestHub::start();
    let (room, provider) = (hub.room(), FakeProvider::start(answer()));
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    terminal.line(&plain(&hub));
    terminal.wait("PARTICIPANT");
    let _session = hub.join(&room, "ann", &provider);
    terminal.wait("online");
    hub.chat(&room, "ann").expect(200);
    let words =
        |screen: &str| screen.lines().any(|l| l.starts_with(&room) && l.contains(" ann ") && l.contains("  1  "));
    let screen = terminal.wait_until("ann's request", words);
    assert!(screen.lines().all(|line| line.chars().count() < 80), "{screen}");
    hub.client
        .participants(&room)
        .upsert("evil", &Registration { nickname: "\u{1b}[2Jx\u{202e}y".into(), ..registration() })
        .unwrap();
    terminal.wait("\u{fffd}[2Jxy");
    terminal.resize(200, 60);
    // The statistics columns are further right than the terminal was wide before.
    terminal.wait_until("a wide table", |screen| {
        screen.lines().any(|l| l.starts_with("ROOM") && l.find("SEEN") > Some(80))
    });
    terminal.press(&["C-c"]);
    terminal.wait("ready>");
    assert!(!terminal.is_alternate());
}
