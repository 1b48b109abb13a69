//! Conversations with rooms: what was asked and answered, and what is being typed. Pure: the events of an answer come in,
//! requests come out.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};

use super::form::Field;
use crate::chat::answer::{Facts, place_in_line};
use crate::chat::selection::SELECTOR;
use crate::chat::thinking::Kind;

/// The most rooms whose conversations are kept.
const MAX_CONVERSATIONS: usize = 20;
/// The most questions of a conversation that are kept, and the most bytes of its texts; older ones are dropped.
const MAX_TURNS: usize = 100;
const MAX_TEXT: usize = 256 << 10;
/// The most bytes of an answer, and of its thinking, that are kept.
const MAX_ANSWER: usize = 64 << 10;

/// A question to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct ChatRequest {
    /// Tells its events from those of earlier ones.
    pub number: u64,
    /// The room's code.
    pub room: String,
    /// Who is to answer.
    pub selector: String,
    /// The questions before it, and their answers.
    pub said: Vec<(String, String)>,
    /// The question.
    pub question: String,
}

/// What happens to a question.
#[derive(Debug)]
pub enum AnswerEvent {
    /// It waits for a free participant.
    Waiting {
        /// Its place in the line, from 1.
        place: usize,
        /// The length of the line.
        of: usize,
    },
    /// The participant with this id answers.
    By(String),
    /// A part of the answer.
    Part(Kind, String),
    /// The answer is complete, or failed.
    Ended(Facts, Result<(), String>),
}

/// How far an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is waited for, or arrives.
    Running,
    /// It is complete.
    Answered,
    /// The user has stopped it.
    Stopped,
    /// It failed: it is no part of what was said.
    Failed,
}

/// A question and its answer.
#[derive(Debug)]
pub struct Turn {
    /// As it was typed.
    pub question: String,
    /// What the model said to itself. Like the answer not safe to print.
    pub thinking: String,
    /// The answer, as far as it has arrived and is kept.
    pub answer: String,
    /// Whether parts of it were not kept.
    pub is_cut: bool,
    /// How far it is.
    pub progress: Progress,
    /// What it waits for, who answered, or why it failed.
    pub note: String,
}

impl Turn {
    fn add(&mut self, kind: Kind, part: &str) {
        let text = if kind == Kind::Thinking { &mut self.thinking } else { &mut self.answer };
        let fits = part.floor_char_boundary(MAX_ANSWER.saturating_sub(text.len()));
        text.push_str(&part[..fits]);
        self.is_cut |= fits < part.len();
    }

    fn size(&self) -> usize {
        self.question.len() + self.thinking.len() + self.answer.len()
    }

    /// Whether it is a part of what was said: what was stopped in mid-answer is, what failed is not.
    fn is_said(&self) -> bool {
        matches!(self.progress, Progress::Answered | Progress::Stopped) && !self.answer.is_empty()
    }
}

/// The lines of a conversation as they were last drawn.
#[derive(Debug, Default, Clone, Copy)]
pub struct Drawn {
    /// All lines.
    pub lines: usize,
    /// How many fit.
    pub rows: usize,
}

/// A conversation with a room.
pub struct Conversation {
    /// Who is to answer the next question.
    pub selector: String,
    /// The questions, the latest last.
    pub turns: VecDeque<Turn>,
    /// What is being typed.
    pub draft: Field,
    /// The first line shown; `None` follows the end.
    pub top: Option<usize>,
    /// Set by drawing, which alone knows the size, and used by scrolling.
    pub drawn: Cell<Drawn>,
}

impl Conversation {
    fn new() -> Self {
        Conversation {
            selector: SELECTOR.to_owned(),
            turns: VecDeque::new(),
            draft: Field::prompt(),
            top: None,
            drawn: Cell::default(),
        }
    }

    /// Scrolls by lines; negative numbers scroll up. At the end it follows again.
    pub fn scroll(&mut self, by: isize) {
        let Drawn { lines, rows } = self.drawn.get();
        let last = lines.saturating_sub(rows);
        let top = self.top.unwrap_or(last).min(last).saturating_add_signed(by);
        self.top = (top < last).then_some(top);
    }

    /// Scrolls by half of what is shown, so that the line read last stays in view.
    pub fn scroll_page(&mut self, up: bool) {
        let half = isize::try_from(self.drawn.get().rows / 2).unwrap_or(1).max(1);
        self.scroll(if up { -half } else { half });
    }

    fn trim(&mut self) {
        let mut size: usize = self.turns.iter().map(Turn::size).sum();
        while self.turns.len() > MAX_TURNS || (size > MAX_TEXT && self.turns.len() > 1) {
            size -= self.turns.pop_front().map_or(0, |turn| turn.size());
        }
    }
}

/// The facts about an answer, between which alone a line may end: a number stays with its unit.
fn unbroken(facts: &str) -> String {
    facts.split(" · ").map(|fact| fact.replace(' ', "\u{a0}")).collect::<Vec<_>>().join(" · ")
}

/// The answer that arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningAnswer {
    /// Its request's number.
    pub number: u64,
    /// Its room's code.
    pub room: String,
    /// When the question was sent, milliseconds since the epoch.
    pub asked_at: u64,
}

