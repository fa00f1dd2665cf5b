//! Which batches of the leader may be acknowledged, pure (design section 3, step 5).

use common::wire::order::ReplicaId;
use std::collections::BTreeMap;
use std::time::Instant;

/// Tracks which rows are durable where, and which batches wait for them.
///
/// - A batch is acknowledged once its rows are durable at the leader and at every follower in
///   sync.
/// - A follower is in sync from when it was seen to have all but the rows on their way, until it
///   fails to answer in time. A new leader counts none as in sync.
/// - A batch for which fewer than `min_copies` replicas are left is told so, and not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommitTracker<W> {
    min_copies: usize,
    /// Rows durable at the leader, as a count.
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
    who: W,
}

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Durable at the leader and every follower in sync.
    Durable,
    /// Durable there, but on fewer replicas than `ORDER_MIN_COPIES` wants.
    TooFewCopies,
}

/// Batches that have ended, to be answered outside the lock.
pub type Done<W> = Vec<(W, Outcome)>;

/// A follower that misses more rows than this after it appended some is not in sync yet: it is
/// catching up.
pub const IN_SYNC_LAG: u64 = 1_000;

impl<W> CommitTracker<W> {
    /// A new leader's: `local` rows are durable here, no follower is in sync.
    #[must_use]
    pub fn new(min_copies: usize, local: u64, followers: impl Iterator<Item = ReplicaId>) -> Self {
        let followers = followers.map(|id| (id, Follower::default())).collect();
        Self {
            min_copies,
            local,
            followers,
            waiting: Vec::new(),
        }
    }

    /// Replicas without which nothing is acknowledged, the leader included.
    #[must_use]
    pub fn copies(&self) -> usize {
        1 + self.in_sync().count()
    }

    /// Whether enough replicas are in sync.
    #[must_use]
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

    /// A batch waits until `needed` rows (a count) are durable; 0 for one without trades, which is
    /// done at once.
    #[must_use]
    pub fn submit(&mut self, needed: u64, who: W, now: Instant) -> Done<W> {
        self.waiting.push(Waiting {
            needed,
            since: now,
            who,
        });
        self.take_done()
    }

    /// `rows` rows are durable at the leader.
    #[must_use]
    pub fn local_durable(&mut self, rows: u64) -> Done<W> {
        self.local = self.local.max(rows);
        self.take_done()
    }

    /// A follower said that `rows` rows are durable there; with `enough` or more of them it comes
    /// into sync. A follower that lost rows (its file was set aside) is out of sync until it has
    /// them again.
    #[must_use]
    pub fn follower_durable(&mut self, id: ReplicaId, rows: u64, enough: u64) -> Done<W> {
        let follower = self.followers.entry(id).or_default();
        follower.in_sync = rows >= follower.durable && (follower.in_sync || rows >= enough);
        follower.durable = rows;
        self.take_done()
    }

    /// A follower did not answer in time. True in the first place when it was in sync.
    #[must_use]
    pub fn follower_lost(&mut self, id: ReplicaId) -> (bool, Done<W>) {
        let was_in_sync = self
            .followers
            .get_mut(&id)
            .is_some_and(|f| std::mem::take(&mut f.in_sync));
        (was_in_sync, self.take_done())
    }

    /// Since when a batch waits for this follower; `None` when none does.
    #[must_use]
    pub fn waiting_since(&self, id: ReplicaId) -> Option<Instant> {
        let durable = self.followers.get(&id).filter(|f| f.in_sync)?.durable;
        self.waiting
            .iter()
            .filter(|w| w.needed > durable)
            .map(|w| w.since)
            .min()
    }

    /// Leadership ends: everyone who waits, unacknowledged.
    #[must_use]
    pub fn abandon(&mut self) -> Vec<W> {
        self.waiting.drain(..).map(|w| w.who).collect()
    }

