//! What a chat-only provider is asked of a Responses request.

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
    let required = r#"{"input":"x","tool_choice":"required","tools":[{"type":"function","name":"f"}]}"#;
    assert!(self::chat(required).contains(r#""tool_choice":"required""#));
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

#[test]
fn what_the_hub_does_not_keep_is_refused_with_the_reason() {
    for request in [
        r#"{"input":"x","previous_response_id":"resp_1"}"#,
        r#"{"input":"x","conversation":"c"}"#,
        r#"{"input":[{"type":"item_reference","id":"x"}]}"#,
    ] {
        assert!(refused(request).contains("the hub keeps no conversations"), "{request}");
    }
    assert!(!refused(r#"{"input":"x","background":true}"#).contains("conversations"));
    let plain = r#"{"input":"x","previous_response_id":null,"conversation":null,"background":false}"#;
    assert_eq!(chat(plain), r#"{"messages":[{"role":"user","content":"x"}]}"#);
}

#[test]
fn a_coding_agents_tools_are_carried_over_as_far_as_a_chat_has_them() {
    let request = r#"{"input":"x","tool_choice":"auto","parallel_tool_calls":true,"tools":[
        {"type":"function","name":"shell","parameters":{"type":"object"},"strict":false},
        {"type":"custom","name":"apply_patch","format":{"type":"grammar","syntax":"lark","definition":"start: /x/"}},
        {"type":"namespace","name":"mcp__docs","tools":[{"type":"function","name":"find"}]},
        {"type":"web_search"},{"type":"tool_search"}]}"#;
    let chat: serde_json::Value = serde_json::from_str(&chat(request)).unwrap();
    let names = chat["tools"].as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["shell", "apply_patch", "find"]);
    assert_eq!((&chat["tool_choice"], &chat["parallel_tool_calls"]), (&"auto".into(), &true.into()));
}

#[test]
fn a_request_of_which_no_tool_is_left_says_nothing_of_tools() {
    let request =
        r#"{"input":"x","tool_choice":"required","parallel_tool_calls":false,"tools":[{"type":"web_search"}]}"#;
    assert_eq!(chat(request), r#"{"messages":[{"role":"user","content":"x"}]}"#);
}

#[test]
fn a_choice_names_tools_as_the_chat_does() {
    let tools = r#""tools":[{"type":"function","name":"f"},{"type":"custom","name":"c"},
        {"type":"namespace","name":"n","tools":[{"type":"function","name":"f"}]}]"#;
    for (choice, expected) in [
        (r#"{"type":"custom","name":"c"}"#, r#""tool_choice":{"type":"function","function":{"name":"c"}}"#),
        (
            r#"{"type":"function","name":"f","namespace":"n"}"#,
            r#""tool_choice":{"type":"function","function":{"name":"n__f"}}"#,
        ),
        (
            r#"{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"},{"type":"web_search"}]}"#,
            r#""tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required""#,
        ),
    ] {
        let chat = chat(&format!(r#"{{"input":"x","tool_choice":{choice},{tools}}}"#));
        assert!(chat.contains(expected), "{expected} is not in {chat}");
    }
}
