//! `gambi usage`: sums of the file that `hub serve --usage` writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use gambi::hub::rotated_usage;
use gambi::proto::read_json::from_bytes;
use gambi::proto::usage_record::UsageRecord;
use serde::Serialize;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::output::table;
use super::values;
use crate::monitor::clean::one_line;
use crate::monitor::clock::now;

/// Milliseconds of a day.
const DAY: u64 = 86_400_000;
/// The name of the row of those who have none, such as clients without a key of their own.
const NOBODY: &str = "-";

/// The default of `--by`.
pub const BY: By = By::Caller;

/// What the rows of the table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Who asked.
    Caller,
    /// The participant's model.
    Model,
    /// Who answered.
    Participant,
}

impl By {
    fn named(text: &str) -> Option<Self> {
        [By::Caller, By::Model, By::Participant].into_iter().find(|by| by.name() == text)
    }

    /// Its name in the flag.
    pub fn name(self) -> &'static str {
        match self {
            By::Caller => "caller",
            By::Model => "model",
            By::Participant => "participant",
        }
    }

    fn of(self, record: &UsageRecord) -> Option<&str> {
        match self {
            By::Caller => record.caller.as_deref(),
            By::Model => Some(&record.model),
            By::Participant => record.participant.as_deref(),
        }
    }
}

/// The sums of one row.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sums {
    requests: u64,
    errors: u64,
    input_tokens: u64,
    output_tokens: u64,
    /// Requests whose tokens are estimates.
    estimated: u64,
    duration_ms: u64,
}

impl Sums {
    fn add(&mut self, record: &UsageRecord) {
        self.requests += 1;
        self.errors += u64::from(record.status >= 400);
        self.input_tokens = self.input_tokens.saturating_add(record.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(record.output_tokens);
        self.estimated += u64::from(record.estimated);
        self.duration_ms = self.duration_ms.saturating_add(record.duration_ms);
    }
}

/// Prints the sums.
pub fn usage(context: &Context<'_>) -> Result<(), Failure> {
    let file = context.required("file")?;
    let by = context.parsed("by", By::named, "caller, model or participant")?.unwrap_or(BY);
    let now = now();
    let since =
        context.parsed("since", |text| since(text, now), "a time such as 12h or 30d, or a date such as 2026-11-01")?;
    let mut sums = BTreeMap::new();
    let before = rotated_usage(Path::new(&file));
    if before.exists() {
        add_file(&before, by, since.unwrap_or(0), &mut sums)?;
    }
    add_file(Path::new(&file), by, since.unwrap_or(0), &mut sums)?;
    let data: Vec<_> = sums.iter().map(|(name, sums)| json!({ by.name(): name, "sums": sums })).collect();
    context.out.result(&data, None, || text(by, &sums))
}

/// Adds the lines of a file. A line that is none of usage is an error, for the sums would be wrong without it.
fn add_file(path: &Path, by: By, since: u64, sums: &mut BTreeMap<String, Sums>) -> Result<(), Failure> {
    let unreadable = |what: &dyn std::fmt::Display| Failure::usage(format!("{}: {what}", path.display()));
    let mut reader = BufReader::new(File::open(path).map_err(|e| unreadable(&e))?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break,
            // The hub is writing it.
            Ok(_) if !line.ends_with(b"\n") => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(&error)),
        }
        let record: UsageRecord = from_bytes(&line)
            .map_err(|e| unreadable(&format!("line {number} is no line of `hub serve --usage`: {e}")))?;
        if record.timestamp >= since {
            sums.entry(by.of(&record).unwrap_or(NOBODY).to_owned()).or_default().add(&record);
        }
    }
    Ok(())
}

/// The time that `--since` names, milliseconds since the epoch.
fn since(text: &str, now: u64) -> Option<u64> {
    if let Some(days) = text.strip_suffix('d') {
        return Some(now.saturating_sub(days.parse::<u64>().ok()?.checked_mul(DAY)?));
    }
    match date(text) {
        Some(date) => Some(date),
        None => Some(now.saturating_sub(u64::try_from(values::time(text)?.as_millis()).ok()?)),
    }
}

/// The begin of a day in UTC, such as `2026-11-01`.
fn date(text: &str) -> Option<u64> {
    let mut parts = text.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let is_date = parts.next().is_none() && (1970..=9999).contains(&year) && (1..=12).contains(&month);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = |month: u64| match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !is_date || !(1..=length(month)).contains(&day) {
        return None;
    }
    let years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    Some((years + (1..month).map(length).sum::<u64>() + day - 1) * DAY)
}

fn text(by: By, sums: &BTreeMap<String, Sums>) -> String {
    let row = |(name, sums): (&String, &Sums)| {
        let estimated = if sums.estimated > 0 { format!(" ({} estimated)", sums.estimated) } else { String::new() };
        vec![
            one_line(name).to_string(),
            format!("{}{estimated}", sums.requests),
            sums.errors.to_string(),
            sums.input_tokens.to_string(),
            sums.output_tokens.to_string(),
            format!("{:.1} s", sums.duration_ms as f64 / 1000.0),
        ]
    };
    let head = [&*by.name().to_uppercase(), "REQUESTS", "ERRORS", "TOKENS IN", "TOKENS OUT", "TIME"];
    table(&head, &sums.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_back_and_a_date_is_a_day_in_utc() {
        let now = 1_800_000_000_000;
        assert_eq!((since("12h", now), since("30d", now)), (Some(now - DAY / 2), Some(now - 30 * DAY)));
        assert_eq!(since("1970-01-01", now), Some(0));
        assert_eq!(since("2024-03-01", now), Some(1_709_251_200_000));
        assert_eq!(since("2026-11-01", now), Some(1_793_491_200_000));
        for wrong in ["", "yesterday", "2026-02-29", "2026-13-01", "2026-1", "1-1-1", "99999999999999999999d"] {
            assert_eq!(since(wrong, now), None, "{wrong}");
        }
    }

    #[test]
    fn rows_are_those_that_by_names() {
        let record = UsageRecord { caller: Some("ann".into()), model: "m".into(), ..UsageRecord::default() };
        assert_eq!((By::Caller.of(&record), By::Model.of(&record)), (Some("ann"), Some("m")));
        assert_eq!((By::Participant.of(&record), By::named("room")), (None, None));
    }
}
