//! Whose request gets the next free slot. The callers of a room share its slots by the time that they have used lately, so
//! that one with a thousand requests delays another's by no more than the request that runs (PROTOCOL.md, "Inference
//! plane"). Time is an argument: milliseconds on the monotonic clock.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};

use super::queue::{Lane, Queue, Waiting};
use super::selector::Caller;

/// Slot time counts half as much after this time, milliseconds.
const HALF_LIFE: f64 = 600_000.0;
/// A running request counts as at least this much used time, milliseconds, so that slots that become free together go to
/// different callers.
const MIN_REQUEST: f64 = 1_000.0;
/// A caller that has waited this long, milliseconds, gets one slot before callers of a higher priority. One slot of a room
/// is given so in the same time.
const STARVATION: u64 = 20_000;
/// A caller that gave up waiting and returns within this time, milliseconds, has waited on.
const RETURN: u64 = 60_000;
/// Callers that are remembered for a room; beyond that, those with the least used time are forgotten.
const MAX_CALLERS: usize = 1_024;

/// What decides between the lanes of a queue: the least goes first, and the older request among equals.
type Rank = (bool, Reverse<i32>, i64);

/// What each caller of a room has used of its slots.
#[derive(Debug, Default)]
pub struct FairShares {
    callers: HashMap<Caller, SlotUse>,
    /// When a caller was last preferred because it had waited for [`STARVATION`].
    last_rescue: u64,
}

/// What one caller has used.
#[derive(Debug, Default)]
struct SlotUse {
    running: u32,
    queued: u32,
    /// Used slot time at `updated`, milliseconds, of which older parts count less.
    used: f64,
    updated: u64,
    /// When it began to wait, if it has got no slot since.
    waiting_since: Option<u64>,
    /// When it last stopped waiting.
    left: u64,
}

impl SlotUse {
    /// The used time now.
    fn used_at(&self, now: u64) -> f64 {
        // Each running request adds time at a constant rate, which decays from the moment it is added.
        let decay = decay(now.saturating_sub(self.updated));
        let added = f64::from(self.running) * (1.0 - decay) * HALF_LIFE / std::f64::consts::LN_2;
        self.used * decay + added
    }

    fn update(&mut self, now: u64) {
        self.used = self.used_at(now);
        self.updated = now;
    }

    fn waited(&self, now: u64) -> u64 {
        self.waiting_since.map_or(0, |since| now.saturating_sub(since))
    }

    /// Lower goes first. Half of the wait is subtracted: callers that keep arriving cannot hold one back for good, while a
    /// caller whose own requests fill the slots does not gain by waiting for them.
    fn score(&self, now: u64) -> i64 {
        let running = f64::from(self.running) * MIN_REQUEST;
        (self.used_at(now).max(running) - self.waited(now) as f64 / 2.0) as i64
    }

    fn is_idle(&self) -> bool {
        self.running == 0 && self.queued == 0
    }
}

/// The part of slot time that is left after some milliseconds: 2^(-time / HALF_LIFE). Not by `f64::exp2`, for which every hub
/// would load the C library's `libm`.
fn decay(time: u64) -> f64 {
    let halvings = time as f64 / HALF_LIFE;
    if halvings >= 1_000.0 {
        return 0.0;
    }
    // The series of e^x, after as many halvings as leave an x between -ln 2 and 0, for which twelve terms are exact to 1e-10.
    let x = -halvings.fract() * std::f64::consts::LN_2;
    let series = (1..=12).rev().fold(1.0, |sum, n| 1.0 + sum * x / f64::from(n));
    series / 2_f64.powi(halvings as i32)
}

impl FairShares {
    /// Counts a request that waits from now on.
    pub fn enqueue(&mut self, caller: &Caller, now: u64) {
        let share = self.share(caller, now);
        if share.queued == 0 && now.saturating_sub(share.left) > RETURN {
            share.waiting_since = None;
        }
        share.waiting_since.get_or_insert(now);
        share.queued += 1;
    }

    /// Counts a request that waits no longer, whether it has got a slot or not.
    pub fn dequeue(&mut self, caller: &Caller, now: u64) {
        if let Some(share) = self.callers.get_mut(caller) {
            share.queued = share.queued.saturating_sub(1);
            share.left = now;
        }
    }

    /// Counts a request that has got a slot.
    pub fn start(&mut self, caller: &Caller, now: u64) {
        let share = self.share(caller, now);
        share.update(now);
        share.running += 1;
        share.waiting_since = None;
    }

    /// Counts a request that has released its slot.
    pub fn finish(&mut self, caller: &Caller, now: u64) {
        if let Some(share) = self.callers.get_mut(caller) {
            share.update(now);
            share.running = share.running.saturating_sub(1);
            if share.queued > 0 {
                share.waiting_since.get_or_insert(now);
            }
        }
    }

