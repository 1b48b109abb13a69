//! Checks the contents of the screen on a test terminal.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};
use ratatui::text::Span;
use serde_json::json;

use gambi::proto::management::Status;

use super::{Theme, draw};
use crate::chat::answer::Facts;
use crate::chat::thinking::Kind;
use crate::monitor::fixtures::{NOW, answered, began, event, failed, lab, participant, room};
use crate::monitor::state::Update;
use crate::monitor::text::{clean, width};
use crate::tui::app::{Action, App, Outcome, Pane};
use crate::tui::chat::AnswerEvent;
use crate::tui::keys::Key;

const FULL: Theme = Theme { colour: true, unicode: true };

fn app() -> App {
    let mut app = App::new(lab(&[participant("ann", "Ann"), participant("bob", "Bob")]), "http://localhost:11434");
    app.on_update(Update::Rooms(vec![room("LAB001", "Lab"), room("LAB002", "Machine shop")], 0), NOW);
    app.on_update(began("LAB001", "ann", "r1"), NOW);
    app.on_update(answered("LAB001", "ann", "r1"), NOW);
    app.on_update(began("LAB001", "ann", "r2"), NOW);
    app.on_update(began("LAB001", "bob", "r3"), NOW);
    app.on_update(failed("LAB001", "bob", "r3", "stream"), NOW);
    app
}

fn terminal(app: &App, theme: Theme, columns: u16, rows: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, app, theme, NOW + 3000)).unwrap();
    terminal
}

/// The lines of the screen.
fn screen(app: &App, theme: Theme, columns: u16, rows: u16) -> Vec<String> {
    let terminal = terminal(app, theme, columns, rows);
    let cells = terminal.backend().buffer().content().chunks(columns.into());
    cells.map(|line| line.iter().map(|cell| cell.symbol()).collect()).collect()
}

fn line<'s>(screen: &'s [String], with: &str) -> &'s str {
    screen.iter().find(|line| line.contains(with)).unwrap_or_else(|| panic!("no {with} in\n{}", screen.join("\n")))
}

#[test]
fn the_small_screen_shows_all_parts() {
    let screen = screen(&app(), FULL, 80, 24);
    assert!(
        screen[0].starts_with(" gambi  http://hub:3000  up ") && screen[0].ends_with("22:13:23Z "),
        "{}",
        screen[0]
    );
    assert!(screen[0].contains("1 online  1 busy  0 offline"), "{}", screen[0]);
    assert!(screen[1].contains("▸ Rooms, 2/2 watched") && screen[1].contains(" Participants 2 "), "{}", screen[1]);
    assert!(line(&screen, "LAB001 Lab").contains("[x] LAB001 Lab") && line(&screen, "LAB001 Lab").contains("2/2"));
    assert!(line(&screen, "▶ busy").contains("Ann") && line(&screen, "▶ busy").contains("210ms"));
    assert!(line(&screen, "▶ busy").contains("40.0") && line(&screen, "Status ").contains("First Tok/s"));
    assert!(line(&screen, "▲ shaky").contains("Bob"));
    assert!(line(&screen, "failed (stream): it broke").contains("22:13:20Z LAB001 "));
    assert!(screen[23].contains("? help") && screen[23].contains("q quit"), "{}", screen[23]);
}

#[test]
fn the_large_screen_has_details_and_charts_beside() {
    let mut app = app();
    app.pane = Pane::Participants;
    let screen = screen(&app, FULL, 200, 60);
    assert!(line(&screen, "Endpoint").contains("http://localhost:11434"));
    assert!(line(&screen, "2 seen").contains("1 of 1 in flight"));
    assert!(line(&screen, "Activity of LAB001").contains("╭"));
    assert!(line(&screen, "Requests, at most").contains("24 a minute"));
    assert!(screen.iter().any(|line| line.contains('█')));
    assert!(line(&screen, "First token  ").contains("Seen"));
}

#[test]
fn without_colours_and_unicode_the_screen_has_the_same_information() {
    let plain = Theme { colour: false, unicode: false };
    let mut app = app();
    for keys in [vec![], vec![Key::Char('?')], vec![Key::Esc, Key::Char('n')], vec![Key::Esc, Key::Char('m')]] {
        keys.iter().for_each(|key| drop(app.on_key(key, NOW)));
        for (columns, rows) in [(80, 24), (200, 60)] {
            let terminal = terminal(&app, plain, columns, rows);
            for cell in terminal.backend().buffer().content() {
                assert!(cell.symbol().is_ascii(), "{}", cell.symbol());
                assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset), "{}", cell.symbol());
            }
        }
    }
    app.dialog = None;
    let screen = screen(&app, plain, 80, 24);
    assert!(screen[1].contains("> Rooms"), "{}", screen[1]);
    assert!(line(&screen, "> busy").contains("Ann") && line(&screen, "! shaky").contains("Bob"));
}

