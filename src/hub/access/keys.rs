//! The keys of people: what their file may hold, and whose key a secret is. Pure: it reads no file.
//!
//! A key is compared by its hash. That needs no slow hash, as a key is long and random; and which hashes are in the table
//! does not tell a key, so the time of a look-up reveals nothing of use.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use blake2::{Blake2s256, Digest};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::proto::hex;
use crate::proto::management::MAX_PRIORITY;
use crate::state::id::RoomCode;
use crate::state::limits::Limits;

/// The most keys in a file.
const MAX_KEYS: usize = 10_000;
/// The longest name of a person, bytes.
const MAX_NAME: usize = 64;
/// The shortest key, so that none can be guessed, bytes.
const MIN_KEY: usize = 20;
/// The longest key, bytes.
const MAX_KEY: usize = 256;
/// What a hash in the file begins with.
const HASH_PREFIX: &str = "blake2s:";
const FIELDS: &str = "name, key, keyHash, rooms, requestsAtOnce, requestsPerMinute, tokensPerDay, priority, admin";

type Hash = [u8; 32];

/// A person with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHolder {
    /// The person's name: letters, digits and `._@-`.
    pub name: Arc<str>,
    /// The rooms that the key opens; `None` for all.
    pub rooms: Option<Vec<RoomCode>>,
    /// What the person may use.
    pub limits: Limits,
    /// Requests of a higher priority get slots first.
    pub priority: i32,
    /// Whether the key is as good as the hub's.
    pub admin: bool,
}

impl KeyHolder {
    /// Whether the key opens a room.
    pub fn opens(&self, code: &str) -> bool {
        self.admin || self.rooms.as_ref().is_none_or(|rooms| RoomCode::parse(code).is_some_and(|c| rooms.contains(&c)))
    }
}

/// The keys of a file.
#[derive(Debug, Clone, Default)]
pub struct Keys(HashMap<Hash, Arc<KeyHolder>>);

/// A mistake in a file of keys. It holds no value of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysError {
    /// The line, from 1.
    pub line: usize,
    /// The field, where one is to blame.
    pub field: Option<String>,
    /// What it must be.
    pub problem: String,
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some(field) = &self.field {
            write!(f, "\"{field}\" ")?;
        }
        f.write_str(&self.problem)
    }
}

/// The members of an object in the order of the file, also repeated ones.
struct Entry<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entry<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Entry)
    }
}

