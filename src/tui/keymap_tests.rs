//! Key presses and their effects.

use serde_json::json;

use super::app::{Action, App, Dialog, JoinRequest, Outcome, Pane, label};
use super::form::Form;
use super::keys::Key;
use crate::monitor::fixtures::{NOW, event, lab, participant, room};
use crate::monitor::state::{MonitorState, Update};

fn app() -> App {
    let mut app = App::new(lab(&[participant("ann", "Ann"), participant("bob", "Bob")]), "http://localhost:11434");
    app.on_update(Update::Rooms(vec![room("LAB001", "Lab"), room("LAB002", "Shop"), private("LAB003")], 0), NOW);
    app.on_update(Update::Members("LAB002".into(), vec![participant("carla", "Carla")]), NOW);
    app.on_update(Update::Refused("LAB003".into(), "private".into()), NOW);
    app
}

fn private(code: &str) -> gambi::proto::management::RoomSummary {
    gambi::proto::management::RoomSummary { private: true, password_protected: true, ..room(code, "Secret") }
}

fn on_key(app: &mut App, keys: &[Key]) -> Option<Action> {
    keys.iter().fold(None, |_, key| app.on_key(key, NOW))
}

fn write(app: &mut App, text: &str) {
    assert!(text.chars().all(|c| app.on_key(&Key::Char(c), NOW).is_none()));
}

fn form(app: &App) -> &Form {
    match &app.dialog {
        Some(Dialog::Create(form) | Dialog::Join(form) | Dialog::Password(_, form) | Dialog::Filter(form)) => form,
        _ => panic!("no form is open"),
    }
}

fn selected(app: &App) -> &str {
    &app.member(NOW).expect("a participant").1.info.id
}

#[test]
fn keys_move_between_panes_and_lines() {
    let mut app = app();
    on_key(&mut app, &[Key::Down]);
    assert_eq!(app.room().unwrap().info.code, "LAB002");
    on_key(&mut app, &[Key::Down, Key::Down, Key::Down]);
    assert_eq!(app.room().unwrap().info.code, "LAB003");
    on_key(&mut app, &[Key::Tab]);
    assert_eq!((app.pane, selected(&app)), (Pane::Participants, "ann"));
    on_key(&mut app, &[Key::Down, Key::Down]);
    assert_eq!(selected(&app), "carla");
    // The selection stays on its participant when others are inserted before it.
    app.on_update(event("participant.joined", "LAB001", json!(participant("aaa", "A"))), NOW);
    assert_eq!(selected(&app), "carla");
    on_key(&mut app, &[Key::Home]);
    assert_eq!(selected(&app), "aaa");
    on_key(&mut app, &[Key::Char('3'), Key::Tab, Key::BackTab]);
    assert_eq!(app.pane, Pane::Events);
}

#[test]
fn one_room_can_be_shown_alone_or_be_unwatched() {
    let mut app = app();
    on_key(&mut app, &[Key::Char(' ')]);
    assert!(!app.state.rooms["LAB001"].watched && app.state.rooms["LAB001"].members.is_empty());
    assert_eq!(app.shown_members(NOW).len(), 1);
    // A list that was requested before the room was unwatched is ignored.
    app.on_update(Update::Members("LAB001".into(), vec![participant("ann", "Ann")]), NOW);
    assert_eq!(app.shown_members(NOW).len(), 1);
    on_key(&mut app, &[Key::Enter]);
    assert_eq!(app.only_room.as_deref(), Some("LAB001"));
    assert!(app.state.rooms["LAB001"].watched);
    on_key(&mut app, &[Key::Esc]);
    assert_eq!((app.only_room.is_none(), app.shown_rooms().len()), (true, 3));
    on_key(&mut app, &[Key::Enter]);
    app.on_update(event("room.deleted", "LAB001", json!(room("LAB001", "Lab"))), NOW);
    assert_eq!(app.only_room, None);
}

#[test]
fn a_room_is_created_in_a_dialog() {
    let mut app = app();
    assert!(on_key(&mut app, &[Key::Char('n'), Key::Enter]).is_none());
    assert!(form(&app).error.as_ref().is_some_and(|error| error.contains("name")));
    write(&mut app, "quiet lab");
    on_key(&mut app, &[Key::Tab, Key::Tab, Key::Char(' ')]);
    assert!(on_key(&mut app, &[Key::Enter]).is_none());
    assert!(form(&app).error.as_ref().is_some_and(|error| error.contains("password")));
    write(&mut app, "s3cret");
    let action = on_key(&mut app, &[Key::Enter]);
    assert!(action == Some(Action::Create("quiet lab".into(), Some("s3cret".into()), true)));
    // Enter while the request is pending does not create a second room.
    assert!(on_key(&mut app, &[Key::Enter]).is_none() && form(&app).busy);
    assert!(app.on_outcome(Outcome::Created(Err("the hub is full".into()), None), NOW).is_none());
    assert_eq!((form(&app).error.as_deref(), form(&app).busy), (Some("the hub is full"), false));
    let then = app.on_outcome(Outcome::Created(Ok(private("NEW001")), Some("s3cret".into())), NOW);
    assert!(then == Some(Action::Unlock("NEW001".into(), "s3cret".into())));
    assert!(app.dialog.is_none() && app.state.rooms["NEW001"].watched);
    assert!(app.notice.as_ref().is_some_and(|notice| notice.text.contains("NEW001")));
    assert_eq!(app.room().unwrap().info.code, "NEW001");
}

