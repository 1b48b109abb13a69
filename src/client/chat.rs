//! Chats with the participants of a room, for whole answers or streams.

use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use ureq::Agent;

use super::chat_stream::{ChatStream, broken_off, content, decoded};
use super::http::{CONNECT_TIMEOUT, Http, header, read, request_id};
use super::stopper::Stopper;
use crate::error::{Error, Reason};
use crate::proto::sse::Decoder;
use crate::proto::web::percent_encode;

/// The hub's own deadline for the first byte is ten minutes. This one only detects a hub that has vanished.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(900);

/// The inference routes of a room. Clones share their connections.
///
/// ```no_run
/// let room = gambi::client::Client::new("http://localhost:3000")?.room("ABC234");
/// let answer = room.chat().model("llama3").user("Why is the sky blue?").send()?;
/// println!("{} says: {}", answer.participant, answer.text);
/// for piece in room.chat().user("And at night?").stream()? {
///     print!("{}", piece?);
/// }
/// # Ok::<(), gambi::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Room {
    http: Http,
    code: String,
}

/// A participant that accepts requests, as an entry of the room's list of models.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Model {
    /// The participant's id. A request that names it is sent to no other participant.
    pub id: String,
    /// The participant's display name.
    pub nickname: String,
    /// The model that its provider runs.
    pub model: String,
    /// Whether it stands for several participants: its id is then the name of a model, or `any`.
    pub shared: bool,
}

impl Room {
    pub(super) fn new(http: Http, code: &str) -> Self {
        Room { http, code: code.to_owned() }
    }

    /// The base URL for OpenAI clients.
    ///
    /// ```
    /// let room = gambi::client::Client::new("http://hub:3000")?.room("ABC234");
    /// assert_eq!(room.openai_base_url(), "http://hub:3000/rooms/ABC234/v1");
    /// # Ok::<(), gambi::Error>(())
    /// ```
    pub fn openai_base_url(&self) -> String {
        format!("{}{}", self.http.base, self.path(""))
    }

    /// The participants that accept requests now.
    ///
    /// # Errors
    /// When the room does not exist, or the hub can't be reached.
    pub fn models(&self) -> Result<Vec<Model>, Error> {
        let path = self.path("/models");
        let mut models = Vec::new();
        self.http.each_object(&path, "\"data\"", &mut |entry| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let facts = &entry["gambi"];
            models.push(Model {
                id: text(&entry["id"]),
                nickname: text(&facts["nickname"]),
                model: text(&facts["model"]),
                shared: !facts["participants"].is_null(),
            });
        })?;
        Ok(models)
    }

    /// Starts to build a chat, by default with any participant.
    pub fn chat(&self) -> Chat {
        Chat { room: self.clone(), agent: None, model: "any".into(), messages: Vec::new(), options: Map::new() }
    }

    fn path(&self, rest: &str) -> String {
        format!("/rooms/{}/v1{rest}", percent_encode(&self.code))
    }
}

/// A chat request under construction.
#[derive(Debug, Clone)]
pub struct Chat {
    room: Room,
    /// The connections of a chat that can be stopped.
    agent: Option<Agent>,
    model: String,
    messages: Vec<Value>,
    /// Further fields of the body.
    options: Map<String, Value>,
}

impl Chat {
    /// Sends it to any participant with that model.
    #[must_use]
    pub fn model(self, name: &str) -> Self {
        self.selector(&format!("model:{name}"))
    }

    /// Sends it to that participant only.
    #[must_use]
    pub fn participant(self, id: &str) -> Self {
        self.selector(id)
    }

    /// Sends it to any participant, which is the default.
    #[must_use]
    pub fn any(self) -> Self {
        self.selector("any")
    }

    /// Sets the request's `model`, in any of its forms (PROTOCOL.md, "Inference plane").
    #[must_use]
    pub fn selector(mut self, selector: &str) -> Self {
        selector.clone_into(&mut self.model);
        self
    }

    /// Adds a system message.
    #[must_use]
    pub fn system(self, text: &str) -> Self {
        self.message("system", text)
    }

    /// Adds a user message.
    #[must_use]
    pub fn user(self, text: &str) -> Self {
        self.message("user", text)
    }

