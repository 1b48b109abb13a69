//! What a client may ask of a participant: each operation's path, shape, and what is filled into its body.

use crate::hub::relay::client_response::Headers;
use crate::proto::management::RuntimeConfig;
use crate::proto::openai::{BadRequest, Members, json_text};
use crate::proto::operations::{self, Operation};
use crate::state::selector::Need;

/// What a route is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Chat Completions.
    Chat,
    /// Responses: of the provider's own, or put together from a chat.
    Responses,
    /// Passed through as it is, but for the model.
    Plain,
    /// A question about an earlier response.
    AboutResponse,
}

/// A route of the inference plane.
#[derive(Debug, Clone, Copy)]
pub struct InferenceRoute {
    /// What the tunnel calls it.
    pub operation: &'static str,
    /// How the provider is asked.
    pub method: &'static str,
    /// The provider's path, and the end of the hub's.
    pub path: &'static str,
    /// What events call it.
    pub protocol: &'static str,
    /// What is asked for.
    pub shape: Shape,
}

impl InferenceRoute {
    const fn of(operation: Operation, protocol: &'static str, shape: Shape) -> Self {
        InferenceRoute { operation: operation.name, method: operation.method, path: operation.path, protocol, shape }
    }

    /// A question about an earlier response.
    pub fn about_response(operation: Operation) -> Self {
        InferenceRoute::of(operation, "openResponses", Shape::AboutResponse)
    }

    /// What the participant must be able to do.
    pub fn need(self) -> Need {
        match self.shape {
            Shape::Chat => Need::Chat,
            Shape::Responses => Need::Responses,
            Shape::Plain | Shape::AboutResponse => Need::Other,
        }
    }

    pub(crate) fn check(self, body: &Members<'_>) -> Result<(), BadRequest> {
        match self.shape {
            Shape::Chat => body.check_chat(),
            Shape::Responses => body.check_responses(),
            Shape::Plain | Shape::AboutResponse => Ok(()),
        }
    }

    /// The body as a participant gets it: its model, and what the request leaves out.
    pub fn fill(self, body: &mut Members<'_>, model: &str, config: &RuntimeConfig) -> Result<(), BadRequest> {
        body.set("model", json_text(model));
        match self.shape {
            Shape::Chat => body.fill_chat(config)?,
            Shape::Responses => body.fill_responses(config),
            Shape::Plain | Shape::AboutResponse => {}
        }
        Ok(())
    }
}

/// The routes that a request is posted to.
const KINDS: [InferenceRoute; 7] = [
    InferenceRoute::of(operations::CHAT, "chatCompletions", Shape::Chat),
    InferenceRoute::of(operations::RESPONSES, "openResponses", Shape::Responses),
    InferenceRoute::of(operations::EMBEDDINGS, "embeddings", Shape::Plain),
    InferenceRoute::of(operations::COMPLETIONS, "completions", Shape::Plain),
    InferenceRoute::of(operations::RERANK, "rerank", Shape::Plain),
    InferenceRoute::of(operations::MESSAGES, "messages", Shape::Plain),
    InferenceRoute::of(operations::COUNT_TOKENS, "messages", Shape::Plain),
];

/// What a client asks.
pub struct RelayRequest<'b> {
    /// The room.
    pub code: String,
    /// The selector.
    pub model: String,
    /// The route.
    pub kind: InferenceRoute,
    /// The provider's path, with its query.
    pub path: String,
    /// What goes along beside the content type.
    pub headers: Headers,
    /// The hubs that it has passed, this one the last.
    pub hops: String,
    /// As the client sent it; `None` where nothing is sent along.
    pub body: Option<Members<'b>>,
    /// Whether a stream is asked for.
    pub stream: bool,
}

/// The operation of a path of the inference plane.
pub fn route_of(path: &str) -> Option<InferenceRoute> {
    let rest = path.strip_prefix("/rooms/")?;
    let path = &rest[rest.find('/')?..];
    KINDS.into_iter().find(|kind| kind.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_told_by_what_follows_the_room() {
        let operation = |path| route_of(path).map(|kind| kind.operation);
        assert_eq!(operation("/rooms/ABC234/v1/messages/count_tokens"), Some("messages.count_tokens"));
        assert_eq!(operation("/rooms/v1/v1/completions"), Some("completions.create"));
        assert_eq!(operation("/rooms/ABC234/v1/chat/completions"), Some("chat.completions.create"));
        assert_eq!(operation("/rooms/ABC234/v1/models"), None);
    }
}
