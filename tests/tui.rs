//! The terminal interface of `gambi monitor`: keys are typed into tmux, and its screen is checked.

#![cfg(feature = "tui")]

mod support;

use std::process::Command;
use std::time::Duration;

use gambi::hub::HubKey;
use gambi::participant::Session;
use gambi::proto::management::{CreateRoom, Registration};
use serde_json::{Value, json};

use support::{FakeProvider, Script, Terminal, TestHub, registration, skip, wait_for, wait_until};

fn provider() -> FakeProvider {
    let body = r#"{"choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":40}}"#;
    FakeProvider::start(Script::Answer { status: 200, kind: "application/json", body: body.into() })
}

fn monitor(hub: &TestHub) -> String {
    format!("{} monitor --hub {}", env!("CARGO_BIN_EXE_gambi"), hub.url())
}

/// The terminal's modes, as `stty -g` prints them.
fn settings(terminal: &Terminal) -> String {
    terminal.line("clear; printf 'they are <%s>\\n' $(stty -g)");
    let said = |screen: &str| {
        let said = screen.split_once("they are <")?.1.split_once('>')?.0;
        said.contains(':').then(|| said.to_owned())
    };
    let screen = terminal.wait_until("its settings", |screen| said(screen).is_some());
    said(&screen).unwrap_or_default()
}

#[test]
fn a_person_watches_makes_joins_leaves_and_quits() {
    let hub = TestHub::start();
    let (room, provider) = (hub.room(), provider());
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    let before = settings(&terminal);
    terminal.line(&monitor(&hub));
    terminal.wait("No participants yet");
    assert!(terminal.is_alternate());
    let session = hub.join(&room, "ann", &provider);
    terminal.wait("● online        ann");
    hub.chat(&room, "ann").expect(200);
    terminal.wait("ann answered in");
    terminal.write("n");
    terminal.wait("New room");
    terminal.write("Second");
    terminal.press(&["Enter"]);
    terminal.wait("The room was created. Its code is");
    let second = hub.client.rooms().list().unwrap().into_iter().find(|room| room.name == "Second").expect("the room");
    // The new room is the one that is selected. Its provider is asked what it has.
    terminal.write("j");
    terminal.wait(&format!("Room      {}", second.code));
    terminal.press(&["Up", "C-u"]);
    terminal.write(&provider.url());
    terminal.press(&["Enter"]);
    terminal.wait("This is the only model there");
    terminal.press(&["Enter"]);
    terminal.wait("● online        *m@");
    hub.chat(&second.code, "any").expect(200);
    terminal.write("2");
    terminal.press(&["End"]);
    terminal.wait_until("the new one's place", |screen| screen.contains("▸ Participants 2"));
    if second.code < room {
        terminal.press(&["Home"]);
    }
    terminal.write("l");
    wait_until("the participant to be gone", || hub.client.participants(&second.code).list().unwrap().is_empty());
    terminal.wait("has left");
    drop(session);
    terminal.wait("ann left");
    terminal.write("q");
    terminal.wait("ready>");
    assert!(!terminal.is_alternate());
    assert_eq!(settings(&terminal), before);
}

/// A shell's line that runs the monitor, its process id in a file, and then says how it ended.
fn watched(hub: &TestHub, file: &std::path::Path) -> String {
    format!("sh -c 'echo $$ > {} && exec {}'; echo ended with $?", file.display(), monitor(hub))
}

#[test]
fn every_signal_that_ends_it_gives_the_terminal_back() {
    let hub = TestHub::start();
    hub.room();
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    let before = settings(&terminal);
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("monitor-{}", std::process::id()));
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        terminal.line(&format!("clear; {}", watched(&hub, &file)));
        terminal.wait("No participants yet");
        let id = std::fs::read_to_string(&file).expect("its process id");
        assert!(Command::new("kill").args([&format!("-{signal}"), id.trim()]).status().unwrap().success());
        terminal.wait("ended with 0");
        assert!(!terminal.is_alternate(), "{signal}");
        assert_eq!(terminal.asked("#{cursor_flag}"), "1", "{signal}");
        assert_eq!(settings(&terminal), before, "{signal}");
    }
    let _ = std::fs::remove_file(file);
}

