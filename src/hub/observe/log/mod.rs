//! The hub's log: how much it tells, in which form, and where to. What is told of a request is chosen in
//! `api::request_log`, how a
//! line is written in `line`, and how it gets out without anybody waiting for it in `writer`.

mod line;
pub mod settings;
mod writer;

use std::io;

pub use line::Line;
use settings::{Log, LogFormat, LogLevel};
use writer::Writer;

use crate::state::event::{Event, EventKind};

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
    pub(crate) fn start(log: Option<&Log>) -> io::Result<Self> {
        let Some(log) = log.filter(|log| log.level > LogLevel::Off) else {
            return Ok(Logger { level: LogLevel::Off, format: LogFormat::Text, writer: None });
        };
        let writer = Writer::start(log.sink.clone(), log.format)?;
        Ok(Logger { level: log.level, format: log.format, writer: Some(writer) })
    }

    /// Whether lines of this level are told.
    pub(crate) fn tells(&self, level: LogLevel) -> bool {
        level <= self.level
    }

    /// Lines that nobody has seen, because they came quicker than they could be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::dropped)
    }

    /// A line about something, to be filled and told.
    pub(crate) fn line(&self, level: LogLevel, wall: u64, about: &str) -> Line {
        Line::new(self.format, level.name(), wall, about)
    }

    pub(crate) fn tell(&self, line: Line) {
        if let Some(writer) = &self.writer {
            writer.push(&line.finish());
        }
    }

    /// Tells what watchers are told, without the words of strangers.
    pub(crate) fn event(&self, event: &Event) {
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
    pub(crate) fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close();
        }
    }
}

/// Where a request failed. Participants have words of their own for that; what is no word could be anything.
pub fn stage(told: &str) -> &str {
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
