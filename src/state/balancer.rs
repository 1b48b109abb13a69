//! Chooses the participant that gets a request (PROTOCOL.md, "Inference plane").

use std::cmp::Ordering;

use super::Random;
use super::conversations::Previous;
use super::id::ParticipantId;
use super::room::{Member, Room};
use super::selector::{Need, Refusal, Selector, Want};
use crate::proto::management::Support;
use crate::proto::openai::same_model;

/// A participant that may get a request.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'r> {
    /// The participant.
    pub member: &'r Member,
    /// The index of its model that the request goes out with.
    pub model: u16,
    /// Whether it was named by its id.
    pub named: bool,
}

impl<'r> Choice<'r> {
    /// A participant that a request names by its id.
    pub fn by_id(member: &'r Member) -> Self {
        Choice { member, model: member.default_model(), named: true }
    }
}

/// Who gets a request.
///
/// # Errors
/// When no participant can get it.
pub fn pick<'r>(room: &'r Room, want: &Want, now: u64, random: Random<'_>) -> Result<Choice<'r>, Refusal> {
    let with = |model: &dyn Fn(&Member) -> Option<u16>| -> Vec<Choice<'r>> {
        let choice = |member| model(member).map(|model| Choice { member, model, named: false });
        room.members.values().filter_map(choice).collect()
    };
    let mut candidates = match Selector::parse(&want.model) {
        Selector::Any => with(&|member| Some(member.default_model())),
        Selector::Model(name) => with(&|member| member.model_named(name)),
        Selector::Name(name) => match ParticipantId::parse(name).and_then(|id| room.members.get(&id)) {
            Some(member) => return check_named(member, want).map(Choice::by_id),
            None => with(&|member| member.model_named(name)),
        },
    };
    if candidates.iter().any(|choice| want.owner == Some(choice.member.serial)) {
        candidates.retain(|choice| want.owner == Some(choice.member.serial));
    }
    best_of(&candidates, want, now, random)
}

impl Member {
    /// Whether `name` is its model or one of its aliases.
    pub fn has_model(&self, name: &str) -> bool {
        self.model_named(name).is_some()
    }

    /// The index of its model with this name. An alias is a name of its first model.
    fn model_named(&self, name: &str) -> Option<u16> {
        let alias = || self.profile.aliases.iter().any(|alias| same_model(alias, name)).then_some(0);
        self.profile.models.find(name).or_else(alias)
    }

    /// The index of the model for requests that name none: the first one, unless only others are in memory.
    fn default_model(&self) -> u16 {
        self.loaded.as_ref().and_then(|loaded| loaded.first().copied()).unwrap_or(0)
    }

    /// How far a model is from answering: in memory, unknown, or yet to be loaded.
    fn coldness(&self, model: u16) -> u8 {
        match &self.loaded {
            Some(loaded) if loaded.binary_search(&model).is_ok() => 0,
            None => 1,
            Some(_) => 2,
        }
    }

    /// Whether Responses requests must be translated to chat completions for it.
    pub fn wants_chat(&self) -> bool {
        self.no_responses || self.profile.capabilities.open_responses == Support::Unsupported
    }

    /// Whether requests of Ollama's API must be translated for it.
    pub fn lacks_ollama(&self) -> bool {
        self.no_ollama || self.profile.capabilities.ollama == Support::Unsupported
    }

    fn can(&self, need: Need) -> bool {
        let chats = self.profile.capabilities.chat_completions != Support::Unsupported;
        match need {
            Need::Chat => chats,
            Need::Responses => chats || !self.wants_chat(),
            Need::OllamaChat => chats || !self.lacks_ollama(),
            Need::Other => true,
        }
    }
}

fn check_named<'r>(member: &'r Member, want: &Want) -> Result<&'r Member, Refusal> {
    if !member.is_connected() {
        Err(Refusal::NoTunnel)
    } else if member.silent {
        Err(Refusal::Offline)
    } else if member.draining {
        Err(Refusal::Draining)
    } else if member.provider_down {
        Err(Refusal::ProviderDown)
    } else if !member.can(want.need) {
        Err(Refusal::Unsupported)
    } else if !member.is_free() {
        Err(Refusal::Busy)
    } else {
        Ok(member)
    }
}

