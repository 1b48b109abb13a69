//! A hub in a process of its own, whom it serves meanwhile, and what it costs.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gambi::client::Client;
use gambi::participant::Session;
use gambi::provider::{Provider, ProviderOptions};

use super::support::{Conn, Process, Wire, connect, wait_until};

/// How much of an attack: all of it with `GAMBI_HOLD=full`, else a small part that fits among the other tests.
pub fn scale(full: usize, quick: usize) -> usize {
    if is_full() { full } else { quick }
}

pub fn is_full() -> bool {
    std::env::var("GAMBI_HOLD").as_deref() == Ok("full")
}

/// What a process has of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Vitals {
    /// Resident memory, KiB.
    pub memory: usize,
    pub threads: usize,
    pub descriptors: usize,
}

impl Vitals {
    pub fn of(process: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process to be alive");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            line.trim().split(' ').next().unwrap().parse().unwrap()
        };
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("its descriptors").count();
        Vitals { memory: field("VmRSS:"), threads: field("Threads:"), descriptors }
    }
}

/// A hub with the room `LAB001`, a participant in it, and clients that go on talking while something happens.
pub struct Lab {
    pub hub: Process,
    pub addr: SocketAddr,
    /// Whether the hub serves TLS.
    pub tls: bool,
    pub client: Client,
    _provider: Provider,
    _session: Session,
}

/// Connections that clients may keep open for a while, one more than before or one less.
const KEPT: usize = 2;

pub const ROOM: &str = "LAB001";

impl Lab {
    /// With more flags for the hub, and something that its shell does before.
    pub fn open(before: &str, flags: &str) -> Self {
        Self::open_with(false, before, flags)
    }

    /// The same, over TLS if so wished.
    pub fn open_with(tls: bool, before: &str, flags: &str) -> Self {
        let key = concat!(env!("CARGO_TARGET_TMPDIR"), "/hold.pem");
        let tls_flags = if tls { format!("--tls self --tls-key {key}") } else { String::new() };
        let hub = Process::start(
            before,
            &format!("hub serve --host 127.0.0.1 --port 0 --room {ROOM}=Lab {tls_flags} {flags}"),
        );
        let port = hub.first_line["data"]["port"].as_u64().unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        let provider = Provider::bind(ProviderOptions { port: 0, ..ProviderOptions::default() }).unwrap();
        let url = format!("{}://{addr}", if tls { "https" } else { "http" });
        let fingerprint = hub.first_line["data"]["fingerprint"].as_str().map(|text| text.parse().unwrap());
        let builder = Session::builder(&url, ROOM);
        let session = fingerprint
            .map_or(builder.clone(), |fingerprint| builder.hub_fingerprint(fingerprint))
            .participant_id("steady")
            .model("echo")
            .concurrency(8)
            .heartbeat_interval(Duration::from_millis(300))
            .endpoint(format!("http://{}", provider.addr()))
            .start()
            .unwrap();
        Lab {
            hub,
            addr,
            tls,
            client: Client::new(&url).unwrap().with_fingerprint(fingerprint).unwrap(),
            _provider: provider,
            _session: session,
        }
    }

    pub fn vitals(&self) -> Vitals {
        Vitals::of(self.hub.id())
    }

    /// A chat with the steady participant, on a connection of its own.
    pub fn chat(&self) -> u16 {
        chat(&mut self.conn())
    }

    /// A connection to the hub.
    pub fn conn(&self) -> Conn {
        Conn::open_with(self.addr, self.tls)
    }

    /// The same, byte by byte.
    pub fn connect(&self) -> Wire {
        connect(self.addr, self.tls).expect("a connection")
    }

    /// Does something to the hub while others talk; then its threads and descriptors must return to where they were,
    /// and its memory to within `bound` KiB of that. Prints what was measured.
    pub fn withstand(&self, what: &str, bound: usize, attack: impl FnOnce(&Self)) {
        assert_eq!(self.chat(), 200);
        // The connections that the client and the session keep are there before and after.
        self.client.rooms().list().unwrap();
        let before = self.vitals();
        let others = Others::start(self);
        let peak = Peak::start(self.hub.id());
        attack(self);
        let (asked, lost) = others.end();
        let peak = peak.end();
        wait_until(&format!("threads and descriptors to return after {what}: {before:?}"), || {
            let now = self.vitals();
            now.threads <= before.threads + KEPT && now.descriptors <= before.descriptors + KEPT
        });
        let after = self.vitals();
        println!(
            "{what}: others asked {asked}, lost {lost}; memory {} -> {} -> {} KiB, threads {} -> {} -> {}, descriptors {} -> {} -> {}",
            before.memory,
            peak.memory,
            after.memory,
            before.threads,
            peak.threads,
            after.threads,
            before.descriptors,
            peak.descriptors,
            after.descriptors
        );
        assert_eq!(lost, 0, "{what}: others lost requests");
        assert!(asked > 0, "{what}: nobody asked meanwhile");
        assert!(after.memory <= before.memory + bound, "{what}: {} KiB more than before", after.memory - before.memory);
        assert_eq!(self.chat(), 200);
    }
}

fn chat(conn: &mut Conn) -> u16 {
    let body = r#"{"model":"steady","messages":[{"role":"user","content":"Hi"}]}"#;
    let answer = conn.ask("POST", &format!("/rooms/{ROOM}/v1/chat/completions"), &[], Some(body)).answer();
    if answer.status != 200 {
        println!("{} {}", answer.status, answer.text());
    }
    answer.status
}

/// Clients that go on talking: one over a connection that it keeps, one over a new one each time.
struct Others {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(usize, usize)>>,
}

impl Others {
    fn start(lab: &Lab) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let spawn = |keeps: bool| {
            let (over, addr, tls) = (over.clone(), lab.addr, lab.tls);
            let kept = keeps.then(|| lab.conn());
            thread::spawn(move || talk(|| Conn::open_with(addr, tls), kept, &over))
        };
        let threads = vec![spawn(true), spawn(false)];
        Others { over, threads }
    }

    /// How often they asked, and how often in vain.
    fn end(self) -> (usize, usize) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.threads.into_iter().map(|thread| thread.join().unwrap_or((0, 1)));
        ended.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }
}

fn talk(open: impl Fn() -> Conn, mut kept: Option<Conn>, over: &AtomicBool) -> (usize, usize) {
    let (mut asked, mut lost) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let status = match &mut kept {
            Some(conn) => chat(conn),
            None => chat(&mut open()),
        };
        asked += 1;
        thread::sleep(Duration::from_millis(2));
        lost += usize::from(status != 200);
    }
    (asked, lost)
}

/// The most that a process had of anything.
struct Peak {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vitals>,
}

impl Peak {
    fn start(process: u32) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let thread = thread::spawn(move || {
            let mut peak = Vitals::of(process);
            while !ended.load(Ordering::Relaxed) {
                let now = Vitals::of(process);
                peak.memory = peak.memory.max(now.memory);
                peak.threads = peak.threads.max(now.threads);
                peak.descriptors = peak.descriptors.max(now.descriptors);
                thread::sleep(Duration::from_millis(20));
            }
            peak
        });
        Peak { over, thread }
    }

    fn end(self) -> Vitals {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the hub to be alive")
    }
}

/// Counts down over threads.
pub fn in_threads(threads: usize, times: usize, work: impl Fn() + Sync) {
    let left = AtomicUsize::new(times);
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while take() {
                    work();
                }
            });
        }
    });
}
