//! The order in which password hashes run. Networks take turns, as in start-time fair queueing: a network's second request
//! waits for the first of every other. The queue is bounded, in all and for each network.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// Concurrent hashes. Each takes 64 MiB; more could exhaust a small machine.
const MAX_CONCURRENT: usize = 2;
/// Hashes that are queued or running for one network, so that one network cannot fill the queue.
const MAX_PER_NETWORK: usize = 8;
/// Hashes that are queued in all.
const MAX_QUEUED: usize = 64;

/// A queued request: its round, and its number in the order of arrival.
pub type Ticket = (u64, u64);

/// Queued and running hashes.
#[derive(Default)]
pub struct HashQueue {
    waiting: BTreeSet<Ticket>,
    running: usize,
    last_number: u64,
    /// The round of the request that was started last.
    round: u64,
    networks: HashMap<IpAddr, NetworkShare>,
}

/// What one network has in the queue.
struct NetworkShare {
    /// Queued and running requests.
    count: usize,
    /// The round of its newest request.
    last_round: u64,
}

impl HashQueue {
    /// Enqueues a request; `None` when the queue is full, in all or for this network.
    pub fn enqueue(&mut self, network: Option<IpAddr>) -> Option<Ticket> {
        let count = network.and_then(|network| self.networks.get(&network)).map_or(0, |share| share.count);
        if self.waiting.len() >= MAX_QUEUED || count >= MAX_PER_NETWORK {
            return None;
        }
        let mut round = self.round;
        if let Some(network) = network {
            let share = self.networks.entry(network).or_insert(NetworkShare { count: 0, last_round: round });
            if share.count > 0 {
                round = round.max(share.last_round + 1);
            }
            *share = NetworkShare { count: share.count + 1, last_round: round };
        }
        self.last_number += 1;
        let ticket = (round, self.last_number);
        self.waiting.insert(ticket);
        Some(ticket)
    }

    /// Starts the request if it is the next one and a hash may run; otherwise it stays queued.
    pub fn start(&mut self, ticket: Ticket) -> bool {
        let is_next = self.running < MAX_CONCURRENT && self.waiting.first() == Some(&ticket);
        if is_next {
            self.waiting.pop_first();
            self.running += 1;
            self.round = ticket.0;
        }
        is_next
    }

    /// How many hashes run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Ends a running request of this network.
    pub fn finish(&mut self, network: Option<IpAddr>) {
        self.running -= 1;
        let Some(network) = network else { return };
        if let Some(share) = self.networks.get_mut(&network) {
            share.count -= 1;
            if share.count == 0 {
                self.networks.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn a_network_has_a_share_of_the_queue_and_the_queue_an_end() {
        let mut queue = HashQueue::default();
        let count = (0..9).filter(|_| queue.enqueue(network(1)).is_some()).count();
        assert_eq!(count, MAX_PER_NETWORK);
        let others = (2..100).filter(|&last| queue.enqueue(network(last)).is_some()).count();
        assert_eq!(others, MAX_QUEUED - MAX_PER_NETWORK);
    }

    #[test]
    fn networks_take_turns_however_many_requests_each_has() {
        let mut queue = HashQueue::default();
        let flood: Vec<_> = (0..6).map(|_| queue.enqueue(network(1)).unwrap()).collect();
        assert!(queue.start(flood[0]) && queue.start(flood[1]) && !queue.start(flood[2]), "two run at a time");
        let late = queue.enqueue(network(2)).unwrap();
        queue.finish(network(1));
        assert!(!queue.start(flood[2]) && queue.start(late), "the newcomer is next");
        queue.finish(network(2));
        assert!(queue.start(flood[2]));
        assert_eq!(queue.running(), 2);
    }

    #[test]
    fn a_network_that_has_finished_leaves_nothing_behind() {
        let mut queue = HashQueue::default();
        let ticket = queue.enqueue(network(1)).unwrap();
        assert!(queue.start(ticket));
        queue.finish(network(1));
        assert!(queue.networks.is_empty() && queue.waiting.is_empty());
    }
}
