//! `gambi key new`: a person's key, and the line for the file of `hub serve --keys`.

use serde_json::{Map, Value, json};

use gambi::hub::{is_key_name, key_hash};
use gambi::proto::hex::encode;
use gambi::proto::management::MAX_PRIORITY;
use gambi::proto::names::is_room_code;

use super::context::Context;
use super::failure::Failure;

/// Random bytes of a key.
const KEY_BYTES: usize = 24;
/// What every key begins with, so that programs that look for secrets in texts find it.
const KEY_PREFIX: &str = "gk-";

/// Draws a key and prints it with its line for the file, which has the key's hash only.
pub fn new(context: &Context<'_>) -> Result<(), Failure> {
    let name = context.required("name")?;
    let key = draw("name", &name)?;
    let entry = entry(context, &name, &key)?;
    let data = json!({ "key": key, "entry": entry });
    context.out.result(&data, None, || {
        format!("The key of {name}, which is shown once:\n  {key}\nThe line for the file of `hub serve --keys`, a JSON list:\n  {entry}")
    })
}

/// Draws a key for the person whom a flag names.
pub fn draw(flag: &str, name: &str) -> Result<String, Failure> {
    if !is_key_name(name) {
        let must = format!("--{flag} must be 1 to 64 letters, digits, dots, hyphens, underscores or @");
        return Err(Failure::usage(format!("{must}, not \"{name}\"")));
    }
    random()
}

/// Draws a key.
pub fn random() -> Result<String, Failure> {
    let mut random = [0; KEY_BYTES];
    getrandom::fill(&mut random).map_err(|e| Failure::Output(std::io::Error::other(e)))?;
    Ok(format!("{KEY_PREFIX}{}", encode(&random)))
}

fn entry(context: &Context<'_>, name: &str, key: &str) -> Result<Value, Failure> {
    let mut entry = Map::new();
    entry.insert("name".into(), json!(name));
    entry.insert("keyHash".into(), json!(key_hash(key)));
    let rooms = context.values("rooms");
    if !rooms.is_empty() {
        let codes: Vec<&str> = rooms.iter().flat_map(|list| list.split(',')).map(str::trim).collect();
        if let Some(wrong) = codes.iter().find(|code| !is_room_code(code)) {
            return Err(Failure::usage(format!("--rooms must be codes with commas between them, not \"{wrong}\"")));
        }
        entry.insert("rooms".into(), json!(codes));
    }
    let limits = [
        ("requests-at-once", "requestsAtOnce", u64::from(u32::MAX)),
        ("requests-per-minute", "requestsPerMinute", u64::from(u32::MAX)),
        ("tokens-per-day", "tokensPerDay", u64::MAX),
    ];
    for (flag, field, most) in limits {
        let parse = |text: &str| text.parse().ok().filter(|n: &u64| (1..=most).contains(n));
        if let Some(limit) = context.parsed(flag, parse, "a whole number above 0")? {
            entry.insert(field.into(), json!(limit));
        }
    }
    let parse = |text: &str| text.parse().ok().filter(|n: &i32| (-MAX_PRIORITY..=MAX_PRIORITY).contains(n));
    let must_be = format!("a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}");
    if let Some(priority) = context.parsed("priority", parse, &must_be)? {
        entry.insert("priority".into(), json!(priority));
    }
    if context.has("admin") {
        entry.insert("admin".into(), json!(true));
    }
    Ok(Value::Object(entry))
}
