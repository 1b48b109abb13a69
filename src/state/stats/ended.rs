//! A finished request, as the statistics count it.

use std::time::Duration;

use crate::proto::usage::Usage;

/// How a request at a participant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With a good answer.
    Complete,
    /// The provider refused it: 4xx, but for 429.
    Rejected,
    /// The participant, its tunnel or its provider failed.
    Failed,
    /// The client hung up.
    Cancelled,
}

impl Ending {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Ending; 4] = [Ending::Complete, Ending::Rejected, Ending::Failed, Ending::Cancelled];

    /// What metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Ending::Complete => "complete",
            Ending::Rejected => "rejected",
            Ending::Failed => "failed",
            Ending::Cancelled => "cancelled",
        }
    }
}

/// A request that has ended at a participant.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// What events call what was asked for.
    pub protocol: &'static str,
    /// How.
    pub ending: Ending,
    /// From dispatch to the answer's first byte; counted of good answers.
    pub ttft: Duration,
    /// From dispatch to the end; counted of good answers.
    pub duration: Duration,
    /// Tokens, as far as the provider told them.
    pub usage: Usage,
}
