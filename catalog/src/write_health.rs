//! Whether the catalog can make anything durable, judged by its newest write.
//!
//! The rule: it can when the newest write that reached the disk succeeded and none is overdue. The
//! writer notes each of its writes, and makes a small one of its own ([`WriteHealth::probe_due`])
//! when no trade came for a while: so a disk that fails is seen before an order is lost to it, and
//! one that works again is seen although no client dares to send an order.
//!
//! The trace that this prevents: the disk is full, every order is answered with 503, and `GET
//! /readyz` says ready, since all threads live and a leader is known. A load balancer then keeps
//! sending orders here.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// A write that takes longer than this counts as failed until it ends. Below what a leader waits
/// for the catalog, so that the reason is known before the first order is given up.
pub const WRITE_OVERDUE: Duration = Duration::from_millis(1_000);
/// A probe is due when nothing was written for so long.
pub const PROBE_IDLE: Duration = Duration::from_millis(1_000);
/// The same after a failure: how soon it is noticed that the disk works again.
pub const PROBE_FAILED: Duration = Duration::from_millis(250);

/// The newest write; the writer notes, the listener's workers ask.
#[derive(Debug)]
pub struct WriteHealth(Mutex<Newest>);

#[derive(Debug)]
struct Newest {
    /// A write is under way since then.
    began: Option<Instant>,
    /// When the last one ended.
    ended: Instant,
    /// Why it failed, if it did.
    fault: Option<String>,
}

impl WriteHealth {
    /// Nothing was written yet: the file was opened just now, which needed no write that failed.
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(Newest {
            began: None,
            ended: now,
            fault: None,
        }))
    }

    /// A write begins, the wait for the file's lock included.
    pub fn begin(&self, now: Instant) {
        self.0.lock().began = Some(now);
    }

    /// The write is durable.
    pub fn succeeded(&self, now: Instant) {
        self.end(now).fault = None;
    }

    /// The commit had nothing to write, so it shows nothing about the disk.
    pub fn wrote_nothing(&self) {
        // Neither success nor failure, and `ended` stays: a probe is still due in time.
        self.0.lock().began = None;
    }

    /// The write failed.
    pub fn failed(&self, now: Instant, why: &str) {
        self.end(now).fault = Some(why.into());
    }

    fn end(&self, now: Instant) -> parking_lot::MutexGuard<'_, Newest> {
        let mut newest = self.0.lock();
        newest.began = None;
        newest.ended = now;
        newest
    }

    /// Why nothing can be made durable now; `None` while it can.
    pub fn fault(&self, now: Instant) -> Option<String> {
        let newest = self.0.lock();
        let overdue = newest
            .began
            .map(|began| now.saturating_duration_since(began))
            // A write that has not ended counts more than the one before: a disk that hangs reports
            // no error.
            .filter(|taken| *taken >= WRITE_OVERDUE);
        overdue.map_or_else(
            || newest.fault.clone(),
            |taken| {
                Some(format!(
                    "a write has not ended for {} s: the disk hangs, or another program holds \
                     a lock on the file",
                    taken.as_secs()
                ))
            },
        )
    }

    /// Whether the newest write failed.
    pub fn has_failed(&self) -> bool {
        self.0.lock().fault.is_some()
    }

    /// How long until a probe is due, unless something else is written before.
    pub fn probe_due(&self, now: Instant) -> Duration {
        let newest = self.0.lock();
        let idle = if newest.fault.is_some() {
            PROBE_FAILED
        } else {
            PROBE_IDLE
        };
        (newest.ended + idle).saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failed write counts until one succeeds; a commit that wrote nothing proves nothing.
    #[test]
    fn the_newest_write_decides() {
        let start = Instant::now();
        let health = WriteHealth::new(start);
        assert_eq!(health.fault(start), None);
        health.begin(start);
        health.failed(start, "disk full");
        assert_eq!(health.fault(start).as_deref(), Some("disk full"));
        health.begin(start);
        health.wrote_nothing();
        assert_eq!(health.fault(start).as_deref(), Some("disk full"));
        health.begin(start);
        health.succeeded(start);
        assert_eq!(health.fault(start), None);
    }

    /// A write that hangs is a fault while it hangs, whatever was before and comes after.
    #[test]
    fn a_write_that_hangs_is_a_fault() {
        let start = Instant::now();
        let health = WriteHealth::new(start);
        health.begin(start);
        assert_eq!(health.fault(start + WRITE_OVERDUE / 2), None);
        let fault = health.fault(start + 3 * WRITE_OVERDUE).expect("overdue");
        assert!(fault.contains("has not ended for 3 s"), "{fault}");
        health.succeeded(start + 4 * WRITE_OVERDUE);
        assert_eq!(health.fault(start + 4 * WRITE_OVERDUE), None);
    }

    /// Probes come when nothing was written for a while, and sooner after a failure.
    #[test]
    fn probes_are_due_when_nothing_was_written() {
        let start = Instant::now();
        let health = WriteHealth::new(start);
        assert_eq!(health.probe_due(start), PROBE_IDLE);
        let later = start + PROBE_IDLE;
        assert_eq!(health.probe_due(later), Duration::ZERO);
        health.succeeded(later);
        assert_eq!(health.probe_due(later), PROBE_IDLE);
        health.failed(later, "disk full");
        assert_eq!(health.probe_due(later), PROBE_FAILED);
    }
}
