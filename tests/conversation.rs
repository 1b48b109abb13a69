//! `gambi chat` on a terminal: prompts are typed and pasted into tmux, and its screen is checked.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::{FakeProvider, RawParticipant, Script, Terminal, TestHub, skip, wait_until};

/// A directory of its own, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("gambi-conversation-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A provider that answers with this text.
fn answering(text: &str) -> FakeProvider {
    FakeProvider::start(Script::Stream(vec![piece(text), "data: [DONE]\n\n".into()]))
}

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
    assert_eq!(screen.lines().next(), Some("first second"));
    assert!(screen.contains("\nAnn (ann) · first token ") && !screen.contains("Waiting"), "{screen}");
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
    for end in ["C-d", "/quit"] {
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
fn what_is_pasted_during_an_answer_is_the_next_prompt_and_never_the_shells() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider =
        FakeProvider::start(Script::Held(Box::new(Script::Stream(vec![piece("Answer."), "data: [DONE]\n\n".into()]))));
    let _ann = hub.join(&room, "ann", &provider);
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    terminal.line(&format!("clear; {}; echo e\\nd", chat(&hub, &room)));
    terminal.wait("\n>");
    terminal.line("Hi");
    provider.wait_for_request(1);
    terminal.paste("echo le\\aked\necho le\\aked\necho le\\ak");
    provider.release();
    let screen = terminal.wait("\necho le\\ak\n");
    assert!(screen.contains("> echo le\\aked\necho le\\aked\n"), "{screen}");
    terminal.press(&["C-c"]);
    terminal.wait("Ctrl-D or /quit ends the conversation.\n>");
    terminal.press(&["C-d"]);
    let screen = terminal.wait("\nend\nready>");
    assert!(!screen.contains("leaked"), "{screen}");
    assert_eq!(provider.seen().len(), 1);
    terminal.line("echo al\\ive");
    terminal.wait("\nready> echo al\\ive\nalive\n");
}

#[test]
fn a_dumb_terminal_has_plain_lines_and_leaves_nothing_to_the_shell() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = answering("Answer.");
    let _ann = hub.join(&room, "ann", &provider);
    let Some(terminal) = Terminal::open(80, 24, &[("TERM", "dumb")]) else { return skip("tmux") };
    terminal.line(&format!("clear; {}; echo e\\nd", chat(&hub, &room)));
    terminal.wait("\n>");
    terminal.press(&["C-c"]);
    terminal.wait("Ctrl-D or /quit ends the conversation.\n>");
    terminal.line("\"\"\"");
    terminal.line("one");
    terminal.line("two\"\"\"");
    terminal.wait("Answer.\nann");
    assert_eq!(prompt(&provider.seen()[0].body), "one\ntwo");
    terminal.paste("/quit\necho le\\aked\n");
    let screen = terminal.wait("\nend\nready>");
    assert!(!screen.contains("leaked") && !terminal.colours().contains('\u{1b}'), "{screen}");
}

