//! `gambi chat` on a terminal: prompts are typed and pasted into tmux, and its screen is checked.

mod support;

use std::time::{Duration, Instant};

use serde_json::json;

use support::{RawParticipant, Terminal, TestHub, skip, wait_until};

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
