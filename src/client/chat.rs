//! Talking to whoever is in a room: whole answers, and streams as iterators of pieces.

use std::io::Read;
use std::time::Duration;

use serde_json::{Map, Value, json};
use ureq::BodyReader;

use super::http::{Http, agent, read, read_refusal};
use crate::error::Error;
use crate::proto::sse::Decoder;
use crate::proto::web::{percent_decode, percent_encode};

const CONNECT: Duration = Duration::from_secs(5);
/// The hub's own deadline for an answer's first byte is ten minutes; this one only catches a hub that has vanished.
const SILENCE: Duration = Duration::from_secs(900);

/// A room of a hub, seen from outside. Copies share their connections.
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

/// Somebody in a room who can be talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Model {
    /// The participant's id: a request that names it goes to nobody else.
    pub id: String,
    /// The participant's name for people.
    pub nickname: String,
    /// The model that its provider runs.
    pub model: String,
}

impl Room {
    pub(super) fn new(http: Http, code: &str) -> Self {
        Room { http, code: code.to_owned() }
    }

    /// What OpenAI clients take as their base URL.
    ///
    /// ```
    /// let room = gambi::client::Client::new("http://hub:3000")?.room("ABC234");
    /// assert_eq!(room.openai_base_url(), "http://hub:3000/rooms/ABC234/v1");
    /// # Ok::<(), gambi::Error>(())
    /// ```
    pub fn openai_base_url(&self) -> String {
        format!("{}{}", self.http.base, self.path(""))
    }

    /// Whoever can be talked to now.
    ///
    /// # Errors
    /// When there is no such room, or the hub can't be reached.
    pub fn models(&self) -> Result<Vec<Model>, Error> {
        let path = self.path("/models");
        let (_, text) = self.http.call("GET", &path, None)?;
        let list: Value = serde_json::from_slice(&text).map_err(|e| self.http.bad_answer(&path, &e.to_string()))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let model = |entry: &Value| Model {
            id: text(&entry["id"]),
            nickname: text(&entry["gambi"]["nickname"]),
            model: text(&entry["gambi"]["model"]),
        };
        Ok(list["data"].as_array().into_iter().flatten().map(model).collect())
    }

    /// A chat, with any participant unless it is told otherwise.
    pub fn chat(&self) -> Chat {
        Chat { room: self.clone(), model: "any".into(), messages: Vec::new(), more: Map::new() }
    }

    fn path(&self, rest: &str) -> String {
        format!("/rooms/{}/v1{rest}", percent_encode(&self.code))
    }
}

/// A request that is being put together.
#[derive(Debug, Clone)]
pub struct Chat {
    room: Room,
    model: String,
    messages: Vec<Value>,
    more: Map<String, Value>,
}

impl Chat {
    /// Any participant with that model.
    #[must_use]
    pub fn model(self, name: &str) -> Self {
        self.selector(&format!("model:{name}"))
    }

    /// That participant and nobody else.
    #[must_use]
    pub fn participant(self, id: &str) -> Self {
        self.selector(id)
    }

    /// Any participant, as is the case unless told otherwise.
    #[must_use]
    pub fn any(self) -> Self {
        self.selector("any")
    }

    /// Whatever a request may say as its `model`.
    #[must_use]
    pub fn selector(mut self, selector: &str) -> Self {
        selector.clone_into(&mut self.model);
        self
    }

    /// A leading instruction.
    #[must_use]
    pub fn system(self, text: &str) -> Self {
        self.message("system", text)
    }

    /// Something that the user says.
    #[must_use]
    pub fn user(self, text: &str) -> Self {
        self.message("user", text)
    }

    /// Something that the model said before.
    #[must_use]
    pub fn assistant(self, text: &str) -> Self {
        self.message("assistant", text)
    }

    fn message(mut self, role: &str, text: &str) -> Self {
        self.messages.push(json!({ "role": role, "content": text }));
        self
    }

