//! A stage: state that has one owner at a time, and a bounded queue of work for it.
//!
//! A thread of the stage owns the state while work is queued. A caller that may block, and that
//! finds nothing pending, does its work itself ([`Stage::run_or_put`], [`Stage::reserve`]). A hop
//! to the thread costs wake-ups (docs/performance.md has the figures), and gains nothing while
//! there is no other work to gather with or to overlap.
//!
//! The rule: **an item runs in place only if no other item is pending.** An item is pending from
//! before it is queued or run until it is done. So
//!
//! - no item overtakes an earlier one of the same caller. Without the count, rows 5 to 9 could run
//!   in place while the thread holds rows 1 to 4, already taken from the queue but not appended;
//! - a busy stage gathers its work into batches as before (group commit);
//! - no wake-up can be lost: the thread receives every queued item from a channel.
//!
//! This is the idle case of flat combining (Hendler and others, SPAA 2010).

use crate::queue::{Queue, QueueReceiver};
use crate::shutdown::Shutdown;
use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The state of a stage: does the work that comes to it, in order.
pub trait Work<T>: Send {
    /// Does all of `items`, and answers the callers that wait for them, also on failure.
    fn work(&mut self, items: Vec<T>);
}

/// State with one owner at a time, and the queue in front of it.
pub struct Stage<S, T> {
    state: Mutex<S>,
    queue: Queue<T>,
    /// Items queued or under way.
    pending: AtomicUsize,
}

impl<S: Work<T>, T> Stage<S, T> {
    /// A stage whose queue is `queue`. Its thread calls [`Stage::serve`].
    #[must_use]
    pub fn new(state: S, queue: Queue<T>) -> Self {
        Self {
            state: Mutex::new(state),
            queue,
            pending: AtomicUsize::new(0),
        }
    }

    /// Queues an item for the stage's thread. Never blocks.
    ///
    /// # Errors
    /// The item itself, when the queue is full or the stage has ended: answer 503.
    pub fn put(&self, item: T) -> Result<(), T> {
        // Counted before it is queued: in between, another item would find nothing pending and
        // overtake this one.
        self.pending.fetch_add(1, Ordering::AcqRel);
        self.queue.put(item).inspect_err(|_| self.done(1))
    }

    /// Does the item on this thread if nothing is pending; else queues it. Call it only where
    /// blocking for as long as the work takes is allowed.
    ///
    /// # Errors
    /// As [`Stage::put`].
    pub fn run_or_put(&self, item: T) -> Result<(), T> {
        match self.reserve() {
            Some(turn) => {
                turn.run(|state| state.work(vec![item]));
                Ok(())
            }
            None => self.put(item),
        }
    }

    /// The next turn at the state, for this thread, if nothing is pending. Items that come
    /// meanwhile queue behind it. So a thread can fix the place of its work in the order before it
    /// does it.
    #[must_use]
    pub fn reserve(&self) -> Option<Turn<'_, S, T>> {
        // Zero to one in one step: of two callers at once only one may go ahead.
        self.pending
            .compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        // `try_lock`: somebody may hold the state without an item, such as a thread that waits at
        // its start, and this caller must not wait for that.
        let Some(state) = self.state.try_lock() else {
            self.done(1);
            return None;
        };
        Some(Turn {
            stage: self,
            state: Some(state),
        })
    }

    /// Works off the queue, up to `cap` items at once, until the service stops and the queue is
    /// empty.
    pub fn serve(&self, queue: &QueueReceiver<T>, cap: usize, stop: &Shutdown) {
        while let Some(items) = queue.take_batch(cap, stop) {
            self.work(items);
        }
    }

    /// Does items that the stage's thread took from the queue.
    pub fn work(&self, items: Vec<T>) {
        let count = items.len();
        self.state.lock().work(items);
        self.done(count);
    }

    /// The state, for use without an item. Callers queue their items meanwhile.
    pub fn state(&self) -> MutexGuard<'_, S> {
        self.state.lock()
    }

    /// Counts items as done that were taken from the queue and handled through [`Stage::state`].
    pub fn done(&self, count: usize) {
        let before = self.pending.fetch_sub(count, Ordering::AcqRel);
        assert!(
            before >= count,
            "{count} items are done, {before} were pending"
        );
    }

    /// The queue, to watch how full it is.
    #[must_use]
    pub fn queue(&self) -> &Queue<T> {
        &self.queue
    }
}

/// A turn at a stage's state, which ends when it is dropped.
pub struct Turn<'a, S: Work<T>, T> {
    stage: &'a Stage<S, T>,
    state: Option<MutexGuard<'a, S>>,
}

