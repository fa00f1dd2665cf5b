//! The order batcher: the bounded queue of orders, whose receivers, the forwarders, take what waits
//! as one batch. It decides when a batch leaves, and which forwarder wakes for it.
//!
//! # When a batch leaves
//!
//! A batch costs the same few fsyncs and thread switches whether it holds one order or a hundred,
//! so the rule is Nagle's (RFC 896), with one addition:
//!
//! - While no batch is under way, an order leaves at once: alone it is as fast as can be.
//! - While a batch is under way, others wait for its answer, unless so many wait (`OVERLAP_AT`)
//!   that a second batch beside it pays. After `HELD_WAIT` an unanswered batch no longer delays
//!   others: its connection may be dead, and theirs is not.
//! - When a batch is answered, its clients often order again at once. The next batch waits for as
//!   many as may return, but no longer than `RETURN_WAIT`.
//!
//! So there is at each moment one answer to "when is the next batch due?": never (nothing waits),
//! now, or at a moment ahead. That moment moves with every order, every answer and every batch that
//! leaves, in both directions.
//!
//! # Who wakes
//!
//! Each forwarder is *looking* (on its way to its next look at the queue), *asleep* (with an alarm
//! or without), or *away* with a batch. Whenever the lock is free, this holds:
//!
//! > If orders wait and a forwarder is asleep, then some forwarder is looking, or one is asleep
//! > whose alarm is not later than the moment when the batch is due.
//!
//! Every step under the lock ends by restoring it: the step asks the rule when the batch is due,
//! and if nobody looks by then, it makes one sleeper a looking one and wakes it. A forwarder that
//! comes back from its batch is looking, so an answer needs no wake-up at all. A wake-up that comes
//! before the sleep ends that sleep at once ([`sync::Parker`]), so none is lost between the lock
//! and the sleep. One that comes in vain costs a look. No other flag exists.
//!
//! # The trace that this prevents
//!
//! An earlier version had three flags in the place of that sentence: a list of idle forwarders,
//! "one was woken", and "one will look by itself". Order A leaves with forwarder 1. Order B comes;
//! B's batch is due in 20 ms (`HELD_WAIT`), so forwarder 2 sets an alarm for then: one "will look
//! by itself". A is answered after 1 ms, and B is now due after another 150 µs (`RETURN_WAIT`). But
//! B does not wait *long enough* to wake anyone, and one forwarder "will look by itself" already:
//! in 19 ms. Two clients that think for a few milliseconds met this with every twentieth order.

mod rule;

#[cfg(test)]
mod tests;

/// Locks, parkers and the clock: virtual in this module's tests.
#[cfg(not(test))]
mod sync {
    pub use crossbeam::sync::{Parker, Unparker};
    pub use parking_lot::Mutex;

    pub fn now() -> std::time::Instant {
        std::time::Instant::now()
    }
}
#[cfg(test)]
use explore as sync;

use self::rule::{Next, Rule};
use self::sync::{Mutex, Parker, Unparker};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// The sending side: a bounded queue that refuses when it is full. Clones share it.
pub struct OrderBatcher<T>(Arc<Shared<T>>);

/// A forwarder's side.
pub struct BatchReceiver<T> {
    shared: Arc<Shared<T>>,
    me: usize,
    parker: Parker,
}

struct Shared<T> {
    // One lock for the waiting orders and the rule: with two, an order could be put in between a
    // forwarder's look at the queue and its falling asleep, and nobody would wake for it.
    state: Mutex<State<T>>,
    // Outside the lock: a wake-up is a system call, and needs nothing that the lock guards.
    unparkers: Vec<Unparker>,
    bound: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    rule: Rule,
}

