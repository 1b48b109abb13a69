//! From a request's `model` to the participant that gets it (WIRE.md, "Which participant").

use super::Random;
use super::room::{Member, Room};
use crate::proto::management::{ErrorCode, Support};
use crate::proto::openai::same_model;

/// What a request's `model` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector<'a> {
    /// `*` or `any`.
    Any,
    /// `model:NAME`.
    Model(&'a str),
    /// Anything else: first an id, then the name of a model.
    Name(&'a str),
}

impl<'a> Selector<'a> {
    /// Reads a selector; every text is one.
    pub fn parse(model: &'a str) -> Self {
        match model {
            "*" | "any" => Selector::Any,
            _ => match model.strip_prefix("model:") {
                Some(name) => Selector::Model(name),
                None => Selector::Name(model),
            },
        }
    }
}

/// What a participant's provider must be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Chat completions.
    Chat,
    /// Responses: of its own, or put together from chat completions.
    Responses,
    /// Something that participants do not tell of.
    Other,
}

/// Whom a request is for.
#[derive(Debug, Clone)]
pub struct Want {
    /// The request's `model`.
    pub model: String,
    /// What is asked.
    pub need: Need,
    /// Serials of those who have been tried already.
    pub tried: Vec<u64>,
}

/// Why nobody gets a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody matches, or nobody that matches is up.
    NoneAvailable,
    /// Whoever matches is working on as many requests as it takes.
    Busy,
    /// The named participant has no tunnel.
    NoTunnel,
    /// The named participant is silent.
    Offline,
    /// Whoever matches can't do what is asked.
    Unsupported,
}

impl Refusal {
    /// The status, the text and the code of the answer (WIRE.md, "Inference plane").
    pub fn answer(self) -> (u16, &'static str, ErrorCode) {
        match self {
            Refusal::NoneAvailable => {
                (404, "No available participant for the requested model", ErrorCode::ModelNotFound)
            }
            Refusal::Busy => (409, "Participant is already handling another request.", ErrorCode::ParticipantBusy),
            Refusal::NoTunnel => {
                (503, "Participant tunnel is not connected.", ErrorCode::ParticipantTunnelNotConnected)
            }
            Refusal::Offline => (503, "Participant is offline", ErrorCode::EndpointNotReachable),
            Refusal::Unsupported => (501, "Participant does not support this request.", ErrorCode::InvalidRequest),
        }
    }
}

/// Who gets a request, and whether it was named by its id.
///
/// # Errors
/// Why nobody does.
pub fn pick<'r>(room: &'r Room, want: &Want, now: u64, random: Random<'_>) -> Result<(&'r Member, bool), Refusal> {
    let by_model = |name: &str| -> Vec<&Member> { room.members.values().filter(|m| m.has_model(name)).collect() };
    let candidates = match Selector::parse(&want.model) {
        Selector::Any => room.members.values().collect(),
        Selector::Model(name) => by_model(name),
        Selector::Name(name) => match room.members.values().find(|m| m.id.as_str() == name) {
            Some(member) => return named(member, want).map(|member| (member, true)),
            None => by_model(name),
        },
    };
    one_of(&candidates, want, now, random).map(|member| (member, false))
}

impl Member {
    /// Whether it answers to a model's name.
    pub fn has_model(&self, name: &str) -> bool {
        same_model(&self.profile.model, name) || self.profile.aliases.iter().any(|alias| same_model(alias, name))
    }

    /// Whether Responses requests must be put into chat completions for it.
    pub fn wants_chat(&self) -> bool {
        self.no_responses || self.profile.capabilities.open_responses == Support::Unsupported
    }

    fn can(&self, need: Need) -> bool {
        let chats = self.profile.capabilities.chat_completions != Support::Unsupported;
        match need {
            Need::Chat => chats,
            Need::Responses => chats || !self.wants_chat(),
            Need::Other => true,
        }
    }
}

fn named<'r>(member: &'r Member, want: &Want) -> Result<&'r Member, Refusal> {
    if !member.is_connected() {
        Err(Refusal::NoTunnel)
    } else if !member.is_up() {
        Err(Refusal::Offline)
    } else if !member.can(want.need) {
        Err(Refusal::Unsupported)
    } else if !member.is_free() {
        Err(Refusal::Busy)
    } else {
        Ok(member)
    }
}

/// The best of those that are free: not one that failed lately, then the least busy, then the quickest, then by lot.
fn one_of<'r>(candidates: &[&'r Member], want: &Want, now: u64, random: Random<'_>) -> Result<&'r Member, Refusal> {
    let up: Vec<_> = candidates.iter().filter(|m| m.is_up() && !want.tried.contains(&m.serial)).collect();
    let able: Vec<_> = up.iter().filter(|m| m.can(want.need)).collect();
    let mut free: Vec<&Member> = able.iter().filter(|m| m.is_free()).map(|m| ***m).collect();
    match (up.len(), able.len(), free.len()) {
        (0, ..) => return Err(Refusal::NoneAvailable),
        (_, 0, _) => return Err(Refusal::Unsupported),
        (_, _, 0) => return Err(Refusal::Busy),
        _ => {}
    }
    let rank = |m: &Member| (m.health.is_avoided(now, m.in_flight), m.in_flight, m.health.ttft());
    let order = |a: &&Member, b: &&Member| {
        let ((avoided, load, ttft), (other_avoided, other_load, other_ttft)) = (rank(a), rank(b));
        (avoided, load).cmp(&(other_avoided, other_load)).then(ttft.total_cmp(&other_ttft))
    };
    free.sort_by(order);
    let ties = free.iter().take_while(|m| order(m, &free[0]).is_eq()).count();
    Ok(free[draw_below(ties, random)])
}

/// A number below `n`. The bias of taking a remainder of 64 bits is too small to matter for lists that fit in memory.
fn draw_below(n: usize, random: Random<'_>) -> usize {
    if n == 1 {
        return 0;
    }
    let mut bytes = [0; 8];
    random(&mut bytes);
    usize::try_from(u64::from_le_bytes(bytes) % n as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_read_as_the_contract_says() {
        assert_eq!(Selector::parse("*"), Selector::Any);
        assert_eq!(Selector::parse("any"), Selector::Any);
        assert_eq!(Selector::parse("model:llama3:8b"), Selector::Model("llama3:8b"));
        assert_eq!(Selector::parse("Any"), Selector::Name("Any"));
    }
}
