//! Maps keys to changes of the screen and to [`Action`]s. Pure.

use super::app::{Action, App, Dialog, JoinRequest, Order, Pane, label, password_dialog};
use super::form::{Field, Form};
use super::keys::Key;

/// Lines that PageUp and PageDown move by.
const PAGE: isize = 10;

impl App {
    /// Handles a key. Returns the action to perform, if any.
    pub fn on_key(&mut self, key: &Key, now: u64) -> Option<Action> {
        match key {
            // In the chat it stops the answer.
            Key::Ctrl('c') if self.dialog.is_some() || self.pane != Pane::Chat => return Some(Action::Quit),
            Key::Ctrl('z') => return Some(Action::Suspend),
            Key::Ctrl('l') => return Some(Action::Redraw),
            _ => {}
        }
        match self.dialog.take() {
            None if self.pane == Pane::Chat => self.on_chat_key(key, now),
            None => self.on_screen_key(key, now),
            Some(dialog) => self.on_dialog_key(dialog, key, now),
        }
    }

    fn on_screen_key(&mut self, key: &Key, now: u64) -> Option<Action> {
        match key {
            Key::Char('q') => return Some(Action::Quit),
            Key::Char('r') => {
                self.notify(false, "Refreshing", now);
                return Some(Action::Poll);
            }
            Key::Char('l') => return self.leave(now),
            Key::Char('?' | 'h') => self.dialog = Some(Dialog::Help),
            Key::Char('c') => self.open_chat(now),
            Key::Char('n') => self.dialog = Some(create_dialog()),
            Key::Char('j') => self.join_dialog(),
            Key::Char('m') if self.room().is_some() => self.dialog = Some(Dialog::Charts),
            Key::Char('w') if self.room().is_some() => self.dialog = Some(Dialog::Queue),
            Key::Char('/') => {
                let field = Field::text(label::FILTER, &self.log.filter);
                self.dialog = Some(Dialog::Filter(Form::new(vec![field])));
            }
            Key::Char('f') => self.log.next_kind(),
            Key::Char('s') => {
                self.order = if self.order == Order::Id { Order::Trouble } else { Order::Id };
            }
            Key::Char('p') => self.ask_password(now),
            Key::Char('1') => self.pane = Pane::Rooms,
            Key::Char('2') => self.pane = Pane::Participants,
            Key::Char('3') => self.pane = Pane::Events,
            Key::Tab | Key::Right => self.focus_next_pane(false),
            Key::BackTab | Key::Left => self.focus_next_pane(true),
            Key::Esc => self.clear(),
            key => match self.pane {
                Pane::Rooms => self.on_rooms_key(key),
                Pane::Participants => self.on_participants_key(key, now),
                Pane::Events => self.on_events_key(key),
                Pane::Chat => {}
            },
        }
        None
    }

    /// Moves the focus to the next pane, or to the previous one.
    pub(super) fn focus_next_pane(&mut self, back: bool) {
        let panes = [Pane::Rooms, Pane::Participants, Pane::Events, Pane::Chat];
        let panes = if self.chats.room.is_some() { &panes[..] } else { &panes[..3] };
        let at = panes.iter().position(|pane| *pane == self.pane).unwrap_or(0);
        self.pane = panes[(at + if back { panes.len() - 1 } else { 1 }) % panes.len()];
    }

    /// Clears the notice, the room selection and the event filters.
    fn clear(&mut self) {
        self.notice = None;
        self.only_room = None;
        self.log.only_kind = None;
        self.log.filter.clear();
        self.log.follow();
    }

    fn on_rooms_key(&mut self, key: &Key) {
        let codes: Vec<String> = self.state.rooms.keys().cloned().collect();
        let Some(code) = self.room().map(|room| room.info.code.clone()) else { return };
        let at = codes.iter().position(|c| *c == code).unwrap_or(0);
        let refused = self.room().is_some_and(|room| room.watched && room.refused.is_some());
        match key {
            Key::Char(' ') | Key::Enter if refused => self.dialog = Some(password_dialog(&code)),
            Key::Char(' ') => {
                let watched = self.room().is_some_and(|room| room.watched);
                self.state.watch(&code, !watched);
            }
            Key::Enter => {
                self.only_room = if self.only_room.as_ref() == Some(&code) { None } else { Some(code.clone()) };
                if self.only_room.is_some() && self.room().is_some_and(|room| !room.watched) {
                    self.state.watch(&code, true);
                }
            }
            key => {
                self.selected_room =
                    moved(key, at, codes.len()).map(|at| codes[at].clone()).or(self.selected_room.take())
            }
        }
    }

    fn on_participants_key(&mut self, key: &Key, now: u64) {
        let Some((room, member)) = self.member(now) else { return };
        let key_of = |room: &str, id: &str| (room.to_owned(), id.to_owned());
        let here = key_of(&room.info.code, &member.info.id);
        if *key == Key::Enter {
            self.selected_member = Some(here);
            self.dialog = Some(Dialog::Participant);
            return;
        }
        let all: Vec<_> = self.shown_members(now).iter().map(|(r, m)| key_of(&r.info.code, &m.info.id)).collect();
        let at = all.iter().position(|key| *key == here).unwrap_or(0);
        if let Some(to) = moved(key, at, all.len()) {
            self.selected_member = Some(all[to].clone());
        }
    }

