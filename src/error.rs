//! The crate's one error: a variant for each thing that a caller can do something about.

use std::error::Error as StdError;
use std::sync::Arc;
use std::{fmt, io};

use serde_json::Value;

use crate::proto::management::ErrorCode;

/// The environment variable for the operator's own root certificates, as in OpenSSL.
pub(crate) const ROOTS_VARIABLE: &str = "SSL_CERT_FILE";

/// What failed.
///
/// Its text says all that there is to say. Where another error was the cause, [`source`](StdError::source) is that error,
/// for programs that decide by it; the text contains the source's, so printing both would repeat it.
///
/// ```
/// use std::{error::Error, io, net::TcpListener};
///
/// use gambi::provider::{Provider, ProviderOptions};
///
/// let other = TcpListener::bind("127.0.0.1:0")?;
/// let options = ProviderOptions { port: other.local_addr()?.port(), ..Default::default() };
/// if let Err(error) = Provider::bind(options) {
///     let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
///     assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::AddrInUse));
/// }
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The hub or the provider can't listen there: the port is taken, or the address is not this machine's.
    Bind {
        /// Host and port.
        address: String,
        /// Why not.
        reason: Reason,
    },
    /// No server answers at the address: check the address, and whether the hub is up.
    Unreachable {
        /// Whom it was that did not answer.
        url: String,
        /// Why not.
        reason: Reason,
    },
    /// The hub refused a request.
    Hub(Box<HubError>),
    /// An answer ended before it was complete: the participant, its provider, or the connection was lost.
    BrokenOff {
        /// The id of the participant that served it; empty where the hub did not name it.
        participant: String,
        /// How it ended.
        reason: Reason,
        /// Names the request in the hub's log.
        request_id: Option<String>,
    },
    /// The server at the address speaks another protocol: it is probably no hub.
    BadAnswer {
        /// Who answered.
        url: String,
        /// The HTTP status of the answer, where it was not 2xx.
        status: Option<u16>,
        /// What was wrong with it.
        reason: Reason,
    },
    /// The provider could not be probed: start it, or give another endpoint.
    Provider {
        /// Its base URL.
        endpoint: String,
        /// What it did.
        reason: Reason,
    },
    /// The provider does not have the model.
    ModelMissing {
        /// Its base URL.
        endpoint: String,
        /// What was asked for.
        model: String,
        /// What it has.
        available: Vec<String>,
    },
    /// The provider answers, but not with a list of its models: it requires a key, or the endpoint has a wrong path.
    ModelsUnlisted {
        /// Its base URL.
        endpoint: String,
        /// The HTTP status of its answer.
        status: u16,
    },
    /// The provider lists its models, but refuses chats: it requires a key.
    ChatsRefused {
        /// Its base URL.
        endpoint: String,
        /// The HTTP status of its answer, 401 or 403.
        status: u16,
    },
    /// The provider has no models.
    NoModels {
        /// Its base URL.
        endpoint: String,
    },
    /// The tunnel could not be opened, or broke.
    Tunnel {
        /// How.
        reason: Reason,
    },
    /// No hub announces itself on the network, or none of those that do answers.
    NoHub,
    /// The hubs that were found have no room yet.
    NoRooms {
        /// Their URLs.
        urls: Vec<String>,
    },
    /// No such room was found, but a hub does not list its rooms and may have it: it requires its key, or failed.
    RoomsUnlisted {
        /// The code or name that was looked for.
        target: String,
        /// The hub's URL.
        url: String,
        /// The HTTP status of its refusal, where it answered.
        status: Option<u16>,
        /// Why it does not list them.
        reason: Reason,
    },
    /// No hub that was found has such a room.
    NoSuchRoom {
        /// The code or name that was looked for.
        target: String,
    },
    /// Several rooms fit.
    Ambiguous {
        /// The code or name that was looked for.
        target: String,
        /// What fits.
        matches: Vec<String>,
    },
    /// A value that this program was given is wrong.
    Invalid {
        /// Which.
        what: &'static str,
        /// What it must be.
        reason: Reason,
    },
    /// The system refused something.
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        reason: Reason,
    },
}

