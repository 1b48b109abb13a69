//! The operations of the inference plane: each one's path, how its body is treated, and what is filled into the body.

use std::borrow::Cow;
use std::sync::Arc;

use crate::hub::error_shape::ErrorShape;
use crate::hub::observe::traces::{MAX_TEXT, TracedRequest};
use crate::hub::relay::allowance::RequestPermit;
use crate::hub::relay::conversation::Conversation;
use crate::hub::relay::headers::Headers;
use crate::hub::relay::response_owners::ResponseOwner;
use crate::hub::relay::stream_error::ErrorForm;
use crate::proto::management::RuntimeConfig;
use crate::proto::openai::{BadRequest, Members, json_text};
use crate::proto::operations::{self, Operation};
use crate::proto::text::cut;
use crate::proto::translate::ollama::{AnswerForm, EmbeddingForm};
use crate::state::id::RoomCode;
use crate::state::missing_routes::ReplaceableRoute;
use crate::state::registry::Picked;
use crate::state::selector::{Caller, Need};

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
    /// Ollama's API: the provider's own, or translated from a chat completion or an embedding.
    Ollama(OllamaRoute),
    /// Passed through unchanged except for the model.
    Plain,
    /// As `Plain`, answered with numbers: embeddings, or scores.
    Numbers,
    /// A request about an earlier response, without a body.
    AboutResponse,
}

/// A route of Ollama's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OllamaRoute {
    /// `/api/chat` or `/api/generate`: answered in lines, unless the request says otherwise.
    Text(AnswerForm),
    /// `/api/embed` or `/api/embeddings`.
    Vectors(EmbeddingForm),
    /// `/api/show`.
    Show,
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

    const fn ollama(operation: Operation, route: OllamaRoute) -> Self {
        InferenceRoute::new(operation, "ollama", Shape::Ollama(route))
    }

    /// The route of a request about an earlier response.
    pub fn about_response(operation: Operation) -> Self {
        InferenceRoute::new(operation, "openResponses", Shape::AboutResponse)
    }

    /// Whether its responses are texts, which have about a token for each few bytes.
    pub fn answers_in_text(self) -> bool {
        !matches!(self.shape, Shape::Numbers | Shape::Ollama(OllamaRoute::Vectors(_)))
    }

    /// How its streams tell an error.
    pub fn error_form(self) -> ErrorForm {
        match self.shape {
            Shape::Responses | Shape::AboutResponse => ErrorForm::Responses,
            Shape::Messages | Shape::CountTokens => ErrorForm::Messages,
            Shape::Ollama(_) => ErrorForm::Ollama,
            Shape::Chat | Shape::Plain | Shape::Numbers => ErrorForm::Chat,
        }
    }

    /// What the participant must support.
    pub fn need(self) -> Need {
        match (self.shape, self.replaceable()) {
            (Shape::Chat, _) => Need::Chat,
            (Shape::Responses | Shape::Ollama(OllamaRoute::Text(_)), Some(route)) => Need::ChatOr(route),
            _ => Need::Other,
        }
    }

    /// Whether its requests emit events and count in the statistics: not those that work with no model.
    pub fn is_observed(self) -> bool {
        !matches!(self.shape, Shape::AboutResponse | Shape::Ollama(OllamaRoute::Show))
    }

    /// The provider's route, where something else can take its place.
    pub fn replaceable(self) -> Option<ReplaceableRoute> {
        Some(match self.shape {
            Shape::Responses => ReplaceableRoute::Responses,
            Shape::Messages => ReplaceableRoute::Messages,
            Shape::CountTokens => ReplaceableRoute::CountTokens,
            Shape::Ollama(OllamaRoute::Text(AnswerForm::Chat)) => ReplaceableRoute::OllamaChat,
            Shape::Ollama(OllamaRoute::Text(AnswerForm::Generate)) => ReplaceableRoute::OllamaGenerate,
            Shape::Ollama(OllamaRoute::Vectors(EmbeddingForm::Embed)) => ReplaceableRoute::OllamaEmbed,
            Shape::Ollama(OllamaRoute::Vectors(EmbeddingForm::Embeddings)) => ReplaceableRoute::OllamaEmbeddings,
            Shape::Ollama(OllamaRoute::Show) => ReplaceableRoute::OllamaShow,
            Shape::Chat | Shape::Plain | Shape::Numbers | Shape::AboutResponse => return None,
        })
    }

    /// Whether something else must take the place of the participant's own route.
    pub fn is_missing(self, picked: &Picked) -> bool {
        self.replaceable().is_some_and(|route| picked.missing.contains(route))
    }

    /// The shape of a provider's error about a request that was translated, where it is not passed on as it came.
    pub fn translated_error(self) -> Option<ErrorShape> {
        match self.shape {
            Shape::Messages => Some(ErrorShape::Anthropic),
            Shape::Ollama(_) => Some(ErrorShape::Ollama),
            _ => None,
        }
    }

    /// The model selector in a body.
    pub(crate) fn model<'m>(self, body: &'m Members<'_>) -> Result<Cow<'m, str>, BadRequest> {
        // The name of the member in older clients of Ollama.
        let is_older = self.shape == Shape::Ollama(OllamaRoute::Show) && body.get("model").is_none();
        if is_older && body.get("name").is_some() { body.model_under("name") } else { body.model() }
    }

    /// Whether a body asks for a stream.
    pub(crate) fn stream(self, body: &Members<'_>) -> Result<bool, BadRequest> {
        match self.shape {
            Shape::Ollama(OllamaRoute::Text(_)) => body.stream_or(true),
            Shape::Ollama(_) => Ok(false),
            _ => body.stream(),
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
            Shape::Chat | Shape::Ollama(OllamaRoute::Text(AnswerForm::Chat)) => Some(("messages", None)),
            Shape::Messages => Some(("messages", Some("system"))),
            Shape::Responses => Some(("input", Some("instructions"))),
            Shape::CountTokens | Shape::Ollama(_) | Shape::Plain | Shape::Numbers | Shape::AboutResponse => None,
        }
    }

    /// Parses a body. Returns also its messages, where these are a list of objects.
    pub(crate) fn parse<'b>(self, body: &'b [u8]) -> Result<(Members<'b>, Option<Vec<&'b str>>), BadRequest> {
        match self.messages() {
            Some(("messages", _)) => Members::parse_chat(body),
            _ => Members::parse(body).map(|body| (body, None)),
        }
    }

    /// Checks what the hub itself reads of a body; `messages` are what [`InferenceRoute::parse`] returned.
    pub(crate) fn check(self, body: &Members<'_>, messages: Option<&[&str]>) -> Result<(), BadRequest> {
        match self.shape {
            Shape::Chat if messages.is_none() => body.check_chat().map(drop),
            Shape::Responses => body.check_responses(),
            _ => Ok(()),
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
            Shape::Messages
            | Shape::CountTokens
            | Shape::Ollama(_)
            | Shape::Plain
            | Shape::Numbers
            | Shape::AboutResponse => {}
        }
        Ok(())
    }
}

