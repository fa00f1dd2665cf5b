//! The speed of a catch-up beside traffic.
//!
//! Pages at full speed would take the other replicas' processors and disks from the orders, and no
//! client waits for a catch-up. So while orders are traded, most of the time is theirs.

use std::time::{Duration, Instant};

/// How often a catch-up looks whether orders are traded meanwhile. Each look may be a call, which
/// after every page would double the work.
const LOOK: Duration = Duration::from_millis(50);

/// A pause while orders are traded, in times of the page before it. Measured beside 64 connections
/// on two processors: with 4 they kept three quarters of their rate (docs/performance.md).
const PAUSE: u32 = 6;

/// Decides the pauses between pages.
#[derive(Debug, Default)]
pub struct Pace {
    looked: Option<(Instant, Option<u64>)>,
    busy: bool,
}

impl Pace {
    /// The pause after a page that took `took`. `last` reads the number of the last order where
    /// orders are traded: orders are traded when it moves.
    pub fn pause(
        &mut self,
        took: Duration,
        now: Instant,
        last: impl FnOnce() -> Option<u64>,
    ) -> Duration {
        let due = self
            .looked
            .is_none_or(|(looked, _)| now.duration_since(looked) >= LOOK);
        if due {
            let last = last();
            // The first look has nothing to compare with, and counts as quiet. `None`, a number
            // that could not be read, is below any other: a peer that does not answer slows no
            // catch-up.
            self.busy = self.looked.is_some_and(|(_, before)| last > before);
            self.looked = Some((now, last));
        }
        // A share of the time, not a fixed pause: a slow disk gets longer pauses by itself.
        if self.busy {
            PAUSE * took
        } else {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look that comes too early panics: it would cost a call.
    #[test]
    fn a_catch_up_pauses_only_while_orders_are_traded() {
        let (mut pace, start, took) = (Pace::default(), Instant::now(), Duration::from_millis(3));
        let early = || panic!("too early to look");
        let first = pace.pause(took, start, || Some(10));
        assert_eq!(first, Duration::ZERO, "nothing to compare with yet");
        assert_eq!(pace.pause(took, start + LOOK / 2, early), Duration::ZERO);
        assert_eq!(pace.pause(took, start + LOOK, || Some(12)), PAUSE * took);
        assert_eq!(pace.pause(took, start + LOOK * 3 / 2, early), PAUSE * took);
        let still = pace.pause(took, start + LOOK * 2, || Some(12));
        assert_eq!(still, Duration::ZERO, "the last order did not move");
        let unknown = pace.pause(took, start + LOOK * 3, || None);
        assert_eq!(unknown, Duration::ZERO, "it cannot be asked");
    }
}
