//! A request that ended at a participant, as the statistics count it.

use std::time::Duration;

use crate::proto::usage::Usage;

/// How a request at a participant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The answer was complete, with a status below 400.
    Complete,
    /// The provider rejected it: 4xx other than 429.
    Rejected,
    /// The participant, its tunnel or its provider failed, or the provider answered 429 or 5xx.
    Failed,
    /// The client disconnected or read too slowly, or one of the hub's limits ended it.
    Cancelled,
}

impl Ending {
    /// All endings, in the order of their discriminants.
    pub const ALL: [Ending; 4] = [Ending::Complete, Ending::Rejected, Ending::Failed, Ending::Cancelled];

    /// The value of the `outcome` label.
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
    /// The protocol as events name it, such as `chatCompletions`.
    pub protocol: &'static str,
    /// How it ended.
    pub ending: Ending,
    /// From dispatch to the first byte of the answer. Counted for complete answers only.
    pub ttft: Duration,
    /// From dispatch to the end. Counted for complete answers only.
    pub duration: Duration,
    /// Tokens, as far as the provider reported them.
    pub usage: Usage,
}
