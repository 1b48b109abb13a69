//! The messages of a request to `/api/chat` as those of a chat.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::super::super::members::Members;
use super::super::chat_messages::{ChatMessages, Content, PARAGRAPH, Part, append};
use super::super::chat_request::image;
use super::super::limits::MAX_CALLS;
use super::fields::{Wrong, any_object, each, object, optional, required, text};

/// The most images of a request: each becomes a part of a message, which is many times as long as a short one.
const MAX_IMAGES: usize = 1024;
/// How images begin, and the media types that this shows.
const MAGIC: [(&[u8], &str); 5] = [
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
    (b"BM", "image/bmp"),
];
/// Of an image that begins otherwise. Servers look at its bytes.
const OTHER_IMAGE: &str = "image/png";

/// The messages of a conversation so far.
#[derive(Default)]
pub struct History {
    messages: ChatMessages,
    count: usize,
    image_count: usize,
    /// How many calls had no id.
    unnamed: usize,
    /// Calls of the assistant's last turn that have no result yet, in order.
    waiting: Vec<MessageCall>,
    /// Whether the last message was the result of a call.
    after_result: bool,
}

/// A call of an assistant's message.
struct MessageCall {
    id: String,
    name: String,
}

impl History {
    /// Reads the next message.
    pub fn add(&mut self, raw: &str) -> Result<(), Wrong> {
        let message = object(raw)?;
        self.count += 1;
        let role = required(&message, "role", text)?.to_ascii_lowercase();
        let content = optional(&message, "content", text)?.unwrap_or_default();
        let images =
            optional(&message, "images", |raw| images(raw, MAX_IMAGES - self.image_count))?.unwrap_or_default();
        self.image_count += images.len();
        if role == "user" || role == "assistant" && self.after_result {
            self.waiting.clear();
        }
        self.after_result = role == "tool";
        match role.as_str() {
            "user" => {
                self.messages.push("user", &with_images(content, images).json());
                return Ok(());
            }
            "system" => append(&mut self.messages.system, PARAGRAPH, &content),
            "assistant" => self.assistant(&message, &content)?,
            "tool" => self.result(&message, content)?,
            _ => return Err(".role must be system, user, assistant or tool".into()),
        }
        images.into_iter().for_each(|image| self.messages.show(image));
        Ok(())
    }

    /// The chat's messages, each as JSON; `None` where there was none.
    pub fn into_chat(self) -> Option<Vec<String>> {
        // Empty system messages leave none.
        Some(self.messages.into_messages()).filter(|messages| !messages.is_empty())
    }

    fn assistant(&mut self, message: &Members<'_>, content: &str) -> Result<(), Wrong> {
        if let Some(thinking) = optional(message, "thinking", text)? {
            self.messages.add_reasoning(&thinking);
        }
        let before = self.waiting.len();
        optional(message, "tool_calls", |raw| each(raw, |call| self.call(call)))?;
        if self.waiting.len() == before || !content.is_empty() {
            self.messages.add_text(content);
        }
        Ok(())
    }

    /// Ollama's calls may have no ids: results follow them in their order, or name the tool. The ids that they get here
    /// depend on the earlier messages only, so that they are the same in the next request, which a provider may have cached.
    fn call(&mut self, raw: &str) -> Result<(), Wrong> {
        if self.waiting.len() == MAX_CALLS {
            return Err(format!(" is one of more than {MAX_CALLS} calls of a turn"));
        }
        let call = object(raw)?;
        let (name, arguments) = required(&call, "function", |raw| {
            let function = object(raw)?;
            let arguments = optional(&function, "arguments", any_object)?.unwrap_or("{}").to_owned();
            Ok((required(&function, "name", text)?, arguments))
        })?;
        let id = optional(&call, "id", text)?.filter(|id| !id.is_empty()).unwrap_or_else(|| self.next_id());
        self.messages.call(&id, &name, &arguments);
        self.waiting.push(MessageCall { id, name });
        Ok(())
    }

    /// Nine letters and digits: what the templates of Mistral's models demand.
    fn next_id(&mut self) -> String {
        self.unnamed += 1;
        format!("call{:05}", self.unnamed)
    }

    fn result(&mut self, message: &Members<'_>, content: String) -> Result<(), Wrong> {
        let id = optional(message, "tool_call_id", text)?.filter(|id| !id.is_empty());
        // Older clients say `name`.
        let named = optional(message, "tool_name", text)?.or(optional(message, "name", text)?);
        let is_meant = |call: &MessageCall| match (&id, &named) {
            (Some(id), _) => call.id == *id,
            (None, Some(name)) => call.name == *name,
            (None, None) => true,
        };
        let found = self.waiting.iter().position(is_meant);
        // A name that no call has is a slip: the results are in the order of the calls.
        let found = found.or((id.is_none() && !self.waiting.is_empty()).then_some(0));
        let call_id = found.map(|at| self.waiting.remove(at).id);
        let call_id = id.or(call_id).unwrap_or_else(|| self.next_id());
        self.messages.result(&call_id, content.into());
        Ok(())
    }
}

/// The images of a request whose only list of images this is.
pub fn only_images(raw: &str) -> Result<Vec<Part>, Wrong> {
    images(raw, MAX_IMAGES)
}

/// A list of at most `most` images.
fn images(raw: &str, most: usize) -> Result<Vec<Part>, Wrong> {
    let mut images = Vec::new();
    each(raw, |raw| {
        if images.len() == most {
            return Err(format!(" is one of more than {MAX_IMAGES} images of a request"));
        }
        images.push(Part::Media(image(&data_url(raw)?)));
        Ok(())
    })?;
    Ok(images)
}

/// An image in base64 as a `data:` URL. Line ends within it are left out, as Ollama does.
fn data_url(raw: &str) -> Result<String, Wrong> {
    let wrong = |_| " must be base64 text".to_owned();
    let mut base64 = text(raw).map_err(wrong)?;
    base64.retain(|c| !matches!(c, '\r' | '\n'));
    let digits = base64.trim_end_matches('=');
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    // One digit alone holds no byte.
    if digits.is_empty() || digits.len() % 4 == 1 || base64.len() - digits.len() > 2 || !digits.bytes().all(is_digit) {
        return Err(wrong(String::new()));
    }
    let start = STANDARD_NO_PAD.decode(&digits[..digits.len().min(8)]).unwrap_or_default();
    let known = MAGIC.iter().find(|(magic, _)| start.starts_with(magic));
    let media_type = known.map_or(OTHER_IMAGE, |(_, media_type)| media_type);
    let padding = ["", "", "==", "="][digits.len() % 4];
    Ok(format!("data:{media_type};base64,{digits}{padding}"))
}

/// A message's text and images. Beside images, an empty text is left out.
pub fn with_images(words: String, images: Vec<Part>) -> Content {
    if images.is_empty() {
        return words.into();
    }
    let mut content = Content::default();
    if !words.is_empty() {
        content.push("", Part::Text(words));
    }
    images.into_iter().for_each(|image| content.push("", image));
    content
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
