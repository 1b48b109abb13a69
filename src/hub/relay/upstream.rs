//! The participant's side of a request: sent, waited for piece by piece, and cancelled when nobody wants it any more.

use std::time::{Duration, Instant};

use crate::hub::options::Patience;
use crate::hub::relay::client_response::{Gone, Out};
use crate::proto::management::ErrorCode;
use crate::tunnel::{PendingResponse, Piece};

/// How often a waiting request looks whether its client is still there.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The longest name of a stage that a participant may choose, in bytes.
const MAX_STAGE: usize = 64;

/// How a request ended before its time.
#[derive(Debug)]
pub enum End {
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

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        End::HungUp
    }
}

impl End {
    /// It failed, for a reason that the client is told by a code.
    pub fn failed(stage: &str, error: impl ToString, code: ErrorCode) -> Self {
        End::Failed { stage: stage.into(), error: error.to_string(), code }
    }

    /// The tunnel failed.
    pub fn tunnel(stage: &str, error: impl ToString) -> Self {
        End::failed(stage, error, ErrorCode::ParticipantTunnelNotConnected)
    }

    /// The provider answered with something that can't be used.
    pub fn provider(error: &str) -> Self {
        End::failed("provider", error, ErrorCode::EndpointNotReachable)
    }

    /// Where and why it failed, and what the client is told; `None` where it was the client.
    pub fn told(self) -> Option<(String, String, ErrorCode)> {
        match self {
            End::Failed { stage, error, code } => Some((stage, error, code)),
            End::TimedOut { stage, after } => {
                let error = format!("nothing came from the provider for {} s", after.as_secs_f64());
                Some((stage.to_owned(), error, ErrorCode::EndpointNotReachable))
            }
            End::HungUp => None,
        }
    }
}

/// What is sent to a participant.
pub struct Outgoing<'a> {
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
pub type Stop = Box<dyn Fn()>;

/// A way to a participant: its tunnel, or a call to its endpoint.
pub trait Carrier {
    /// Sends a request.
    ///
    /// # Errors
    /// When it could not be sent.
    fn send(&self, outgoing: Outgoing<'_>) -> Result<(PendingResponse, Stop), End>;
}

/// A request that is waited for.
pub struct Leg {
    pending: PendingResponse,
    stop: Stop,
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

impl Leg {
    /// Sends a request.
    ///
    /// # Errors
    /// When it could not be sent.
    pub fn send(carrier: &dyn Carrier, outgoing: Outgoing<'_>) -> Result<Self, End> {
        let (pending, stop) = carrier.send(outgoing)?;
        let sent = Instant::now();
        Ok(Leg { pending, stop, sent, heard: None, polled: sent })
    }

    /// The next piece, unless the client hangs up first or nothing comes in time.
    pub fn next(&mut self, stage: &'static str, out: &mut Out<'_, '_>, patience: &Patience) -> Result<Piece, End> {
        loop {
            // Pieces that come without end must not keep the client's hanging up, or the end of the time, from being seen.
            if self.polled.elapsed() >= LOOK_EVERY {
                self.polled = Instant::now();
                out.look()?;
                if self.heard.is_none() {
                    self.check_deadline(stage, patience)?;
                }
            }
            match self.pending.recv_timeout(LOOK_EVERY) {
                Ok(Piece::Error { stage: own, message }) => {
                    let stage = stage_of(own, stage);
                    return Err(End::Failed { stage, error: message, code: ErrorCode::EndpointNotReachable });
                }
                Ok(Piece::Lost { reason }) => return Err(End::tunnel(stage, reason)),
                Ok(piece) => {
                    match piece {
                        Piece::Chunk(_) => self.heard = Some(Instant::now()),
                        // A head is no byte of the answer: heads without end would put the deadline off for ever.
                        Piece::Start { .. } if self.heard.is_none() => self.check_deadline(stage, patience)?,
                        _ => {}
                    }
                    return Ok(piece);
                }
                Err(_timeout) => {
                    self.polled = Instant::now();
                    out.look()?;
                    self.check_deadline(stage, patience)?;
                }
            }
        }
    }

    fn check_deadline(&self, stage: &'static str, patience: &Patience) -> Result<(), End> {
        let (since, after) = match self.heard {
            None => (self.sent, patience.first_byte),
            Some(heard) => (heard, patience.idle),
        };
        if since.elapsed() < after { Ok(()) } else { Err(End::TimedOut { stage, after }) }
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