impl Keys {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let entries: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| syntax(&e))?;
        if entries.len() > MAX_KEYS {
            let problem = format!("a file has {MAX_KEYS} keys at most");
            return Err(KeysError { line: line_of(text, entries[MAX_KEYS]), field: None, problem });
        }
        let (mut keys, mut names) = (HashMap::with_capacity(entries.len()), HashSet::new());
        for raw in entries {
            let line = line_of(text, raw);
            let not_object = KeysError { line, field: None, problem: "each key must be an object".into() };
            let Entry(members) = serde_json::from_str(raw.get()).map_err(|_| not_object)?;
            let fields = Fields { text, line, members };
            fields.check_names()?;
            let holder = fields.holder()?;
            let (field, hash) = fields.hash()?;
            if !names.insert(holder.name.clone()) {
                return Err(fields.wrong("name", "must be another one than that of an earlier key"));
            }
            if keys.insert(hash, Arc::new(holder)).is_some() {
                return Err(fields.wrong(field, "must be another one than that of an earlier entry"));
            }
        }
        Ok(Keys(keys))
    }

    /// Whose key a secret is.
    pub fn holder(&self, secret: &str) -> Option<Arc<KeyHolder>> {
        if self.0.is_empty() { None } else { self.0.get(&hash(secret)).cloned() }
    }

    /// How many keys are administrators'.
    pub fn admins(&self) -> usize {
        self.0.values().filter(|holder| holder.admin).count()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// The members of one key.
struct Fields<'a> {
    text: &'a str,
    line: usize,
    members: Vec<(String, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// The mistake that a field is wrong. A field that is missing is on the line where its object begins.
    fn wrong(&self, field: &str, problem: &str) -> KeysError {
        let line = self.get(field).map_or(self.line, |raw| line_of(self.text, raw));
        KeysError { line, field: Some(field.to_owned()), problem: problem.to_owned() }
    }

    fn get(&self, field: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(name, raw)| name == field && raw.get() != "null").map(|(_, raw)| *raw)
    }

    fn check_names(&self) -> Result<(), KeysError> {
        for (index, (name, raw)) in self.members.iter().enumerate() {
            let line = line_of(self.text, raw);
            if !FIELDS.split(", ").any(|known| known == name) {
                // A long name may be a key that was put in the wrong place.
                let field = Some(name).filter(|name| name.len() < MIN_KEY).cloned();
                return Err(KeysError { line, field, problem: format!("is an unknown field: a key has {FIELDS}") });
            }
            if self.members[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(KeysError { line, field: Some(name.clone()), problem: "is there twice".into() });
            }
        }
        Ok(())
    }

    fn read<T: Deserialize<'a>>(
        &self,
        field: &str,
        must: &str,
        fits: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, KeysError> {
        let Some(raw) = self.get(field) else { return Ok(None) };
        // The parser's own message would quote the value.
        let value = serde_json::from_str(raw.get()).ok().filter(|value| fits(value));
        value.map(Some).ok_or_else(|| self.wrong(field, must))
    }

    fn holder(&self) -> Result<KeyHolder, KeysError> {
        let must = format!("must be 1 to {MAX_NAME} letters, digits, dots, hyphens, underscores or @");
        let name = self.read("name", &must, |name: &String| is_name(name))?.ok_or_else(|| self.wrong("name", &must))?;
        let count = "must be a whole number above 0";
        let priority = format!("must be a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}");
        let limits = Limits {
            at_once: self.read("requestsAtOnce", count, |&n| n > 0)?,
            per_minute: self.read("requestsPerMinute", count, |&n| n > 0)?,
            tokens_per_day: self.read("tokensPerDay", count, |&n| n > 0)?,
        };
        Ok(KeyHolder {
            name: name.into(),
            rooms: self.rooms()?,
            limits,
            priority: self.read("priority", &priority, |n: &i32| n.unsigned_abs() <= MAX_PRIORITY as u32)?.unwrap_or(0),
            admin: self.read("admin", "must be true or false", |_| true)?.unwrap_or(false),
        })
    }

    fn rooms(&self) -> Result<Option<Vec<RoomCode>>, KeysError> {
        let must = "must be \"all\" or a list of room codes: six letters and digits each";
        if self.get("rooms").is_none_or(|raw| raw.get() == "\"all\"") {
            return Ok(None);
        }
        let codes: Vec<String> = self.read("rooms", must, |_| true)?.unwrap_or_default();
        let codes: Option<Vec<_>> = codes.iter().map(|code| RoomCode::parse(code)).collect();
        codes.map(Some).ok_or_else(|| self.wrong("rooms", must))
    }

    /// The hash of the key, and the field that tells it.
    fn hash(&self) -> Result<(&'static str, Hash), KeysError> {
        let must = format!("must be {MIN_KEY} to {MAX_KEY} characters of visible ASCII: `gambi key new` makes one");
        let plain = self.read("key", &must, |key: &String| is_key(key))?;
        let must = format!("must be {HASH_PREFIX} and 64 hexadecimal digits: `gambi key new` prints it");
        let hashed = self.read("keyHash", &must, |text: &String| parse_hash(text).is_some())?;
        match (plain, hashed.as_deref().and_then(parse_hash)) {
            (Some(key), None) => Ok(("key", hash(&key))),
            (None, Some(hash)) => Ok(("keyHash", hash)),
            (Some(_), Some(_)) => Err(self.wrong("keyHash", "must not be there beside \"key\"")),
            (None, None) => Err(self.wrong("key", "is missing: a key has \"key\" or \"keyHash\"")),
        }
    }
}

