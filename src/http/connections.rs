//! The table of open connections: a limit on all of them, a limit for each network, and eviction of idle connections
//! when a new one needs the place, so that idle clients cannot lock others out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::sync::{lock, wait_while};

/// How long a connection must have been idle before it is evicted for one of another network.
const GRACE: Duration = Duration::from_millis(100);
/// One in this many places is reserved: no network may have all of them.
const RESERVED_PARTS: usize = 16;

/// The open connections of a listener. Each connection's thread removes its own entry.
pub struct ConnectionTable {
    cap: usize,
    table: Mutex<Table>,
    removed: Condvar,
}

#[derive(Default)]
struct Table {
    connections: HashMap<u64, TrackedConnection>,
    /// The number of connections of each network.
    counts: HashMap<IpAddr, usize>,
    /// Connections admitted since the start.
    admitted: u64,
    /// Connections evicted since the start.
    evicted: u64,
}

/// The counters of a [`ConnectionTable`].
#[derive(Debug, Clone, Copy)]
pub struct Count {
    /// Open connections.
    pub open: usize,
    /// Connections admitted since the start.
    pub admitted: u64,
    /// Connections evicted for new ones since the start.
    pub evicted: u64,
}

struct TrackedConnection {
    stream: Arc<TcpStream>,
    network: IpAddr,
    state: Arc<ConnectionState>,
}

/// The decision on a new connection.
pub enum Admission {
    /// It is in the table.
    Admitted(Arc<ConnectionState>),
    /// The table is full, and all idle connections are too recent: one of them can be evicted after this time.
    Wait(Duration),
    /// The table, or the network's share of it, is full, and no connection is idle.
    Full,
}

/// Whether a connection is idle, written by its thread.
pub struct ConnectionState {
    start: Instant,
    /// Time at which it became idle, milliseconds after `start`; `BUSY` while a request is in progress.
    idle_since: AtomicU64,
    /// Requests received.
    requests: AtomicU64,
}

const BUSY: u64 = u64::MAX;

impl ConnectionState {
    fn new(start: Instant) -> Self {
        let state = ConnectionState { start, idle_since: AtomicU64::new(0), requests: AtomicU64::new(0) };
        state.end_request();
        state
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(BUSY - 1)
    }

    /// Marks the connection as idle.
    pub fn end_request(&self) {
        self.idle_since.store(self.now(), Ordering::SeqCst);
    }

