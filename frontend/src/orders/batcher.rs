//! The order lane's queue: it decides when what waits leaves as one batch.
//!
//! A batch costs the same few fsyncs and thread switches whether it holds one order or a hundred,
//! so the rule is Nagle's (RFC 896), with one addition:
//!
//! - While nothing is under way, an order leaves at once: alone it is as fast as can be.
//! - While a batch is under way, others wait for its answer, unless so many gather ([`OVERLAP_AT`])
//!   that a second batch beside it pays. One that is not answered for long ([`HELD_WAIT`]) holds
//!   nobody any more: its connection may be dead, and the others' is not.
//! - When a batch is answered, its clients often order again at once. The next batch waits for as
//!   many as may return, but no longer than [`RETURN_WAIT`].

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many orders leave although another batch is under way.
pub const OVERLAP_AT: usize = 32;
/// How long a batch waits for the clients of the one before.
pub const RETURN_WAIT: Duration = Duration::from_micros(150);

/// How long a batch that is under way holds others.
pub const HELD_WAIT: Duration = Duration::from_millis(20);

/// A bounded queue whose items leave in batches; see the module's text.
#[derive(Debug)]
pub struct Batcher<T> {
    state: Mutex<State<T>>,
    bound: usize,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    rule: Rule,
    /// The takers that wait; the last one is woken first: it, its connection and whoever serves
    /// that are still warm in the processor's caches.
    idle: Vec<Arc<Condvar>>,
    /// One of them was woken and has not looked yet: it will see what comes until then.
    woken: bool,
    /// One of them will look by itself, when the time comes that the rule named.
    expectant: bool,
    closed: bool,
}

/// When a batch may leave; pure.
#[derive(Debug, Default)]
struct Rule {
    under_way: usize,
    /// When the newest of these left.
    left_at: Option<Instant>,
    /// How many may wait soon, and until when they are waited for.
    returning: Option<(usize, Instant)>,
}

impl Rule {
    /// How many must wait for a batch to leave now, and when that may change by itself.
    fn wanted(&self, now: Instant) -> (usize, Option<Instant>) {
        let held_until = self
            .left_at
            .filter(|_| self.under_way > 0)
            .map(|left| left + HELD_WAIT);
        match self.returning {
            _ if held_until.is_some_and(|until| now < until) => (OVERLAP_AT, held_until),
            _ if self.under_way > 0 => (1, None),
            Some((returning, until)) if now < until => (returning.min(OVERLAP_AT), Some(until)),
            _ => (1, None),
        }
    }

    fn left(&mut self, now: Instant) {
        self.under_way += 1;
        self.left_at = Some(now);
        self.returning = None;
    }

    /// A batch of `answered` was answered while `waiting` others wait.
    fn finished(&mut self, answered: usize, waiting: usize, now: Instant) {
        self.under_way -= 1;
        self.returning = Some((answered + waiting, now + RETURN_WAIT));
    }
}

