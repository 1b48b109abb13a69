//! The terminal interface's state: the hub's state, the selection and the open dialog. Pure: updates and outcomes come
//! in with the time, and [`Action`]s to perform come out.

use std::collections::BTreeMap;

use gambi::proto::management::RoomSummary;

use super::chat::{AnswerEvent, ChatRequest, Chats};
use super::form::{Field, Form};
use super::history::History;
use super::log::Log;
use crate::chat::selection::called;
use crate::monitor::model::{Member, Room};
use crate::monitor::state::{MonitorState, Update};

/// How long a notice is shown, milliseconds.
const NOTICE: u64 = 8000;

/// Labels of the dialogs' fields, which are looked up by them.
pub mod label {
    #![allow(missing_docs)] // Each constant is the label of its name.
    pub const NAME: &str = "Name";
    pub const PASSWORD: &str = "Password";
    pub const PRIVATE: &str = "Private";
    pub const ROOM: &str = "Room";
    pub const ENDPOINT: &str = "Endpoint";
    pub const MODEL: &str = "Model";
    pub const NICKNAME: &str = "Nickname";
    pub const FILTER: &str = "Text";
}

/// The panes of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pane {
    /// The list of rooms.
    Rooms,
    /// The participants of the shown rooms.
    Participants,
    /// The event log.
    Events,
    /// The conversation with a room.
    Chat,
}

/// The order of participants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By id.
    Id,
    /// Worst health first, then by id.
    Trouble,
}

/// A dialog over the screen.
pub enum Dialog {
    /// The list of keys.
    Help,
    /// Details of the selected participant.
    Participant,
    /// Charts of the selected room.
    Charts,
    /// Who waits in the selected room.
    Queue,
    /// Creates a room.
    Create(Form),
    /// Joins a room.
    Join(Form),
    /// Asks for the password of the private room with this code.
    Password(String, Form),
    /// Filters events by text.
    Filter(Form),
}

/// A message in the footer.
#[derive(Debug)]
pub struct Notice {
    /// One sentence, safe to print.
    pub text: String,
    /// Whether it reports a failure.
    pub failed: bool,
    until: u64,
}

/// The fields of the join dialog.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The room's code.
    pub room: String,
    /// The provider's URL.
    pub endpoint: String,
    /// The model; if empty, joining fails with the list of the provider's models.
    pub model: String,
    /// The display name; empty makes one up.
    pub nickname: String,
    /// The room's password, if it needs one.
    pub password: Option<String>,
}

/// An action to perform. Has no `Debug`, since it can hold passwords.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// End the program.
    Quit,
    /// Suspend the program and give the terminal back to the shell.
    Suspend,
    /// Redraw the whole screen.
    Redraw,
    /// Poll the hub now.
    Poll,
    /// Set the password (second) of the private room with that code (first).
    Unlock(String, String),
    /// Create a room: name, password, whether it is private.
    Create(String, Option<String>, bool),
    /// Join with a participant.
    Join(JoinRequest),
    /// Leave with a participant of this process: room code, participant id.
    Leave(String, String),
    /// Send a question.
    Ask(ChatRequest),
    /// Stop the answer that arrives.
    StopAnswer,
}

/// The outcome of an action. Has no `Debug`, since it can hold passwords.
pub enum Outcome {
    /// A room was created, or the error; and the password that was given.
    Created(Result<RoomSummary, String>, Option<String>),
    /// Joining failed: the error, and the provider's models if the requested one is missing.
    NotJoined(String, Vec<String>),
    /// A participant of this process joined: room, id.
    Joined(String, String),
    /// A participant of this process lost its connection and will retry: room, id, error.
    Waiting(String, String, String),
    /// A participant of this process has left: room, id, and the error unless the user removed it.
    Left(String, String, Option<String>),
}

/// The state of the screen.
pub struct App {
    /// The hub's state.
    pub state: MonitorState,
    /// The event log.
    pub log: Log,
    /// The data for the charts.
    pub history: History,
    /// The conversations.
    pub chats: Chats,
    /// The pane that receives keys.
    pub pane: Pane,
    /// The open dialog.
    pub dialog: Option<Dialog>,
    /// The message in the footer.
    pub notice: Option<Notice>,
    /// If set, only this room's participants are shown.
    pub only_room: Option<String>,
    /// The order of participants.
    pub order: Order,
    /// Participants that run in this process, by room and id, and whether they are connected.
    pub own: BTreeMap<(String, String), bool>,
    /// The default endpoint in the join dialog.
    pub endpoint: String,
    pub(super) selected_room: Option<String>,
    pub(super) selected_member: Option<(String, String)>,
    /// The pane from which the chat was opened.
    pub(super) before_chat: Pane,
}

impl App {
    /// The initial screen.
    pub fn new(state: MonitorState, endpoint: &str) -> Self {
        App {
            state,
            log: Log::default(),
            history: History::default(),
            chats: Chats::default(),
            pane: Pane::Rooms,
            dialog: None,
            notice: None,
            only_room: None,
            order: Order::Id,
            own: BTreeMap::new(),
            endpoint: endpoint.to_owned(),
            selected_room: None,
            selected_member: None,
            before_chat: Pane::Rooms,
        }
    }

    /// All rooms, in display order.
    pub fn rooms(&self) -> Vec<&Room> {
        self.state.rooms.values().collect()
    }

    /// The selected room, by default the first.
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