#[test]
fn ctrl_c_stops_the_answer_and_not_the_conversation() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::start(Script::StreamAndHang(vec![piece("Half an")]));
    let _ann = hub.join(&room, "ann", &provider);
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    terminal.line(&format!("clear; {}", chat(&hub, &room)));
    terminal.wait("\n>");
    terminal.press(&["C-c"]);
    terminal.wait("Ctrl-D or /quit ends the conversation.\n>");
    terminal.line("First");
    terminal.wait("Half an");
    terminal.press(&["C-c"]);
    terminal.wait("ann was stopped. /retry asks again.");
    wait_until("the provider's work to be cancelled", || provider.abandoned() == 1);
    provider.set(Script::Held(Box::new(Script::Missing)));
    terminal.line("Second");
    provider.wait_for_request(2);
    terminal.press(&["C-c"]);
    terminal.wait("Stopped. /retry asks again.");
    provider.set(Script::Stream(vec![piece("Answer."), "data: [DONE]\n\n".into()]));
    terminal.line("/retry");
    terminal.wait("Answer.\nann");
    let said = |body: &str| {
        let body: Value = serde_json::from_str(body).unwrap();
        let messages = body["messages"].as_array().unwrap().clone();
        messages.iter().map(|message| message["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // What was stopped in mid-answer has been said.
    assert_eq!(said(&provider.seen().last().unwrap().body), ["First", "Half an", "Second"]);
}

#[test]
fn an_error_keeps_the_conversation_and_the_question() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = answering("Answer.");
    let _ann = hub.join(&room, "ann", &provider);
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    terminal.line(&format!("clear; {}", chat(&hub, &room)));
    terminal.wait("\n>");
    terminal.line("First");
    terminal.wait("Answer.\nann");
    provider.set(Script::json(500, &json!({ "error": { "message": "out of memory" } })));
    terminal.line("Second");
    terminal.wait("Error: out of memory\nrequest_id: ");
    terminal.wait("The conversation goes on: /retry asks again, ");
    provider.set(Script::Stream(vec![piece("Done."), "data: [DONE]\n\n".into()]));
    terminal.line("/retry");
    terminal.wait("Done.\nann");
    let body: Value = serde_json::from_str(&provider.seen().last().unwrap().body).unwrap();
    let message = |role: &str, text: &str| json!({ "role": role, "content": text });
    let said = json!([message("user", "First"), message("assistant", "Answer."), message("user", "Second")]);
    assert_eq!(body["messages"], said);
}

#[test]
fn earlier_prompts_come_back_with_the_arrow_in_the_next_conversation_too() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = answering("Answer.");
    let _ann = hub.join(&room, "ann", &provider);
    let dir = Dir::new("history");
    let state = dir.path("");
    let variables = [("XDG_STATE_HOME", state.as_str()), ("GAMBI_ROOM_PASSWORD", "hunter2")];
    let Some(terminal) = Terminal::open(80, 24, &variables) else { return skip("tmux") };
    terminal.line(&format!("clear; {}", chat(&hub, &room)));
    terminal.wait("\n>");
    for (count, question) in ["First 日本", "It is hunter2"].iter().enumerate() {
        terminal.line(question);
        provider.wait_for_request(count + 1);
        terminal.wait_until("the next prompt", |screen| screen.matches("Answer.\nann").count() == count + 1);
    }
    // Backspace takes a whole character, however wide.
    terminal.press(&["Up", "Up", "BSpace", "Enter"]);
    assert_eq!(prompt(&provider.wait_for_request(3).body), "First 日");
    terminal.wait_until("the answer", |screen| screen.matches("Answer.\nann").count() == 3);
    terminal.press(&["C-d"]);
    terminal.wait("ready>");
    terminal.line(&format!("clear; {}", chat(&hub, &room)));
    terminal.wait("\n>");
    terminal.press(&["Up", "Up", "Enter"]);
    assert_eq!(prompt(&provider.wait_for_request(4).body), "First 日本");
    let file = dir.0.join("gambi/chat_history");
    assert_eq!(fs::read_to_string(&file).unwrap(), "First 日本\nFirst 日\nFirst 日本\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    terminal.press(&["C-d"]);
    terminal.wait("ready>");
    terminal.line(&format!("clear; {} --no-history", chat(&hub, &room)));
    terminal.wait("\n>");
    terminal.press(&["Up"]);
    terminal.line("x");
    assert_eq!(prompt(&provider.wait_for_request(5).body), "x");
}

#[test]
fn commands_choose_who_answers_and_save_what_was_said() {
    let hub = TestHub::start();
    let room = hub.room();
    let (ann, bob) = (answering("From Ann."), answering("From Bob."));
    let (_ann, _bob) = (hub.join(&room, "ann", &ann), hub.join(&room, "bob", &bob));
    let dir = Dir::new("commands");
    let Some(terminal) = Terminal::open(80, 40, &[]) else { return skip("tmux") };
    terminal.line(&format!("clear; {} --model ann", chat(&hub, &room)));
    terminal.wait("2 participants are online");
    terminal.line("/model");
    terminal.wait("\n*  ann ");
    terminal.line("/modle bob");
    terminal.wait("There is no /modle. Did you mean /model?");
    terminal.line("/model bob");
    terminal.wait("From now on bob answers.");
    terminal.line("/system Be brief.");
    terminal.wait("The system message is set.");
    terminal.line("//usr?");
    terminal.wait("From Bob.\nbob · first token ");
    let body: Value = serde_json::from_str(&bob.seen()[0].body).unwrap();
    let said = json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "/usr?" }]);
    assert_eq!(body["messages"], said);
    let file = dir.path("said.md");
    for saved in [format!("Saved to {file}."), format!("{file} exists already, and is not replaced.")] {
        terminal.line(&format!("/save {file}"));
        terminal.wait_until(&saved, |screen| screen.replace('\n', "").contains(&saved));
    }
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, format!("# Room {room}\n\n## System\n\nBe brief.\n\n## You\n\n/usr?\n\n## bob\n\nFrom Bob.\n"));
    terminal.line("/clear");
    terminal.line("/model nobody");
    terminal.wait("Nobody online is or has nobody; /model lists who is there.");
    terminal.line("/model any");
    terminal.line("Hi");
    terminal.wait_until("an answer", |_| ann.seen().len() + bob.seen().len() == 2);
    terminal.line("/help");
    terminal.wait("/retry ");
}