impl<T> Batcher<T> {
    /// An empty queue for at most `bound` items.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            rule: Rule::default(),
            idle: Vec::new(),
            woken: false,
            expectant: false,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            bound,
        }
    }

    /// Puts an item in.
    ///
    /// # Errors
    /// The item itself, when the queue is full, or closed, so that nobody may take it any more:
    /// answer 503.
    pub fn put(&self, item: T) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.closed || state.waiting.len() >= self.bound {
            return Err(item);
        }
        state.waiting.push_back(item);
        self.wake(state);
        Ok(())
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for a batch of at most `cap`. `None` once closed and empty. Each batch must be
    /// [`Batcher::finished`].
    #[must_use]
    pub fn take(&self, cap: usize) -> Option<Vec<T>> {
        let own = Arc::new(Condvar::new());
        let mut state = self.state.lock();
        loop {
            let (wanted, until) = if state.closed {
                (1, None)
            } else {
                state.rule.wanted(Instant::now())
            };
            if state.waiting.len() >= wanted {
                let count = state.waiting.len().min(cap);
                let batch = state.waiting.drain(..count).collect();
                state.rule.left(Instant::now());
                self.wake(state);
                return Some(batch);
            }
            if state.closed {
                return None;
            }
            // One of them, and only while there is or may soon be something to look at.
            let until = until.filter(|_| {
                !state.expectant && (state.rule.under_way > 0 || !state.waiting.is_empty())
            });
            state.idle.push(Arc::clone(&own));
            state.expectant |= until.is_some();
            match until {
                Some(until) => drop(own.wait_until(&mut state, until)),
                None => own.wait(&mut state),
            }
            if until.is_some() {
                state.expectant = false;
            }
            match state.idle.iter().position(|idle| Arc::ptr_eq(idle, &own)) {
                // Its time was over.
                Some(at) => drop(state.idle.remove(at)),
                None => state.woken = false,
            }
        }
    }

    /// A batch of so many was answered.
    pub fn finished(&self, answered: usize) {
        let mut state = self.state.lock();
        let waiting = state.waiting.len();
        state.rule.finished(answered, waiting, Instant::now());
        self.wake(state);
    }

    /// What waits still leaves, as batches; then [`Batcher::take`] ends.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        for taker in state.idle.drain(..) {
            taker.notify_one();
        }
    }

    /// Wakes one taker when there is something for it: a batch, or the wait for one that is to end
    /// by itself.
    fn wake(&self, mut state: parking_lot::MutexGuard<'_, State<T>>) {
        let (wanted, until) = state.rule.wanted(Instant::now());
        let waiting = state.waiting.len();
        let worth = waiting > 0 && (waiting >= wanted || (until.is_some() && !state.expectant));
        if worth
            && !state.woken
            && let Some(taker) = state.idle.pop()
        {
            state.woken = true;
            drop(state);
            taker.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Alone, an order leaves at once; beside a batch that is under way it waits for the answer, or
    /// until enough have gathered.
    #[test]
    fn nagle() {
        let now = Instant::now();
        let mut rule = Rule::default();
        assert_eq!(rule.wanted(now), (1, None));
        rule.left(now);
        assert_eq!(rule.wanted(now), (OVERLAP_AT, Some(now + HELD_WAIT)));
        assert_eq!(
            rule.wanted(now + HELD_WAIT),
            (1, None),
            "it holds nobody for ever"
        );
        rule.left(now);
        rule.finished(20, 0, now);
        assert_eq!(rule.wanted(now).0, OVERLAP_AT, "one is still under way");
        rule.finished(4, 1, now);
        assert_eq!(rule.wanted(now), (5, Some(now + RETURN_WAIT)));
        assert_eq!(rule.wanted(now + RETURN_WAIT), (1, None));
        rule.left(now);
        rule.finished(1_000, 0, now);
        assert_eq!(rule.wanted(now).0, OVERLAP_AT);
    }

    /// Items leave in order; a full queue refuses, and a closed one; what waits at the close still
    /// leaves.
    #[test]
    fn bounded_and_drained() {
        let gather = Batcher::new(3);
        for n in 0..3 {
            assert_eq!(gather.put(n), Ok(()));
        }
        assert_eq!(
            (gather.put(9), gather.len(), gather.is_empty()),
            (Err(9), 3, false)
        );
        assert_eq!(gather.take(2), Some(vec![0, 1]));
        gather.close();
        assert_eq!(gather.put(9), Err(9), "nobody might take it");
        assert_eq!((gather.take(2), gather.take(2)), (Some(vec![2]), None));
    }

    /// A wake-up that nobody heard, since all takers were busy, does not keep the next one from
    /// being heard.
    #[test]
    fn a_wake_up_that_nobody_heard() {
        let gather = Arc::new(Batcher::new(9));
        gather.put(1).expect("there is room");
        assert_eq!(gather.take(9), Some(vec![1]));
        gather.finished(1);
        let taker = thread::spawn({
            let gather = Arc::clone(&gather);
            move || gather.take(9)
        });
        while gather.state.lock().idle.is_empty() {
            thread::yield_now();
        }
        gather.put(2).expect("there is room");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !taker.is_finished() {
            assert!(Instant::now() < deadline, "it was not woken");
            thread::yield_now();
        }
        assert_eq!(taker.join().expect("ends"), Some(vec![2]));
    }

    /// A batch that is never answered does not keep others from leaving, one after the other.
    #[test]
    fn a_hung_batch_holds_nobody() {
        let gather = Batcher::new(9);
        for n in 0..3 {
            gather.put(n).expect("there is room");
            assert_eq!(gather.take(9), Some(vec![n]));
        }
    }

    /// Whatever the interleaving of orders and answers, every order leaves, each once: no wake-up
    /// is lost.
    #[test]
    fn nothing_is_left_behind() {
        const CLIENTS: usize = 40;
        const ROUNDS: usize = 200;
        let gather = Arc::new(Batcher::new(CLIENTS));
        let takers: Vec<_> = (0..3)
            .map(|_| {
                let gather = Arc::clone(&gather);
                thread::spawn(move || {
                    let mut batches = 0;
                    while let Some(batch) = gather.take(16) {
                        let count = batch.len();
                        batch
                            .into_iter()
                            .for_each(|answer: crossbeam::channel::Sender<()>| drop(answer));
                        gather.finished(count);
                        batches += 1;
                    }
                    batches
                })
            })
            .collect();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let gather = Arc::clone(&gather);
                thread::spawn(move || {
                    for _ in 0..ROUNDS {
                        let (answer, answered) = crossbeam::channel::bounded(0);
                        gather.put(answer).expect("there is room for all clients");
                        let disconnected = answered.recv_timeout(Duration::from_secs(20));
                        assert_eq!(
                            disconnected,
                            Err(crossbeam::channel::RecvTimeoutError::Disconnected),
                            "it was left behind"
                        );
                    }
                })
            })
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().expect("each order left"));
        gather.close();
        let batches: usize = takers
            .into_iter()
            .map(|taker| taker.join().expect("ends"))
            .sum();
        assert!(
            batches >= CLIENTS * ROUNDS / 16,
            "no batch is larger than its cap"
        );
        assert!(gather.is_empty());
    }
}
