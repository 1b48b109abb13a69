//! What all threads share: their stack size, and locks that outlive a panic. A thread that panics while it holds a lock must
//! not take the hub down with it: the data is used as that thread left it. Every change under a lock is either complete or
//! harmless.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

/// The stack size of a thread that reads peers' bytes: connections, a tunnel's workers, calls to direct participants.
/// Such threads recurse as deep as a JSON parser at most, which takes 64 KiB; without optimisation it takes a quarter
/// of a MiB, so that debug builds get more.
pub const STACK_SIZE: usize = if cfg!(debug_assertions) { 512 << 10 } else { 256 << 10 };

/// Locks a mutex, poisoned or not.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks a mutex, poisoned or not, unless another thread holds it.
pub fn try_lock<T: ?Sized>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Waits for a notification, or a spurious wake-up.
pub fn wait<'m, T>(condvar: &Condvar, guard: MutexGuard<'m, T>) -> MutexGuard<'m, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// As [`wait`], for `timeout` at most.
pub fn wait_timeout<'m, T>(condvar: &Condvar, guard: MutexGuard<'m, T>, timeout: Duration) -> MutexGuard<'m, T> {
    condvar.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
}

/// Waits while `condition` holds, for `timeout` at most. True when it does not hold any more.
pub fn wait_while<T>(
    condvar: &Condvar,
    guard: MutexGuard<'_, T>,
    timeout: Duration,
    condition: impl FnMut(&mut T) -> bool,
) -> bool {
    let (_guard, waited) =
        condvar.wait_timeout_while(guard, timeout, condition).unwrap_or_else(PoisonError::into_inner);
    !waited.timed_out()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_outlives_a_panic() {
        let mutex = Mutex::new(1);
        std::thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                let _guard = lock(&mutex);
                panic!("while the lock is held");
            });
            assert!(panicking.join().is_err());
        });
        assert_eq!(*lock(&mutex), 1);
        assert_eq!(try_lock(&mutex).as_deref(), Some(&1));
        let _guard = lock(&mutex);
        assert!(try_lock(&mutex).is_none());
    }
}
