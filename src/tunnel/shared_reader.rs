//! Which thread reads a tunnel: its own, or, while there is one request only, that request's. A response is then not passed
//! from one thread to another, which takes longer than all the rest that the hub does for it.
//!
//! The tunnel's own thread lends the reading, and looks every [`TICK`] whether it is used. It takes it back when a second request
//! comes, and when nobody has read for a while, since an idle tunnel must be read, too: for pings, and for its end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::sync::lock;

/// How often the tunnel's own thread looks whether the requests still read.
const TICK: Duration = Duration::from_millis(100);
/// After a second request has taken the reading back, it is not lent again for so many reads: each time wakes a thread.
const CALM_READS: u32 = 64;

/// What a read has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More may follow.
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
}

impl<R> SharedReader<R> {
    /// Read by the tunnel's own thread at first.
    pub fn new(reader: R) -> Self {
        SharedReader {
            reader: Mutex::new(Some(reader)),
            is_lent: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            own: OnceLock::new(),
        }
    }

    /// Reads on the tunnel's own thread until the tunnel has ended. `is_calm` tells whether a request could
    /// read; `wake` wakes the one that waits, after the reading was lent.
    pub fn run(&self, mut read: impl FnMut(&mut R) -> Progress, is_calm: impl Fn() -> bool, wake: impl Fn()) {
        self.own.get_or_init(thread::current);
        let mut reads_until_lent = 0;
        let mut reader = lock(&self.reader);
        while let Some(source) = reader.as_mut() {
            if read(source) == Progress::Ended {
                *reader = None;
                return;
            }
            if reads_until_lent > 0 {
                reads_until_lent -= 1;
            } else if is_calm() {
                self.is_lent.store(true, Ordering::SeqCst);
                drop(reader);
                // A request that found the reader locked has gone to sleep.
                wake();
                if self.wait_while_lent() {
                    reads_until_lent = CALM_READS;
                }
                reader = lock(&self.reader);
            }
        }
    }

    /// Waits until the reading is taken back (true) or not used (false).
    fn wait_while_lent(&self) -> bool {
        let mut seen = self.reads.load(Ordering::SeqCst);
        loop {
            thread::park_timeout(TICK);
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
        let Some(mut reader) = self.try_lock() else { return false };
        let Some(source) = reader.as_mut() else { return false };
        self.reads.fetch_add(1, Ordering::SeqCst);
        if read(source) == Progress::Ended {
            *reader = None;
            drop(reader);
            self.take_back();
        }
        true
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Option<R>>> {
        match self.reader.try_lock() {
            Ok(reader) => Some(reader),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
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