#[test]
fn it_ends_when_its_terminal_vanishes() {
    let hub = TestHub::start();
    hub.room();
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("vanished-{}", std::process::id()));
    // The shell outlives its terminal, to tell how the monitor ended.
    terminal.line(&format!("sh -c 'trap \"\" HUP; {}; echo $? > {}'", monitor(&hub), file.display()));
    terminal.wait("No participants yet");
    drop(terminal);
    let ended =
        wait_for("the monitor's end", || std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n')));
    let _ = std::fs::remove_file(file);
    assert_eq!(ended, "0\n");
}

#[test]
fn it_goes_to_the_background_and_comes_back() {
    let hub = TestHub::start();
    let room = hub.room();
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    terminal.line("set -m");
    let before = settings(&terminal);
    terminal.line(&monitor(&hub));
    terminal.wait("No participants yet");
    terminal.press(&["C-z"]);
    terminal.wait_until("the shell", |screen| screen.trim_end().ends_with("ready>"));
    assert!(!terminal.is_alternate());
    assert_eq!(settings(&terminal), before);
    hub.client.participants(&room).upsert("ann", &registration()).unwrap();
    terminal.line("fg");
    terminal.wait("○ offline       Ann");
    assert!(terminal.is_alternate());
    terminal.press(&["C-c"]);
    terminal.wait("ready>");
    assert_eq!(settings(&terminal), before);
}

#[test]
fn it_takes_whatever_size_the_terminal_has() {
    let hub = TestHub::start();
    let room = hub.room();
    hub.client.participants(&room).upsert("ann", &registration()).unwrap();
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    terminal.line(&monitor(&hub));
    terminal.wait("○ offline       Ann");
    for (columns, rows) in [(200, 60), (80, 24), (40, 10), (120, 15), (300, 100)] {
        terminal.resize(columns, rows);
        let fills = |screen: &str| {
            let lines: Vec<&str> = screen.lines().collect();
            let corner = |line: &str| line.ends_with('╯') && line.chars().count() == columns;
            lines.len() == rows && lines[0].trim_end().ends_with('Z') && corner(lines[rows - 2])
        };
        let screen = terminal.wait_until(&format!("a screen of {columns}x{rows}"), fills);
        assert_eq!(screen.contains("Endpoint   http"), columns >= 200, "{screen}");
    }
    terminal.resize(30, 5);
    terminal.wait("too small");
    terminal.resize(80, 24);
    terminal.wait("○ offline       Ann");
}

#[test]
fn it_keeps_to_no_colours_and_to_ascii_where_asked() {
    let hub = TestHub::start();
    let room = hub.room();
    hub.client.participants(&room).upsert("ann", &Registration { nickname: "Änn".into(), ..registration() }).unwrap();
    // Of what may be between ESC [ and m: 3x, 4x, 9x, 10x are colours, but for 39 and 49.
    let coloured = |screen: &str| {
        screen.split("\u{1b}[").skip(1).filter_map(|rest| rest.split_once('m')).any(|(codes, _)| {
            let codes = codes.split(';').filter_map(|code| code.parse::<u32>().ok());
            codes.into_iter().any(|code| matches!(code, 30..=38 | 40..=48 | 90..=107))
        })
    };
    let shown = |variables: &[(&str, &str)], sign: &str| {
        let terminal = Terminal::open(80, 24, variables)?;
        terminal.line(&monitor(&hub));
        terminal.wait(sign);
        terminal.write("?");
        terminal.wait("Ctrl-L");
        Some((terminal.screen(), terminal.colours()))
    };
    let Some((_, colours)) = shown(&[], "○ offline       Änn") else { return skip("tmux") };
    assert!(coloured(&colours), "{colours}");
    let (screen, colours) = shown(&[("NO_COLOR", "1"), ("LC_ALL", "C")], "- offline       ?nn").unwrap();
    assert!(!coloured(&colours), "{colours}");
    assert!(screen.is_ascii(), "{screen}");
}