    /// Marks the connection as busy: the first byte of a request has arrived.
    pub fn begin_request(&self) {
        if self.idle_since.swap(BUSY, Ordering::SeqCst) != BUSY {
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_idle(&self) -> bool {
        self.idle_since.load(Ordering::SeqCst) != BUSY
    }

    /// The order of eviction: connections without a request first, then the longest idle. `None` while it is busy.
    fn eviction_order(&self) -> Option<(bool, u64)> {
        let idle_since = self.idle_since.load(Ordering::SeqCst);
        (idle_since != BUSY).then(|| (self.requests.load(Ordering::Relaxed) > 0, idle_since))
    }
}

/// The network of an address, which limits apply to: an IPv6 /64, since a single host can use all of its addresses
/// (RFC 6177), or an IPv4 address.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

impl ConnectionTable {
    /// A table for at most `cap` connections.
    pub fn new(cap: usize) -> Self {
        ConnectionTable { cap, table: Mutex::default(), removed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// The number of open connections.
    pub fn len(&self) -> usize {
        self.lock().connections.len()
    }

    /// The counters.
    pub fn count(&self) -> Count {
        let table = self.lock();
        Count { open: table.connections.len(), admitted: table.admitted, evicted: table.evicted }
    }

    /// Adds a new connection, where necessary in place of an idle one.
    pub fn admit(&self, number: u64, address: IpAddr, stream: &Arc<TcpStream>, start: Instant) -> Admission {
        let network = network_of(address);
        let mut table = self.lock();
        if table.of(network) >= self.per_network_cap() {
            // Evicts one of the same network, which no other network has to wait for.
            match table.idlest(network) {
                Some((connection, _)) => table.evict(connection),
                None => return Admission::Full,
            }
        } else if table.connections.len() >= self.cap {
            match table.idlest_of_largest() {
                Some((_, waited)) if waited < GRACE => return Admission::Wait(GRACE - waited),
                Some((connection, _)) => table.evict(connection),
                None => return Admission::Full,
            }
        }
        let state = Arc::new(ConnectionState::new(start));
        table.admitted += 1;
        *table.counts.entry(network).or_insert(0) += 1;
        table.connections.insert(number, TrackedConnection { stream: stream.clone(), network, state: state.clone() });
        Admission::Admitted(state)
    }

    fn per_network_cap(&self) -> usize {
        self.cap - self.cap / RESERVED_PARTS
    }

    /// Evicts an idle connection of the network with the most connections. False where all connections are busy.
    pub fn evict_idlest(&self) -> bool {
        let mut table = self.lock();
        let Some((connection, _)) = table.idlest_of_largest() else { return false };
        table.evict(connection);
        true
    }

    /// Removes a connection.
    pub fn remove(&self, number: u64) {
        self.lock().remove(number);
        self.removed.notify_all();
    }

    /// Shuts the sockets of idle connections down, or of all.
    pub fn shut_down(&self, idle_only: bool) {
        for connection in self.lock().connections.values().filter(|connection| !idle_only || connection.state.is_idle())
        {
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits until a connection has been removed, for at most `within`.
    pub fn wait_closed(&self, within: Duration) {
        let _ = self.removed.wait_timeout(self.lock(), within);
    }

    /// Waits until the table is empty, for at most `within`.
    pub fn wait_empty(&self, within: Duration) {
        wait_while(&self.removed, self.lock(), within, |table| !table.connections.is_empty());
    }
}

impl Table {
    fn of(&self, network: IpAddr) -> usize {
        self.counts.get(&network).copied().unwrap_or(0)
    }

    fn remove(&mut self, number: u64) {
        let Some(connection) = self.connections.remove(&number) else { return };
        if let Some(count) = self.counts.get_mut(&connection.network) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&connection.network);
            }
        }
    }

    /// The connection of a network to evict first, and how long it has been idle.
    fn idlest(&self, network: IpAddr) -> Option<(u64, Duration)> {
        let of_network = self.connections.iter().filter(|(_, connection)| connection.network == network);
        let (order, number) =
            of_network.filter_map(|(number, connection)| Some((connection.state.eviction_order()?, *number))).min()?;
        let now = self.connections.get(&number)?.state.now();
        Some((number, Duration::from_millis(now.saturating_sub(order.1))))
    }

    /// The same for the network with the most connections, among those with an idle one.
    fn idlest_of_largest(&self) -> Option<(u64, Duration)> {
        let idle = self.connections.values().filter(|connection| connection.state.is_idle());
        let network = idle.map(|connection| connection.network).max_by_key(|network| self.of(*network))?;
        self.idlest(network)
    }

    fn evict(&mut self, number: u64) {
        self.evicted += 1;
        if let Some(connection) = self.connections.get(&number) {
            let _ = connection.stream.shutdown(Shutdown::Both);
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

        fn connect(&mut self, address: [u8; 4]) -> Option<(u64, Arc<ConnectionState>)> {
            self.number += 1;
            loop {
                match self.connections.admit(self.number, address.into(), &self.stream, self.start) {
                    Admission::Admitted(state) => return Some((self.number, state)),
                    Admission::Wait(time) => std::thread::sleep(time),
                    Admission::Full => return None,
                }
            }
        }

        fn is_open(&self, number: u64) -> bool {
            self.connections.lock().connections.contains_key(&number)
        }
    }

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

    #[test]
    fn connections_without_a_request_are_evicted_first_and_busy_ones_never() {
        let mut story = Story::new(4);
        let (worker, state) = story.connect(A).unwrap();
        state.begin_request();
        let (regular, state) = story.connect(A).unwrap();
        state.begin_request();
        state.end_request();
        let (silent, _) = story.connect(A).unwrap();
        story.connect(B).unwrap();
        let soon = story.connections.admit(99, B.into(), &story.stream, story.start);
        assert!(matches!(soon, Admission::Wait(_)), "a new connection is not evicted at once");
        story.connect(B).unwrap();
        assert!(!story.is_open(silent) && story.is_open(regular) && story.is_open(worker));
        assert_eq!(story.connections.len(), 4);
    }

    #[test]
    fn no_network_takes_all_places() {
        let mut story = Story::new(32);
        let mine: Vec<_> = (0..30).map(|_| story.connect(A).unwrap()).collect();
        mine.iter().for_each(|(_, state)| state.begin_request());
        assert!(story.connect(A).is_none(), "its share is used up by busy connections");
        for _ in 0..2 {
            story.connect(B).expect("a place that A could not take").1.begin_request();
        }
        assert!(story.connect(B).is_none(), "the table is full of busy connections");
        story.connections.remove(mine[0].0);
        assert!(story.connect(A).is_some());
    }

    #[test]
    fn an_idle_connection_of_a_small_network_is_evicted_where_the_largest_has_only_busy_ones() {
        let mut story = Story::new(4);
        let workers: Vec<_> = (0..3).map(|_| story.connect(A).unwrap()).collect();
        workers.iter().for_each(|(_, state)| state.begin_request());
        let (idle, _) = story.connect(B).unwrap();
        story.connect([10, 0, 0, 3]).expect("the idle connection's place");
        assert!(!story.is_open(idle));
        assert!(workers.iter().all(|(worker, _)| story.is_open(*worker)));
    }

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
