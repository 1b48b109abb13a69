//! How a hub's log is set up: which lines, in which form, and where they go.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

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
    /// Written by the hub's log thread alone, which so may be slow.
    pub(crate) sink: Arc<Mutex<dyn Write + Send>>,
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
