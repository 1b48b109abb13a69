//! Results on stdout in the format that was asked for, everything else on stderr. Nobody else in `cli` prints, so what peers
//! wrote is made fit for a terminal here; callers clean what they put into a text of several lines, and pieces.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::failure::Failure;
use crate::monitor::clean::{multi_line, one_line};
use crate::monitor::clock;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON value.
    Json,
    /// One JSON value a line.
    Ndjson,
}

impl Format {
    /// Reads its name.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            "ndjson" => Ok(Format::Ndjson),
            _ => Err(Failure::usage(format!("the format must be text, json or ndjson, not \"{text}\""))),
        }
    }
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    quiet: bool,
    verbose: bool,
}

impl Output {
    /// An output; a command that streams can't print one JSON value, so it prints one a line.
    pub fn new(format: Format, streams: bool, quiet: bool, verbose: bool) -> Self {
        let format = if streams && format == Format::Json { Format::Ndjson } else { format };
        Output { format, quiet, verbose }
    }

    /// Whether a person reads.
    pub fn is_text(&self) -> bool {
        self.format == Format::Text
    }

    /// A command's one result.
    ///
    /// # Errors
    /// When nobody reads it any more, or it can't be written.
    pub fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.format {
            Format::Text => line(&multi_line(&text())),
            Format::Json => line(&serde_json::to_string_pretty(value).map_err(std::io::Error::from)?),
            Format::Ndjson => line(&json!(value).to_string()),
        }
    }

    /// A list: one value as JSON, one item a line as NDJSON.
    ///
    /// # Errors
    /// When nobody reads it any more, or it can't be written.
    pub fn list(&self, items: &[impl Serialize], text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.format == Format::Ndjson {
            return items.iter().try_for_each(|item| line(&json!(item).to_string()));
        }
        self.result(&items, text)
    }

    /// An event of a command that streams: `{"type", "timestamp", "data"}`, or a line for people.
    ///
    /// # Errors
    /// When nobody reads it any more, or it can't be written.
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

    /// An event that somebody else has written as JSON.
    ///
    /// # Errors
    /// When nobody reads it any more, or it can't be written.
    pub fn foreign_event(&self, json: &str, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.is_text() { line(&one_line(&text())) } else { line(json) }
    }

    /// A piece of text for people as it is, without a line end.
    ///
    /// # Errors
    /// When nobody reads it any more, or it can't be written.
    pub fn piece(&self, text: &str) -> Result<(), Failure> {
        write(text)
    }

    /// Whether one JSON value is wanted.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Does something, and tells a person at a terminal what it is if it takes longer than a second.
    pub fn while_waiting<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        if self.quiet || !stderr().is_terminal() {
            return work();
        }
        let (done, finished) = crossbeam_channel::bounded::<()>(0);
        thread::scope(|scope| {
            scope.spawn(move || {
                if finished.recv_timeout(Duration::from_secs(1)) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                    let _ = writeln!(stderr(), "{what}");
                }
            });
            let value = work();
            drop(done);
            value
        })
    }

    /// Something for a person to know, on stderr: one line.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(stderr(), "{}", one_line(text));
        }
    }

    /// Something for a person who wants to know more, on stderr: one line.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            self.note(text);
        }
    }
}

/// A line on stdout.
///
/// # Errors
/// When nobody reads it any more, or it can't be written.
pub fn line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Tells of a failure on stderr. Should that be closed too, there is nobody left to tell.
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

/// Columns, each as wide as its widest cell. Cells may hold what peers wrote.
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
    fn a_table_lines_up() {
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
    fn a_cell_stays_in_its_place() {
        let rows = vec![vec!["a\n\u{1b}[2J\u{202e}b".into()]];
        assert_eq!(table(&["NAME"], &rows), "NAME\na\u{fffd}\u{fffd}[2Jb");
    }
}
