//! Whether the provider answers, judged by looks at it. No I/O.

/// Looks without an answer, one after another, that mean that the provider is down. A busy one may miss one.
const MAX_SILENT: u32 = 2;

/// The result of a look at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It answered, whatever it said.
    Answered,
    /// It took the connection, and did not answer in time.
    Silent,
    /// It took no connection.
    Refused,
}

/// What the looks have shown so far.
#[derive(Debug, Default)]
pub struct ProviderHealth {
    silent: u32,
    is_down: bool,
}

impl ProviderHealth {
    /// Records a look. True when it changes whether the provider is down.
    pub fn record(&mut self, look: Look) -> bool {
        self.silent = if look == Look::Silent { self.silent + 1 } else { 0 };
        let is_down = match look {
            Look::Answered => false,
            Look::Refused => true,
            Look::Silent => self.is_down || self.silent >= MAX_SILENT,
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
        use Look::{Answered, Refused, Silent};
        let mut health = ProviderHealth::default();
        let looks = [
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
        for (step, (look, down)) in looks.into_iter().enumerate() {
            let before = health.is_down();
            assert_eq!(health.record(look), before != down, "step {step}");
            assert_eq!(health.is_down(), down, "step {step}");
        }
    }
}
