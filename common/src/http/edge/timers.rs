//! The deadlines of a core's connections, in order.
//!
//! A deadline that moves later, as that of a busy connection does with each request, is left where
//! it is: when its time comes, the connection's deadline is read again. So a request hardly ever
//! touches the order.

use std::collections::BTreeSet;
use std::time::Instant;

/// Deadlines by time.
#[derive(Debug, Default)]
pub struct Timers {
    order: BTreeSet<(Instant, usize)>,
}

impl Timers {
    /// Makes `slot` due at `wanted` or before. `set` is the deadline in the order now; the slot's
    /// owner keeps it.
    pub fn set(&mut self, slot: usize, set: &mut Option<Instant>, wanted: Option<Instant>) {
        // A connection without a deadline may keep an old one in the order; it is found void when
        // its time comes.
        let Some(wanted) = wanted else { return };
        match *set {
            // Earlier than needed does no harm: the connection is asked again then.
            Some(before) if before <= wanted => return,
            Some(before) => {
                self.order.remove(&(before, slot));
            }
            None => {}
        }
        self.order.insert((wanted, slot));
        *set = Some(wanted);
    }

    /// Forgets the slot.
    pub fn remove(&mut self, slot: usize, set: &mut Option<Instant>) {
        if let Some(at) = set.take() {
            self.order.remove(&(at, slot));
        }
    }

    /// When the next one is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes a slot that is due; its owner's `set` is void from here on.
    pub fn due(&mut self, now: Instant) -> Option<usize> {
        self.order.first().filter(|(at, _)| *at <= now)?;
        self.order.pop_first().map(|(_, slot)| slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Earlier deadlines replace later ones, later ones wait for the earlier, and a removed slot is
    /// never due.
    #[test]
    fn order() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut timers, mut a, mut b) = (Timers::default(), None, None);
        timers.set(0, &mut a, Some(at(50)));
        timers.set(1, &mut b, Some(at(20)));
        timers.set(0, &mut a, Some(at(90)));
        timers.set(0, &mut a, None);
        assert_eq!(a, Some(at(50)), "later: left where it is");
        timers.set(0, &mut a, Some(at(10)));
        assert_eq!((timers.next(), timers.due(at(9))), (Some(at(10)), None));
        assert_eq!(timers.due(at(30)), Some(0));
        timers.remove(1, &mut b);
        assert_eq!((timers.due(at(30)), timers.next(), b), (None, None, None));
    }
}
