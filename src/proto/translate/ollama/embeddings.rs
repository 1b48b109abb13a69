//! Requests for embeddings, and the provider's answer to them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::super::members::{BadRequest, Members, json_text, list};
use super::super::chat::error_text;
use super::fields::{boolean, each, member, number, object, text};
use super::request::Translated;

/// Which of Ollama's routes for embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingForm {
    /// `/api/embed`: of one text or several.
    Embed,
    /// `/api/embeddings`, the older one: of one text.
    Embeddings,
}

/// Puts a request into the form of OpenAI's Embeddings. What concerns only how Ollama keeps and runs a model is dropped, and
/// `truncate`: providers decide what they do with a text that is too long.
///
/// # Errors
/// Says which member is of the wrong type.
pub fn to_embeddings(form: EmbeddingForm, request: &Members<'_>) -> Result<Translated, BadRequest> {
    member(request, "options", object)?;
    member(request, "truncate", boolean)?;
    let input = match form {
        EmbeddingForm::Embed => input(request)?,
        EmbeddingForm::Embeddings => member(request, "prompt", text)?.filter(|t| !t.is_empty()).map(|t| json_text(&t)),
    };
    let dimensions = member(request, "dimensions", number)?;
    let Some(input) = input else { return Ok(Translated::Nothing) };
    let mut embeddings = Members::default();
    if let Some(model) = request.get("model") {
        embeddings.push("model", model);
    }
    embeddings.set("input", input);
    embeddings.set("encoding_format", r#""float""#.into());
    if let Some(dimensions) = dimensions.filter(|_| form == EmbeddingForm::Embed) {
        embeddings.set("dimensions", dimensions.to_owned());
    }
    Ok(Translated::Request(embeddings.to_json()))
}

/// One text or a list of texts, as it was written; `None` where there is none.
fn input(request: &Members<'_>) -> Result<Option<String>, BadRequest> {
    member(request, "input", |raw| {
        if raw.starts_with('"') {
            return Ok((!text(raw)?.is_empty()).then(|| raw.to_owned()));
        }
        if !raw.starts_with('[') {
            return Err(" must be text or a list of texts".into());
        }
        let mut count = 0;
        each(raw, |item| {
            count += 1;
            text(item).map(drop)
        })?;
        Ok((count > 0).then(|| raw.to_owned()))
    })
    .map(Option::flatten)
}

/// The answer to a request for embeddings of nothing.
pub fn no_embeddings(form: EmbeddingForm, model: &str) -> String {
    answer(form, model, &[], 0, Duration::ZERO)
}

/// The provider's answer in Ollama's form. `model` is the client's name for the model; `elapsed` is how long the answer took.
/// Beside `body` it takes as much memory again, and up to 96 bytes for each embedding.
///
/// # Errors
/// Why it is no answer with embeddings: what the provider said, or what is wrong with it.
pub fn embeddings_answer(form: EmbeddingForm, model: &str, body: &[u8], elapsed: Duration) -> Result<String, String> {
    let no_list = || "the provider's answer is no list of embeddings in numbers".to_owned();
    let provided = Members::parse(body).map_err(|_| no_list())?;
    if provided.get("error").is_some() {
        return Err(error_text(body));
    }
    let data = provided.get("data").ok_or_else(no_list)?;
    let mut entries: Vec<Entry<'_>> = list(data).map_err(|_| no_list())?;
    if entries.is_empty() || !entries.iter().all(|entry| is_vector(entry.embedding.get())) {
        return Err(no_list());
    }
    for (at, entry) in (0..).zip(&mut entries) {
        entry.index.get_or_insert(at);
    }
    entries.sort_unstable_by_key(|entry| entry.index);
    let usage = provided.get("usage").and_then(|usage| serde_json::from_str::<Counts>(usage).ok());
    let tokens = usage.and_then(|usage| usage.prompt_tokens.or(usage.total_tokens)).unwrap_or(0);
    Ok(answer(form, model, &entries, tokens, elapsed))
}

/// An entry of the provider's list.
#[derive(Deserialize)]
struct Entry<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize)]
struct Counts {
    prompt_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

/// Whether a JSON value is a list of numbers and nothing else.
fn is_vector(raw: &str) -> bool {
    let within = raw.strip_prefix('[').and_then(|raw| raw.strip_suffix(']'));
    let is_numeric = |byte: u8| byte.is_ascii_digit() || b"+-.eE, \t\r\n".contains(&byte);
    within.is_some_and(|numbers| !numbers.trim_ascii().is_empty() && numbers.bytes().all(is_numeric))
}

/// Numbers that are 0 are left out, as Ollama does.
fn answer(form: EmbeddingForm, model: &str, entries: &[Entry<'_>], tokens: u64, elapsed: Duration) -> String {
    if form == EmbeddingForm::Embeddings {
        return format!(r#"{{"embedding":{}}}"#, entries.first().map_or("[]", |entry| entry.embedding.get()));
    }
    let numbers: usize = entries.iter().map(|entry| entry.embedding.get().len() + 1).sum();
    let mut json = String::with_capacity(numbers + model.len() + 128);
    json.push_str(&format!(r#"{{"model":{},"embeddings":["#, json_text(model)));
    for (at, entry) in entries.iter().enumerate() {
        json.push_str(if at > 0 { "," } else { "" });
        json.push_str(entry.embedding.get());
    }
    json.push(']');
    for (key, number) in [("total_duration", elapsed.as_nanos()), ("prompt_eval_count", tokens.into())] {
        if number > 0 {
            json.push_str(&format!(r#","{key}":{number}"#));
        }
    }
    json + "}"
}

#[cfg(test)]
#[path = "embeddings_tests.rs"]
mod tests;
