//! What in a request concerns how the model answers: its tools, the format, thinking, and options.

use super::super::super::members::{BadRequest, Members, json_list, json_text};
use super::super::chat_request::{set_schema, typed};
use super::fields::{Wrong, any_object, bad, each, member, number, object, optional, required, text};

/// Options that a chat has under the same name. `top_k` is not OpenAI's, but local servers take it.
const NUMBERS: [&str; 5] = ["frequency_penalty", "presence_penalty", "temperature", "top_k", "top_p"];

/// Puts the tools into the chat, which has them in the same form.
pub fn tools(request: &Members<'_>, chat: &mut Members<'_>) -> Result<(), BadRequest> {
    let mut tools = Vec::new();
    member(request, "tools", |raw| {
        each(raw, |raw| {
            let tool = object(raw)?;
            required(&tool, "function", |function| required(&object(function)?, "name", text))?;
            tools.push(typed("function", tool.get("function").unwrap_or_default()));
            Ok(())
        })
    })?;
    if !tools.is_empty() {
        chat.set("tools", json_list(tools));
    }
    Ok(())
}

/// Puts the form of the answer into the chat: any JSON, or what a schema allows. An empty text asks for none.
pub fn format(request: &Members<'_>, chat: &mut Members<'_>) -> Result<(), BadRequest> {
    let wrong = || bad("format")(r#" must be "json" or a JSON schema"#.into());
    match request.get("format") {
        None | Some(r#""""#) => {}
        Some(r#""json""#) => chat.set("response_format", r#"{"type":"json_object"}"#.into()),
        Some(raw) => {
            any_object(raw).map_err(|_| wrong())?;
            set_schema(chat, raw);
        }
    }
    Ok(())
}

/// Puts how much the model thinks into the chat. A chat cannot say whether it does: servers take no such member, or
/// refuse a request with one that they do not know.
pub fn think(request: &Members<'_>, chat: &mut Members<'_>) -> Result<(), BadRequest> {
    match request.get("think") {
        None | Some("true" | "false") => Ok(()),
        Some(effort @ (r#""low""# | r#""medium""# | r#""high""#)) => {
            chat.set("reasoning_effort", effort.to_owned());
            Ok(())
        }
        // Not every server knows more than the other three.
        Some(r#""max""#) => {
            chat.set("reasoning_effort", r#""high""#.into());
            Ok(())
        }
        Some(_) => Err(bad("think")(r#" must be true, false, "low", "medium", "high" or "max""#.into())),
    }
}

/// Puts the options that a chat has into it. The others concern how Ollama runs a model.
pub fn options(request: &Members<'_>, chat: &mut Members<'_>) -> Result<(), BadRequest> {
    let Some(options) = member(request, "options", object)? else { return Ok(()) };
    put_options(&options, chat).map_err(bad("options"))
}

fn put_options(options: &Members<'_>, chat: &mut Members<'_>) -> Result<(), Wrong> {
    for key in NUMBERS {
        if let Some(written) = optional(options, key, number)? {
            chat.set(key, written.to_owned());
        }
    }
    if let Some(seed) = optional(options, "seed", integer)? {
        chat.set("seed", seed.to_string());
    }
    // Where it is negative or 0, Ollama sets no limit.
    if let Some(limit) = optional(options, "num_predict", integer)?.filter(|limit| *limit > 0) {
        chat.set("max_tokens", limit.to_string());
    }
    let mut stop = Vec::new();
    optional(options, "stop", |raw| {
        each(raw, |item| {
            stop.push(json_text(&text(item)?));
            Ok(())
        })
    })?;
    if !stop.is_empty() {
        chat.set("stop", json_list(stop));
    }
    Ok(())
}

/// A whole number. As in Ollama, one may be written with a fraction, which does not count.
fn integer(raw: &str) -> Result<i64, Wrong> {
    let of_number = || serde_json::from_str::<f64>(raw).ok().map(|number| number as i64);
    raw.parse().ok().or_else(of_number).ok_or_else(|| " must be a whole number".into())
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
