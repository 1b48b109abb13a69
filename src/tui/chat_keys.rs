//! The keys of the chat pane, and opening it. Pure.

use super::app::{Action, App, Pane, password_dialog};
use super::chat::Progress;
use super::keys::Key;
use crate::chat::selection::SELECTOR;

impl App {
    /// Opens the chat with the selected room or, from the list of participants, with the selected one. A private room that
    /// is locked asks for its password first.
    pub(super) fn open_chat(&mut self, now: u64) {
        let member = if self.pane == Pane::Participants { self.member(now) } else { None };
        let target = match member {
            Some((room, member)) => Some((room, member.info.id.as_str())),
            None => self.room().map(|room| (room, SELECTOR)),
        };
        let Some((room, selector)) = target else {
            return self.notify(false, "There is no room yet. Press n to create one", now);
        };
        let (code, selector) = (room.info.code.clone(), selector.to_owned());
        if room.info.private && !room.listed {
            self.dialog = Some(password_dialog(&code));
            return;
        }
        self.chats.open(&code, &selector);
        if self.pane != Pane::Chat {
            self.before_chat = self.pane;
        }
        self.pane = Pane::Chat;
    }

    /// Handles a key while the chat has the focus.
    pub(super) fn on_chat_key(&mut self, key: &Key, now: u64) -> Option<Action> {
        match key {
            Key::Esc | Key::Ctrl('c') => return self.stop_or_close(),
            Key::Enter => return self.send_draft(now),
            Key::Ctrl('r') => return self.try_again(now),
            Key::Ctrl('n') if self.chats.running_here().is_none() => self.chats.forget(),
            Key::Ctrl('t') => self.next_selector(now),
            Key::Tab => self.focus_next_pane(false),
            Key::BackTab => self.focus_next_pane(true),
            key => {
                let conversation = self.chats.shown_mut()?;
                let empty = conversation.draft.value().is_empty();
                match key {
                    Key::Up => conversation.scroll(-1),
                    Key::Down => conversation.scroll(1),
                    Key::PageUp => conversation.scroll_page(true),
                    Key::PageDown => conversation.scroll_page(false),
                    Key::Home if empty => conversation.scroll(isize::MIN),
                    Key::End if empty => conversation.scroll(isize::MAX),
                    key => conversation.draft.on_key(key),
                }
            }
        }
        None
    }

    /// Stops the answer that arrives in this conversation. If there is none, closes the chat; what was said is kept.
    fn stop_or_close(&mut self) -> Option<Action> {
        if self.chats.running_here().is_some() {
            self.chats.stop();
            return Some(Action::StopAnswer);
        }
        self.chats.room = None;
        self.pane = self.before_chat;
        None
    }

    fn send_draft(&mut self, now: u64) -> Option<Action> {
        let question = self.chats.shown_mut()?.draft.value().trim().to_owned();
        if question.is_empty() || self.is_answering(now) {
            return None;
        }
        self.chats.shown_mut()?.draft.set("");
        self.chats.ask(question, now).map(Action::Ask)
    }

    fn try_again(&mut self, now: u64) -> Option<Action> {
        if self.is_answering(now) {
            return None;
        }
        let question = self.chats.take_last()?;
        self.chats.ask(question, now).map(Action::Ask)
    }

    /// Whether an answer still arrives, which is said then.
    fn is_answering(&mut self, now: u64) -> bool {
        let Some(running) = &self.chats.running else { return false };
        let text = match self.chats.running_here() {
            Some(_) => "An answer is in progress. Esc stops it".to_owned(),
            None => format!("An answer of the room {} is in progress", running.room),
        };
        self.notify(false, &text, now);
        true
    }

    /// Chooses the next one who can answer: any participant, then each that is up.
    fn next_selector(&mut self, now: u64) {
        let now = self.state.hub_time(now);
        let Some((room, conversation)) = self.chats.shown() else { return };
        let members = self.state.rooms.get(room).into_iter().flat_map(|room| room.members.values());
        let mut up: Vec<&str> = vec![SELECTOR];
        up.extend(members.filter(|m| self.state.health(m, now).is_up()).map(|m| m.info.id.as_str()));
        let at = up.iter().position(|id| *id == conversation.selector).map_or(0, |at| (at + 1) % up.len());
        let next = up[at].to_owned();
        if let Some(conversation) = self.chats.shown_mut() {
            conversation.selector = next;
        }
    }

