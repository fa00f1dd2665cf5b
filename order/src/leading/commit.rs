//! When a leader may acknowledge a batch, as pure rules.
//!
//! **A batch is acknowledged once its rows are durable at the leader and at every follower in
//! sync.** A follower comes into sync when it has all rows but those under way, and falls out of
//! sync when it does not answer in time. So an acknowledged order is on every replica that counts,
//! and the next leader has it whichever of them that is.
//!
//! The trace that "a new leader counts none in sync" prevents: replica 2 dies, replica 3 becomes
//! leader and counts 2 as in sync from the beginning. Nothing is sent to 2 yet, so no time-out
//! runs, and the first order waits a whole time-out for a dead replica. And `ORDER_MIN_COPIES` = 2
//! would be met by that dead replica.

use common::wire::order::ReplicaId;
use std::collections::BTreeMap;
use std::time::Instant;

/// Tracks which rows are durable where, and which batches wait for them. All numbers of rows are
/// counts: `n` means the rows 0 to `n` − 1.
///
/// Invariants, asserted with their values:
/// - The leader's count never falls: its log only grows while it leads.
/// - A batch ends as durable only if its rows are durable at the leader and at every follower in
///   sync, and these are at least `min_copies` replicas. With fewer, it ends as
///   [`Outcome::TooFewCopies`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommitTracker<W> {
    min_copies: usize,
    /// Rows durable at the leader.
    local: u64,
    followers: BTreeMap<ReplicaId, Follower>,
    waiting: Vec<Waiting<W>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Follower {
    durable: u64,
    in_sync: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Waiting<W> {
    needed: u64,
    since: Instant,
    waiter: W,
}

/// A follower's progress, as numbers of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Rows durable there.
    pub rows: u64,
    /// With so many it comes into sync.
    pub enough: u64,
}

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Durable at the leader and every follower in sync.
    Durable,
    /// Durable there, but on fewer replicas than `ORDER_MIN_COPIES` asks for.
    TooFewCopies,
}

/// Batches that have ended. The owner answers them after it has released its lock.
pub type Ended<W> = Vec<(W, Outcome)>;

/// A follower that misses more rows than this after an append is catching up, and not in sync yet.
/// Zero would be wrong: under load new rows are always under way, and it would never come into
/// sync.
pub const IN_SYNC_LAG: u64 = 1_000;

impl<W> CommitTracker<W> {
    /// The tracker of a new leader: `local` rows are durable here, and no follower is in sync.
    pub fn new(min_copies: usize, local: u64, followers: impl Iterator<Item = ReplicaId>) -> Self {
        let followers = followers.map(|id| (id, Follower::default())).collect();
        Self {
            min_copies,
            local,
            followers,
            waiting: Vec::new(),
        }
    }

    /// How many replicas have every acknowledged row: the leader and the followers in sync.
    pub fn copies(&self) -> usize {
        1 + self.in_sync().count()
    }

    /// Whether these are as many as `ORDER_MIN_COPIES` asks for.
    pub fn has_enough_copies(&self) -> bool {
        self.copies() >= self.min_copies
    }

    /// The followers in sync.
    pub fn in_sync(&self) -> impl Iterator<Item = ReplicaId> {
        self.followers
            .iter()
            .filter(|(_, f)| f.in_sync)
            .map(|(id, _)| *id)
    }

    /// Lets a batch wait until `needed` rows are durable. One without trades needs 0, and ends at
    /// once.
    #[must_use]
    pub fn submit(&mut self, needed: u64, waiter: W, now: Instant) -> Ended<W> {
        self.waiting.push(Waiting {
            needed,
            since: now,
            waiter,
        });
        self.take_ended()
    }

    /// Notes that `rows` rows are durable at the leader.
    ///
    /// # Panics
    /// When these are fewer than before.
    #[must_use]
    pub fn local_durable(&mut self, rows: u64) -> Ended<W> {
        assert!(
            rows >= self.local,
            "a leader's log only grows: {rows} rows after {}",
            self.local
        );
        self.local = rows;
        self.take_ended()
    }

    /// Takes a follower's progress. A follower that lost rows (its file was set aside) is out of
    /// sync until it has them again: orders were acknowledged on the strength of its copies.
    #[must_use]
    pub fn follower_durable(&mut self, id: ReplicaId, progress: Progress) -> Ended<W> {
        // Once in sync, a follower stays so however many rows it lacks: each batch waits for it, so
        // nothing is acknowledged without it. Only time ends that, in `follower_lost`. Without this
        // rule a burst of more rows than the lag allows would drop a healthy follower.
        let Progress { rows, enough } = progress;
        let follower = self.followers.entry(id).or_default();
        follower.in_sync = rows >= follower.durable && (follower.in_sync || rows >= enough);
        follower.durable = rows;
        self.take_ended()
    }

    /// Notes that a follower did not answer in time. Returns whether it was in sync, and batches
    /// that waited for it alone.
    #[must_use]
    pub fn follower_lost(&mut self, id: ReplicaId) -> (bool, Ended<W>) {
        let was_in_sync = self
            .followers
            .get_mut(&id)
            .is_some_and(|f| std::mem::take(&mut f.in_sync));
        (was_in_sync, self.take_ended())
    }

    /// Since when the oldest batch waits for this follower; `None` when none does.
    pub fn waiting_since(&self, id: ReplicaId) -> Option<Instant> {
        // A follower out of sync holds up no batch, so no time runs against it.
        let durable = self.followers.get(&id).filter(|f| f.in_sync)?.durable;
        self.waiting
            .iter()
            .filter(|w| w.needed > durable)
            .map(|w| w.since)
            .min()
    }

    /// Ends the leadership. Returns the batches that wait, none of which is acknowledged.
    #[must_use]
    pub fn abandon(&mut self) -> Vec<W> {
        self.waiting.drain(..).map(|w| w.waiter).collect()
    }

    /// Every change of a count ends in this function, so that no change can leave a finished batch
    /// waiting for the next event.
    fn take_ended(&mut self) -> Ended<W> {
        // From the leader's own count: with no follower in sync it stands alone. A follower may be
        // ahead of it while the leader's fsync runs. Its rows do not count before, since this
        // leader answers order queries from its own file.
        let durable = self
            .followers
            .values()
            .filter(|f| f.in_sync)
            .map(|f| f.durable)
            .fold(self.local, u64::min);
        assert!(
            durable <= self.local,
            "{durable} rows are durable everywhere, {} at the leader",
            self.local
        );
        let enough = self.has_enough_copies();
        let outcome = |needed: u64| {
            // A batch of refusals alone is durable at the catalog: copies do not matter to it.
            if enough || needed == 0 {
                Outcome::Durable
            } else {
                Outcome::TooFewCopies
            }
        };
        // Any batch may end, not only the oldest: a repeated order waits for an old number only,
        // and is not held up by new ones before it.
        self.waiting
            .extract_if(.., |w| w.needed <= durable)
            .map(|w| (w.waiter, outcome(w.needed)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
