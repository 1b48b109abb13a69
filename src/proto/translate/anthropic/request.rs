//! A Messages request of Anthropic's API as a Chat Completions request.

use super::super::super::members::{BadRequest, MAX_LIST, Members, json_list, json_text};
use super::super::super::text::cut;
use super::super::chat_messages::{ChatMessages, Content, PARAGRAPH, Part, append};
use super::super::chat_request::{image, only_function, set_schema, set_stream, typed};
use super::super::json::{MAX_QUOTE, list, no_counterpart, object, text};

/// Members that a chat has under the same name and with the same meaning. `top_k` is not OpenAI's, but local servers take it.
const SAME: [&str; 6] = ["max_tokens", "model", "stream", "temperature", "top_k", "top_p"];

/// Whether a block is about a tool that Anthropic's servers run themselves (their results are called `..._tool_result`), or
/// reasoning that only they can read. What came of it is in the texts around it.
fn is_record(kind: &str) -> bool {
    let others = ["container_upload", "mcp_tool_use", "redacted_thinking", "server_tool_use"];
    kind.ends_with("_tool_result") || others.contains(&kind)
}

/// Puts a Messages request into chat form. Settings without a counterpart that only advise the model (`thinking`,
/// `metadata`, `cache_control`) are dropped.
///
/// # Errors
/// Says what is missing, of the wrong type, or has no counterpart.
pub fn to_chat(request: &Members<'_>) -> Result<String, BadRequest> {
    let mut chat = Members::default();
    for key in SAME {
        if let Some(value) = request.get(key) {
            chat.push(key, value);
        }
    }
    chat.set("messages", json_list(messages(request)?));
    if let Some(stop) = request.get("stop_sequences") {
        chat.set("stop", stop.to_owned());
    }
    tools(request, &mut chat)?;
    output_format(request, &mut chat)?;
    if request.stream()? {
        set_stream(&mut chat);
    }
    Ok(chat.to_json())
}

fn messages(request: &Members<'_>) -> Result<Vec<String>, BadRequest> {
    let mut messages = ChatMessages::default();
    if let Some(system) = request.get("system") {
        append(&mut messages.system, PARAGRAPH, &only_text(system, "system")?);
    }
    let wrong = || BadRequest::field("messages", &format!("must be a list of at most {MAX_LIST} objects"));
    let all = request.get("messages").ok_or_else(|| BadRequest::field("messages", "is required"))?;
    for raw in list(all, "messages").map_err(|_| wrong())? {
        let message = object(raw, "messages").map_err(|_| wrong())?;
        let missing = |key: &str| BadRequest::field("messages", &format!("has a message without \"{key}\""));
        let role = text(&message, "role").ok_or_else(|| missing("role"))?;
        let content = message.get("content").ok_or_else(|| missing("content"))?;
        match role.as_str() {
            "assistant" => assistant(content, &mut messages)?,
            "user" => user(content, &mut messages)?,
            "system" => append(&mut messages.system, PARAGRAPH, &only_text(content, "messages")?),
            other => {
                let problem = format!("has a message with the unknown role \"{}\"", cut(other, MAX_QUOTE));
                return Err(BadRequest::field("messages", &problem));
            }
        }
    }
    Ok(messages.into_messages())
}

/// Text, or a list of text blocks.
fn only_text(raw: &str, field: &'static str) -> Result<String, BadRequest> {
    let content = blocks(raw, field)?;
    let wrong = || BadRequest::field(field, "has a system text that is not all text");
    content.only_text().map(str::to_owned).ok_or_else(wrong)
}

