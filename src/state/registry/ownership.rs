//! Authorisation of requests on behalf of a participant: by its token, or without one where the hub does not require
//! it.

use super::super::id::Secret;
use super::super::room::Member;
use super::super::{Now, Random};
use super::registration::{Missing, NotRegistered, Proof};
use super::rooms::Registry;
use crate::proto::names::is_participant_token;

/// How long a participant must have been offline before its id can be registered by others, milliseconds.
const ABANDONED: u64 = 300_000;

/// Why a request may not act for a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// There is no such participant.
    Missing(Missing),
    /// The token is missing or wrong.
    NotTheirs,
}

impl From<Missing> for Denied {
    fn from(missing: Missing) -> Self {
        Denied::Missing(missing)
    }
}

impl Proof<'_> {
    fn matches(self, member: &Member) -> bool {
        self.token.is_some_and(|token| member.token.matches(token))
    }

    /// The token that a participant chose. It knows that token even if the answer to its registration is lost.
    fn chosen(self) -> Option<Secret> {
        self.token.filter(|token| is_participant_token(token)).map(Secret::from_text)
    }

    /// The token that a participant has from now on, and whether the answer to the registration may contain it.
    pub(super) fn token_for(
        self,
        known: Option<&Member>,
        now: Now,
        random: Random<'_>,
    ) -> Result<(Secret, bool), NotRegistered> {
        match known {
            Some(member) if self.matches(member) => Ok((member.token.clone(), true)),
            Some(member) if self.demanded && !member.is_abandoned(now) => Err(NotRegistered::NotTheirs),
            Some(member) if !self.demanded && self.chosen().is_none() => Ok((member.token.clone(), false)),
            _ => Ok((self.chosen().unwrap_or_else(|| Secret::draw(random)), true)),
        }
    }
}

impl Member {
    fn is_abandoned(&self, now: Now) -> bool {
        !self.is_up() && now.mono.saturating_sub(self.last_seen.mono) >= ABANDONED
    }
}

impl Registry {
    /// Checks whether a request may act for a participant. A wrong token is refused even where none is required: its
    /// sender held the id before another client registered it, and must not change the new registration.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn prove(&mut self, code: &str, id: &str, proof: Proof<'_>) -> Result<(), Denied> {
        let (_, member) = self.member_mut(code, id)?;
        let required = proof.demanded || proof.token.is_some();
        if required && !proof.matches(member) { Err(Denied::NotTheirs) } else { Ok(()) }
    }

    /// Whether a request has a participant's own token. False where the participant does not exist.
    pub fn is_own(&self, code: &str, id: &str, proof: Proof<'_>) -> bool {
        let member = self.room(code).ok().and_then(|room| room.members.get(id));
        member.is_some_and(|member| proof.matches(member))
    }
}
