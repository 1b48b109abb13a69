//! The few fields of an OpenAI request that the hub reads or sets. Everything else passes untouched: unknown fields,
//! the order of keys, and every number as it was written.
//!
//! A request is taken apart into its top-level members, each a slice of the original text, and put together again.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::management::RuntimeConfig;

/// The most members that an object may have where they are taken apart. Finding a doubled key compares all of them.
pub const MAX_MEMBERS: usize = 1024;
/// The most items of a list that is taken apart: each costs more than the two bytes that it takes in JSON.
pub const MAX_LIST: usize = 65_536;

/// A request that cannot be sent to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest {
    /// The field that is wrong; `None` where it is the body as a whole.
    pub field: Option<&'static str>,
    /// One sentence.
    pub message: String,
}

impl BadRequest {
    fn field(field: &'static str, problem: &str) -> Self {
        BadRequest { field: Some(field), message: format!("\"{field}\" {problem}") }
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BadRequest {}

/// A JSON object's members in their order, each value as it was written.
#[derive(Debug, Clone, Default)]
pub struct Members<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Members<'a> {
    /// Takes a body apart. Of doubled keys the last one counts and the others go, as JavaScript has it: otherwise the
    /// hub and the provider could each read a different one.
    ///
    /// # Errors
    /// When the body is not UTF-8, not JSON, not an object, or one with more than [`MAX_MEMBERS`] members.
    pub fn parse(body: &'a [u8]) -> Result<Self, BadRequest> {
        let broken = |message: String| BadRequest { field: None, message };
        let text = std::str::from_utf8(body).map_err(|_| broken("The request body is not UTF-8".into()))?;
        if !text.trim_start().starts_with('{') {
            return Err(broken("The request body must be a JSON object".into()));
        }
        let Pairs(pairs) =
            serde_json::from_str(text).map_err(|e| broken(format!("The request body is not valid JSON: {e}")))?;
        let mut members = Members(Vec::with_capacity(pairs.len() + 2));
        for (key, value) in pairs {
            members.put(key, Cow::Borrowed(value.get()));
        }
        Ok(members)
    }

    /// The value of a key, as JSON text. A `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.raw(key).filter(|v| *v != "null")
    }