/// A list's blocks, each with its type; a text stands for one block.
fn each_block(
    raw: &str,
    field: &'static str,
    mut take: impl FnMut(&str, &Members<'_>) -> Result<(), BadRequest>,
) -> Result<(), BadRequest> {
    if raw.starts_with('"') {
        let mut block = Members::default();
        block.set("text", raw.to_owned());
        return take("text", &block);
    }
    let wrong = || BadRequest::field(field, "has content that is neither text nor a list of blocks");
    for raw in list(raw, field).map_err(|_| wrong())? {
        let block = object(raw, field).map_err(|_| wrong())?;
        let kind = text(&block, "type").ok_or_else(|| BadRequest::field(field, "has a block without \"type\""))?;
        take(&kind, &block)?;
    }
    Ok(())
}

/// The blocks of a system text, a document or a search result: text and images. None of them holds blocks itself: a request would
/// choose how deep this nests, and what stack it takes.
fn blocks(raw: &str, field: &'static str) -> Result<Content, BadRequest> {
    let mut content = Content::default();
    each_block(raw, field, |kind, block| plain_block(kind, block, &mut content))?;
    Ok(content)
}

/// Adds a block of a user's message that is no result of a tool.
fn user_block(kind: &str, block: &Members<'_>, content: &mut Content) -> Result<(), BadRequest> {
    let inner = match kind {
        "search_result" => only_text(block.get("content").unwrap_or("\"\""), "messages")?.into(),
        "document" => document(block)?,
        _ => return plain_block(kind, block, content),
    };
    match inner.only_text() {
        Some(words) => content.push("\n", Part::Text(words.to_owned())),
        None => inner.into_parts().into_iter().for_each(|part| content.push("\n", part)),
    }
    Ok(())
}

/// Adds a block that holds no others.
fn plain_block(kind: &str, block: &Members<'_>, content: &mut Content) -> Result<(), BadRequest> {
    match kind {
        "text" => content.push("\n", Part::Text(required(block, "text")?)),
        "image" => content.push("", Part::Media(image(&source_url(block, "image/png")?))),
        kind if is_record(kind) => {}
        other => {
            let at = if ["document", "search_result"].contains(&other) { " within another one" } else { "" };
            return Err(no_counterpart(&format!("A block of type \"{}\"{at}", cut(other, MAX_QUOTE))));
        }
    }
    Ok(())
}

/// The rest of a message with results of tools follows behind them, and what is not text in a result.
fn user(raw: &str, messages: &mut ChatMessages) -> Result<(), BadRequest> {
    let mut rest = Content::default();
    let mut has_results = false;
    each_block(raw, "messages", |kind, block| {
        if kind != "tool_result" {
            return user_block(kind, block, &mut rest);
        }
        has_results = true;
        let mut words = String::new();
        each_block(block.get("content").unwrap_or("\"\""), "messages", |kind, inner| match kind {
            "text" => {
                append(&mut words, "\n", &required(inner, "text")?);
                Ok(())
            }
            // A search for tools has found one.
            "tool_reference" => {
                append(&mut words, "\n", &format!("Tool available: {}", required(inner, "tool_name")?));
                Ok(())
            }
            kind => user_block(kind, inner, &mut rest),
        })?;
        if block.get("is_error") == Some("true") {
            words.insert_str(0, "Error: ");
        }
        messages.result(&required(block, "tool_use_id")?, words.into());
        Ok(())
    })?;
    if has_results {
        rest.into_parts().into_iter().for_each(|part| messages.show(part));
    } else {
        messages.push("user", &rest.json());
    }
    Ok(())
}

fn assistant(raw: &str, messages: &mut ChatMessages) -> Result<(), BadRequest> {
    each_block(raw, "messages", |kind, block| {
        match kind {
            "text" => messages.add_text(&required(block, "text")?),
            "thinking" => messages.add_reasoning(&required(block, "thinking")?),
            "tool_use" => {
                let input = block.get("input").unwrap_or("{}");
                messages.call(&required(block, "id")?, &required(block, "name")?, input);
            }
            // A summary of what was said before.
            "compaction" => {
                if let Some(summary) = text(block, "content").filter(|summary| !summary.is_empty()) {
                    messages.add_text(&summary);
                }
            }
            kind if is_record(kind) => {}
            other => return Err(no_counterpart(&format!("A block of type \"{other}\" of an assistant"))),
        }
        Ok(())
    })
}

fn required(block: &Members<'_>, key: &str) -> Result<String, BadRequest> {
    text(block, key).ok_or_else(|| BadRequest::field("messages", &format!("has a block without the text \"{key}\"")))
}

/// The URL of a block's data; data that the block holds becomes a `data:` URL.
fn source_url(block: &Members<'_>, default_type: &str) -> Result<String, BadRequest> {
    let missing = || BadRequest::field("messages", "has a block without a \"source\" that holds its data or URL");
    let source = object(block.get("source").ok_or_else(missing)?, "messages").map_err(|_| missing())?;
    match (text(&source, "type").as_deref(), text(&source, "url"), text(&source, "data")) {
        (Some("url"), Some(url), _) => Ok(url),
        (Some("base64"), _, Some(data)) => {
            let media_type = text(&source, "media_type").unwrap_or_else(|| default_type.to_owned());
            Ok(format!("data:{media_type};base64,{data}"))
        }
        _ => Err(no_counterpart("A block whose data is kept by Anthropic's servers")),
    }
}

/// A document: its text, or a file part.
fn document(block: &Members<'_>) -> Result<Content, BadRequest> {
    let source = object(block.get("source").unwrap_or("{}"), "messages")?;
    match text(&source, "type").as_deref() {
        Some("text") => Ok(required(&source, "data")?.into()),
        Some("content") => blocks(source.get("content").unwrap_or("\"\""), "messages"),
        _ => {
            let data = json_text(&source_url(block, "application/pdf")?);
            let name = json_text(&text(block, "title").unwrap_or_else(|| "document.pdf".into()));
            let file = format!(r#"{{"filename":{name},"file_data":{data}}}"#);
            let mut content = Content::default();
            content.push("", Part::Media(typed("file", &file)));
            Ok(content)
        }
    }
}

/// Tools that the client runs become functions. Those of Anthropic's servers are dropped: nothing here can run them.
fn tools(request: &Members<'_>, chat: &mut Members<'_>) -> Result<(), BadRequest> {
    let mut functions = Vec::new();
    for raw in list(request.get("tools").unwrap_or("[]"), "tools")? {
        let tool = object(raw, "tools")?;
        let (Some(name), Some(schema)) = (text(&tool, "name"), tool.get("input_schema")) else { continue };
        let mut function = Members::default();
        function.set("name", json_text(&name));
        if let Some(description) = tool.get("description") {
            function.set("description", description.to_owned());
        }
        function.set("parameters", schema.to_owned());
        functions.push(typed("function", &function.to_json()));
    }
    if functions.is_empty() {
        return Ok(());
    }
    chat.set("tools", json_list(functions));
    let Some(choice) = request.get("tool_choice") else { return Ok(()) };
    let choice = object(choice, "tool_choice")?;
    match (text(&choice, "type").as_deref(), text(&choice, "name")) {
        (Some("any"), _) => chat.set("tool_choice", r#""required""#.into()),
        (Some("none"), _) => chat.set("tool_choice", r#""none""#.into()),
        (Some("tool"), Some(name)) => chat.set("tool_choice", only_function(&name)),
        (Some("auto"), _) => {}
        _ => {
            return Err(BadRequest::field(
                "tool_choice",
                "must have a \"type\" of auto, any, none, or tool with a name",
            ));
        }
    }
    if choice.get("disable_parallel_tool_use") == Some("true") {
        chat.set("parallel_tool_calls", "false".into());
    }
    Ok(())
}

/// A JSON schema for the answer: in `output_config.format`, or `output_format` as earlier versions of the API had it.
fn output_format(request: &Members<'_>, chat: &mut Members<'_>) -> Result<(), BadRequest> {
    let config = request.get("output_config").map(|raw| object(raw, "output_config")).transpose()?;
    let nested = config.as_ref().and_then(|config| config.get("format"));
    let Some(format) = nested.or_else(|| request.get("output_format")) else { return Ok(()) };
    let format = object(format, "output_format")?;
    if let (Some("json_schema"), Some(schema)) = (text(&format, "type").as_deref(), format.get("schema")) {
        set_schema(chat, schema);
    }
    Ok(())
}

/// Estimates the tokens of a request: a token is about four bytes of text; images and what else is not text count as
/// 1,500. No tokenizer is at hand, since the model is the participant's.
#[must_use]
pub fn estimate_tokens(chat: &str) -> u64 {
    const BYTES_PER_TOKEN: u64 = 4;
    const MEDIA_TOKENS: u64 = 1500;
    // In chat form, all data that is not text stands in `data:` URLs.
    let (mut bytes, mut media, mut rest) = (0, 0, chat);
    while let Some((before, after)) = rest.split_once("\"data:") {
        bytes += before.len() as u64;
        media += 1;
        rest = after.split_once('"').map_or("", |(_, after)| after);
    }
    bytes += rest.len() as u64;
    bytes.div_ceil(BYTES_PER_TOKEN) + media * MEDIA_TOKENS
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
