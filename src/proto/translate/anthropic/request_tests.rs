//! Messages requests in chat form.

use serde_json::{Value, json};

use super::*;

fn chat(request: Value) -> Result<Value, String> {
    let body = request.to_string();
    let members = Members::parse(body.as_bytes()).unwrap();
    to_chat(&members).map(|chat| serde_json::from_str(&chat).unwrap()).map_err(|error| error.message)
}

fn messages_of(messages: Value) -> Value {
    chat(json!({ "model": "m", "max_tokens": 9, "messages": messages })).unwrap()["messages"].clone()
}

#[test]
fn settings_keep_their_meaning_under_the_chats_names() {
    let request = json!({ "model": "m", "max_tokens": 100, "stream": true, "temperature": 0.5, "top_k": 4,
        "stop_sequences": ["x"], "system": [{ "type": "text", "text": "A" }, { "type": "text", "text": "B" }],
        "messages": [{ "role": "user", "content": "Hi" }], "thinking": { "type": "enabled", "budget_tokens": 9 },
        "metadata": { "user_id": "u" } });
    assert_eq!(
        chat(request).unwrap(),
        json!({ "max_tokens": 100, "model": "m", "stream": true, "temperature": 0.5, "top_k": 4, "stop": ["x"],
            "messages": [{ "role": "system", "content": "A\nB" }, { "role": "user", "content": "Hi" }],
            "stream_options": { "include_usage": true } })
    );
}

#[test]
fn tools_become_functions_and_the_servers_own_are_dropped() {
    let tools = json!([{ "name": "f", "description": "d", "input_schema": { "type": "object" } },
        { "type": "web_search_20250305", "name": "web_search", "max_uses": 5 }]);
    let ask =
        |choice: Value| chat(json!({ "model": "m", "messages": [], "tools": tools, "tool_choice": choice })).unwrap();
    let function = json!({ "name": "f", "description": "d", "parameters": { "type": "object" } });
    assert_eq!(ask(Value::Null)["tools"], json!([{ "type": "function", "function": function }]));
    assert_eq!(ask(json!({ "type": "any" }))["tool_choice"], "required");
    assert_eq!(ask(json!({ "type": "none" }))["tool_choice"], "none");
    let named = ask(json!({ "type": "tool", "name": "f", "disable_parallel_tool_use": true }));
    assert_eq!(named["tool_choice"]["function"]["name"], "f");
    assert_eq!(named["parallel_tool_calls"], false);
    let only_server = json!({ "model": "m", "messages": [], "tools": [tools[1]], "tool_choice": { "type": "auto" } });
    assert!(chat(only_server).unwrap().get("tools").is_none());
}

#[test]
fn an_assistants_blocks_are_one_message_and_results_follow_it() {
    let messages = messages_of(json!([
        { "role": "user", "content": [{ "type": "text", "text": "Weather?" }] },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "Ask.", "signature": "s" },
            { "type": "redacted_thinking", "data": "x" },
            { "type": "text", "text": "Let me see." },
            { "type": "tool_use", "id": "t1", "name": "f", "input": { "city": "Oslo" } }] },
        { "role": "user", "content": [
            { "type": "text", "text": "And thanks" },
            { "type": "tool_result", "tool_use_id": "t1", "is_error": true, "content": [
                { "type": "text", "text": "rain" },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } }] }] },
    ]));
    assert_eq!(
        messages,
        json!([
            { "role": "user", "content": "Weather?" },
            { "role": "assistant", "content": "Let me see.", "reasoning_content": "Ask.", "tool_calls": [
                { "id": "t1", "type": "function", "function": { "name": "f", "arguments": "{\"city\":\"Oslo\"}" } }] },
            { "role": "tool", "tool_call_id": "t1", "content": "Error: rain" },
            { "role": "user", "content": [
                { "type": "text", "text": "And thanks" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } }] },
        ])
    );
}

#[test]
fn nothing_stands_between_results_that_come_in_several_messages() {
    let call = |id: &str| json!({ "type": "tool_use", "id": id, "name": "f", "input": {} });
    let result = |id: &str, content: Value| json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": id, "content": content }] });
    let image = json!({ "type": "image", "source": { "type": "url", "url": "http://x/y.png" } });
    let messages = messages_of(json!([
        { "role": "assistant", "content": [call("a"), call("b")] },
        result("a", json!([image])),
        result("b", json!("B")),
    ]));
    let roles: Vec<_> = messages.as_array().unwrap().iter().map(|message| message["role"].clone()).collect();
    assert_eq!(roles, ["assistant", "tool", "tool", "user"]);
}

