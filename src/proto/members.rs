//! Splits JSON objects into their top-level members and reassembles them. Each member is preserved verbatim: unknown
//! fields, the order of keys, and every digit of a number. The meaning of the members is out of scope.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json_parts::{JsonParts, MIN_BORROWED, push_json_text};
use super::scan;

/// The most members of an object. To set or get one, its key is compared with all of them.
pub const MAX_MEMBERS: usize = 1024;
/// The most members of an object that is parsed with each key compared with all earlier ones to find duplicates.
const MAX_SCANNED: usize = 32;
/// The most items of a list. An item takes 16 bytes or more in memory, but only two in JSON.
pub const MAX_LIST: usize = 65_536;

/// A request that is answered with 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest {
    /// The invalid field; `None` where the whole body is invalid.
    pub field: Option<&'static str>,
    /// One sentence.
    pub message: String,
}

impl BadRequest {
    /// An error about one field; `problem` completes the sentence that begins with its name.
    pub(super) fn field(field: &'static str, problem: &str) -> Self {
        BadRequest { field: Some(field), message: format!("\"{field}\" {problem}") }
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BadRequest {}

/// A JSON object's members in order, each value verbatim.
#[derive(Debug, Clone, Default)]
pub struct Members<'a> {
    members: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    first_item: Option<FirstItem>,
}

/// An item that a list gets when the object is written, so that the list need not be copied before.
#[derive(Debug, Clone)]
struct FirstItem {
    /// The list's key.
    key: &'static str,
    json: String,
}

impl<'a> Members<'a> {
    /// Parses a body. Of duplicate keys the last one is retained, as in JavaScript: otherwise the hub and the provider
    /// could each use a different one. A byte order mark is skipped (RFC 8259, section 8.1).
    ///
    /// # Errors
    /// When the body is not UTF-8, not JSON, not an object, or one with more than [`MAX_MEMBERS`] members.
    pub fn parse(body: &'a [u8]) -> Result<Self, BadRequest> {
        Self::parse_with(body, &mut |_, value| value.text())
    }

    /// As [`Members::parse`], with each value read by `read`, which is given its key and returns its text. It may be called for
    /// values that do not count.
    pub(super) fn parse_with(body: &'a [u8], read: ReadValue<'_, 'a>) -> Result<Self, BadRequest> {
        let broken = |message: String| BadRequest { field: None, message };
        let text = simdutf8::basic::from_utf8(body).map_err(|_| broken("The request body is not UTF-8".into()))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if !text.trim_start().starts_with('{') {
            return Err(broken("The request body must be a JSON object".into()));
        }
        // What the scanner refuses is left to serde_json, which says what is wrong.
        let Pairs(pairs) = Pairs::scan(text, read).map_or_else(|| serde_json::from_str(text), Ok).map_err(|e| {
            // Values are not parsed, so the only data error is the limit of `Pairs`.
            let too_many = format!("The request body has more than {MAX_MEMBERS} members");
            broken(if e.is_data() { too_many } else { format!("The request body is not valid JSON: {e}") })
        })?;
        let mut members = Members { members: Vec::with_capacity(pairs.len() + 2), first_item: None };
        // Looking each key up among all would take time with the square of their number.
        let mut places = (pairs.len() > MAX_SCANNED).then(HashMap::<_, usize>::new);
        for (key, value) in pairs {
            let value = Cow::Borrowed(value);
            let Some(places) = &mut places else {
                members.put(key, value);
                continue;
            };
            match places.entry(key.clone()) {
                Entry::Occupied(place) => members.members[*place.get()].1 = value,
                Entry::Vacant(place) => {
                    place.insert(members.members.len());
                    members.members.push((key, value));
                }
            }
        }
        Ok(members)
    }

    /// The value of a key, as JSON text. A `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.raw(key).filter(|v| *v != "null")
    }

    fn raw(&self, key: &str) -> Option<&str> {
        self.members.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_ref())
    }

    /// Sets a key in place, or appends it.
    pub fn set(&mut self, key: &'static str, json: String) {
        self.put(Cow::Borrowed(key), Cow::Owned(json));
    }

    /// Its keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    /// Appends a key that is not present yet.
    pub fn push(&mut self, key: &str, json: &str) {
        self.members.push((Cow::Owned(key.to_owned()), Cow::Owned(json.to_owned())));
    }

    fn put(&mut self, key: Cow<'a, str>, value: Cow<'a, str>) {
        match self.members.iter_mut().find(|(k, _)| *k == key) {
            Some(member) => member.1 = value,
            None => self.members.push((key, value)),
        }
    }

    /// Puts an item in front of those of a list. It is part of the object only once that is written: [`Members::get`] returns
    /// the list without it.
    pub(super) fn put_first(&mut self, key: &'static str, json: String) {
        if self.get(key).is_none() {
            self.set(key, "[]".to_owned());
        }
        self.first_item = Some(FirstItem { key, json });
    }

    /// The object as JSON text.
    pub fn to_json(&self) -> String {
        self.to_parts().into_text()
    }

    /// The object as JSON text whose long values are not copied, unless they were set here.
    pub fn to_parts(&self) -> JsonParts<'a> {
        let size = |value: &Cow<'_, str>| match value {
            Cow::Borrowed(value) => value.len().min(MIN_BORROWED),
            Cow::Owned(value) => value.len(),
        };
        let sizes = self.members.iter().map(|(key, value)| key.len() + size(value) + 4);
        let mut out = JsonParts::with_capacity(2 + sizes.sum::<usize>());
        for (at, (key, value)) in self.members.iter().enumerate() {
            out.push(if at > 0 { "," } else { "{" });
            out.push_text(key);
            out.push(":");
            let first = self.first_item.as_ref().filter(|first| first.key == key);
            let rest = first.and_then(|first| Some((first, value.strip_prefix('[')?)));
            let from = rest.map_or(0, |(first, rest)| {
                let comma = if rest.trim_ascii_start() == "]" { "" } else { "," };
                ["[", &first.json, comma].iter().for_each(|part| out.push(part));
                1
            });
            match value {
                Cow::Borrowed(value) => out.push_borrowed(&value[from..]),
                Cow::Owned(value) => out.push(&value[from..]),
            }
        }
        out.push(if self.members.is_empty() { "{}" } else { "}" });
        out
    }
}