/// The routes whose path has no parameter beside the room.
pub const ROUTES: [InferenceRoute; 12] = [
    InferenceRoute::new(operations::CHAT, "chatCompletions", Shape::Chat),
    InferenceRoute::new(operations::RESPONSES, "openResponses", Shape::Responses),
    InferenceRoute::new(operations::EMBEDDINGS, "embeddings", Shape::Numbers),
    InferenceRoute::new(operations::COMPLETIONS, "completions", Shape::Plain),
    InferenceRoute::new(operations::RERANK, "rerank", Shape::Numbers),
    InferenceRoute::new(operations::MESSAGES, "messages", Shape::Messages),
    InferenceRoute::new(operations::COUNT_TOKENS, "messages", Shape::CountTokens),
    InferenceRoute::ollama(operations::OLLAMA_CHAT, OllamaRoute::Text(AnswerForm::Chat)),
    InferenceRoute::ollama(operations::OLLAMA_GENERATE, OllamaRoute::Text(AnswerForm::Generate)),
    InferenceRoute::ollama(operations::OLLAMA_EMBED, OllamaRoute::Vectors(EmbeddingForm::Embed)),
    InferenceRoute::ollama(operations::OLLAMA_EMBEDDINGS, OllamaRoute::Vectors(EmbeddingForm::Embeddings)),
    InferenceRoute::ollama(operations::OLLAMA_SHOW, OllamaRoute::Show),
];

