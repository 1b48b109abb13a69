//! The requests that wait for a slot in a room, in lanes: those of one lane have the same caller, priority and candidates, so
//! they get slots in the order of their arrival, and where its first one gets none, the others get none either. What a grant
//! costs therefore depends on the number of lanes, not of requests.

use std::collections::VecDeque;

use super::selector::{Caller, Want};

/// A request that waits for a participant.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Sequence number, unique in the hub.
    pub number: u64,
    /// What it requires of a participant.
    pub want: Want,
    /// Since when it waits: milliseconds on the monotonic clock.
    pub since: u64,
}

/// The requests that wait in a room.
#[derive(Debug, Default)]
pub struct Queue {
    lanes: Vec<Lane>,
    len: usize,
}

/// Requests that wait one behind the other, in the order of their numbers. Never empty.
#[derive(Debug)]
pub(super) struct Lane(VecDeque<Waiting>);

impl Queue {
    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All that wait, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.lanes.iter().flat_map(|lane| &lane.0)
    }

    /// Its lanes. Their indices are valid until a request is added or removed.
    pub(super) fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// Adds a request, whose number is above those of all others.
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.len += 1;
        match self.lanes.iter_mut().find(|lane| lane.takes(&waiting.want)) {
            Some(lane) => lane.0.push_back(waiting),
            None => self.lanes.push(Lane(VecDeque::from([waiting]))),
        }
    }

    /// The lane of the request with this number, and its index in it.
    pub(super) fn find(&self, number: u64) -> Option<(usize, usize)> {
        let in_lane = |lane: &Lane| lane.0.binary_search_by_key(&number, |waiting| waiting.number).ok();
        self.lanes.iter().enumerate().find_map(|(lane, requests)| Some((lane, in_lane(requests)?)))
    }

    /// Removes the request at this index of a lane.
    pub(super) fn remove(&mut self, lane: usize, index: usize) -> Option<Waiting> {
        let requests = &mut self.lanes.get_mut(lane)?.0;
        let waiting = requests.remove(index)?;
        if requests.is_empty() {
            self.lanes.swap_remove(lane);
        }
        self.len -= 1;
        Some(waiting)
    }

    /// Removes the newest request of a caller that has not been tried at a participant.
    pub(super) fn evict(&mut self, caller: &Caller) -> Option<Waiting> {
        let of_caller = |(_, lane): &(usize, &Lane)| lane.want().caller == *caller && lane.want().tried.is_empty();
        let lanes = self.lanes.iter().enumerate().filter(of_caller);
        let (lane, requests) = lanes.max_by_key(|(_, lane)| lane.0.back().map(|waiting| waiting.number))?;
        self.remove(lane, requests.0.len() - 1)
    }
}

impl Lane {
    fn takes(&self, want: &Want) -> bool {
        let own = self.want();
        own.caller == want.caller && own.priority == want.priority && own.has_same_candidates(want)
    }

    /// The request that goes first.
    pub(super) fn first(&self) -> &Waiting {
        &self.0[0]
    }

    /// What the first request requires; the others differ only in who answered their conversations.
    pub(super) fn want(&self) -> &Want {
        &self.first().want
    }

    /// All its requests, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.0.iter()
    }

    /// How many of its requests are older than that with this number.
    pub(super) fn older_than(&self, number: u64) -> usize {
        self.0.partition_point(|waiting| waiting.number < number)
    }

    /// How many requests wait in it.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