/// Whether a text can be a person's name.
pub fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn is_key(text: &str) -> bool {
    (MIN_KEY..=MAX_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn hash(secret: &str) -> Hash {
    Blake2s256::digest(secret.as_bytes()).into()
}

/// The hash of a key, as the file holds it.
pub fn hash_text(key: &str) -> String {
    format!("{HASH_PREFIX}{}", hex::encode(&hash(key)))
}

fn parse_hash(text: &str) -> Option<Hash> {
    hex::decode(text.strip_prefix(HASH_PREFIX)?)
}

/// The line of a part of a text.
fn line_of(text: &str, part: &RawValue) -> usize {
    let at = (part.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len());
    1 + text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count()
}

fn syntax(error: &serde_json::Error) -> KeysError {
    let problem = match error.classify() {
        // The parser's message would quote the value.
        Category::Data => "the file must be a JSON list of keys".to_owned(),
        Category::Eof => "the file ends before its JSON list of keys does".to_owned(),
        _ => {
            let text = error.to_string();
            match text.find(" at line ").map_or(&*text, |end| &text[..end]) {
                // The parser's words for it would seem to speak of the field "key".
                "key must be a string" => {
                    "no JSON: where a field in quotation marks must begin is something else".into()
                }
                told => format!("no JSON: {told}"),
            }
        }
    };
    KeysError { line: error.line().max(1), field: None, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "gk-0123456789abcdefghij";

    #[test]
    fn a_key_is_found_by_itself_whether_the_file_has_it_or_its_hash() {
        let text = format!(
            r#"[{{"name": "ann", "key": "{KEY}", "rooms": ["lab001"], "requestsAtOnce": 2, "priority": -3}},
                {{"name": "bob", "keyHash": "{}", "admin": true, "tokensPerDay": null}}]"#,
            hash_text("gk-of-bob-0123456789")
        );
        let keys = Keys::parse(&text).unwrap();
        let ann = keys.holder(KEY).unwrap();
        assert_eq!((&*ann.name, ann.limits.at_once, ann.priority, ann.admin), ("ann", Some(2), -3, false));
        assert!(ann.opens("LAB001") && ann.opens("lab001") && !ann.opens("LAB002") && !ann.opens(""));
        let bob = keys.holder("gk-of-bob-0123456789").unwrap();
        assert!(bob.admin && bob.opens("LAB002") && bob.limits == Limits::default());
        assert!(keys.holder("gk-of-nobody-0123456").is_none() && keys.holder("").is_none());
        assert_eq!(keys.len(), 2);
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_field_and_without_a_key() {
        let entry = |fields: &str| format!("[\n{{\"name\": \"ann\",\n {fields}}}\n]");
        let with_key = |field: &str| entry(&format!("\"key\": \"{KEY}\",\n {field}"));
        let twice = format!("[{{\"name\": \"ann\", \"key\": \"{KEY}\"}},\n{{\"name\": \"bob\",\n\"key\": \"{KEY}\"}}]");
        for (text, line, field) in [
            ("{}".to_owned(), 1, None),
            (format!("\n\"{KEY}\""), 2, None),
            ("[\n{\n".to_owned(), 3, None),
            (String::new(), 1, None),
            (with_key(""), 4, None),
            (format!("[\n\"{KEY}\"]"), 2, None),
            (entry(&format!("\"{KEY}\": 1")), 3, None),
            (entry("\"keys\": 1"), 3, Some("keys")),
            (entry("\"key\": \"short\""), 3, Some("key")),
            (entry("\"priority\": 1"), 2, Some("key")),
            (entry("\"keyHash\": \"blake2s:12\""), 3, Some("keyHash")),
            (with_key(&format!("\"keyHash\": \"{}\"", hash_text("x"))), 4, Some("keyHash")),
            (with_key("\"key\": null"), 4, Some("key")),
            (with_key("\"rooms\": [\"LAB\"]"), 4, Some("rooms")),
            (with_key("\"rooms\": \"LAB001\""), 4, Some("rooms")),
            (with_key("\"requestsAtOnce\": 0"), 4, Some("requestsAtOnce")),
            (with_key("\"requestsPerMinute\": -1"), 4, Some("requestsPerMinute")),
            (with_key("\"tokensPerDay\": \"9\""), 4, Some("tokensPerDay")),
            (with_key("\"priority\": 101"), 4, Some("priority")),
            (with_key("\"admin\": 1"), 4, Some("admin")),
            (format!("[{{\"name\": \"a b\", \"key\": \"{KEY}\"}}]"), 1, Some("name")),
            (
                format!("[{{\"name\": \"ann\", \"key\": \"{KEY}\"}},\n{{\"name\": \"ann\", \"key\": \"{KEY}x\"}}]"),
                2,
                Some("name"),
            ),
            (twice, 3, Some("key")),
        ] {
            let error = Keys::parse(&text).unwrap_err();
            assert_eq!((error.line, error.field.as_deref()), (line, field), "{text}: {error}");
            assert!(!error.to_string().contains(KEY), "{error}");
        }
    }
}