    fn take_done(&mut self) -> Done<W> {
        let durable = self
            .followers
            .values()
            .filter(|f| f.in_sync)
            .map(|f| f.durable)
            .fold(self.local, u64::min);
        let enough = self.has_enough_copies();
        self.waiting
            .extract_if(.., |w| w.needed <= durable)
            .map(|w| {
                (
                    w.who,
                    if enough || w.needed == 0 {
                        Outcome::Durable
                    } else {
                        Outcome::TooFewCopies
                    },
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u8) -> ReplicaId {
        ReplicaId::try_from(n).expect("an id")
    }

    fn tracker(min_copies: usize) -> CommitTracker<u32> {
        CommitTracker::new(min_copies, 10, [id(1), id(2)].into_iter())
    }

    /// A new leader counts nobody as in sync: it acknowledges alone until a follower has caught
    /// up.
    #[test]
    fn a_new_leader_starts_alone() {
        let mut t = tracker(1);
        assert_eq!(t.submit(11, 7, Instant::now()), []);
        assert_eq!(t.local_durable(11), [(7, Outcome::Durable)]);
        assert_eq!(t.follower_durable(id(2), 11, 12), []);
        assert_eq!(t.copies(), 1, "still catching up");
        assert_eq!(t.follower_durable(id(2), 12, 12), []);
        assert_eq!(t.in_sync().collect::<Vec<_>>(), [id(2)]);
    }

    /// A follower in sync is waited for, and no longer once it is lost or loses rows.
    #[test]
    fn followers_in_sync_are_waited_for() {
        let mut t = tracker(1);
        assert_eq!(t.follower_durable(id(1), 10, 10), []);
        let start = Instant::now();
        assert_eq!(t.submit(12, 7, start), []);
        assert_eq!(t.local_durable(12), []);
        assert_eq!(
            (t.waiting_since(id(1)), t.waiting_since(id(2))),
            (Some(start), None)
        );
        assert_eq!(t.follower_durable(id(1), 11, 12), []);
        assert_eq!(t.follower_durable(id(1), 12, 12), [(7, Outcome::Durable)]);
        assert_eq!(t.submit(13, 8, start), []);
        assert_eq!(t.local_durable(13), []);
        assert_eq!(t.follower_lost(id(1)), (true, vec![(8, Outcome::Durable)]));
        assert_eq!(t.follower_lost(id(1)), (false, vec![]));
        assert_eq!(t.follower_durable(id(1), 13, 13), []);
        assert_eq!(t.follower_durable(id(1), 2, 13), []);
        assert_eq!(t.copies(), 1, "it lost rows");
    }

    /// With a minimum of copies, a batch that outlives its followers is told that they are too few;
    /// one without trades is not.
    #[test]
    fn too_few_copies() {
        let mut t = tracker(2);
        assert!(!t.has_enough_copies());
        assert_eq!(t.follower_durable(id(1), 10, 10), []);
        assert!(t.has_enough_copies());
        assert_eq!(t.submit(11, 7, Instant::now()), []);
        assert_eq!(t.local_durable(11), []);
        assert_eq!(t.follower_lost(id(1)).1, [(7, Outcome::TooFewCopies)]);
        assert_eq!(t.submit(0, 8, Instant::now()), [(8, Outcome::Durable)]);
        assert_eq!(t.submit(99, 9, Instant::now()), []);
        assert_eq!(t.abandon(), [9]);
    }

    proptest! {
        /// Nothing is acknowledged before it is durable at the leader and at every follower in
        /// sync, and nothing is told twice.
        #[test]
        fn never_too_early(events in proptest::collection::vec((0..5_u8, 1..3_u8, 0..40_u64), 1..80)) {
            let mut t = tracker(1);
            let (mut local, mut acked) = (10, BTreeMap::from([(1, 0), (2, 0)]));
            let mut needs = Vec::new();
            let mut told = Vec::new();
            for (what, who, rows) in events {
                let done = match what {
                    0 => {
                        needs.push(rows);
                        t.submit(rows, u32::try_from(needs.len() - 1).expect("few"), Instant::now())
                    }
                    1 | 2 => {
                        local = local.max(rows);
                        t.local_durable(rows)
                    }
                    3 => {
                        acked.insert(who, rows);
                        t.follower_durable(id(who), rows, 10)
                    }
                    _ => t.follower_lost(id(who)).1,
                };
                for (batch, outcome) in done {
                    prop_assert_eq!(outcome, Outcome::Durable);
                    let need = needs[batch as usize];
                    prop_assert!(local >= need);
                    for follower in t.in_sync() {
                        prop_assert!(acked[&u8::from(follower)] >= need);
                    }
                    prop_assert!(!told.contains(&batch));
                    told.push(batch);
                }
            }
            prop_assert_eq!(told.len() + t.abandon().len(), needs.len());
        }
    }
}