impl<S: Work<T>, T> Turn<'_, S, T> {
    /// Works with the state, and ends the turn.
    pub fn run<R>(mut self, work: impl FnOnce(&mut S) -> R) -> R {
        let state = self.state.as_mut().expect("held until the turn ends");
        work(state)
    }
}

impl<S: Work<T>, T> Drop for Turn<'_, S, T> {
    fn drop(&mut self) {
        // The lock goes first: once nothing is pending, the next caller finds it free.
        self.state = None;
        self.stage.done(1);
    }
}

impl<S, T> fmt::Debug for Stage<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stage({:?} pending)", self.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::queue;
    use std::sync::Arc;
    use std::thread::{self, ThreadId};

    /// Notes each item and the thread that did it.
    #[derive(Default)]
    struct Journal(Vec<(u32, ThreadId)>);

    impl Work<u32> for Journal {
        fn work(&mut self, items: Vec<u32>) {
            let thread = thread::current().id();
            self.0.extend(items.into_iter().map(|item| (item, thread)));
        }
    }

    #[test]
    fn an_idle_stage_runs_an_item_on_the_callers_thread() {
        let (sender, _receiver) = queue(1);
        let stage = Stage::new(Journal::default(), sender);
        assert_eq!(stage.run_or_put(1), Ok(()));
        assert_eq!(stage.state().0, [(1, thread::current().id())]);
    }

    /// With an item pending, also one that was taken from the queue already, the next one queues
    /// behind it; a full queue returns the item.
    #[test]
    fn an_item_never_overtakes_a_pending_one() {
        let (sender, receiver) = queue(1);
        let stage = Stage::new(Journal::default(), sender);
        stage.put(1).expect("there is room");
        let taken = receiver.take_batch(9, &Shutdown::new()).expect("one item");
        assert_eq!(stage.run_or_put(2), Ok(()));
        assert_eq!(stage.run_or_put(3), Err(3), "the queue is full");
        stage.work(taken);
        stage.work(receiver.take_batch(9, &Shutdown::new()).expect("one item"));
        assert_eq!(stage.run_or_put(4), Ok(()), "nothing is pending any more");
        let order: Vec<u32> = stage.state().0.iter().map(|(item, _)| *item).collect();
        assert_eq!(order, [1, 2, 4]);
    }

    /// While somebody holds the state, an item is queued and its caller does not wait.
    #[test]
    fn a_held_state_does_not_block_the_caller() {
        let (sender, receiver) = queue(1);
        let stage = Stage::new(Journal::default(), sender);
        let held = stage.state();
        assert_eq!(stage.run_or_put(1), Ok(()));
        drop(held);
        stage.work(receiver.take_batch(9, &Shutdown::new()).expect("one item"));
        assert_eq!(stage.state().0.len(), 1);
    }

    /// An item that comes during a reserved turn is queued, also before the turn's own work.
    #[test]
    fn a_reserved_turn_comes_before_later_items() {
        let (sender, receiver) = queue(1);
        let stage = Stage::new(Journal::default(), sender);
        let turn = stage.reserve().expect("nothing is pending");
        assert!(stage.reserve().is_none(), "one turn at a time");
        assert_eq!(stage.run_or_put(2), Ok(()));
        turn.run(|state| state.work(vec![1]));
        stage.work(receiver.take_batch(9, &Shutdown::new()).expect("one item"));
        let order: Vec<u32> = stage.state().0.iter().map(|(item, _)| *item).collect();
        assert_eq!(order, [1, 2]);
        drop(stage.reserve().expect("nothing is pending"));
        assert!(stage.reserve().is_some(), "a turn without work ends, too");
    }

    /// In every interleaving, each caller's items are done once and in order.
    #[test]
    fn callers_keep_their_order() {
        const CALLERS: u32 = 4;
        const ITEMS: u32 = 5_000;
        let (sender, receiver) = queue((CALLERS * ITEMS) as usize);
        let stage = Arc::new(Stage::new(Journal::default(), sender));
        let stop = Shutdown::new();
        let server = thread::spawn({
            let (stage, stop) = (Arc::clone(&stage), stop.clone());
            move || stage.serve(&receiver, 7, &stop)
        });
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let stage = Arc::clone(&stage);
                thread::spawn(move || {
                    for n in 0..ITEMS {
                        stage.run_or_put(caller * ITEMS + n).expect("there is room");
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|c| c.join().expect("ends"));
        stop.trigger();
        server.join().expect("ends");
        let done = std::mem::take(&mut stage.state().0);
        assert_eq!(done.len(), (CALLERS * ITEMS) as usize);
        for caller in 0..CALLERS {
            let own = done.iter().map(|(n, _)| *n).filter(|n| n / ITEMS == caller);
            assert!(own.eq(caller * ITEMS..(caller + 1) * ITEMS));
        }
    }
}
