//! A Responses request as a Chat Completions request. Each part that is carried over stays as it was written.

use std::collections::HashSet;

use super::super::super::members::{BadRequest, Members, json_list};
use super::super::chat_request::{only_function, set_stream, typed};
use super::super::json::{inner, list, no_counterpart, object, text};
use super::input::messages;
use super::tools::{ToolNames, Tools};

/// What has no counterpart in a chat, and changes the answer's meaning if it is left out.
const REFUSED: [&str; 4] = ["background", "conversation", "previous_response_id", "prompt"];
/// Of these, what refers to what a Responses server keeps.
const KEPT: [&str; 2] = ["conversation", "previous_response_id"];
/// What is put into other words below, or concerns only how a Responses server keeps its answers.
const TAKEN: [&str; 18] = [
    "background",
    "client_metadata",
    "context_management",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "reasoning",
    "stop_sequences",
    "store",
    "stream",
    "stream_options",
    "text",
    "tool_choice",
    "tools",
    "truncation",
];

/// Puts a Responses request into chat form.
///
/// # Errors
/// Names the fields that have no counterpart, or are of the wrong type.
pub fn to_chat(request: &Members<'_>) -> Result<String, BadRequest> {
    refuse(request)?;
    let mut tools = Tools::of(request)?;
    let choice = request.get("tool_choice").map(|choice| tool_choice(choice, &mut tools)).transpose()?;
    let mut chat = Members::default();
    // A chat without tools must not say how they are used.
    let passes = |key: &str| !TAKEN.contains(&key) && (key != "parallel_tool_calls" || !tools.is_empty());
    for (key, value) in request.iter().filter(|(key, value)| passes(key) && *value != "null") {
        chat.push(key, value);
    }
    chat.set("messages", json_list(messages(request, &tools.names)?));
    if !tools.is_empty() {
        chat.set("tools", tools.chat());
        if let Some(choice) = choice {
            chat.set("tool_choice", choice);
        }
    }
    settings(request, &mut chat)?;
    if request.stream()? {
        set_stream(&mut chat);
    }
    Ok(chat.to_json())
}

/// What has another name or place in a chat.
fn settings(request: &Members<'_>, chat: &mut Members<'_>) -> Result<(), BadRequest> {
    if let Some(limit) = request.get("max_output_tokens") {
        chat.set("max_tokens", limit.to_owned());
    }
    if let Some(stop) = request.get("stop_sequences") {
        chat.set("stop", stop.to_owned());
    }
    if chat.get("top_logprobs").is_some() {
        chat.set("logprobs", "true".into());
    }
    text_format(request, chat)?;
    let reasoning = inner(request, "reasoning")?;
    if let Some(effort) = reasoning.and_then(|reasoning| reasoning.get("effort").map(str::to_owned)) {
        chat.set("reasoning_effort", effort);
    }
    Ok(())
}

/// Whether a chat can hold the request, apart from its input and its tools.
pub fn can_be_chat(request: &Members<'_>) -> bool {
    refuse(request).is_ok()
}

fn refuse(request: &Members<'_>) -> Result<(), BadRequest> {
    let given = |field: &&&str| request.get(field).is_some_and(|value| value != "false");
    let fields: Vec<&str> = REFUSED.iter().filter(given).copied().collect();
    if fields.is_empty() {
        return Ok(());
    }
    let quoted: Vec<String> = fields.iter().map(|field| format!("\"{field}\"")).collect();
    let error = no_counterpart(&quoted.join(", "));
    Err(if fields.iter().any(|field| KEPT.contains(field)) { error.because_nothing_is_kept() } else { error })
}

fn tool_choice(raw: &str, tools: &mut Tools) -> Result<String, BadRequest> {
    if raw.starts_with('"') {
        return Ok(raw.to_owned());
    }
    let choice =
        object(raw, "tool_choice").map_err(|_| BadRequest::field("tool_choice", "must be text or an object"))?;
    match text(&choice, "type").as_deref() {
        Some("allowed_tools") => {
            let mut allowed = HashSet::new();
            for raw in list(choice.get("tools").unwrap_or("[]"), "tool_choice")? {
                allowed.extend(chosen(&object(raw, "tool_choice")?, &tools.names));
            }
            tools.retain(&allowed);
            Ok(choice.get("mode").unwrap_or(r#""auto""#).to_owned())
        }
        kind => match chosen(&choice, &tools.names) {
            Some(name) => Ok(only_function(&name)),
            None => Err(no_counterpart(&format!("A tool choice of type \"{}\"", kind.unwrap_or_default()))),
        },
    }
}

/// The name in the chat of a tool that a choice names. `None` where it is not a function or a custom tool.
fn chosen(choice: &Members<'_>, names: &ToolNames) -> Option<String> {
    let kind = text(choice, "type");
    let name = text(choice, "name").filter(|_| matches!(kind.as_deref(), Some("function" | "custom")))?;
    Some(names.chat_name(text(choice, "namespace").as_deref(), name))
}

fn text_format(request: &Members<'_>, chat: &mut Members<'_>) -> Result<(), BadRequest> {
    let Some(settings) = inner(request, "text")? else { return Ok(()) };
    if let Some(verbosity) = settings.get("verbosity") {
        chat.set("verbosity", verbosity.to_owned());
    }
    let Some(format) = settings.get("format").map(|raw| object(raw, "text")).transpose()? else { return Ok(()) };
    match text(&format, "type").as_deref() {
        None | Some("text") => {}
        Some("json_object") => chat.set("response_format", r#"{"type":"json_object"}"#.into()),
        Some("json_schema") => {
            let mut schema = Members::default();
            for (key, value) in format.iter().filter(|(key, _)| *key != "type") {
                schema.push(key, value);
            }
            chat.set("response_format", typed("json_schema", &schema.to_json()));
        }
        Some(other) => return Err(no_counterpart(&format!("A text format of type \"{other}\""))),
    }
    Ok(())
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
