//! Who may speak for a participant: whoever shows its token, or whoever shows none where the hub does not demand it.

use super::super::id::{ParticipantId, Secret};
use super::super::room::Member;
use super::super::{Now, Random};
use super::registration::{Missing, NotRegistered, Proof};
use super::rooms::Registry;

/// How long a participant must have been gone until its id is free for others, milliseconds.
const ABANDONED: u64 = 300_000;
/// The shortest and the longest token that a participant may choose for itself.
const LENGTHS: std::ops::RangeInclusive<usize> = 32..=128;

/// Why a request may not speak for a participant.
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
    fn fits(self, member: &Member) -> bool {
        self.token.is_some_and(|token| member.token.matches(token))
    }

    /// A token that a participant chose, so that it knows it even if the answer to its registration is lost.
    fn chosen(self) -> Option<Secret> {
        let token = self.token?;
        let fits = LENGTHS.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Secret::from_text(token))
    }

    /// The token that a participant has from now on, and whether whoever registers it may know it.
    pub(super) fn token_for(
        self,
        known: Option<&Member>,
        now: Now,
        random: Random<'_>,
    ) -> Result<(Secret, bool), NotRegistered> {
        match known {
            Some(member) if self.fits(member) => Ok((member.token.clone(), true)),
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
    /// Whether a request may speak for a participant. A token that is shown and wrong is refused everywhere: whoever shows
    /// it spoke for the participant before somebody else registered its id, and must not undo that.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn prove(&mut self, code: &str, id: &str, proof: Proof<'_>) -> Result<(), Denied> {
        let (_, member) = self.member_mut(code, id)?;
        let must_fit = proof.demanded || proof.token.is_some();
        if must_fit && !proof.fits(member) { Err(Denied::NotTheirs) } else { Ok(()) }
    }

    /// Whether a request shows a participant's own token. Of one that is not there nothing fits.
    pub fn is_own(&self, code: &str, id: &str, proof: Proof<'_>) -> bool {
        let member = self.room(code).ok().zip(ParticipantId::parse(id)).and_then(|(room, id)| room.members.get(&id));
        member.is_some_and(|member| proof.fits(member))
    }
}
