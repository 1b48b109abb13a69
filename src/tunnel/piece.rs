//! The pieces that a response consists of on its way through a tunnel, and why a response can end early.

use std::fmt;

/// The overhead of a piece or a header beside its text and bytes: its entry in a queue and its allocation, rounded up.
const OVERHEAD: usize = 128;

/// A part of a response.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// The provider's response head.
    Start {
        /// The HTTP status.
        status: u16,
        /// The headers, in order.
        headers: Vec<(String, String)>,
    },
    /// Bytes of the body.
    Chunk(Vec<u8>),
    /// The thread that reads the tunnel has sent the client a part of a piece. So many bytes are left of it, which have to be sent
    /// before anything else.
    Unsent(usize),
    /// The end of the body.
    End,
    /// The participant reports that the request failed.
    Error {
        /// The stage at which it failed.
        stage: String,
        /// One sentence for people.
        message: String,
    },
    /// The response ended early; no piece follows.
    Lost {
        /// The cause.
        reason: LostReason,
    },
}

impl Piece {
    /// The memory that the piece occupies, in bytes.
    pub fn weight(&self) -> usize {
        OVERHEAD
            + match self {
                Piece::Start { headers, .. } => {
                    headers.iter().map(|(name, value)| OVERHEAD + name.len() + value.len()).sum()
                }
                Piece::Chunk(bytes) => bytes.capacity(),
                Piece::Unsent(bytes) => *bytes,
                Piece::Error { stage, message } => stage.len() + message.len(),
                Piece::End | Piece::Lost { .. } => 0,
            }
    }

    pub(super) fn is_last(&self) -> bool {
        matches!(self, Piece::End | Piece::Error { .. } | Piece::Lost { .. })
    }
}

/// Why a response ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    /// The tunnel was closed, superseded or removed.
    Closed,
    /// No message arrived on the tunnel for too long.
    TimedOut,
    /// The client reads too slowly.
    TooSlow,
    /// The memory budget does not suffice for what the client has not read, or for a message of the tunnel.
    NoMemory,
    /// The participant sent a second final head, or too many interim heads.
    SecondHead,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LostReason::Closed => "the participant's tunnel has closed",
            LostReason::TimedOut => "nothing was heard on the participant's tunnel for too long",
            LostReason::TooSlow => "the client reads the answer too slowly",
            LostReason::NoMemory => "the hub has no memory left for what has come of the answer",
            LostReason::SecondHead => "the participant sent more than one head for the answer",
        })
    }
}