#[test]
fn dialogs_are_centred_and_hide_secrets() {
    let mut app = app();
    app.on_key(&Key::Char('n'), NOW);
    for key in ["Lab 3", "s3cret"] {
        app.on_key(&Key::Paste(key.into()), NOW);
        app.on_key(&Key::Tab, NOW);
    }
    let shown = screen(&app, FULL, 80, 24);
    assert!(line(&shown, "Lab 3").contains("Name ") && line(&shown, "Password ").contains("******"));
    assert!(!shown.join("").contains("s3cret") && line(&shown, "Private ").contains("[ ] no"));
    app.on_key(&Key::Enter, NOW);
    assert!(line(&screen(&app, FULL, 80, 24), "One moment").contains('│'));
    let error = "a long refusal ".repeat(8);
    app.on_outcome(Outcome::Created(Err(error), None), NOW);
    assert_eq!(screen(&app, FULL, 80, 24).join("").matches("refusal").count(), 8);
}

#[test]
fn hostile_names_do_not_break_the_screen() {
    let odd = [
        "🎉",
        "\u{1b}[2J",
        "שלום ",
        "日本",
        "e\u{301}\u{302}\u{303}",
        "\u{202e}",
        "👩\u{200d}👧",
        "a\r\n\t",
        "\u{9b}31m",
    ];
    let people: Vec<_> = (0..500).map(|n| participant(&format!("p{n:03}"), &odd[n % odd.len()].repeat(200))).collect();
    let mut app = App::new(lab(&people), "http://localhost:11434");
    app.on_update(Update::Rooms(vec![room("LAB001", &odd.concat().repeat(50)), room("LAB002", odd[0])], 0), NOW);
    for n in 0..1000 {
        app.on_update(began("LAB001", &format!("p{:03}", n % 500), &n.to_string()), NOW);
    }
    app.pane = Pane::Participants;
    for theme in [FULL, Theme { colour: false, unicode: false }] {
        for (columns, rows) in [(80, 24), (200, 60), (41, 11), (39, 9), (1, 1), (121, 12)] {
            for key in [Key::End, Key::PageUp, Key::Enter, Key::Esc, Key::Char('m'), Key::Esc] {
                app.on_key(&key, NOW);
                let text = screen(&app, theme, columns, rows).concat();
                assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'));
            }
        }
    }
    // Columns stay aligned, whatever the names.
    app.on_key(&Key::Home, NOW);
    let terminal = terminal(&app, FULL, 119, 40);
    let starts = |line: &[ratatui::buffer::Cell]| {
        (0..line.len())
            .find(|&x| line[x..].iter().take(6).map(|cell| cell.symbol()).eq("llama3".split_inclusive(|_| true)))
    };
    let models: Vec<usize> = terminal.backend().buffer().content().chunks(119).filter_map(starts).collect();
    assert!(models.len() > 20 && models.iter().all(|&x| x == models[0]), "{models:?}");
}

#[test]
fn a_long_list_scrolls_to_the_selected_participant() {
    let people: Vec<_> = (0..500).map(|n| participant(&format!("p{n:03}"), &format!("Person {n:03}"))).collect();
    let mut app = App::new(lab(&people), "");
    app.pane = Pane::Participants;
    app.on_key(&Key::End, NOW);
    let shown = screen(&app, FULL, 80, 24);
    assert!(line(&shown, "Participants 500").contains('▸'));
    assert!(line(&shown, "Person 499").contains("online"));
    assert!(!shown.join("").contains("Person 480"));
}

