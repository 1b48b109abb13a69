//! Which thread reads a tunnel: its own, or, while there is one request only, that request's. A response is then not passed
//! from one thread to another, which takes longer than all the rest that the hub does for it.
//!
//! After something has come for a request, the tunnel's own thread lends the reading, and looks every [`TICK`] whether it is used. It
//! takes it back when a second request comes, and when nobody has read for a while, since an idle tunnel must be read, too: for pings,
//! for what comes late of a cancelled request, and for its end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::sync::{lock, try_lock};

/// How often the tunnel's own thread looks whether the requests still read.
const TICK: Duration = Duration::from_millis(100);
/// After a second request has taken the reading back, it is not lent again for so many reads: each time wakes a thread.
const READS_BEFORE_NEXT_HANDOVER: u32 = 64;

/// What a read has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Something for a request has come. More may follow.
    Delivered,
    /// Nothing has come, or something that is for no request. More may follow.
    Continues,
    /// The tunnel has ended.
    Ended,
}

/// What reads a tunnel, and who may use it.
pub struct SharedReader<R> {
    /// Locked during a read; `None` once the tunnel has ended.
    reader: Mutex<Option<R>>,
    /// Whether requests may read.
    is_lent: AtomicBool,
    /// How often requests have read.
    reads: AtomicU64,
    /// The tunnel's own thread, once it reads.
    own: OnceLock<Thread>,
    /// [`TICK`], but in tests.
    tick: Duration,
}

impl<R> SharedReader<R> {
    /// Read by the tunnel's own thread at first.
    pub fn new(reader: R) -> Self {
        SharedReader {
            reader: Mutex::new(Some(reader)),
            is_lent: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            own: OnceLock::new(),
            tick: TICK,
        }
    }

    /// Reads on the tunnel's own thread until the tunnel has ended. `may_request_read` tells whether a request may take
    /// over the reading; `wake` wakes the one that waits, after the reading was lent.
    pub fn run(&self, mut read: impl FnMut(&mut R) -> Progress, may_request_read: impl Fn() -> bool, wake: impl Fn()) {
        self.own.get_or_init(thread::current);
        let mut reads_until_lent = 0;
        let mut reader = lock(&self.reader);
        while let Some(source) = reader.as_mut() {
            match read(source) {
                Progress::Ended => {
                    *reader = None;
                    return;
                }
                _ if reads_until_lent > 0 => {
                    reads_until_lent -= 1;
                    continue;
                }
                // Nothing says that a request would read on: what follows would wait for the end of the loan.
                Progress::Continues => continue,
                Progress::Delivered => {}
            }
            // Lent before it is asked: a second request that comes in between takes it back.
            self.is_lent.store(true, Ordering::SeqCst);
            if may_request_read() {
                drop(reader);
                // A request that found the reader locked has gone to sleep.
                wake();
                if self.wait_while_lent() {
                    reads_until_lent = READS_BEFORE_NEXT_HANDOVER;
                }
                reader = lock(&self.reader);
            } else {
                self.is_lent.store(false, Ordering::SeqCst);
            }
        }
    }

    /// Waits until the reading is taken back (true) or not used (false).
    fn wait_while_lent(&self) -> bool {
        let mut seen = self.reads.load(Ordering::SeqCst);
        loop {
            thread::park_timeout(self.tick);
            if !self.is_lent.load(Ordering::SeqCst) {
                return true;
            }
            let reads = self.reads.load(Ordering::SeqCst);
            if reads == seen {
                self.is_lent.store(false, Ordering::SeqCst);
                return false;
            }
            seen = reads;
        }
    }

    /// Reads on a request's thread. False if that is not its turn.
    pub fn read_here(&self, read: impl FnOnce(&mut R) -> Progress) -> bool {
        if !self.is_lent.load(Ordering::SeqCst) {
            return false;
        }
        let Some(mut reader) = try_lock(&self.reader) else { return false };
        let Some(source) = reader.as_mut() else { return false };
        self.reads.fetch_add(1, Ordering::SeqCst);
        if read(source) == Progress::Ended {
            *reader = None;
            drop(reader);
            self.take_back();
        }
        true
    }

