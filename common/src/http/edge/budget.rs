//! Memory for request bodies, and memory for unread responses. All connections share each of them:
//! any connection may have a body of the largest size open, but not all of them at once.
//!
//! The first bytes of every body are free. So a client that fills the budget with large bodies
//! keeps others from sending large ones, which nobody needs here, and never from sending an order.
//! The same holds for responses: small ones, and the page's files, always have room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of each body that do not count. More than any order has, with the longest name that is
/// taken and each of its characters escaped in JSON.
pub const FREE_BYTES: usize = 8 * 1024;

/// Bytes of each connection's unread responses that do not count.
pub const FREE_OUTPUT_BYTES: usize = 32 * 1024;

/// The bytes that are left for all connections together.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(bytes),
        })
    }
}

/// One connection's share, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    free: usize,
    taken: usize,
}

impl Share {
    /// A share of nothing yet, whose first `free` bytes do not count.
    pub fn new(budget: &Arc<Budget>, free: usize) -> Self {
        Self {
            budget: Arc::clone(budget),
            free,
            taken: 0,
        }
    }

    /// Makes this share cover `bytes`. Returns false, and changes nothing, if the budget is used
    /// up.
    ///
    /// Bytes count as they come: a length that is only declared takes nothing from others.
    #[must_use]
    pub fn cover(&mut self, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(self.free);
        // Also when a share shrinks: a connection that has written half of a large response gives
        // that half back at once.
        if wanted <= self.taken {
            self.budget
                .left
                .fetch_add(self.taken - wanted, Ordering::Relaxed);
            self.taken = wanted;
            return true;
        }
        let more = wanted - self.taken;
        // No order between cores is needed: a sum that is never below zero is all there is to it.
        let took = self
            .budget
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(more)
            });
        // Nothing changes on failure: the caller answers 503, and its share is given back with it.
        if took.is_ok() {
            self.taken += more;
        }
        took.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes beyond the free ones are taken once, refused when nothing is left, and given back.
    #[test]
    fn shares() {
        let budget = Budget::new(100);
        let left = || budget.left.load(Ordering::Relaxed);
        let share = || Share::new(&budget, FREE_BYTES);
        let (mut one, mut two) = (share(), share());
        assert!(one.cover(FREE_BYTES) && left() == 100);
        assert!(one.cover(FREE_BYTES + 60) && one.cover(FREE_BYTES + 60) && left() == 40);
        assert!(two.cover(FREE_BYTES + 40) && left() == 0);
        assert!(!two.cover(FREE_BYTES + 41) && two.cover(FREE_BYTES + 40));
        drop(one);
        assert!(left() == 60 && two.cover(FREE_BYTES + 41) && left() == 59);
        assert!(
            two.cover(FREE_BYTES + 10) && left() == 90,
            "a share shrinks"
        );
        drop(two);
        assert_eq!(left(), 100);
    }
}