/// All conversations, of which one may be shown, and the answer that arrives.
#[derive(Default)]
pub struct Chats {
    all: BTreeMap<String, Conversation>,
    /// The code of the room whose conversation is shown.
    pub room: Option<String>,
    /// At most one at a time.
    pub running: Option<RunningAnswer>,
    next: u64,
}

impl Chats {
    /// Shows the conversation with a room, in which `selector` answers from now on.
    pub fn open(&mut self, room: &str, selector: &str) {
        self.room = Some(room.to_owned());
        self.all.entry(room.to_owned()).or_insert_with(Conversation::new).selector = selector.to_owned();
        let running = self.running.as_ref().map(|running| running.room.as_str());
        let spare = self.all.keys().find(|code| *code != room && Some(code.as_str()) != running).cloned();
        if self.all.len() > MAX_CONVERSATIONS
            && let Some(code) = spare
        {
            self.all.remove(&code);
        }
    }

    /// The conversation that is shown.
    pub fn shown(&self) -> Option<(&str, &Conversation)> {
        let room = self.room.as_deref()?;
        Some((room, self.all.get(room)?))
    }

    /// The same, to change it.
    pub fn shown_mut(&mut self) -> Option<&mut Conversation> {
        self.all.get_mut(self.room.as_deref()?)
    }

    /// The running answer if it is one of the conversation that is shown.
    pub fn running_here(&self) -> Option<&RunningAnswer> {
        self.running.as_ref().filter(|running| self.room.as_ref() == Some(&running.room))
    }

    /// Asks a question in the conversation that is shown.
    pub fn ask(&mut self, question: String, now: u64) -> Option<ChatRequest> {
        let room = self.room.clone()?;
        let number = self.next;
        let conversation = self.shown_mut()?;
        let said = conversation.turns.iter().filter(|turn| turn.is_said());
        let said = said.map(|turn| (turn.question.clone(), turn.answer.clone())).collect();
        let selector = conversation.selector.clone();
        conversation.top = None;
        conversation.turns.push_back(Turn {
            question: question.clone(),
            thinking: String::new(),
            answer: String::new(),
            is_cut: false,
            progress: Progress::Running,
            note: "Waiting for the answer".into(),
        });
        conversation.trim();
        self.next += 1;
        self.running = Some(RunningAnswer { number, room: room.clone(), asked_at: now });
        Some(ChatRequest { number, room, selector, said, question })
    }

    /// Takes the last question back, to ask it again.
    pub fn take_last(&mut self) -> Option<String> {
        self.shown_mut()?.turns.pop_back().map(|turn| turn.question)
    }

    /// Forgets what was said in the conversation that is shown.
    pub fn forget(&mut self) {
        if let Some(conversation) = self.shown_mut() {
            (conversation.top, conversation.drawn) = (None, Cell::default());
            conversation.turns.clear();
        }
    }

    /// Applies an event of the answer with that number; those of an answer that was stopped are ignored. `name` names a
    /// participant of a room.
    pub fn on_event(&mut self, number: u64, event: AnswerEvent, name: impl Fn(&str, &str) -> String) {
        let Some(room) = self.running.as_ref().filter(|running| running.number == number).map(|running| &running.room)
        else {
            return;
        };
        let name = |id: &str| name(room, id);
        let Some(conversation) = self.all.get_mut(room) else { return };
        let Some(turn) = conversation.turns.back_mut() else { return };
        match event {
            AnswerEvent::Waiting { place, of } => turn.note = place_in_line(place, of),
            AnswerEvent::By(id) => turn.note = format!("{} answers", name(&id)),
            AnswerEvent::Part(kind, part) => {
                turn.add(kind, &part);
                conversation.trim();
            }
            AnswerEvent::Ended(facts, end) => {
                (turn.progress, turn.note) = match end {
                    Ok(()) if turn.answer.is_empty() => (Progress::Answered, "The answer was empty.".into()),
                    Ok(()) => (Progress::Answered, unbroken(&facts.line(&name(&facts.participant)))),
                    Err(error) => (Progress::Failed, error),
                };
                self.running = None;
            }
        }
    }