/// Why something failed: a text for people and, where another error was the cause, that error.
#[derive(Debug)]
pub struct Reason {
    text: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Reason {
    /// A reason in the words of the error that was the cause.
    pub fn of(source: impl StdError + Send + Sync + 'static) -> Self {
        Reason::caused_by(source.to_string(), source)
    }

    /// A reason in words of its own, and the error that was the cause. The text should contain the source's.
    pub fn caused_by(text: impl Into<String>, source: impl StdError + Send + Sync + 'static) -> Self {
        Reason { text: text.into(), source: Some(Box::new(source)) }
    }

    /// The same cause in other words.
    #[must_use]
    pub(crate) fn with_text(self, text: impl Into<String>) -> Self {
        Reason { text: text.into(), ..self }
    }

    fn tls_fault(&self) -> Option<TlsFault> {
        self.source().and_then(|source| source.downcast_ref()).and_then(TlsFault::of)
    }

    /// The error that was the cause, if there was one.
    pub fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Reason { text, source: None }
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a TLS connection cannot be made, where who gave the address can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsFault {
    /// What answers speaks no TLS.
    NoTls,
    /// The certificate is not the pinned one.
    OtherFingerprint,
    /// No authority vouches for the certificate.
    Certificate,
    /// The operator's file of roots cannot be used.
    Roots,
}

impl TlsFault {
    /// The fault that an error of `net` tells.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        let cause = error.get_ref()?;
        let own = cause.downcast_ref().or_else(|| cause.downcast_ref().map(Arc::<Error>::as_ref));
        match own {
            Some(Error::Invalid { what: ROOTS_VARIABLE, .. }) => Some(TlsFault::Roots),
            _ => cause.downcast_ref().map(|failure: &TlsFailure| failure.fault),
        }
    }

    fn hint(self) -> &'static str {
        match self {
            TlsFault::NoTls => "Give the address with http:// in place of https://.",
            TlsFault::OtherFingerprint => {
                "Ask the hub's operator whether its certificate was replaced, and for its new fingerprint or an \
                 invitation. If it was not, another program answers in the hub's place."
            }
            TlsFault::Certificate => {
                "Give the fingerprint that the hub prints with --hub-fingerprint, or name a file with the certificate of \
                 its authority in SSL_CERT_FILE."
            }
            TlsFault::Roots => "Let SSL_CERT_FILE name a PEM file with certificates of authorities, or unset it.",
        }
    }
}

/// Such a fault, in words.
#[derive(Debug)]
pub(crate) struct TlsFailure {
    pub fault: TlsFault,
    pub text: String,
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for TlsFailure {}

/// A refusal of the hub, as it told it.
#[derive(Debug, Clone, PartialEq)]
pub struct HubError {
    /// HTTP status.
    pub status: u16,
    /// The code, where the hub gave one that this program knows.
    pub code: Option<ErrorCode>,
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Machine-readable particulars.
    pub details: Option<Value>,
    /// Names the request in the hub's log.
    pub request_id: Option<String>,
}

impl Error {
    /// The system has refused to start a thread.
    pub(crate) fn no_thread(error: io::Error) -> Self {
        Error::System { what: "starting a thread", reason: Reason::of(error) }
    }