#[test]
fn documents_are_text_or_files() {
    let document = |source: Value| {
        messages_of(json!([{ "role": "user", "content": [{ "type": "document", "source": source }] }]))[0]["content"]
            .clone()
    };
    assert_eq!(document(json!({ "type": "text", "media_type": "text/plain", "data": "words" })), "words");
    let file = document(json!({ "type": "base64", "media_type": "application/pdf", "data": "AA" }));
    assert_eq!(file[0]["file"]["file_data"], "data:application/pdf;base64,AA");
}

#[test]
fn a_schema_for_the_answer_is_carried_over() {
    let format = json!({ "type": "json_schema", "schema": { "type": "object" } });
    for request in [json!({ "output_config": { "format": format } }), json!({ "output_format": format })] {
        let mut request = request;
        request["messages"] = json!([]);
        let chat = chat(request).unwrap();
        assert_eq!(chat["response_format"]["json_schema"]["schema"], json!({ "type": "object" }));
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (request, part) in [
        (json!({}), "\"messages\" is required"),
        (json!({ "messages": "x" }), "\"messages\" must be a list"),
        (json!({ "messages": [{ "content": "x" }] }), "\"role\""),
        (json!({ "messages": [{ "role": "user" }] }), "\"content\""),
        (json!({ "messages": [{ "role": "robot", "content": "x" }] }), "unknown role \"robot\""),
        (json!({ "messages": [{ "role": "user", "content": [{ "type": "video" }] }] }), "\"video\""),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image", "source": { "type": "file", "file_id": "f" } }] }] }),
            "kept by Anthropic",
        ),
        (json!({ "messages": [], "system": 7 }), "\"system\""),
        (
            json!({ "messages": [], "tools": [{ "name": "f", "input_schema": {} }], "tool_choice": { "type": "tool" } }),
            "tool_choice",
        ),
    ] {
        let error = chat(request.clone()).unwrap_err();
        assert!(error.contains(part), "{request}: {error}");
    }
}

#[test]
fn tokens_are_estimated_by_length_and_media_by_number() {
    assert_eq!(estimate_tokens(&"x".repeat(400)), 100);
    let image = format!(r#"{{"url":"data:image/png;base64,{}"}}"#, "A".repeat(1 << 20));
    assert!((1500..1510).contains(&estimate_tokens(&image)));
    assert_eq!(estimate_tokens(r#"x"data:unterminated"#), 1501);
}

#[test]
fn what_a_search_for_tools_and_a_summary_leave_behind_is_text() {
    let messages = messages_of(json!([
        { "role": "assistant", "content": [
            { "type": "compaction", "content": null },
            { "type": "compaction", "content": "So far." },
            { "type": "server_tool_use", "id": "s", "name": "tool_search", "input": {} },
            { "type": "tool_search_tool_result", "tool_use_id": "s", "content": {} },
            { "type": "some_day_tool_result", "tool_use_id": "s", "content": {} },
            { "type": "tool_use", "id": "t", "name": "ToolSearch", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": [
            { "type": "tool_reference", "tool_name": "mcp__x" }, { "type": "tool_reference", "tool_name": "mcp__y" }] }] },
    ]));
    assert_eq!(messages[0]["content"], "So far.");
    let result =
        json!({ "role": "tool", "tool_call_id": "t", "content": "Tool available: mcp__x\nTool available: mcp__y" });
    assert_eq!((&messages[1], messages.as_array().unwrap().len()), (&result, 2));
}

#[test]
fn blocks_do_not_nest() {
    let text = json!({ "type": "text", "text": "x" });
    let result = |content: &Value| json!({ "type": "search_result", "content": [content] });
    let document =
        |content: &Value| json!({ "type": "document", "source": { "type": "content", "content": [content] } });
    for (outer, inner) in [(result(&document(&text)), "document"), (document(&result(&text)), "search_result")] {
        let request = json!({ "messages": [{ "role": "user", "content": [outer] }] }).to_string();
        let refused = to_chat(&Members::parse(request.as_bytes()).unwrap()).unwrap_err();
        assert!(refused.message.contains(&format!("A block of type \"{inner}\" within another one")), "{refused}");
    }
}

#[test]
fn a_document_of_several_blocks_is_its_blocks() {
    let image = json!({ "type": "image", "source": { "type": "url", "url": "http://x/y.png" } });
    let document = json!({ "type": "document", "source": { "type": "content", "content": [
        { "type": "text", "text": "A" }, image] } });
    let messages = messages_of(json!([{ "role": "user", "content": [document] }]));
    let parts =
        json!([{ "type": "text", "text": "A" }, { "type": "image_url", "image_url": { "url": "http://x/y.png" } }]);
    assert_eq!(messages[0]["content"], parts);
}
