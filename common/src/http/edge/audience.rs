//! Viewers: connections that follow a feed. Whoever publishes hands each core one copy of an event;
//! the core writes it to its viewers. So an event is encoded once, a viewer costs no thread, and
//! publishing takes as long for one viewer as for a thousand.

use super::mailbox::Mailbox;
use prometheus::IntGauge;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places for viewers.
#[derive(Debug)]
pub struct Seats {
    taken: AtomicUsize,
    limit: usize,
    gauge: IntGauge,
}

impl Seats {
    /// So many of them, all free.
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
    pub fn take(self: &Arc<Self>) -> Option<Seat> {
        let below = |taken: usize| (taken < self.limit).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, below)
            .ok()?;
        self.gauge.inc();
        Some(Seat(Arc::clone(self)))
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

/// A viewer's place, free again when it is dropped.
#[derive(Debug)]
pub struct Seat(Arc<Seats>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::SeqCst);
        self.0.gauge.dec();
    }
}

/// What a new viewer gets: its place, and everything that was published so far, as one event after
/// the other.
#[derive(Debug)]
pub struct Opening {
    /// Its place.
    pub seat: Seat,
    /// What it is sent first.
    pub bytes: Arc<[u8]>,
}

/// All viewers of an edge. Clones are the same.
#[derive(Clone)]
pub struct Audience {
    seats: Arc<Seats>,
    cores: Vec<Arc<Mailbox>>,
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audience")
            .field("viewers", &self.viewers())
            .finish_non_exhaustive()
    }
}

impl Audience {
    /// The viewers of these cores.
    #[must_use]
    pub(super) fn new(seats: Arc<Seats>, cores: Vec<Arc<Mailbox>>) -> Self {
        Self { seats, cores }
    }

    /// How many there are.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.seats.taken()
    }

    /// Sends an event to all of them. What they get to see first must tell it already: a viewer
    /// that takes its seat after this look is passed over here.
    pub fn publish(&self, event: &Arc<[u8]>) {
        if self.viewers() > 0 {
            self.cores
                .iter()
                .for_each(|core| core.put_event(Arc::clone(event)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seats are counted, refused beyond the limit, and free again when their viewers go.
    #[test]
    fn seats() {
        let gauge = IntGauge::new("viewers", "Viewers.").expect("a gauge");
        let seats = Seats::new(2, gauge.clone());
        let (first, second) = (seats.take(), seats.take());
        assert!(first.is_some() && second.is_some() && seats.take().is_none());
        drop(first);
        assert_eq!((seats.taken(), gauge.get()), (1, 1));
        assert!(seats.take().is_some());
    }
}
