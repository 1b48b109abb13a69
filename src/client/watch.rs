//! Watching events across broken streams: reconnects after a growing pause, and reports each break to the caller.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::Client;
use super::backoff::{Backoff, StopSignal};
use super::events::EventStream;
use super::stopper::Stopper;
use crate::error::Error;
use crate::proto::management::EventEnvelope;
use crate::sync::lock;

/// The pause before the first reconnect; it doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An item of a [`Watch`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Watched {
    /// An event.
    Event(EventEnvelope),
    /// The stream broke, or could not be opened. The iterator waits for `pause` before its next item.
    Broken {
        /// The reason.
        error: Error,
        /// The time until it reconnects.
        pause: Duration,
    },
}

/// The events of a room or of a hub, across reconnects. It ends when it is stopped, or when the hub refuses it with a 4xx
/// status, such as 404 for a room that does not exist (that error is then its last item).
///
/// ```no_run
/// use gambi::client::{Client, Watched};
///
/// for item in Client::new("http://localhost:3000")?.watch(Some("ABC234")) {
///     match item? {
///         Watched::Event(event) => println!("{} {}", event.kind, event.data),
///         Watched::Broken { error, pause } => eprintln!("{error}; again in {pause:?}"),
///         _ => {}
///     }
/// }
/// # Ok::<(), gambi::Error>(())
/// ```
pub struct Watch {
    client: Client,
    room: Option<String>,
    stream: Option<EventStream>,
    backoff: Backoff,
    /// The pause that is due before the next attempt.
    pause: Option<Duration>,
    over: bool,
    control: Arc<WatchControl>,
}

/// What a watch shares with its stoppers.
struct WatchControl {
    stop: StopSignal,
    /// Closes the stream that is open now.
    stream: Mutex<Option<Stopper>>,
}

impl WatchControl {
    fn stream(&self) -> MutexGuard<'_, Option<Stopper>> {
        lock(&self.stream)
    }
}

/// Ends a [`Watch`] from another thread.
#[derive(Clone)]
pub struct WatchStopper(Arc<WatchControl>);

impl WatchStopper {
    /// Ends the watch, and wakes a thread that waits for its next event.
    pub fn stop(&self) {
        self.0.stop.stop();
        if let Some(stream) = self.0.stream().take() {
            stream.stop();
        }
    }
}

impl Client {
    /// Watches the events of a room, or with `None` of the whole hub, and reconnects when the stream breaks. A room's events
    /// come from the legacy plane if the hub has no v1 stream of them.
    pub fn watch(&self, room: Option<&str>) -> Watch {
        let control = WatchControl { stop: StopSignal::new(), stream: Mutex::default() };
        Watch {
            client: self.clone(),
            room: room.map(str::to_owned),
            stream: None,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            pause: None,
            over: false,
            control: Arc::new(control),
        }
    }
}

impl Watch {
    /// A handle that ends it from another thread.
    pub fn stopper(&self) -> WatchStopper {
        WatchStopper(self.control.clone())
    }

    fn open(&mut self) -> Result<(), Error> {
        let stream = match (&self.room, self.client.events(self.room.as_deref())) {
            (Some(room), Err(error)) if error.is_missing_route() => self.client.legacy().events(room)?,
            (_, opened) => opened?,
        };
        let stopper = stream.stopper();
        *self.control.stream() = Some(stopper.clone());
        // Whoever stopped the watch before that found no stream to stop.
        if self.control.stop.is_stopped() {
            stopper.stop();
        }
        self.stream = Some(stream);
        Ok(())
    }

    fn broken(&mut self, error: Error) -> Option<Result<Watched, Error>> {
        self.stream = None;
        if self.control.stop.is_stopped() {
            return None;
        }
        if error.status().is_some_and(|status| (400..500).contains(&status)) {
            self.over = true;
            return Some(Err(error));
        }
        let pause = self.backoff.next_pause();
        self.pause = Some(pause);
        Some(Ok(Watched::Broken { error, pause }))
    }
}

impl Iterator for Watch {
    type Item = Result<Watched, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over || self.control.stop.is_stopped() {
            return None;
        }
        if let Some(pause) = self.pause.take()
            && self.control.stop.wait_timeout(pause)
        {
            return None;
        }
        if self.stream.is_none()
            && let Err(error) = self.open()
        {
            return self.broken(error);
        }
        match self.stream.as_mut().and_then(Iterator::next) {
            Some(Ok(event)) => {
                self.backoff.reset();
                Some(Ok(Watched::Event(event)))
            }
            Some(Err(error)) => self.broken(error),
            None => {
                let url = self.client.hub_url().to_owned();
                self.broken(Error::Unreachable { url, reason: "the hub ended the stream".into() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn stopping_while_a_stream_is_opened_ends_the_watch() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut watch = Client::new(&url).unwrap().watch(None);
        let stopper = watch.stopper();
        let (ended, has_ended) = bounded(1);
        thread::spawn(move || ended.send(watch.next().is_none()));
        let (mut server, _) = listener.accept().unwrap();
        let _ = server.read(&mut [0; 4096]).unwrap();
        stopper.stop();
        // An event stream without an event.
        let _ = server.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        assert_eq!(has_ended.recv_timeout(Duration::from_secs(20)), Ok(true));
    }
}
