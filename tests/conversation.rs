//! `gambi chat` on a terminal: prompts are typed and pasted into tmux, and its screen is checked.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::{FakeProvider, RawParticipant, Script, Terminal, TestHub, skip, wait_until};

fn piece(text: &str) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": text } }] }))
}

fn chat(hub: &TestHub, room: &str) -> String {
    format!("{} chat --hub {} --room {room}", env!("CARGO_BIN_EXE_gambi"), hub.url())
}

#[test]
fn a_slow_answer_is_waited_for_in_a_line_that_goes_away() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    terminal.line(&format!("clear; {} Hi; echo e\\nd", chat(&hub, &room)));
    let request = ann.receive();
    terminal.wait("Waiting for a participant...");
    ann.begin(&request, "text/event-stream", &[&piece("")]);
    terminal.wait("Waiting for the answer...");
    ann.chunk(&request, &piece("first "));
    terminal.wait("first");
    // Longer than the time after which a wait is shown.
    let first = Instant::now();
    wait_until("a slow piece", || first.elapsed() > Duration::from_millis(1500));
    ann.chunk(&request, &piece("second"));
    ann.chunk(&request, "data: [DONE]\n\n");
    ann.end(&request);
    let screen = terminal.wait("\nend");
    assert_eq!(screen.trim_end(), "first second\nend\nready>");
}

/// The last prompt of a request.
fn prompt(request: &str) -> String {
    let body: Value = serde_json::from_str(request).unwrap();
    body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_pasted_is_one_prompt_and_a_blank_line_ends_nothing() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Stream(vec![piece("Answer."), "data: [DONE]\n\n".into()]));
    let _ann = hub.join(&room, "ann", &provider);
    let answers = |screen: &str| screen.matches("Answer.\n").count();
    for end in ["C-d", "C-c", "/quit"] {
        provider.forget();
        let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
        terminal.line(&format!("before=$(stty -g); clear; {}", chat(&hub, &room)));
        terminal.wait("\n>");
        terminal.press(&["Enter", "Enter"]);
        terminal.paste("first line\n\n\techo third line\n");
        terminal.wait("third line");
        terminal.press(&["Enter"]);
        terminal.wait_until("an answer", |screen| answers(screen) == 1);
        terminal.paste("short");
        terminal.write(" paste");
        terminal.press(&["Enter"]);
        terminal.wait_until("another answer", |screen| answers(screen) == 2);
        let prompts: Vec<String> = provider.seen().iter().map(|seen| prompt(&seen.body)).collect();
        assert_eq!(prompts, ["first line\n\n\techo third line", "short paste"]);
        if end.starts_with('/') {
            terminal.line(end);
        } else {
            terminal.press(&[end]);
        }
        let screen = terminal.wait_until("the shell", |screen| screen.trim_end().ends_with("ready>"));
        assert!(!screen.contains("[200~") && !screen.contains("^["), "{screen}");
        // The terminal is as it was: its modes, and what it does with a paste.
        terminal.line("test $before = $(stty -g) && echo sa\\me");
        terminal.wait("\nsame\n");
        terminal.paste("echo pas\\ted\n");
        terminal.wait("\npasted\n");
    }
}

#[test]
fn what_was_typed_or_pasted_ahead_is_not_left_for_the_shell() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Held(Box::new(Script::Answer {
        status: 500,
        kind: "application/json",
        body: r#"{"error":{"message":"broken"}}"#.into(),
    })));
    let _ann = hub.join(&room, "ann", &provider);
    // A dumb terminal does not mark what is pasted.
    for (number, kind) in [(1, "dumb"), (2, "screen-256color")] {
        let Some(terminal) = Terminal::open(80, 24, &[("TERM", kind)]) else { return skip("tmux") };
        terminal.line(&format!("clear; {}; echo e\\nd", chat(&hub, &room)));
        terminal.wait("\n>");
        terminal.line("Hi");
        provider.wait_for_request(number);
        terminal.paste("echo le\\aked\necho le\\aked\necho le\\ak");
        terminal.wait("echo le\\ak\n");
        provider.release();
        let screen = terminal.wait_until("the shell", |screen| screen.trim_end().ends_with("\nend\nready>"));
        assert!(screen.contains("Error: ") && !screen.contains("leaked"), "{screen}");
        terminal.line("echo al\\ive");
        terminal.wait("\nready> echo al\\ive\nalive\n");
    }
}

#[test]
fn what_follows_a_value_that_was_asked_for_is_not_left_for_the_shell() {
    let hub = TestHub::start();
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    let create = format!("{} room create --hub {}; echo e\\nd", env!("CARGO_BIN_EXE_gambi"), hub.url());
    terminal.line(&format!("clear; {create}"));
    terminal.wait("name:");
    terminal.paste("Lab\necho le\\aked\n");
    let screen = terminal.wait_until("the shell", |screen| screen.trim_end().ends_with("\nend\nready>"));
    assert!(!screen.contains("leaked"), "{screen}");
    assert_eq!(hub.client.rooms().list().unwrap()[0].name, "Lab");
}

#[test]
fn a_line_that_the_terminal_cuts_off_is_not_sent() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::Stream(vec![piece("Answer."), "data: [DONE]\n\n".into()]));
    let _ann = hub.join(&room, "ann", &provider);
    let Some(terminal) = Terminal::open(80, 80, &[]) else { return skip("tmux") };
    terminal.line(&format!("clear; {}", chat(&hub, &room)));
    terminal.wait("\n>");
    terminal.paste(&format!("{}\nand more\n", "x".repeat(5000)));
    terminal.press(&["Enter"]);
    terminal.wait("gambi chat --room CODE < FILE");
    terminal.line("short");
    terminal.wait("Answer.");
    let prompts: Vec<String> = provider.seen().iter().map(|seen| prompt(&seen.body)).collect();
    assert_eq!(prompts, ["short"]);
}
