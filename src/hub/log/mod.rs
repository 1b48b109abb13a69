//! The hub's log: how much it tells, in which form, and where to. What is told of a request is chosen in `request`, how a
//! line is written in `line`, and how it gets out without anybody waiting for it in `writer`.

mod line;
mod request;
mod writer;

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use line::Line;
pub use request::{refused, serve};
use writer::Writer;

use crate::state::event::{Event, EventKind};

/// How much is told: all lines of this level and of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Requests at which the hub itself failed (500).
    Error,
    /// Requests that failed for another reason than the client (502, 503, 504, broken streams).
    Warn,
    /// Every request.
    Info,
    /// What events tell of, too: rooms, participants, each try at a request.
    Debug,
}

impl LogLevel {
    /// All levels.
    pub const ALL: [LogLevel; 5] = [LogLevel::Off, LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug];

    /// What flags and lines call it.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Off => "off",
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }

    /// The level of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// In which form lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, what it is about, and `name=value` pairs.
    Text,
    /// A JSON object.
    Json,
}

impl LogFormat {
    /// What flags call it.
    pub fn name(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }

    /// The format of a name.
    pub fn named(name: &str) -> Option<Self> {
        [LogFormat::Text, LogFormat::Json].into_iter().find(|format| format.name() == name)
    }
}

/// A hub's log: a line for each request, with what is on a list of names and nothing else. No prompt, answer, header,
/// query, password, key or token is on it.
///
/// ```
/// use gambi::hub::{Hub, Log, LogFormat, LogLevel};
///
/// let log = Log::to_stderr().level(LogLevel::Warn).format(LogFormat::Json);
/// let hub = Hub::builder().host("127.0.0.1").port(0).log(log).start()?;
/// # Ok::<(), gambi::Error>(())
/// ```
#[derive(Clone)]
pub struct Log {
    level: LogLevel,
    format: LogFormat,
    /// Written by the hub's log thread alone, which so may be slow.
    sink: Arc<Mutex<dyn Write + Send>>,
}

impl Log {
    /// Every request as text, to whatever takes it. It is written to by one thread, so it may block: past 256 KiB that wait,
    /// lines are dropped, counted, and told of.
    pub fn to(sink: impl Write + Send + 'static) -> Self {
        Log { level: LogLevel::Info, format: LogFormat::Text, sink: Arc::new(Mutex::new(sink)) }
    }

    /// Every request as text, to this process's stderr.
    pub fn to_stderr() -> Self {
        Self::to(io::stderr())
    }

    /// How much is told.
    #[must_use]
    pub fn level(self, level: LogLevel) -> Self {
        Log { level, ..self }
    }

    /// In which form.
    #[must_use]
    pub fn format(self, format: LogFormat) -> Self {
        Log { format, ..self }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("level", &self.level).field("format", &self.format).finish_non_exhaustive()
    }
}

/// The log of a hub that is up.
pub struct Logger {
    level: LogLevel,
    format: LogFormat,
    /// `None` where nothing is told.
    writer: Option<Writer>,
}

impl Logger {
    /// Starts the thread that writes, where something is to be told.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(log: Option<&Log>) -> io::Result<Self> {
        let Some(log) = log.filter(|log| log.level > LogLevel::Off) else {
            return Ok(Logger { level: LogLevel::Off, format: LogFormat::Text, writer: None });
        };
        let writer = Writer::start(log.sink.clone(), log.format)?;
        Ok(Logger { level: log.level, format: log.format, writer: Some(writer) })
    }

    /// Whether lines of this level are told.
    pub(super) fn tells(&self, level: LogLevel) -> bool {
        level <= self.level
    }

    /// Lines that nobody has seen, because they came quicker than they could be written.
    pub(super) fn dropped(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::dropped)
    }

    /// A line about something, to be filled and told.
    fn line(&self, level: LogLevel, wall: u64, about: &str) -> Line {
        Line::new(self.format, level.name(), wall, about)
    }

    fn tell(&self, line: Line) {
        if let Some(writer) = &self.writer {
            writer.push(&line.finish());
        }
    }

    /// Tells what watchers are told, without the words of strangers.
    pub(super) fn event(&self, event: &Event) {
        if !self.tells(LogLevel::Debug) {
            return;
        }
        let mut line = self.line(LogLevel::Debug, event.at, event.name());
        match &event.kind {
            EventKind::RoomCreated(_) | EventKind::RoomDeleted(_) => {}
            EventKind::ParticipantJoined(p) | EventKind::ParticipantUpdated(p) => line.text("participant", &p.id),
            EventKind::ParticipantLeft(id) | EventKind::ParticipantOffline(id) => line.text("participant", id),
            EventKind::LlmRequest(dispatch)
            | EventKind::LlmComplete(dispatch, _)
            | EventKind::LlmError(dispatch, _) => {
                line.text("requestId", &dispatch.request_id);
                line.text("participant", &dispatch.participant_id);
                line.text("model", &dispatch.model);
                line.text("protocol", dispatch.protocol);
            }
        }
        line.text("room", event.room.as_str());
        if let EventKind::LlmError(_, failure) = &event.kind {
            line.text("stage", stage(&failure.stage));
        }
        self.tell(line);
    }

    /// Writes what waits, for a second at most, and ends. Safe to call twice.
    pub(super) fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close();
        }
    }
}

/// Where a request failed. Participants have words of their own for that; what is no word could be anything.
fn stage(told: &str) -> &str {
    let is_word =
        told.len() <= 24 && told.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'-');
    if is_word { told } else { "participant" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_a_word() {
        assert_eq!(
            ["fetch", "read_body", "Tell me a secret", ""].map(stage),
            ["fetch", "read_body", "participant", ""]
        );
    }

    #[test]
    fn levels_and_formats_have_names() {
        assert!(LogLevel::ALL.iter().all(|&level| LogLevel::named(level.name()) == Some(level)));
        assert_eq!((LogLevel::named("loud"), LogFormat::named("json")), (None, Some(LogFormat::Json)));
        let quiet = Logger::start(Some(&Log::to(io::sink()).level(LogLevel::Off))).unwrap();
        assert!(!quiet.tells(LogLevel::Error) && quiet.writer.is_none());
        let some = Logger::start(Some(&Log::to(io::sink()).level(LogLevel::Warn))).unwrap();
        assert!(some.tells(LogLevel::Error) && some.tells(LogLevel::Warn) && !some.tells(LogLevel::Info));
    }
}
