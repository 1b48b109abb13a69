//! Prints results on stdout in the requested format, and everything else on stderr. No other module of `cli` prints, so text
//! from peers is made safe for a terminal here. Callers clean what they put into pieces and texts of several lines.

use std::io::{IsTerminal, Write, stderr, stdout};

use serde::Serialize;
use serde_json::Value;

use gambi::proto::management::Meta;

use super::failure::Failure;
pub use super::progress::Progress;
use super::style;
use crate::monitor::clean::one_line;
use crate::monitor::clock;
use crate::monitor::text::width;

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
            _ => Err(Failure::usage(format!("--format must be text, json or ndjson, not \"{text}\""))),
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
            Format::Text => return line(&style::out().safe(&text())),
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
            return if text.is_empty() { Ok(()) } else { line(&style::out().safe(text)) };
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

    /// An event that the hub sent as JSON, printed unchanged, or one line for people.
    ///
    /// # Errors
    /// When stdout is closed, or can't be written.
    pub fn foreign_event(&self, json: &str, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.is_text() { line(&style::out().safe(&text())) } else { line(json) }
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
    pub fn aside(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(stderr(), "{}", style::err().dim(&one_line(text)));
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
    let (mut err, paint) = (stderr().lock(), style::err());
    let _ = writeln!(err, "{} {}", paint.red("Error:"), one_line(&without_error_numbers(&failure.to_string())));
    if let Some(hint) = failure.hint_text() {
        let _ = writeln!(err, "{} {}", paint.cyan("Hint:"), one_line(&hint));
    }
    if let Some(id) = failure.request_id() {
        let _ = writeln!(err, "{}", paint.dim(&format!("request_id: {}", one_line(id))));
    }
}

/// A message without the numbers by which the standard library completes the system's own words: "(os error 111)".
fn without_error_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) => out.push_str(rest),
            _ => out.extend([" (os error ", part]),
        }
    }
    out
}

/// A table; each column is as wide as its widest cell, and one of numbers only is aligned to the right. Cells may hold text
/// from peers. The column `STATUS` has the colours of its words.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let columns: Vec<Column> = head.iter().enumerate().map(|(at, name)| Column::of(name, at, &rows)).collect();
    let paint = style::out();
    let line = |row: &[String], paint_cell: &dyn Fn(&str, String) -> String| {
        let cells = row.iter().zip(&columns).enumerate().map(|(at, (cell, column))| {
            let is_last = at + 1 == columns.len();
            paint_cell(column.name, if is_last && !column.is_number { cell.clone() } else { column.padded(cell) })
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let names: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let body = |column: &str, cell: String| if column == "STATUS" { paint.status(&cell) } else { cell };
    let head = line(&names, &|_, cell| paint.bold(&cell));
    std::iter::once(head).chain(rows.iter().map(|row| line(row, &body))).collect::<Vec<_>>().join("\n")
}

/// A column of a table.
struct Column<'a> {
    name: &'a str,
    width: usize,
    is_number: bool,
}

impl<'a> Column<'a> {
    fn of(name: &'a str, at: usize, rows: &[Vec<String>]) -> Self {
        let cells = || rows.iter().filter_map(|row| row.get(at));
        let is_number = |cell: &String| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
        Column {
            name,
            width: cells().map(|cell| width(cell)).max().unwrap_or(0).max(width(name)),
            is_number: cells().next().is_some() && cells().all(is_number),
        }
    }

    fn padded(&self, cell: &str) -> String {
        if self.is_number { format!("{cell:>0$}", self.width) } else { style::pad(cell, self.width) }
    }
}

/// Lines of a label and a value each, with the values in one column. A line without a label continues the one above.
pub fn pairs(lines: &[(&str, String)]) -> String {
    let paint = style::out();
    let widest = lines.iter().map(|(label, _)| width(label)).max().unwrap_or(0);
    let line = |(label, value): &(&str, String)| format!("{}  {value}", paint.dim(&style::pad(label, widest)));
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
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
    fn columns_are_as_wide_as_they_look_and_numbers_end_below_each_other() {
        let rows = vec![vec!["日本".into(), "7".into(), "a".into()], vec!["x".into(), "1200".into(), "b".into()]];
        assert_eq!(table(&["NAME", "N", "END"], &rows), "NAME     N  END\n日本     7  a\nx     1200  b");
        assert_eq!(pairs(&[("Room:", "a".into()), ("Dashboard:", "b".into())]), "Room:       a\nDashboard:  b");
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
