//! What a person does, key by key, and what comes of it.

use serde_json::json;

use super::app::{Act, Answer, App, Dialog, Joining, Pane, label};
use super::form::Form;
use super::keys::Key;
use crate::monitor::samples::{NOW, event, lab, participant, room};
use crate::monitor::state::{News, State};

fn app() -> App {
    let mut app = App::new(lab(&[participant("ann", "Ann"), participant("bob", "Bob")]), "http://localhost:11434");
    app.hear(News::Rooms(vec![room("LAB001", "Lab"), room("LAB002", "Shop"), private("LAB003")], 0), NOW);
    app.hear(News::Members("LAB002".into(), vec![participant("carla", "Carla")]), NOW);
    app.hear(News::Refused("LAB003".into(), "private".into()), NOW);
    app
}

fn private(code: &str) -> gambi::proto::management::RoomSummary {
    gambi::proto::management::RoomSummary { private: true, password_protected: true, ..room(code, "Secret") }
}

fn press(app: &mut App, keys: &[Key]) -> Option<Act> {
    keys.iter().fold(None, |_, key| app.press(key, NOW))
}

fn write(app: &mut App, text: &str) {
    assert!(text.chars().all(|c| app.press(&Key::Char(c), NOW).is_none()));
}

fn form(app: &App) -> &Form {
    match &app.dialog {
        Some(Dialog::Create(form) | Dialog::Join(form) | Dialog::Password(_, form) | Dialog::Filter(form)) => form,
        _ => panic!("no form is open"),
    }
}

fn selected(app: &App) -> &str {
    &app.member(NOW).expect("a participant").1.told.id
}

#[test]
fn one_goes_from_part_to_part_and_from_line_to_line() {
    let mut app = app();
    press(&mut app, &[Key::Down]);
    assert_eq!(app.room().unwrap().told.code, "LAB002");
    press(&mut app, &[Key::Down, Key::Down, Key::Down]);
    assert_eq!(app.room().unwrap().told.code, "LAB003");
    press(&mut app, &[Key::Tab]);
    assert_eq!((app.pane, selected(&app)), (Pane::Participants, "ann"));
    press(&mut app, &[Key::Down, Key::Down]);
    assert_eq!(selected(&app), "carla");
    // Whoever is selected stays so while others come before.
    app.hear(event("participant.joined", "LAB001", json!(participant("aaa", "A"))), NOW);
    assert_eq!(selected(&app), "carla");
    press(&mut app, &[Key::Home]);
    assert_eq!(selected(&app), "aaa");
    press(&mut app, &[Key::Char('3'), Key::Tab, Key::BackTab]);
    assert_eq!(app.pane, Pane::Events);
}

#[test]
fn rooms_are_watched_alone_or_not_at_all() {
    let mut app = app();
    press(&mut app, &[Key::Char(' ')]);
    assert!(!app.state.rooms["LAB001"].watched && app.state.rooms["LAB001"].members.is_empty());
    assert_eq!(app.everybody(NOW).len(), 1);
    // Its lists that are on their way come too late.
    app.hear(News::Members("LAB001".into(), vec![participant("ann", "Ann")]), NOW);
    assert_eq!(app.everybody(NOW).len(), 1);
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.alone.as_deref(), Some("LAB001"));
    assert!(app.state.rooms["LAB001"].watched);
    press(&mut app, &[Key::Esc]);
    assert_eq!((app.alone.is_none(), app.shown_rooms().len()), (true, 3));
    press(&mut app, &[Key::Enter]);
    app.hear(event("room.deleted", "LAB001", json!(room("LAB001", "Lab"))), NOW);
    assert_eq!(app.alone, None);
}

#[test]
fn a_room_is_made_in_a_dialog() {
    let mut app = app();
    assert!(press(&mut app, &[Key::Char('n'), Key::Enter]).is_none());
    assert!(form(&app).error.as_ref().is_some_and(|error| error.contains("name")));
    write(&mut app, "quiet lab");
    press(&mut app, &[Key::Tab, Key::Tab, Key::Char(' ')]);
    assert!(press(&mut app, &[Key::Enter]).is_none());
    assert!(form(&app).error.as_ref().is_some_and(|error| error.contains("password")));
    write(&mut app, "s3cret");
    let act = press(&mut app, &[Key::Enter]);
    assert!(act == Some(Act::Create("quiet lab".into(), Some("s3cret".into()), true)));
    // Pressing it again does not make another.
    assert!(press(&mut app, &[Key::Enter]).is_none() && form(&app).busy);
    assert!(app.answered(Answer::Created(Err("the hub is full".into()), None), NOW).is_none());
    assert_eq!((form(&app).error.as_deref(), form(&app).busy), (Some("the hub is full"), false));
    let then = app.answered(Answer::Created(Ok(private("NEW001")), Some("s3cret".into())), NOW);
    assert!(then == Some(Act::Unlock("NEW001".into(), "s3cret".into())));
    assert!(app.dialog.is_none() && app.state.rooms["NEW001"].watched);
    assert!(app.notice.as_ref().is_some_and(|notice| notice.text.contains("NEW001")));
    assert_eq!(app.room().unwrap().told.code, "NEW001");
}

