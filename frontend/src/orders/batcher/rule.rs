//! The rule of the batcher, pure: when a batch may leave, and which forwarder looks. See the parent
//! module for the rule in words.

use std::time::{Duration, Instant};

/// So many orders leave although another batch is under way.
pub const OVERLAP_AT: usize = 32;
/// How long a batch waits for the clients of the one before.
pub const RETURN_WAIT: Duration = Duration::from_micros(150);
/// How long a batch that is under way holds others.
pub const HELD_WAIT: Duration = Duration::from_millis(20);

/// Where each forwarder is, and which clients may return.
#[derive(Debug)]
pub struct Rule {
    places: Vec<Place>,
    returning: Option<Returning>,
    /// Counts sleeps: a forwarder with a higher one fell asleep later, and is warmer.
    sleeps: u64,
    closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On its way to its next look: it sees every order that comes before that.
    Looking,
    /// Until it is woken, or until the alarm.
    Asleep { alarm: Option<Instant>, sleep: u64 },
    /// With a batch.
    Away { since: Instant, orders: usize },
}

/// Clients that were just answered often order again at once.
#[derive(Debug, Clone, Copy)]
struct Returning {
    /// How many orders wait when all of them have.
    orders: usize,
    until: Instant,
}

/// The next step of a forwarder after a look.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// It takes a batch.
    Take,
    /// It sleeps, at most until then.
    Sleep(Option<Instant>),
    /// It ends: the queue is closed and empty.
    End,
}

impl Rule {
    /// All forwarders are on their way to their first look.
    pub fn new(forwarders: usize) -> Self {
        Self {
            places: vec![Place::Looking; forwarders],
            returning: None,
            sleeps: 0,
            closed: false,
        }
    }

    pub fn close(&mut self) {
        self.closed = true;
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// When the `waiting` orders may leave; `None` when there are none. A moment that lies ahead
    /// moves: back when a batch is answered or more orders come, on when another batch leaves.
    pub fn due(&self, waiting: usize, now: Instant) -> Option<Instant> {
        if waiting == 0 {
            return None;
        }
        let (wanted, until) = self.wanted(now);
        Some(if waiting >= wanted { now } else { until })
    }

    /// How many orders leave at once, and when fewer may.
    fn wanted(&self, now: Instant) -> (usize, Instant) {
        let held = |place: &Place| match place {
            Place::Away { since, .. } => Some(*since + HELD_WAIT),
            Place::Looking | Place::Asleep { .. } => None,
        };
        let held_until = self.places.iter().filter_map(held).max();
        match (held_until, self.returning) {
            _ if self.closed => (1, now),
            (Some(until), _) if now < until => (OVERLAP_AT, until),
            (_, Some(Returning { orders, until })) if now < until => {
                (orders.min(OVERLAP_AT), until)
            }
            _ => (1, now),
        }
    }

    /// A forwarder looks. One that was away has answered its batch.
    pub fn look(&mut self, me: usize, waiting: usize, now: Instant) -> Next {
        if let Place::Away { orders, .. } = self.places[me] {
            self.returning = Some(Returning {
                orders: orders + waiting,
                until: now + RETURN_WAIT,
            });
        }
        self.places[me] = Place::Looking;
        let due = self.due(waiting, now);
        if due.is_some_and(|at| at <= now) {
            return Next::Take;
        }
        if self.closed {
            return Next::End;
        }
        self.sleeps += 1;
        let sleep = self.sleeps;
        self.places[me] = Place::Asleep { alarm: None, sleep };
        // Set before the question, so that this forwarder does not count as its own watch. The last
        // one to fall asleep keeps watch.
        let alarm = due.filter(|at| !self.somebody_looks_by(*at));
        self.places[me] = Place::Asleep { alarm, sleep };
        Next::Sleep(alarm)
    }

    /// A forwarder leaves with a batch, at which it just looked.
    pub fn left(&mut self, me: usize, orders: usize, now: Instant) {
        assert_eq!(self.places[me], Place::Looking, "forwarder {me} leaves");
        self.places[me] = Place::Away { since: now, orders };
        // Its clients' orders are in this batch, or will be due with the next answer.
        self.returning = None;
    }

    /// The forwarder to wake, now that something has changed, so that a batch that is due does not
    /// wait for one; `None` when somebody looks in time anyway, or all are away.
    #[must_use]
    pub fn wake(&mut self, waiting: usize, now: Instant) -> Option<usize> {
        let due = self.due(waiting, now)?;
        if self.somebody_looks_by(due) {
            return None;
        }
        let asleep = self.places.iter().enumerate();
        let asleep = asleep.filter_map(|(who, place)| match place {
            Place::Asleep { sleep, .. } => Some((*sleep, who)),
            Place::Looking | Place::Away { .. } => None,
        });
        // To take a batch, the one that fell asleep last: it, its connection and the leader's end
        // of that are still warm in the processor's caches. To keep watch, the coldest.
        let (_, who) = if due <= now {
            asleep.max()
        } else {
            asleep.min()
        }?;
        self.places[who] = Place::Looking;
        Some(who)
    }

    /// Wakes everyone, at the close.
    pub fn wake_all(&mut self) {
        self.places
            .iter_mut()
            .filter(|place| matches!(place, Place::Asleep { .. }))
            .for_each(|place| *place = Place::Looking);
    }

    fn somebody_looks_by(&self, due: Instant) -> bool {
        self.places.iter().any(|place| match place {
            Place::Looking => true,
            Place::Asleep { alarm, .. } => alarm.is_some_and(|at| at <= due),
            Place::Away { .. } => false,
        })
    }

    #[cfg(test)]
    pub fn has_sleepers(&self) -> bool {
        self.places
            .iter()
            .any(|place| matches!(place, Place::Asleep { .. }))
    }
}
