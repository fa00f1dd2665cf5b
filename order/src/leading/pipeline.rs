//! The state of one leadership: the rows that came from the catalog, those that are not durable
//! here yet, and the batches that wait for them.

use crate::leading::commit::{CommitTracker, Ended, IN_SYNC_LAG, Progress};
use crate::leading::links::Links;
use crate::leading::shortage::Shortage;
use crate::log::cache::LogCache;
use common::http::Responder;
use common::http::split::SplitConnection;
use common::timing::APPEND_OVERDUE;
use common::wire::order::{Position, ReplicaId, Rows, Term, Verdict};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// A leadership's state; dropped with it.
#[derive(Debug)]
pub struct Pipeline {
    pub term: Term,
    /// The last row that came from the catalog; need not be durable yet.
    pub received: Position,
    /// The newest rows, for the followers.
    pub cache: LogCache,
    pub tracker: CommitTracker<Waiter>,
    /// Which thread may send to which follower.
    pub links: Links<SplitConnection>,
    /// Since when too few copies of a new order would be made.
    pub shortage: Shortage,
    /// False while the catalog does not answer the term keeper.
    pub catalog_answers: bool,
    /// For each run of rows that is not durable here yet: its end, and when the log writer got it.
    appending: VecDeque<(u64, Instant)>,
}

/// A batch of a front-end that waits for its acknowledgement.
#[derive(Debug)]
pub struct Waiter {
    pub responder: Responder,
    pub verdicts: Vec<Verdict>,
}

/// A follower's report of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerReport {
    pub follower: ReplicaId,
    /// How many rows are durable there.
    pub rows: u64,
    pub source: PositionSource,
}

/// Which answer of a follower showed where its log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionSource {
    /// The answer to rows, which are durable there.
    Append,
    /// The answer to the mere question.
    Question,
}

impl Waiter {
    /// How many rows must be durable before it is answered: those up to its highest number, which
    /// may be an old one when a client repeated an order.
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
    /// The state of a leadership that begins with a log that is durable up to `durable`.
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
            links: Links::default(),
            catalog_answers: true,
            appending: VecDeque::new(),
        }
    }

    /// Takes rows that came from the catalog.
    ///
    /// # Panics
    /// When they do not continue the received rows. The sequencer has compared them.
    pub fn receive(&mut self, rows: &Arc<Rows>, now: Instant) {
        assert_eq!(
            rows.first,
            self.received.next(),
            "rows are received in order: the run to {} begins elsewhere",
            rows.end()
        );
        self.received = Position {
            last: rows.end().checked_sub(1),
            hash: rows.hash,
        };
        self.appending.push_back((rows.end(), now));
        self.cache.push(Arc::clone(rows));
    }

    /// Notes that `rows` rows are durable here.
    #[must_use]
    pub fn written(&mut self, rows: u64) -> Ended<Waiter> {
        // One commit may cover several runs: the log writer gathers what is queued.
        while self.appending.front().is_some_and(|(end, _)| *end <= rows) {
            self.appending.pop_front();
        }
        self.tracker.local_durable(rows)
    }

    /// Takes a follower's report.
    #[must_use]
    pub fn follower_at(&mut self, report: FollowerReport) -> Ended<Waiter> {
        let lag_allowed = match report.source {
            PositionSource::Append => IN_SYNC_LAG,
            // A follower whose disk hangs still answers questions. With a lag allowed, a mere
            // question would bring it into sync, and orders would wait for it again, one time-out
            // each.
            PositionSource::Question => 0,
        };
        // Measured against what was received, not what is durable here: the log writer may be the
        // slower one, and the follower then lacks rows that nobody has measured.
        let enough = self.received.next().saturating_sub(lag_allowed);
        let progress = Progress {
            rows: report.rows,
            enough,
        };
        let done = self.tracker.follower_durable(report.follower, progress);
        self.count_copies();
        done
    }

    /// Notes that a follower did not answer in time. Returns whether it was in sync, and batches
    /// that waited for it alone.
    #[must_use]
    pub fn follower_lost(&mut self, id: ReplicaId) -> (bool, Ended<Waiter>) {
        let lost = self.tracker.follower_lost(id);
        self.count_copies();
        lost
    }

    /// Called after each change of the followers in sync, so that the grace counts from the loss
    /// itself and not from the next order.
    fn count_copies(&mut self) {
        self.shortage
            .observe(self.tracker.has_enough_copies(), Instant::now());
    }

    /// Whether an append takes so long that orders had better go to another replica.
    pub fn is_overdue(&self) -> bool {
        self.appending
            // The oldest decides. A disk that hangs in one fsync lets later runs queue up behind
            // it.
            .front()
            .is_some_and(|(_, since)| since.elapsed() > APPEND_OVERDUE)
    }
}