#[test]
fn somebody_joins_and_leaves() {
    let mut app = app();
    let act = press(&mut app, &[Key::Char('j'), Key::Enter]);
    let mut joining = Joining {
        room: "LAB001".into(),
        endpoint: "http://localhost:11434".into(),
        model: String::new(),
        nickname: String::new(),
        password: None,
    };
    assert!(act == Some(Act::Join(joining.clone())));
    // The provider tells what it has; with only one, it is put in.
    app.answered(Answer::NotJoined("no such model".into(), vec!["llama3".into()]), NOW);
    assert_eq!(form(&app).value(label::MODEL), "llama3");
    joining.model = "llama3".into();
    assert!(press(&mut app, &[Key::Enter]) == Some(Act::Join(joining)));
    app.answered(Answer::Joined("LAB001".into(), "monitor-1".into()), NOW);
    assert!(app.dialog.is_none());
    app.hear(event("participant.joined", "LAB001", json!(participant("monitor-1", "Me"))), NOW);
    press(&mut app, &[Key::Char('2'), Key::Home]);
    assert!(press(&mut app, &[Key::Char('l')]).is_none());
    assert!(app.notice.as_ref().is_some_and(|notice| notice.failed && notice.text.contains("elsewhere")));
    press(&mut app, &[Key::Down, Key::Down]);
    assert_eq!(selected(&app), "monitor-1");
    assert!(press(&mut app, &[Key::Char('l')]) == Some(Act::Leave("LAB001".into(), "monitor-1".into())));
    app.answered(Answer::Left("LAB001".into(), "monitor-1".into(), None), NOW);
    assert!(app.own.is_empty());
}

#[test]
fn a_private_room_asks_for_its_password_until_it_is_right() {
    let mut app = app();
    press(&mut app, &[Key::End, Key::Enter]);
    assert!(matches!(&app.dialog, Some(Dialog::Password(code, _)) if code == "LAB003"));
    write(&mut app, "wrong");
    assert!(press(&mut app, &[Key::Enter]) == Some(Act::Unlock("LAB003".into(), "wrong".into())));
    assert!(app.state.watched().contains("LAB003"));
    app.hear(News::Refused("LAB003".into(), "Invalid password".into()), NOW);
    assert_eq!(form(&app).error.as_deref(), Some("Invalid password"));
    press(&mut app, &[Key::Ctrl('u')]);
    write(&mut app, "right");
    assert!(press(&mut app, &[Key::Enter]) == Some(Act::Unlock("LAB003".into(), "right".into())));
    app.hear(News::Members("LAB003".into(), vec![participant("dora", "Dora")]), NOW);
    assert!(app.dialog.is_none() && app.state.rooms["LAB003"].refused.is_none());
}

#[test]
fn a_room_that_was_named_asks_by_itself() {
    let mut app = App::new(State::new("http://hub:3000", &["lab003".into()]), "");
    app.hear(News::Rooms(vec![private("LAB003")], 0), NOW);
    app.hear(News::Refused("LAB003".into(), "private".into()), NOW);
    assert!(matches!(&app.dialog, Some(Dialog::Password(code, _)) if code == "LAB003"));
    // Once refused again after Esc it stays shut until it is opened.
    press(&mut app, &[Key::Esc]);
    assert!(app.state.watched().is_empty() && app.dialog.is_none());
}

#[test]
fn events_are_filtered_and_scrolled() {
    let mut app = app();
    for id in ["ann", "bob"] {
        app.hear(event("participant.left", "LAB001", json!({ "participantId": id })), NOW);
    }
    press(&mut app, &[Key::Char('/')]);
    write(&mut app, "bob");
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.log.shown(10).iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["Bob left"]);
    press(&mut app, &[Key::Esc, Key::Char('f')]);
    assert_eq!(app.log.shown(10).len(), 2);
    press(&mut app, &[Key::Char('3'), Key::Up]);
    assert!(!app.log.follows());
    press(&mut app, &[Key::End]);
    assert!(app.log.follows());
}

#[test]
fn ends_and_the_like_work_in_dialogs_too() {
    for dialog in [Key::Char('?'), Key::Char('n'), Key::Char('m'), Key::Esc] {
        for (key, act) in [(Key::Ctrl('c'), Act::Quit), (Key::Ctrl('z'), Act::Suspend), (Key::Ctrl('l'), Act::Redraw)] {
            assert!(press(&mut app(), &[dialog.clone(), key]) == Some(act));
        }
    }
    assert!(press(&mut app(), &[Key::Char('q')]) == Some(Act::Quit));
    // In a form, q is a letter.
    assert!(press(&mut app(), &[Key::Char('n'), Key::Char('q')]).is_none());
}

#[test]
fn no_key_does_harm_where_there_is_nothing() {
    let mut app = App::new(State::new("http://hub:3000", &[]), "");
    let keys = "abcdefghijklmnoprstuvwxyz 123/?".chars().map(Key::Char);
    for key in keys.chain([Key::Tab, Key::Enter, Key::Up, Key::End, Key::Delete, Key::Esc, Key::Paste("x\n".into())]) {
        for pane in [Pane::Rooms, Pane::Participants, Pane::Events] {
            app.pane = pane;
            app.dialog = None;
            app.press(&key, NOW);
            app.press(&Key::Enter, NOW);
        }
    }
}
