//! How a session ended, and why.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It was closed by this program.
    Closed,
    /// Three heartbeats in a row failed, or the hub no longer knows the participant.
    HeartbeatFailed,
    /// Either side closed the tunnel, or the hub sent nothing for 30 s.
    TunnelClosed,
    /// A newer session of the same participant replaced this one. The registration stays: the newer session uses it.
    Superseded,
}

impl CloseReason {
    /// The name in output and logs: `closed`, `heartbeat_failed`, `tunnel_closed` or `superseded` (PROTOCOL.md, "The
    /// participant's side").
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::Closed => "closed",
            CloseReason::HeartbeatFailed => "heartbeat_failed",
            CloseReason::TunnelClosed => "tunnel_closed",
            CloseReason::Superseded => "superseded",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a session ended.
#[derive(Debug, Clone)]
pub struct CloseEvent {
    /// The reason.
    pub reason: CloseReason,
    /// The error that ended it, if any.
    pub error: Option<Arc<Error>>,
    /// The close code of the tunnel, if the hub closed it (RFC 6455, section 7.4). 1000 means on purpose: the participant was
    /// removed, its room deleted, or the tunnel superseded.
    pub code: Option<u16>,
}

impl CloseEvent {
    /// The event of a session that this program closed.
    pub fn closed() -> Self {
        CloseEvent { reason: CloseReason::Closed, error: None, code: None }
    }
}