    /// A room's participants, in display order.
    pub fn members<'r>(&self, room: &'r Room, now: u64) -> Vec<&'r Member> {
        let mut members: Vec<&Member> = room.members.values().collect();
        if self.order == Order::Trouble {
            let now = self.state.hub_time(now);
            members.sort_by_key(|member| (std::cmp::Reverse(self.state.health(member, now)), member.info.id.as_str()));
        }
        members
    }

    /// All participants shown, each with its room.
    pub fn shown_members(&self, now: u64) -> Vec<(&Room, &Member)> {
        let rooms = self.shown_rooms().into_iter();
        rooms.flat_map(|room| self.members(room, now).into_iter().map(move |member| (room, member))).collect()
    }

    /// The selected participant, by default the first.
    pub fn member(&self, now: u64) -> Option<(&Room, &Member)> {
        let chosen = self.selected_member.as_ref().and_then(|(code, id)| {
            let room = self.shown_rooms().into_iter().find(|room| room.info.code == *code)?;
            Some((room, room.members.get(id)?))
        });
        chosen.or_else(|| self.shown_members(now).first().copied())
    }

    /// The room that the queue and the charts show: that of the pane that has the focus, else the selected room.
    pub fn charted(&self, now: u64) -> Option<&Room> {
        let talked_with = self.chats.room.as_ref().filter(|_| self.pane == Pane::Chat);
        if let Some(room) = talked_with.and_then(|code| self.state.rooms.get(code)) {
            return Some(room);
        }
        let looked_at = if self.pane == Pane::Participants { self.member(now) } else { None };
        looked_at.map(|(room, _)| room).or_else(|| self.room())
    }

    /// Shows a message in the footer for a while.
    pub fn notify(&mut self, failed: bool, text: &str, now: u64) {
        let text = crate::monitor::text::clean(text);
        self.notice = Some(Notice { text, failed, until: now.saturating_add(NOTICE) });
    }

    /// Removes an expired notice. True if there was one.
    pub fn expire_notice(&mut self, now: u64) -> bool {
        let over = self.notice.as_ref().is_some_and(|notice| now >= notice.until);
        if over {
            self.notice = None;
        }
        over
    }

    /// Applies an update.
    pub fn on_update(&mut self, update: Update, now: u64) {
        self.log.on_update(&update, &self.state, now);
        self.history.on_update(&update, now);
        match (&update, &mut self.dialog) {
            (Update::Refused(room, why), Some(Dialog::Password(code, form))) if room == code => form.fail(why),
            // What is being typed in the chat must not become a password.
            (Update::Refused(room, _), None) if self.state.is_requested(room) && self.pane != Pane::Chat => {
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

    /// Applies an event of an answer.
    pub fn on_answer_event(&mut self, number: u64, event: AnswerEvent) {
        let rooms = &self.state.rooms;
        let nickname = |room: &str, id: &str| Some(rooms.get(room)?.members.get(id)?.info.nickname.as_str());
        self.chats.on_event(number, event, |room, id| match id {
            "" => String::new(),
            id => called(id, nickname(room, id).unwrap_or_default()),
        });
    }

    /// Handles an action's outcome. Returns a follow-up action, if any.
    pub fn on_outcome(&mut self, outcome: Outcome, now: u64) -> Option<Action> {
        match outcome {
            Outcome::Created(Ok(room), password) => return Some(self.created(room, password, now)),
            Outcome::Created(Err(error), _) => match &mut self.dialog {
                Some(Dialog::Create(form)) => form.fail(&error),
                _ => self.notify(true, &format!("The room was not created: {error}"), now),
            },
            Outcome::NotJoined(error, models) => self.not_joined(&error, &models, now),
            Outcome::Joined(room, id) => {
                if matches!(self.dialog, Some(Dialog::Join(_))) {
                    self.dialog = None;
                }
                let text = format!("{id} joined the room {room} from this machine");
                self.own.insert((room.clone(), id), true);
                self.record(false, &room, &text, now);
            }
            Outcome::Waiting(room, id, why) => {
                self.record(true, &room, &format!("{id} lost its connection and will retry: {why}"), now);
                self.own.insert((room, id), false);
            }
            Outcome::Left(room, id, why) => {
                self.own.remove(&(room.clone(), id.clone()));
                let text =
                    why.as_ref().map_or(format!("{id} has left"), |why| format!("{id} left after an error: {why}"));
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
        self.notify(false, &format!("The room was created. Its code is {}", room.code), now);
        let code = room.code.clone();
        self.selected_room = Some(code.clone());
        self.state.add(room);
        match password.filter(|_| self.state.rooms.get(&code).is_some_and(|room| room.info.private)) {
            Some(password) => Action::Unlock(code, password),
            None => Action::Poll,
        }
    }

    fn not_joined(&mut self, error: &str, models: &[String], now: u64) {
        let Some(Dialog::Join(form)) = &mut self.dialog else {
            return self.notify(true, &format!("Joining failed: {error}"), now);
        };
        form.fail(error);
        if !models.is_empty() {
            form.focus_on(label::MODEL);
        }
        if let [only] = models {
            form.fields[form.focus].set(only);
            form.fail("This is the only model there: press Enter to join with it");
        }
    }

    /// Opens the join dialog for the selected room.
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

/// The dialog that asks for a private room's password.
pub(super) fn password_dialog(code: &str) -> Dialog {
    Dialog::Password(code.to_owned(), Form::new(vec![Field::secret(label::PASSWORD)]))
}
