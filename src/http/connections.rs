//! Who is connected: a cap on all, a share for each address, and who has to go when a newcomer needs the place. Whoever
//! waits for no answer goes first, so that nobody can shut others out by doing nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::sync::{lock, wait_timeout};

/// How long a newcomer may take to begin its request before its place is given away.
const GRACE: Duration = Duration::from_millis(100);
/// Of so many places, one is kept from any single address.
const KEPT: usize = 16;

/// The open connections of a listener. Each removes itself.
pub struct ConnectionTable {
    cap: usize,
    inner: Mutex<Table>,
    left: Condvar,
}

#[derive(Default)]
struct Table {
    connections: HashMap<u64, TrackedConnection>,
    /// How many each network has.
    counts: HashMap<IpAddr, usize>,
    /// Those that ever had a seat.
    seated: u64,
    /// Those that had to give it up.
    evicted: u64,
}

/// How many guests there are, and were.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    /// Here now.
    pub here: usize,
    /// That ever had a seat.
    pub seated: u64,
    /// That had to give it up to a newcomer.
    pub evicted: u64,
}

struct TrackedConnection {
    stream: Arc<TcpStream>,
    network: IpAddr,
    state: Arc<ConnectionState>,
}

/// What becomes of a newcomer.
pub enum Admission {
    /// It has a seat.
    Admitted(Arc<ConnectionState>),
    /// Somebody idle has just come too: one of them may be asked to go after this time.
    Wait(Duration),
    /// All are at work.
    Full,
}

/// What a connection's thread tells of itself.
pub struct ConnectionState {
    start: Instant,
    /// Milliseconds after `start` at which it began to wait for a request; `BUSY` while one is under way.
    waits: AtomicU64,
    /// Requests that it has had.
    served: AtomicU64,
}

const BUSY: u64 = u64::MAX;

impl ConnectionState {
    fn new(start: Instant) -> Self {
        let state = ConnectionState { start, waits: AtomicU64::new(0), served: AtomicU64::new(0) };
        state.end_request();
        state
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(BUSY - 1)
    }

    /// It waits for a request.
    pub fn end_request(&self) {
        self.waits.store(self.now(), Ordering::SeqCst);
    }

    /// A request has begun to come.
    pub fn begin_request(&self) {
        if self.waits.swap(BUSY, Ordering::SeqCst) != BUSY {
            self.served.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_idle(&self) -> bool {
        self.waits.load(Ordering::SeqCst) != BUSY
    }

    /// Who goes first: those that never asked for anything, then those that have waited longest. `None` while it works.
    fn order(&self) -> Option<(bool, u64)> {
        let waits = self.waits.load(Ordering::SeqCst);
        (waits != BUSY).then(|| (self.served.load(Ordering::Relaxed) > 0, waits))
    }
}

/// Whoever has one IPv6 address has a network of them (RFC 6177): they count as one.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

impl ConnectionTable {
    /// Room for `cap` guests.
    pub fn new(cap: usize) -> Self {
        ConnectionTable { cap, inner: Mutex::default(), left: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.inner)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().connections.len()
    }

    /// How many there are, and were.
    pub fn count(&self) -> Count {
        let inner = self.lock();
        Count { here: inner.connections.len(), seated: inner.seated, evicted: inner.evicted }
    }

    /// Gives a newcomer a seat, if need be one that somebody idle had.
    pub fn admit(&self, number: u64, address: IpAddr, stream: &Arc<TcpStream>, start: Instant) -> Admission {
        let network = network_of(address);
        let mut inner = self.lock();
        if inner.of(network) >= self.share() {
            // Its own affair: nobody else waits for that.
            match inner.idlest(network) {
                Some((guest, _)) => inner.evict(guest),
                None => return Admission::Full,
            }
        } else if inner.connections.len() >= self.cap {
            match inner.idlest_of_largest() {
                Some((_, waited)) if waited < GRACE => return Admission::Wait(GRACE - waited),
                Some((guest, _)) => inner.evict(guest),
                None => return Admission::Full,
            }
        }
        let state = Arc::new(ConnectionState::new(start));
        inner.seated += 1;
        *inner.counts.entry(network).or_insert(0) += 1;
        inner.connections.insert(number, TrackedConnection { stream: stream.clone(), network, state: state.clone() });
        Admission::Admitted(state)
    }

    fn share(&self) -> usize {
        self.cap - self.cap / KEPT
    }

    /// Closes the connection that can best be done without, of the network that has most. `false` where all are at work.
    pub fn evict_idlest(&self) -> bool {
        let mut inner = self.lock();
        let Some((guest, _)) = inner.idlest_of_largest() else { return false };
        inner.evict(guest);
        true
    }

    /// Takes a guest off the list.
    pub fn leave(&self, number: u64) {
        self.lock().remove(number);
        self.left.notify_all();
    }

    /// Cuts off those who wait for no answer, or all.
    pub fn cut_off(&self, idle_only: bool) {
        for guest in self.lock().connections.values().filter(|guest| !idle_only || guest.state.is_idle()) {
            let _ = guest.stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits until a connection has closed its socket, or `within` is over.
    pub fn wait_closed(&self, within: Duration) {
        let _ = self.left.wait_timeout(self.lock(), within);
    }

    /// Waits until all have left, or `within` is over.
    pub fn wait_empty(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let mut inner = self.lock();
        while !inner.connections.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            inner = wait_timeout(&self.left, inner, left);
        }
    }
}

impl Table {
    fn of(&self, network: IpAddr) -> usize {
        self.counts.get(&network).copied().unwrap_or(0)
    }

    fn remove(&mut self, number: u64) {
        let Some(guest) = self.connections.remove(&number) else { return };
        if let Some(count) = self.counts.get_mut(&guest.network) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&guest.network);
            }
        }
    }