    /// Ends the lending: the tunnel's own thread reads again.
    pub fn take_back(&self) {
        if self.is_lent.swap(false, Ordering::SeqCst)
            && let Some(own) = self.own.get()
        {
            own.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread::ThreadId;

    use crossbeam_channel::{Receiver, Sender, unbounded};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A tunnel whose messages tell by which thread they were read.
    struct Lab {
        shared: SharedReader<Receiver<&'static str>>,
        messages: Sender<&'static str>,
        seen: Sender<(&'static str, ThreadId)>,
        in_flight: AtomicUsize,
    }

    impl Lab {
        fn read(&self, source: &mut Receiver<&'static str>, timeout: Duration) -> Progress {
            match source.recv_timeout(timeout) {
                Ok("end") => Progress::Ended,
                Ok(message) => {
                    self.seen.send((message, thread::current().id())).unwrap();
                    if message == "late" { Progress::Continues } else { Progress::Delivered }
                }
                Err(_timeout) => Progress::Continues,
            }
        }

        fn run_own(&self) {
            let may_request_read = || self.in_flight.load(Ordering::SeqCst) <= 1;
            self.shared.run(|source| self.read(source, LONG), may_request_read, || ());
        }

        fn read_here(&self) -> bool {
            self.shared.read_here(|source| self.read(source, LONG))
        }

        fn wait_until_lent(&self) {
            while !self.shared.is_lent.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        }
    }

    /// Calls `test` with a tunnel that its own thread reads, and with whom its messages were read by.
    fn with_lab(tick: Duration, test: impl FnOnce(&Lab, &Receiver<(&'static str, ThreadId)>, ThreadId)) {
        let (messages, source) = unbounded();
        let (seen, read) = unbounded();
        let shared = SharedReader { tick, ..SharedReader::new(source) };
        let lab = Lab { shared, messages, seen, in_flight: AtomicUsize::new(1) };
        thread::scope(|scope| {
            let own = scope.spawn(|| lab.run_own());
            test(&lab, &read, own.thread().id());
            // The test may have ended the tunnel.
            let _ = lab.messages.send("end");
            lab.shared.take_back();
        });
        assert!(lock(&lab.shared.reader).is_none());
    }

    #[test]
    fn a_request_that_is_alone_reads_after_the_tunnels_own_thread_has_read_once() {
        with_lab(LONG, |lab, read, own| {
            assert!(!lab.read_here(), "it is not lent yet");
            lab.messages.send("first").unwrap();
            assert_eq!(read.recv_timeout(LONG), Ok(("first", own)));
            lab.wait_until_lent();
            lab.messages.send("second").unwrap();
            assert!(lab.read_here());
            assert_eq!(read.recv_timeout(LONG), Ok(("second", thread::current().id())));
        });
    }

    #[test]
    fn what_nobody_reads_is_read_by_the_tunnels_own_thread() {
        with_lab(Duration::from_millis(1), |lab, read, own| {
            for message in ["first", "second", "third"] {
                lab.messages.send(message).unwrap();
                assert_eq!(read.recv_timeout(LONG), Ok((message, own)));
            }
        });
    }

    #[test]
    fn what_is_for_no_request_is_read_without_a_pause() {
        // A pause would take longer than the test waits.
        with_lab(Duration::from_secs(3600), |lab, read, own| {
            for _ in 0..100 {
                lab.messages.send("late").unwrap();
                assert_eq!(read.recv_timeout(LONG), Ok(("late", own)));
                assert!(!lab.read_here(), "it is not lent");
            }
            lab.messages.send("wanted").unwrap();
            assert_eq!(read.recv_timeout(LONG), Ok(("wanted", own)));
            lab.wait_until_lent();
        });
    }

    #[test]
    fn a_second_request_gives_the_reading_back_for_a_while() {
        with_lab(LONG, |lab, read, own| {
            lab.messages.send("first").unwrap();
            read.recv_timeout(LONG).unwrap();
            lab.wait_until_lent();
            lab.shared.take_back();
            for _ in 0..READS_BEFORE_NEXT_HANDOVER {
                assert!(!lab.read_here());
                lab.messages.send("more").unwrap();
                assert_eq!(read.recv_timeout(LONG), Ok(("more", own)));
            }
        });
    }

    #[test]
    fn a_second_request_that_comes_while_the_reading_is_lent_is_not_forgotten() {
        let (messages, source) = unbounded();
        let (seen, read) = unbounded();
        let shared = SharedReader { tick: LONG, ..SharedReader::new(source) };
        let lab = Lab { shared, messages, seen, in_flight: AtomicUsize::new(1) };
        thread::scope(|scope| {
            let own = scope.spawn(|| {
                // The second request comes just after the number of requests was looked at.
                let may_request_read = || {
                    lab.shared.take_back();
                    true
                };
                lab.shared.run(|source| lab.read(source, LONG), may_request_read, || ());
            });
            for message in ["first", "second"] {
                lab.messages.send(message).unwrap();
                assert_eq!(read.recv_timeout(LONG), Ok((message, own.thread().id())));
            }
            lab.messages.send("end").unwrap();
        });
    }

    #[test]
    fn the_end_that_a_request_reads_ends_the_tunnels_own_thread() {
        with_lab(LONG, |lab, read, _| {
            lab.messages.send("first").unwrap();
            read.recv_timeout(LONG).unwrap();
            lab.wait_until_lent();
            lab.messages.send("end").unwrap();
            assert!(lab.read_here());
            assert!(!lab.read_here());
        });
    }
}
