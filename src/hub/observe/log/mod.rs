//! The hub's log. Callers check whether a level is enabled, fill a line and write it; a thread of the log writes the lines to
//! the sink, so that no caller waits for it. `api::request_log` decides what is logged of a request.

pub mod line;
pub mod request;
pub mod settings;
pub mod short;
mod writer;

use std::io;

pub use line::LogLine;
use settings::{Log, LogFormat, LogLevel};
use writer::LogWriter;

use crate::state::event::{Event, EventKind};

/// The log of a running hub.
pub struct Logger {
    level: LogLevel,
    format: LogFormat,
    /// `None` where the level is `Off`.
    writer: Option<LogWriter>,
}

impl Logger {
    /// Starts the log's thread, unless logging is off.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(log: Option<&Log>) -> io::Result<Self> {
        let Some(log) = log.filter(|log| log.level > LogLevel::Off) else {
            return Ok(Logger { level: LogLevel::Off, format: LogFormat::Text, writer: None });
        };
        let writer = LogWriter::start(log.sink.clone(), log.format)?;
        Ok(Logger { level: log.level, format: log.format, writer: Some(writer) })
    }

    /// Whether lines of a level are written.
    pub(crate) fn is_enabled(&self, level: LogLevel) -> bool {
        level <= self.level
    }

    /// Whether lines are short, in columns.
    pub(crate) fn is_short(&self) -> bool {
        matches!(self.format, LogFormat::Short { .. })
    }

    /// How many lines were dropped since the start, because they came faster than the sink took them.
    pub(crate) fn dropped(&self) -> u64 {
        self.writer.as_ref().map_or(0, LogWriter::dropped)
    }

    /// Begins a line, to be filled and passed to [`Logger::write`]. `wall` is in milliseconds since the epoch.
    pub(crate) fn line(&self, level: LogLevel, wall: u64, about: &str) -> LogLine {
        LogLine::new(self.format, level.name(), wall, about)
    }

    /// Queues a line for the log's thread; drops it where logging is off.
    pub(crate) fn write(&self, line: LogLine) {
        if let Some(writer) = &self.writer {
            writer.push(&line.finish());
        }
    }

    /// Logs an event at debug level, without the texts that participants chose.
    pub(crate) fn event(&self, event: &Event) {
        if !self.is_enabled(LogLevel::Debug) {
            return;
        }
        let mut line = self.line(LogLevel::Debug, event.at, event.name());
        match &event.kind {
            EventKind::RoomCreated(_) | EventKind::RoomDeleted(_) => {}
            EventKind::ParticipantJoined(p) | EventKind::ParticipantRenewed(p) | EventKind::ParticipantUpdated(p) => {
                line.text("participant", &p.id)
            }
            EventKind::ParticipantLeft(id) | EventKind::ParticipantOffline(id) => line.text("participant", id),
            EventKind::LlmRequest(dispatch)
            | EventKind::LlmComplete(dispatch, _)
            | EventKind::LlmError(dispatch, _) => {
                line.text("requestId", &dispatch.request_id);
                line.text("participant", &dispatch.participant_id);
                line.text("model", &dispatch.model);
                line.text("protocol", dispatch.protocol);
                line.optional_text("caller", dispatch.caller.as_deref());
            }
        }
        line.text("room", event.room.as_str());
        if let EventKind::LlmError(_, failure) = &event.kind {
            line.text("stage", stage_word(failure.stage.as_str()));
        }
        self.write(line);
    }

    /// Writes the queued lines, for a second at most, and ends the thread. Safe to call twice.
    pub(crate) fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close();
        }
    }
}

/// The stage at which a request failed, as it is logged. Participants report stages of their own; a text that is not a
/// short word is logged as `participant`, as it could hold anything.
fn stage_word(stage: &str) -> &str {
    let is_word =
        stage.len() <= 24 && stage.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'-');
    if is_word { stage } else { "participant" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_short_word_is_logged_as_the_stage() {
        assert_eq!(
            ["fetch", "read_body", "Tell me a secret", ""].map(stage_word),
            ["fetch", "read_body", "participant", ""]
        );
    }

    #[test]
    fn levels_and_formats_have_names() {
        assert!(LogLevel::ALL.iter().all(|&level| LogLevel::named(level.name()) == Some(level)));
        assert_eq!((LogLevel::named("loud"), LogFormat::named("json")), (None, Some(LogFormat::Json)));
        let quiet = Logger::start(Some(&Log::to(io::sink()).level(LogLevel::Off))).unwrap();
        assert!(!quiet.is_enabled(LogLevel::Error) && quiet.writer.is_none());
        let some = Logger::start(Some(&Log::to(io::sink()).level(LogLevel::Warn))).unwrap();
        assert!(
            some.is_enabled(LogLevel::Error) && some.is_enabled(LogLevel::Warn) && !some.is_enabled(LogLevel::Info)
        );
    }
}