    /// The connection of a network that can best be done without, and how long it has waited for nothing.
    fn idlest(&self, network: IpAddr) -> Option<(u64, Duration)> {
        let of_network = self.connections.iter().filter(|(_, guest)| guest.network == network);
        let (order, number) = of_network.filter_map(|(number, guest)| Some((guest.state.order()?, *number))).min()?;
        let now = self.connections.get(&number)?.state.now();
        Some((number, Duration::from_millis(now.saturating_sub(order.1))))
    }

    /// The same of the network that has most connections, among those that have an idle one.
    fn idlest_of_largest(&self) -> Option<(u64, Duration)> {
        let idle = self.connections.values().filter(|guest| guest.state.is_idle());
        let network = idle.map(|guest| guest.network).max_by_key(|network| self.of(*network))?;
        self.idlest(network)
    }

    fn evict(&mut self, number: u64) {
        self.evicted += 1;
        if let Some(guest) = self.connections.get(&number) {
            let _ = guest.stream.shutdown(Shutdown::Both);
        }
        self.remove(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    struct Story {
        connections: ConnectionTable,
        stream: Arc<TcpStream>,
        start: Instant,
        number: u64,
    }

    impl Story {
        fn new(cap: usize) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            Story { connections: ConnectionTable::new(cap), stream, start: Instant::now(), number: 0 }
        }

        fn come(&mut self, address: [u8; 4]) -> Option<(u64, Arc<ConnectionState>)> {
            self.number += 1;
            loop {
                match self.connections.admit(self.number, address.into(), &self.stream, self.start) {
                    Admission::Admitted(state) => return Some((self.number, state)),
                    Admission::Wait(time) => std::thread::sleep(time),
                    Admission::Full => return None,
                }
            }
        }

        fn is_there(&self, number: u64) -> bool {
            self.connections.lock().connections.contains_key(&number)
        }
    }

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

    #[test]
    fn whoever_never_asked_goes_first_and_whoever_works_stays() {
        let mut story = Story::new(4);
        let (worker, state) = story.come(A).unwrap();
        state.begin_request();
        let (regular, state) = story.come(A).unwrap();
        state.begin_request();
        state.end_request();
        let (silent, _) = story.come(A).unwrap();
        story.come(B).unwrap();
        let soon = story.connections.admit(99, B.into(), &story.stream, story.start);
        assert!(matches!(soon, Admission::Wait(_)), "whoever has just come is given time");
        story.come(B).unwrap();
        assert!(!story.is_there(silent) && story.is_there(regular) && story.is_there(worker));
        assert_eq!(story.connections.len(), 4);
    }

    #[test]
    fn no_address_takes_all_places() {
        let mut story = Story::new(32);
        let mine: Vec<_> = (0..30).map(|_| story.come(A).unwrap()).collect();
        mine.iter().for_each(|(_, state)| state.begin_request());
        assert!(story.come(A).is_none(), "its share is used up, and all of it is at work");
        for _ in 0..2 {
            story.come(B).expect("a place that A could not take").1.begin_request();
        }
        assert!(story.come(B).is_none(), "the house is full of those at work");
        story.connections.leave(mine[0].0);
        assert!(story.come(A).is_some());
    }

    #[test]
    fn an_idle_connection_of_a_small_network_makes_room_where_the_largest_is_all_at_work() {
        let mut story = Story::new(4);
        let workers: Vec<_> = (0..3).map(|_| story.come(A).unwrap()).collect();
        workers.iter().for_each(|(_, state)| state.begin_request());
        let (idle, _) = story.come(B).unwrap();
        story.come([10, 0, 0, 3]).expect("the idle connection's place");
        assert!(!story.is_there(idle));
        assert!(workers.iter().all(|(worker, _)| story.is_there(*worker)));
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
