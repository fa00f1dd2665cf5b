//! The leader that orders go to, as the monitor names it and the threads that call it read it.
//!
//! Each term has its own pool of connections. When the next term's leader is named, the old pool is
//! shut down, so that calls in flight to a leader that hangs end at once and their orders go to the
//! new one. When merely the leader is gone, the pool stays: it may be back in the same term (it
//! could not reach the catalog for a while) with the answers to those calls.
//!
//! Every change is made under the lock and then wakes all who wait. A waiting thread looks at the
//! state under the same lock before each sleep, and compares it with the news on which it last
//! acted ([`News`]): a change that comes between that and the wait ends the wait at once.

use crate::metrics::QueueMetrics;
use common::http::client::HttpClient;
use common::wire::order::{ReplicaId, Term};
use std::sync::Arc;
use std::time::Instant;

#[cfg(test)]
use explore as sync;
/// Locks and condition variables: explored in virtual time in this module's tests.
#[cfg(not(test))]
use parking_lot as sync;
use sync::{Condvar, Mutex};

/// A leader in one term.
#[derive(Debug)]
pub struct Leader {
    pub id: ReplicaId,
    pub term: Term,
    /// Its base URL.
    pub url: String,
    /// Connections for the calls of this term.
    pub client: HttpClient,
}

/// The leader as it is known at one moment.
#[derive(Debug, Clone)]
pub struct LeaderSnapshot {
    /// The leader, where there is one.
    pub leader: Option<Arc<Leader>>,
    /// Its term; of the last one while there is none.
    pub term: Term,
    /// To wait for the next change.
    pub news: News,
}

/// Counts changes of the leader and confirmations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    changes: u64,
    confirmations: u64,
}

/// The news that ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// Another leader, or none.
    Change,
    /// That, or word that the present one still leads.
    ChangeOrConfirmation,
}

/// The current leader, for any thread to read and to wait for.
#[derive(Debug)]
pub struct LeaderCell {
    state: Mutex<State>,
    // One for all that wait, whatever for: changes are rare, and each waiter looks again by itself.
    changed: Condvar,
    metrics: QueueMetrics,
    token: Option<String>,
    pool: usize,
}

#[derive(Debug)]
struct State {
    snapshot: LeaderSnapshot,
    /// The pool of the newest term, also while it has no leader.
    newest: Option<Arc<Leader>>,
    closed: bool,
}

impl LeaderCell {
    /// A cell without leader. `pool` connections are kept to the leader.
    pub fn new(pool: usize, token: Option<&str>, metrics: QueueMetrics) -> Self {
        let snapshot = LeaderSnapshot {
            leader: None,
            term: 0,
            news: News {
                changes: 0,
                confirmations: 0,
            },
        };
        Self {
            state: Mutex::new(State {
                snapshot,
                newest: None,
                closed: false,
            }),
            changed: Condvar::new(),
            metrics,
            token: token.map(Into::into),
            pool,
        }
    }

    /// The leader as it is known now.
    pub fn snapshot(&self) -> LeaderSnapshot {
        self.state.lock().snapshot.clone()
    }

    /// Names the leader. False when nothing changed by it.
    pub fn set(&self, id: ReplicaId, term: Term, url: &str) -> bool {
        let mut state = self.state.lock();
        let named = state.snapshot.leader.as_ref();
        // After the stop a leader would wake forwarders that are giving up their orders.
        if state.closed || named.is_some_and(|l| (l.id, l.term) == (id, term)) {
            return false;
        }
        // The same leader in the same term again (it could not reach the catalog for a while): its
        // pool stays, with the answers to the calls in flight.
        let same = state
            .newest
            .as_ref()
            .filter(|l| (l.id, l.term) == (id, term))
            .map(Arc::clone);
        let leader = same.unwrap_or_else(|| {
            // Made under the lock, where it costs some allocations and no connection: two threads
            // must not make a pool each for one term.
            let client = HttpClient::new(self.pool, self.token.as_deref());
            Arc::new(Leader {
                id,
                term,
                url: url.into(),
                client,
            })
        });
        // Replaced also when it is the same: `old` then tells below that nothing has to be ended.
        let old = state.newest.replace(Arc::clone(&leader));
        state.snapshot.term = term;
        state.snapshot.leader = Some(Arc::clone(&leader));
        // Counted under the same lock as the leader, so that a waiter never sees one without the
        // other.
        state.snapshot.news.changes += 1;
        // Released before the wake-up, which would otherwise make the waiters queue for the lock.
        drop(state);
        self.changed.notify_all();
        if old.as_ref().is_some_and(|old| Arc::ptr_eq(old, &leader)) {
            // Back in the same term: its calls in flight are still good.
            return true;
        }
        self.metrics.leader_changes.inc();
        self.metrics
            .term
            .set(i64::try_from(term).unwrap_or(i64::MAX));
        // Last, after the waiters woke: their orders leave while the old calls end.
        if let Some(old) = old {
            // Calls that hang at the fenced leader end with "no answer"; their orders are sent to
            // the new one under the same keys.
            old.client.abort();
        }
        true
    }