    /// How freely the model chooses its words, 0 to 2.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.more.insert("temperature".into(), json!(temperature));
        self
    }

    /// The most tokens that the answer may have.
    #[must_use]
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.more.insert("max_tokens".into(), json!(tokens));
        self
    }

    fn ask(self, stream: bool) -> Result<(Http, String, ureq::http::Response<ureq::Body>), Error> {
        let mut body = json!({ "model": self.model, "messages": self.messages, "stream": stream });
        if let Some(map) = body.as_object_mut() {
            map.extend(self.more);
        }
        let (http, path) = (self.room.http.clone(), self.room.path("/chat/completions"));
        let answer = http.send(&agent(CONNECT, None, Some(SILENCE)), "POST", &path, Some(&body))?;
        let status = answer.status().as_u16();
        if status == 200 {
            return Ok((http, path, answer));
        }
        let text = read_refusal(answer.into_body());
        Err(http.refusal(&path, status, &text))
    }

    /// Sends it, and waits for the whole answer.
    ///
    /// # Errors
    /// When nobody takes it, the participant fails, or the hub can't be reached.
    pub fn send(self) -> Result<Answer, Error> {
        let (http, path, answer) = self.ask(false)?;
        let participant = participant(&answer);
        let text = read(answer.into_body()).map_err(|e| http.unreachable(&e))?;
        let json = String::from_utf8_lossy(&text).into_owned();
        let whole: Value = serde_json::from_str(&json).map_err(|e| http.bad_answer(&path, &e.to_string()))?;
        let text = whole["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        Ok(Answer { text, participant, json })
    }

    /// Sends it, and gives the answer piece by piece.
    ///
    /// # Errors
    /// As [`Chat::send`]; what fails later is an item of the iterator.
    pub fn stream(self) -> Result<ChatStream, Error> {
        let (http, path, answer) = self.ask(true)?;
        let participant = participant(&answer);
        let body = answer.into_body().into_reader();
        Ok(ChatStream { http, path, participant, body, decoder: Decoder::new(), over: false })
    }
}

fn participant(answer: &ureq::http::Response<ureq::Body>) -> String {
    let header = answer.headers().get("x-gambi-participant").and_then(|value| value.to_str().ok());
    // An older hub's is not encoded.
    header.map(|header| percent_decode(header).unwrap_or_else(|| header.to_owned())).unwrap_or_default()
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// What the model said.
    pub text: String,
    /// Who served it.
    pub participant: String,
    /// The answer as the provider sent it.
    pub json: String,
}

/// An answer that comes piece by piece. Dropping it hangs up, which stops the provider's work.
pub struct ChatStream {
    http: Http,
    path: String,
    participant: String,
    body: BodyReader<'static>,
    decoder: Decoder,
    over: bool,
}

impl ChatStream {
    /// Who serves it; empty where the hub could not say yet when the stream began.
    pub fn participant(&self) -> &str {
        &self.participant
    }

    /// The next event's JSON as the provider sent it; `None` at the proper end.
    pub fn next_json(&mut self) -> Option<Result<String, Error>> {
        if self.over {
            return None;
        }
        let next = self.wait().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }

    fn wait(&mut self) -> Result<Option<String>, Error> {
        let broken = |reason: &str| Error::Unreachable { url: self.http.base.clone(), reason: reason.to_owned() };
        let mut buffer = [0; 4096];
        loop {
            if let Some(event) = self.decoder.next_event() {
                return match event.data.as_str() {
                    "[DONE]" => Ok(None),
                    data if data.starts_with("{\"error\"") => Err(self.http.refusal(&self.path, 502, data.as_bytes())),
                    _ => Ok(Some(event.data)),
                };
            }
            match self.body.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(n) => self.decoder.push(&buffer[..n]),
                Err(error) => return Err(broken(&format!("the answer broke off: {error}"))),
            }
        }
    }
}

/// What an event of a stream says.
fn piece(json: &str) -> String {
    let chunk: Value = serde_json::from_str(json).unwrap_or_default();
    chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
}

impl Iterator for ChatStream {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_json()?.map(|json| piece(&json)) {
                Ok(piece) if piece.is_empty() => {}
                other => return Some(other),
            }
        }
    }
}
