//! Many clients at once: each on a thread of its own, all for the same time. What they have to say is gathered here.

use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, Target, request};
use super::provider::{STACK, Task};

/// What clients do.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub task: Task,
    pub clients: usize,
    /// Bytes of prompt.
    pub prompt: usize,
    /// How long they go on, after a warm-up of a fifth of it; longer, where nothing has come of it by then.
    pub time: Duration,
}

/// How long it may take until something has come of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What became of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Answers that ended within the time.
    pub answers: usize,
    /// Bytes of their bodies.
    pub bytes: usize,
    /// How long it went on in fact.
    pub elapsed: Duration,
    /// Whole answers: how long each took, sorted.
    pub took: Vec<Duration>,
    /// Streams: until the first byte, sorted.
    pub first: Vec<Duration>,
    /// Paced streams: time between pieces, sorted.
    pub gaps: Vec<Duration>,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }

    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64()
    }
}

/// A sorted list's value below which a share of all lie, in milliseconds.
pub fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1)) as f64 * share;
    sorted.get(at.round() as usize).map_or(f64::NAN, |value| value.as_secs_f64() * 1000.0)
}

/// Lets the clients loose. `during` is called at the begin and at the end of what is measured.
pub fn run<T>(target: &Target, load: Load, mut during: impl FnMut() -> T) -> io::Result<(Outcome, T, T)> {
    let signals = Signals::default();
    let ready = Barrier::new(load.clients + 1);
    let request = request(target, load.task, load.prompt);
    let one = || client(target, load.task, &request, &ready, &signals);
    thread::scope(|scope| {
        let spawn = |_| thread::Builder::new().stack_size(STACK).spawn_scoped(scope, one);
        let clients: Vec<_> = (0..load.clients).map(spawn).collect::<Result<_, _>>()?;
        ready.wait();
        thread::sleep(load.time / 5);
        let before = during();
        let start = Instant::now();
        signals.measuring.store(true, Ordering::SeqCst);
        thread::sleep(load.time);
        // A machine that has much else to do may take its time.
        while !signals.counted.load(Ordering::SeqCst) && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        signals.stop.store(true, Ordering::SeqCst);
        let elapsed = start.elapsed();
        let after = during();
        let mut all = Outcome { elapsed, ..Outcome::default() };
        for client in clients {
            all.add(client.join().expect("a client that does not panic")?);
        }
        for list in [&mut all.took, &mut all.first, &mut all.gaps] {
            list.sort_unstable();
        }
        Ok((all, before, after))
    })
}

impl Outcome {
    fn add(&mut self, other: Outcome) {
        self.answers += other.answers;
        self.bytes += other.bytes;
        self.took.extend(other.took);
        self.first.extend(other.first);
        self.gaps.extend(other.gaps);
    }
}

/// What the clients are told, and tell.
#[derive(Default)]
struct Signals {
    measuring: AtomicBool,
    stop: AtomicBool,
    /// Whether there is something to be measured: an answer, a gap, or bytes of a stream that is longer than the time.
    counted: AtomicBool,
}

impl Signals {
    fn counts(&self) -> bool {
        self.measuring.load(Ordering::Relaxed) && !self.stop.load(Ordering::Relaxed)
    }
}

fn client(target: &Target, task: Task, request: &[u8], ready: &Barrier, signals: &Signals) -> io::Result<Outcome> {
    let connected = Client::connect(target.addr);
    ready.wait();
    let mut client = connected?;
    let mut outcome = Outcome::default();
    let (piece, count) = task.pieces();
    while !signals.stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let mut last: Option<(Instant, usize)> = None;
        // Bytes count as they come: a stream may be longer than the time.
        let mut counted = 0;
        let answer = client.watch(request, |now, bytes| {
            if signals.counts() {
                outcome.bytes += bytes - counted;
                if matches!(task, Task::Long | Task::Wide) {
                    signals.counted.store(true, Ordering::SeqCst);
                }
                if let Some((before, had)) = last.filter(|_| task == Task::Paced) {
                    let fresh = (bytes - had) / piece;
                    signals.counted.fetch_or(fresh > 0, Ordering::SeqCst);
                    // Pieces that came together had no gap between them.
                    outcome.gaps.extend((0..fresh).map(|n| if n == 0 { now - before } else { Duration::ZERO }));
                }
            }
            counted = bytes;
            last = Some((now, bytes));
        })?;
        if task != Task::Whole && answer.bytes != piece * count {
            return Err(io::Error::other(format!("{} bytes came of {}", answer.bytes, piece * count)));
        }
        if signals.counts() {
            signals.counted.fetch_or(matches!(task, Task::Whole | Task::Short), Ordering::SeqCst);
            outcome.answers += 1;
            outcome.took.push(start.elapsed());
            outcome.first.push(answer.first);
        }
    }
    Ok(outcome)
}
