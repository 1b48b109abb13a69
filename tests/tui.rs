//! The terminal interface of `gambi monitor` as a person meets it: keys typed into tmux, its screen looked at.

#![cfg(feature = "tui")]

mod support;

use gambi::participant::Session;

use support::{FakeProvider, Script, Terminal, TestHub, skip, wait_until};

fn join(hub: &TestHub, room: &str, id: &str, provider: &FakeProvider) -> Session {
    let session = Session::builder(hub.url(), room).participant_id(id).model("m").endpoint(provider.url());
    session.start().expect("a participant")
}

fn provider() -> FakeProvider {
    let body = r#"{"choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":40}}"#;
    FakeProvider::start(Script::Answer { status: 200, kind: "application/json", body: body.into() })
}

fn monitor(hub: &TestHub) -> String {
    format!("{} monitor --hub {}", env!("CARGO_BIN_EXE_gambi"), hub.url())
}

/// How the terminal is set.
fn settings(terminal: &Terminal) -> String {
    terminal.line("clear; stty -g");
    let screen = terminal.wait_until("its settings", |screen| screen.lines().next().is_some_and(|l| l.contains(':')));
    screen.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_person_watches_makes_joins_leaves_and_quits() {
    let hub = TestHub::start();
    let (room, provider) = (hub.room(), provider());
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    let before = settings(&terminal);
    terminal.line(&monitor(&hub));
    terminal.wait("Nobody is there");
    assert!(terminal.is_alternate());
    let session = join(&hub, &room, "ann", &provider);
    terminal.wait("● online    ann");
    hub.chat(&room, "ann").expect(200);
    terminal.wait("ann answered in");
    terminal.write("n");
    terminal.wait("New room");
    terminal.write("Second");
    terminal.press(&["Enter"]);
    terminal.wait("The room is there. Its code is");
    let second = hub.client.rooms().list().unwrap().into_iter().find(|room| room.name == "Second").expect("the room");
    // The new room is the one that is selected. Its provider is asked what it has.
    terminal.write("j");
    terminal.wait(&format!("Room      {}", second.code));
    terminal.press(&["Up", "C-u"]);
    terminal.write(&provider.url());
    terminal.press(&["Enter"]);
    terminal.wait("That is its only model");
    terminal.press(&["Enter"]);
    terminal.wait("● online    *m@");
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
