//! The operations of the inference plane: each one's path, how its body is treated, and what is filled into the body.

use std::sync::Arc;

use crate::hub::relay::allowance::Admission;
use crate::hub::relay::client_response::Headers;
use crate::hub::relay::conversation::Conversation;
use crate::hub::relay::stream_error::ErrorForm;
use crate::proto::management::RuntimeConfig;
use crate::proto::openai::{BadRequest, Members, json_text};
use crate::proto::operations::{self, Operation};
use crate::state::selector::Caller;
use crate::state::selector::Need;

/// How a route's bodies are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Chat Completions.
    Chat,
    /// Responses: the provider's own, or translated from a chat completion.
    Responses,
    /// Messages: the provider's own, or translated from a chat completion.
    Messages,
    /// The tokens of a Messages request: counted by the provider, or estimated.
    CountTokens,
    /// Passed through unchanged except for the model.
    Plain,
    /// A request about an earlier response, without a body.
    AboutResponse,
}

/// A route of the inference plane.
#[derive(Debug, Clone, Copy)]
pub struct InferenceRoute {
    /// Its name on the tunnel, such as `chat.completions.create`.
    pub operation: &'static str,
    /// `GET`, `POST` or `DELETE`.
    pub method: &'static str,
    /// The provider's path, which is also the end of the hub's.
    pub path: &'static str,
    /// Its name in events, such as `openResponses`.
    pub protocol: &'static str,
    /// How its bodies are treated.
    pub shape: Shape,
}

impl InferenceRoute {
    const fn new(operation: Operation, protocol: &'static str, shape: Shape) -> Self {
        InferenceRoute { operation: operation.name, method: operation.method, path: operation.path, protocol, shape }
    }

    /// The route of a request about an earlier response.
    pub fn about_response(operation: Operation) -> Self {
        InferenceRoute::new(operation, "openResponses", Shape::AboutResponse)
    }

    /// Whether its responses are texts, which have about a token for each few bytes.
    pub fn answers_in_text(self) -> bool {
        !matches!(self.protocol, "embeddings" | "rerank")
    }

    /// How its streams tell an error.
    pub fn error_form(self) -> ErrorForm {
        match self.shape {
            Shape::Responses | Shape::AboutResponse => ErrorForm::Responses,
            Shape::Messages | Shape::CountTokens => ErrorForm::Messages,
            Shape::Chat | Shape::Plain => ErrorForm::Chat,
        }
    }

    /// What the participant must support.
    pub fn need(self) -> Need {
        match self.shape {
            Shape::Chat => Need::Chat,
            Shape::Responses => Need::Responses,
            Shape::Messages | Shape::CountTokens | Shape::Plain | Shape::AboutResponse => Need::Other,
        }
    }

    /// The id of the earlier response that a request continues.
    pub fn continued(self, body: &Members<'_>) -> Option<String> {
        let id = body.get("previous_response_id").filter(|_| self.shape == Shape::Responses)?;
        serde_json::from_str(id).ok()
    }

    /// The members of a body that hold its messages, and what providers put in front of these; `None` where an operation has
    /// no conversations.
    pub fn messages(self) -> Option<(&'static str, Option<&'static str>)> {
        match self.shape {
            Shape::Chat => Some(("messages", None)),
            Shape::Messages => Some(("messages", Some("system"))),
            Shape::Responses => Some(("input", Some("instructions"))),
            Shape::CountTokens | Shape::Plain | Shape::AboutResponse => None,
        }
    }

    /// Checks what the hub itself reads of a body.
    pub(crate) fn check(self, body: &Members<'_>) -> Result<(), BadRequest> {
        match self.shape {
            Shape::Chat => body.check_chat(),
            Shape::Responses => body.check_responses(),
            Shape::Messages | Shape::CountTokens | Shape::Plain | Shape::AboutResponse => Ok(()),
        }
    }

    /// Sets the participant's model, and fills in the defaults that the request leaves out.
    ///
    /// # Errors
    /// When the body's form does not allow that.
    pub fn fill(self, body: &mut Members<'_>, model: &str, config: &RuntimeConfig) -> Result<(), BadRequest> {
        body.set("model", json_text(model));
        match self.shape {
            Shape::Chat => body.fill_chat(config)?,
            Shape::Responses => body.fill_responses(config),
            Shape::Messages | Shape::CountTokens | Shape::Plain | Shape::AboutResponse => {}
        }
        Ok(())
    }
}

/// The routes whose path has no parameter beside the room; all are `POST`.
const ROUTES: [InferenceRoute; 7] = [
    InferenceRoute::new(operations::CHAT, "chatCompletions", Shape::Chat),
    InferenceRoute::new(operations::RESPONSES, "openResponses", Shape::Responses),
    InferenceRoute::new(operations::EMBEDDINGS, "embeddings", Shape::Plain),
    InferenceRoute::new(operations::COMPLETIONS, "completions", Shape::Plain),
    InferenceRoute::new(operations::RERANK, "rerank", Shape::Plain),
    InferenceRoute::new(operations::MESSAGES, "messages", Shape::Messages),
    InferenceRoute::new(operations::COUNT_TOKENS, "messages", Shape::CountTokens),
];

/// A client's request, as it is relayed.
pub struct RelayRequest<'b> {
    /// The room's code.
    pub code: String,
    /// The selector: the client's `model`.
    pub model: String,
    /// The route.
    pub kind: InferenceRoute,
    /// Who sent it, for the order of the waiting requests.
    pub caller: Caller,
    /// The permission of a person with a key of their own.
    pub admission: Option<Arc<Admission>>,
    /// The priority of its caller, where slots are waited for.
    pub priority: i32,
    /// The provider's path, with its query.
    pub path: String,
    /// Headers that are passed on, in addition to the content type.
    pub headers: Headers,
    /// The hubs that have relayed it, this one last (`hops`).
    pub hops: String,
    /// The serial of the participant that stores the response that it continues.
    pub owner: Option<u64>,
    /// As the client sent it; `None` where the request has no body.
    pub body: Option<Members<'b>>,
    /// Whether the client requested a stream.
    pub stream: bool,
    /// The conversation that it belongs to, where its operation has any.
    pub conversation: Option<Conversation>,
}

impl RelayRequest<'_> {
    /// The size of its body, in bytes.
    pub fn body_size(&self) -> u64 {
        let members = self.body.iter().flat_map(|body| body.iter());
        members.map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

/// The route of a path such as `/rooms/{code}/v1/chat/completions`.
pub fn route_of(path: &str) -> Option<InferenceRoute> {
    let rest = path.strip_prefix("/rooms/")?;
    let path = &rest[rest.find('/')?..];
    ROUTES.into_iter().find(|route| route.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_found_by_the_path_after_the_room() {
        let operation = |path| route_of(path).map(|route| route.operation);
        assert_eq!(operation("/rooms/ABC234/v1/messages/count_tokens"), Some("messages.count_tokens"));
        assert_eq!(operation("/rooms/v1/v1/completions"), Some("completions.create"));
        assert_eq!(operation("/rooms/ABC234/v1/chat/completions"), Some("chat.completions.create"));
        assert_eq!(operation("/rooms/ABC234/v1/models"), None);
    }
}
