//! One line of the log, as text or as JSON. Values are untrusted: they are escaped so that they can end neither
//! their field nor the line. No I/O.

use std::fmt::Write;

use super::settings::LogFormat;
use crate::state::id::is_unprintable;

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
        let parts = match format {
            LogFormat::Text => ["", " ", &"     "[level.len().min(5)..], " ", ""],
            LogFormat::Json => [r#"{"time":""#, r#"","level":""#, "", r#"","about":""#, r#"""#],
        };
        line.text.push_str(parts[0]);
        line.push_time(wall);
        for part in [parts[1], level, parts[2], parts[3], about, parts[4]] {
            line.text.push_str(part);
        }
        line
    }

    /// Appends a time in UTC, as RFC 3339 writes it.
    fn push_time(&mut self, wall: u64) {
        let (days, of_day) = (wall / 86_400_000, wall % 86_400_000);
        let (year, month, day) = date(days);
        let (seconds, millis) = (of_day / 1000, of_day % 1000);
        let time = [(seconds / 3600, 2, ':'), (seconds / 60 % 60, 2, ':'), (seconds % 60, 2, '.'), (millis, 3, 'Z')];
        for (number, width, after) in [(year, 4, '-'), (month, 2, '-'), (day, 2, 'T')].into_iter().chain(time) {
            self.push_padded(number, width);
            self.text.push(after);
        }
    }

    /// Appends the last `width` digits of a number, padded with zeros.
    fn push_padded(&mut self, number: u64, width: u32) {
        for digit in (0..width).rev() {
            let digit = number / 10_u64.pow(digit) % 10;
            self.text.extend(char::from_digit(digit as u32, 10));
        }
    }

    fn push_name(&mut self, name: &str) {
        let [before, after] = match self.format {
            LogFormat::Text => [" ", "="],
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
        self.text.push_str(if self.format == LogFormat::Json { "}\n" } else { "\n" });
        self.text
    }
}

/// Year, month and day of a day since the epoch. Years are counted from March here, so that a leap day is the last day of
/// its year.
fn date(days: u64) -> (u64, u64, u64) {
    // 719 468 days lie between the first of March of the year 0 and the epoch; an era has 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(wall: u64) -> String {
        let mut line = LogLine { format: LogFormat::Text, text: String::new() };
        line.push_time(wall);
        line.text
    }

    #[test]
    fn a_time_is_written_as_a_date_in_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(time(1_798_761_599_000), "2026-12-31T23:59:59.000Z");
    }

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
