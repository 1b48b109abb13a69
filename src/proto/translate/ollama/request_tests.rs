//! Requests to `/api/chat` and `/api/generate` in chat form.

use serde_json::{Value, json};

use super::*;

fn translate(form: AnswerForm, request: &Value) -> Result<Translated, BadRequest> {
    to_chat(form, &Members::parse(request.to_string().as_bytes()).unwrap())
}

fn sent(form: AnswerForm, request: &Value) -> Value {
    match translate(form, request) {
        Ok(Translated::Request(chat)) => serde_json::from_str(&chat).unwrap(),
        other => panic!("{request}: {other:?}"),
    }
}

#[test]
fn a_chat_streams_unless_it_says_otherwise() {
    let request =
        |stream: Value| json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }], "stream": stream });
    let plain = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }] });
    let mut streamed = plain.clone();
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({ "include_usage": true });
    assert_eq!(sent(AnswerForm::Chat, &plain), streamed);
    assert_eq!(sent(AnswerForm::Chat, &request(json!(true))), streamed);
    assert_eq!(sent(AnswerForm::Chat, &request(json!(false))), plain);
    assert_eq!(translate(AnswerForm::Chat, &request(json!("yes"))).unwrap_err().field, Some("stream"));
}

#[test]
fn what_concerns_how_ollama_keeps_a_model_is_dropped() {
    let request = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }], "stream": false, "keep_alive": "5m",
        "options": { "num_ctx": 8192, "repeat_penalty": 1.1, "min_p": 0.1, "mirostat": 1 }, "truncate": true, "shift": false });
    let chat = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }] });
    assert_eq!(sent(AnswerForm::Chat, &request), chat);
}

#[test]
fn a_prompt_is_the_users_message() {
    let request = json!({ "model": "m", "prompt": "Hi", "system": "Be kind.", "stream": false, "raw": true,
        "template": "{{ .Prompt }}", "context": [1, 2], "suffix": "", "images": ["iVBORw0KGgo="], "think": "low",
        "format": "json", "options": { "seed": 7 }, "tools": [] });
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } });
    assert_eq!(
        sent(AnswerForm::Generate, &request),
        json!({ "model": "m", "response_format": { "type": "json_object" }, "reasoning_effort": "low", "seed": 7,
            "messages": [{ "role": "system", "content": "Be kind." },
                { "role": "user", "content": [{ "type": "text", "text": "Hi" }, image] }] })
    );
    let only_prompt = json!({ "model": "m", "prompt": "Hi" });
    assert_eq!(sent(AnswerForm::Generate, &only_prompt)["messages"], json!([{ "role": "user", "content": "Hi" }]));
}

#[test]
fn nothing_to_answer_asks_that_the_model_be_loaded() {
    for (form, request) in [
        (AnswerForm::Chat, json!({ "model": "m" })),
        (AnswerForm::Chat, json!({ "model": "m", "messages": [] })),
        (AnswerForm::Chat, json!({ "model": "m", "messages": null, "keep_alive": -1 })),
        (AnswerForm::Chat, json!({ "model": "m", "messages": [{ "role": "system", "content": "" }] })),
        (AnswerForm::Generate, json!({ "model": "m" })),
        (AnswerForm::Generate, json!({ "model": "m", "prompt": "", "system": "x", "keep_alive": 0 })),
    ] {
        assert_eq!(translate(form, &request), Ok(Translated::Nothing), "{request}");
    }
    // What is wrong with such a request is told all the same.
    assert!(translate(AnswerForm::Chat, &json!({ "model": "m", "options": 5 })).is_err());
}

#[test]
fn a_text_to_fill_in_is_refused() {
    let bad = translate(AnswerForm::Generate, &json!({ "prompt": "a", "suffix": "b" })).unwrap_err();
    assert_eq!(bad.field, Some("suffix"));
    assert_eq!(
        bad.message,
        "suffix has no counterpart in a chat: a participant whose provider has no API of Ollama's cannot fill in the middle of \
         a text, so send the prompt without it"
    );
}

#[test]
fn a_member_of_the_wrong_type_is_named() {
    for (member, value, message) in [
        ("prompt", json!(5), "prompt must be text"),
        ("system", json!([]), "system must be text"),
        ("suffix", json!({}), "suffix must be text"),
        ("template", json!(1), "template must be text"),
        ("raw", json!("yes"), "raw must be true or false"),
        ("context", json!("1"), "context must be a list"),
        ("images", json!("x"), "images must be a list of at most 65536 items"),
        ("images", json!(["iVBO", "?"]), "images[1] must be base64 text"),
        ("format", json!(true), r#"format must be "json" or a JSON schema"#),
        ("think", json!("much"), r#"think must be true, false, "low", "medium", "high" or "max""#),
        ("options", json!([]), "options must be an object of at most 1024 members"),
        ("stream", json!(0), "stream must be true or false"),
    ] {
        let mut request = json!({ "model": "m", "prompt": "Hi" });
        request[member] = value;
        let bad = translate(AnswerForm::Generate, &request).unwrap_err();
        assert_eq!((bad.field, bad.message.as_str()), (Some(member), message));
    }
    let bad = translate(AnswerForm::Chat, &json!({ "messages": "Hi" })).unwrap_err();
    assert_eq!(bad.message, "messages must be a list of at most 65536 items");
}
