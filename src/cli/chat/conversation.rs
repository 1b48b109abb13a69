//! A conversation on the terminal: prompts and commands are read in turn, and each request has what was said so far.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gambi::client::{Chat, Model, Room};

use super::answer::{self, AnswerStyle, Printed};
use super::history::History;
use super::input::{LABEL, Prompt, PromptReader};
use super::slash::{self, Input};
use super::transcript::{self, Turn};
use crate::chat::selection::{SELECTOR, name_of, selects};
use crate::cli::advice::advise;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{self, table};
use crate::cli::private_file;
use crate::cli::prompt;

/// What is told when a line was cut off.
const TOO_LONG: &str =
    "A line was too long for the terminal, so nothing was sent. Send it from a file: gambi chat --room CODE < FILE";
const HOW_TO_LEAVE: &str = "Ctrl-D or /quit ends the conversation.";
const HOW_TO_RETRY: &str = "/retry asks again";
/// The most rows of the list of who can answer.
const MAX_LISTED: usize = 50;
/// Removes the system message.
const NO_TEXT: &str = "\"\"";

/// A conversation.
pub struct Conversation<'c> {
    context: &'c Context<'c>,
    room: Room,
    code: String,
    style: AnswerStyle,
    /// Who answers.
    selector: String,
    system: Option<String>,
    turns: Vec<Turn>,
    /// The last question, if it was not answered.
    unanswered: Option<String>,
    /// The room's participants when they were last asked for.
    models: Vec<Model>,
}

impl<'c> Conversation<'c> {
    /// Begins a conversation with a room.
    ///
    /// # Errors
    /// When the hub can't be reached, or refuses.
    pub fn begin(context: &'c Context<'c>, room: Room, code: &str, style: AnswerStyle) -> Result<Self, Failure> {
        let models = room.models()?;
        let conversation = Conversation {
            context,
            room,
            code: code.to_owned(),
            style,
            selector: context.value("model").unwrap_or(SELECTOR).to_owned(),
            system: context.value("system").map(str::to_owned),
            turns: Vec::new(),
            unanswered: None,
            models,
        };
        let online = match conversation.models.iter().filter(|model| !model.shared).count() {
            0 => "no participant is online yet".to_owned(),
            1 => "1 participant is online".to_owned(),
            count => format!("{count} participants are online"),
        };
        conversation.note(&format!("Room {code}: {online}. /help lists commands, Ctrl-D leaves."));
        conversation.check_selector();
        Ok(conversation)
    }

