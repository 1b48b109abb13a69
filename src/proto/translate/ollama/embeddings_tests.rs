//! Requests for embeddings, and answers to them.

use serde_json::{Value, json};

use super::*;

fn translate(form: EmbeddingForm, request: &str) -> Result<Translated, BadRequest> {
    to_embeddings(form, &Members::parse(request.as_bytes()).unwrap())
}

fn received(form: EmbeddingForm, body: &str) -> Result<String, String> {
    embeddings_answer(form, "mine", body.as_bytes(), Duration::from_millis(1500))
}

#[test]
fn texts_become_input_in_numbers_that_are_no_base64() {
    for (form, request, sent) in [
        (
            EmbeddingForm::Embed,
            r#"{"model":"m","input":"a\u00e9","truncate":true,"keep_alive":"5m","options":{"num_ctx":1}}"#,
            r#"{"model":"m","input":"a\u00e9","encoding_format":"float"}"#,
        ),
        (
            EmbeddingForm::Embed,
            r#"{"model":"m","input":["a", ""],"dimensions":256}"#,
            r#"{"model":"m","input":["a", ""],"encoding_format":"float","dimensions":256}"#,
        ),
        (
            EmbeddingForm::Embeddings,
            r#"{"model":"m","prompt":"a"}"#,
            r#"{"model":"m","input":"a","encoding_format":"float"}"#,
        ),
    ] {
        assert_eq!(translate(form, request), Ok(Translated::Request(sent.into())));
    }
}

#[test]
fn no_text_needs_no_provider() {
    for (form, request) in [
        (EmbeddingForm::Embed, r#"{"model":"m"}"#),
        (EmbeddingForm::Embed, r#"{"model":"m","input":""}"#),
        (EmbeddingForm::Embed, r#"{"model":"m","input":[]}"#),
        (EmbeddingForm::Embeddings, r#"{"model":"m","prompt":""}"#),
    ] {
        assert_eq!(translate(form, request), Ok(Translated::Nothing), "{request}");
    }
    assert_eq!(no_embeddings(EmbeddingForm::Embed, "m"), r#"{"model":"m","embeddings":[]}"#);
    assert_eq!(no_embeddings(EmbeddingForm::Embeddings, "m"), r#"{"embedding":[]}"#);
}

#[test]
fn a_member_of_the_wrong_type_is_named() {
    for (form, request, message) in [
        (EmbeddingForm::Embed, r#"{"input":5}"#, "input must be text or a list of texts"),
        (EmbeddingForm::Embed, r#"{"input":["a",["b"]]}"#, "input[1] must be text"),
        (EmbeddingForm::Embed, r#"{"input":"a","truncate":1}"#, "truncate must be true or false"),
        (EmbeddingForm::Embed, r#"{"input":"a","dimensions":"9"}"#, "dimensions must be a number"),
        (EmbeddingForm::Embed, r#"{"input":"a","options":[]}"#, "options must be an object of at most 1024 members"),
        (EmbeddingForm::Embeddings, r#"{"prompt":["a"]}"#, "prompt must be text"),
    ] {
        assert_eq!(translate(form, request).unwrap_err().message, message);
    }
    let long = format!(r#"{{"input":[{}0]}}"#, "0,".repeat(70_000));
    assert_eq!(
        translate(EmbeddingForm::Embed, &long).unwrap_err().message,
        "input must be a list of at most 65536 items"
    );
}

#[test]
fn embeddings_come_in_the_order_of_the_texts_with_every_digit() {
    let body = r#"{"object":"list","model":"theirs","data":[
        {"object":"embedding","index":1,"embedding":[0.30000000000000004, -1e-7]},
        {"object":"embedding","index":0,"embedding":[1]}],"usage":{"prompt_tokens":8,"total_tokens":9}}"#;
    assert_eq!(
        received(EmbeddingForm::Embed, body).unwrap(),
        r#"{"model":"mine","embeddings":[[1],[0.30000000000000004, -1e-7]],"total_duration":1500000000,"prompt_eval_count":8}"#
    );
    assert_eq!(received(EmbeddingForm::Embeddings, body).unwrap(), r#"{"embedding":[1]}"#);
    let bare = r#"{"data":[{"embedding":[1]},{"embedding":[2]}],"usage":{"total_tokens":3},"error":null}"#;
    let answer: Value = serde_json::from_str(&received(EmbeddingForm::Embed, bare).unwrap()).unwrap();
    assert_eq!((&answer["embeddings"], &answer["prompt_eval_count"]), (&json!([[1], [2]]), &json!(3)));
    let uncounted = r#"{"data":[{"embedding":[1]}],"usage":{"prompt_tokens":"many"}}"#;
    assert!(!received(EmbeddingForm::Embed, uncounted).unwrap().contains("prompt_eval_count"));
}

#[test]
fn an_answer_without_numbers_is_no_answer() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"data":{}}"#,
        r#"{"data":[]}"#,
        r#"{"data":[5]}"#,
        r#"{"data":[{}]}"#,
        r#"{"data":[{"embedding":"AACAPw=="}]}"#,
        r#"{"data":[{"embedding":[]}]}"#,
        r#"{"data":[{"embedding":[1,null]}]}"#,
        r#"{"data":[{"embedding":[[1]]}]}"#,
        r#"{"data":[{"embedding":[1]},{"embedding":{}}]}"#,
    ] {
        let reason = received(EmbeddingForm::Embed, body).unwrap_err();
        assert_eq!(reason, "the provider's answer is no list of embeddings in numbers", "{body}");
    }
    assert_eq!(received(EmbeddingForm::Embed, r#"{"error":{"message":"too long"}}"#).unwrap_err(), "too long");
}
