//! One line of the log, as text or as JSON. Values are untrusted: they are escaped so that they can end neither
//! their field nor the line. No I/O.

use std::fmt::Write;

use super::settings::LogFormat;
use crate::proto::names::is_unprintable;
use crate::proto::time::rfc3339;

/// The longest value that is written, in characters. A longer one is cut and ends in `...`.
const MAX_VALUE_CHARS: usize = 200;

/// A line under construction.
pub struct LogLine {
    format: LogFormat,
    text: String,
}

impl LogLine {
    /// Begins a line with its time (`wall`, milliseconds since the epoch), its level and its subject.
    pub fn new(format: LogFormat, level: &str, wall: u64, about: &str) -> Self {
        let mut line = LogLine { format, text: String::with_capacity(512) };
        if let LogFormat::Short { .. } = format {
            // The time of day, UTC.
            line.text.push_str(rfc3339(wall).get(11..19).unwrap_or_default());
            match (about, level) {
                ("", _) => {}
                (_, "error") => line.coloured("31", format_args!("{about}")),
                (_, "warn") => line.coloured("33", format_args!("{about}")),
                _ => line.text.extend([" ", about]),
            }
            return line;
        }
        let parts = match format {
            LogFormat::Text | LogFormat::Short { .. } => ["", " ", &"     "[level.len().min(5)..], " ", ""],
            LogFormat::Json => [r#"{"time":""#, r#"","level":""#, "", r#"","about":""#, r#"""#],
        };
        line.text.push_str(parts[0]);
        line.text.push_str(&rfc3339(wall));
        for part in [parts[1], level, parts[2], parts[3], about, parts[4]] {
            line.text.push_str(part);
        }
        line
    }

    fn push_name(&mut self, name: &str) {
        let [before, after] = match self.format {
            LogFormat::Text | LogFormat::Short { .. } => [" ", "="],
            LogFormat::Json => [",\"", "\":"],
        };
        [before, name, after].into_iter().for_each(|part| self.text.push_str(part));
    }

    /// Appends a text field. The value is untrusted.
    pub fn text(&mut self, name: &str, value: &str) {
        self.push_name(name);
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
        if !value.is_empty() && value.len() <= MAX_VALUE_CHARS && value.bytes().all(plain) {
            let quote = if self.format == LogFormat::Json { "\"" } else { "" };
            return [quote, value, quote].into_iter().for_each(|part| self.text.push_str(part));
        }
        self.text.push('"');
        value.chars().take(MAX_VALUE_CHARS).for_each(|c| self.push_escaped(c));
        if value.chars().nth(MAX_VALUE_CHARS).is_some() {
            self.text.push_str("...");
        }
        self.text.push('"');
    }

    /// Appends a character of a quoted value, escaped as in JSON (RFC 8259, section 7). Control characters and
    /// characters that change the direction of text are escaped too, as logs are read on terminals.
    fn push_escaped(&mut self, c: char) {
        let invisible = matches!(c, '\u{ad}' | '\u{180e}' | '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}');
        match c {
            '"' | '\\' => self.text.extend(['\\', c]),
            _ if is_unprintable(c) || invisible || ('\u{e0000}'..='\u{e0fff}').contains(&c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(self.text, "\\u{unit:04x}");
                }
            }
            _ => self.text.push(c),
        }
    }

    /// Whether the line is in columns.
    pub fn is_short(&self) -> bool {
        matches!(self.format, LogFormat::Short { .. })
    }

    /// Appends a column to a short line: the value, escaped, cut to `width` characters and padded to them. The value is
    /// untrusted.
    pub fn column(&mut self, value: &str, width: usize) {
        self.text.push(' ');
        let start = self.text.len();
        let is_long = value.chars().nth(width).is_some();
        value.chars().take(width - usize::from(is_long)).for_each(|c| self.push_escaped(c));
        if is_long {
            self.text.push('…');
        }
        let written = self.text[start..].chars().count();
        self.text.extend(std::iter::repeat_n(' ', width.saturating_sub(written)));
    }

    /// Appends a text of the hub's own to a short line, in the colour of an SGR parameter (ECMA-48, section 8.3.117).
    pub fn coloured(&mut self, colour: &str, text: std::fmt::Arguments<'_>) {
        let _ = match self.format {
            LogFormat::Short { colours: true } => write!(self.text, " \x1b[{colour}m{text}\x1b[0m"),
            _ => write!(self.text, " {text}"),
        };
    }

    /// Appends a text field, if there is a value.
    pub fn optional_text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// Appends a number field.
    pub fn number(&mut self, name: &str, value: u64) {
        self.push_name(name);
        let _ = write!(self.text, "{value}");
    }

    /// Appends a number field, if there is a value.
    pub fn optional_number(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    /// The whole line, with its line feed.
    pub fn finish(mut self) -> String {
        if self.is_short() {
            self.text.truncate(self.text.trim_end_matches(' ').len());
        }
        self.text.push_str(if self.format == LogFormat::Json { "}\n" } else { "\n" });
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_line_has_pairs_and_a_json_line_is_an_object() {
        let line = |format| {
            let mut line = LogLine::new(format, "info", 0, "request");
            line.text("path", "/v1/rooms");
            line.text("model", "größe 7");
            line.number("status", 200);
            line.finish()
        };
        let written = "1970-01-01T00:00:00.000Z info  request path=/v1/rooms model=\"größe 7\" status=200\n";
        assert_eq!(line(LogFormat::Text), written);
        let json: serde_json::Value = serde_json::from_str(&line(LogFormat::Json)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "time": "1970-01-01T00:00:00.000Z", "level": "info", "about": "request",
                "path": "/v1/rooms", "model": "größe 7", "status": 200
            })
        );
    }

    #[test]
    fn no_value_forges_a_line_or_controls_a_terminal() {
        let hostile =
            "a\nb\r\u{1b}[2J\u{9b}2J\u{202e}\u{2066}\u{61c}\u{2028}\u{feff}\u{e0041}\0\u{7f}\"} level=error\\";
        for format in [LogFormat::Text, LogFormat::Json] {
            let mut line = LogLine::new(format, "info", 0, "request");
            line.text("model", hostile);
            let written = line.finish();
            assert_eq!(written.matches('\n').count(), 1, "{written:?}");
            assert!(written.chars().all(|c| c == '\n' || !(is_unprintable(c) || c == '\u{e0041}')), "{written:?}");
            assert!(written.contains(r#"\"} level=error\\""#), "{written}");
        }
        let mut line = LogLine::new(LogFormat::Json, "info", 0, "request");
        line.text("model", hostile);
        let json: serde_json::Value = serde_json::from_str(&line.finish()).unwrap();
        assert_eq!(json["model"], hostile, "the value can be read back");
    }

    #[test]
    fn long_values_are_cut() {
        let mut line = LogLine::new(LogFormat::Text, "info", 0, "request");
        line.text("path", &"🦀".repeat(10_000));
        line.text("model", "");
        let written = line.finish();
        assert!(written.ends_with("🦀...\" model=\"\"\n") && written.chars().count() < 300, "{written}");
    }
}