    /// Adds an earlier answer of the model.
    #[must_use]
    pub fn assistant(self, text: &str) -> Self {
        self.message("assistant", text)
    }

    fn message(mut self, role: &str, text: &str) -> Self {
        self.messages.push(json!({ "role": role, "content": text }));
        self
    }

    /// The sampling temperature, 0 to 2.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.options.insert("temperature".into(), json!(temperature));
        self
    }

    /// The maximum number of tokens of the answer.
    #[must_use]
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.options.insert("max_tokens".into(), json!(tokens));
        self
    }

    /// Requests that a stream ends with the number of its tokens.
    #[must_use]
    pub fn with_usage(mut self) -> Self {
        self.options.insert("stream_options".into(), json!({ "include_usage": true }));
        self
    }

    /// A handle that ends the chat from another thread, whether or not its answer has begun. That cancels the provider's work,
    /// and the chat and its clones cannot be sent any more.
    pub fn stopper(&mut self) -> Stopper {
        Stopper::new(self.agent.get_or_insert_with(|| new_agent(&self.room.http)))
    }

    /// Sends the request; the response has the status 200.
    fn open(self, stream: bool) -> Result<(Http, String, ureq::http::Response<ureq::Body>), Error> {
        let mut body = json!({ "model": self.model, "messages": self.messages, "stream": stream });
        if let Some(map) = body.as_object_mut() {
            map.extend(self.options);
        }
        let (http, path) = (self.room.http.clone(), self.room.path("/chat/completions"));
        let agent = self.agent.unwrap_or_else(|| new_agent(&http));
        let answer = http.send(&agent, "POST", &path, Some(&body))?;
        if answer.status() == 200 {
            return Ok((http, path, answer));
        }
        Err(http.refused(&path, answer))
    }

    /// Sends the request, and waits for the whole answer.
    ///
    /// # Errors
    /// When no participant accepts it, the participant fails, or the hub can't be reached.
    pub fn send(self) -> Result<Answer, Error> {
        let (http, path, answer) = self.open(false)?;
        let participant = participant(&answer);
        let request_id = request_id(&answer);
        let text = read(answer.into_body()).map_err(|e| broken_off(&participant, Reason::of(e), &request_id))?;
        let json = String::from_utf8_lossy(&text).into_owned();
        let _: IgnoredAny = serde_json::from_str(&json).map_err(|e| http.bad_answer(&path, Reason::of(e)))?;
        let text = content(&json).unwrap_or_default();
        Ok(Answer { text, participant, request_id, json })
    }

    /// Sends the request, and returns the answer piece by piece.
    ///
    /// # Errors
    /// As [`Chat::send`]; a later failure is an item of the iterator.
    pub fn stream(self) -> Result<ChatStream, Error> {
        let (http, path, answer) = self.open(true)?;
        let (participant, request_id) = (participant(&answer), request_id(&answer));
        let is_whole = header(&answer, "content-type").is_some_and(|kind| kind.starts_with("application/json"));
        let mut decoder = Decoder::new();
        let mut body = answer.into_body();
        if is_whole {
            // The provider does not stream. A JSON string has no raw line ends, so the answer fits one event.
            let text = read(body).map_err(|e| broken_off(&participant, Reason::of(e), &request_id))?;
            let line: Vec<u8> = text.into_iter().map(|b| if b"\r\n".contains(&b) { b' ' } else { b }).collect();
            decoder.push(&[b"data: ", &line[..], b"\n\ndata: [DONE]\n\n"].concat());
            body = ureq::Body::builder().data(Vec::new());
        }
        let body = body.into_reader();
        Ok(ChatStream { http, path, participant, request_id, body, decoder, begun: false, over: false })
    }
}

fn new_agent(http: &Http) -> Agent {
    http.agent(CONNECT_TIMEOUT, None, Some(SILENCE_TIMEOUT))
}

fn participant(answer: &ureq::http::Response<ureq::Body>) -> String {
    header(answer, "x-gambi-participant").map(decoded).unwrap_or_default()
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The model's text.
    pub text: String,
    /// The id of the participant that served it.
    pub participant: String,
    /// The hub's id of the request, which its log has too.
    pub request_id: Option<String>,
    /// The answer as the provider sent it.
    pub json: String,
}