    /// Reads prompts from the terminal until `/quit` or the end of input. `secrets` are kept out of the history.
    ///
    /// # Errors
    /// When the terminal can't be used, or stdout can't be written.
    pub fn run(&mut self, secrets: Vec<String>) -> Result<(), Failure> {
        let context = self.context;
        let path = context.state_path("chat_history").filter(|_| !context.has("no-history"));
        let is_dumb = context.has_dumb_terminal();
        let mut reader = PromptReader::open(&context.signals, is_dumb, History::new(path, secrets))?;
        let out = context.out;
        // A plain line is read in a mode in which Ctrl-C is a signal.
        let tell = move || {
            if is_dumb {
                out.note("");
                out.note(HOW_TO_LEAVE);
                output::beside(LABEL);
            }
        };
        context.signals.set_on_interrupt(Some(Box::new(tell)));
        loop {
            match reader.read() {
                Prompt::Quoted(text) => self.ask(text)?,
                Prompt::Text(text) => {
                    if !self.obey(&text)? {
                        return Ok(());
                    }
                }
                Prompt::Interrupted => self.note(HOW_TO_LEAVE),
                Prompt::TooLong => {
                    prompt::discard_rest();
                    self.note(TOO_LONG);
                }
                Prompt::End => {
                    // The shell's prompt must not continue this one's line; the editor has ended it.
                    if is_dumb {
                        context.out.note("");
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Does what was entered. Returns whether the conversation goes on.
    fn obey(&mut self, text: &str) -> Result<bool, Failure> {
        match slash::read(text) {
            Input::Blank => {}
            Input::Prompt(text) => self.ask(text.to_owned())?,
            Input::Help => self.help()?,
            Input::Model(name) => self.model(name)?,
            Input::System(text) => self.system(text)?,
            Input::Clear => {
                self.turns.clear();
                self.unanswered = None;
                self.note("The conversation is forgotten.");
            }
            Input::Retry => match self.unanswered.take().or_else(|| self.turns.pop().map(|turn| turn.question)) {
                Some(question) => self.ask(question)?,
                None => self.note("There is no question to ask again."),
            },
            Input::Save(None) => self.note("Name the file: /save FILE"),
            Input::Save(Some(name)) => self.save(name),
            Input::Quit => return Ok(false),
            Input::Unknown(name, meant) => {
                let meant = meant.map_or(String::new(), |meant| format!(" Did you mean {meant}?"));
                self.note(&format!("There is no {name}.{meant} /help lists all; // sends a slash."));
            }
        }
        Ok(true)
    }

    fn note(&self, text: &str) {
        self.context.out.aside(text);
    }

    /// Sends a question with what was said before it, and prints the answer.
    fn ask(&mut self, question: String) -> Result<(), Failure> {
        let chat = self.request(&question);
        let (printed, stopped) = self.print_stoppable(chat);
        let Printed { text, facts, end } = printed;
        if !facts.participant.is_empty() && !self.models.iter().any(|model| model.id == facts.participant) {
            self.models = self.room.models().unwrap_or_default();
        }
        let name = name_of(&facts.participant, &self.models);
        let failed = end.is_err() && !stopped;
        match end {
            Err(failure @ (Failure::ClosedPipe | Failure::Output(_))) => return Err(failure),
            Err(_) if stopped && facts.participant.is_empty() => self.note(&format!("Stopped. {HOW_TO_RETRY}.")),
            Err(_) if stopped => self.note(&format!("{name} was stopped. {HOW_TO_RETRY}.")),
            Err(failure) => {
                output::failure(&advise(failure, self.context));
                self.note(&format!("The conversation goes on: {HOW_TO_RETRY}, /model chooses who answers."));
            }
            Ok(()) => self.note(&facts.line(&name)),
        }
        self.context.out.note("");
        // What was stopped in mid-answer is a part of the conversation, what failed is none.
        self.unanswered = None;
        if failed || (stopped && text.is_empty()) {
            self.unanswered = Some(question);
            return Ok(());
        }
        let by = if facts.model.is_empty() { name } else { format!("{name} · {}", facts.model) };
        self.turns.push(Turn { question, answer: text, by });
        Ok(())
    }

    fn request(&self, question: &str) -> Chat {
        let mut chat = self.room.chat().selector(&self.selector);
        if let Some(system) = &self.system {
            chat = chat.system(system);
        }
        let said = |chat: Chat, turn: &Turn| chat.user(&turn.question).assistant(&turn.answer);
        self.turns.iter().fold(chat, said).user(question)
    }

    /// Prints an answer that Ctrl-C stops. Returns whether it did.
    fn print_stoppable(&self, mut chat: Chat) -> (Printed, bool) {
        let signals = &self.context.signals;
        let stopped = Arc::new(AtomicBool::new(false));
        let (stopper, is_stopped) = (chat.stopper(), stopped.clone());
        let before = signals.set_on_interrupt(Some(Box::new(move || {
            is_stopped.store(true, Ordering::SeqCst);
            stopper.stop();
        })));
        let printed = answer::print(self.style, chat);
        signals.set_on_interrupt(before);
        // The signal may have come when the answer was complete.
        let stopped = stopped.load(Ordering::SeqCst) && printed.end.is_err();
        (printed, stopped)
    }

    fn help(&self) -> Result<(), Failure> {
        let row =
            |(name, argument, about): &(&str, &str, &str)| format!("  {:16}{about}", format!("{name} {argument}"));
        let rows: Vec<String> = slash::COMMANDS.iter().map(row).collect();
        output::line(&format!(
            "{}\n\n  \"\"\" begins and ends a text of several lines; a paste is one prompt.\n  // begins a prompt with a \
             slash.\n  Ctrl-C stops an answer. {HOW_TO_LEAVE}",
            rows.join("\n")
        ))
    }

    /// Lists who can answer, or chooses.
    fn model(&mut self, name: Option<&str>) -> Result<(), Failure> {
        match self.room.models() {
            Ok(models) => self.models = models,
            Err(error) => output::failure(&advise(error.into(), self.context)),
        }
        if let Some(name) = name {
            name.clone_into(&mut self.selector);
            let who = if name == SELECTOR { "any participant" } else { name };
            self.note(&format!("From now on {who} answers."));
            self.check_selector();
            return Ok(());
        }
        let row = |chosen: bool, id: &str, model: &str, nickname: &str| {
            vec![if chosen { "*" } else { "" }.to_owned(), id.to_owned(), model.to_owned(), nickname.to_owned()]
        };
        let listed = |model: &Model| {
            // The model of a shared name is the name again.
            let (of, nickname) = if model.shared { ("", "") } else { (model.model.as_str(), model.nickname.as_str()) };
            row(selects(&self.selector, model), &model.id, of, nickname)
        };
        let mut rows: Vec<_> = self.models.iter().take(MAX_LISTED).map(listed).collect();
        // The hub lists it where there is a choice.
        if !self.models.iter().any(|model| model.shared && model.id == SELECTOR) {
            rows.push(row(self.selector == SELECTOR, SELECTOR, "", ""));
        }
        if self.models.len() > MAX_LISTED {
            rows.push(row(false, "...", &format!("`gambi models --room {}` lists all", self.code), ""));
        }
        output::line(&table(&["", "ID", "MODEL", "NICKNAME"], &rows))
    }

    fn check_selector(&self) {
        if self.selector != SELECTOR && !self.models.iter().any(|model| selects(&self.selector, model)) {
            self.note(&format!("Nobody online is or has {}; /model lists who is there.", self.selector));
        }
    }

    fn system(&mut self, text: Option<&str>) -> Result<(), Failure> {
        match text {
            None => return output::line(self.system.as_deref().unwrap_or("There is no system message.")),
            Some(NO_TEXT) => {
                self.system = None;
                self.note("There is no system message any more.");
            }
            Some(text) => {
                self.system = Some(text.to_owned());
                self.note("The system message is set. It holds for the whole conversation.");
            }
        }
        Ok(())
    }

    fn save(&self, name: &str) {
        let path = transcript::expand(name, self.context.variable("HOME"));
        let text = transcript::markdown(&format!("Room {}", self.code), self.system.as_deref(), &self.turns);
        let shown = path.display();
        self.note(&match private_file::create(&path, &text) {
            Ok(()) => format!("Saved to {shown}."),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                format!("{shown} exists already, and is not replaced. Name another file.")
            }
            Err(error) => format!("{shown} cannot be written: {error}"),
        });
    }
}

impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        self.context.signals.set_on_interrupt(None);
    }
}
