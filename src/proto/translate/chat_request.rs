//! Forms of a Chat Completions request that more than one API is put into. Values are JSON.

use super::super::members::{Members, json_text};

/// An object that has what it is under its type's name, as most of a chat's do.
pub fn typed(kind: &str, value: &str) -> String {
    format!(r#"{{"type":"{kind}","{kind}":{value}}}"#)
}

/// The part of a message that shows the image with this URL.
pub fn image(url: &str) -> String {
    typed("image_url", &format!(r#"{{"url":{}}}"#, json_text(url)))
}

/// The choice of one function.
pub fn only_function(name: &str) -> String {
    typed("function", &format!(r#"{{"name":{}}}"#, json_text(name)))
}

/// Lets the answer be JSON that a schema allows, which the API of the request gives no name.
pub fn set_schema(chat: &mut Members<'_>, schema: &str) {
    let schema = format!(r#"{{"name":"answer","schema":{schema},"strict":true}}"#);
    chat.set("response_format", typed("json_schema", &schema));
}

/// Asks for a stream that ends with its token counts.
pub fn set_stream(chat: &mut Members<'_>) {
    chat.set("stream", "true".into());
    chat.set("stream_options", r#"{"include_usage":true}"#.into());
}
