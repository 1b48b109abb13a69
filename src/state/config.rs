//! Validation of runtime configs, specs and capabilities that clients send; merging of configs, and their public form.

use std::fmt;

use serde_json::value::RawValue;
use serde_json::{Number, Value, json};

pub use crate::proto::management::MAX_TEXT;
use crate::proto::management::{Capabilities, RuntimeConfig, Sampling, ShownConfig, Specs, Support};
use crate::proto::openai::{MAX_MEMBERS, Members, list};

/// The longest password, in bytes. Limits the cost of hashing.
pub const MAX_PASSWORD: usize = 1024;
const MAX_INSTRUCTIONS: usize = 64 << 10;
/// The most texts in a list, where nothing else is said.
pub const MAX_TEXTS: usize = 64;

/// An invalid value of a request's field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field, such as `defaults.temperature`.
    pub field: String,
    /// What is required, as the predicate of a sentence whose subject is the field.
    pub problem: String,
}

impl FieldError {
    /// The `details` of an error response.
    pub fn details(&self) -> Value {
        json!({ "field": self.field, "problem": self.problem })
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" {}", self.field, self.problem)
    }
}

impl std::error::Error for FieldError {}

/// The fields of a JSON object under a common path. A value is parsed only when it is read, as its expected type, so
/// unknown fields may have any type and any depth.
pub struct Fields<'a> {
    members: Members<'a>,
    path: &'a str,
}

impl<'a> Fields<'a> {
    /// The fields of a request's body.
    pub fn of(members: Members<'a>) -> Self {
        Fields { members, path: "" }
    }

    fn error(&self, key: &str, problem: impl Into<String>) -> FieldError {
        let field = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        FieldError { field, problem: problem.into() }
    }