/// Text as a JSON string, quotes included.
pub fn json_text(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    push_json_text(&mut json, text);
    json
}

/// A JSON list of JSON texts, each of which is freed once it is in the list.
pub(super) fn json_list(items: Vec<String>) -> String {
    let mut list = String::with_capacity(2 + items.iter().map(|item| item.len() + 1).sum::<usize>());
    list.push('[');
    for (at, item) in items.into_iter().enumerate() {
        list.push_str(if at > 0 { "," } else { "" });
        list.push_str(&item);
    }
    list.push(']');
    list
}

/// Reads a JSON list.
///
/// # Errors
/// When it is not a list, has more than [`MAX_LIST`] items, or one of another type.
pub fn list<'a, T: Deserialize<'a>>(json: &'a str) -> Result<Vec<T>, serde_json::Error> {
    struct ListVisitor<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == MAX_LIST {
                    return Err(A::Error::custom(format_args!("a list has more than {MAX_LIST} items")));
                }
                list.push(item);
            }
            Ok(list)
        }
    }
    serde_json::Deserializer::from_str(json).deserialize_seq(ListVisitor(PhantomData))
}

/// The text of a JSON string; `None` where it is none, or contains half of a surrogate pair.
pub(super) fn text_of(json: &str) -> Option<Cow<'_, str>> {
    if json.contains('\\') {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    json.strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed)
}

/// How a value is read while its object is scanned.
type ReadValue<'r, 'a> = &'r mut dyn FnMut(&str, scan::Value<'_, 'a>) -> Option<&'a str>;

struct Pairs<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Pairs<'a> {
    /// The pairs of an object; `None` where something is wrong with it.
    fn scan(text: &'a str, read: ReadValue<'_, 'a>) -> Option<Self> {
        let mut pairs = Vec::new();
        scan::members(text, |key, value| {
            let key = text_of(key)?;
            let value = read(&key, value)?;
            pairs.push((key, value));
            (pairs.len() <= MAX_MEMBERS).then_some(())
        })?;
        Some(Pairs(pairs))
    }
}

/// A key. Borrowed, unless it has escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    if pairs.len() == MAX_MEMBERS {
                        return Err(A::Error::custom(format_args!("an object has more than {MAX_MEMBERS} members")));
                    }
                    pairs.push((key, value.get()));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_are_preserved_verbatim() {
        let body =
            r#"{"zz":{"b":1,"a":[1e400, 2]}, "model":"any","big":123456789012345678901234567890,"a b\u0041":"\u00e9"}"#;
        let mut members = Members::parse(body.as_bytes()).unwrap();
        assert_eq!(members.get("model"), Some("\"any\""));
        members.set("model", json_text("llama3"));
        assert_eq!(
            members.to_json(),
            r#"{"zz":{"b":1,"a":[1e400, 2]},"model":"llama3","big":123456789012345678901234567890,"a bA":"\u00e9"}"#
        );
    }

    #[test]
    fn objects_and_lists_of_too_many_entries_are_refused() {
        let object =
            |keys: usize| format!("{{{}}}", (0..keys).map(|n| format!("\"{n}\":1")).collect::<Vec<_>>().join(","));
        assert!(Members::parse(object(MAX_MEMBERS).as_bytes()).is_ok());
        let refused = Members::parse(object(MAX_MEMBERS + 1).as_bytes()).unwrap_err();
        assert_eq!(refused.message, "The request body has more than 1024 members");
        let items = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert_eq!(list::<u8>(&items(MAX_LIST)).unwrap().len(), MAX_LIST);
        assert!(list::<u8>(&items(MAX_LIST + 1)).is_err());
    }

    #[test]
    fn of_duplicate_keys_the_last_value_stands_where_the_first_one_stood() {
        for keys in [1, MAX_SCANNED / 2, MAX_SCANNED] {
            let pairs = |value| (0..keys).map(move |n| format!("\"k{n}\":{value}"));
            let written = pairs(1).chain(pairs(2)).collect::<Vec<_>>().join(",");
            let kept = pairs(2).collect::<Vec<_>>().join(",");
            let members = format!("{{{}}}", written.replacen("k0", "\\u006b0", 1));
            assert_eq!(Members::parse(members.as_bytes()).unwrap().to_json(), format!("{{{kept}}}"), "{keys}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        assert_eq!(Members::parse("\u{feff}{\"x\":1}".as_bytes()).unwrap().to_json(), r#"{"x":1}"#);
        assert!(Members::parse("\u{feff}\u{feff}{}".as_bytes()).is_err());
    }

    #[test]
    fn the_last_of_duplicate_keys_counts() {
        let members = Members::parse(br#"{"model":"a","x":1,"model":"b"}"#).unwrap();
        assert_eq!(members.to_json(), r#"{"model":"b","x":1}"#);
    }
}
