//! The settings of a hub's log: the level, the format of its lines, and where they are written.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// The level of a log: it has the lines of this level and of the levels before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// No lines.
    Off,
    /// Requests at which the hub itself failed (500).
    Error,
    /// Requests that failed for another reason than the client (502, 503, 504, broken streams).
    Warn,
    /// Every request.
    Info,
    /// Events too: rooms, participants, each attempt at a request.
    Debug,
}

impl LogLevel {
    /// All levels, from the least to the most lines.
    pub const ALL: [LogLevel; 5] = [LogLevel::Off, LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug];

    /// The name of the level, in flags and in log lines.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Off => "off",
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }

    /// The level with a name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, subject, and `name=value` pairs.
    Text,
    /// One JSON object a line.
    Json,
    /// For people at a terminal: one short line a request, in columns. Other lines have the time of day and the pairs of
    /// [`LogFormat::Text`].
    Short {
        /// Whether the status is coloured.
        colours: bool,
    },
}

impl LogFormat {
    /// The name of the format in flags.
    pub fn name(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
            LogFormat::Short { .. } => "short",
        }
    }

    /// The format that programs can read with a name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        [LogFormat::Text, LogFormat::Json].into_iter().find(|format| format.name() == name)
    }
}

/// A hub's log: one line a request, with the fields of an allow-list. Prompts, answers, headers, queries, passwords, keys
/// and tokens are not on that list.
///
/// ```
/// use gambi::hub::{Hub, HubOptions, Log, LogFormat, LogLevel};
///
/// let log = Log::to_stderr().level(LogLevel::Warn).format(LogFormat::Json);
/// let hub = Hub::bind(HubOptions { host: "127.0.0.1".into(), port: 0, log: Some(log), ..Default::default() })?;
/// # Ok::<(), gambi::Error>(())
/// ```
#[derive(Clone)]
pub struct Log {
    pub(crate) level: LogLevel,
    pub(crate) format: LogFormat,
    /// Written to by the hub's log thread alone, so that a slow sink delays no request.
    pub(crate) sink: Arc<Mutex<dyn Write + Send>>,
}

impl Log {
    /// Logs every request as text to a sink. The sink may block, as a thread of its own writes to it: past 256 KiB of
    /// lines that wait, further ones are dropped, and a later line has their number.
    pub fn to(sink: impl Write + Send + 'static) -> Self {
        Log { level: LogLevel::Info, format: LogFormat::Text, sink: Arc::new(Mutex::new(sink)) }
    }

    /// Logs every request as text to this process's stderr.
    pub fn to_stderr() -> Self {
        Self::to(io::stderr())
    }

    /// Sets the level.
    #[must_use]
    pub fn level(self, level: LogLevel) -> Self {
        Log { level, ..self }
    }

    /// Sets the format.
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
