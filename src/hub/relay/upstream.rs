//! The participant's side of a request: sent over a transport, received piece by piece, and cancelled when it times out or
//! the client disconnects. How a transport carries it is out of scope.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::hub::options::Timeouts;
use crate::hub::relay::client_response::{ClientResponse, Disconnected};
use crate::hub::relay::content_watch::ContentWatch;
use crate::proto::json_parts::JsonParts;
use crate::proto::management::ErrorCode;
use crate::proto::stage::Stage;
use crate::sync::{STACK_SIZE, lock};
use crate::tunnel::{LostReason, PendingResponse, Piece, SendToClient};

/// How often a waiting request polls its client's connection.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// As [`POLL_INTERVAL`], while another thread sends the client pieces.
const SENDING_POLL_INTERVAL: Duration = Duration::from_millis(400);
/// How long a response that has said that nothing follows may take to end.
const DONE_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of a response without data is held back, in bytes. Providers' comments are a few bytes each.
const MAX_HELD_BACK: usize = 64 << 10;

/// Why a request ended before its response was complete.
#[derive(Debug)]
pub enum UpstreamError {
    /// The tunnel or the provider failed.
    Failed(UpstreamFailure),
    /// The provider sent nothing for too long.
    TimedOut {
        /// See [`UpstreamFailure::stage`].
        stage: Stage,
        /// The deadline that passed.
        after: Duration,
    },
    /// The client disconnected.
    Disconnected,
}

/// What the client, the events and the log are sent of a failure.
#[derive(Debug)]
pub struct UpstreamFailure {
    /// The step that failed, such as `dispatch` or `stream` (PROTOCOL.md, "Events").
    pub stage: Stage,
    /// One sentence, without the final stop.
    pub message: String,
    /// The error code for the client.
    pub code: ErrorCode,
    /// Whether the participant or its provider caused it, rather than the client or one of the hub's limits.
    pub by_participant: bool,
}

impl From<Disconnected> for UpstreamError {
    fn from(_: Disconnected) -> Self {
        UpstreamError::Disconnected
    }
}

impl UpstreamError {
    /// A failure of the participant at a stage, with the error code for the client.
    pub fn failed(stage: Stage, error: impl ToString, code: ErrorCode) -> Self {
        let message = error.to_string();
        UpstreamError::Failed(UpstreamFailure { stage, message, code, by_participant: true })
    }

    /// A failure that the client or one of the hub's limits caused.
    pub fn limit(stage: Stage, error: impl ToString, code: ErrorCode) -> Self {
        let message = error.to_string();
        UpstreamError::Failed(UpstreamFailure { stage, message, code, by_participant: false })
    }

    /// A response ended early.
    fn lost(stage: Stage, reason: LostReason) -> Self {
        match reason {
            LostReason::TooSlow => UpstreamError::limit(stage, reason, ErrorCode::InvalidRequest),
            LostReason::NoMemory => UpstreamError::limit(stage, reason, ErrorCode::InternalError),
            LostReason::Closed | LostReason::TimedOut | LostReason::SecondHead => UpstreamError::tunnel(stage, reason),
        }
    }

    /// The tunnel failed.
    pub fn tunnel(stage: Stage, error: impl ToString) -> Self {
        UpstreamError::failed(stage, error, ErrorCode::ParticipantTunnelNotConnected)
    }

    /// The provider sent a response that cannot be used.
    pub fn provider(error: &str) -> Self {
        UpstreamError::failed(Stage::Provider, error, ErrorCode::EndpointNotReachable)
    }

    /// The failure of the tunnel or the provider; `None` where the client disconnected.
    pub fn into_failure(self) -> Option<UpstreamFailure> {
        match self {
            UpstreamError::Failed(failure) => Some(failure),
            UpstreamError::TimedOut { stage, after } => {
                let message = format!("nothing came from the provider for {} s", after.as_secs_f64());
                let code = ErrorCode::EndpointNotReachable;
                Some(UpstreamFailure { stage, message, code, by_participant: true })
            }
            UpstreamError::Disconnected => None,
        }
    }
}

/// A request as it is sent to a participant.
pub struct OutgoingRequest<'a> {
    /// Unique on its tunnel.
    pub id: Arc<str>,
    /// Such as `chat.completions.create`.
    pub operation: &'a str,
    /// `GET`, `POST` or `DELETE`.
    pub method: &'a str,
    /// With its query; appended to the provider's base URL.
    pub path: &'a str,
    /// Headers in addition to the content type.
    pub headers: &'a [(String, String)],
    /// The hubs that have relayed it, this one last (`hops`).
    pub hops: &'a str,
    /// JSON; `None` where the request has no body.
    pub body: Option<JsonParts<'a>>,
    /// Whether the client requested a stream.
    pub stream: bool,
}

