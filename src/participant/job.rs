//! A request from its arrival on the tunnel until a worker serves it. While its body still arrives, its provider is sent what has
//! arrived, as far as it takes that at once: the tunnel does not wait for a provider. The whole body is kept, for the case that the
//! connection turns out to be closed.

use std::io::IoSlice;
use std::sync::Arc;

use super::cancel::CancelHandle;
use super::load::LoadShare;
use super::provider::ProviderClient;
use crate::net::client::ClientConnection;

/// What is longer, in bytes, may have to wait until the provider reads it.
pub const SHORT_REQUEST: usize = 8 << 10;

/// A request that a worker serves.
pub struct Job {
    /// The hub's id of the request.
    pub id: String,
    /// What the provider is sent, or the reason why the participant refuses the request.
    pub request: Result<ProviderRequest, String>,
    /// Cancels and pauses it.
    pub cancel: Arc<CancelHandle>,
    _share: LoadShare,
    /// The connection on which a part of it has been sent already.
    pub early: Option<EarlyCall>,
}

impl Job {
    /// A job for a request as `Forwarder::encode` encodes it.
    pub fn new(
        id: String,
        request: Result<ProviderRequest, String>,
        share: LoadShare,
        early: Option<EarlyCall>,
    ) -> Self {
        Job { id, request, cancel: Arc::default(), _share: share, early }
    }
}

/// A request as the provider is sent it.
pub struct ProviderRequest {
    /// The head, and the body if it came within the hub's message.
    pub start: Vec<u8>,
    /// The body if it came as a message of its own.
    pub body: Vec<u8>,
}

/// A request without its body.
pub struct EncodedHead {
    /// The hub's id of the request.
    pub id: String,
    /// The head for the provider, or the reason why the participant refuses the request.
    pub head: Result<Vec<u8>, String>,
}

impl EncodedHead {
    /// The job with the body that came within the request's message, if it has one.
    pub fn with_inline(self, body: &str, share: LoadShare) -> Job {
        let extended = |mut start: Vec<u8>| {
            start.extend_from_slice(body.as_bytes());
            ProviderRequest { start, body: Vec::new() }
        };
        Job::new(self.id, self.head.map(extended), share, None)
    }
}

/// The connection on which a part of a request has been sent.
pub struct EarlyCall {
    pub call: ClientConnection,
    /// Bytes of head and body that have been sent.
    pub sent: usize,
}

/// A request whose body is the tunnel's next message.
pub struct ArrivingRequest {
    request: EncodedHead,
    share: LoadShare,
    early: Option<EarlyCall>,
}

impl ArrivingRequest {
    /// A request of which nothing is sent early if `provider` has no connection for it: to open one takes time.
    pub fn new(request: EncodedHead, share: LoadShare, provider: &ProviderClient) -> Self {
        let idle = request.head.as_ref().ok().and_then(|_| provider.idle().ok().flatten());
        ArrivingRequest { request, share, early: idle.map(|call| EarlyCall { call, sent: 0 }) }
    }

    /// Sends what the provider takes at once of what has arrived: of the whole head, and of `body`.
    pub fn send_ready(&mut self, body: &[u8]) {
        let (Some(early), Ok(head)) = (&mut self.early, &self.request.head) else { return };
        let rest = rest([head, body], early.sent);
        if length(rest) <= SHORT_REQUEST {
            return;
        }
        match early.call.stream().write_ready(&rest.map(IoSlice::new)) {
            Ok(sent) => early.sent += sent,
            // The request is sent anew, on another connection.
            Err(_) => self.early = None,
        }
    }

    /// The job, with the whole body.
    pub fn complete(mut self, body: Vec<u8>) -> Job {
        self.send_ready(&body);
        let request = self.request.head.map(|start| ProviderRequest { start, body });
        Job::new(self.request.id, request, self.share, self.early)
    }
}

/// What is left of two parts behind their first bytes.
pub fn rest(parts: [&[u8]; 2], sent: usize) -> [&[u8]; 2] {
    let [first, second] = parts;
    let (of_first, of_second) = (sent.min(first.len()), sent.saturating_sub(first.len()));
    [&first[of_first..], second.get(of_second..).unwrap_or_default()]
}

/// The length of two parts together.
pub fn length(parts: [&[u8]; 2]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::super::load::Load;
    use super::*;

    #[test]
    fn what_is_left_of_two_parts_begins_behind_what_was_sent() {
        let all = |sent| rest([b"ab", b"cd"], sent).concat();
        assert_eq!([0, 1, 2, 3, 4].map(all), [&b"abcd"[..], b"bcd", b"cd", b"d", b""]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_provider_with_a_kept_connection_is_sent_a_body_while_it_arrives() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let provider = ProviderClient::new(&format!("http://{}", listener.local_addr().unwrap()), &[]).unwrap();
        let arriving = || {
            let head = EncodedHead { id: "r".into(), head: Ok(b"head".to_vec()) };
            ArrivingRequest::new(head, Arc::new(Load::new(1)).take(0).unwrap(), &provider)
        };
        assert!(arriving().early.is_none(), "no connection");
        provider.pool(provider.connect_anew(None).unwrap());
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut request = arriving();
        let body: Vec<u8> = (0..4 * SHORT_REQUEST).map(|at| at as u8).collect();
        let mut sent = Vec::new();
        for arrived in [2 * SHORT_REQUEST, body.len()] {
            while 4 + arrived - sent.len() > SHORT_REQUEST {
                request.send_ready(&body[..arrived]);
                let mut more = vec![0; request.early.as_ref().unwrap().sent - sent.len()];
                server.read_exact(&mut more).unwrap();
                sent.extend(more);
            }
        }
        assert_eq!(sent, [b"head", &body[..]].concat()[..sent.len()]);
        drop(server);
        // What is written to a closed connection is refused once its reset has come.
        while request.early.as_mut().map(|early| early.sent = 0).is_some() {
            request.send_ready(&body);
        }
    }
}
