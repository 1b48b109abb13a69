//! What turns the deltas of a chat answer into the answer of another API.

use std::time::Duration;

use super::delta::ChatDelta;

/// Writes one answer: whole, or as the events of a stream.
pub trait AnswerWriter: std::fmt::Debug + Send {
    /// Writes a part of the answer. After its end nothing more is written.
    fn apply(&mut self, delta: ChatDelta<'_>);

    /// Ends the answer.
    fn end(&mut self);

    /// Ends the answer with an error.
    fn fail(&mut self, message: &str);

    /// The whole answer, for a client that asked for no stream.
    fn into_body(self: Box<Self>) -> String;

    /// Returns and clears the events since the last call, in wire format.
    fn take_events(&mut self) -> String;

    /// Bytes of the events that have not been taken.
    fn events_len(&self) -> usize;

    /// Sets the time of what is applied next, since the epoch. An earlier time than the last is ignored.
    fn set_time(&mut self, _now: Duration) {}

    /// Bytes of the answer so far, and of what is written around them.
    fn weight(&self) -> usize;

    /// Bytes in memory: the answer so far, and the events that have not been taken.
    fn held_bytes(&self) -> usize;

    /// Whether the last event has been written.
    fn is_over(&self) -> bool;

    /// Why the answer has failed, if it has.
    fn failure(&self) -> Option<&str>;
}
