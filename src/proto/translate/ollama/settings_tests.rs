//! Tools, formats, thinking and options in chat form.

use super::*;

type Put = fn(&Members<'_>, &mut Members<'_>) -> Result<(), BadRequest>;

/// What a member of a request puts into the chat.
fn put(put: Put, member: &str, json: &str) -> Result<String, String> {
    let (mut request, mut chat) = (Members::default(), Members::default());
    request.push(member, json);
    put(&request, &mut chat).map(|()| chat.to_json()).map_err(|bad| bad.message)
}

#[test]
fn options_keep_their_text_under_the_chats_names() {
    for (options, chat) in [
        (r#"{"temperature":0.70,"top_p":1,"top_k":40}"#, r#"{"temperature":0.70,"top_k":40,"top_p":1}"#),
        (
            r#"{"frequency_penalty":1e-1,"presence_penalty":-0.5}"#,
            r#"{"frequency_penalty":1e-1,"presence_penalty":-0.5}"#,
        ),
        (r#"{"seed":42,"num_predict":100}"#, r#"{"seed":42,"max_tokens":100}"#),
        (r#"{"seed":-1,"num_predict":-1}"#, r#"{"seed":-1}"#),
        (r#"{"num_predict":0,"stop":[]}"#, "{}"),
        (r#"{"num_predict":-2,"temperature":null}"#, "{}"),
        (r#"{"num_predict":100.0,"seed":7.9}"#, r#"{"seed":7,"max_tokens":100}"#),
        (r#"{"stop":["\n","User:"]}"#, r#"{"stop":["\n","User:"]}"#),
        (r#"{"num_ctx":"any","repeat_penalty":[],"min_p":{}}"#, "{}"),
    ] {
        assert_eq!(put(super::options, "options", options).as_deref(), Ok(chat));
    }
}

#[test]
fn options_of_the_wrong_type_are_named() {
    for (options, message) in [
        ("7", "options must be an object of at most 1024 members"),
        (r#"{"temperature":"hot"}"#, "options.temperature must be a number"),
        (r#"{"top_k":true}"#, "options.top_k must be a number"),
        (r#"{"top_p":1e400}"#, "options.top_p must be a number"),
        (r#"{"seed":"x"}"#, "options.seed must be a whole number"),
        (r#"{"num_predict":{}}"#, "options.num_predict must be a whole number"),
        (r#"{"stop":"x"}"#, "options.stop must be a list of at most 65536 items"),
        (r#"{"stop":["x",1]}"#, "options.stop[1] must be text"),
    ] {
        assert_eq!(put(super::options, "options", options).unwrap_err(), message);
    }
}

#[test]
fn tools_are_functions_as_they_were_written() {
    let function = r#"{"name":"f","parameters":{"z":1,"a":[1e400]}}"#;
    let tools = format!(r#"{{"tools":[{{"type":"function","function":{function}}}]}}"#);
    assert_eq!(
        put(super::tools, "tools", &format!(r#"[{{"type":"function","function":{function}}}]"#)),
        Ok(tools.clone())
    );
    assert_eq!(put(super::tools, "tools", &format!(r#"[{{"function":{function}}}]"#)), Ok(tools));
    assert_eq!(put(super::tools, "tools", "[]").as_deref(), Ok("{}"));
    for (tools, message) in [
        ("{}", "tools must be a list of at most 65536 items"),
        ("[1]", "tools[0] must be an object of at most 1024 members"),
        ("[{}]", "tools[0].function is required"),
        (r#"[{"function":{"name":"f"}},{"function":{}}]"#, "tools[1].function.name is required"),
        (r#"[{"function":{"name":[]}}]"#, "tools[0].function.name must be text"),
    ] {
        assert_eq!(put(super::tools, "tools", tools).unwrap_err(), message);
    }
}

#[test]
fn a_format_is_any_json_or_a_schema() {
    let schema = r#"{"type":"object","properties":{"z":{},"a":{}}}"#;
    let in_chat = format!(
        r#"{{"response_format":{{"type":"json_schema","json_schema":{{"name":"answer","schema":{schema},"strict":true}}}}}}"#
    );
    assert_eq!(put(super::format, "format", schema), Ok(in_chat));
    let any = r#"{"response_format":{"type":"json_object"}}"#;
    assert_eq!(put(super::format, "format", r#""json""#).as_deref(), Ok(any));
    for none in [r#""""#, "null"] {
        assert_eq!(put(super::format, "format", none).as_deref(), Ok("{}"));
    }
    for wrong in [r#""yaml""#, "[]", "true"] {
        assert_eq!(put(super::format, "format", wrong).unwrap_err(), r#"format must be "json" or a JSON schema"#);
    }
}

#[test]
fn only_an_effort_to_think_has_a_counterpart() {
    for effort in ["low", "medium", "high"] {
        let json = format!(r#""{effort}""#);
        assert_eq!(put(super::think, "think", &json), Ok(format!(r#"{{"reasoning_effort":{json}}}"#)));
    }
    let most = put(super::think, "think", r#""max""#);
    assert_eq!(most.as_deref(), Ok(r#"{"reasoning_effort":"high"}"#));
    for left_out in ["true", "false", "null"] {
        assert_eq!(put(super::think, "think", left_out).as_deref(), Ok("{}"));
    }
    for wrong in ["1", r#""""#, r#""some""#, "{}"] {
        assert!(put(super::think, "think", wrong).unwrap_err().starts_with("think must be "), "{wrong}");
    }
}
