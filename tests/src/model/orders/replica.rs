//! A replica: its log, its role, and what is on its way while it leads.

use super::catalog::{Verdict, number};
use super::config::{Index, Key, REPLICAS};
use common::wire::order::{ReplicaId, Term};
use order::leading::commit::{CommitTracker, Ended};
use order::role::RoleState;
use std::sync::LazyLock;
use std::time::Instant;

/// A replica.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Replica {
    /// The rows in its file.
    pub log: Vec<Key>,
    /// Its file was lost once: for the properties only.
    pub lost: bool,
    /// Role and term.
    pub role: RoleState,
    /// The term that it saw with the claim that it waits for.
    pub claimed: Option<Term>,
    /// Where the log must end before it leads the term that it claims.
    pub wanted: u8,
    /// While it leads.
    pub pipeline: Option<Pipeline>,
}

/// The trades on their way at a leader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pipeline {
    /// The term that it leads.
    pub term: Term,
    /// How many rows it had when it began to lead: for the properties only.
    pub base: u8,
    /// Every row that it has, durable here or not yet.
    pub received: Vec<Key>,
    /// The call to the catalog that is waited for: the order, and how many rows were received when
    /// it was sent.
    pub call: Option<(Key, u8)>,
    /// The orders that wait for a response.
    pub tracker: CommitTracker<Waiter>,
}

/// A waiting order, and the catalog's verdict on it.
pub type Waiter = (Key, Verdict);

/// The tracker notes since when a batch waits; nothing here depends on it.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Replica {
    /// Ends its claim or leadership of older terms: those who wait ask the next leader.
    pub fn observe_term(&mut self, info: common::wire::catalog::TermInfo) {
        if self.role.observe_term(info).is_some() {
            self.pipeline = None;
        }
    }

    /// The process ends and starts again: only the file stays.
    pub fn crash(&mut self) {
        *self = Self {
            log: std::mem::take(&mut self.log),
            lost: self.lost,
            ..Self::default()
        };
    }

    /// Leads the term that it claims, when its log goes far enough or that rule is off.
    pub fn try_lead(&mut self, own: Index, min_copies: usize, must_be_complete: bool) {
        let Some(term) = self.role.claiming() else {
            return;
        };
        let complete = self.log.len() >= usize::from(self.wanted);
        if must_be_complete && !complete || !self.role.lead(term) {
            return;
        }
        let others = (0..REPLICAS).filter(|other| *other != own).map(id);
        self.pipeline = Some(Pipeline {
            term,
            base: number(self.log.len()),
            received: self.log.clone(),
            call: None,
            tracker: CommitTracker::new(min_copies, self.log.len() as u64, others),
        });
    }

    /// Whether it says that it leads this term.
    #[must_use]
    pub fn leads(&self, term: Term) -> bool {
        self.role.led_term() == Some(term)
    }
}

impl Pipeline {
    /// Lets an order wait until its row is durable; one without a row is done at once.
    #[must_use]
    pub fn submit(&mut self, waiter: Waiter) -> Ended<Waiter> {
        let needed = if let Verdict::Accepted(n) = waiter.1 {
            u64::from(n) + 1
        } else {
            0
        };
        self.tracker.submit(needed, waiter, *START)
    }
}

/// Its id.
///
/// # Panics
/// Never: indices are small.
pub fn id(index: Index) -> ReplicaId {
    ReplicaId::try_from(number(index) + 1).expect("ids begin at 1")
}

/// The index of an id.
pub fn index(id: ReplicaId) -> Index {
    usize::from(u8::from(id)) - 1
}
