//! What is on its way at a leader, pure: the rows that came from the catalog, those that are not
//! durable here yet, and the batches that wait for them.

use crate::leading::commit::{CommitTracker, Done, IN_SYNC_LAG};
use crate::leading::shortage::Shortage;
use crate::log::cache::LogCache;
use common::http::Responder;
use common::timing::APPEND_OVERDUE;
use common::wire::order::{Position, ReplicaId, Rows, Term, Verdict};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// A leadership's state; dropped with it.
#[derive(Debug)]
pub struct Pipeline {
    /// The term that it leads.
    pub term: Term,
    /// The last row that came from the catalog; need not be durable yet.
    pub received: Position,
    /// The rows that came lately, for the followers.
    pub cache: LogCache,
    /// Which batches may be acknowledged.
    pub tracker: CommitTracker<Waiter>,
    /// Since when it has too few of them.
    pub shortage: Shortage,
    /// False while the catalog does not answer the term keeper.
    pub catalog_answers: bool,
    /// When each run of rows that is not durable yet was given to the log writer, by its end.
    appending: VecDeque<(u64, Instant)>,
}

/// A batch of a front-end that waits for its acknowledgement.
#[derive(Debug)]
pub struct Waiter {
    /// To answer it.
    pub responder: Responder,
    /// What the catalog said.
    pub verdicts: Vec<Verdict>,
}

impl Waiter {
    /// How many rows must be durable before it is answered: those up to its highest number.
    #[must_use]
    pub fn needed(&self) -> u64 {
        let number = |verdict: &Verdict| {
            if let Verdict::Accepted(n) = verdict {
                Some(n + 1)
            } else {
                None
            }
        };
        self.verdicts.iter().filter_map(number).max().unwrap_or(0)
    }
}

impl Pipeline {
    /// Of a leadership that begins with a log that is durable up to `durable`.
    #[must_use]
    pub fn new(
        term: Term,
        durable: Position,
        min_copies: usize,
        followers: impl Iterator<Item = ReplicaId>,
    ) -> Self {
        let tracker = CommitTracker::new(min_copies, durable.next(), followers);
        Self {
            term,
            received: durable,
            cache: LogCache::new(durable.next()),
            shortage: Shortage::new(tracker.has_enough_copies(), Instant::now()),
            tracker,
            catalog_answers: true,
            appending: VecDeque::new(),
        }
    }

    /// Takes rows that came from the catalog.
    ///
    /// # Panics
    /// When they do not continue the others: the caller has looked.
    pub fn receive(&mut self, rows: &Arc<Rows>, now: Instant) {
        assert_eq!(
            rows.first,
            self.received.next(),
            "the catalog answers from the row after the last received one"
        );
        self.received = Position {
            last: rows.end().checked_sub(1),
            hash: rows.hash,
        };
        self.appending.push_back((rows.end(), now));
        self.cache.push(Arc::clone(rows));
    }

    /// So many rows are durable here.
    #[must_use]
    pub fn written(&mut self, next: u64) -> Done<Waiter> {
        while self.appending.front().is_some_and(|(end, _)| *end <= next) {
            self.appending.pop_front();
        }
        self.tracker.local_durable(next)
    }

    /// A follower said where its durable log ends; see [`crate::replica::Replica::follower_at`].
    #[must_use]
    pub fn follower_at(&mut self, id: ReplicaId, next: u64, acknowledged: bool) -> Done<Waiter> {
        let lag_allowed = if acknowledged { IN_SYNC_LAG } else { 0 };
        let enough = self.received.next().saturating_sub(lag_allowed);
        let done = self.tracker.follower_durable(id, next, enough);
        self.count_copies();
        done
    }

    /// A follower did not answer in time, or counts no more. True in the first place when it was in
    /// sync.
    #[must_use]
    pub fn follower_lost(&mut self, id: ReplicaId) -> (bool, Done<Waiter>) {
        let lost = self.tracker.follower_lost(id);
        self.count_copies();
        lost
    }

    fn count_copies(&mut self) {
        self.shortage
            .observe(self.tracker.has_enough_copies(), Instant::now());
    }

    /// Whether an append takes so long that orders had better go to another replica.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.appending
            .front()
            .is_some_and(|(_, since)| since.elapsed() > APPEND_OVERDUE)
    }
}
