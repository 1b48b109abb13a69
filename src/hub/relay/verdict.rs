//! What a response calls for, judged by its head and, where that does not tell, by the start of its body.

use crate::hub::options::Timeouts;
use crate::hub::relay::client_response::ClientResponse;
use crate::hub::relay::operation::{RelayRequest, Shape};
use crate::hub::relay::passthrough::ResponseHead;
use crate::hub::relay::provider_status::{calls_for_another, lacks_api};
use crate::hub::relay::route_check::{lacks_model, lacks_route};
use crate::hub::relay::upstream::{UpstreamError, UpstreamRequest};
use crate::proto::management::Support;
use crate::state::registry::Picked;

/// What a response calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The provider lacks the API that was asked for, and Chat Completions can take its place.
    AsChat,
    /// The provider has lost the model: another participant may have it.
    LacksModel,
    /// Another participant may answer better.
    Refused,
    /// It is the answer.
    Answer,
}

/// Judges a response. `translated`: whether it answers a chat in place of the API that was asked for.
///
/// # Errors
/// When the response breaks off while its body is looked at.
pub fn judge(
    request: &RelayRequest<'_>,
    picked: &Picked,
    translated: bool,
    client: &mut ClientResponse<'_, '_>,
    upstream: &mut UpstreamRequest,
    (head, timeouts): (&ResponseHead, &Timeouts),
) -> Result<Verdict, UpstreamError> {
    if !translated && can_be_chat(request, picked) {
        // A good status is not enough: some servers answer 200 on routes that they lack.
        let good = (200..300).contains(&head.status);
        if lacks_api(head.status) || good && lacks_route(client, upstream, timeouts, &head.headers)? {
            return Ok(Verdict::AsChat);
        }
    }
    if lacks_model(client, upstream, timeouts, head, &picked.model)? {
        return Ok(Verdict::LacksModel);
    }
    Ok(if calls_for_another(head.status) { Verdict::Refused } else { Verdict::Answer })
}

/// Whether Chat Completions can take the place of an API that the provider lacks.
fn can_be_chat(request: &RelayRequest<'_>, picked: &Picked) -> bool {
    let translatable = matches!(request.kind.shape, Shape::Responses | Shape::Messages | Shape::CountTokens);
    translatable && picked.profile.capabilities.chat_completions != Support::Unsupported
}
