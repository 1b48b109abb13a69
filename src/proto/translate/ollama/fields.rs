//! Members of a request, with errors that say where in the request they are: `messages[2].images[0] must be base64 text`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::super::members::{self, BadRequest, MAX_LIST, MAX_MEMBERS, Members};
use super::super::super::read_json::lenient;

/// What is wrong with a part of the request. It begins with the way to it from the part that is being read, such as
/// `.images[0] must be base64 text`; each caller puts its own step in front.
pub type Wrong = String;

/// The error about a member of the request.
pub fn bad(field: &'static str) -> impl Fn(Wrong) -> BadRequest {
    move |wrong| BadRequest { field: Some(field), message: format!("{field}{wrong}") }
}

/// A value of a type that serde knows.
fn value<'a, T: Deserialize<'a>>(raw: &'a str, kind: &str) -> Result<T, Wrong> {
    serde_json::from_str(raw).map_err(|_| format!(" must be {kind}"))
}

/// Text.
pub fn text(raw: &str) -> Result<String, Wrong> {
    lenient(raw).map_err(|_| " must be text".to_owned())
}

/// True or false.
pub fn boolean(raw: &str) -> Result<bool, Wrong> {
    value(raw, "true or false")
}

/// A number, as it was written.
pub fn number(raw: &str) -> Result<&str, Wrong> {
    value::<f64>(raw, "a number").map(|_| raw)
}

/// A list's items, each as it was written.
pub fn list(raw: &str) -> Result<Vec<&str>, Wrong> {
    let items: Vec<&RawValue> =
        members::list(raw).map_err(|_| format!(" must be a list of at most {MAX_LIST} items"))?;
    Ok(items.into_iter().map(RawValue::get).collect())
}

/// An object's members.
pub fn object(raw: &str) -> Result<Members<'_>, Wrong> {
    Members::parse(raw.as_bytes()).map_err(|_| format!(" must be an object of at most {MAX_MEMBERS} members"))
}

/// An object of any size, as it was written.
pub fn any_object(raw: &str) -> Result<&str, Wrong> {
    if raw.starts_with('{') { Ok(raw) } else { Err(" must be an object".into()) }
}

/// A member that the object may have.
pub fn optional<'m, T>(
    object: &'m Members<'_>,
    key: &str,
    read: impl FnOnce(&'m str) -> Result<T, Wrong>,
) -> Result<Option<T>, Wrong> {
    object.get(key).map(read).transpose().map_err(|wrong| format!(".{key}{wrong}"))
}

/// A member that the object must have.
pub fn required<'m, T>(
    object: &'m Members<'_>,
    key: &str,
    read: impl FnOnce(&'m str) -> Result<T, Wrong>,
) -> Result<T, Wrong> {
    optional(object, key, read)?.ok_or_else(|| format!(".{key} is required"))
}

/// A member of the request itself.
pub fn member<'m, T>(
    request: &'m Members<'_>,
    field: &'static str,
    read: impl FnOnce(&'m str) -> Result<T, Wrong>,
) -> Result<Option<T>, BadRequest> {
    request.get(field).map(read).transpose().map_err(bad(field))
}

/// Reads each item of a list that a member holds.
pub fn each<'m>(raw: &'m str, mut read: impl FnMut(&'m str) -> Result<(), Wrong>) -> Result<(), Wrong> {
    list(raw)?.into_iter().enumerate().try_for_each(|(at, item)| read(item).map_err(|wrong| format!("[{at}]{wrong}")))
}
