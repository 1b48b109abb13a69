//! Reports measurements: as a table, as JSON, and as ratios between two runs.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

/// One measurement.
#[derive(Debug, Clone)]
pub struct Row {
    /// Identifies it in JSON and across runs.
    pub key: String,
    pub unit: &'static str,
    /// The same call without gambi, if there is one.
    pub reference: Option<Reference>,
    pub gambi: f64,
    /// The goals for `gambi`.
    pub goals: Vec<Goal>,
}

/// The same call without gambi.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    /// Made directly to the provider.
    pub direct: f64,
    /// Through two relays that only pass bytes on.
    pub floor: f64,
}

/// The goal of a measurement.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// At most this much, in addition to the direct call if there is one.
    AtMost(f64),
    /// At least this share of the direct call's value.
    Share(f64),
    /// What gambi adds to the direct call is at most so many times what the floor adds.
    TimesFloor(f64),
    /// At least this share of the floor's value.
    ShareOfFloor(f64),
}

/// A measurement with references.
pub fn compared(key: impl Into<String>, unit: &'static str, reference: Reference, gambi: f64) -> Row {
    Row { key: key.into(), unit, reference: Some(reference), gambi, goals: Vec::new() }
}

/// A measurement without reference.
pub fn absolute(key: impl Into<String>, unit: &'static str, gambi: f64) -> Row {
    Row { key: key.into(), unit, reference: None, gambi, goals: Vec::new() }
}

impl Row {
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    /// Whether all its values were taken.
    pub fn is_measured(&self) -> bool {
        let values = self.reference.map_or([self.gambi; 2], |reference| [reference.direct, reference.floor]);
        self.gambi.is_finite() && values.iter().all(|value| value.is_finite())
    }

    /// gambi's value beside the floor's: of times, what both add to the direct call; of rates, the rates themselves.
    /// `None` where the floor adds less than can be measured.
    fn of_floor(&self) -> Option<f64> {
        let Reference { direct, floor } = self.reference?;
        match self.unit {
            "ms" if floor - direct < LEAST_ADDED => None,
            "ms" => Some((self.gambi - direct) / (floor - direct)),
            _ => Some(self.gambi / floor),
        }
    }

    fn judged(&self) -> String {
        self.goals.iter().map(|goal| self.judge(*goal)).collect::<Vec<_>>().join(", ")
    }

    fn judge(&self, goal: Goal) -> String {
        let direct = self.reference.map_or(0.0, |reference| reference.direct);
        let of_floor = self.of_floor().unwrap_or(f64::NAN);
        let (limit, good) = match goal {
            Goal::AtMost(most) => (format!("+{} at most", short(most)), self.gambi - direct <= most),
            Goal::Share(share) => (format!("{} at least", short(share * direct)), self.gambi >= share * direct),
            Goal::TimesFloor(most) => (format!("{most} of floor at most"), of_floor <= most),
            Goal::ShareOfFloor(share) => (format!("{share} of floor at least"), of_floor >= share),
        };
        format!("{} ({limit})", if good { "met" } else { "missed" })
    }
}

/// The least that the floor has to add to a time for a ratio to it to mean something, in milliseconds.
const LEAST_ADDED: f64 = 0.001;

/// Formats a number with a sensible number of digits.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Prints the table.
pub fn print(rows: &[Row]) {
    let line = |name: &str, columns: [&str; 6], goals: &str| {
        let [direct, floor, gambi, added, ratio, of_floor] = columns;
        println!("{name:<44} {direct:>10} {floor:>10} {gambi:>10} {added:>10} {ratio:>7} {of_floor:>8}  {goals}");
    };
    line("", ["direct", "floor", "gambi", "added", "ratio", "of floor"], "goal");
    for row in rows {
        let of = |value: fn(Reference) -> f64| row.reference.map(value);
        let figure = |value: Option<f64>| value.map_or(String::new(), short);
        let ratio = |value: Option<f64>| value.map_or(String::new(), |ratio| format!("{ratio:.3}"));
        let direct = of(|reference| reference.direct);
        let columns = [
            figure(direct),
            figure(of(|reference| reference.floor)),
            short(row.gambi),
            figure(direct.map(|direct| row.gambi - direct)),
            ratio(direct.map(|direct| row.gambi / direct)),
            ratio(row.of_floor()),
        ];
        line(&format!("{}, {}", row.key, row.unit), columns.each_ref().map(String::as_str), &row.judged());
    }
}

/// Writes a run as JSON.
pub fn save(rows: &[Row], path: &Path) -> io::Result<()> {
    let row = |row: &Row| {
        let mut value = json!({ "unit": row.unit, "gambi": row.gambi });
        if let Some(Reference { direct, floor }) = row.reference {
            value["direct"] = json!(direct);
            value["floor"] = json!(floor);
        }
        (row.key.clone(), value)
    };
    let rows: Map<String, Value> = rows.iter().map(row).collect();
    fs::write(path, serde_json::to_string_pretty(&Value::Object(rows))? + "\n")
}

/// Prints the ratios between two runs.
pub fn compare(base: &Path, new: &Path) -> io::Result<()> {
    let read = |path: &Path| -> io::Result<Map<String, Value>> {
        let text = fs::read_to_string(path)
            .map_err(|e| io::Error::new(e.kind(), format!("{} can't be read: {e}", path.display())))?;
        Ok(serde_json::from_str(&text)?)
    };
    let (base, new) = (read(base)?, read(new)?);
    println!("{:<44} {:>10} {:>10} {:>7}  direct", "", "base", "new", "ratio");
    for (key, row) in &new {
        let figure = |of: &Value, name: &str| of[name].as_f64().unwrap_or(f64::NAN);
        let before = base.get(key).unwrap_or(&Value::Null);
        let (was, is) = (figure(before, "gambi"), figure(row, "gambi"));
        let name = format!("{key}, {}", row["unit"].as_str().unwrap_or_default());
        // The direct call's ratio shows how much the machine itself changed.
        let direct = figure(row, "direct") / figure(before, "direct");
        let direct = if direct.is_nan() { String::new() } else { format!("{direct:.2}") };
        println!("{name:<44} {:>10} {:>10} {:>7.2}  {direct}", short(was), short(is), is / was);
    }
    Ok(())
}
