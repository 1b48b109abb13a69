//! A hub's event stream as an iterator.

use std::io::Read;
use std::time::Duration;

use ureq::{Agent, BodyReader};

use super::http::{Http, agent, read_refusal};
use crate::error::Error;
use crate::proto::management::EventEnvelope;
use crate::proto::sse::Decoder;

/// The hub sends a comment every 15 s: three times that without a byte, and it is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// The longest event that is read, in bytes; a hub's own are a few kilobytes. A longer one is skipped.
const MAX_EVENT: usize = 1 << 20;

/// The events of a room or of a hub, as they come. Ends when the hub ends the stream; an error is its last item.
pub struct EventStream {
    agent: Agent,
    url: String,
    body: BodyReader<'static>,
    decoder: Decoder,
    over: bool,
}

/// Ends an [`EventStream`] from another thread.
#[derive(Debug, Clone)]
pub struct EventStopper(Agent);

impl EventStopper {
    /// Closes the stream's connection: whoever waits for an event wakes up.
    pub fn stop(&self) {
        self.0.clone().shutdown();
    }
}

pub(super) fn open(http: &Http, path: &str) -> Result<EventStream, Error> {
    let agent = agent(Duration::from_secs(5), None, Some(SILENCE));
    let answer = http.send(&agent, "GET", path, None)?;
    let status = answer.status().as_u16();
    if status != 200 {
        let text = read_refusal(answer.into_body());
        return Err(http.refusal(path, status, &text));
    }
    let body = answer.into_body().into_reader();
    let url = format!("{}{path}", http.base);
    Ok(EventStream { agent, url, body, decoder: Decoder::with_limit(MAX_EVENT), over: false })
}

impl EventStream {
    /// A handle that ends the stream from another thread.
    pub fn stopper(&self) -> EventStopper {
        EventStopper(self.agent.clone())
    }

    /// The next event's JSON as the hub sent it; `None` at the stream's end.
    pub fn next_json(&mut self) -> Option<Result<String, Error>> {
        if self.over {
            return None;
        }
        let next = self.wait().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }

    /// Reads until an event is whole.
    fn wait(&mut self) -> Result<Option<String>, Error> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(event) = self.decoder.next_event() {
                return Ok(Some(event.data));
            }
            match self.body.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(n) => self.decoder.push(&buffer[..n]),
                Err(error) => {
                    return Err(Error::Unreachable { url: self.url.clone(), reason: error.to_string() });
                }
            }
        }
    }
}

impl Iterator for EventStream {
    type Item = Result<EventEnvelope, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_json()? {
                // Events of another shape are none of the v1 plane's.
                Ok(json) => match serde_json::from_str(&json) {
                    Ok(envelope) => return Some(Ok(envelope)),
                    Err(_) => continue,
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
