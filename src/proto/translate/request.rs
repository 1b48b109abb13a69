//! A Responses request as a Chat Completions request. Each part that is carried over stays as it was written.

use super::super::members::{self, BadRequest, MAX_LIST, MAX_MEMBERS, Members, cut, json_text};

/// What has no counterpart in a chat, and changes the answer's meaning if it is left out.
const REFUSED: [&str; 4] = ["background", "conversation", "previous_response_id", "prompt"];
/// What is put into other words below, or concerns only how a Responses server keeps its answers.
const TAKEN: [&str; 16] = [
    "background",
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
    let mut chat = Members::default();
    for (key, value) in request.iter().filter(|(key, value)| !TAKEN.contains(key) && *value != "null") {
        chat.push(key, value);
    }
    chat.set("messages", format!("[{}]", messages(request)?.join(",")));
    if let Some(tools) = request.get("tools") {
        chat.set("tools", list(tools, "tools")?.into_iter().map(tool).collect::<Result<Vec<_>, _>>().map(array)?);
    }
    if let Some(choice) = request.get("tool_choice") {
        chat.set("tool_choice", tool_choice(choice)?);
    }
    if let Some(limit) = request.get("max_output_tokens") {
        chat.set("max_tokens", limit.to_owned());
    }
    if let Some(stop) = request.get("stop_sequences") {
        chat.set("stop", stop.to_owned());
    }
    if chat.get("top_logprobs").is_some() {
        chat.set("logprobs", "true".into());
    }
    text_format(request, &mut chat)?;
    if let Some(effort) = inner(request, "reasoning")?.and_then(|reasoning| reasoning.get("effort").map(str::to_owned))
    {
        chat.set("reasoning_effort", effort);
    }
    if request.stream()? {
        chat.set("stream", "true".into());
        chat.set("stream_options", r#"{"include_usage":true}"#.into());
    }
    Ok(chat.to_json())
}

fn refuse(request: &Members<'_>) -> Result<(), BadRequest> {
    let given = |field: &&str| request.get(field).is_some_and(|value| value != "false");
    let fields: Vec<String> = REFUSED.iter().filter(|f| given(f)).map(|field| format!("\"{field}\"")).collect();
    if fields.is_empty() {
        return Ok(());
    }
    Err(no_counterpart(&fields.join(", ")))
}

/// The longest of a client's own words that an error repeats, in bytes.
const MAX_QUOTE: usize = 256;

fn no_counterpart(what: &str) -> BadRequest {
    let what = cut(what, MAX_QUOTE);
    let message = format!(
        "The chat/completions fallback does not support {what}: the participant's provider has no Responses API"
    );
    BadRequest { field: None, message }
}

fn array(items: Vec<String>) -> String {
    format!("[{}]", items.join(","))
}

/// A list's items, each as it was written.
fn list<'a>(raw: &'a str, field: &'static str) -> Result<Vec<&'a str>, BadRequest> {
    let items: Vec<&'a serde_json::value::RawValue> = members::list(raw)
        .map_err(|_| BadRequest::field(field, &format!("must be a list of at most {MAX_LIST} items")))?;
    Ok(items.into_iter().map(serde_json::value::RawValue::get).collect())
}

fn object<'a>(raw: &'a str, field: &'static str) -> Result<Members<'a>, BadRequest> {
    Members::parse(raw.as_bytes())
        .map_err(|_| BadRequest::field(field, &format!("must be an object of at most {MAX_MEMBERS} members")))
}

fn inner<'a>(request: &'a Members<'_>, field: &'static str) -> Result<Option<Members<'a>>, BadRequest> {
    request.get(field).map(|raw| object(raw, field)).transpose()
}

/// A member that is text.
fn text(members: &Members<'_>, key: &str) -> Option<String> {
    members.get(key).and_then(|raw| serde_json::from_str(raw).ok())
}

/// The conversation so far, with calls and text of one turn gathered into one assistant message.
#[derive(Default)]
struct Conversation {
    messages: Vec<String>,
    /// Content and calls of an assistant's turn that may go on.
    turn: Option<(Option<String>, Vec<String>)>,
}

