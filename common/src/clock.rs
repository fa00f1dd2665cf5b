//! A clock for leases. `CLOCK_BOOTTIME` never jumps with the wall clock and, unlike
//! `CLOCK_MONOTONIC` (which [`std::time::Instant`] reads), goes on while the machine is suspended:
//! a lease must end for a sleeper too.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time since boot, suspended time included. Comparable only on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The boot itself: before every other point in time.
    pub const BOOT: Self = Self(Duration::ZERO);

    /// Now.
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // The kernel never answers negative values for this clock.
        Self(Duration::new(
            now.tv_sec.unsigned_abs(),
            u32::try_from(now.tv_nsec).unwrap_or(0),
        ))
    }

    /// A point in time for tests of pure rules, `ms` after the boot.
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// How long after `earlier` this is; zero when it is before.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for BootInstant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0 + rhs)
    }
}

impl Sub<Duration> for BootInstant {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock moves forward, and arithmetic saturates instead of panicking.
    #[test]
    fn moves_forward_and_saturates() {
        let before = BootInstant::now();
        assert!(BootInstant::now() >= before && before > BootInstant::BOOT);
        assert_eq!(BootInstant::BOOT.saturating_since(before), Duration::ZERO);
        assert_eq!(
            BootInstant::from_millis(5) - Duration::from_secs(9),
            BootInstant::BOOT
        );
        assert_eq!(
            BootInstant::from_millis(7).saturating_since(BootInstant::from_millis(2)),
            Duration::from_millis(5)
        );
    }
}
