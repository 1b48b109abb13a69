//! Jobs on threads of their own, a bounded number at once, whose results are waited for no longer than their caller wants.
//!
//! The threads are not joined: one that still waits for a hub would hold up what the others have found. Each ends by the time
//! limit of its request.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use super::browse::MAX_HUBS;
use crate::error::{Error, Reason};
use crate::sync::{lock, wait_while};

/// The most threads. Enough that each hub is asked at one address at once, however many others do not answer.
const MAX_THREADS: usize = MAX_HUBS;

type Job<T> = Box<dyn FnOnce() -> T + Send>;

pub struct Jobs<T> {
    waiting: VecDeque<Job<T>>,
    running: usize,
    results: Arc<Results<T>>,
}

struct Results<T> {
    ready: Mutex<VecDeque<T>>,
    /// Notified at each result.
    added: Condvar,
}

impl<T: Send + 'static> Jobs<T> {
    pub fn new() -> Self {
        let results = Arc::new(Results { ready: Mutex::new(VecDeque::new()), added: Condvar::new() });
        Jobs { waiting: VecDeque::new(), running: 0, results }
    }

    pub fn push(&mut self, job: impl FnOnce() -> T + Send + 'static) {
        self.waiting.push_back(Box::new(job));
    }

    /// The next result; `None` if there is none until then.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn next(&mut self, until: Instant) -> Result<Option<T>, Error> {
        while self.running < MAX_THREADS
            && let Some(job) = self.waiting.pop_front()
        {
            let results = self.results.clone();
            let run = move || {
                let result = job();
                lock(&results.ready).push_back(result);
                results.added.notify_one();
            };
            let started = thread::Builder::new().name("discovery".into()).spawn(run);
            started.map_err(|e| Error::System { what: "starting a thread for discovery", reason: Reason::of(e) })?;
            self.running += 1;
        }
        let Results { ready, added } = &*self.results;
        let left = until.saturating_duration_since(Instant::now());
        wait_while(added, lock(ready), left, |ready| ready.is_empty());
        let result = lock(ready).pop_front();
        self.running -= usize::from(result.is_some());
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::unbounded;

    use super::*;

    #[test]
    fn all_jobs_are_run_by_a_bounded_number_of_threads() {
        let (mut jobs, (release, held)) = (Jobs::new(), unbounded::<()>());
        for number in 0..2 * MAX_THREADS {
            let held = held.clone();
            jobs.push(move || held.recv().map_or(number, |()| number));
        }
        assert_eq!(jobs.next(Instant::now()).unwrap(), None);
        assert_eq!((jobs.running, jobs.waiting.len()), (MAX_THREADS, MAX_THREADS));
        drop(release);
        let until = Instant::now() + Duration::from_secs(30);
        let mut numbers: Vec<_> = (0..2 * MAX_THREADS).map(|_| jobs.next(until).unwrap().unwrap()).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..2 * MAX_THREADS));
    }

    #[test]
    fn a_result_is_waited_for_until_the_given_time() {
        let mut jobs = Jobs::new();
        let (release, held) = unbounded::<()>();
        jobs.push(move || held.recv().is_ok());
        assert_eq!(jobs.next(Instant::now() + Duration::from_millis(10)).unwrap(), None);
        release.send(()).unwrap();
        assert_eq!(jobs.next(Instant::now() + Duration::from_secs(30)).unwrap(), Some(true));
    }
}
