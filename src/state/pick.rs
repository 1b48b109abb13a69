//! From a request's `model` to the participant that gets it (WIRE.md, "Which participant").

use super::Random;
use super::room::{Member, Room};
use crate::proto::management::ErrorCode;

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

/// Why nobody gets a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody matches, or nobody that matches is up.
    NoneAvailable,
    /// Whoever matches is working on another request.
    Busy,
    /// The named participant has no tunnel.
    NoTunnel,
    /// The named participant is silent.
    Offline,
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
        }
    }
}

/// Who gets a request that says `model`.
///
/// # Errors
/// Why nobody does.
pub fn pick<'r>(room: &'r Room, model: &str, random: Random<'_>) -> Result<&'r Member, Refusal> {
    match Selector::parse(model) {
        Selector::Any => one_of(room, |_| true, random),
        Selector::Model(name) => one_of(room, |m| same_model(&m.profile.model, name), random),
        Selector::Name(name) => match room.members.values().find(|m| m.id.as_str() == name) {
            Some(member) => named(member),
            None => one_of(room, |m| same_model(&m.profile.model, name), random),
        },
    }
}

/// `NAME` and `NAME:latest` are the same name.
pub fn same_model(a: &str, b: &str) -> bool {
    let bare = |name: &str| name.strip_suffix(":latest").map_or(name.len(), str::len);
    a[..bare(a)] == b[..bare(b)]
}

fn named(member: &Member) -> Result<&Member, Refusal> {
    if member.tunnel.open.is_none() {
        Err(Refusal::NoTunnel)
    } else if !member.is_up() {
        Err(Refusal::Offline)
    } else if !member.is_free() {
        Err(Refusal::Busy)
    } else {
        Ok(member)
    }
}

/// One of those that match and are free, each as likely as the next.
fn one_of<'r>(room: &'r Room, matches: impl Fn(&Member) -> bool, random: Random<'_>) -> Result<&'r Member, Refusal> {
    let up: Vec<_> = room.members.values().filter(|m| m.is_up() && matches(m)).collect();
    let free: Vec<_> = up.iter().filter(|m| m.is_free()).collect();
    match (up.len(), free.len()) {
        (0, _) => Err(Refusal::NoneAvailable),
        (_, 0) => Err(Refusal::Busy),
        (_, 1) => Ok(free[0]),
        (_, n) => Ok(free[draw_below(n, random)]),
    }
}

/// A number below `n`. The bias of taking a remainder of 64 bits is too small to matter for lists that fit in memory.
fn draw_below(n: usize, random: Random<'_>) -> usize {
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

    #[test]
    fn latest_is_no_name_of_its_own() {
        assert!(same_model("llama3", "llama3:latest"));
        assert!(same_model("llama3:latest", "llama3"));
        assert!(!same_model("llama3", "llama3:8b"));
        assert!(!same_model("llama3", "Llama3"));
        assert!(same_model("", ":latest"));
    }
}
