//! What the screen is about: the hub's state, where one is in it, and the dialog that is open. Pure: news and answers come
//! in, the time is an argument, and what is to be done comes out as [`Action`]s.

use std::collections::BTreeMap;

use gambi::proto::management::RoomSummary;

use super::form::{Field, Form};
use super::history::History;
use super::log::Log;
use crate::monitor::model::{Member, Room};
use crate::monitor::state::{MonitorState, Update};

/// How long a notice stays, milliseconds.
const NOTICE: u64 = 8000;

/// Labels of the dialogs' fields.
pub mod label {
    #![allow(missing_docs)] // They are what they say.
    pub const NAME: &str = "Name";
    pub const PASSWORD: &str = "Password";
    pub const PRIVATE: &str = "Private";
    pub const ROOM: &str = "Room";
    pub const ENDPOINT: &str = "Endpoint";
    pub const MODEL: &str = "Model";
    pub const NICKNAME: &str = "Nickname";
    pub const FILTER: &str = "Text";
}

/// The parts of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pane {
    /// The rooms.
    Rooms,
    /// Who is in them.
    Participants,
    /// What happened.
    Events,
}

/// The order of participants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By id.
    Id,
    /// Those in trouble first, then those at work.
    Trouble,
}

/// What lies over the screen.
pub enum Dialog {
    /// The keys.
    Help,
    /// All about the participant that is selected.
    Participant,
    /// Charts of the room that is selected.
    Charts,
    /// Making a room.
    Create(Form),
    /// JoinRequest a room.
    Join(Form),
    /// The password of a private room, by its code.
    Password(String, Form),
    /// The events' filter.
    Filter(Form),
}

/// Something for the person to know.
#[derive(Debug)]
pub struct Notice {
    /// In one sentence.
    pub text: String,
    /// Whether something went wrong.
    pub failed: bool,
    until: u64,
}

/// A participant that is to join.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The room's code.
    pub room: String,
    /// The provider's URL.
    pub endpoint: String,
    /// The model; empty asks the provider what there is.
    pub model: String,
    /// The name for people; empty makes one up.
    pub nickname: String,
    /// The room's password.
    pub password: Option<String>,
}

/// What is to be done. Not to be printed: there are passwords in it.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// End.
    Quit,
    /// Give the terminal back to the shell for a while.
    Suspend,
    /// Draw everything anew.
    Redraw,
    /// Theme at the hub now.
    Theme,
    /// Use that password for that private room.
    Unlock(String, String),
    /// Make a room: its name, its password, and whether it is private.
    Create(String, Option<String>, bool),
    /// Bring a participant in.
    Join(JoinRequest),
    /// Take one of ours out: its room and its id.
    Leave(String, String),
}

/// What came of an act. Not to be printed either.
pub enum Outcome {
    /// A room was made, with that password, or it was not.
    Created(Result<RoomSummary, String>, Option<String>),
    /// Nobody joined, and why; the models that the provider has, if that was the question.
    NotJoined(String, Vec<String>),
    /// One of ours is in: room, id.
    Joined(String, String),
    /// One of ours is out for a while: room, id, why.
    Waiting(String, String, String),
    /// One of ours is gone: room, id, and why if nobody asked for it.
    Left(String, String, Option<String>),
}

/// What the screen is about.
pub struct App {
    /// What is known of the hub.
    pub state: MonitorState,
    /// What happened.
    pub log: Log,
    /// What the charts are drawn from.
    pub history: History,
    /// The part of the screen that keys go to.
    pub pane: Pane,
    /// The dialog that is open.
    pub dialog: Option<Dialog>,
    /// What is to be known.
    pub notice: Option<Notice>,
    /// The only room whose participants are shown.
    pub only_room: Option<String>,
    /// The order of participants.
    pub order: Order,
    /// Participants that run in this process, by room and id: whether they are in.
    pub own: BTreeMap<(String, String), bool>,
    /// The endpoint that joining begins with.
    pub endpoint: String,
    pub(super) selected_room: Option<String>,
    pub(super) selected_member: Option<(String, String)>,
}

impl App {
    /// A screen about a hub.
    pub fn new(state: MonitorState, endpoint: &str) -> Self {
        App {
            state,
            log: Log::default(),
            history: History::default(),
            pane: Pane::Rooms,
            dialog: None,
            notice: None,
            only_room: None,
            order: Order::Id,
            own: BTreeMap::new(),
            endpoint: endpoint.to_owned(),
            selected_room: None,
            selected_member: None,
        }
    }

    /// All rooms, in the order in which they are shown.
    pub fn rooms(&self) -> Vec<&Room> {
        self.state.rooms.values().collect()
    }

    /// The room that is selected: the first, where none was.
    pub fn room(&self) -> Option<&Room> {
        let chosen = self.selected_room.as_ref().and_then(|code| self.state.rooms.get(code));
        chosen.or_else(|| self.state.rooms.values().next())
    }

    /// The rooms whose participants are shown.
    pub fn shown_rooms(&self) -> Vec<&Room> {
        let shown = |room: &&Room| match &self.only_room {
            Some(code) => room.info.code == *code,
            None => room.watched,
        };
        self.state.rooms.values().filter(shown).collect()
    }

