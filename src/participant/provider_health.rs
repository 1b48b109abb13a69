//! Whether the provider answers, judged by polling it. No I/O.

/// Polls without an answer, one after another, that mean that the provider is down. A busy one may miss one.
const MAX_SILENT: u32 = 2;

/// The result of a poll of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollResult {
    /// It answered, whatever it said.
    Answered,
    /// It took the connection, and did not answer in time.
    Silent,
    /// It took no connection.
    Refused,
}

/// What the polls have shown so far.
#[derive(Debug, Default)]
pub struct ProviderHealth {
    silent: u32,
    is_down: bool,
}

impl ProviderHealth {
    /// Records a poll. True when it changes whether the provider is down.
    pub fn record(&mut self, poll: PollResult) -> bool {
        self.silent = if poll == PollResult::Silent { self.silent + 1 } else { 0 };
        let is_down = match poll {
            PollResult::Answered => false,
            PollResult::Refused => true,
            PollResult::Silent => self.is_down || self.silent >= MAX_SILENT,
        };
        std::mem::replace(&mut self.is_down, is_down) != is_down
    }

    /// Whether the provider is down.
    pub fn is_down(&self) -> bool {
        self.is_down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_down_once_it_refuses_or_is_silent_twice_and_up_once_it_answers() {
        use PollResult::{Answered, Refused, Silent};
        let mut health = ProviderHealth::default();
        let polls = [
            (Answered, false),
            (Silent, false),
            (Answered, false),
            (Silent, false),
            (Silent, true),
            (Silent, true),
            (Answered, false),
            (Refused, true),
            (Silent, true),
            (Answered, false),
        ];
        for (step, (poll, down)) in polls.into_iter().enumerate() {
            let before = health.is_down();
            assert_eq!(health.record(poll), before != down, "step {step}");
            assert_eq!(health.is_down(), down, "step {step}");
        }
    }
}