    fn on_events_key(&mut self, key: &Key) {
        let page = PAGE.unsigned_abs();
        match key {
            Key::Up => self.log.scroll_up(1),
            Key::PageUp => self.log.scroll_up(page),
            Key::Down => self.log.scroll_down(1),
            Key::PageDown => self.log.scroll_down(page),
            Key::End => self.log.follow(),
            _ => {}
        }
    }

    fn ask_password(&mut self, now: u64) {
        match self.room().map(|room| (room.info.private, room.info.code.clone())) {
            Some((true, code)) => self.dialog = Some(password_dialog(&code)),
            Some((false, code)) => {
                self.notify(false, &format!("The room {code} can be watched without a password"), now)
            }
            None => {}
        }
    }

    fn leave(&mut self, now: u64) -> Option<Action> {
        let (room, member) = self.member(now)?;
        let key = (room.info.code.clone(), member.info.id.clone());
        if self.own.contains_key(&key) {
            return Some(Action::Leave(key.0, key.1));
        }
        let text = format!("{} runs elsewhere: only participants of this monitor can leave from here", member.name);
        self.notify(true, &text, now);
        None
    }

    fn on_dialog_key(&mut self, mut dialog: Dialog, key: &Key, now: u64) -> Option<Action> {
        let form = match &mut dialog {
            Dialog::Help | Dialog::Participant | Dialog::Charts | Dialog::Queue => {
                if *key == Key::Char('c') {
                    self.open_chat(now);
                }
                // Arrow keys move the selection behind an open card, so that the card shows the next item.
                if matches!(key, Key::Up | Key::Down | Key::PageUp | Key::PageDown | Key::Home | Key::End) {
                    match dialog {
                        Dialog::Participant => self.on_participants_key(key, now),
                        Dialog::Charts | Dialog::Queue => self.on_rooms_key(key),
                        _ => {}
                    }
                    self.dialog = Some(dialog);
                }
                return None;
            }
            Dialog::Create(form) | Dialog::Join(form) | Dialog::Password(_, form) | Dialog::Filter(form) => form,
        };
        match key {
            Key::Esc => return None,
            Key::Enter if form.busy => {}
            Key::Enter => return self.submit(dialog),
            key => form.on_key(key),
        }
        self.dialog = Some(dialog);
        None
    }

    /// Submits the dialog's form. The dialog stays open until the outcome arrives.
    fn submit(&mut self, mut dialog: Dialog) -> Option<Action> {
        let action = match &mut dialog {
            Dialog::Filter(form) => {
                self.log.filter = form.value(label::FILTER);
                self.log.follow();
                return None;
            }
            Dialog::Create(form) => create(form),
            Dialog::Join(form) => join(form),
            Dialog::Password(code, form) => {
                self.state.watch(code, true);
                form.busy = true;
                Some(Action::Unlock(code.clone(), form.value(label::PASSWORD)))
            }
            Dialog::Help | Dialog::Participant | Dialog::Charts | Dialog::Queue => None,
        };
        self.dialog = Some(dialog);
        action
    }
}

/// The index that a navigation key moves to, from index `at` of `all` items.
fn moved(key: &Key, at: usize, all: usize) -> Option<usize> {
    let to = match key {
        Key::Up => at.saturating_sub(1),
        Key::Down => at.saturating_add(1),
        Key::PageUp => at.saturating_add_signed(-PAGE),
        Key::PageDown => at.saturating_add_signed(PAGE),
        Key::Home => 0,
        Key::End => usize::MAX,
        _ => return None,
    };
    all.checked_sub(1).map(|last| to.min(last))
}

fn create_dialog() -> Dialog {
    let fields = vec![Field::text(label::NAME, ""), Field::secret(label::PASSWORD), Field::switch(label::PRIVATE)];
    Dialog::Create(Form::new(fields))
}

fn create(form: &mut Form) -> Option<Action> {
    let (name, password) = (form.value(label::NAME), form.value(label::PASSWORD));
    let private = form.is_on(label::PRIVATE);
    if name.is_empty() {
        form.focus_on(label::NAME);
        form.fail("A room needs a name");
        return None;
    }
    if private && password.is_empty() {
        form.focus_on(label::PASSWORD);
        form.fail("A private room needs a password");
        return None;
    }
    form.busy = true;
    Some(Action::Create(name, Some(password).filter(|text| !text.is_empty()), private))
}

fn join(form: &mut Form) -> Option<Action> {
    for needed in [label::ROOM, label::ENDPOINT] {
        if form.value(needed).is_empty() {
            form.focus_on(needed);
            form.fail("This field is required");
            return None;
        }
    }
    form.busy = true;
    Some(Action::Join(JoinRequest {
        room: form.value(label::ROOM).to_uppercase(),
        endpoint: form.value(label::ENDPOINT),
        model: form.value(label::MODEL),
        nickname: form.value(label::NICKNAME),
        password: Some(form.value(label::PASSWORD)).filter(|text| !text.is_empty()),
    }))
}
