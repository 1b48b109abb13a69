//! The items of a Responses request as the messages of a chat.

use super::super::super::members::{BadRequest, MAX_LIST, Members, json_text};
use super::super::super::read_json::lenient;
use super::super::super::text::cut;
use super::super::chat_messages::{ChatMessages, Content, PARAGRAPH, Part, append};
use super::super::chat_request::typed;
use super::super::json::{MAX_QUOTE, list, no_counterpart, object, text};
use super::tools::{ADDITIONAL_TOOLS, ToolNames};

/// Records of tools that the provider of a Responses API ran itself. What came of them is in the texts around them.
const RECORDS: [&str; 13] = [
    "code_interpreter_call",
    "computer_call",
    "computer_call_output",
    "file_search_call",
    "image_generation_call",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "tool_search_call",
    "tool_search_output",
    "web_search_call",
    "web_search_preview_call",
];

/// The messages of a request's `instructions` and `input`.
///
/// # Errors
/// Says what is missing, of the wrong type, or has no counterpart.
pub fn messages(request: &Members<'_>, tools: &ToolNames) -> Result<Vec<String>, BadRequest> {
    let mut messages = ChatMessages::default();
    if let Some(instructions) = request.get("instructions") {
        messages.system = self::instructions(instructions)?;
    }
    let input = request.get("input").ok_or_else(|| BadRequest::field("input", "is required"))?;
    if input.starts_with('"') {
        messages.push("user", input);
        return Ok(messages.into_messages());
    }
    for raw in list(input, "input")
        .map_err(|_| BadRequest::field("input", &format!("must be text or a list of at most {MAX_LIST} items")))?
    {
        let members = object(raw, "input").map_err(|_| BadRequest::field("input", "must be a list of objects"))?;
        item(&members, tools, &mut messages)?;
    }
    Ok(messages.into_messages())
}

/// Instructions are text, or a list of items whose texts count.
fn instructions(raw: &str) -> Result<String, BadRequest> {
    if raw.starts_with('"') {
        return lenient(raw).map_err(|_| BadRequest::field("instructions", "must be text"));
    }
    let wrong = || BadRequest::field("instructions", "must be text or a list of messages that hold only text");
    let mut all = String::new();
    for raw in list(raw, "instructions").map_err(|_| wrong())? {
        let item = object(raw, "instructions").map_err(|_| wrong())?;
        // A list of parts is not in the API's description, but has only one meaning.
        let raw = item.get("content").or_else(|| item.get("text")).ok_or_else(wrong)?;
        let content = content(raw).map_err(|_| wrong())?;
        append(&mut all, PARAGRAPH, content.only_text().ok_or_else(wrong)?);
    }
    Ok(all)
}

/// Calls of tools that the client runs and the API knows by kinds of their own: the item's type, the function's name in the chat, and
/// the member with its arguments.
const CALLS: [(&str, &str, &str); 3] = [
    ("apply_patch_call", "apply_patch", "operation"),
    ("local_shell_call", "local_shell", "action"),
    ("shell_call", "shell", "action"),
];

