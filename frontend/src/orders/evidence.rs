//! This front-end's own newest order, as evidence for readiness.
//!
//! The health of others comes each heartbeat, so for up to 100 ms after an order failed it still
//! describes the time before; and an order may fail for a reason that no health shows. So an order
//! that was given up counts by itself: until one is accepted, and for [`VALID`] at most. It ends by
//! time because a front-end that is not ready may get no order that could show that it is.

use common::clock::BootInstant;
use parking_lot::Mutex;
use std::time::Duration;

/// How long a failed order counts.
pub const VALID: Duration = Duration::from_secs(2);

/// The newest order that failed, unless one was accepted since.
#[derive(Debug, Default)]
pub struct OrderEvidence(Mutex<Option<(BootInstant, String)>>);

impl OrderEvidence {
    /// An order was given up.
    pub fn failed(&self, now: BootInstant, why: &str) {
        // The newest failure alone: its words are what a person needs, and its time counts anew.
        *self.0.lock() = Some((now, why.into()));
    }

    /// An order was accepted.
    pub fn accepted(&self) {
        // One order that trades proves more than any number of earlier failures.
        *self.0.lock() = None;
    }

    /// Why the newest order failed, while that counts.
    #[must_use]
    pub fn failure(&self, now: BootInstant) -> Option<String> {
        let newest = self.0.lock();
        let (at, why) = newest.as_ref()?;
        // Judged when it is read: no thread is needed that forgets it.
        (now.saturating_since(*at) <= VALID).then(|| why.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failure counts until an order is accepted, or its time is over.
    #[test]
    fn a_failed_order_counts_for_a_while() {
        let evidence = OrderEvidence::default();
        let now = BootInstant::now();
        assert_eq!(evidence.failure(now), None);
        evidence.failed(now, "disk full");
        assert_eq!(evidence.failure(now + VALID).as_deref(), Some("disk full"));
        let later = now + VALID + Duration::from_millis(1);
        assert_eq!(evidence.failure(later), None);
        evidence.failed(later, "disk full");
        evidence.accepted();
        assert_eq!(evidence.failure(later), None);
    }
}