    fn raw(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_ref())
    }

    /// Sets a key where it stands, or at the end.
    pub fn set(&mut self, key: &'static str, json: String) {
        self.put(Cow::Borrowed(key), Cow::Owned(json));
    }

    /// Its keys and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    /// Adds a key that is not there yet.
    pub fn push(&mut self, key: &str, json: &str) {
        self.0.push((Cow::Owned(key.to_owned()), Cow::Owned(json.to_owned())));
    }

    fn put(&mut self, key: Cow<'a, str>, value: Cow<'a, str>) {
        match self.0.iter_mut().find(|(k, _)| *k == key) {
            Some(member) => member.1 = value,
            None => self.0.push((key, value)),
        }
    }

    /// The object as JSON text.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(2 + self.0.iter().map(|(k, v)| k.len() + v.len() + 4).sum::<usize>());
        out.push('{');
        for (at, (key, value)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(&json_text(key));
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        out
    }

    /// The model selector.
    ///
    /// # Errors
    /// When it is missing, empty, or not text.
    pub fn model(&self) -> Result<String, BadRequest> {
        let raw = self.get("model").ok_or_else(|| BadRequest::field("model", "is required"))?;
        let model: String = serde_json::from_str(raw).map_err(|_| BadRequest::field("model", "must be text"))?;
        if model.is_empty() {
            return Err(BadRequest::field("model", "must not be empty"));
        }
        Ok(model)
    }

    /// Whether a stream is asked for; absent means no.
    ///
    /// # Errors
    /// When `stream` is neither true nor false.
    pub fn stream(&self) -> Result<bool, BadRequest> {
        match self.get("stream") {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(BadRequest::field("stream", "must be true or false")),
        }
    }

    /// Checks what a chat must have: `messages`, a list of objects.
    ///
    /// # Errors
    /// When it is missing or of the wrong type.
    pub fn check_chat(&self) -> Result<(), BadRequest> {
        let raw = self.get("messages").ok_or_else(|| BadRequest::field("messages", "is required"))?;
        roles(raw).map(drop)
    }

    /// Checks what a Responses request must have: `input`, text or a list (a stored prompt may stand for it).
    ///
    /// # Errors
    /// When it is missing or of the wrong type.
    pub fn check_responses(&self) -> Result<(), BadRequest> {
        match self.get("input") {
            Some(raw) if raw.starts_with(['"', '[']) => Ok(()),
            Some(_) => Err(BadRequest::field("input", "must be text or a list")),
            None if ["prompt", "previous_response_id", "conversation"].iter().any(|key| self.get(key).is_some()) => {
                Ok(())
            }
            None => Err(BadRequest::field("input", "is required")),
        }
    }

    /// Fills in what a Responses request leaves out (WIRE.md, "Defaults").
    pub fn fill_responses(&mut self, config: &RuntimeConfig) {
        if let Some(instructions) = config.instructions.as_ref().filter(|_| self.get("instructions").is_none()) {
            self.set("instructions", json_text(instructions));
        }
        let stop = config.sampling.stop.as_ref().filter(|_| self.get("stop_sequences").is_none());
        if let Some(stop) = stop {
            self.set("stop_sequences", serde_json::to_string(stop).unwrap_or_default());
        }
        self.fill_numbers(config, "max_output_tokens");
    }

    fn fill_numbers(&mut self, config: &RuntimeConfig, limit: &'static str) {
        let sampling = &config.sampling;
        let numbers = [
            ("temperature", &sampling.temperature),
            ("top_p", &sampling.top_p),
            (limit, &sampling.max_tokens),
            ("frequency_penalty", &sampling.frequency_penalty),
            ("presence_penalty", &sampling.presence_penalty),
            ("seed", &sampling.seed),
        ];
        for (key, value) in numbers {
            if let Some(value) = value.as_ref().filter(|_| self.get(key).is_none() && !self.says_otherwise(key)) {
                self.set(key, value.to_string());
            }
        }
    }

    /// Fills in what a chat request leaves out (WIRE.md, "Defaults"). `config` is already merged from room and
    /// participant.
    ///
    /// # Errors
    /// When `messages` is of the wrong type.
    pub fn fill_chat(&mut self, config: &RuntimeConfig) -> Result<(), BadRequest> {
        if let Some(instructions) = &config.instructions {
            self.lead_with(instructions)?;
        }
        self.fill_numbers(config, "max_tokens");
        if let Some(stop) = config.sampling.stop.as_ref().filter(|_| self.get("stop").is_none()) {
            self.set("stop", serde_json::to_string(stop).unwrap_or_default());
        }
        Ok(())
    }

    /// `max_completion_tokens` is `max_tokens` by its newer name: providers refuse a request that has both.
    fn says_otherwise(&self, key: &str) -> bool {
        key == "max_tokens" && self.get("max_completion_tokens").is_some()
    }

    /// Puts a system message first, unless the request has one already (`developer` is its newer name).
    fn lead_with(&mut self, instructions: &str) -> Result<(), BadRequest> {
        let raw = self.get("messages").unwrap_or("[]");
        let roles = roles(raw)?;
        if roles.iter().any(|role| role == "system" || role == "developer") {
            return Ok(());
        }
        let rest = raw.trim_start().strip_prefix('[').unwrap_or("]");
        let comma = if roles.is_empty() { "" } else { "," };
        let messages = format!(r#"[{{"role":"system","content":{}}}{comma}{rest}"#, json_text(instructions));
        self.set("messages", messages);
        Ok(())
    }
}

/// `NAME` and `NAME:latest` are the same name.
pub fn same_model(a: &str, b: &str) -> bool {
    let bare = |name: &str| name.strip_suffix(":latest").map_or(name.len(), str::len);
    a[..bare(a)] == b[..bare(b)]
}

/// Text as a JSON string, quotes included.
pub fn json_text(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// The beginning of a text, of at most `max` bytes, for what a peer may have made as long as it likes.
pub fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Reads a JSON list.
///
/// # Errors
/// When it is none, has more than [`MAX_LIST`] items, or one of another type.
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

/// The role of each message; empty where it has none.
fn roles(messages: &str) -> Result<Vec<Cow<'_, str>>, BadRequest> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(default, borrow)]
        role: Cow<'a, str>,
    }
    let messages: Vec<Message<'_>> = list(messages)
        .map_err(|_| BadRequest::field("messages", "must be a list of objects, each with a \"role\" that is text"))?;
    Ok(messages.into_iter().map(|m| m.role).collect())
}

struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

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
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if pairs.len() == MAX_MEMBERS {
                        return Err(A::Error::custom(format_args!("an object has more than {MAX_MEMBERS} members")));
                    }
                    pairs.push((Cow::Owned(key), value));
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

    fn config(json: &str) -> RuntimeConfig {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_the_hub_does_not_know_passes_untouched() {
        let body =
            r#"{"zz":{"b":1,"a":[1e400, 2]}, "model":"any","big":123456789012345678901234567890,"a b\u0041":"\u00e9"}"#;
        let mut members = Members::parse(body.as_bytes()).unwrap();
        assert_eq!(members.model().unwrap(), "any");
        members.set("model", json_text("llama3"));
        assert_eq!(
            members.to_json(),
            r#"{"zz":{"b":1,"a":[1e400, 2]},"model":"llama3","big":123456789012345678901234567890,"a bA":"\u00e9"}"#
        );
    }

    #[test]
    fn objects_and_lists_of_too_many_parts_are_refused() {
        let object =
            |keys: usize| format!("{{{}}}", (0..keys).map(|n| format!("\"{n}\":1")).collect::<Vec<_>>().join(","));
        assert!(Members::parse(object(MAX_MEMBERS).as_bytes()).is_ok());
        assert!(Members::parse(object(MAX_MEMBERS + 1).as_bytes()).unwrap_err().message.contains("1024 members"));
        let items = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert_eq!(list::<u8>(&items(MAX_LIST)).unwrap().len(), MAX_LIST);
        assert!(list::<u8>(&items(MAX_LIST + 1)).is_err());
    }

    #[test]
    fn of_doubled_keys_the_last_counts() {
        let members = Members::parse(br#"{"model":"a","x":1,"model":"b"}"#).unwrap();
        assert_eq!(members.to_json(), r#"{"model":"b","x":1}"#);
    }

    #[test]
    fn bad_bodies_name_what_is_wrong() {
        let error = |body: &str| {
            let members = Members::parse(body.as_bytes())?;
            members.model()?;
            members.stream()?;
            members.check_chat()
        };
        for (body, field) in [
            ("", None),
            ("nope", None),
            ("[]", None),
            ("{\"model\":", None),
            ("{}", Some("model")),
            (r#"{"model":null}"#, Some("model")),
            (r#"{"model":7}"#, Some("model")),
            (r#"{"model":""}"#, Some("model")),
            (r#"{"model":"m","stream":"yes"}"#, Some("stream")),
            (r#"{"model":"m"}"#, Some("messages")),
            (r#"{"model":"m","messages":"hi"}"#, Some("messages")),
            (r#"{"model":"m","messages":["hi"]}"#, Some("messages")),
            (r#"{"model":"m","messages":[{"role":1}]}"#, Some("messages")),
        ] {
            assert_eq!(error(body).unwrap_err().field, field, "{body}");
        }
        assert!(Members::parse(b"\xff{}").is_err());
        assert!(error(r#"{"model":"m","stream":null,"messages":[]}"#).is_ok());
    }

    #[test]
    fn defaults_fill_only_what_is_absent_or_null() {
        let mut members =
            Members::parse(br#"{"messages":[ {"role":"user","content":"hi"}],"temperature":0,"top_p":null}"#).unwrap();
        members
            .fill_chat(&config(r#"{"temperature":1,"top_p":0.5,"seed":7,"stop":["x"],"instructions":"Be \"kind\"."}"#))
            .unwrap();
        assert_eq!(
            members.to_json(),
            r#"{"messages":[{"role":"system","content":"Be \"kind\"."}, {"role":"user","content":"hi"}],"temperature":0,"top_p":0.5,"seed":7,"stop":["x"]}"#
        );
    }

    #[test]
    fn a_request_with_its_own_system_message_keeps_it() {
        for role in ["system", "developer"] {
            let body = format!(r#"{{"messages":[{{"role":"user"}},{{"role":"{role}"}}]}}"#);
            let mut members = Members::parse(body.as_bytes()).unwrap();
            members.fill_chat(&config(r#"{"instructions":"x"}"#)).unwrap();
            assert_eq!(members.to_json(), body);
        }
        let mut members = Members::parse(br#"{"messages":[ ]}"#).unwrap();
        members.fill_chat(&config(r#"{"instructions":"x"}"#)).unwrap();
        assert_eq!(members.to_json(), r#"{"messages":[{"role":"system","content":"x"} ]}"#);
    }

    #[test]
    fn responses_have_names_of_their_own() {
        let mut members = Members::parse(br#"{"input":"x","seed":null}"#).unwrap();
        members.fill_responses(&config(r#"{"instructions":"i","max_tokens":9,"stop":["s"],"seed":7}"#));
        assert_eq!(
            members.to_json(),
            r#"{"input":"x","seed":7,"instructions":"i","stop_sequences":["s"],"max_output_tokens":9}"#
        );
        for (body, good) in
            [(r#"{"input":"x"}"#, true), (r#"{"input":[]}"#, true), (r#"{"input":5}"#, false), ("{}", false)]
        {
            assert_eq!(Members::parse(body.as_bytes()).unwrap().check_responses().is_ok(), good, "{body}");
        }
    }

    #[test]
    fn a_newer_name_for_max_tokens_is_respected() {
        let mut members = Members::parse(br#"{"max_completion_tokens":5}"#).unwrap();
        members.fill_chat(&config(r#"{"max_tokens":9}"#)).unwrap();
        assert_eq!(members.to_json(), r#"{"max_completion_tokens":5}"#);
    }

    #[test]
    fn latest_is_no_name_of_its_own() {
        assert!(same_model("llama3", "llama3:latest"));
        assert!(same_model("llama3:latest", "llama3"));
        assert!(!same_model("llama3", "llama3:8b"));
        assert!(!same_model("llama3", "Llama3"));
        assert!(same_model("", ":latest"));
    }
}