/// The free candidate that answered the request's conversation before (`again`), or else the best one: those that failed
/// recently rank last, then fallbacks, then by requests in flight over weight. Among equals with different weights, one is
/// drawn in proportion to them; among others, a model in memory and then the lowest time to first token decide. Ties are
/// broken at random.
fn best_of<'r>(candidates: &[Choice<'r>], want: &Want, now: u64, random: Random<'_>) -> Result<Choice<'r>, Refusal> {
    let up = |c: &&Choice<'_>| c.member.is_up() && !want.tried.contains(&c.member.serial);
    let up: Vec<_> = candidates.iter().filter(up).collect();
    let able: Vec<_> = up.iter().filter(|c| c.member.can(want.need)).collect();
    let free: Vec<Choice<'r>> = able.iter().filter(|c| c.member.is_free()).map(|c| ***c).collect();
    match (up.len(), able.len(), free.len()) {
        (0, ..) => return Err(Refusal::NoneAvailable),
        (_, 0, _) => return Err(Refusal::Unsupported),
        (_, _, 0) => return Err(Refusal::Busy),
        _ => {}
    }
    if let Some(choice) = want.previous.and_then(|previous| again(&free, previous, now)) {
        return Ok(choice);
    }
    let alike = best(free, |a, b| by_load(a.member, b.member, now));
    let weight = |c: &Choice<'_>| c.member.profile.weight.max(1);
    if alike.iter().any(|c| weight(c) != weight(&alike[0])) {
        return Ok(draw(&alike, weight, random));
    }
    let rank = |c: &Choice<'_>| (c.member.coldness(c.model), c.member.health.ttft());
    let order = |a: &Choice<'_>, b: &Choice<'_>| {
        let ((cold, ttft), (other_cold, other_ttft)) = (rank(a), rank(b));
        cold.cmp(&other_cold).then(ttft.total_cmp(&other_ttft))
    };
    Ok(draw(&best(alike, order), |_| 1, random))
}

/// The candidate that answered the request's conversation before, if that was with the same model, and no other one has
/// failed less recently, is less of a fallback, or is nearer to having its model in memory. Requests in flight and weights
/// do not count: reading the conversation anew takes longer than a free slot beside other requests, and weights have
/// decided where it began.
fn again<'r>(free: &[Choice<'r>], previous: Previous, now: u64) -> Option<Choice<'r>> {
    let rank = |c: &Choice<'_>| (class(c.member, now), c.member.coldness(c.model));
    let is_previous =
        |c: &&Choice<'_>| previous == Previous::new(c.member.serial, c.member.profile.models.name(c.model));
    let choice = free.iter().find(is_previous).copied()?;
    free.iter().all(|other| rank(&choice) <= rank(other)).then_some(choice)
}

/// What comes before a participant's load: whether it has just failed, and whether it is a fallback.
fn class(member: &Member, now: u64) -> (bool, bool) {
    (member.health.is_avoided(now, member.in_flight), member.profile.fallback)
}

fn by_load(a: &Member, b: &Member, now: u64) -> Ordering {
    // Requests over weight, without a division.
    let load = |m: &Member, other: &Member| u64::from(m.in_flight) * u64::from(other.profile.weight.max(1));
    class(a, now).cmp(&class(b, now)).then_with(|| load(a, b).cmp(&load(b, a)))
}

/// Those that come first in an order. There is one.
fn best<'r>(choices: Vec<Choice<'r>>, order: impl Fn(&Choice<'r>, &Choice<'r>) -> Ordering) -> Vec<Choice<'r>> {
    let Some(first) = choices.iter().copied().min_by(&order) else { return choices };
    choices.into_iter().filter(|choice| order(choice, &first).is_eq()).collect()
}

/// One of some, by lot in proportion to a weight of at least 1.
fn draw<'r>(choices: &[Choice<'r>], weight: impl Fn(&Choice<'r>) -> u32, random: Random<'_>) -> Choice<'r> {
    let sizes = || choices.iter().map(|choice| weight(choice) as usize);
    let mut left = draw_below(sizes().sum(), random);
    let drawn = sizes().position(|size| match left.checked_sub(size) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    choices[drawn.unwrap_or(0)]
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
    fn selectors_parse_as_documented() {
        assert_eq!(Selector::parse("*"), Selector::Any);
        assert_eq!(Selector::parse("any"), Selector::Any);
        assert_eq!(Selector::parse("model:llama3:8b"), Selector::Model("llama3:8b"));
        assert_eq!(Selector::parse("Any"), Selector::Name("Any"));
    }
}
