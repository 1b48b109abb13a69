//! How a command fails: the message for people, and the exit code for scripts.

use std::fmt;
use std::io;

use gambi::Error;

/// Done.
pub const DONE: u8 = 0;
/// An unexpected error.
pub const UNEXPECTED: u8 = 1;
/// A missing flag, a bad value, or the hub's 400 or 422.
pub const USAGE: u8 = 2;
/// The hub or the provider can't be reached, or the credentials are wrong.
pub const CONNECTION: u8 = 3;
/// The hub's state forbids it: 404 or 409.
pub const REFUSED: u8 = 4;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// A wrong argument, environment variable or config file.
    Usage {
        /// One sentence.
        message: String,
        /// How to fix it.
        hint: Option<String>,
    },
    /// An error of the library.
    Lib(Error),
    /// A session or stream ended that should have continued. Commands that stream have printed an event about it.
    Lost(String),
    /// Stdout was closed by its reader, which ends the command with success.
    ClosedPipe,
    /// Results can't be written.
    Output(io::Error),
}

impl Failure {
    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::Usage { message: message.into(), hint: None }
    }

    /// Adds how to fix it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Failure::Usage { message, .. } => Failure::Usage { message, hint: Some(hint.into()) },
            other => other,
        }
    }

    /// How to fix it, if that is known.
    pub fn hint_text(&self) -> Option<String> {
        match self {
            Failure::Usage { hint, .. } => hint.clone(),
            Failure::Lib(error) => error.hint(),
            _ => None,
        }
    }

    /// The hub's id of the request, which its log has too.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Failure::Lib(error) => error.request_id(),
            _ => None,
        }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage { .. } => USAGE,
            Failure::Lib(error) => code_of(error),
            Failure::Lost(_) => CONNECTION,
            Failure::ClosedPipe => DONE,
            Failure::Output(_) => UNEXPECTED,
        }
    }
}

fn code_of(error: &Error) -> u8 {
    match (error, error.status()) {
        (_, Some(400 | 413 | 422)) | (Error::Invalid { .. }, _) => USAGE,
        (_, Some(401 | 403 | 429 | 503)) => CONNECTION,
        (_, Some(404 | 409)) => REFUSED,
        (
            Error::Unreachable { .. }
            | Error::BrokenOff { .. }
            | Error::BadAnswer { .. }
            | Error::Provider { .. }
            | Error::ModelMissing { .. }
            | Error::ModelsUnlisted { .. }
            | Error::ChatsRefused { .. }
            | Error::NoModels { .. }
            | Error::Tunnel { .. }
            | Error::RoomsUnlisted { .. }
            | Error::NoHub,
            _,
        ) => CONNECTION,
        (Error::NoRooms { .. } | Error::NoSuchRoom { .. } | Error::Ambiguous { .. }, _) => REFUSED,
        _ => UNEXPECTED,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Lib(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Failure::ClosedPipe } else { Failure::Output(error) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage { message, .. } | Failure::Lost(message) => f.write_str(message),
            Failure::Lib(error) => error.fmt(f),
            Failure::ClosedPipe => f.write_str("stdout was closed"),
            Failure::Output(error) => write!(f, "the results cannot be written: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gambi::error::HubError;

    #[test]
    fn the_hubs_refusals_have_their_exit_codes() {
        for (status, code) in [(400, 2), (422, 2), (401, 3), (403, 3), (429, 3), (503, 3), (404, 4), (409, 4), (500, 1)]
        {
            let error = HubError {
                status,
                code: None,
                message: "no".into(),
                hint: None,
                details: None,
                request_id: Some("r".into()),
            };
            let failure = Failure::from(Error::Hub(Box::new(error)));
            assert_eq!(failure.exit_code(), code, "{status}");
            assert_eq!(failure.request_id(), Some("r"));
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(), DONE);
        assert_eq!(Failure::from(io::Error::other("disk full")).exit_code(), UNEXPECTED);
    }
}