    /// Those in a room, in the order in which they are shown.
    pub fn members<'r>(&self, room: &'r Room, now: u64) -> Vec<&'r Member> {
        let mut members: Vec<&Member> = room.members.values().collect();
        if self.order == Order::Trouble {
            let now = self.state.hub_time(now);
            members.sort_by_key(|member| (std::cmp::Reverse(member.health(now)), member.info.id.as_str()));
        }
        members
    }

    /// Everybody who is shown, each with the room.
    pub fn shown_members(&self, now: u64) -> Vec<(&Room, &Member)> {
        let rooms = self.shown_rooms().into_iter();
        rooms.flat_map(|room| self.members(room, now).into_iter().map(move |member| (room, member))).collect()
    }

    /// The participant that is selected: the first, where none was.
    pub fn member(&self, now: u64) -> Option<(&Room, &Member)> {
        let chosen = self.selected_member.as_ref().and_then(|(code, id)| {
            let room = self.shown_rooms().into_iter().find(|room| room.info.code == *code)?;
            Some((room, room.members.get(id)?))
        });
        chosen.or_else(|| self.shown_members(now).first().copied())
    }

    /// The room that charts are of: the participant's, where one is looked at, else the one that is selected.
    pub fn charted(&self, now: u64) -> Option<&Room> {
        let looked_at = if self.pane == Pane::Participants { self.member(now) } else { None };
        looked_at.map(|(room, _)| room).or_else(|| self.room())
    }

    /// Says something for a while.
    pub fn notify(&mut self, failed: bool, text: &str, now: u64) {
        let text = crate::monitor::text::clean(text);
        self.notice = Some(Notice { text, failed, until: now.saturating_add(NOTICE) });
    }

    /// Lets go of what has been said for long enough. True when there was something.
    pub fn expire_notice(&mut self, now: u64) -> bool {
        let over = self.notice.as_ref().is_some_and(|notice| now >= notice.until);
        if over {
            self.notice = None;
        }
        over
    }

    /// Takes news in.
    pub fn on_update(&mut self, update: Update, now: u64) {
        self.log.on_update(&update, &self.state, now);
        self.history.on_update(&update, now);
        match (&update, &mut self.dialog) {
            (Update::Refused(room, why), Some(Dialog::Password(code, form))) if room == code => form.fail(why),
            (Update::Refused(room, _), None) if self.state.is_requested(room) => {
                self.dialog = Some(password_dialog(room))
            }
            (Update::Members(room, _), Some(Dialog::Password(code, form))) if room == code && form.busy => {
                self.dialog = None;
            }
            _ => {}
        }
        self.state.on_update(update, now);
        if self.only_room.as_ref().is_some_and(|code| !self.state.rooms.contains_key(code)) {
            self.only_room = None;
        }
    }

    /// Takes in what came of an act; what is to be done then.
    pub fn on_outcome(&mut self, outcome: Outcome, now: u64) -> Option<Action> {
        match outcome {
            Outcome::Created(Ok(room), password) => return Some(self.created(room, password, now)),
            Outcome::Created(Err(error), _) => match &mut self.dialog {
                Some(Dialog::Create(form)) => form.fail(&error),
                _ => self.notify(true, &format!("No room was made: {error}"), now),
            },
            Outcome::NotJoined(error, models) => self.not_joined(&error, &models, now),
            Outcome::Joined(room, id) => {
                if matches!(self.dialog, Some(Dialog::Join(_))) {
                    self.dialog = None;
                }
                let text = format!("{id} is in the room {room}, from this machine");
                self.own.insert((room.clone(), id), true);
                self.record(false, &room, &text, now);
            }
            Outcome::Waiting(room, id, why) => {
                self.record(true, &room, &format!("{id} is out and will try again: {why}"), now);
                self.own.insert((room, id), false);
            }
            Outcome::Left(room, id, why) => {
                self.own.remove(&(room.clone(), id.clone()));
                let text = why.as_ref().map_or(format!("{id} has left"), |why| format!("{id} was lost: {why}"));
                self.record(why.is_some(), &room, &text, now);
            }
        }
        None
    }

    fn record(&mut self, failed: bool, room: &str, text: &str, now: u64) {
        self.log.record(now, failed, room, text);
        self.notify(failed, text, now);
    }

    fn created(&mut self, room: RoomSummary, password: Option<String>, now: u64) -> Action {
        if matches!(self.dialog, Some(Dialog::Create(_))) {
            self.dialog = None;
        }
        self.notify(false, &format!("The room is there. Its code is {}", room.code), now);
        let code = room.code.clone();
        self.selected_room = Some(code.clone());
        self.state.add(room);
        match password.filter(|_| self.state.rooms.get(&code).is_some_and(|room| room.info.private)) {
            Some(password) => Action::Unlock(code, password),
            None => Action::Theme,
        }
    }

    fn not_joined(&mut self, error: &str, models: &[String], now: u64) {
        let Some(Dialog::Join(form)) = &mut self.dialog else {
            return self.notify(true, &format!("Nobody joined: {error}"), now);
        };
        form.fail(error);
        if !models.is_empty() {
            form.focus_on(label::MODEL);
        }
        if let [only] = models {
            form.fields[form.focus].set(only);
            form.fail("That is its only model: Enter joins with it");
        }
    }

    /// Opens the dialog for joining the room that is selected.
    pub(super) fn join_dialog(&mut self) {
        let code = self.room().map(|room| room.info.code.clone()).unwrap_or_default();
        let asks = self.room().is_some_and(|room| room.info.password_protected);
        let mut fields = vec![
            Field::text(label::ROOM, &code),
            Field::text(label::ENDPOINT, &self.endpoint),
            Field::text(label::MODEL, ""),
            Field::text(label::NICKNAME, ""),
        ];
        if asks {
            fields.push(Field::secret(label::PASSWORD));
        }
        let mut form = Form::new(fields);
        if !code.is_empty() {
            form.focus_on(label::MODEL);
        }
        self.dialog = Some(Dialog::Join(form));
    }
}

/// Asks for the password of a private room.
pub(super) fn password_dialog(code: &str) -> Dialog {
    Dialog::Password(code.to_owned(), Form::new(vec![Field::secret(label::PASSWORD)]))
}
