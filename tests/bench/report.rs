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
    /// The same call made directly to the provider, if there is one.
    pub direct: Option<f64>,
    pub gambi: f64,
    /// The goal for `gambi`.
    pub goal: Option<Goal>,
}

/// The goal of a measurement.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// At most this much, in addition to the direct call if there is one.
    AtMost(f64),
    /// At least this share of the direct call's value.
    Share(f64),
}

/// A measurement with the direct call as reference.
pub fn compared(key: impl Into<String>, unit: &'static str, direct: f64, gambi: f64) -> Row {
    Row { key: key.into(), unit, direct: Some(direct), gambi, goal: None }
}

/// A measurement without reference.
pub fn absolute(key: impl Into<String>, unit: &'static str, gambi: f64) -> Row {
    Row { key: key.into(), unit, direct: None, gambi, goal: None }
}

impl Row {
    pub fn goal(self, goal: Goal) -> Self {
        Row { goal: Some(goal), ..self }
    }

    fn judged(&self) -> String {
        let direct = self.direct.unwrap_or(0.0);
        let (limit, good) = match self.goal {
            None => return String::new(),
            Some(Goal::AtMost(most)) => (format!("+{} at most", short(most)), self.gambi - direct <= most),
            Some(Goal::Share(share)) => (format!("{} at least", short(share * direct)), self.gambi >= share * direct),
        };
        format!("{} ({limit})", if good { "met" } else { "missed" })
    }
}

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
    println!("{:<44} {:>10} {:>10} {:>10} {:>7}  goal", "", "direct", "gambi", "added", "ratio");
    for row in rows {
        let direct = row.direct.map_or(String::new(), short);
        let added = row.direct.map_or(String::new(), |direct| short(row.gambi - direct));
        let ratio = row.direct.map_or(String::new(), |direct| format!("{:.3}", row.gambi / direct));
        let name = format!("{}, {}", row.key, row.unit);
        println!("{name:<44} {direct:>10} {:>10} {added:>10} {ratio:>7}  {}", short(row.gambi), row.judged());
    }
}

/// Writes a run as JSON.
pub fn save(rows: &[Row], path: &Path) -> io::Result<()> {
    let row = |row: &Row| {
        let mut value = json!({ "unit": row.unit, "gambi": row.gambi });
        if let Some(direct) = row.direct {
            value["direct"] = json!(direct);
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