    /// A field's value as JSON text; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members.get(key)
    }

    /// Optional text of at most `max` bytes.
    ///
    /// # Errors
    /// When it is not text, or too long.
    pub fn text(&self, key: &str, max: usize) -> Result<Option<String>, FieldError> {
        let Some(raw) = self.get(key) else { return Ok(None) };
        match text(raw, max) {
            Some(text) => Ok(Some(text)),
            None if raw.starts_with('"') => Err(self.error(key, format!("must be at most {max} bytes long"))),
            None => Err(self.error(key, "must be text")),
        }
    }

    fn number(&self, key: &str, min: f64, max: f64) -> Result<Option<Number>, FieldError> {
        let Some(raw) = self.get(key) else { return Ok(None) };
        match serde_json::from_str::<Number>(raw) {
            Ok(n) if n.as_f64().is_some_and(|x| (min..=max).contains(&x)) => Ok(Some(n)),
            Ok(_) if max == f64::MAX => Err(self.error(key, format!("must be at least {min}"))),
            Ok(_) => Err(self.error(key, format!("must be between {min} and {max}"))),
            Err(_) => Err(self.error(key, "must be a number")),
        }
    }

    fn integer(&self, key: &str) -> Result<Option<Number>, FieldError> {
        let integer = |raw| whole(raw).ok_or_else(|| self.error(key, "must be a whole number"));
        self.get(key).map(integer).transpose()
    }

    /// A whole number from `min` to `max`.
    ///
    /// # Errors
    /// When it is not an integer in that range.
    pub fn count(&self, key: &str, min: u32, max: u32) -> Result<Option<u32>, FieldError> {
        let Some(raw) = self.get(key) else { return Ok(None) };
        let count = whole(raw).and_then(|n| u32::try_from(n.as_u64()?).ok()).filter(|n| (min..=max).contains(n));
        count.map(Some).ok_or_else(|| self.error(key, format!("must be a whole number from {min} to {max}")))
    }

    /// A boolean; false where it is absent.
    ///
    /// # Errors
    /// When it is neither `true` nor `false`.
    pub fn flag(&self, key: &str) -> Result<bool, FieldError> {
        match self.get(key) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(self.error(key, "must be true or false")),
        }
    }

    fn object<'s>(&'s self, key: &'s str) -> Result<Option<Fields<'s>>, FieldError> {
        let Some(raw) = self.get(key) else { return Ok(None) };
        match Members::parse(raw.as_bytes()) {
            Ok(members) => Ok(Some(Fields { members, path: key })),
            Err(_) => Err(self.error(key, format!("must be an object of at most {MAX_MEMBERS} members"))),
        }
    }

    /// A list of at most `max` texts.
    ///
    /// # Errors
    /// When it is not a list of texts, or exceeds a limit.
    pub fn texts(&self, key: &str, max: usize) -> Result<Option<Vec<String>>, FieldError> {
        let Some(raw) = self.get(key) else { return Ok(None) };
        let items = list::<&RawValue>(raw).ok().filter(|items| items.len() <= max);
        let texts = items.and_then(|items| items.into_iter().map(|item| text(item.get(), MAX_TEXT)).collect());
        let problem = || format!("must be a list of at most {max} texts of at most {MAX_TEXT} bytes");
        texts.map(Some).ok_or_else(|| self.error(key, problem()))
    }

    /// A runtime config under `key`.
    ///
    /// # Errors
    /// Names the first field that is out of its range (PROTOCOL.md, "Rooms").
    pub fn config(&self, key: &str) -> Result<Option<RuntimeConfig>, FieldError> {
        self.object(key)?.map(|fields| fields.as_config()).transpose()
    }

    fn as_config(&self) -> Result<RuntimeConfig, FieldError> {
        let instructions = self.text("instructions", MAX_INSTRUCTIONS)?;
        if instructions.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return Err(self.error("instructions", "must not be empty"));
        }
        let sampling = Sampling {
            temperature: self.number("temperature", 0.0, 2.0)?,
            top_p: self.number("top_p", 0.0, 1.0)?,
            max_tokens: self.integer("max_tokens")?,
            stop: self.texts("stop", MAX_TEXTS)?,
            frequency_penalty: self.number("frequency_penalty", -2.0, 2.0)?,
            presence_penalty: self.number("presence_penalty", -2.0, 2.0)?,
            seed: self.integer("seed")?,
        };
        Ok(RuntimeConfig { sampling, instructions })
    }

    /// A machine's specs under `key`.
    ///
    /// # Errors
    /// Names the first field of the wrong type.
    pub fn specs(&self, key: &str) -> Result<Option<Specs>, FieldError> {
        let Some(fields) = self.object(key)? else {
            return Ok(None);
        };
        let gigabytes = |key| fields.number(key, 0.0, f64::MAX);
        Ok(Some(Specs {
            gpu: fields.text("gpu", MAX_TEXT)?,
            vram: gigabytes("vram")?,
            ram: gigabytes("ram")?,
            memory_gb: gigabytes("memoryGb")?,
            cpu: fields.text("cpu", MAX_TEXT)?,
        }))
    }

    /// A provider's capabilities under `key`.
    ///
    /// # Errors
    /// Names the first field that is not a [`Support`] value.
    pub fn capabilities(&self, key: &str) -> Result<Option<Capabilities>, FieldError> {
        let Some(fields) = self.object(key)? else {
            return Ok(None);
        };
        let support = |key: &str| match fields.get(key) {
            None => Ok(Support::Unknown),
            Some(raw) => {
                serde_json::from_str(raw).map_err(|_| fields.error(key, "must be supported, unsupported or unknown"))
            }
        };
        Ok(Some(Capabilities {
            open_responses: support("openResponses")?,
            chat_completions: support("chatCompletions")?,
            ollama: support("ollama")?,
        }))
    }
}

/// Text of at most `max` bytes. A byte takes at most six in JSON, so text that is far too long is rejected before it is
/// copied.
fn text(raw: &str, max: usize) -> Option<String> {
    let text: String =
        Some(raw).filter(|raw| raw.len() <= 6 * max + 2).and_then(|raw| serde_json::from_str(raw).ok())?;
    Some(text).filter(|text| text.len() <= max)
}