impl Conversation {
    fn say(&mut self, role: &str, content: &str) {
        self.end_turn();
        self.messages.push(format!(r#"{{"role":{},"content":{content}}}"#, json_text(role)));
    }

    fn assistant(&mut self, content: String) {
        self.end_turn();
        self.turn = Some((Some(content), Vec::new()));
    }

    fn call(&mut self, call: String) {
        self.turn.get_or_insert_default().1.push(call);
    }

    fn end_turn(&mut self) {
        let Some((content, calls)) = self.turn.take() else { return };
        let content = content.unwrap_or_else(|| "null".into());
        let calls = if calls.is_empty() { String::new() } else { format!(r#","tool_calls":{}"#, array(calls)) };
        self.messages.push(format!(r#"{{"role":"assistant","content":{content}{calls}}}"#));
    }
}

fn messages(request: &Members<'_>) -> Result<Vec<String>, BadRequest> {
    let mut conversation = Conversation::default();
    if let Some(instructions) = request.get("instructions") {
        conversation.say("system", instructions);
    }
    let input = request.get("input").ok_or_else(|| BadRequest::field("input", "is required"))?;
    if input.starts_with('"') {
        conversation.say("user", input);
    } else {
        for raw in list(input, "input")
            .map_err(|_| BadRequest::field("input", &format!("must be text or a list of at most {MAX_LIST} items")))?
        {
            item(
                &object(raw, "input").map_err(|_| BadRequest::field("input", "must be a list of objects"))?,
                &mut conversation,
            )?;
        }
    }
    conversation.end_turn();
    Ok(conversation.messages)
}

fn item(item: &Members<'_>, conversation: &mut Conversation) -> Result<(), BadRequest> {
    let quoted = |key: &str| text(item, key).map(|text| json_text(&text));
    let missing =
        |key: &str| BadRequest { field: Some("input"), message: format!("\"input\" has an item without \"{key}\"") };
    match text(item, "type").as_deref().unwrap_or("message") {
        "message" => message(item, conversation),
        "function_call" => {
            let id = quoted("call_id").ok_or_else(|| missing("call_id"))?;
            let name = quoted("name").ok_or_else(|| missing("name"))?;
            let arguments = quoted("arguments").unwrap_or_else(|| r#""{}""#.into());
            conversation.call(format!(
                r#"{{"id":{id},"type":"function","function":{{"name":{name},"arguments":{arguments}}}}}"#
            ));
            Ok(())
        }
        "function_call_output" => {
            let id = quoted("call_id").ok_or_else(|| missing("call_id"))?;
            let output = content(item.get("output").ok_or_else(|| missing("output"))?)?;
            conversation.end_turn();
            conversation.messages.push(format!(r#"{{"role":"tool","tool_call_id":{id},"content":{output}}}"#));
            Ok(())
        }
        // What a model thought before is its own; a chat has no place for it.
        "reasoning" => Ok(()),
        other => Err(no_counterpart(&format!("An input item of type \"{other}\""))),
    }
}

fn message(message: &Members<'_>, conversation: &mut Conversation) -> Result<(), BadRequest> {
    let role = text(message, "role").ok_or_else(|| BadRequest::field("input", "has a message without \"role\""))?;
    let raw = message.get("content").ok_or_else(|| BadRequest::field("input", "has a message without \"content\""))?;
    let content = content(raw)?;
    match role.as_str() {
        "assistant" => conversation.assistant(content),
        // Local servers know only the older name.
        "developer" | "system" => conversation.say("system", &content),
        "user" => conversation.say("user", &content),
        _ => {
            return Err(BadRequest::field(
                "input",
                &format!("has a message with the unknown role \"{}\"", cut(&role, MAX_QUOTE)),
            ));
        }
    }
    Ok(())
}

/// Text stays text; parts become text where all of them are, since not every server takes a list.
fn content(raw: &str) -> Result<String, BadRequest> {
    if raw.starts_with('"') {
        return Ok(raw.to_owned());
    }
    let (mut parts, mut texts) = (Vec::new(), Some(String::new()));
    for raw in
        list(raw, "input").map_err(|_| BadRequest::field("input", "has content that is neither text nor a list"))?
    {
        let part = object(raw, "input").map_err(|_| BadRequest::field("input", "has a part that is no object"))?;
        let kind = text(&part, "type").unwrap_or_default();
        match kind.as_str() {
            "input_text" | "output_text" | "text" | "refusal" => {
                let key = if kind == "refusal" { "refusal" } else { "text" };
                let words = text(&part, key).ok_or_else(|| BadRequest::field("input", "has a part without text"))?;
                parts.push(format!(r#"{{"type":"text","text":{}}}"#, json_text(&words)));
                if let Some(texts) = &mut texts {
                    texts.push_str(&words);
                }
            }
            _ => {
                parts.push(media(&part, &kind)?);
                texts = None;
            }
        }
    }
    Ok(texts.map_or_else(|| array(parts), |text| json_text(&text)))
}

fn media(part: &Members<'_>, kind: &str) -> Result<String, BadRequest> {
    match (kind, part.get("image_url"), part.get("input_audio")) {
        ("input_image", Some(url), _) => {
            let detail = part.get("detail").map(|detail| format!(r#","detail":{detail}"#)).unwrap_or_default();
            Ok(format!(r#"{{"type":"image_url","image_url":{{"url":{url}{detail}}}}}"#))
        }
        ("input_audio", _, Some(audio)) => Ok(format!(r#"{{"type":"input_audio","input_audio":{audio}}}"#)),
        _ => Err(no_counterpart(&format!("A part of type \"{kind}\" without its data"))),
    }
}

/// A function's members lie one level deeper in a chat.
fn tool(raw: &str) -> Result<String, BadRequest> {
    let tool = object(raw, "tools").map_err(|_| BadRequest::field("tools", "must be a list of objects"))?;
    let kind = text(&tool, "type").unwrap_or_default();
    if kind != "function" {
        return Err(no_counterpart(&format!("A tool of type \"{kind}\"")));
    }
    let mut function = Members::default();
    for (key, value) in tool.iter().filter(|(key, _)| *key != "type") {
        function.push(key, value);
    }
    Ok(format!(r#"{{"type":"function","function":{}}}"#, function.to_json()))
}

fn tool_choice(raw: &str) -> Result<String, BadRequest> {
    if raw.starts_with('"') {
        return Ok(raw.to_owned());
    }
    let choice =
        object(raw, "tool_choice").map_err(|_| BadRequest::field("tool_choice", "must be text or an object"))?;
    match (text(&choice, "type").as_deref(), text(&choice, "name")) {
        (Some("function"), Some(name)) => {
            Ok(format!(r#"{{"type":"function","function":{{"name":{}}}}}"#, json_text(&name)))
        }
        (kind, _) => Err(no_counterpart(&format!("A tool choice of type \"{}\"", kind.unwrap_or_default()))),
    }
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
            chat.set("response_format", format!(r#"{{"type":"json_schema","json_schema":{}}}"#, schema.to_json()));
        }
        Some(other) => return Err(no_counterpart(&format!("A text format of type \"{other}\""))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(request: &str) -> String {
        to_chat(&Members::parse(request.as_bytes()).unwrap()).unwrap()
    }

    fn refused(request: &str) -> String {
        to_chat(&Members::parse(request.as_bytes()).unwrap()).unwrap_err().message
    }

    #[test]
    fn text_and_settings_are_carried_over() {
        assert_eq!(
            chat(
                r#"{"model":"m","input":"Hi","instructions":"Be brief.","max_output_tokens":5,"stop_sequences":["x"],
                "temperature":0.10,"own":{"b":1,"a":2},"store":true,"metadata":{},"reasoning":{"effort":"low"},"top_logprobs":2,
                "background":false,"stream":true,"user":null}"#
            ),
            concat!(
                r#"{"model":"m","temperature":0.10,"own":{"b":1,"a":2},"top_logprobs":2,"#,
                r#""messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}],"#,
                r#""max_tokens":5,"stop":["x"],"logprobs":true,"reasoning_effort":"low","#,
                r#""stream":true,"stream_options":{"include_usage":true}}"#
            )
        );
    }

    #[test]
    fn items_become_messages_and_a_turn_stays_together() {
        let input = r#"{"input":[
            {"role":"developer","content":"Rules."},
            {"type":"message","role":"user","content":[{"type":"input_text","text":"What is "},{"type":"input_text","text":"this?"}]},
            {"role":"user","content":[{"type":"input_text","text":"See"},{"type":"input_image","image_url":"data:x","detail":"low"}]},
            {"type":"reasoning","summary":[]},
            {"role":"assistant","content":[{"type":"output_text","text":"Looking."}]},
            {"type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":1}"},
            {"type":"function_call","call_id":"c2","name":"g","arguments":"{}"},
            {"type":"function_call_output","call_id":"c1","output":"one"},
            {"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"two"}]},
            {"type":"function_call","call_id":"c3","name":"f","arguments":"{}"}]}"#;
        assert_eq!(
            chat(input),
            concat!(
                r#"{"messages":[{"role":"system","content":"Rules."},{"role":"user","content":"What is this?"},"#,
                r#"{"role":"user","content":[{"type":"text","text":"See"},"#,
                r#"{"type":"image_url","image_url":{"url":"data:x","detail":"low"}}]},"#,
                r#"{"role":"assistant","content":"Looking.","tool_calls":["#,
                r#"{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},"#,
                r#"{"id":"c2","type":"function","function":{"name":"g","arguments":"{}"}}]},"#,
                r#"{"role":"tool","tool_call_id":"c1","content":"one"},{"role":"tool","tool_call_id":"c2","content":"two"},"#,
                r#"{"role":"assistant","content":null,"tool_calls":["#,
                r#"{"id":"c3","type":"function","function":{"name":"f","arguments":"{}"}}]}]}"#
            )
        );
    }

    #[test]
    fn tools_and_formats_are_nested_as_a_chat_has_them() {
        let request = r#"{"input":"x","tools":[{"type":"function","name":"f","parameters":{"z":1,"a":2},"strict":true}],
            "tool_choice":{"type":"function","name":"f"},
            "text":{"format":{"type":"json_schema","name":"s","schema":{"properties":{"b":{},"a":{}}}},"verbosity":"low"}}"#;
        let chat = chat(request);
        for part in [
            r#""tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2},"strict":true}}]"#,
            r#""tool_choice":{"type":"function","function":{"name":"f"}}"#,
            r#""response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"properties":{"b":{},"a":{}}}}}"#,
            r#""verbosity":"low""#,
        ] {
            assert!(chat.contains(part), "{part} is not in {chat}");
        }
        assert!(self::chat(r#"{"input":"x","tool_choice":"required"}"#).contains(r#""tool_choice":"required""#));
        let plain = self::chat(r#"{"input":"x","text":{"format":{"type":"text"}}}"#);
        assert!(!plain.contains("response_format"));
    }

    #[test]
    fn what_has_no_counterpart_is_refused_by_name() {
        let message = refused(r#"{"input":"x","background":true,"previous_response_id":"resp_1","conversation":{}}"#);
        for field in ["\"background\"", "\"previous_response_id\"", "\"conversation\""] {
            assert!(message.contains(field), "{message}");
        }
        for (request, part) in [
            (r#"{"input":"x","tools":[{"type":"web_search"}]}"#, "web_search"),
            (r#"{"input":"x","tool_choice":{"type":"file_search"}}"#, "file_search"),
            (r#"{"input":[{"type":"item_reference","id":"x"}]}"#, "item_reference"),
            (r#"{"input":[{"role":"user","content":[{"type":"input_file","file_id":"x"}]}]}"#, "input_file"),
            (r#"{"input":[{"role":"robot","content":"x"}]}"#, "robot"),
            (r#"{"input":[{"content":"x"}]}"#, "role"),
            (r#"{"input":[{"type":"function_call","name":"x"}]}"#, "call_id"),
            (r#"{"input":5}"#, "input"),
            (r#"{"input":[5]}"#, "input"),
            ("{}", "input"),
            (r#"{"input":"x","tools":5}"#, "tools"),
            (r#"{"input":"x","text":5}"#, "text"),
        ] {
            assert!(refused(request).contains(part), "{request}: {}", refused(request));
        }
    }
}
