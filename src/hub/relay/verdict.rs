//! What a response calls for, judged by its head and, where that does not tell, by the start of its body.

use crate::hub::relay::operation::{OllamaRoute, RelayRequest, Shape};
use crate::hub::relay::provider_status::{calls_for_another, lacks_api, refuses_content};
use crate::hub::relay::route_check::ResponseStart;
use crate::hub::relay::upstream::{UpstreamError, UpstreamFailure};
use crate::proto::management::Support;
use crate::proto::stage::Stage;
use crate::proto::translate::can_be_chat;
use crate::state::registry::Picked;

/// What a response calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The provider does not serve the request in the API that was asked for, and another one can take its place.
    Translate(TranslationReason),
    /// The provider has lost the model: another participant may have it.
    LacksModel,
    /// Another participant may answer better.
    Refused,
    /// It is the answer.
    Answer,
}

/// Why a participant is asked in another API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TranslationReason {
    /// Its provider lacks the API.
    LacksRoute,
    /// Its provider knows no other tools than functions. That says nothing about other requests.
    RefusesTools,
}

/// Judges a response. `translated`: whether it is one of another API than the one that was asked for.
///
/// # Errors
/// When the response breaks off while its body is looked at.
pub fn judge(
    request: &RelayRequest<'_>,
    picked: &Picked,
    translated: bool,
    response: &mut ResponseStart<'_, '_, '_>,
) -> Result<Verdict, UpstreamError> {
    let status = response.head.status;
    let is_ollama = matches!(request.kind.shape, Shape::Ollama(_));
    // Ollama tells a missing model by the status of a missing route.
    if is_ollama && response.lacks_model(&picked.model)? {
        return Ok(Verdict::LacksModel);
    }
    if !translated && can_be_translated(request, picked) {
        // A good status is not enough: some servers answer 200 on routes that they lack.
        let good = (200..300).contains(&status);
        let lacks = if is_ollama { ResponseStart::lacks_ollama } else { ResponseStart::lacks_route };
        if lacks_api(status) || good && lacks(response)? {
            return Ok(Verdict::Translate(TranslationReason::LacksRoute));
        }
        let may_refuse_tools = request.kind.shape == Shape::Responses
            && refuses_content(status)
            && request.body.as_ref().is_some_and(|body| body.has_other_tools() && can_be_chat(body));
        if may_refuse_tools && response.refuses_tools()? {
            return Ok(Verdict::Translate(TranslationReason::RefusesTools));
        }
    }
    if !is_ollama && response.lacks_model(&picked.model)? {
        return Ok(Verdict::LacksModel);
    }
    Ok(if calls_for_another(status) { Verdict::Refused } else { Verdict::Answer })
}

/// Whether a participant has refused a request because it does not know the operation: those of older versions name its
/// path. Another API can then take the operation's place.
pub fn refuses_operation(request: &RelayRequest<'_>, picked: &Picked, translated: bool, error: &UpstreamError) -> bool {
    let UpstreamError::Failed(UpstreamFailure { stage, message, .. }) = error else { return false };
    !translated
        && *stage == Stage::Participant
        && message.contains(&*request.path)
        && can_be_translated(request, picked)
}

/// Whether another API can take the place of one that the provider lacks.
fn can_be_translated(request: &RelayRequest<'_>, picked: &Picked) -> bool {
    let capabilities = &picked.profile.capabilities;
    let chats = capabilities.chat_completions != Support::Unsupported;
    match request.kind.shape {
        Shape::Responses | Shape::Messages | Shape::CountTokens => chats,
        Shape::Ollama(OllamaRoute::Text(_)) => chats,
        Shape::Ollama(_) => true,
        Shape::Chat | Shape::Plain | Shape::Numbers | Shape::AboutResponse => false,
    }
}
