//! The messages that a chat-only provider is sent.

use super::super::tools::Tools;
use super::*;

/// The messages of a request's members, as one text.
fn chat(request: &str) -> String {
    let request = format!("{{{request}}}");
    let request = Members::parse(request.as_bytes()).unwrap();
    let tools = Tools::of(&request).unwrap();
    messages(&request, &tools.names).unwrap().join("\n")
}

#[test]
fn items_become_messages_and_a_turn_stays_together() {
    let input = r#""input":[
        {"role":"developer","content":"Rules."},
        {"role":"user","content":[{"type":"input_text","text":"See"},{"type":"input_image","image_url":"data:x","detail":"low"}]},
        {"role":"assistant","content":[{"type":"output_text","text":"Look"},{"type":"output_text","text":"ing."}]},
        {"type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":1}"},
        {"type":"function_call","call_id":"c2","name":"g","arguments":"{}"},
        {"type":"function_call_output","call_id":"c1","output":"one"},
        {"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"two"}]},
        {"type":"function_call","call_id":"c3","name":"f"}]"#;
    let expected = [
        r#"{"role":"system","content":"Rules."}"#,
        concat!(
            r#"{"role":"user","content":[{"type":"text","text":"See"},"#,
            r#"{"type":"image_url","image_url":{"url":"data:x","detail":"low"}}]}"#
        ),
        concat!(
            r#"{"role":"assistant","content":"Looking.","tool_calls":["#,
            r#"{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},"#,
            r#"{"id":"c2","type":"function","function":{"name":"g","arguments":"{}"}}]}"#
        ),
        r#"{"role":"tool","tool_call_id":"c1","content":"one"}"#,
        r#"{"role":"tool","tool_call_id":"c2","content":"two"}"#,
        concat!(
            r#"{"role":"assistant","content":null,"tool_calls":["#,
            r#"{"id":"c3","type":"function","function":{"name":"f","arguments":"{}"}}]}"#
        ),
    ];
    assert_eq!(chat(input), expected.join("\n"));
}