fn item(item: &Members<'_>, tools: &ToolNames, messages: &mut ChatMessages) -> Result<(), BadRequest> {
    let kind = text(item, "type").unwrap_or_else(|| "message".into());
    if let Some((_, name, arguments)) = CALLS.iter().find(|(call, ..)| *call == kind) {
        messages.call(&call_id(item)?, name, item.get(arguments).unwrap_or("{}"));
        return Ok(());
    }
    match kind.as_str() {
        "message" => message(item, messages)?,
        "function_call" => {
            let arguments = text(item, "arguments").unwrap_or_else(|| "{}".into());
            messages.call(&call_id(item)?, &chat_name(item, tools)?, &arguments);
        }
        "custom_tool_call" => {
            let input = json_text(&text(item, "input").unwrap_or_default());
            messages.call(&call_id(item)?, &chat_name(item, tools)?, &format!(r#"{{"input":{input}}}"#));
        }
        "function_call_output" | "custom_tool_call_output" | "local_shell_call_output" => {
            messages.result(&call_id(item)?, content(required(item, "output")?)?);
        }
        "apply_patch_call_output" => {
            let said = text(item, "output").or_else(|| text(item, "status")).unwrap_or_default();
            messages.result(&call_id(item)?, said.into());
        }
        // What each command has written, as JSON.
        "shell_call_output" => messages.result(&call_id(item)?, required(item, "output")?.to_owned().into()),
        // What another agent has written to this one.
        "agent_message" => messages.push("user", &content(required(item, "content")?)?.json()),
        "reasoning" => messages.add_reasoning(&reasoning(item)),
        // Read with the other tools.
        ADDITIONAL_TOOLS => {}
        kind if RECORDS.contains(&kind) => {}
        "item_reference" => {
            return Err(no_counterpart("An input item of type \"item_reference\"").because_nothing_is_kept());
        }
        other => return Err(no_counterpart(&format!("An input item of type \"{other}\""))),
    }
    Ok(())
}

fn required<'m>(item: &'m Members<'_>, key: &str) -> Result<&'m str, BadRequest> {
    item.get(key).ok_or_else(|| BadRequest::field("input", &format!("has an item without \"{key}\"")))
}

fn required_text(item: &Members<'_>, key: &str) -> Result<String, BadRequest> {
    lenient(required(item, key)?)
        .map_err(|_| BadRequest::field("input", &format!("has an item whose \"{key}\" is no text")))
}

/// The id by which a call and its result belong together. Items of a local shell may have only their own.
fn call_id(item: &Members<'_>) -> Result<String, BadRequest> {
    let is_local_shell = || text(item, "type").is_some_and(|kind| kind.starts_with("local_shell"));
    required_text(item, "call_id").or_else(|missing| text(item, "id").filter(|_| is_local_shell()).ok_or(missing))
}

/// The name in the chat of the tool that an item calls.
fn chat_name(item: &Members<'_>, tools: &ToolNames) -> Result<String, BadRequest> {
    Ok(tools.chat_name(text(item, "namespace").as_deref(), required_text(item, "name")?))
}

/// What a model thought, as it was, else its summary. What is encrypted can only be read by who made it.
fn reasoning(item: &Members<'_>) -> String {
    let texts = ["content", "summary"].into_iter().filter_map(|key| content(item.get(key)?).ok());
    let mut texts = texts.filter_map(|content| content.only_text().map(str::to_owned));
    texts.find(|text| !text.is_empty()).unwrap_or_default()
}

fn message(message: &Members<'_>, messages: &mut ChatMessages) -> Result<(), BadRequest> {
    let role = text(message, "role").ok_or_else(|| BadRequest::field("input", "has a message without \"role\""))?;
    let raw = message.get("content").ok_or_else(|| BadRequest::field("input", "has a message without \"content\""))?;
    let content = content(raw)?;
    match (role.as_str(), content.only_text()) {
        ("assistant", Some(text)) => messages.add_text(text),
        ("developer" | "system", Some(text)) => append(&mut messages.system, PARAGRAPH, text),
        ("developer" | "system", None) => {
            return Err(no_counterpart(&format!("A {role} message that is not all text")));
        }
        ("assistant" | "user", _) => messages.push(&role, &content.json()),
        _ => {
            let problem = format!("has a message with the unknown role \"{}\"", cut(&role, MAX_QUOTE));
            return Err(BadRequest::field("input", &problem));
        }
    }
    Ok(())
}

/// Text stays text; parts become text where all of them are, since not every server takes a list. Each part of an input is
/// a line of its own; an output's parts follow one another.
fn content(raw: &str) -> Result<Content, BadRequest> {
    if raw.starts_with('"') {
        return lenient(raw).map(String::into).map_err(|_| BadRequest::field("input", "has text that cannot be read"));
    }
    let mut content = Content::default();
    for raw in
        list(raw, "input").map_err(|_| BadRequest::field("input", "has content that is neither text nor a list"))?
    {
        let part = object(raw, "input").map_err(|_| BadRequest::field("input", "has a part that is no object"))?;
        let kind = text(&part, "type").unwrap_or_default();
        let (key, separator) = match kind.as_str() {
            "input_text" | "text" | "summary_text" | "reasoning_text" => ("text", "\n"),
            "output_text" => ("text", ""),
            "refusal" => ("refusal", ""),
            _ => {
                content.push("", Part::Media(media(&part, &kind)?));
                continue;
            }
        };
        let words = text(&part, key).ok_or_else(|| BadRequest::field("input", "has a part without text"))?;
        content.push(separator, Part::Text(words));
    }
    Ok(content)
}

fn media(part: &Members<'_>, kind: &str) -> Result<String, BadRequest> {
    match (kind, part.get("image_url"), part.get("input_audio")) {
        ("input_image", Some(url), _) => {
            let detail = part.get("detail").map(|detail| format!(r#","detail":{detail}"#)).unwrap_or_default();
            Ok(typed("image_url", &format!(r#"{{"url":{url}{detail}}}"#)))
        }
        ("input_audio", _, Some(audio)) => Ok(typed("input_audio", audio)),
        ("input_file", ..) if part.get("file_data").is_some() => {
            let mut file = Members::default();
            for (key, value) in part.iter().filter(|(key, _)| ["filename", "file_data"].contains(key)) {
                file.push(key, value);
            }
            Ok(typed("file", &file.to_json()))
        }
        _ => Err(no_counterpart(&format!("A part of type \"{kind}\" without its data"))),
    }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
