//! A bound on the memory that the bodies of all requests may take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is left of the memory for bodies.
#[derive(Debug)]
pub struct Budget {
    left: AtomicU64,
}

/// A share of it, given back on drop.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Budget { left: AtomicU64::new(bytes) })
    }

    /// A share of nothing, which can grow.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

impl Share {
    /// Makes it so many bytes large. False, and unchanged, where there is not enough left.
    pub fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let take = |left: u64| left.checked_sub(more);
        let taken = self.budget.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if taken {
            self.bytes += more;
        }
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_bounded_together_and_given_back() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (budget.share(), budget.share());
        assert!(one.grow_to(60) && one.grow_to(50) && two.grow_to(40));
        assert!(!two.grow_to(41) && !one.grow_to(61));
        drop(one);
        assert!(two.grow_to(100) && !two.grow_to(101));
        drop(two);
        assert!(budget.share().grow_to(100));
    }
}