#[test]
fn a_private_room_opens_with_its_password_and_shows_what_happens_in_it() {
    let hub = TestHub::with(|options| options.key = HubKey::new("k3y"));
    let client = hub.client.clone().with_key("k3y");
    let room = CreateRoom { name: "P".into(), password: Some("s3cret".into()), private: true, ..Default::default() };
    let room = client.rooms().create(&room).unwrap().room.code;
    let Some(terminal) = Terminal::open(80, 24, &[("GAMBI_HUB_KEY", "k3y")]) else { return skip("tmux") };
    terminal.line(&monitor(&hub));
    terminal.wait("locked");
    terminal.press(&["Enter"]);
    terminal.wait(&format!("Room {room}"));
    terminal.write("wrong");
    terminal.press(&["Enter"]);
    terminal.wait("This hub requires its key");
    terminal.wait_until("the dialog's answer", |screen| !screen.contains("One moment"));
    terminal.press(&["C-u"]);
    terminal.write("s3cret");
    terminal.press(&["Enter"]);
    terminal.wait("No participants yet");
    let registration = Registration { password: Some("s3cret".into()), ..registration() };
    client.participants(&room).upsert("ann", &registration).unwrap();
    // A private room's own event stream reports it at once, so the log shows it.
    let screen = terminal.wait("Ann joined with m");
    assert!(!screen.contains("s3cret"), "{screen}");
}

#[test]
fn it_lives_through_a_restart_of_the_hub() {
    let hub = TestHub::start();
    let port = hub.addr().port();
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    terminal.line(&monitor(&hub));
    terminal.wait("No rooms yet");
    hub.hub.shutdown();
    terminal.wait("LOST, retry in");
    drop(hub);
    let hub = TestHub::with(|options| options.port = port);
    let room = hub.room();
    terminal.wait_until("the new hub's room", |screen| screen.contains(&room) && screen.contains("  up  "));
}

#[test]
fn a_hub_of_its_own_writes_nothing_over_the_screen() {
    let provider = provider();
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    let gambi = env!("CARGO_BIN_EXE_gambi");
    terminal.line(&format!("{gambi} monitor --serve --host 127.0.0.1 --port 0 --room LAB001=Lab"));
    let screen = terminal.wait("  up  ");
    let url = screen.split_whitespace().find(|word| word.starts_with("http://")).expect("the hub's address").to_owned();
    let join = || Session::builder(&url, "LAB001").participant_id("ann").model("m").endpoint(provider.url()).start();
    let session = join().expect("a participant");
    terminal.wait("● online        ann");
    let room = gambi::client::Client::new(&url).unwrap().room("LAB001");
    assert_eq!(room.chat().user("Hi").send().unwrap().text, "Hi");
    room.chat().model("nonsense").user("Hi").send().unwrap_err();
    let screen = terminal.wait("ann answered in");
    for line in screen.lines().skip(1).take(22) {
        assert!(line.starts_with(['│', '╭', '╰']) && line.ends_with(['│', '╮', '╯']), "{screen}");
    }
    terminal.write("q");
    terminal.wait("ready>");
    // The hub ends with the monitor, and its participants are told so.
    session.wait_until_closed();
    assert!(gambi::client::Client::new(&url).unwrap().health().is_err());
}

#[test]
fn a_crowd_and_a_flood_leave_it_usable() {
    let hub = TestHub::start();
    let room = hub.room();
    let odd = ["🎉", "\u{1b}[2J\u{7}", "שלום", "日本", "\u{202e}e\u{301}"];
    let register = |n: usize| {
        let registration = Registration { nickname: odd[n % odd.len()].repeat(200 / odd.len()), ..registration() };
        hub.client.participants(&room).upsert(&format!("p{n:03}"), &registration).expect("a participant");
    };
    (0..500).for_each(register);
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    terminal.line(&monitor(&hub));
    terminal.wait("Participants 500");
    std::thread::scope(|scope| {
        let flood = |first: usize| (0..2500).for_each(|n| register((first + n) % 500));
        let floods = [0, 250].map(|first| scope.spawn(move || flood(first)));
        terminal.wait("... and more in this second");
        terminal.press(&["2", "End", "Enter"]);
        terminal.wait("p499");
        terminal.press(&["Escape"]);
        terminal.wait_until("no card", |screen| !screen.contains("Connection"));
        terminal.write("?");
        terminal.wait("unwatch the selected room");
        terminal.press(&["Escape"]);
        floods.into_iter().for_each(|flood| flood.join().unwrap());
    });
    hub.client.participants(&room).remove("p499").unwrap();
    terminal.wait("Participants 499");
    let screen = terminal.screen();
    assert!(screen.lines().skip(1).take(22).all(|line| line.starts_with(['│', '╭', '╰'])), "{screen}");
    terminal.write("q");
    terminal.wait("ready>");
    hub.get("/v1/health").expect(200);
}

