//! Prints results on stdout in the requested format, and everything else on stderr. No other module of `cli` prints, so text
//! from peers is made safe for a terminal here. Callers clean what they put into pieces and texts of several lines.

use serde::Serialize;
use serde_json::Value;
use std::io::{IsTerminal, Write, stderr, stdout};

use gambi::proto::management::Meta;

use super::failure::Failure;
pub use super::progress::Progress;
use super::style::dim;
use crate::monitor::clean::{multi_line, one_line};
use crate::monitor::clock;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON value.
    Json,
    /// One JSON value per line.
    Ndjson,
}

impl Format {
    /// Parses the name of a format.
    ///
    /// # Errors
    /// When no format has that name.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            "ndjson" => Ok(Format::Ndjson),
            _ => Err(Failure::usage(format!("the format must be text, json or ndjson, not \"{text}\""))),
        }
    }
}

/// What a command that answers once prints as JSON: the shape of the hub's own answers.
#[derive(Serialize)]
struct Document<'a, T> {
    data: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    quiet: bool,
    verbose: bool,
}

impl Output {
    /// A command that streams prints many JSON values, so for it JSON means one per line.
    pub fn new(format: Format, streams: bool, quiet: bool, verbose: bool) -> Self {
        let format = if streams && format == Format::Json { Format::Ndjson } else { format };
        Output { format, quiet, verbose }
    }

    /// Whether the output is for people.
    pub fn is_text(&self) -> bool {
        self.format == Format::Text
    }

    /// A command's one result: `{"data", "meta": {"requestId"}}`, or a text for people. `meta` is left out if no hub
    /// gave the request an id.
    ///
    /// # Errors
    /// When stdout is closed, or can't be written.
    pub fn result(
        &self,
        data: &impl Serialize,
        request_id: Option<String>,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let document = Document { data, meta: request_id.map(|request_id| Meta { request_id }) };
        let json = match self.format {
            Format::Text => return line(&multi_line(&text())),
            Format::Json => serde_json::to_string_pretty(&document),
            Format::Ndjson => serde_json::to_string(&document),
        };
        line(&json.map_err(std::io::Error::from)?)
    }

    /// An event of a command that streams: `{"type", "timestamp", "data"}`, or text for people.
    ///
    /// # Errors
    /// When stdout is closed, or can't be written.
    pub fn event(&self, kind: &str, data: &Value, text: &str) -> Result<(), Failure> {
        if self.is_text() {
            return if text.is_empty() { Ok(()) } else { line(&multi_line(text)) };
        }
        #[derive(Serialize)]
        struct Event<'a> {
            r#type: &'a str,
            timestamp: u64,
            data: &'a Value,
        }
        let event = Event { r#type: kind, timestamp: clock::now(), data };
        line(&serde_json::to_string(&event).map_err(std::io::Error::from)?)
    }

    /// An event that the hub sent as JSON, printed unchanged.
    ///
    /// # Errors
    /// When stdout is closed, or can't be written.
    pub fn foreign_event(&self, json: &str, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.is_text() { line(&one_line(&text())) } else { line(json) }
    }

    /// Prints text unchanged, without a line end.
    ///
    /// # Errors
    /// When stdout is closed, or can't be written.
    pub fn piece(&self, text: &str) -> Result<(), Failure> {
        write(text)
    }

    /// Whether the output is one JSON value.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Runs `work`. If it takes longer than a second and stderr is a terminal, shows `what` there until it is done.
    pub fn while_waiting<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        let _progress = self.progress(what);
        work()
    }

    /// Begins to wait for something. See [`Progress`].
    pub fn progress(&self, what: &str) -> Progress {
        Progress::start(what, !self.quiet && stderr().is_terminal())
    }

    /// Prints a line on stderr, unless `--quiet` is given.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(stderr(), "{}", one_line(text));
        }
    }

    /// Prints a dimmed line on stderr, unless `--quiet` is given.
    pub fn aside(&self, text: &str, styled: bool) {
        if !self.quiet {
            let _ = writeln!(stderr(), "{}", dim(&one_line(text), styled));
        }
    }

    /// Prints a line on stderr if `--verbose` is given.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            self.note(text);
        }
    }
}

/// Prints text on stderr, unchanged and without a line end. Write errors are ignored: the text is no result.
pub fn beside(text: &str) {
    let mut err = stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Prints a line on stdout.
///
/// # Errors
/// When stdout is closed, or can't be written.
pub fn line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints a failure on stderr. Write errors are ignored, as there is no other place to report them.
pub fn failure(failure: &Failure) {
    let mut err = stderr().lock();
    let _ = writeln!(err, "Error: {}", one_line(&failure.to_string()));
    if let Some(hint) = failure.hint_text() {
        let _ = writeln!(err, "Hint: {}", one_line(&hint));
    }
    if let Some(id) = failure.request_id() {
        let _ = writeln!(err, "request_id: {}", one_line(id));
    }
}

/// A table; each column is as wide as its widest cell. Cells may hold text from peers.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let lines = || std::iter::once(&head).chain(&rows);
    let width = |column: usize| lines().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_a_table_are_aligned() {
        let rows = vec![vec!["ABC234".into(), "Lab".into()], vec!["X".into(), "A longer name".into()]];
        assert_eq!(table(&["CODE", "NAME"], &rows), "CODE    NAME\nABC234  Lab\nX       A longer name");
    }

    #[test]
    fn formats_have_names_and_streams_print_lines() {
        assert_eq!(Format::parse("ndjson").unwrap(), Format::Ndjson);
        assert_eq!(Format::parse("xml").unwrap_err().exit_code(), 2);
        assert_eq!(Output::new(Format::Json, true, false, false).format, Format::Ndjson);
        assert_eq!(Output::new(Format::Json, false, false, false).format, Format::Json);
    }

    #[test]
    fn a_cell_with_control_characters_stays_on_its_line() {
        let rows = vec![vec!["a\n\u{1b}[2J\u{202e}b".into()]];
        assert_eq!(table(&["NAME"], &rows), "NAME\na\u{fffd}\u{fffd}[2Jb");
    }
}