    /// Whether the last question of the shown conversation can be asked again.
    pub(super) fn can_try_again(&self) -> bool {
        let last = self.chats.shown().and_then(|(_, conversation)| conversation.turns.back());
        last.is_some_and(|turn| turn.progress != Progress::Running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::thinking::Kind;
    use crate::monitor::fixtures::{NOW, lab, participant, room};
    use crate::monitor::state::{MonitorState, Update};
    use crate::tui::app::Dialog;
    use crate::tui::chat::{AnswerEvent, ChatRequest, Drawn};

    fn app() -> App {
        App::new(lab(&[participant("ann", "Ann"), participant("bob", "Bob")]), "")
    }

    fn on_keys(app: &mut App, keys: &[Key]) -> Option<Action> {
        keys.iter().fold(None, |_, key| app.on_key(key, NOW))
    }

    /// Opens the chat and asks.
    fn ask(app: &mut App, question: &str) -> ChatRequest {
        app.on_key(&Key::Char('c'), NOW);
        app.on_key(&Key::Paste(question.into()), NOW);
        match app.on_key(&Key::Enter, NOW) {
            Some(Action::Ask(request)) => request,
            _ => panic!("nothing was asked"),
        }
    }

    fn selector(app: &App) -> &str {
        &app.chats.shown().expect("a chat").1.selector
    }

    #[test]
    fn letters_are_typed_and_enter_sends_them() {
        let mut app = app();
        assert!(on_keys(&mut app, &[Key::Char('c'), Key::Enter]).is_none());
        on_keys(&mut app, &[Key::Char('q'), Key::Char('?'), Key::Ctrl('j'), Key::Char('n')]);
        let Some(Action::Ask(request)) = on_keys(&mut app, &[Key::Enter]) else { panic!("nothing was asked") };
        assert_eq!((request.room.as_str(), request.selector.as_str()), ("LAB001", SELECTOR));
        assert_eq!((request.question.as_str(), request.said.len()), ("q?\nn", 0));
        // A second question waits until the answer is there.
        on_keys(&mut app, &[Key::Char('x')]);
        assert!(on_keys(&mut app, &[Key::Enter]).is_none() && on_keys(&mut app, &[Key::Ctrl('r')]).is_none());
        assert!(app.notice.as_ref().is_some_and(|notice| notice.text.contains("Esc stops it")));
        assert_eq!(app.chats.shown().unwrap().1.draft.value(), "x");
    }

    #[test]
    fn escape_and_ctrl_c_stop_the_answer_then_close_the_chat_and_never_quit() {
        for key in [Key::Esc, Key::Ctrl('c')] {
            let mut app = app();
            app.pane = Pane::Participants;
            let request = ask(&mut app, "Why?");
            app.on_answer_event(request.number, AnswerEvent::Part(Kind::Answer, "Be".into()));
            assert!(app.on_key(&key, NOW) == Some(Action::StopAnswer) && app.pane == Pane::Chat);
            assert!(app.on_key(&key, NOW).is_none());
            assert_eq!((app.pane, app.chats.room.as_deref()), (Pane::Participants, None));
            // What was said is still there.
            on_keys(&mut app, &[Key::Char('c')]);
            assert_eq!(app.chats.shown().unwrap().1.turns[0].answer, "Be");
            let Some(Action::Ask(again)) = on_keys(&mut app, &[Key::Ctrl('r')]) else { panic!("nothing was asked") };
            assert_eq!(again.question, "Why?");
        }
    }

    #[test]
    fn the_selected_participant_answers_or_the_next_one_that_is_up() {
        let mut app = app();
        on_keys(&mut app, &[Key::Char('2'), Key::Down, Key::Char('c')]);
        assert_eq!(selector(&app), "bob");
        let mut seen = Vec::new();
        for _ in 0..3 {
            on_keys(&mut app, &[Key::Ctrl('t')]);
            seen.push(selector(&app).to_owned());
        }
        assert_eq!(seen, [SELECTOR, "ann", "bob"]);
        // From a participant's details too.
        on_keys(&mut app, &[Key::Tab, Key::Char('2'), Key::Up, Key::Enter, Key::Char('c')]);
        assert!(app.dialog.is_none() && app.pane == Pane::Chat && selector(&app) == "ann");
    }

    #[test]
    fn a_participant_is_called_by_its_name() {
        let mut app = app();
        let request = ask(&mut app, "Why?");
        app.on_answer_event(request.number, AnswerEvent::By("ann".into()));
        assert_eq!(app.chats.shown().unwrap().1.turns[0].note, "Ann (ann) answers");
    }

    #[test]
    fn a_locked_room_asks_for_its_password_first() {
        let mut app = App::new(MonitorState::new("http://hub:3000", &[]), "");
        assert!(on_keys(&mut app, &[Key::Char('c')]).is_none() && app.notice.is_some());
        let private = gambi::proto::management::RoomSummary { private: true, ..room("LAB003", "Secret") };
        app.on_update(Update::Rooms(vec![private], 0), NOW);
        on_keys(&mut app, &[Key::Char('c')]);
        assert!(matches!(&app.dialog, Some(Dialog::Password(code, _)) if code == "LAB003"));
        app.on_update(Update::Members("LAB003".into(), vec![participant("ann", "Ann")]), NOW);
        on_keys(&mut app, &[Key::Esc, Key::Char('c')]);
        assert!(app.dialog.is_none() && app.pane == Pane::Chat);
    }

    #[test]
    fn tab_leaves_the_chat_open_and_arrows_scroll_it() {
        let mut app = app();
        on_keys(&mut app, &[Key::Char('c')]);
        app.chats.shown().unwrap().1.drawn.set(Drawn { lines: 50, rows: 10 });
        on_keys(&mut app, &[Key::Up, Key::PageUp]);
        assert_eq!(app.chats.shown().unwrap().1.top, Some(34));
        on_keys(&mut app, &[Key::End]);
        assert_eq!(app.chats.shown().unwrap().1.top, None);
        on_keys(&mut app, &[Key::Char('a'), Key::Home, Key::Char('b'), Key::Tab]);
        assert_eq!((app.pane, app.chats.shown().unwrap().1.draft.value()), (Pane::Rooms, "ba".into()));
        on_keys(&mut app, &[Key::BackTab]);
        assert_eq!(app.pane, Pane::Chat);
        assert!(app.chats.ask("Why?".into(), NOW).is_some());
        on_keys(&mut app, &[Key::Ctrl('n')]);
        assert_eq!(app.chats.shown().unwrap().1.turns.len(), 1, "an answer that arrives is not forgotten");
    }
}