/// Cancels a request's work at the participant. It may be called at any time, also after the response has ended.
pub type CancelFn = Box<dyn Fn() + Send>;

/// Carries requests to a participant: over its tunnel, or by calling its endpoint.
pub trait Transport {
    /// Sends a request.
    ///
    /// # Errors
    /// When it cannot be sent.
    fn send(&self, outgoing_request: OutgoingRequest<'_>) -> Result<(PendingResponse, CancelFn), UpstreamError>;
}

/// A request that was sent, and the response that is being received.
pub struct UpstreamRequest {
    pending: PendingResponse,
    /// Pieces that were looked at and given back, or held back.
    returned: VecDeque<Piece>,
    /// How many bytes have been held back.
    held_back: usize,
    cancel: CancelFn,
    sent: Instant,
    /// When the last piece came, or the request was sent.
    last_piece: Instant,
    /// When the last chunk of the body came; `None` before the first.
    last_chunk: Option<Instant>,
    /// When the client's connection was polled last.
    polled: Instant,
    /// Tells whether the response has said that nothing follows, once its content is watched.
    content: Option<Arc<Mutex<ContentWatch>>>,
}

impl UpstreamRequest {
    /// Sends a request.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn send(transport: &dyn Transport, outgoing_request: OutgoingRequest<'_>) -> Result<Self, UpstreamError> {
        let (pending, cancel) = transport.send(outgoing_request)?;
        let sent = Instant::now();
        Ok(UpstreamRequest {
            pending,
            returned: VecDeque::new(),
            held_back: 0,
            cancel,
            sent,
            last_piece: sent,
            last_chunk: None,
            polled: sent,
            content: None,
        })
    }

    /// Has `content` say from now on whether the response has said that nothing follows. Then its end is not waited for long.
    pub fn watch_for_end(&mut self, content: Arc<Mutex<ContentWatch>>) {
        self.content = Some(content);
    }

    /// Holds back a piece of the body, for [`UpstreamRequest::next`] to give. True when that is as much as may be held back.
    pub fn hold_back(&mut self, piece: Piece) -> bool {
        self.held_back += piece.weight();
        match (self.returned.back_mut(), piece) {
            // Together, as each piece on its own takes memory.
            (Some(Piece::Chunk(before)), Piece::Chunk(bytes)) => before.extend_from_slice(&bytes),
            (_, piece) => self.returned.push_back(piece),
        }
        self.held_back > MAX_HELD_BACK
    }

    /// Gives pieces back, in their order: `next` gives them again.
    pub fn give_back(&mut self, mut pieces: VecDeque<Piece>) {
        pieces.append(&mut self.returned);
        self.returned = pieces;
    }

    /// The next piece of a response that has begun. While it waits, the client's connection is polled.
    ///
    /// # Errors
    /// When the participant failed, nothing came within the timeouts, or the client disconnected.
    pub fn next(&mut self, client: &mut ClientResponse<'_, '_>, timeouts: &Timeouts) -> Result<Piece, UpstreamError> {
        self.next_lending(client, timeouts, None)
    }

    /// As [`UpstreamRequest::next`]. Meanwhile the thread that reads the tunnel may send pieces to the client by `lent`
    /// ([`PendingResponse::recv_lending`]).
    ///
    /// # Errors
    /// As [`UpstreamRequest::next`].
    pub fn next_lending(
        &mut self,
        client: &mut ClientResponse<'_, '_>,
        timeouts: &Timeouts,
        lent: Option<&SendToClient>,
    ) -> Result<Piece, UpstreamError> {
        if let Some(piece) = self.returned.pop_front() {
            return Ok(piece);
        }
        loop {
            // Checked even while pieces keep coming: they must not hide a disconnect or a deadline.
            if self.polled.elapsed() >= POLL_INTERVAL {
                self.polled = Instant::now();
                client.poll_disconnect()?;
                if self.last_chunk.is_none() {
                    self.check_deadline(Stage::Stream, timeouts)?;
                }
            }
            let received = match lent {
                Some(send) => self.pending.recv_lending(self.poll_interval(), send),
                None => self.pending.recv_timeout(POLL_INTERVAL),
            };
            self.record_sent(client);
            match received {
                Ok(piece) => return self.accept(Stage::Stream, piece, timeouts),
                Err(_timeout) => {
                    self.polled = Instant::now();
                    client.poll_disconnect()?;
                    self.check_deadline(Stage::Stream, timeouts)?;
                }
            }
        }
    }

