//! What the statuses of providers mean for a request that another participant could answer too.

use crate::hub::relay::upstream::UpstreamError;

/// Statuses after which another participant is tried, if there is one.
const RETRY: [u16; 3] = [429, 502, 503];
/// Statuses that mean that the provider lacks the API (PROTOCOL.md, "Responses on a chat-only provider").
const NO_API: [u16; 3] = [404, 405, 501];

/// Statuses with which a provider refuses a request that it does not understand.
const BAD_REQUEST: [u16; 2] = [400, 422];

/// Whether another participant is tried after this status, if there is one.
pub fn calls_for_another(status: u16) -> bool {
    RETRY.contains(&status)
}

/// Whether the provider may lack the API.
pub fn lacks_api(status: u16) -> bool {
    NO_API.contains(&status)
}

/// Whether the provider has refused what is in the request.
pub fn refuses_content(status: u16) -> bool {
    BAD_REQUEST.contains(&status)
}

/// Whether a response sends its client to another address. A 304 (RFC 9110, section 15.4.5) does not.
pub fn is_redirect(status: u16) -> bool {
    (300..400).contains(&status) && status != 304
}

/// A client that follows a redirect repeats all that it sent: the prompt, and the headers that hold the room's password.
pub fn redirect_error(status: u16) -> UpstreamError {
    UpstreamError::provider(&format!(
        "the provider answered {status}, a redirect, which is neither followed nor passed on: \
         give the participant the address that it leads to as its endpoint"
    ))
}
