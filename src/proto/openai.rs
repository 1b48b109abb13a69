//! The few members of an OpenAI request that the hub reads or sets. All others pass unchanged (`members`).

use std::borrow::Cow;

use super::management::RuntimeConfig;
use super::members::text_of;
use super::scan;

pub use super::members::{BadRequest, MAX_LIST, MAX_MEMBERS, Members, json_text, list};

impl<'a> Members<'a> {
    /// Parses the body of a request with `messages`, and returns these, too, which are found along the way. `None` where they are
    /// missing, or [`Members::check_chat`] refuses them.
    ///
    /// # Errors
    /// As [`Members::parse`].
    pub fn parse_chat(body: &'a [u8]) -> Result<(Self, Option<Vec<&'a str>>), BadRequest> {
        let mut messages = None;
        let members = Members::parse_with(body, &mut |key, value| {
            if key != "messages" {
                return value.text();
            }
            let mut roles = Roles::default();
            let (text, found) = value.objects(MAX_LIST, |index, key, value| roles.member(index, key, value))?;
            messages = found;
            Some(text)
        })?;
        Ok((members, messages))
    }

    /// The model selector.
    ///
    /// # Errors
    /// When it is missing, empty, or not text.
    pub fn model(&self) -> Result<Cow<'_, str>, BadRequest> {
        self.model_under("model")
    }

    /// The model selector under another key.
    ///
    /// # Errors
    /// As [`Members::model`].
    pub fn model_under(&self, key: &'static str) -> Result<Cow<'_, str>, BadRequest> {
        let raw = self.get(key).ok_or_else(|| BadRequest::field(key, "is required"))?;
        let model = text_of(raw).ok_or_else(|| BadRequest::field(key, "must be text"))?;
        if model.is_empty() {
            return Err(BadRequest::field(key, "must not be empty"));
        }
        Ok(model)
    }

    /// Whether a stream is requested; absent means no.
    ///
    /// # Errors
    /// When `stream` is neither true nor false.
    pub fn stream(&self) -> Result<bool, BadRequest> {
        self.stream_or(false)
    }

    /// As [`Members::stream`]; `absent` where the request does not say.
    ///
    /// # Errors
    /// As [`Members::stream`].
    pub fn stream_or(&self, absent: bool) -> Result<bool, BadRequest> {
        match self.get("stream") {
            None => Ok(absent),
            Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(BadRequest::field("stream", "must be true or false")),
        }
    }

    /// Checks the required member of a chat request: `messages`, a list of objects, which are returned.
    ///
    /// # Errors
    /// When it is missing or of the wrong type.
    pub fn check_chat(&self) -> Result<Vec<&str>, BadRequest> {
        let list = self.get("messages").ok_or_else(|| BadRequest::field("messages", "is required"))?;
        messages(list).map(|(messages, _)| messages)
    }

    /// Checks the required member of a Responses request: `input`, text or a list, or a stored prompt in its place.
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

    /// Whether a Responses request has tools that are not functions. Some servers with a part of that API know no others.
    pub fn has_other_tools(&self) -> bool {
        let mut others = false;
        let read = scan::objects(self.get("tools").unwrap_or("[]"), MAX_LIST, |_, key, value| {
            if text_of(key)? == "type" {
                others |= text_of(value)? != "function";
            }
            Some(())
        });
        read.is_some() && others
    }

    /// Adds defaults for members that a Responses request omits (PROTOCOL.md, "Inference plane").
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
            if let Some(value) = value.as_ref().filter(|_| self.get(key).is_none() && !self.sets(key)) {
                self.set(key, value.to_string());
            }
        }
    }

    /// Adds defaults for members that a chat request omits (PROTOCOL.md, "Inference plane"). `config` is already merged
    /// from room and participant.
    ///
    /// # Errors
    /// When `messages` is of the wrong type.
    pub fn fill_chat(&mut self, config: &RuntimeConfig) -> Result<(), BadRequest> {
        if let Some(instructions) = &config.instructions {
            self.prepend_system_message(instructions)?;
        }
        self.fill_numbers(config, "max_tokens");
        if let Some(stop) = config.sampling.stop.as_ref().filter(|_| self.get("stop").is_none()) {
            self.set("stop", serde_json::to_string(stop).unwrap_or_default());
        }
        Ok(())
    }

    /// Whether the request sets this member. `max_completion_tokens` is the newer name of `max_tokens`: providers
    /// refuse a request with both.
    fn sets(&self, key: &str) -> bool {
        key == "max_tokens" && self.get("max_completion_tokens").is_some()
    }

    /// Prepends a system message, unless the request has one already.
    fn prepend_system_message(&mut self, instructions: &str) -> Result<(), BadRequest> {
        let (_, has_system) = messages(self.get("messages").unwrap_or("[]"))?;
        if !has_system {
            let message = format!(r#"{{"role":"system","content":{}}}"#, json_text(instructions));
            self.put_first("messages", message);
        }
        Ok(())
    }
}

