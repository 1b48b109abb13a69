//! The participant's side of a request: sent, waited for piece by piece, and cancelled when nobody wants it any more.

use std::time::{Duration, Instant};

use crate::hub::options::Timeouts;
use crate::hub::relay::client_response::{ClientResponse, Disconnected};
use crate::proto::management::ErrorCode;
use crate::tunnel::{PendingResponse, Piece};

/// How often a waiting request looks whether its client is still there.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The longest name of a stage that a participant may choose, in bytes.
const MAX_STAGE: usize = 64;

/// How a request ended before its time.
#[derive(Debug)]
pub enum UpstreamError {
    /// The tunnel or the provider failed.
    Failed {
        /// Where.
        stage: String,
        /// One sentence.
        error: String,
        /// What the client is told.
        code: ErrorCode,
    },
    /// Nothing came for too long.
    TimedOut {
        /// Where.
        stage: &'static str,
        /// How long.
        after: Duration,
    },
    /// The client hung up.
    HungUp,
}

impl From<Disconnected> for UpstreamError {
    fn from(_: Disconnected) -> Self {
        UpstreamError::HungUp
    }
}

impl UpstreamError {
    /// It failed, for a reason that the client is told by a code.
    pub fn failed(stage: &str, error: impl ToString, code: ErrorCode) -> Self {
        UpstreamError::Failed { stage: stage.into(), error: error.to_string(), code }
    }

    /// The tunnel failed.
    pub fn tunnel(stage: &str, error: impl ToString) -> Self {
        UpstreamError::failed(stage, error, ErrorCode::ParticipantTunnelNotConnected)
    }

    /// The provider answered with something that can't be used.
    pub fn provider(error: &str) -> Self {
        UpstreamError::failed("provider", error, ErrorCode::EndpointNotReachable)
    }

    /// Where and why it failed, and what the client is told; `None` where it was the client.
    pub fn told(self) -> Option<(String, String, ErrorCode)> {
        match self {
            UpstreamError::Failed { stage, error, code } => Some((stage, error, code)),
            UpstreamError::TimedOut { stage, after } => {
                let error = format!("nothing came from the provider for {} s", after.as_secs_f64());
                Some((stage.to_owned(), error, ErrorCode::EndpointNotReachable))
            }
            UpstreamError::HungUp => None,
        }
    }
}

/// What is sent to a participant.
pub struct OutgoingRequest<'a> {
    /// Names it on its tunnel.
    pub id: String,
    /// Such as `chat.completions.create`.
    pub operation: &'a str,
    /// `GET`, `POST` or `DELETE`.
    pub method: &'a str,
    /// With its query; appended to the provider's base URL.
    pub path: &'a str,
    /// Beside the content type.
    pub headers: &'a [(String, String)],
    /// The hubs that it has passed, this one the last.
    pub hops: &'a str,
    /// JSON.
    pub body: Option<String>,
    /// Whether the client asked for a stream.
    pub stream: bool,
}

/// Stops the work at a request.
pub type CancelFn = Box<dyn Fn()>;

/// A way to a participant: its tunnel, or a call to its endpoint.
pub trait Transport {
    /// Sends a request.
    ///
    /// # Errors
    /// When it could not be sent.
    fn send(&self, outgoing_request: OutgoingRequest<'_>) -> Result<(PendingResponse, CancelFn), UpstreamError>;
}

/// A request that is waited for.
pub struct UpstreamRequest {
    pending: PendingResponse,
    stop: CancelFn,
    sent: Instant,
    /// When something came last; `None` before the answer's first byte.
    heard: Option<Instant>,
    /// When the client was polled last.
    polled: Instant,
}

/// What the hub itself calls ends that are not the participant's doing.
const OWN_STAGES: [&str; 3] = ["cancelled", "dispatch", "queue"];

/// Where a participant says that it failed, unless that would pass for something that the hub says itself.
fn stage_of(told: String, known: &str) -> String {
    if told.is_empty() {
        known.to_owned()
    } else if told.len() > MAX_STAGE || OWN_STAGES.contains(&told.trim().to_ascii_lowercase().as_str()) {
        "participant".to_owned()
    } else {
        told
    }
}

impl UpstreamRequest {
    /// Sends a request.
    ///
    /// # Errors
    /// When it could not be sent.
    pub fn send(transport: &dyn Transport, outgoing_request: OutgoingRequest<'_>) -> Result<Self, UpstreamError> {
        let (pending, stop) = transport.send(outgoing_request)?;
        let sent = Instant::now();
        Ok(UpstreamRequest { pending, stop, sent, heard: None, polled: sent })
    }

    /// The next piece, unless the client hangs up first or nothing comes in time.
    pub fn next(
        &mut self,
        stage: &'static str,
        out: &mut ClientResponse<'_, '_>,
        timeouts: &Timeouts,
    ) -> Result<Piece, UpstreamError> {
        loop {
            // Pieces that come without end must not keep the client's hanging up, or the end of the time, from being seen.
            if self.polled.elapsed() >= POLL_INTERVAL {
                self.polled = Instant::now();
                out.poll_disconnect()?;
                if self.heard.is_none() {
                    self.check_deadline(stage, timeouts)?;
                }
            }
            match self.pending.recv_timeout(POLL_INTERVAL) {
                Ok(Piece::Error { stage: own, message }) => {
                    let stage = stage_of(own, stage);
                    return Err(UpstreamError::Failed { stage, error: message, code: ErrorCode::EndpointNotReachable });
                }
                Ok(Piece::Lost { reason }) => return Err(UpstreamError::tunnel(stage, reason)),
                Ok(piece) => {
                    match piece {
                        Piece::Chunk(_) => self.heard = Some(Instant::now()),
                        // A head is no byte of the answer: heads without end would put the deadline off for ever.
                        Piece::Start { .. } if self.heard.is_none() => self.check_deadline(stage, timeouts)?,
                        _ => {}
                    }
                    return Ok(piece);
                }
                Err(_timeout) => {
                    self.polled = Instant::now();
                    out.poll_disconnect()?;
                    self.check_deadline(stage, timeouts)?;
                }
            }
        }
    }

    fn check_deadline(&self, stage: &'static str, timeouts: &Timeouts) -> Result<(), UpstreamError> {
        let (since, after) = match self.heard {
            None => (self.sent, timeouts.first_byte),
            Some(heard) => (heard, timeouts.idle),
        };
        if since.elapsed() < after { Ok(()) } else { Err(UpstreamError::TimedOut { stage, after }) }
    }

    /// Whether nothing is ready.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Stops the provider's work.
    pub fn cancel(&self) {
        (self.stop)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_participants_stage_never_passes_for_the_hubs_own() {
        let stage = |told: &str| stage_of(told.to_owned(), "stream");
        assert_eq!(["", "fetch", "connect"].map(stage), ["stream", "fetch", "connect"]);
        for own in ["cancelled", " Cancelled", "dispatch", "queue", &"x".repeat(65)] {
            assert_eq!(stage(own), "participant");
        }
    }
}
