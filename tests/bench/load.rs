//! The load generator: clients on threads of their own, all for the same time, and their combined measurements.

use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, Target, request};
use super::provider::{STACK, Task};

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub task: Task,
    pub clients: usize,
    /// Bytes of each prompt.
    pub prompt: usize,
    /// Measured time, after a warm-up of a fifth of it. Extended until there is at least one measurement.
    pub time: Duration,
}

/// The longest extension.
const MAX_EXTENSION: Duration = Duration::from_secs(120);

/// The clients' measurements.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Responses completed within the measured time.
    pub answers: usize,
    /// Bytes of all bodies received within it.
    pub bytes: usize,
    /// The time actually measured.
    pub elapsed: Duration,
    /// Duration of each request, sorted.
    pub took: Vec<Duration>,
    /// Time to the first byte of each response, sorted.
    pub first: Vec<Duration>,
    /// Time between pieces of paced streams, sorted.
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

/// A quantile of a sorted list, in milliseconds.
pub fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1)) as f64 * share;
    sorted.get(at.round() as usize).map_or(f64::NAN, |value| value.as_secs_f64() * 1000.0)
}

/// Runs the clients. `during` is called at the start and at the end of the measured time.
pub fn run<T>(target: &Target, load: Load, mut during: impl FnMut() -> T) -> io::Result<(Outcome, T, T)> {
    let control = Control::default();
    let ready = Barrier::new(load.clients + 1);
    let request = request(target, load.task, load.prompt);
    let one = || client(target, load.task, &request, &ready, &control);
    thread::scope(|scope| {
        let spawn = |_| thread::Builder::new().stack_size(STACK).spawn_scoped(scope, one);
        let clients: Vec<_> = (0..load.clients).map(spawn).collect::<Result<_, _>>()?;
        ready.wait();
        thread::sleep(load.time / 5);
        let before = during();
        let start = Instant::now();
        control.measuring.store(true, Ordering::SeqCst);
        thread::sleep(load.time);
        // On a loaded machine the first measurement can take longer.
        while !control.counted.load(Ordering::SeqCst) && start.elapsed() < MAX_EXTENSION {
            thread::sleep(Duration::from_millis(1));
        }
        control.stop.store(true, Ordering::SeqCst);
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

/// State shared by all clients.
#[derive(Default)]
struct Control {
    measuring: AtomicBool,
    stop: AtomicBool,
    /// Whether anything was measured: a response, a gap, or bytes of a stream longer than the measured time.
    counted: AtomicBool,
}

impl Control {
    fn counts(&self) -> bool {
        self.measuring.load(Ordering::Relaxed) && !self.stop.load(Ordering::Relaxed)
    }
}

fn client(target: &Target, task: Task, request: &[u8], ready: &Barrier, control: &Control) -> io::Result<Outcome> {
    let connected = Client::connect(target);
    ready.wait();
    let mut client = connected?;
    let mut outcome = Outcome::default();
    let (piece, count) = task.pieces();
    while !control.stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let mut last: Option<(Instant, usize)> = None;
        // Bytes are counted as they arrive, since a stream may outlast the measured time.
        let mut counted = 0;
        let answer = client.watch(request, |now, bytes| {
            if control.counts() {
                outcome.bytes += bytes - counted;
                if matches!(task, Task::Long | Task::Wide) {
                    control.counted.store(true, Ordering::SeqCst);
                }
                if let Some((before, had)) = last.filter(|_| task.is_paced()) {
                    let fresh = (bytes - had) / piece;
                    control.counted.fetch_or(fresh > 0, Ordering::SeqCst);
                    // Pieces that arrived together have no gap between them.
                    outcome.gaps.extend((0..fresh).map(|n| if n == 0 { now - before } else { Duration::ZERO }));
                }
            }
            counted = bytes;
            last = Some((now, bytes));
        })?;
        if task != Task::Whole && answer.bytes != piece * count {
            return Err(io::Error::other(format!("{} bytes came of {}", answer.bytes, piece * count)));
        }
        if control.counts() {
            control.counted.fetch_or(matches!(task, Task::Whole | Task::Short), Ordering::SeqCst);
            outcome.answers += 1;
            outcome.took.push(start.elapsed());
            outcome.first.push(answer.first);
        }
    }
    Ok(outcome)
}
