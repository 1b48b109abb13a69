//! A request to `/api/chat` or `/api/generate` as a Chat Completions request.

use super::super::super::members::{BadRequest, Members, json_list};
use super::super::chat_messages::ChatMessages;
use super::super::chat_request::set_stream;
use super::fields::{boolean, each, member, text};
use super::messages::{History, only_images, with_images};
use super::settings;
use super::writer::AnswerForm;

/// The error about a text that the model's answer is to lead to.
const SUFFIX: &str = "suffix has no counterpart in a chat: a participant whose provider has no API of Ollama's cannot fill in \
                      the middle of a text, so send the prompt without it";

/// What a request becomes.
#[derive(Debug, PartialEq, Eq)]
pub enum Translated {
    /// The body of a request to the provider.
    Request(String),
    /// Nothing: it only asks that the model be loaded, or for embeddings of no text. The hub answers it without a provider,
    /// with [`load_answer`](super::load_answer) or [`no_embeddings`](super::no_embeddings).
    Nothing,
}

/// Puts a request into chat form. What concerns only how Ollama keeps and runs a model (`keep_alive`, `context`, most
/// `options`) is dropped. `raw` and `template` too: the text of the prompt is the user's message.
///
/// # Errors
/// Says which member is of the wrong type, or has no counterpart.
pub fn to_chat(form: AnswerForm, request: &Members<'_>) -> Result<Translated, BadRequest> {
    let messages = match form {
        AnswerForm::Chat => chat_messages(request)?,
        AnswerForm::Generate => prompt_messages(request)?,
    };
    let mut chat = Members::default();
    if let Some(model) = request.get("model") {
        chat.push("model", model);
    }
    let has_messages = messages.is_some();
    chat.set("messages", json_list(messages.unwrap_or_default()));
    if form == AnswerForm::Chat {
        settings::tools(request, &mut chat)?;
    }
    settings::format(request, &mut chat)?;
    settings::think(request, &mut chat)?;
    settings::options(request, &mut chat)?;
    if member(request, "stream", boolean)?.unwrap_or(true) {
        set_stream(&mut chat);
    }
    Ok(if has_messages { Translated::Request(chat.to_json()) } else { Translated::Nothing })
}

/// The messages, each as JSON; `None` where there is none.
fn chat_messages(request: &Members<'_>) -> Result<Option<Vec<String>>, BadRequest> {
    let mut history = History::default();
    let read = |raw| each(raw, |message| history.add(message));
    member(request, "messages", read)?;
    Ok(history.into_chat())
}

/// The messages for a prompt; `None` where it is empty.
fn prompt_messages(request: &Members<'_>) -> Result<Option<Vec<String>>, BadRequest> {
    let prompt = member(request, "prompt", text)?.unwrap_or_default();
    let system = member(request, "system", text)?.unwrap_or_default();
    let images = member(request, "images", only_images)?.unwrap_or_default();
    member(request, "raw", boolean)?;
    member(request, "template", text)?;
    member(request, "context", |raw| raw.starts_with('[').then_some(()).ok_or_else(|| " must be a list".into()))?;
    if member(request, "suffix", text)?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(BadRequest { field: Some("suffix"), message: SUFFIX.into() });
    }
    if prompt.is_empty() {
        return Ok(None);
    }
    let mut messages = ChatMessages::default();
    messages.system = system;
    messages.push("user", &with_images(prompt, images).json());
    Ok(Some(messages.into_messages()))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
