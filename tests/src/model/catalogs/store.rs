//! The database: rows, the activity row, and the statements on their way to it.

use super::config::{Epoch, Index, Key};

/// The waits that began after a timer did, a bit for each catalog: see [`super`].
pub type Waits = u8;
/// A beat that nothing has: of a renewal or takeover that was just executed.
pub const FRESH: u8 = 2;
/// A beat that nothing has any more.
pub const STALE: u8 = u8::MAX;

/// The rows that are committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Store {
    /// The epoch of the activity row.
    pub epoch: Epoch,
    /// Its holder.
    pub holder: Index,
    /// Its holder has stopped cleanly.
    pub clean: bool,
    /// Changes with each renewal and takeover.
    pub beat: u8,
    /// The journal. An order's place in it stands for its verdict.
    pub rows: Vec<Key>,
    /// History was lost.
    pub lost: bool,
}

/// A statement, or a transaction, from when it is sent until its answer is taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Statement {
    /// The catalog.
    pub from: Index,
    /// That catalog waits for the answer on this connection. If not, the statement may be executed
    /// all the same.
    pub attached: bool,
    /// The epoch that it requires.
    pub epoch: Epoch,
    /// Its task.
    pub task: Task,
    /// How far it is.
    pub phase: Phase,
}

/// The task of a statement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Beats once more. The lease that it will be counts from here.
    Renewal(Waits),
    /// Takes the next epoch: what it requires beside the epoch, and the lease that it will be.
    Takeover(Requires, Waits),
    /// Writes a row for an order, at this place.
    Trade(Key, u8),
    /// Writes that history was lost.
    Lost,
    /// Writes that its catalog stops cleanly.
    Clean,
    /// Loads the rows: those that were read.
    Load(Vec<Key>),
}

/// The requirement of a takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requires {
    /// This beat, which was seen for long enough.
    Beat(u8),
    /// `clean`.
    Clean,
    /// That it is the own epoch: the bump after an unknown outcome.
    Own,
}

/// How far a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// On its way. For a transaction that writes: its fence.
    Sent,
    /// It found its row before it waited for a lock: with epoch and beat in two rows.
    Waiting,
    /// It has locked its rows and not committed: with epoch and beat in two rows.
    Locked,
    /// The fence holds its lock. Its answer is on its way, or its client is slow.
    Fenced,
    /// Writes and COMMIT are on their way, the lock is held.
    Commit,
    /// The same without a lock.
    Unfenced,
    /// It succeeded.
    Done,
    /// Its COMMIT was cancelled: reported as a success, with a warning.
    Warned,
    /// It found no row with its epoch.
    NoRow,
    /// A row is already there, or the last row is another one.
    Mismatch,
}

impl Statement {
    /// Whether it holds the lock of the fence.
    #[must_use]
    pub fn holds_lock(&self) -> bool {
        matches!(self.phase, Phase::Fenced | Phase::Commit)
    }

    /// Whether it has been executed to its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(
            self.phase,
            Phase::Done | Phase::Warned | Phase::NoRow | Phase::Mismatch
        )
    }

    /// Whether it belongs to the thread that renews.
    #[must_use]
    pub fn is_renewal(&self) -> bool {
        matches!(self.task, Task::Renewal(_))
    }

    /// Whether it takes the next epoch from its own catalog.
    #[must_use]
    pub fn is_bump(&self) -> bool {
        matches!(self.task, Task::Takeover(Requires::Own, _))
    }
}