#[test]
fn a_participant_joins_and_leaves() {
    let mut app = app();
    let action = on_key(&mut app, &[Key::Char('j'), Key::Enter]);
    let mut request = JoinRequest {
        room: "LAB001".into(),
        endpoint: "http://localhost:11434".into(),
        model: String::new(),
        nickname: String::new(),
        password: None,
    };
    assert!(action == Some(Action::Join(request.clone())));
    // The error lists the provider's models; if there is only one, it is filled in.
    app.on_outcome(Outcome::NotJoined("no such model".into(), vec!["llama3".into()]), NOW);
    assert_eq!(form(&app).value(label::MODEL), "llama3");
    request.model = "llama3".into();
    assert!(on_key(&mut app, &[Key::Enter]) == Some(Action::Join(request)));
    app.on_outcome(Outcome::Joined("LAB001".into(), "monitor-1".into()), NOW);
    assert!(app.dialog.is_none());
    app.on_update(event("participant.joined", "LAB001", json!(participant("monitor-1", "Me"))), NOW);
    on_key(&mut app, &[Key::Char('2'), Key::Home]);
    assert!(on_key(&mut app, &[Key::Char('l')]).is_none());
    assert!(app.notice.as_ref().is_some_and(|notice| notice.failed && notice.text.contains("elsewhere")));
    on_key(&mut app, &[Key::Down, Key::Down]);
    assert_eq!(selected(&app), "monitor-1");
    assert!(on_key(&mut app, &[Key::Char('l')]) == Some(Action::Leave("LAB001".into(), "monitor-1".into())));
    app.on_outcome(Outcome::Left("LAB001".into(), "monitor-1".into(), None), NOW);
    assert!(app.own.is_empty());
}

#[test]
fn a_private_room_prompts_for_its_password_until_it_is_right() {
    let mut app = app();
    on_key(&mut app, &[Key::End, Key::Enter]);
    assert!(matches!(&app.dialog, Some(Dialog::Password(code, _)) if code == "LAB003"));
    write(&mut app, "wrong");
    assert!(on_key(&mut app, &[Key::Enter]) == Some(Action::Unlock("LAB003".into(), "wrong".into())));
    assert!(app.state.watched().contains("LAB003"));
    app.on_update(Update::Refused("LAB003".into(), "Invalid password".into()), NOW);
    assert_eq!(form(&app).error.as_deref(), Some("Invalid password"));
    on_key(&mut app, &[Key::Ctrl('u')]);
    write(&mut app, "right");
    assert!(on_key(&mut app, &[Key::Enter]) == Some(Action::Unlock("LAB003".into(), "right".into())));
    app.on_update(Update::Members("LAB003".into(), vec![participant("dora", "Dora")]), NOW);
    assert!(app.dialog.is_none() && app.state.rooms["LAB003"].refused.is_none());
}

#[test]
fn a_requested_room_opens_its_password_dialog() {
    let mut app = App::new(MonitorState::new("http://hub:3000", &["lab003".into()]), "");
    app.on_update(Update::Rooms(vec![private("LAB003")], 0), NOW);
    app.on_update(Update::Refused("LAB003".into(), "private".into()), NOW);
    assert!(matches!(&app.dialog, Some(Dialog::Password(code, _)) if code == "LAB003"));
    // After Esc, another refusal does not open the dialog again.
    on_key(&mut app, &[Key::Esc]);
    assert!(app.state.watched().is_empty() && app.dialog.is_none());
    // While one types in the chat, none opens at all.
    app.on_update(Update::Rooms(vec![private("LAB003"), room("LAB001", "Lab")], 0), NOW);
    on_key(&mut app, &[Key::Home, Key::Char('c')]);
    app.on_update(Update::Refused("LAB003".into(), "private".into()), NOW);
    assert!(app.dialog.is_none() && app.pane == Pane::Chat);
}

#[test]
fn events_are_filtered_and_scrolled() {
    let mut app = app();
    for id in ["ann", "bob"] {
        app.on_update(event("participant.left", "LAB001", json!({ "participantId": id })), NOW);
    }
    on_key(&mut app, &[Key::Char('/')]);
    write(&mut app, "bob");
    on_key(&mut app, &[Key::Enter]);
    assert_eq!(app.log.shown(10).iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["Bob left"]);
    on_key(&mut app, &[Key::Esc, Key::Char('f')]);
    assert_eq!(app.log.shown(10).len(), 2);
    on_key(&mut app, &[Key::Char('3'), Key::Up]);
    assert!(!app.log.is_following());
    on_key(&mut app, &[Key::End]);
    assert!(app.log.is_following());
}

#[test]
fn quit_suspend_and_redraw_work_in_dialogs_too() {
    for dialog in [Key::Char('?'), Key::Char('n'), Key::Char('m'), Key::Esc] {
        for (key, action) in
            [(Key::Ctrl('c'), Action::Quit), (Key::Ctrl('z'), Action::Suspend), (Key::Ctrl('l'), Action::Redraw)]
        {
            assert!(on_key(&mut app(), &[dialog.clone(), key]) == Some(action));
        }
    }
    assert!(on_key(&mut app(), &[Key::Char('q')]) == Some(Action::Quit));
    // In a form, q is a letter.
    assert!(on_key(&mut app(), &[Key::Char('n'), Key::Char('q')]).is_none());
}

#[test]
fn no_key_fails_without_rooms() {
    let mut app = App::new(MonitorState::new("http://hub:3000", &[]), "");
    let keys = "abcdefghijklmnoprstuvwxyz 123/?".chars().map(Key::Char);
    for key in keys.chain([Key::Tab, Key::Enter, Key::Up, Key::End, Key::Delete, Key::Esc, Key::Paste("x\n".into())]) {
        for pane in [Pane::Rooms, Pane::Participants, Pane::Events] {
            app.pane = pane;
            app.dialog = None;
            app.on_key(&key, NOW);
            app.on_key(&Key::Enter, NOW);
        }
    }
}