    /// There is no leader.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        // `newest` and its pool stay: the leader may be back in the same term. The term stays too,
        // for the status.
        state.snapshot.leader = None;
        state.snapshot.news.changes += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// The leader, after doubts, still leads.
    pub fn confirm(&self) {
        // The lock is released before the wake-up: a guard lives to the end of its statement.
        self.state.lock().snapshot.news.confirmations += 1;
        self.changed.notify_all();
    }

    /// Waits for a leader; `None` at the deadline, and once closed.
    #[must_use]
    pub fn wait(&self, deadline: Instant) -> Option<(Arc<Leader>, News)> {
        let mut state = self.state.lock();
        loop {
            // Looked at before the leader: at a stop a named leader must not take another batch.
            if state.closed {
                return None;
            }
            // Leader and news of one moment: the caller compares later news with these, and misses
            // no change in between.
            if let Some(leader) = &state.snapshot.leader {
                return Some((Arc::clone(leader), state.snapshot.news));
            }
            // A time-out beside a leader that was just named is no time-out: look again.
            if self.changed.wait_until(&mut state, deadline).timed_out()
                && state.snapshot.leader.is_none()
            {
                return None;
            }
        }
    }

    /// Waits for news after `known`, at most until `deadline`.
    pub fn wait_news(&self, known: News, wait_for: WaitFor, deadline: Instant) {
        let mut state = self.state.lock();
        // Compared with what the caller acted on, not with the state at the beginning of this wait:
        // a change that came during its call has to end the wait at once.
        let same = |state: &State| match wait_for {
            WaitFor::Change => state.snapshot.news.changes == known.changes,
            WaitFor::ChangeOrConfirmation => state.snapshot.news == known,
        };
        while !state.closed && same(&state) {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// The end of the service: wakes all who wait and ends the calls in flight.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        // Cloned out, since `abort` closes sockets, which nobody should wait for with the lock.
        let newest = state.newest.clone();
        drop(state);
        self.changed.notify_all();
        if let Some(leader) = newest {
            leader.client.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::metrics::Metrics;
    use explore::{explore, spawn};
    use std::time::Duration;

    fn cell() -> Arc<LeaderCell> {
        Arc::new(LeaderCell::new(1, None, QueueMetrics::new(&Metrics::new())))
    }

    fn id(n: u8) -> ReplicaId {
        ReplicaId::try_from(n).expect("an id")
    }

    fn in_ms(ms: u64) -> Instant {
        explore::now() + Duration::from_millis(ms)
    }

    const LONG: u64 = 10_000;

    /// A thread that waits for a leader gets it when it is named, and nothing at the deadline.
    #[test]
    fn waits_for_a_leader() {
        explore(|| {
            let cell = cell();
            assert!(cell.wait(in_ms(1)).is_none());
            let waiter = spawn({
                let cell = Arc::clone(&cell);
                move || {
                    cell.wait(in_ms(LONG))
                        .map(|(leader, _)| (leader.id, leader.term))
                }
            });
            cell.set(id(3), 7, "http://127.0.0.1:1");
            assert_eq!(waiter.join(), Some((id(3), 7)));
            cell.clear();
            assert_eq!(
                (cell.snapshot().leader.is_none(), cell.snapshot().term),
                (true, 7)
            );
        });
    }

    /// The same leader in the same term keeps its connections; another term gets new ones.
    #[test]
    fn one_pool_per_term() {
        explore(|| {
            let cell = cell();
            let set = |term| {
                cell.set(id(3), term, "http://127.0.0.1:1");
                cell.snapshot().leader.expect("just set")
            };
            // The explorer wants two threads.
            spawn(|| ()).join();
            let first = set(7);
            cell.clear();
            assert!(Arc::ptr_eq(&first, &set(7)));
            assert!(!Arc::ptr_eq(&first, &set(8)));
        });
    }

    /// A confirmation wakes only a thread that waits for one; a change wakes all, also when it
    /// comes between a look and the wait; closing wakes all for good.
    #[test]
    fn news_wake_waiters() {
        explore(|| {
            let cell = cell();
            cell.set(id(1), 1, "http://127.0.0.1:1");
            let known = cell.snapshot().news;
            let wait = |wait_for| {
                let cell = Arc::clone(&cell);
                spawn(move || {
                    cell.wait_news(known, wait_for, in_ms(LONG));
                    cell.snapshot().leader.is_some()
                })
            };
            let confirmed = wait(WaitFor::ChangeOrConfirmation);
            let changed = wait(WaitFor::Change);
            let began = explore::now();
            cell.confirm();
            assert!(confirmed.join());
            cell.clear();
            assert!(!changed.join(), "a confirmation is no change");
            let waiter = spawn({
                let cell = Arc::clone(&cell);
                move || cell.wait(in_ms(LONG)).is_none()
            });
            cell.close();
            assert!(waiter.join() && cell.is_closed());
            let took = explore::now().duration_since(began);
            assert!(
                took < Duration::from_millis(LONG / 2),
                "overslept: {took:?}"
            );
        });
    }
}
