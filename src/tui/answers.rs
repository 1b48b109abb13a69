//! Sends the questions of the chat pane. Each answer is read on a thread of its own and arrives, in parts, on a bounded
//! channel: the screen never waits for it, and an answer that comes faster than it is drawn waits instead of growing.

use std::io;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use gambi::Error;
use gambi::client::{Chat, ChatEvent, Client, Stopper};

use super::actions::message;
use super::chat::{AnswerEvent, ChatRequest};
use crate::chat::answer::AnswerReader;

/// Parts of an answer that wait to be drawn.
const MAX_WAITING: usize = 256;

/// Asks, and stops answers.
pub struct Answers {
    events: Sender<(u64, AnswerEvent)>,
    /// The last answer's, which may be over.
    stopper: Option<Stopper>,
}

impl Answers {
    /// Returns it, and the channel on which the events of answers arrive, each with the number of its request.
    pub fn new() -> (Self, Receiver<(u64, AnswerEvent)>) {
        let (events, received) = bounded(MAX_WAITING);
        (Answers { events, stopper: None }, received)
    }

    /// Sends a question.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn ask(&mut self, client: &Client, request: ChatRequest) -> io::Result<()> {
        let chat = client.room(&request.room).chat().selector(&request.selector);
        let said = |chat: Chat, (question, answer): &(String, String)| chat.user(question).assistant(answer);
        let mut chat = request.said.iter().fold(chat, said).user(&request.question);
        self.stopper = Some(chat.stopper());
        let (events, number) = (self.events.clone(), request.number);
        thread::Builder::new().name("answer".into()).spawn(move || answer(chat, number, &events)).map(drop)
    }

    /// Ends the last answer, and with it the provider's work.
    pub fn stop(&mut self) {
        if let Some(stopper) = self.stopper.take() {
            stopper.stop();
        }
    }
}

fn answer(chat: Chat, number: u64, events: &Sender<(u64, AnswerEvent)>) {
    let mut reader = AnswerReader::default();
    // Nobody listens once the program ends: the answer ends with its stream.
    let emit = |event| events.send((number, event)).is_ok();
    let end = read(chat, &mut reader, emit).map_err(|error| advice(&error));
    emit(AnswerEvent::Ended(reader.facts, end));
}

fn read(chat: Chat, reader: &mut AnswerReader, emit: impl Fn(AnswerEvent) -> bool) -> Result<(), Error> {
    let asked = Instant::now();
    let mut stream = chat.with_usage().stream()?;
    while let Some(event) = stream.next_event() {
        if reader.facts.participant != stream.participant() {
            stream.participant().clone_into(&mut reader.facts.participant);
            emit(AnswerEvent::By(reader.facts.participant.clone()));
        }
        let listens = match event? {
            ChatEvent::Waiting { place, of } => emit(AnswerEvent::Waiting { place, of }),
            ChatEvent::Json(json) => {
                let mut parts = reader.read(&json, asked.elapsed()).into_iter();
                parts.all(|(kind, text)| emit(AnswerEvent::Part(kind, text)))
            }
            _ => true,
        };
        if !listens {
            return Ok(());
        }
    }
    let (kind, rest) = reader.finish();
    emit(AnswerEvent::Part(kind, rest));
    Ok(())
}

/// An error, and what mends it in the monitor.
fn advice(error: &Error) -> String {
    match error.status() {
        Some(401) => format!("{}. Esc, then p, enters the room's password.", error.to_string().trim_end_matches('.')),
        _ => message(error),
    }
}