/// A 64-bit integer. Some clients write `5.0` for 5.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // The ranges exclude what does not fit.
fn whole(raw: &str) -> Option<Number> {
    const END: f64 = 18_446_744_073_709_551_616.0;
    let number: Number = serde_json::from_str(raw).ok()?;
    match number.as_f64()? {
        _ if number.is_i64() || number.is_u64() => Some(number),
        x if x.fract() != 0.0 => None,
        x if (0.0..END).contains(&x) => Some((x as u64).into()),
        // The upper end is excluded: larger integers round to it.
        x if x > -END / 2.0 && x < 0.0 => Some((x as i64).into()),
        _ => None,
    }
}

/// Parses a runtime config that is not part of a request, such as one from a file, by the same rules.
///
/// ```
/// let defaults = gambi::hub::parse_config(&serde_json::json!({ "temperature": 0.2 }))?;
/// let room = gambi::hub::DeclaredRoom { defaults: Some(defaults), ..Default::default() };
/// # Ok::<(), gambi::hub::FieldError>(())
/// ```
///
/// # Errors
/// Names the first field that is out of its range; the field is empty where `value` is no object.
pub fn parse_config(value: &Value) -> Result<RuntimeConfig, FieldError> {
    let json = value.to_string();
    let no_object = |_| FieldError { field: String::new(), problem: "must be a JSON object".into() };
    Fields::of(Members::parse(json.as_bytes()).map_err(no_object)?).as_config()
}

/// The settings of `over`, and those of `under` where `over` has none.
pub fn merge(over: &RuntimeConfig, under: &RuntimeConfig) -> RuntimeConfig {
    let (o, u) = (&over.sampling, &under.sampling);
    RuntimeConfig {
        sampling: Sampling {
            temperature: o.temperature.clone().or_else(|| u.temperature.clone()),
            top_p: o.top_p.clone().or_else(|| u.top_p.clone()),
            max_tokens: o.max_tokens.clone().or_else(|| u.max_tokens.clone()),
            stop: o.stop.clone().or_else(|| u.stop.clone()),
            frequency_penalty: o.frequency_penalty.clone().or_else(|| u.frequency_penalty.clone()),
            presence_penalty: o.presence_penalty.clone().or_else(|| u.presence_penalty.clone()),
            seed: o.seed.clone().or_else(|| u.seed.clone()),
        },
        instructions: over.instructions.clone().or_else(|| under.instructions.clone()),
    }
}

