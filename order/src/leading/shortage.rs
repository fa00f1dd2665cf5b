//! Since when a leader has too few copies, as pure rules.
//!
//! A new leader's followers come into sync within milliseconds, and a follower that restarts within
//! a second. Orders that come meanwhile had better wait at their front-ends. When copies are
//! missing for longer, waiting is of no use, and the client gets the reason at once.

use common::timing::COPIES_GRACE;
use std::time::Instant;

/// Since when copies are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    since: Option<Instant>,
}

impl Shortage {
    /// At the beginning of a leadership.
    pub fn new(enough: bool, now: Instant) -> Self {
        Self {
            since: (!enough).then_some(now),
        }
    }

    /// Takes note of a new count of copies.
    pub fn observe(&mut self, enough: bool, now: Instant) {
        if enough {
            self.since = None;
        } else {
            // A further loss (from two copies to one, where three are wanted) must not begin the
            // grace anew: orders would wait at the front-ends for another whole grace.
            self.since.get_or_insert(now);
        }
    }

    /// Whether it lasts for too long to be waited for.
    pub fn lasts(&self, now: Instant) -> bool {
        self.since
            .is_some_and(|since| now.saturating_duration_since(since) >= COPIES_GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// It lasts once copies were missing for the whole grace; enough of them end it, and the next
    /// one counts anew.
    #[test]
    fn a_shortage_is_waited_out_for_the_grace_only() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let grace = u64::try_from(COPIES_GRACE.as_millis()).expect("short");
        let mut shortage = Shortage::new(false, start);
        assert!(!shortage.lasts(at(grace - 1)) && shortage.lasts(at(grace)));
        shortage.observe(false, at(grace));
        assert!(shortage.lasts(at(grace)), "it goes on");
        shortage.observe(true, at(grace + 1));
        assert!(!shortage.lasts(at(9 * grace)));
        shortage.observe(false, at(9 * grace));
        assert!(!shortage.lasts(at(10 * grace - 1)) && shortage.lasts(at(10 * grace)));
    }
}
