//! The rule of the batcher, pure: when a batch may leave, and which forwarder looks. See the parent
//! module for the rule in words.

use std::time::{Duration, Instant};

/// So many orders leave although another batch is under way. Measured with 16, 24, 32 and 64 at 64
/// connections: 12.8, 13.1, 13.6 and 9.4 thousand orders a second (docs/performance.md).
pub const OVERLAP_AT: usize = 32;
/// How long a batch waits for the clients of the one before. A client on the same machine needs
/// less to send its next order; one that thinks longer must not delay the others.
pub const RETURN_WAIT: Duration = Duration::from_micros(150);
/// How long a batch that is under way holds others. Many times what a healthy batch takes, so that
/// it delays nobody but those behind a batch that hangs.
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
            // A forwarder that begins has a first look ahead of it, so it counts as looking: an
            // order that comes before that wakes nobody.
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
        // Of the batches that are under way now. One that was answered holds nobody, even where an
        // older one beside it hangs.
        let held_until = self.places.iter().filter_map(held).max();
        match (held_until, self.returning) {
            // At the close nobody waits for company: the time to stop is short.
            _ if self.closed => (1, now),
            // A batch is under way, and a second small one beside it would cost as much as a large
            // one.
            (Some(until), _) if now < until => (OVERLAP_AT, until),
            (_, Some(Returning { orders, until })) if now < until => {
                // Never for more than would leave beside another batch anyway.
                (orders.min(OVERLAP_AT), until)
            }
            // Nothing is under way and nobody is expected back. Waiting would cost time and save
            // nothing.
            _ => (1, now),
        }
    }

    /// A forwarder looks. One that was away has answered its batch.
    pub fn look(&mut self, me: usize, waiting: usize, now: Instant) -> Next {
        // Away at a look means that the batch before was answered: its clients may order again at
        // once. They are waited for on top of those who wait already.
        if let Place::Away { orders, .. } = self.places[me] {
            self.returning = Some(Returning {
                orders: orders + waiting,
                until: now + RETURN_WAIT,
            });
        }
        self.places[me] = Place::Looking;
        let due = self.due(waiting, now);
        if due.is_some_and(|at| at <= now) {
            // Still marked as looking: `left` follows under the same lock, once the count is known.
            return Next::Take;
        }
        if self.closed {
            return Next::End;
        }
        // Sleeps are numbered so that `wake` finds the forwarder that fell asleep last.
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
        // Otherwise this forwarder's next look would wait for clients that had their turn.
        self.returning = None;
    }

    /// The forwarder to wake, now that something has changed, so that a batch that is due does not
    /// wait for one; `None` when somebody looks in time anyway, or all are away.
    #[must_use]
    pub fn wake(&mut self, waiting: usize, now: Instant) -> Option<usize> {
        let due = self.due(waiting, now)?;
        // One is enough: two that look at the same moment would make two small batches of one.
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
        // Marked before it runs: a second order that comes meanwhile sees that somebody looks, and
        // wakes nobody else.
        self.places[who] = Place::Looking;
        Some(who)
    }

    /// Wakes everyone, at the close.
    pub fn wake_all(&mut self) {
        self.places
            .iter_mut()
            // Those that are away come back by themselves.
            .filter(|place| matches!(place, Place::Asleep { .. }))
            .for_each(|place| *place = Place::Looking);
    }

    fn somebody_looks_by(&self, due: Instant) -> bool {
        self.places.iter().any(|place| match place {
            // It takes the lock after this step, and so sees whatever this step has put in.
            Place::Looking => true,
            // An alarm that is later than the deadline is as good as none: see the trace in the
            // parent module.
            Place::Asleep { alarm, .. } => alarm.is_some_and(|at| at <= due),
            // When its batch is answered is unknown; a leader that hangs keeps it for seconds.
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
