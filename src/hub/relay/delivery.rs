//! A response on its way from a participant to the client. `passthrough` passes it on unchanged, `adapters` in another API.

use crate::hub::relay::attempt::Attempt;
use crate::hub::relay::client_response::ClientResponse;
use crate::hub::relay::upstream::UpstreamRequest;

/// A response that is passed on. The inner result of what passes it on says whether the client's connection can be kept.
pub struct Delivery<'d, 's, 'e, 'c> {
    /// Records it.
    pub attempt: &'d mut Attempt<'s>,
    /// Where it goes.
    pub client: &'d mut ClientResponse<'e, 'c>,
    /// Where it comes from.
    pub upstream: &'d mut UpstreamRequest,
}