#[test]
fn the_place_in_the_line_is_shown_until_the_answer_begins() {
    let hub = TestHub::with(|options| options.timeouts.comment = Duration::from_millis(50));
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let room_client = hub.client.room(&room);
    let first = std::thread::spawn(move || room_client.chat().user("first").send());
    let running = ann.receive();
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    terminal.line(&format!("clear; {} Hi; echo e\\nd", chat(&hub, &room)));
    terminal.wait("Waiting in line: 1 of 1...");
    ann.begin(&running, "application/json", &["{}"]);
    ann.end(&running);
    let request = ann.receive();
    let chunk = json!({ "model": "m", "choices": [{ "delta": { "content": "Answer." } }] });
    let usage = json!({ "choices": [], "usage": { "completion_tokens": 1 } });
    ann.begin(&request, "text/event-stream", &[&format!("data: {chunk}\n\ndata: {usage}\n\ndata: [DONE]\n\n")]);
    ann.end(&request);
    let screen = terminal.wait("\nend");
    // The stream's head was sent before it was known who answers.
    assert!(screen.starts_with("Answer.\nAnn (ann) · m · 1 token · first token "), "{screen}");
    first.join().unwrap().unwrap();
}

#[test]
fn thinking_is_dimmed_on_a_terminal_and_left_out_of_a_pipe() {
    let hub = TestHub::start();
    let room = hub.room();
    let reasoning = json!({ "choices": [{ "delta": { "reasoning_content": "Let me see." } }] });
    let pieces =
        [format!("data: {reasoning}\n\n"), piece("<thi"), piece("nk>Well.</think>\n\nYes."), "data: [DONE]\n\n".into()];
    let provider = FakeProvider::start(Script::Stream(pieces.into()));
    let _ann = hub.join(&room, "ann", &provider);
    let Some(terminal) = Terminal::open(80, 24, &[]) else { return skip("tmux") };
    terminal.line(&format!("clear; {} Hi; echo e\\nd", chat(&hub, &room)));
    terminal.wait("\nend");
    let colours = terminal.colours();
    assert!(colours.starts_with("\u{1b}[2mLet me see.Well.\n"), "{colours}");
    assert!(terminal.screen().starts_with("Let me see.Well.\n\nYes.\nann"), "{colours}");
    terminal.line(&format!("clear; NO_COLOR=1 {} Hi; echo plai\\n", chat(&hub, &room)));
    let screen = terminal.wait("\nplain");
    assert!(screen.starts_with("[thinking]\nLet me see.Well.\n[answer]\nYes.\nann"), "{screen}");
    assert!(!terminal.colours().contains('\u{1b}'), "{screen}");
    terminal.line(&format!("clear; {} Hi --thinking hide; echo hidde\\n", chat(&hub, &room)));
    assert!(terminal.wait("\nhidden").starts_with("Yes.\nann"));
    terminal.line(&format!("clear; {} Hi | cat; echo pip\\ed", chat(&hub, &room)));
    assert!(terminal.wait("\npiped").starts_with("Yes.\nann"));
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
fn only_a_dumb_terminal_cuts_long_lines_off_and_they_are_not_sent() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = answering("Answer.");
    let _ann = hub.join(&room, "ann", &provider);
    let long = "x".repeat(5000);
    for (kind, sent) in [("dumb", "short"), ("screen-256color", &long)] {
        provider.forget();
        let Some(terminal) = Terminal::open(80, 80, &[("TERM", kind)]) else { return skip("tmux") };
        terminal.line(&format!("clear; {}", chat(&hub, &room)));
        terminal.wait("\n>");
        terminal.paste(&long);
        terminal.press(&["Enter"]);
        if kind == "dumb" {
            terminal.wait("gambi chat --room CODE < FILE");
            terminal.line("short");
        }
        terminal.wait("Answer.");
        let prompts: Vec<String> = provider.seen().iter().map(|seen| prompt(&seen.body)).collect();
        assert_eq!(prompts, [sent]);
    }
}
