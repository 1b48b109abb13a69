//! Parts of a request's JSON, each as it was written, with errors that name the request's field.

use serde_json::value::RawValue;

use super::super::members::{self, BadRequest, MAX_LIST, MAX_MEMBERS, Members};
use super::super::read_json::lenient;
use super::super::text::cut;

/// The longest of a client's own words that an error repeats, in bytes.
pub const MAX_QUOTE: usize = 256;

/// The error about what a chat cannot express.
pub fn no_counterpart(what: &str) -> BadRequest {
    let what = cut(what, MAX_QUOTE);
    let message = format!(
        "The chat/completions fallback does not support {what}: the participant's provider does not serve this API itself"
    );
    BadRequest { field: None, message }
}

impl BadRequest {
    /// Adds that the hub keeps no conversations that a request could refer to.
    pub(super) fn because_nothing_is_kept(mut self) -> Self {
        self.message.push_str(", and the hub keeps no conversations: send the earlier items again, in \"input\"");
        self
    }
}

/// A list's items, each as it was written.
pub fn list<'a>(raw: &'a str, field: &'static str) -> Result<Vec<&'a str>, BadRequest> {
    let items: Vec<&'a RawValue> = members::list(raw)
        .map_err(|_| BadRequest::field(field, &format!("must be a list of at most {MAX_LIST} items")))?;
    Ok(items.into_iter().map(RawValue::get).collect())
}

/// An object's members.
pub fn object<'a>(raw: &'a str, field: &'static str) -> Result<Members<'a>, BadRequest> {
    Members::parse(raw.as_bytes())
        .map_err(|_| BadRequest::field(field, &format!("must be an object of at most {MAX_MEMBERS} members")))
}

/// The members of an object that a request may have.
pub fn inner<'a>(request: &'a Members<'_>, field: &'static str) -> Result<Option<Members<'a>>, BadRequest> {
    request.get(field).map(|raw| object(raw, field)).transpose()
}

/// A member that is text.
pub fn text(members: &Members<'_>, key: &str) -> Option<String> {
    members.get(key).and_then(|raw| lenient(raw).ok())
}