/// A queue for at most `bound` waiting items, taken in batches by so many forwarders.
#[must_use]
pub fn order_batcher<T>(
    bound: usize,
    forwarders: usize,
) -> (OrderBatcher<T>, Vec<BatchReceiver<T>>) {
    let parkers: Vec<Parker> = (0..forwarders).map(|_| Parker::new()).collect();
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            waiting: VecDeque::new(),
            rule: Rule::new(forwarders),
        }),
        unparkers: parkers.iter().map(|p| p.unparker().clone()).collect(),
        bound,
    });
    let receiver = |(me, parker)| BatchReceiver {
        shared: Arc::clone(&shared),
        me,
        parker,
    };
    let receivers = parkers.into_iter().enumerate().map(receiver).collect();
    (OrderBatcher(shared), receivers)
}

impl<T> Clone for OrderBatcher<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for OrderBatcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderBatcher").finish_non_exhaustive()
    }
}

impl<T> OrderBatcher<T> {
    /// Puts an item in.
    ///
    /// # Errors
    /// The item itself, when the queue is full, or closed, so that nobody may take it any more:
    /// answer 503.
    pub fn put(&self, item: T) -> Result<(), T> {
        // Called by the listener's threads, so it never waits for room: one that waited here would
        // hold up cached reads and refusals on its other connections.
        let mut state = self.0.state.lock();
        // A closed queue refuses: the forwarders end once it is empty, and an order that came after
        // their last look would never be answered.
        if state.rule.is_closed() || state.waiting.len() >= self.0.bound {
            return Err(item);
        }
        state.waiting.push_back(item);
        // Decided under the lock, so that the promise of the module holds when it is free.
        let wake = state.wake(sync::now());
        drop(state);
        self.0.wake(wake);
        Ok(())
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.state.lock().waiting.len()
    }

    /// Waiting items still leave, as batches; then [`BatchReceiver::take`] ends.
    pub fn close(&self) {
        let mut state = self.0.state.lock();
        // From here on every waiting order is due at once, and a forwarder that finds none ends.
        state.rule.close();
        state.rule.wake_all();
        // Also those that are away: an unpark in vain costs one look.
        drop(state);
        self.0.unparkers.iter().for_each(Unparker::unpark);
    }
}

impl<T> BatchReceiver<T> {
    /// Waits for a batch of at most `cap`; `None` once closed and empty. A call means that the
    /// batch before it was answered.
    #[must_use]
    pub fn take(&mut self, cap: usize) -> Option<Vec<T>> {
        // Each round is one look: the clock, the queue and the rule under one lock, so that the
        // rule decides about the orders that are really there.
        loop {
            let mut state = self.shared.state.lock();
            let (now, waiting) = (sync::now(), state.waiting.len());
            match state.rule.look(self.me, waiting, now) {
                Next::Take => {
                    // Orders leave in the sequence of their arrival. The rest waits for another
                    // forwarder, or for this one's next look.
                    let count = waiting.min(cap);
                    // Moved out under the lock, and sent without it: a call to the leader takes
                    // milliseconds, in which other orders must be able to come in.
                    let batch = state.waiting.drain(..count).collect();
                    state.rule.left(self.me, count, now);
                    // More may wait than the cap takes, or a deadline may need a new watch.
                    let wake = state.wake(now);
                    drop(state);
                    self.shared.wake(wake);
                    return Some(batch);
                }
                // The rule says so only when nothing waits: orders that came before the close still
                // leave.
                Next::End => return None,
                Next::Sleep(alarm) => {
                    // A wake-up between here and the sleep stays in the parker, and ends the sleep.
                    drop(state);
                    match alarm {
                        // A wake-up that was not needed, or an alarm whose deadline has moved on,
                        // ends in another look. So it does not matter here which of the two it was.
                        Some(at) => self.parker.park_deadline(at),
                        None => self.parker.park(),
                    }
                }
            }
        }
    }
}

impl<T> State<T> {
    fn wake(&mut self, now: Instant) -> Option<usize> {
        self.rule.wake(self.waiting.len(), now)
    }
}

impl<T> Shared<T> {
    /// Called outside the lock, which the woken forwarder takes at once.
    fn wake(&self, forwarder: Option<usize>) {
        // None: somebody looks in time anyway, or all forwarders are away. In the second case the
        // first that comes back looks by itself.
        if let Some(forwarder) = forwarder {
            self.unparkers[forwarder].unpark();
        }
    }
}