fn piece(text: &str) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": text } }] }))
}

fn stream(text: &str) -> Script {
    Script::Stream(vec![piece(text), "data: [DONE]\n\n".into()])
}

#[test]
fn a_chat_is_stopped_and_fails_and_goes_on_without_ending_the_monitor() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::StreamAndHang(vec![piece("<think>Hm.</think>Half \u{1b}[2Jan")]));
    let _ann = hub.join(&room, "ann", &provider);
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    terminal.line(&monitor(&hub));
    terminal.wait("● online        ann");
    terminal.write("c");
    terminal.wait(&format!("Chat with {room}: any participant"));
    terminal.paste("First\nquestion");
    terminal.press(&["Enter"]);
    // What a model writes controls no terminal.
    terminal.wait("Half \u{fffd}[2Jan");
    terminal.press(&["C-c"]);
    terminal.wait("Stopped.");
    wait_until("the provider's work to be cancelled", || provider.abandoned() == 1);
    provider.set(Script::json(500, &json!({ "error": { "message": "out of memory" } })));
    terminal.line("Second");
    terminal.wait("out of memory");
    provider.set(stream("Done."));
    terminal.press(&["C-r"]);
    terminal.wait_until("the answer", |screen| screen.contains("Done.") && screen.contains("│ann · first token "));
    let body: Value = serde_json::from_str(&provider.seen().last().unwrap().body).unwrap();
    let message = |role: &str, text: &str| json!({ "role": role, "content": text });
    // Neither thinking nor what failed has been said.
    let said =
        [message("user", "First\nquestion"), message("assistant", "Half \u{1b}[2Jan"), message("user", "Second")];
    assert_eq!(body["messages"], json!(said));
    terminal.press(&["Escape"]);
    terminal.wait("▸ Rooms");
    terminal.write("q");
    terminal.wait("ready>");
}

#[test]
fn the_place_in_the_line_and_the_queue_are_shown_while_a_question_waits() {
    let hub = TestHub::with(|options| options.timeouts.comment = Duration::from_millis(50));
    let room = hub.room();
    let provider = FakeProvider::start(Script::Held(Box::new(stream("First."))));
    let _ann = hub.join(&room, "ann", &provider);
    let client = hub.client.room(&room);
    let first = std::thread::spawn(move || client.chat().user("first").stream().map(Iterator::count));
    provider.wait_for_request(1);
    let Some(terminal) = Terminal::open(200, 50, &[]) else { return skip("tmux") };
    terminal.line(&monitor(&hub));
    terminal.wait("ann");
    terminal.write("2");
    terminal.wait("▸ Participants");
    terminal.write("c");
    terminal.wait(&format!("Chat with {room}: ann"));
    terminal.line("Hi");
    terminal.wait("Waiting in line: 1 of 1");
    let queue = format!("Queue of {room}: 1");
    terminal.wait_until("the queue", |screen| screen.contains(&queue) && screen.contains("1  Client 1 (you)"));
    provider.set(stream("Second."));
    provider.release();
    terminal.wait("ann · first token ");
    terminal.wait("No request waits.");
    assert_eq!(first.join().unwrap().unwrap(), 1);
}

#[test]
fn the_chat_of_a_private_room_uses_the_password_that_was_entered() {
    let hub = TestHub::start();
    let room = CreateRoom { name: "P".into(), password: Some("s3cret".into()), private: true, ..Default::default() };
    let room = hub.client.rooms().create(&room).unwrap().room.code;
    let provider = FakeProvider::start(stream("Secrets."));
    let session = Session::builder(hub.url(), &room).participant_id("ann").model("m").password("s3cret");
    let _ann = session.endpoint(provider.url()).start().expect("a participant");
    let Some(terminal) = Terminal::open(200, 60, &[]) else { return skip("tmux") };
    terminal.line(&monitor(&hub));
    terminal.wait("locked");
    terminal.write("c");
    terminal.wait(&format!("Room {room}"));
    terminal.line("s3cret");
    terminal.wait("● online");
    terminal.write("c");
    terminal.wait(&format!("Chat with {room}"));
    terminal.line("Well?");
    let screen = terminal.wait("Secrets.");
    assert!(!screen.contains("s3cret"), "{screen}");
}
