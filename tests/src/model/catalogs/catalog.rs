//! A catalog process: its role, its lease, the stocks in memory, the batch under way, its sessions.

use super::config::{Epoch, Index, Key};
use super::store::Waits;

/// Front-end and id: which session of which front-end.
pub type Session = (Index, u8);

/// A catalog process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Catalog {
    /// Its role.
    pub role: Role,
    /// Its lease, while it runs.
    pub lease: Option<Waits>,
    /// The stocks in memory, once loaded.
    pub memory: Option<Memory>,
    /// The batch under way. Its stock is marked as changing.
    pub batch: Option<Batch>,
    /// The sessions that it knows, sorted.
    pub sessions: Vec<Session>,
    /// How far its clean stop is.
    pub stopping: Option<Stage>,
    /// The sessions that it knew when it began to stop: only with the rule off that it grants
    /// nothing then.
    pub ending: Vec<Session>,
    /// It knows that history was lost: it serves nothing.
    pub lost: bool,
    /// A batch that was decided and is not sent: order and place. Only with the rule off that it
    /// is sent under the epoch of its decision.
    pub staged: Option<(Key, u8)>,
    /// A reader that took a value and has not checked the lease: whether the value was stale when
    /// it was taken. Only with the rule off that both are of one epoch.
    pub reading: Option<bool>,
}

/// Its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It stands by.
    Standby {
        /// The pair of epoch and beat that it has seen since its wait began.
        watch: Option<(Epoch, u8)>,
        /// A look is on its way: only when the wait counts from its sending.
        looking: bool,
    },
    /// It took this epoch.
    Active {
        /// The epoch that it has now.
        epoch: Epoch,
        /// The epoch that it took over with. Bumps keep it.
        since: Epoch,
    },
    /// SQLite: it waits after its start.
    Waiting,
}

impl Default for Role {
    fn default() -> Self {
        Self::Standby {
            watch: None,
            looking: false,
        }
    }
}

/// The stocks in memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Memory {
    /// The visible rows.
    pub rows: Vec<Key>,
    /// The takeover under which they were loaded.
    pub since: Epoch,
}

/// A batch of one order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Batch {
    /// How far its transaction is.
    pub outcome: Outcome,
    /// Sessions that have neither acknowledged nor ended.
    pub outstanding: Vec<Session>,
}

/// The outcome of a batch's transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Under way.
    Open(Key),
    /// Committed: the rows that will be visible.
    Committed(Vec<Key>),
    /// Unknown until the next load.
    Unknown,
}

/// A step of the clean stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It grants nothing, takes no batch, and ends the sessions.
    Draining,
    /// It says nothing about now any more; `clean` is being written.
    Silent,
}

impl Catalog {
    /// Its epoch while it is active.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        match self.role {
            Role::Active { epoch, .. } => Some(epoch),
            Role::Standby { .. } | Role::Waiting => None,
        }
    }

    /// Whether it stands by.
    #[must_use]
    pub fn stands_by(&self) -> bool {
        matches!(self.role, Role::Standby { .. })
    }

    /// Drops a session, and no longer waits for it.
    pub fn forget_session(&mut self, session: Session) {
        self.sessions.retain(|other| *other != session);
        self.settle(session);
    }

    /// No longer waits for a session's acknowledgement.
    pub fn settle(&mut self, session: Session) {
        if let Some(batch) = &mut self.batch {
            batch.outstanding.retain(|other| *other != session);
        }
    }
}