/// The public form of a config, without its instructions.
pub fn shown(config: &RuntimeConfig) -> ShownConfig {
    ShownConfig { sampling: config.sampling.clone(), has_instructions: config.instructions.is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(value: Value) -> Result<RuntimeConfig, FieldError> {
        parse_config(&value)
    }

    fn fields(body: &str) -> Fields<'_> {
        Fields::of(Members::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn a_config_at_its_limits_is_accepted() {
        let value = json!({"temperature": 2, "top_p": 0, "max_tokens": 1, "stop": ["a", "b"], "frequency_penalty": -2,
            "presence_penalty": 2.0, "seed": -5, "instructions": "x", "unknown": {}});
        let config = config(value).unwrap();
        assert_eq!(config.sampling.temperature, Some(2.into()));
        assert_eq!(config.sampling.stop.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(self::config(json!({"temperature": null})).unwrap(), RuntimeConfig::default());
        let written = self::config(json!({"max_tokens": 5.0, "seed": -9.0})).unwrap();
        assert_eq!(written, self::config(json!({"max_tokens": 5, "seed": -9})).unwrap());
        for bad in ["18446744073709551616", "-9223372036854775809", "1e400", "0.5"] {
            let value = serde_json::from_str(&format!(r#"{{"seed": {bad}}}"#));
            assert!(value.is_err() || self::config(value.unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_field_out_of_range_is_named() {
        for (value, field) in [
            (json!({"temperature": 2.1}), "temperature"),
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"top_p": -0.1}), "top_p"),
            (json!({"max_tokens": 1.5}), "max_tokens"),
            (json!({"stop": "x"}), "stop"),
            (json!({"stop": [1]}), "stop"),
            (json!({"frequency_penalty": 3}), "frequency_penalty"),
            (json!({"presence_penalty": -3}), "presence_penalty"),
            (json!({"seed": 0.5}), "seed"),
            (json!({"instructions": "  "}), "instructions"),
            (json!({"instructions": 1}), "instructions"),
            (json!([]), ""),
        ] {
            assert_eq!(config(value.clone()).unwrap_err().field, field, "{value}");
        }
        let error = fields(r#"{"defaults": {"temperature": 9}}"#).config("defaults").unwrap_err();
        assert_eq!(error.field, "defaults.temperature");
    }

    #[test]
    fn no_limit_of_tokens_may_be_written_as_zero_or_minus_one() {
        for limit in [0, -1] {
            assert_eq!(config(json!({ "max_tokens": limit })).unwrap().sampling.max_tokens, Some(limit.into()));
        }
    }

    #[test]
    fn unknown_fields_may_nest_deep_and_known_ones_are_refused_for_it() {
        let deep =
            |key: &str| format!(r#"{{"defaults":{{"{key}":{}{},"seed":1}}}}"#, "[".repeat(9999), "]".repeat(9999));
        let unknown = deep("unknown");
        assert_eq!(fields(&unknown).config("defaults").unwrap(), Some(config(json!({"seed": 1})).unwrap()));
        for key in ["temperature", "max_tokens", "stop", "instructions"] {
            assert_eq!(fields(&deep(key)).config("defaults").unwrap_err().field, format!("defaults.{key}"));
        }
        let text = format!(r#"{{"name":"{}"}}"#, "\\u0001".repeat(9));
        assert_eq!(fields(&text).text("name", 9).unwrap().unwrap().len(), 9);
        assert_eq!(fields(&text).text("name", 8).unwrap_err().problem, "must be at most 8 bytes long");
    }

    #[test]
    fn specs_and_capabilities_are_checked() {
        let fields = fields(
            r#"{"specs": {"gpu": "X", "vram": 24, "memoryGb": 0.5, "other": 1}, "bad": {"ram": "64"},
                "capabilities": {"openResponses": "supported", "ollama": "unsupported"}, "wrong": {"chatCompletions": "yes"}}"#,
        );
        let specs = fields.specs("specs").unwrap().unwrap();
        assert_eq!((specs.gpu.as_deref(), specs.vram), (Some("X"), Some(24.into())));
        assert_eq!(fields.specs("bad").unwrap_err().field, "bad.ram");
        let capabilities = fields.capabilities("capabilities").unwrap().unwrap();
        assert_eq!(capabilities.open_responses, Support::Supported);
        assert_eq!(capabilities.chat_completions, Support::Unknown);
        assert_eq!(capabilities.ollama, Support::Unsupported);
        assert_eq!(fields.capabilities("wrong").unwrap_err().field, "wrong.chatCompletions");
    }

    #[test]
    fn the_participants_config_overrides_the_rooms() {
        let room = config(json!({"temperature": 1, "seed": 1, "instructions": "room"})).unwrap();
        let own = config(json!({"temperature": 0, "top_p": 1})).unwrap();
        let merged = merge(&own, &room);
        assert_eq!(merged, config(json!({"temperature": 0, "top_p": 1, "seed": 1, "instructions": "room"})).unwrap());
    }

    #[test]
    fn instructions_are_never_shown() {
        let shown = shown(&config(json!({"instructions": "secret", "seed": 1})).unwrap());
        assert_eq!(serde_json::to_string(&shown).unwrap(), r#"{"seed":1,"hasInstructions":true}"#);
    }
}