    /// Ends the running answer for the user. What has arrived of it stays.
    pub fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        if let Some(turn) = self.all.get_mut(&running.room).and_then(|conversation| conversation.turns.back_mut()) {
            (turn.progress, turn.note) = (Progress::Stopped, "Stopped.".into());
        }
    }

    /// Marks the running answer as failed before anything was sent.
    pub fn fail(&mut self, error: &str) {
        if let Some(running) = &self.running {
            let ended = AnswerEvent::Ended(Facts::default(), Err(error.to_owned()));
            self.on_event(running.number, ended, |_, id| id.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::fixtures::NOW;

    fn name(_: &str, id: &str) -> String {
        id.to_uppercase()
    }

    fn asked(question: &str) -> (Chats, ChatRequest) {
        let mut chats = Chats::default();
        chats.open("LAB001", SELECTOR);
        let request = chats.ask(question.into(), NOW).unwrap();
        (chats, request)
    }

    fn end(chats: &mut Chats, request: &ChatRequest, end: Result<(), &str>) {
        let facts = Facts { participant: "ann".into(), tokens: Some(3), ..Facts::default() };
        chats.on_event(request.number, AnswerEvent::Ended(facts, end.map_err(str::to_owned)), name);
    }

    fn last(chats: &Chats) -> &Turn {
        chats.shown().unwrap().1.turns.back().unwrap()
    }

    #[test]
    fn an_answer_arrives_in_parts_and_is_said_to_the_next_one() {
        let (mut chats, request) = asked("Why?");
        let part = |kind, text: &str| AnswerEvent::Part(kind, text.into());
        chats.on_event(request.number, AnswerEvent::Waiting { place: 2, of: 7 }, name);
        assert_eq!(last(&chats).note, "Waiting in line: 2 of 7");
        chats.on_event(request.number, AnswerEvent::By("ann".into()), name);
        assert_eq!(last(&chats).note, "ANN answers");
        for event in [part(Kind::Thinking, "Hm"), part(Kind::Answer, "Be"), part(Kind::Answer, "cause")] {
            chats.on_event(request.number, event, name);
        }
        end(&mut chats, &request, Ok(()));
        let turn = last(&chats);
        assert_eq!((turn.thinking.as_str(), turn.answer.as_str()), ("Hm", "Because"));
        assert_eq!((turn.note.as_str(), turn.progress), ("ANN · 3\u{a0}tokens", Progress::Answered));
        assert!(chats.running.is_none());
        let next = chats.ask("And?".into(), NOW).unwrap();
        assert_eq!(next.said, [("Why?".to_owned(), "Because".to_owned())]);
        // A late event of an earlier answer changes nothing.
        chats.on_event(request.number, part(Kind::Answer, "late"), name);
        assert_eq!(last(&chats).answer, "");
    }

    #[test]
    fn an_error_keeps_the_conversation_and_its_question_can_be_asked_again() {
        let (mut chats, first) = asked("One?");
        chats.on_event(first.number, AnswerEvent::Part(Kind::Answer, "1".into()), name);
        end(&mut chats, &first, Ok(()));
        let second = chats.ask("Two?".into(), NOW).unwrap();
        end(&mut chats, &second, Err("no participant"));
        assert_eq!((last(&chats).note.as_str(), last(&chats).progress), ("no participant", Progress::Failed));
        // What failed is shown, but not said.
        let third = chats.ask("Three?".into(), NOW).unwrap();
        assert_eq!(third.said.len(), 1);
        chats.stop();
        assert_eq!((chats.take_last().as_deref(), chats.take_last().as_deref()), (Some("Three?"), Some("Two?")));
        chats.forget();
        assert_eq!(chats.take_last(), None);
    }

    #[test]
    fn a_stopped_answer_stays_as_far_as_it_came() {
        let (mut chats, request) = asked("Why?");
        chats.on_event(request.number, AnswerEvent::Part(Kind::Answer, "Be".into()), name);
        chats.stop();
        end(&mut chats, &request, Err("broken off"));
        assert_eq!((last(&chats).note.as_str(), last(&chats).progress), ("Stopped.", Progress::Stopped));
        assert_eq!(chats.ask("And?".into(), NOW).unwrap().said, [("Why?".to_owned(), "Be".to_owned())]);
    }

    #[test]
    fn conversations_are_bounded() {
        let (mut chats, request) = asked("Why?");
        for _ in 0..100 {
            chats.on_event(request.number, AnswerEvent::Part(Kind::Answer, "a".repeat(10_000)), name);
        }
        assert!(last(&chats).is_cut && last(&chats).answer.len() <= MAX_ANSWER);
        for n in 0..3 * MAX_TURNS {
            let request = chats.ask("q".repeat(2000 * (n % 2)), NOW).unwrap();
            chats.on_event(request.number, AnswerEvent::Part(Kind::Answer, "a".repeat(2000)), name);
        }
        let turns = &chats.shown().unwrap().1.turns;
        assert!(turns.len() <= MAX_TURNS && turns.iter().map(Turn::size).sum::<usize>() <= MAX_TEXT);
        for n in 0..3 * MAX_CONVERSATIONS {
            chats.open(&format!("R{n:05}"), SELECTOR);
        }
        assert!(chats.all.len() <= MAX_CONVERSATIONS && chats.all.contains_key("LAB001"), "the running one stays");
    }

    #[test]
    fn scrolling_stays_in_place_until_the_end_is_reached_again() {
        let (mut chats, _) = asked("Why?");
        let conversation = chats.shown_mut().unwrap();
        conversation.drawn.set(Drawn { lines: 50, rows: 10 });
        conversation.scroll(-5);
        assert_eq!(conversation.top, Some(35));
        conversation.drawn.set(Drawn { lines: 60, rows: 10 });
        conversation.scroll_page(true);
        assert_eq!(conversation.top, Some(30));
        conversation.scroll(isize::MIN);
        assert_eq!(conversation.top, Some(0));
        conversation.scroll(isize::MAX);
        assert_eq!(conversation.top, None);
    }
}