    /// The caller with the most waiting requests, if it has more than `caller` would have with one more.
    pub fn longest_queue(&self, caller: &Caller) -> Option<&Caller> {
        let own = self.callers.get(caller).map_or(0, |share| share.queued);
        let longest = self.callers.iter().max_by_key(|(_, share)| share.queued)?;
        (longest.1.queued > own + 1).then_some(longest.0)
    }

    /// The waiting requests in the order in which they would get slots now.
    pub fn order<'q>(&self, queue: &'q Queue, now: u64) -> Vec<&'q Waiting> {
        let starving = self.starving(queue, now);
        let ranked = |lane: &'q Lane| {
            let rank = self.rank(lane, now);
            lane.iter().map(move |waiting| ((starving != Some(waiting.number), rank, waiting.number), waiting))
        };
        let mut order: Vec<_> = queue.lanes().iter().flat_map(ranked).collect();
        order.sort_unstable_by_key(|(key, _)| *key);
        order.into_iter().map(|(_, waiting)| waiting).collect()
    }

    /// How many requests would get slots before the one with this number, if it waits.
    pub fn ahead_of(&self, number: u64, queue: &Queue, now: u64) -> Option<usize> {
        let starving = self.starving(queue, now);
        let own = self.rank(&queue.lanes()[queue.find(number)?.0], now);
        if starving == Some(number) {
            return Some(0);
        }
        let ahead = |lane: &Lane| {
            let ahead = match self.rank(lane, now).cmp(&own) {
                Ordering::Less => lane.len(),
                Ordering::Equal => lane.older_than(number),
                Ordering::Greater => 0,
            };
            // The first of a lane is starving though its lane is behind.
            ahead.max(usize::from(starving == Some(lane.first().number)))
        };
        Some(queue.lanes().iter().map(ahead).sum())
    }

    /// The lanes of a queue by their indices, least first in the order in which their first requests would get slots now.
    /// `starving` is what [`FairShares::starving`] found.
    pub fn lanes(
        &self,
        queue: &Queue,
        starving: Option<u64>,
        now: u64,
    ) -> BinaryHeap<Reverse<(bool, Rank, u64, usize)>> {
        let ranked = |(index, lane): (usize, &Lane)| {
            let number = lane.first().number;
            Reverse((starving != Some(number), self.rank(lane, now), number, index))
        };
        queue.lanes().iter().enumerate().map(ranked).collect()
    }

    /// Records that the starving request got a slot.
    pub fn record_rescue(&mut self, now: u64) {
        self.last_rescue = now;
    }

    /// A request that was tried at a participant already precedes new ones.
    fn rank(&self, lane: &Lane, now: u64) -> Rank {
        let want = lane.want();
        let score = self.callers.get(&want.caller).map_or(0, |share| share.score(now));
        (want.tried.is_empty(), Reverse(want.priority), score)
    }

    /// The number of the request that has waited longest behind a higher priority, if it is time to prefer it.
    pub fn starving(&self, queue: &Queue, now: u64) -> Option<u64> {
        if now.saturating_sub(self.last_rescue) < STARVATION {
            return None;
        }
        let lanes = queue.lanes().iter();
        let top = lanes.clone().map(|lane| lane.want().priority).max()?;
        let waited = |lane: &Lane| self.callers.get(&lane.want().caller).map_or(0, |share| share.waited(now));
        let starving = lanes.filter(|lane| lane.want().priority < top && waited(lane) >= STARVATION);
        starving.map(|lane| (waited(lane), Reverse(lane.first().number))).max().map(|(_, number)| number.0)
    }

    fn share(&mut self, caller: &Caller, now: u64) -> &mut SlotUse {
        if !self.callers.contains_key(caller) && self.callers.len() >= MAX_CALLERS {
            self.forget(now);
        }
        self.callers.entry(caller.clone()).or_default()
    }

    /// Callers that are remembered.
    pub fn callers(&self) -> usize {
        self.callers.len()
    }

    /// Forgets half of the idle callers: those that have used the least.
    pub fn forget(&mut self, now: u64) {
        let idle = self.callers.iter().filter(|(_, share)| share.is_idle());
        let mut idle: Vec<_> = idle.map(|(caller, share)| (share.used_at(now) as u64, caller.clone())).collect();
        idle.sort_by_key(|(used, _)| *used);
        for (_, caller) in &idle[..idle.len().div_ceil(2)] {
            self.callers.remove(caller);
        }
        self.callers.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::state::selector::{Need, Want};

    fn caller(last: u8) -> Caller {
        Caller::Network(IpAddr::from([10, 0, 0, last]))
    }

    fn waiting(number: u64, caller: &Caller, priority: i32) -> Waiting {
        let want = Want {
            model: "any".into(),
            need: Need::Chat,
            caller: caller.clone(),
            priority,
            tried: Vec::new(),
            previous: None,
            owner: None,
        };
        Waiting { number, want, since: 0 }
    }

    /// The numbers of these requests in the order in which they get slots. What is told of each one's place, and the lane that
    /// goes first, agree with it.
    fn order(shares: &FairShares, requests: &[Waiting], now: u64) -> Vec<u64> {
        let mut queue = Queue::default();
        requests.iter().for_each(|waiting| queue.push(waiting.clone()));
        let order: Vec<u64> = shares.order(&queue, now).iter().map(|waiting| waiting.number).collect();
        let ahead = |number: &u64| shares.ahead_of(*number, &queue, now);
        assert_eq!(order.iter().map(ahead).collect::<Vec<_>>(), (0..order.len()).map(Some).collect::<Vec<_>>());
        let first = shares.lanes(&queue, shares.starving(&queue, now), now).pop().map(|Reverse((.., lane))| lane);
        assert_eq!(first.map(|lane| queue.lanes()[lane].first().number), order.first().copied());
        order
    }

    #[test]
    fn decay_is_a_power_of_two() {
        for time in [0, 1, 1_000, 599_999, 600_000, 600_001, 7_777_777, 36_000_000, 599_999_999] {
            let exact = (-(time as f64) / HALF_LIFE).exp2();
            assert!((decay(time) - exact).abs() <= exact * 1e-9, "{time}: {} and {exact}", decay(time));
        }
        assert!(decay(u64::MAX).abs() < f64::MIN_POSITIVE);
    }

    #[test]
    fn used_time_counts_while_a_request_runs_and_half_as_much_after_ten_minutes() {
        let mut share = SlotUse { running: 2, ..SlotUse::default() };
        assert!((share.used_at(10_000) - 20_000.0).abs() < 200.0);
        share.update(10_000);
        share.running = 0;
        let used = share.used;
        assert!((share.used_at(610_000) - used / 2.0).abs() < 1.0);
    }

    #[test]
    fn the_caller_that_has_used_less_goes_first_and_the_higher_priority_before_it() {
        let mut shares = FairShares::default();
        let (busy, new) = (caller(1), caller(2));
        shares.start(&busy, 0);
        for _ in 0..3 {
            shares.enqueue(&busy, 0);
        }
        shares.enqueue(&new, 14_999);
        shares.finish(&busy, 15_000);
        let mut requests = [waiting(1, &busy, 0), waiting(2, &busy, 0), waiting(3, &new, 0)];
        assert_eq!(order(&shares, &requests, 15_000), [3, 1, 2]);
        requests[1].want.priority = 1;
        assert_eq!(order(&shares, &requests, 15_000)[0], 2);
        requests[0].want.tried.push(7);
        assert_eq!(order(&shares, &requests, 15_000)[0], 1, "one that failed over does not wait again");
    }

    #[test]
    fn a_low_priority_gets_one_slot_in_twenty_seconds() {
        let mut shares = FairShares::default();
        let (low, high) = (caller(1), caller(2));
        shares.enqueue(&low, 0);
        shares.enqueue(&high, 0);
        let queue = [waiting(1, &low, 0), waiting(2, &high, 5), waiting(3, &high, 5)];
        assert_eq!(order(&shares, &queue, STARVATION - 1), [2, 3, 1]);
        assert_eq!(order(&shares, &queue, STARVATION), [1, 2, 3]);
        shares.record_rescue(STARVATION);
        assert_eq!(order(&shares, &queue, STARVATION + 1), [2, 3, 1]);
    }

    #[test]
    fn a_caller_that_gives_up_and_returns_has_waited_on() {
        let mut shares = FairShares::default();
        let waited = |shares: &FairShares, now| shares.callers[&caller(1)].waited(now);
        shares.enqueue(&caller(1), 0);
        shares.dequeue(&caller(1), 30_000);
        shares.enqueue(&caller(1), 31_000);
        assert_eq!(waited(&shares, 40_000), 40_000);
        shares.dequeue(&caller(1), 40_000);
        shares.enqueue(&caller(1), 40_001 + RETURN);
        assert_eq!(waited(&shares, 41_001 + RETURN), 1_000);
    }

    #[test]
    fn a_bounded_number_of_callers_is_remembered() {
        let mut shares = FairShares::default();
        shares.start(&caller(1), 0);
        for number in 0..u32::try_from(3 * MAX_CALLERS).unwrap() {
            let other = Caller::Network(IpAddr::from(number.to_be_bytes()));
            shares.start(&other, u64::from(number));
            shares.finish(&other, u64::from(number));
        }
        assert!(shares.callers.len() <= MAX_CALLERS);
        assert!(shares.callers.contains_key(&caller(1)), "its request still runs");
    }
}
