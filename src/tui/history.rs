//! The data for the charts: the last five minutes of each room, in time slices. Pure: the time is an argument.

use std::collections::{HashMap, VecDeque};

use gambi::proto::management::Metrics;

use crate::monitor::state::{Update, typed};

/// Length of a slice, milliseconds.
pub const SLICE: u64 = 5000;
/// The number of slices kept: five minutes.
pub const SLICES: usize = 60;

/// What ended within one slice.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Slice {
    /// Requests that succeeded.
    pub answers: u64,
    /// Requests that failed.
    pub failures: u64,
    /// Sum of the times to the first token, milliseconds.
    ttft: u64,
    /// Output tokens, of responses that reported them.
    pub tokens: u64,
}

impl Slice {
    /// Whether no request ended in it.
    pub fn is_empty(&self) -> bool {
        self.answers + self.failures == 0
    }

    /// Mean time to the first token, milliseconds.
    pub fn ttft(&self) -> u64 {
        self.ttft.checked_div(self.answers).unwrap_or(0)
    }
}

/// The slices of each room, by its code.
#[derive(Debug, Default)]
pub struct History(HashMap<String, Slices>);

#[derive(Debug, Default)]
struct Slices {
    /// The number of the last slice: its start divided by its length.
    last: u64,
    slices: VecDeque<Slice>,
}

impl Slices {
    /// Adds slices up to `number`. After the clock was set back, counting continues in the last slice.
    fn advance(&mut self, number: u64) {
        let missing = number.saturating_sub(self.last).min(SLICES as u64);
        for _ in 0..missing {
            self.slices.push_back(Slice::default());
        }
        while self.slices.len() > SLICES {
            self.slices.pop_front();
        }
        self.last = self.last.max(number);
    }
}

impl History {
    /// Counts an update. Rooms that were deleted are removed.
    pub fn on_update(&mut self, update: &Update, now: u64) {
        match update {
            Update::Rooms(rooms, _) => self.0.retain(|code, _| rooms.iter().any(|room| room.code == *code)),
            Update::Event(event) if event.kind == "llm.complete" => {
                let metrics: Metrics = typed(&event.data["metrics"]).unwrap_or_default();
                self.count(&event.room_code, now, |slice| {
                    slice.answers += 1;
                    slice.ttft = slice.ttft.saturating_add(metrics.ttft_ms);
                    slice.tokens = slice.tokens.saturating_add(metrics.output_tokens.unwrap_or(0));
                });
            }
            Update::Event(event) if event.kind == "llm.error" && event.data["stage"] != "cancelled" => {
                self.count(&event.room_code, now, |slice| slice.failures += 1);
            }
            _ => {}
        }
    }

    fn count(&mut self, room: &str, now: u64, count: impl FnOnce(&mut Slice)) {
        let slices = self.0.entry(room.to_owned()).or_default();
        slices.advance(now / SLICE);
        slices.slices.back_mut().map(count);
    }

    /// A room's last slices up to the current one.
    pub fn slices(&self, room: &str, now: u64) -> Vec<Slice> {
        let mut all = vec![Slice::default(); SLICES];
        let Some(slices) = self.0.get(room) else { return all };
        let since = usize::try_from((now / SLICE).saturating_sub(slices.last)).unwrap_or(usize::MAX);
        for (back, slice) in slices.slices.iter().rev().enumerate() {
            let Some(at) = SLICES.checked_sub(1 + back.saturating_add(since)) else { break };
            all[at] = *slice;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::fixtures::{NOW, answered, failed};

    #[test]
    fn a_slice_counts_the_requests_that_ended_in_it() {
        let mut history = History::default();
        history.on_update(&answered("LAB001", "ann", "r1"), NOW);
        history.on_update(&answered("LAB001", "ann", "r2"), NOW);
        history.on_update(&failed("LAB001", "ann", "r3", "cancelled"), NOW);
        history.on_update(&failed("LAB001", "ann", "r4", "stream"), NOW + 2 * SLICE);
        let slices = history.slices("LAB001", NOW + 3 * SLICE);
        let counts: Vec<_> = slices[SLICES - 4..].iter().map(|s| (s.answers, s.failures, s.ttft(), s.tokens)).collect();
        assert_eq!(counts, [(2, 0, 210, 80), (0, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 0)]);
        assert_eq!(history.slices("OTHER1", NOW), vec![Slice::default(); SLICES]);
    }

    #[test]
    fn old_slices_are_removed_and_clock_changes_are_tolerated() {
        let mut history = History::default();
        for at in [NOW, NOW + 1_000_000_000, u64::MAX, 0, NOW] {
            history.on_update(&answered("LAB001", "ann", "r"), at);
            assert_eq!(history.slices("LAB001", at).len(), SLICES);
        }
        assert!(history.0["LAB001"].slices.len() <= SLICES);
        history.on_update(&Update::Rooms(Vec::new(), 0), NOW);
        assert!(history.0.is_empty());
    }
}