#[test]
fn width_tables_agree_with_the_terminal_library() {
    let shown = |c: char| clean(&format!("a{c}"));
    let wrong: Vec<String> = (' '..='\u{1ffff}')
        .filter(|&c| shown(c) == format!("a{c}"))
        .filter(|&c| 1 + Span::raw(c.to_string()).width() != width(&shown(c)))
        .map(|c| format!("{:x}", u32::from(c)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_lost_hub_is_shown_at_once() {
    let mut app = app();
    app.on_update(Update::Lost { reason: "cannot reach it".into(), retry_in: Some(5000) }, NOW);
    app.on_update(Update::Lost { reason: "cannot reach it still".into(), retry_in: Some(5000) }, NOW);
    let screen = screen(&app, FULL, 80, 24);
    assert!(screen[0].contains("LOST, retry in 2s") && screen[0].contains("  2 unknown  "), "{}", screen[0]);
    assert!(line(&screen, "connection to the hub lost: cannot reach it").contains("22:13:20Z"));
    let all = screen.join("\n");
    assert_eq!(all.matches("connection to the hub lost").count(), 1, "{all}");
    assert!(line(&screen, "? unknown").contains("Ann") && line(&screen, "LAB001 Lab").contains("0/2"), "{all}");
    assert!(!all.contains("online") && !all.contains("▶ busy"), "{all}");
}

#[test]
fn a_provider_that_is_down_is_shown_as_such() {
    let mut app = app();
    let mut ann = participant("ann", "Ann");
    (ann.status, ann.provider_down) = (Status::Offline, true);
    app.on_update(event("participant.updated", "LAB001", json!(ann)), NOW);
    let screen = screen(&app, FULL, 80, 24);
    assert!(line(&screen, "✕ provider down ").contains("Ann"), "{}", screen.join("\n"));
    assert!(line(&screen, "Ann's provider is down").contains("LAB001"));
    assert!(line(&screen, "LAB001 Lab").contains("1/2"), "it does not count as up");
}

#[test]
fn the_chat_wraps_words_cleans_them_and_shows_who_answered() {
    let mut app = app();
    app.on_key(&Key::Char('c'), NOW);
    assert!(line(&screen(&app, FULL, 80, 24), "Chat with LAB001: any participant").contains('▸'));
    app.on_key(&Key::Paste("Why is the \u{1b}[31msky blue?".into()), NOW);
    assert!(line(&screen(&app, FULL, 80, 24), "> Why is the").contains("[31msky blue? "));
    let Some(Action::Ask(request)) = app.on_key(&Key::Enter, NOW) else { panic!("nothing was asked") };
    app.on_answer_event(request.number, AnswerEvent::Waiting { place: 2, of: 7 });
    assert!(line(&screen(&app, FULL, 80, 24), "Waiting in line: 2 of 7, 3s").contains("Esc: stop"));
    let part = |kind, text: &str| AnswerEvent::Part(kind, text.into());
    app.on_answer_event(request.number, part(Kind::Thinking, "Light scatters."));
    app.on_answer_event(request.number, part(Kind::Answer, &format!("\u{1b}[2J\u{202e}{}end.", "word ".repeat(30))));
    let facts = Facts { participant: "ann".into(), tokens: Some(31), rest: Duration::from_secs(2), ..Facts::default() };
    app.on_answer_event(request.number, AnswerEvent::Ended(facts, Ok(())));
    for (columns, rows) in [(80, 24), (200, 60), (40, 10)] {
        let shown = screen(&app, FULL, columns, rows);
        let all = shown.concat();
        assert!(!all.chars().any(|c| c.is_control() || c == '\u{202e}'));
        assert!(all.contains("end.") && all.contains("Ann (ann) · 31 tokens · 15.0 tokens/s"), "{shown:#?}");
        assert!(!all.contains("wor "), "words stay whole: {shown:#?}");
    }
    let plain = screen(&app, Theme { colour: false, unicode: false }, 80, 24);
    assert!(line(&plain, "Ann (ann) - 31 tokens - 15.0 tokens/s").is_ascii());
    let terminal = terminal(&app, FULL, 80, 24);
    let dim = terminal.backend().buffer().content().iter().filter(|cell| cell.modifier.contains(Modifier::DIM));
    assert!(dim.map(|cell| cell.symbol()).collect::<String>().contains("Light scatters."));
}

#[test]
fn a_long_answer_scrolls_and_stays_in_place_while_it_grows() {
    let mut app = app();
    app.on_key(&Key::Char('c'), NOW);
    app.on_key(&Key::Char('?'), NOW);
    let Some(Action::Ask(request)) = app.on_key(&Key::Enter, NOW) else { panic!("nothing was asked") };
    let grow = |app: &mut App, from: usize, to: usize| {
        for n in from..to {
            app.on_answer_event(request.number, AnswerEvent::Part(Kind::Answer, format!("line {n:03}\n")));
        }
    };
    grow(&mut app, 0, 100);
    let shows = |app: &App, text: &str| screen(app, FULL, 80, 24).concat().contains(text);
    assert!(shows(&app, "line 099") && !shows(&app, "line 060"));
    app.on_key(&Key::Home, NOW);
    assert!(shows(&app, "> ?") && shows(&app, "line 000") && !shows(&app, "line 099"));
    grow(&mut app, 100, 200);
    assert!(shows(&app, "line 000") && shows(&app, "Earlier lines") && !shows(&app, "line 199"));
    app.on_key(&Key::End, NOW);
    assert!(shows(&app, "line 199"));
}

#[test]
fn a_long_draft_shows_the_lines_around_its_cursor() {
    let mut app = app();
    app.on_key(&Key::Char('c'), NOW);
    let text: Vec<String> = (0..40).map(|n| format!("draft {n:02}")).collect();
    app.on_key(&Key::Paste(text.join("\n")), NOW);
    let shown = screen(&app, FULL, 80, 24).concat();
    assert!(shown.contains("draft 39") && !shown.contains("draft 00"));
    app.on_key(&Key::Home, NOW);
    let shown = screen(&app, FULL, 80, 24).concat();
    assert!(shown.contains("> draft 00") && !shown.contains("draft 39"));
}

#[test]
fn the_help_fits_the_smallest_usual_terminal() {
    let mut app = app();
    app.on_key(&Key::Char('?'), NOW);
    let shown = screen(&app, FULL, 80, 24);
    assert!(line(&shown, "Tab, arrows").contains("pane") && line(&shown, "q, Ctrl-C").contains("leave "));
}

#[test]
fn who_waits_is_listed_beside_the_rest_or_by_its_key() {
    let mut app = app();
    let waiting = |place: u64| json!({ "place": place, "client": place, "own": place == 2, "model": "a\u{1b}[2Jny", "since": NOW });
    let mut requests: Vec<_> = (1..=100).map(waiting).collect();
    requests[0]["caller"] = json!("Dr. \u{202e}Ann");
    let queue = json!({ "roomCode": "LAB001", "timestamp": NOW, "queued": 250, "requests": requests });
    app.on_update(Update::Queue(serde_json::from_value(queue).unwrap()), NOW);
    let wide = screen(&app, FULL, 120, 30);
    assert!(line(&wide, "Queue of LAB001: 250").contains('╭'));
    assert!(line(&wide, "1  Dr. Ann").contains("a\u{fffd}[2Jny") && line(&wide, "2  Client 2 (you)").contains("3.0s"));
    assert!(line(&wide, "and ").contains("and 241 more"), "{}", wide.join("\n"));
    assert!(!screen(&app, FULL, 80, 24).concat().contains("Client 2"));
    app.on_key(&Key::Char('w'), NOW);
    let small = screen(&app, FULL, 80, 24);
    assert!(line(&small, "2  Client 2 (you)").contains("3.0s") && line(&small, "more").contains("and 235 more"));
    // The other room has no queue.
    app.on_key(&Key::Down, NOW);
    assert!(line(&screen(&app, FULL, 80, 24), "No request waits.").contains('│'));
}

#[test]
fn wider_lists_have_more_columns() {
    let mut app = app();
    let minutes = json!({ "roomCode": "LAB001", "timestamp": NOW, "minutes": [], "callers": [],
        "participants": [{ "participantId": "ann", "requests": [1, 0], "outputTokens": [8, 1] }] });
    app.on_update(Update::History(Box::new(serde_json::from_value(minutes).unwrap())), NOW);
    let heads = |columns| line(&screen(&app, FULL, columns, 40), "  Status        Name").to_owned();
    for (columns, there, missing) in [(80, "Tok/s", "Failed"), (120, "Failed", "p95"), (200, "p95", "Endpoint")] {
        assert!(heads(columns).contains(there) && !heads(columns).contains(missing), "{}", heads(columns));
    }
    assert!(heads(250).contains("First token") && heads(250).contains("Endpoint"));
    assert!(line(&screen(&app, FULL, 200, 40), "▶ busy          Ann").contains("█▁"));
    let rooms = |columns| line(&screen(&app, FULL, columns, 40), "Code ").to_owned();
    assert!(rooms(120).contains("Queued") && rooms(200).contains("Tokens/s"));
}

#[test]
fn an_open_chat_is_beside_the_lists_and_on_the_widest_screens_beside_the_details_too() {
    let mut app = app();
    app.on_key(&Key::Char('c'), NOW);
    for (columns, has_details) in [(120, false), (200, true)] {
        let shown = screen(&app, FULL, columns, 30);
        assert!(line(&shown, "Chat with LAB001").contains("Rooms"), "{}", shown.join("\n"));
        assert_eq!(shown.concat().contains("╭ Participant ─"), has_details);
        assert!(shown.concat().contains("Events"));
    }
}
