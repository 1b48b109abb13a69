//! The step at which a request failed, as events, traces and the log name it (PROTOCOL.md, "Events").

/// A step of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The client disconnected.
    Cancelled,
    /// The endpoint of a direct participant, or a participant's provider, was connected to.
    Connect,
    /// The request was sent.
    Dispatch,
    /// Another participant was asked beside this one, and answered first.
    Hedge,
    /// The participant itself refused or broke off.
    Participant,
    /// The provider answered.
    Provider,
    /// The response's body came.
    Stream,
    /// Another one, which a participant of any version has reported. Its length is bounded where it is decoded.
    Reported(Box<str>),
}

/// Stages that only the hub reports: a participant must not appear to have failed there.
const HUB_ONLY: [&str; 4] = ["cancelled", "dispatch", "hedge", "queue"];

/// Stages of the hub's that participants report too.
const SHARED: [Stage; 4] = [Stage::Connect, Stage::Participant, Stage::Provider, Stage::Stream];

impl Stage {
    /// The stage that a participant has reported, or `current` if it reported none. The hub's own names are replaced.
    pub fn reported(text: &str, current: Stage) -> Self {
        if text.is_empty() {
            current
        } else if HUB_ONLY.contains(&text.trim().to_ascii_lowercase().as_str()) {
            Stage::Participant
        } else {
            SHARED.into_iter().find(|stage| stage.as_str() == text).unwrap_or_else(|| Stage::Reported(text.into()))
        }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        match self {
            Stage::Cancelled => "cancelled",
            Stage::Connect => "connect",
            Stage::Dispatch => "dispatch",
            Stage::Hedge => "hedge",
            Stage::Participant => "participant",
            Stage::Provider => "provider",
            Stage::Stream => "stream",
            Stage::Reported(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_participants_stage_is_never_one_of_the_hubs_own() {
        let stage = |reported: &str| Stage::reported(reported, Stage::Stream);
        for (reported, name) in
            [("", "stream"), ("fetch", "fetch"), ("connect", "connect"), ("participant", "participant")]
        {
            assert_eq!(stage(reported).as_str(), name);
        }
        for reserved in ["cancelled", " Cancelled", "dispatch", "hedge", "queue"] {
            assert_eq!(stage(reserved), Stage::Participant);
        }
    }
}
