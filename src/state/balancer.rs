//! Chooses the participant that gets a request (PROTOCOL.md, "Inference plane").

use super::Random;
use super::room::{Member, Room};
use super::selector::{Need, Refusal, Selector, Want};
use crate::proto::management::Support;
use crate::proto::openai::same_model;

/// The participant that gets a request, and whether the request named it by its id.
///
/// # Errors
/// [`Refusal`], where no participant can take the request.
pub fn pick<'r>(room: &'r Room, want: &Want, now: u64, random: Random<'_>) -> Result<(&'r Member, bool), Refusal> {
    let by_model = |name: &str| -> Vec<&Member> { room.members.values().filter(|m| m.has_model(name)).collect() };
    let candidates = match Selector::parse(&want.model) {
        Selector::Any => room.members.values().collect(),
        Selector::Model(name) => by_model(name),
        Selector::Name(name) => match room.members.values().find(|m| m.id.as_str() == name) {
            Some(member) => return check_named(member, want).map(|member| (member, true)),
            None => by_model(name),
        },
    };
    best_of(&candidates, want, now, random).map(|member| (member, false))
}

impl Member {
    /// Whether `name` is its model or one of its aliases.
    pub fn has_model(&self, name: &str) -> bool {
        same_model(&self.profile.model, name) || self.profile.aliases.iter().any(|alias| same_model(alias, name))
    }

    /// Whether Responses requests must be translated to chat completions for it.
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

fn check_named<'r>(member: &'r Member, want: &Want) -> Result<&'r Member, Refusal> {
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

/// The best free candidate: those that failed recently rank last, then fewest requests in flight, then lowest time to
/// first token. Ties are broken at random.
fn best_of<'r>(candidates: &[&'r Member], want: &Want, now: u64, random: Random<'_>) -> Result<&'r Member, Refusal> {
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
    fn selectors_parse_as_documented() {
        assert_eq!(Selector::parse("*"), Selector::Any);
        assert_eq!(Selector::parse("any"), Selector::Any);
        assert_eq!(Selector::parse("model:llama3:8b"), Selector::Model("llama3:8b"));
        assert_eq!(Selector::parse("Any"), Selector::Name("Any"));
    }
}
