//! Why a tunnel ended.

use std::fmt;
use std::io;

use crate::error::Reason;

/// Why a tunnel ended or could not be written to.
#[derive(Debug)]
pub enum TunnelError {
    /// The tunnel is closed.
    Closed,
    /// The peer sent a message longer than [`super::TunnelLimits::max_message`].
    TooLarge,
    /// The memory budget does not suffice for a message.
    NoMemory,
    /// The peer sent a text message or a close reason that is not UTF-8.
    NotUtf8,
    /// The peer violated the WebSocket protocol.
    Protocol(&'static str),
    /// The connection failed.
    Io(io::Error),
    /// A write timed out, because the peer does not read.
    WriteTimeout,
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TunnelError::Closed => f.write_str("the tunnel is closed"),
            TunnelError::TooLarge => f.write_str("a message on the tunnel is too long"),
            TunnelError::NoMemory => f.write_str("there is no memory left for a message on the tunnel"),
            TunnelError::NotUtf8 => f.write_str("a text message on the tunnel is not UTF-8"),
            TunnelError::Protocol(reason) => write!(f, "the peer broke the WebSocket protocol: {reason}"),
            TunnelError::Io(error) => write!(f, "the tunnel's connection failed: {error}"),
            TunnelError::WriteTimeout => f.write_str("the peer does not read what is sent on the tunnel"),
        }
    }
}

impl std::error::Error for TunnelError {}

impl From<TunnelError> for Reason {
    fn from(error: TunnelError) -> Self {
        let text = error.to_string();
        if let TunnelError::Io(error) = error { Reason::caused_by(text, error) } else { text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_reported_with_its_io_error() {
        let reason = Reason::from(TunnelError::Io(io::ErrorKind::BrokenPipe.into()));
        let source = reason.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(reason.to_string(), format!("the tunnel's connection failed: {source}"));
        assert!(Reason::from(TunnelError::WriteTimeout).source().is_none());
    }
}
