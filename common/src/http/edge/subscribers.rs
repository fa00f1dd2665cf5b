//! Subscribers: connections that follow a feed. The publisher hands each core one event, and the
//! core writes it to its subscribers. So an event is encoded once, a subscriber costs no thread,
//! and publishing takes as long for one subscriber as for a thousand.

use super::core::Core;
use prometheus::IntGauge;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The permits for subscribers; their number is bounded.
#[derive(Debug)]
pub struct Permits {
    taken: AtomicUsize,
    limit: usize,
    gauge: IntGauge,
}

impl Permits {
    /// `limit` permits, all free.
    #[must_use]
    pub fn new(limit: usize, gauge: IntGauge) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            limit,
            gauge,
        })
    }

    /// Takes one; `None` when all are taken.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        // Counted and compared in one step: two connections must not take the last permit both.
        let below = |taken: usize| (taken < self.limit).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, below)
            .ok()?;
        self.gauge.inc();
        Some(Permit(Arc::clone(self)))
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

/// The right of one connection to follow a feed, given back when it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<Permits>);

impl Drop for Permit {
    fn drop(&mut self) {
        // A permit has one owner, and only drop gives it back: a count below zero would let more
        // subscribers in than the connections allow.
        let before = self.0.taken.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "a permit came back, and none was taken");
        self.0.gauge.dec();
    }
}

/// The start of a subscription: a permit, and all that was published so far, event by event.
#[derive(Debug)]
pub struct FeedSnapshot {
    /// The new subscriber's permit.
    pub permit: Permit,
    /// The events that it is sent first.
    pub bytes: Arc<[u8]>,
}

/// All subscribers of an edge. Clones are the same.
#[derive(Clone)]
pub struct Subscribers {
    permits: Arc<Permits>,
    cores: Vec<Arc<Core>>,
}

impl fmt::Debug for Subscribers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribers")
            .field("subscribers", &self.count())
            .finish_non_exhaustive()
    }
}

impl Subscribers {
    /// The subscribers of these cores.
    pub(super) fn new(permits: Arc<Permits>, cores: Vec<Arc<Core>>) -> Self {
        Self { permits, cores }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.permits.taken()
    }

    /// Sends an event to all subscribers. The snapshot must hold the event already: a connection
    /// that takes its permit after this look does not get the event here.
    pub fn publish(&self, event: &Arc<[u8]>) {
        if self.count() > 0 {
            self.cores
                .iter()
                .for_each(|core| core.publish(Arc::clone(event)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Permits are counted, refused beyond the limit, and free again when their subscribers go.
    #[test]
    fn permits() {
        let gauge = IntGauge::new("subscribers", "Subscribers.").expect("a gauge");
        let permits = Permits::new(2, gauge.clone());
        let (first, second) = (permits.take(), permits.take());
        assert!(first.is_some() && second.is_some() && permits.take().is_none());
        drop(first);
        assert_eq!((permits.taken(), gauge.get()), (1, 1));
        assert!(permits.take().is_some());
    }
}