#[test]
fn all_system_text_is_one_message_at_the_start() {
    let request = r#""instructions":"Be brief.","input":[{"role":"user","content":"Hi"},
        {"role":"system","content":[{"type":"input_text","text":"One."},{"type":"input_text","text":"Two."}]},
        {"role":"user","content":"Go on"},{"role":"developer","content":"Three."},{"role":"developer","content":""}]"#;
    let expected = [
        r#"{"role":"system","content":"Be brief.\n\nOne.\nTwo.\n\nThree."}"#,
        r#"{"role":"user","content":"Hi"}"#,
        r#"{"role":"user","content":"Go on"}"#,
    ];
    assert_eq!(chat(request), expected.join("\n"));
    assert_eq!(chat(r#""instructions":"","input":"Hi""#), r#"{"role":"user","content":"Hi"}"#);
}

#[test]
fn instructions_may_be_a_list_of_items() {
    let request = r#""input":"Hi","instructions":[{"role":"developer","content":"One."},
        {"type":"message","role":"user","content":[{"type":"input_text","text":"Two."},{"type":"input_text","text":"Three."}]},
        {"type":"input_text","text":"Four."}]"#;
    let system = r#"{"role":"system","content":"One.\n\nTwo.\nThree.\n\nFour."}"#;
    assert_eq!(chat(request), format!("{system}\n{}", r#"{"role":"user","content":"Hi"}"#));
    for wrong in ["5", "[5]", "[{}]", r#"[{"role":"user","content":[{"type":"input_image","image_url":"x"}]}]"#] {
        let request = format!(r#"{{"input":"Hi","instructions":{wrong}}}"#);
        let error = messages(&Members::parse(request.as_bytes()).unwrap(), &ToolNames::default()).unwrap_err();
        assert_eq!(error.field, Some("instructions"), "{wrong}");
    }
}

#[test]
fn parts_of_one_input_are_lines() {
    let request =
        r#""input":[{"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_text","text":"b"}]}]"#;
    assert_eq!(chat(request), r#"{"role":"user","content":"a\nb"}"#);
}

#[test]
fn reasoning_goes_back_on_the_message_that_it_led_to() {
    let request = r#""input":[{"role":"user","content":"Hi"},
        {"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"Hm."}]},
        {"role":"assistant","content":[{"type":"output_text","text":"Let me see."}]},
        {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"c","output":"1"},
        {"type":"reasoning","summary":[{"type":"summary_text","text":"So."}],"encrypted_content":"x"},
        {"type":"function_call","call_id":"d","name":"f","arguments":"{}"},
        {"type":"reasoning","summary":[{"type":"summary_text","text":"And."}]},
        {"type":"function_call_output","call_id":"d","output":"2"},
        {"type":"reasoning","summary":[],"content":null},
        {"role":"assistant","content":"Done."},
        {"type":"reasoning","summary":[{"type":"summary_text","text":"Nothing came of it."}]},
        {"role":"user","content":"Thanks"}]"#;
    let call = |id: &str| format!(r#"{{"id":"{id}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#);
    let expected = [
        r#"{"role":"user","content":"Hi"}"#.to_owned(),
        format!(
            r#"{{"role":"assistant","content":"Let me see.","reasoning_content":"Hm.","tool_calls":[{}]}}"#,
            call("c")
        ),
        r#"{"role":"tool","tool_call_id":"c","content":"1"}"#.to_owned(),
        format!(
            r#"{{"role":"assistant","content":null,"reasoning_content":"So.\nAnd.","tool_calls":[{}]}}"#,
            call("d")
        ),
        r#"{"role":"tool","tool_call_id":"d","content":"2"}"#.to_owned(),
        r#"{"role":"assistant","content":"Done.","reasoning_content":"Nothing came of it."}"#.to_owned(),
        r#"{"role":"user","content":"Thanks"}"#.to_owned(),
    ];
    assert_eq!(chat(request), expected.join("\n"));
}

#[test]
fn calls_of_other_kinds_of_tools_are_functions_too() {
    let request = r#""tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"}]},{"type":"function","name":"f"}],
        "input":[{"type":"custom_tool_call","call_id":"a","name":"apply_patch","input":"*** \"x\""},
        {"type":"local_shell_call","call_id":"b","id":"ls_1","action":{"type":"exec","command":["ls"]}},
        {"type":"function_call","call_id":"c","name":"f","namespace":"n","arguments":"{}"},
        {"type":"web_search_call","id":"ws_1","status":"completed"},
        {"type":"custom_tool_call_output","call_id":"a","output":"ok"},
        {"type":"local_shell_call_output","id":"b","output":"README"}]"#;
    let call = |id: &str, name: &str, arguments: &str| {
        let arguments = json_text(arguments);
        format!(r#"{{"id":"{id}","type":"function","function":{{"name":"{name}","arguments":{arguments}}}}}"#)
    };
    let calls = [
        call("a", "apply_patch", r#"{"input":"*** \"x\""}"#),
        call("b", "local_shell", r#"{"type":"exec","command":["ls"]}"#),
        call("c", "n__f", "{}"),
    ];
    let expected = [
        format!(r#"{{"role":"assistant","content":null,"tool_calls":[{}]}}"#, calls.join(",")),
        r#"{"role":"tool","tool_call_id":"a","content":"ok"}"#.to_owned(),
        r#"{"role":"tool","tool_call_id":"b","content":"README"}"#.to_owned(),
    ];
    assert_eq!(chat(request), expected.join("\n"));
}

#[test]
fn what_other_clients_tools_were_called_with_stays() {
    let request = r#""input":[{"type":"additional_tools","role":"developer","tools":[]},
        {"type":"shell_call","call_id":"a","action":{"commands":["ls"]}},
        {"type":"apply_patch_call","call_id":"b","operation":{"type":"delete_file","path":"x"}},
        {"type":"shell_call_output","call_id":"a","output":[{"stdout":"x"}]},
        {"type":"apply_patch_call_output","call_id":"b","status":"completed"},
        {"type":"agent_message","author":"/root","recipient":"/root/a","content":[{"type":"input_text","text":"Done?"}]}]"#;
    let expected = [
        concat!(
            r#"{"role":"assistant","content":null,"tool_calls":["#,
            r#"{"id":"a","type":"function","function":{"name":"shell","arguments":"{\"commands\":[\"ls\"]}"}},"#,
            r#"{"id":"b","type":"function","function":{"name":"apply_patch","arguments":"#,
            r#""{\"type\":\"delete_file\",\"path\":\"x\"}"}}]}"#
        ),
        r#"{"role":"tool","tool_call_id":"a","content":"[{\"stdout\":\"x\"}]"}"#,
        r#"{"role":"tool","tool_call_id":"b","content":"completed"}"#,
        r#"{"role":"user","content":"Done?"}"#,
    ];
    assert_eq!(chat(request), expected.join("\n"));
}

#[test]
fn what_results_show_follows_them_as_the_users() {
    let image = |url: &str| format!(r#"{{"type":"input_image","image_url":"{url}"}}"#);
    let result =
        |id: &str, output: &str| format!(r#"{{"type":"function_call_output","call_id":"{id}","output":[{output}]}}"#);
    let request = format!(
        r#""input":[{},{},{{"type":"function_call","call_id":"c","name":"f"}},{}]"#,
        result("a", &image("data:a")),
        result("b", &format!(r#"{{"type":"input_text","text":"B"}},{}"#, image("data:b"))),
        result("c", &image("data:c")),
    );
    let part = |url: &str| format!(r#"{{"type":"image_url","image_url":{{"url":"{url}"}}}}"#);
    let expected = [
        r#"{"role":"tool","tool_call_id":"a","content":""}"#.to_owned(),
        r#"{"role":"tool","tool_call_id":"b","content":"B"}"#.to_owned(),
        format!(r#"{{"role":"user","content":[{},{}]}}"#, part("data:a"), part("data:b")),
        concat!(
            r#"{"role":"assistant","content":null,"tool_calls":["#,
            r#"{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}"#
        )
        .to_owned(),
        r#"{"role":"tool","tool_call_id":"c","content":""}"#.to_owned(),
        format!(r#"{{"role":"user","content":[{}]}}"#, part("data:c")),
    ];
    assert_eq!(chat(&request), expected.join("\n"));
}

#[test]
fn a_file_that_came_along_is_a_file() {
    let file = |members: &str| format!(r#""input":[{{"role":"user","content":[{{"type":"input_file",{members}}}]}}]"#);
    let data = r#""filename":"a.pdf","file_data":"data:application/pdf;base64,eA==""#;
    let part = format!(r#"{{"type":"file","file":{{{data}}}}}"#);
    assert_eq!(chat(&file(data)), format!(r#"{{"role":"user","content":[{part}]}}"#));
    let kept = format!("{{{}}}", file(r#""file_id":"file-1""#));
    assert!(messages(&Members::parse(kept.as_bytes()).unwrap(), &ToolNames::default()).is_err());
}

#[test]
fn only_a_local_shells_items_do_without_the_id_of_a_call() {
    let input = |kind: &str| format!(r#"{{"input":[{{"type":"{kind}","id":"x","name":"f","output":"o"}}]}}"#);
    let read = |kind: &str| {
        let request = input(kind);
        messages(&Members::parse(request.as_bytes()).unwrap(), &ToolNames::default()).map_err(|error| error.message)
    };
    assert!(read("local_shell_call").is_ok() && read("local_shell_call_output").is_ok());
    for kind in ["function_call", "function_call_output", "custom_tool_call_output", "shell_call"] {
        assert!(read(kind).unwrap_err().contains("call_id"), "{kind}");
    }
}
