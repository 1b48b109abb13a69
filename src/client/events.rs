//! A hub's event stream as an iterator.

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use ureq::{Agent, BodyReader};

use super::http::{CONNECT_TIMEOUT, Http};
use super::stopper::Stopper;
use crate::error::{Error, Reason};
use crate::proto::legacy::read_event;
use crate::proto::management::EventEnvelope;
use crate::proto::sse::Decoder;
use crate::proto::time::millis;

/// The stream counts as lost after this time without a byte: three times the interval of the hub's comment lines.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(45);
/// The largest event that is read, in bytes; a hub's events have a few kilobytes. A larger one is skipped.
const MAX_EVENT: usize = 1 << 20;

/// The events of a room or of a hub. It ends when the hub ends the stream; an error is its last item.
pub struct EventStream {
    agent: Agent,
    url: String,
    body: BodyReader<'static>,
    decoder: Decoder,
    /// The code of the room, if the events are in the legacy plane's shape.
    legacy_room: Option<String>,
    over: bool,
}

pub(super) fn open(http: &Http, path: &str) -> Result<EventStream, Error> {
    let agent = http.agent(CONNECT_TIMEOUT, None, Some(SILENCE_TIMEOUT));
    let answer = http.send(&agent, "GET", path, None)?;
    if answer.status() != 200 {
        return Err(http.refused(path, answer));
    }
    let body = answer.into_body().into_reader();
    let url = format!("{}{path}", http.base);
    Ok(EventStream { agent, url, body, decoder: Decoder::with_limit(MAX_EVENT), legacy_room: None, over: false })
}

impl EventStream {
    /// The same stream, with events in the legacy plane's shape, all of that room.
    pub(super) fn of_legacy_room(self, code: &str) -> Self {
        EventStream { legacy_room: Some(code.to_uppercase()), ..self }
    }

    /// A handle that ends the stream from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(&self.agent)
    }

    /// The next event's JSON as the hub sent it, or converted to the v1 plane's shape; `None` at the stream's end.
    pub fn next_json(&mut self) -> Option<Result<String, Error>> {
        if self.over {
            return None;
        }
        let next = self.read_event().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }

    /// Reads until an event is complete.
    fn read_event(&mut self) -> Result<Option<String>, Error> {
        let mut buffer = [0; 4096];
        loop {
            while let Some(event) = self.decoder.next_event() {
                let Some(room) = &self.legacy_room else { return Ok(Some(event.data)) };
                let name = event.event.unwrap_or_default();
                if let Some(envelope) = read_event(&name, &event.data, room, now()) {
                    return Ok(Some(json!(envelope).to_string()));
                }
            }
            match self.body.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(n) => self.decoder.push(&buffer[..n]),
                Err(error) => {
                    return Err(Error::Unreachable { url: self.url.clone(), reason: Reason::of(error) });
                }
            }
        }
    }
}

/// Milliseconds since the epoch. Legacy events do not carry their time.
fn now() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl Iterator for EventStream {
    type Item = Result<EventEnvelope, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_json()? {
                // An event of another shape is not of the v1 plane, and is skipped.
                Ok(json) => match serde_json::from_str(&json) {
                    Ok(envelope) => return Some(Ok(envelope)),
                    Err(_) => continue,
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io::{self, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_broken_stream_ends_with_the_io_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut server, _) = listener.accept().unwrap();
                let _ = server.read(&mut [0; 4096]).unwrap();
                server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n: x").unwrap();
            });
            let mut events = open(&Http::new(&url).unwrap(), "/e").unwrap();
            let error = events.next_json().unwrap().unwrap_err();
            let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
            assert_eq!(error.to_string(), format!("cannot reach {url}/e: {source}"));
            assert!(events.next_json().is_none());
        });
    }
}