    /// How long to wait while another thread sends the client pieces. Each of them shows whether the client is still there.
    fn poll_interval(&self) -> Duration {
        if self.time_since_last_piece() < POLL_INTERVAL { SENDING_POLL_INTERVAL } else { POLL_INTERVAL }
    }

    /// Records what another thread has sent the client since the last time.
    fn record_sent(&mut self, client: &mut ClientResponse<'_, '_>) {
        if let Some(at) = self.pending.take_sent_at() {
            (self.last_piece, self.last_chunk) = (at, Some(at));
            client.record_sent(at);
        }
    }

    /// Records that a piece has come.
    ///
    /// # Errors
    /// When it says that the participant failed, or the time limit is over.
    pub fn accept(&mut self, stage: Stage, piece: Piece, timeouts: &Timeouts) -> Result<Piece, UpstreamError> {
        self.last_piece = Instant::now();
        match piece {
            Piece::Error { stage: reported, message } => {
                let stage = Stage::reported(&reported, stage);
                return Err(UpstreamError::failed(stage, message, ErrorCode::EndpointNotReachable));
            }
            Piece::Lost { reason } => return Err(UpstreamError::lost(stage, reason)),
            Piece::Chunk(_) => self.last_chunk = Some(self.last_piece),
            // Interim heads must not extend the deadline for the body's first byte.
            Piece::Start { .. } if self.last_chunk.is_none() => self.check_deadline(stage, timeouts)?,
            _ => {}
        }
        Ok(piece)
    }

    /// How long nothing has come.
    pub fn time_since_last_piece(&self) -> Duration {
        self.last_piece.elapsed()
    }

    /// Checks that nothing has been missing for too long.
    ///
    /// # Errors
    /// When it has.
    pub fn check_deadline(&self, stage: Stage, timeouts: &Timeouts) -> Result<(), UpstreamError> {
        let is_done = || self.content.as_ref().is_some_and(|content| lock(content).is_done());
        let (since, after) = match self.last_chunk {
            None => (self.sent, timeouts.first_byte),
            Some(last_chunk) if is_done() => (last_chunk, timeouts.idle.min(DONE_TIMEOUT)),
            Some(last_chunk) => (last_chunk, timeouts.idle),
        };
        if since.elapsed() < after { Ok(()) } else { Err(UpstreamError::TimedOut { stage, after }) }
    }

    /// Whether no piece has arrived that was not yet taken.
    pub fn has_no_piece(&self) -> bool {
        self.returned.is_empty() && self.queue_is_empty()
    }

    /// Whether no piece has arrived that was not yet looked at.
    pub fn queue_is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Cancels the provider's work.
    pub fn cancel(&self) {
        (self.cancel)();
    }

    /// Cancels the provider's work on a thread of its own: the participant may not read what it is sent. Without a thread
    /// it is not told.
    pub fn cancel_aside(self) {
        let cancel = self.cancel;
        let _ = thread::Builder::new().name("cancel".into()).stack_size(STACK_SIZE).spawn(cancel);
    }
}

/// The next piece of one of these responses, or of either of two, and whose it is. `None` if none comes for as long as a client is
/// not polled.
pub fn receive_any<'u>(mut upstreams: impl Iterator<Item = &'u mut UpstreamRequest>) -> Option<(usize, Piece)> {
    let first = &mut upstreams.next()?.pending;
    let received = match upstreams.next() {
        Some(second) => PendingResponse::recv_any(&mut [first, &mut second.pending], POLL_INTERVAL),
        None => PendingResponse::recv_any(&mut [first], POLL_INTERVAL),
    };
    received.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_slow_client_nor_the_hubs_memory_counts_against_a_participant() {
        let by_participant = |reason| UpstreamError::lost(Stage::Stream, reason).into_failure().unwrap().by_participant;
        assert!(![LostReason::TooSlow, LostReason::NoMemory].into_iter().any(by_participant));
        assert!([LostReason::Closed, LostReason::TimedOut, LostReason::SecondHead].into_iter().all(by_participant));
    }
}