/// A client's request, as it is relayed.
pub struct RelayRequest<'b> {
    /// The room's code.
    pub code: RoomCode,
    /// The selector: the client's `model`.
    pub model: Arc<str>,
    /// The route.
    pub kind: InferenceRoute,
    /// Who sent it, for the order of the waiting requests.
    pub caller: Caller,
    /// The permission of a person with a key of their own.
    pub permit: Option<Arc<RequestPermit>>,
    /// The priority of its caller, where slots are waited for.
    pub priority: i32,
    /// The provider's path, with its query.
    pub path: Cow<'static, str>,
    /// Headers that are passed on, in addition to the content type.
    pub headers: Headers,
    /// The hubs that have relayed it, this one last (`hops`).
    pub hops: String,
    /// Who made the response that it continues.
    pub continued: Option<ResponseOwner>,
    /// As the client sent it; `None` where the request has no body.
    pub body: Option<Members<'b>>,
    /// Whether the client requested a stream.
    pub stream: bool,
    /// The conversation that it belongs to, where its operation has any.
    pub conversation: Option<Conversation>,
}

impl RelayRequest<'_> {
    /// What the traces record of it. `id` names it; `arrived` is in milliseconds since the epoch.
    pub fn traced<'r>(&'r self, id: &'r str, arrived: u64) -> TracedRequest<'r> {
        TracedRequest {
            id,
            room: &self.code,
            caller: &self.caller,
            model: cut(&self.model, MAX_TEXT),
            protocol: self.kind.protocol,
            stream: self.stream,
            arrived,
        }
    }

    /// The serial of the participant that stores the response that it continues.
    pub fn owner(&self) -> Option<u64> {
        self.continued.as_ref().filter(|response| !response.translated).map(|response| response.serial)
    }

    /// Whether this participant is asked in another API than the client's. No provider knows a response that the hub made.
    pub fn is_translated_for(&self, picked: &Picked) -> bool {
        self.kind.is_missing(picked) || self.continued.as_ref().is_some_and(|response| response.translated)
    }

    /// The size of its body, in bytes.
    pub fn body_size(&self) -> u64 {
        let members = self.body.iter().flat_map(|body| body.iter());
        members.map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

/// The room in a path such as `/rooms/{code}/v1/chat/completions`, as it is encoded there, and the route.
pub fn room_and_route(path: &str) -> Option<(&str, InferenceRoute)> {
    let rest = path.strip_prefix("/rooms/")?;
    let (room, path) = rest.split_at(rest.find('/').filter(|&length| length > 0)?);
    ROUTES.into_iter().find(|route| route.path == path).map(|route| (room, route))
}

/// The route of such a path.
pub fn route_of(path: &str) -> Option<InferenceRoute> {
    room_and_route(path).map(|(_, route)| route)
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
        assert_eq!(operation("/rooms/ABC234/api/embed"), Some("ollama.embed"));
        assert_eq!(operation("/rooms/ABC234/v1/models"), None);
    }

    #[test]
    fn ollamas_chats_stream_unless_they_say_otherwise() {
        let stream = |path: &str, body: &str| {
            let body = Members::parse(body.as_bytes()).unwrap();
            route_of(&format!("/rooms/ABC234{path}")).unwrap().stream(&body).ok()
        };
        for path in ["/api/chat", "/api/generate"] {
            let streams =
                ["{}", r#"{"stream":null}"#, r#"{"stream":false}"#, r#"{"stream":1}"#].map(|b| stream(path, b));
            assert_eq!(streams, [Some(true), Some(true), Some(false), None], "{path}");
        }
        assert_eq!(stream("/api/embed", r#"{"stream":true}"#), Some(false));
        assert_eq!(stream("/v1/chat/completions", "{}"), Some(false));
    }

    #[test]
    fn an_older_client_names_the_model_that_it_is_to_be_shown() {
        let model = |path: &str, body: &str| {
            let body = Members::parse(body.as_bytes()).unwrap();
            route_of(&format!("/rooms/ABC234{path}"))
                .unwrap()
                .model(&body)
                .map(Cow::into_owned)
                .map_err(|bad| bad.message)
        };
        assert_eq!(model("/api/show", r#"{"name":"a"}"#).unwrap(), "a");
        assert_eq!(model("/api/show", r#"{"name":"a","model":"b"}"#).unwrap(), "b");
        assert_eq!(model("/api/show", "{}").unwrap_err(), "\"model\" is required");
        assert!(model("/api/chat", r#"{"name":"a"}"#).is_err());
    }
}