/// `NAME` and `NAME:latest` are the same name.
pub fn same_model(a: &str, b: &str) -> bool {
    bare_model(a) == bare_model(b)
}

/// A model's name without `:latest`.
pub fn bare_model(name: &str) -> &str {
    name.strip_suffix(":latest").unwrap_or(name)
}

/// The messages of a chat, and whether one of them tells the model how to behave (`developer` is the newer role for that).
///
/// # Errors
/// When they are no list of objects, or a role is no text.
fn messages(list: &str) -> Result<(Vec<&str>, bool), BadRequest> {
    let mut roles = Roles::default();
    let messages = scan::objects(list, MAX_LIST, |index, key, value| roles.member(index, key, value));
    messages.map(|messages| (messages, roles.has_system)).ok_or_else(|| {
        BadRequest::field("messages", "must be a list of at most 65536 objects, each with a \"role\" that is text")
    })
}

/// What the messages of a chat say of their roles.
#[derive(Default)]
struct Roles {
    has_system: bool,
    /// The last message with a role.
    last: Option<usize>,
}

impl Roles {
    /// Takes in a member of a message. `None` if it is a second role, or one that is no text.
    fn member(&mut self, index: usize, key: &str, value: &str) -> Option<()> {
        if text_of(key)? == "role" {
            let is_second = self.last.replace(index) == Some(index);
            let role = text_of(value).filter(|_| !is_second)?;
            self.has_system |= role == "system" || role == "developer";
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> RuntimeConfig {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn bad_bodies_name_what_is_wrong() {
        let error = |body: &str| {
            let members = Members::parse(body.as_bytes())?;
            members.model()?;
            members.stream()?;
            members.check_chat().map(drop)
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
    fn tools_that_are_no_functions_are_told_by_their_type() {
        let has_others = |body: &str| Members::parse(body.as_bytes()).unwrap().has_other_tools();
        for tool in ["namespace", "custom", "web_search"] {
            assert!(has_others(&format!(r#"{{"tools":[{{"type":"function"}},{{"name":"x","type":"{tool}"}}]}}"#)));
        }
        for body in [
            "{}",
            r#"{"tools":null}"#,
            r#"{"tools":[]}"#,
            r#"{"tools":[{"type":"function","parameters":{"type":"object"}}]}"#,
            r#"{"tools":[{"type":"custom"},5]}"#,
            r#"{"tools":{"type":"custom"}}"#,
        ] {
            assert!(!has_others(body), "{body}");
        }
    }

    #[test]
    fn messages_are_found_while_a_body_is_parsed() {
        let found = |body: &'static str| {
            let (members, messages) = Members::parse_chat(body.as_bytes()).unwrap();
            assert_eq!(messages, members.check_chat().ok(), "{body}");
            assert_eq!(members.to_json(), Members::parse(body.as_bytes()).unwrap().to_json());
            messages.map(|messages| messages.join(" "))
        };
        for (body, messages) in [
            (
                r#"{"messages": [{"role":"user","content":"a"} , {}],"n":1}"#,
                Some(r#"{"role":"user","content":"a"} {}"#),
            ),
            (r#"{"message\u0073":[{"a":[{}]}]}"#, Some(r#"{"a":[{}]}"#)),
            (r#"{"messages":[],"messages":[{"b":1}]}"#, Some(r#"{"b":1}"#)),
            (r#"{"messages":[{"b":1}],"messages":7}"#, None),
            (r#"{"messages":[{"role":"a","role":"b"}],"n":1}"#, None),
            (r#"{"messages":[1],"n":1}"#, None),
            (r#"{"messages":null}"#, None),
            ("{}", None),
        ] {
            assert_eq!(found(body).as_deref(), messages, "{body}");
        }
        for bad in [r#"{"messages":[{}}"#, r#"{"messages":[{}]"#, r#"{"messages":"#] {
            assert!(Members::parse_chat(bad.as_bytes()).is_err(), "{bad}");
        }
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
    fn defaults_of_responses_have_their_own_names() {
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
    fn latest_is_the_same_model_as_no_tag() {
        assert!(same_model("llama3", "llama3:latest"));
        assert!(same_model("llama3:latest", "llama3"));
        assert!(!same_model("llama3", "llama3:8b"));
        assert!(!same_model("llama3", "Llama3"));
        assert!(same_model("", ":latest"));
    }
}
