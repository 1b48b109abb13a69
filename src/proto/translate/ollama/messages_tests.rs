//! Messages of `/api/chat` in chat form.

use serde_json::{Value, json};

use super::*;

fn read(messages: &Value) -> Result<Option<Vec<String>>, Wrong> {
    let mut read = History::default();
    each(&messages.to_string(), |message| read.add(message))?;
    Ok(read.into_chat())
}

fn chat(messages: &Value) -> Value {
    let messages = read(messages).unwrap().unwrap();
    messages.iter().map(|message| serde_json::from_str::<Value>(message).unwrap()).collect()
}

fn wrong(message: &Value) -> String {
    read(&json!([message])).unwrap_err()
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

#[test]
fn system_texts_lead_and_roles_may_be_in_capitals() {
    let messages = json!([{ "role": "system", "content": "A" }, { "role": "User", "content": "Hi" },
        { "role": "assistant", "content": "Hello", "thinking": "Greet." }, { "role": "system", "content": "B" },
        { "role": "user" }]);
    assert_eq!(
        chat(&messages),
        json!([{ "role": "system", "content": "A\n\nB" }, { "role": "user", "content": "Hi" },
            { "role": "assistant", "content": "Hello", "reasoning_content": "Greet." }, { "role": "user", "content": "" }])
    );
    assert_eq!(read(&json!([])), Ok(None));
    let empty = json!([{ "role": "assistant", "content": "", "tool_calls": [] }]);
    assert_eq!(chat(&empty), json!([{ "role": "assistant", "content": "" }]));
}

#[test]
fn images_become_parts_with_the_type_that_their_bytes_show() {
    let url = |image: &str| {
        let message = json!([{ "role": "user", "content": "", "images": [image] }]);
        chat(&message)[0]["content"][0]["image_url"]["url"].as_str().unwrap().to_owned()
    };
    for (image, shown) in [
        ("iVBORw0KGgo=", "data:image/png;base64,iVBORw0KGgo="),
        ("/9j/4AAQ", "data:image/jpeg;base64,/9j/4AAQ"),
        ("R0lGODlh", "data:image/gif;base64,R0lGODlh"),
        ("UklGRgAAAABXRUJQ", "data:image/webp;base64,UklGRgAAAABXRUJQ"),
        ("Qk0+AAAA", "data:image/bmp;base64,Qk0+AAAA"),
        // Neither an image that is known nor padded; with line ends, as tools wrap base64.
        ("AAAA\nAAA", "data:image/png;base64,AAAAAAA="),
        ("iVBO\r\nRw==", "data:image/png;base64,iVBORw=="),
    ] {
        assert_eq!(url(image), shown);
    }
    let both = json!([{ "role": "user", "content": "What?", "images": ["/9j/4AAQ", "R0lGODlh"] }]);
    let content = chat(&both)[0]["content"].clone();
    assert_eq!(content[0], json!({ "type": "text", "text": "What?" }));
    assert_eq!(content.as_array().unwrap().len(), 3);
}

#[test]
fn what_is_no_base64_is_refused() {
    for image in [
        json!(""),
        json!("data:image/png;base64,AAAA"),
        json!("AAAAA"),
        json!("AA=A"),
        json!("AA==="),
        json!(5),
        json!("ü"),
    ] {
        let message = json!({ "role": "user", "images": ["AAAA", image] });
        assert_eq!(wrong(&message), "[0].images[1] must be base64 text", "{image}");
    }
}

#[test]
fn calls_without_ids_get_the_same_ones_in_each_request() {
    let ask = |name: &str, city: &str| json!({ "function": { "name": name, "arguments": { "city": city } } });
    let mut messages = json!([{ "role": "user", "content": "Compare." },
        { "role": "assistant", "content": "", "tool_calls": [ask("f", "Oslo"), ask("g", "Rome")] },
        { "role": "tool", "content": "warm", "tool_name": "g" }, { "role": "tool", "content": "cold", "tool_name": "f" }]);
    let first = chat(&messages);
    assert_eq!(
        first,
        json!([{ "role": "user", "content": "Compare." },
            { "role": "assistant", "content": null, "tool_calls":
                [call("call00001", "f", r#"{"city":"Oslo"}"#), call("call00002", "g", r#"{"city":"Rome"}"#)] },
            { "role": "tool", "tool_call_id": "call00002", "content": "warm" },
            { "role": "tool", "tool_call_id": "call00001", "content": "cold" }])
    );
    let more = [
        json!({ "role": "assistant", "content": "Wait.", "tool_calls": [ask("f", "Rome")] }),
        json!({ "role": "tool", "content": "mild" }),
    ];
    messages.as_array_mut().unwrap().extend(more);
    let second = chat(&messages);
    assert_eq!(second.as_array().unwrap()[..4], first.as_array().unwrap()[..]);
    assert_eq!(second[4]["content"], "Wait.");
    assert_eq!(
        (&second[4]["tool_calls"][0]["id"], &second[5]["tool_call_id"]),
        (&json!("call00003"), &json!("call00003"))
    );
}

#[test]
fn results_find_their_calls() {
    // The calls' ids and names, then each result's `tool_call_id` and `tool_name`, and the id that it gets.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case<'_>; 6] = [
        (&[("a", "f"), ("b", "g")], &[("b", ""), ("", "")], &["b", "a"]),
        (&[("a", "f"), ("b", "f")], &[("", "f"), ("", "f")], &["a", "b"]),
        (&[("a", "f"), ("b", "g")], &[("", "slip"), ("", "g")], &["a", "b"]),
        (&[("a", "f")], &[("", "f"), ("", "f")], &["a", "call00001"]),
        (&[("a", "f")], &[("other", "f"), ("", "f")], &["other", "a"]),
        (&[], &[("", "f")], &["call00001"]),
    ];
    for (calls, results, ids) in cases {
        let calls: Vec<_> = calls.iter().map(|(id, name)| json!({ "id": id, "function": { "name": name } })).collect();
        let mut messages = vec![json!({ "role": "assistant", "tool_calls": calls })];
        for (id, name) in results {
            let message = json!({ "role": "tool", "content": "x", "tool_call_id": id, "tool_name": name });
            let given = |value: &Value| !value.as_str().is_some_and(str::is_empty);
            messages.push(message.as_object().unwrap().clone().into_iter().filter(|(_, value)| given(value)).collect());
        }
        let chat = chat(&json!(messages));
        let found: Vec<_> =
            chat.as_array().unwrap().iter().filter_map(|message| message["tool_call_id"].as_str()).collect();
        assert_eq!(found, ids, "{messages:?}");
    }
}

#[test]
fn a_result_does_not_answer_a_call_of_an_earlier_turn() {
    let asks =
        |name: &str| json!({ "role": "assistant", "tool_calls": [{ "id": name, "function": { "name": name } }] });
    let result = json!({ "role": "tool", "content": "x" });
    let ids = |messages: Value| -> Vec<String> {
        let chat = chat(&messages);
        chat.as_array().unwrap().iter().filter_map(|m| Some(m["tool_call_id"].as_str()?.to_owned())).collect()
    };
    assert_eq!(ids(json!([asks("a"), { "role": "user", "content": "Stop." }, asks("b"), result])), ["b"]);
    let two = json!({ "role": "assistant", "tool_calls": [{ "id": "a", "function": { "name": "f" } },
        { "id": "lost", "function": { "name": "f" } }] });
    assert_eq!(ids(json!([two, result, asks("b"), result])), ["a", "b"]);
    // One turn of the assistant in two messages.
    assert_eq!(ids(json!([asks("a"), asks("b"), result, result])), ["a", "b"]);
}

#[test]
fn images_of_a_tool_follow_the_results() {
    let message = json!([
        { "role": "assistant", "tool_calls": [{ "function": { "name": "f" } }, { "function": { "name": "g" } }] },
        { "role": "tool", "content": "see", "images": ["/9j/4AAQ"] }, { "role": "system", "content": "S" },
        { "role": "tool", "content": "none" },
        { "role": "assistant", "content": "A cat." }]);
    let roles: Vec<_> = chat(&message).as_array().unwrap().iter().map(|message| message["role"].clone()).collect();
    assert_eq!(roles, ["system", "assistant", "tool", "tool", "user", "assistant"]);
    let last = json!([{ "role": "system", "content": "S", "images": ["/9j/4AAQ"] }]);
    let url = json!({ "url": "data:image/jpeg;base64,/9j/4AAQ" });
    assert_eq!(chat(&last)[1], json!({ "role": "user", "content": [{ "type": "image_url", "image_url": url }] }));
}

#[test]
fn arguments_keep_their_text() {
    let mut messages = History::default();
    messages
        .add(r#"{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"z": 1e400,"a":12345678901234567890}}}]}"#)
        .unwrap();
    let chat: Value = serde_json::from_str(&messages.into_chat().unwrap()[0]).unwrap();
    assert_eq!(chat["tool_calls"][0]["function"]["arguments"], r#"{"z": 1e400,"a":12345678901234567890}"#);
}

#[test]
fn a_member_of_the_wrong_type_is_named() {
    let calls = |call: Value| json!({ "role": "assistant", "tool_calls": [{ "function": { "name": "f" } }, call] });
    for (message, problem) in [
        (json!(5), "[0] must be an object of at most 1024 members"),
        (json!({ "content": "x" }), "[0].role is required"),
        (json!({ "role": 5 }), "[0].role must be text"),
        (json!({ "role": "cook" }), "[0].role must be system, user, assistant or tool"),
        (json!({ "role": "user", "content": [] }), "[0].content must be text"),
        (json!({ "role": "user", "images": {} }), "[0].images must be a list of at most 65536 items"),
        (json!({ "role": "assistant", "thinking": true }), "[0].thinking must be text"),
        (json!({ "role": "assistant", "tool_calls": "f" }), "[0].tool_calls must be a list of at most 65536 items"),
        (calls(json!("f")), "[0].tool_calls[1] must be an object of at most 1024 members"),
        (calls(json!({})), "[0].tool_calls[1].function is required"),
        (calls(json!({ "function": [] })), "[0].tool_calls[1].function must be an object of at most 1024 members"),
        (calls(json!({ "function": {} })), "[0].tool_calls[1].function.name is required"),
        (
            calls(json!({ "function": { "name": "f", "arguments": "{}" } })),
            "[0].tool_calls[1].function.arguments must be an object",
        ),
        (calls(json!({ "id": 1, "function": { "name": "f" } })), "[0].tool_calls[1].id must be text"),
        (json!({ "role": "tool", "tool_name": 1 }), "[0].tool_name must be text"),
        (json!({ "role": "tool", "tool_call_id": 1 }), "[0].tool_call_id must be text"),
    ] {
        assert_eq!(wrong(&message), problem);
    }
}

#[test]
fn calls_of_a_turn_are_counted() {
    let turn = |count: usize| json!({ "role": "assistant", "tool_calls": vec![json!({ "function": { "name": "f" } }); count] });
    assert!(read(&json!([turn(MAX_CALLS)])).is_ok());
    assert_eq!(wrong(&turn(MAX_CALLS + 1)), "[0].tool_calls[1024] is one of more than 1024 calls of a turn");
    assert!(read(&json!([turn(MAX_CALLS), turn(1)])).is_err());
    assert!(read(&json!([turn(MAX_CALLS), { "role": "user" }, turn(1)])).is_ok());
}

#[test]
fn images_of_a_request_are_counted() {
    let message = |count: usize| json!({ "role": "user", "images": vec!["AAAA"; count] });
    assert!(read(&json!([message(MAX_IMAGES - 1), message(1)])).is_ok());
    assert_eq!(wrong(&message(MAX_IMAGES + 1)), "[0].images[1024] is one of more than 1024 images of a request");
    assert!(read(&json!([message(MAX_IMAGES), message(0)])).is_ok());
    assert!(read(&json!([message(MAX_IMAGES), message(1)])).is_err());
    assert!(only_images(&json!(vec!["AAAA"; MAX_IMAGES + 1]).to_string()).is_err());
}