    /// The HTTP status of the hub's refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Hub(error) => Some(error.status),
            _ => None,
        }
    }

    /// Whether the hub has no such route, because it is older than the route. For requests to the v1 plane only: a hub that
    /// has the route says by a code what was not found.
    pub fn is_missing_route(&self) -> bool {
        match self {
            Error::Hub(error) => error.status == 404 && matches!(error.code, None | Some(ErrorCode::InvalidRequest)),
            Error::BadAnswer { status, .. } => *status == Some(404),
            _ => false,
        }
    }

    /// The code of the hub's refusal.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Hub(error) => error.code,
            _ => None,
        }
    }

    /// Machine-readable particulars of the hub's refusal, such as the field that is wrong: JSON.
    pub fn details(&self) -> Option<String> {
        match self {
            Error::Hub(error) => error.details.as_ref().map(Value::to_string),
            _ => None,
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Hub(error) => error.hint.clone(),
            Error::Unreachable { reason, .. } => Some(reason.tls_fault().map_or(
                "Check the address, and that a hub is up there: `gambi hub serve` starts one.",
                TlsFault::hint,
            ).into()),
            Error::Provider { reason, .. } if reason.tls_fault() == Some(TlsFault::Roots) => {
                Some(TlsFault::Roots.hint().into())
            }
            Error::BadAnswer { .. } => Some("Check that the address is a hub's: a hub that serves TLS is at https://.".into()),
            Error::BrokenOff { .. } => Some(
                "Send it again: if the participant is lost, another one that has the model answers. \
                 `gambi participant list` shows who is online."
                    .into(),
            ),
            Error::Provider { .. } => Some("Start the provider, or name another with --endpoint.".into()),
            Error::ModelMissing { available, .. } if !available.is_empty() => {
                Some(format!("It has: {}.", available.join(", ")))
            }
            Error::ModelsUnlisted { status: 401 | 403, .. } | Error::ChatsRefused { .. } => Some(
                "It requires a key: put one into an environment variable, such as KEY='Bearer ...', and name that with --header-env Authorization=KEY.".into(),
            ),
            Error::ModelsUnlisted { .. } => Some(
                "Check --endpoint: it is the address up to, but without, the /v1 or /api of the provider's routes, such as http://localhost:11434.".into(),
            ),
            Error::ModelMissing { .. } | Error::NoModels { .. } => {
                Some("Give it one, such as with `ollama pull llama3`, or name another provider with --endpoint.".into())
            }
            Error::NoHub => Some("Start a hub with `gambi hub serve --mdns`, or name one with --hub URL.".into()),
            Error::NoRooms { urls } => {
                let hub = urls.first().map(|url| format!(" --hub {url}")).unwrap_or_default();
                Some(format!("Create one with `gambi room create{hub} --name NAME`."))
            }
            Error::RoomsUnlisted { status: Some(401 | 403), .. } => Some(
                "Give the hub's key with --key-file or GAMBI_HUB_KEY; if you did, check that it is the key of this hub.".into(),
            ),
            Error::RoomsUnlisted { .. } => {
                Some("Try again, or name the hub that has the room with --hub URL; `gambi discover` lists the hubs.".into())
            }
            Error::NoSuchRoom { .. } => Some("`gambi discover` lists the rooms that there are.".into()),
            Error::Ambiguous { matches, .. } => Some(format!("Give the code or the hub: {}.", matches.join("; "))),
            Error::Bind { .. } => Some("Choose another port with --port (0 lets the system choose), or an address of this machine with --host, such as 0.0.0.0 for all.".into()),
            _ => None,
        }
    }

    /// Names the request in the hub's log.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Error::Hub(error) => error.request_id.as_deref(),
            Error::BrokenOff { request_id, .. } => request_id.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Bind { address, reason } => write!(f, "cannot listen on {address}: {reason}"),
            Error::Unreachable { url, reason } => write!(f, "cannot reach {url}: {reason}"),
            Error::Hub(error) => f.write_str(&error.message),
            Error::BrokenOff { participant, reason, .. } if participant.is_empty() => {
                write!(f, "the answer broke off: {reason}")
            }
            Error::BrokenOff { participant, reason, .. } => {
                write!(f, "the answer of the participant \"{participant}\" broke off: {reason}")
            }
            Error::BadAnswer { url, reason, .. } => write!(f, "{url} does not answer as a hub does: {reason}"),
            Error::Provider { reason, .. } => write!(f, "{reason}"),
            Error::ModelMissing { endpoint, model, .. } => {
                write!(f, "the provider at {endpoint} does not have the model \"{model}\"")
            }
            Error::ModelsUnlisted { endpoint, status: status @ (401 | 403) } => {
                write!(f, "the provider at {endpoint} refuses to list its models without a valid key (status {status})")
            }
            Error::ModelsUnlisted { endpoint, status } => write!(
                f,
                "the provider at {endpoint} lists its models neither at /v1/models nor at /api/tags (status {status})"
            ),
            Error::ChatsRefused { endpoint, status } => {
                write!(f, "the provider at {endpoint} refuses chats without a valid key (status {status})")
            }
            Error::NoModels { endpoint } => write!(f, "the provider at {endpoint} has no models"),
            Error::Tunnel { reason } => write!(f, "the tunnel failed: {reason}"),
            Error::NoHub => f.write_str("no hub was found on the network"),
            Error::NoRooms { urls } => match urls.as_slice() {
                [url] => write!(f, "the hub at {url} has no room yet"),
                urls => write!(f, "none of the hubs at {} has a room yet", urls.join(", ")),
            },
            Error::RoomsUnlisted { target, url, reason, .. } => {
                write!(f, "no room \"{target}\" was found, and the hub at {url} does not list its rooms: {reason}")
            }
            Error::NoSuchRoom { target } => write!(f, "no hub on the network has a room \"{target}\""),
            Error::Ambiguous { target, .. } => write!(f, "several rooms on the network are called \"{target}\""),
            Error::Invalid { what, reason } => write!(f, "{what} {reason}"),
            Error::System { what, reason } => write!(f, "{what} failed: {reason}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Bind { reason, .. }
            | Error::Unreachable { reason, .. }
            | Error::BrokenOff { reason, .. }
            | Error::BadAnswer { reason, .. }
            | Error::Provider { reason, .. }
            | Error::Tunnel { reason }
            | Error::RoomsUnlisted { reason, .. }
            | Error::Invalid { reason, .. }
            | Error::System { reason, .. } => reason.source(),
            Error::Hub(_)
            | Error::ModelMissing { .. }
            | Error::ModelsUnlisted { .. }
            | Error::ChatsRefused { .. }
            | Error::NoModels { .. }
            | Error::NoHub
            | Error::NoRooms { .. }
            | Error::NoSuchRoom { .. }
            | Error::Ambiguous { .. } => None,
        }
    }
}
