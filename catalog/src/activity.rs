//! Which of the catalogs that share one database is active, as pure rules.
//!
//! The database has one activity row: epoch, beat, holder, `clean`. The active catalog renews: each
//! renewal adds one to the beat where the epoch is still its own. A catalog that stands by looks at
//! the row. **It takes over once it has seen the same epoch and beat for a lease and the margin**,
//! by a statement that requires both and writes the next epoch.
//!
//! - A lease counts from before the renewal or takeover was sent. Counted from the answer, it would
//!   outlast the wait of a standby that saw the beat earlier than the answer came.
//! - A standby counts from the receipt of the answer that showed the beat first. Counted from
//!   sending the look, its wait could begin before the renewal that it saw was even sent.
//! - A look that failed, or was slow, begins the wait anew: nothing is known of the time between.
//! - A catalog that moved itself to a newer epoch, or is about to, is not deposed by a renewal that
//!   finds its older epoch gone.
//! - A renewal needs a sign of life of the writer. Else a catalog whose writer hangs would stay
//!   active for ever, and nobody trade.
//!
//! The model in `tests/src/model/catalogs` has a switch for each of these rules.
//!
//! | module | one idea |
//! |---|---|
//! | `keeper` | the thread that renews, looks and takes over |
//! | `calls` | a statement on the row, given up after a time |
//! | `standing` | the part of this catalog now, as its listener sees it |

pub(crate) mod calls;
pub(crate) mod keeper;
pub(crate) mod standing;

use common::clock::BootInstant;
use common::timing::{LEASE, LEASE_MARGIN};
use std::time::Duration;

/// Number of a takeover: each has a higher one. 0 before the first.
pub type Epoch = u64;

/// How often the active catalog renews its lease.
pub const RENEWAL: Duration = Duration::from_millis(250);
/// How often a standby looks at the activity row.
pub const LOOK: Duration = Duration::from_millis(50);
/// A look or renewal without an answer for so long has failed.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(250);
/// The same for a takeover, which may have to wait for the lock of a fence.
pub const TAKEN_WITHIN: Duration = Duration::from_millis(700);
/// A writer without a sign of life for so long gets no renewal. Longer than a batch waits for a
/// front-end that is gone.
pub const WRITER_SILENT: Duration = Duration::from_millis(2_000);

// A lease survives a renewal without an answer, and the new connection after it.
const _: () = assert!(2 * (RENEWAL.as_millis() + ANSWER_WITHIN.as_millis()) <= LEASE.as_millis());
// A takeover that was answered in time leaves a lease with which to begin.
const _: () = assert!(TAKEN_WITHIN.as_millis() + RENEWAL.as_millis() < LEASE.as_millis());

/// The activity row, as a look shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The newest epoch.
    pub epoch: Epoch,
    /// Changes with each renewal and takeover.
    pub beat: u64,
    /// Its holder stopped cleanly: no lease is left.
    pub clean: bool,
    /// Under which URL callers reach the holder; `None` before the first takeover.
    pub url: Option<String>,
}

/// A takeover: the epoch that it requires, and what beside it. It writes the next epoch, the next
/// beat, its holder and URL, and `clean = false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takeover {
    /// The epoch that must be the present one.
    pub from: Epoch,
    /// The condition that must hold beside it.
    pub requires: Requires,
}

/// The requirement of a takeover beside the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requires {
    /// This beat, which was seen for a lease and the margin.
    Beat(u64),
    /// That the holder stopped cleanly.
    Clean,
    /// That the holder is this run of this process.
    Own,
}

impl Takeover {
    /// The epoch that it writes.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.from + 1
    }
}

/// The wait of a standby.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Epoch and beat, and the receipt of the first answer that showed them.
    first: Option<(Epoch, u64, BootInstant)>,
}

impl Watch {
    /// A look was answered. Returns the takeover that is due now.
    pub fn answered(
        &mut self,
        seen: &Seen,
        sent: BootInstant,
        received: BootInstant,
    ) -> Option<Takeover> {
        if received.saturating_since(sent) >= ANSWER_WITHIN {
            // While the database was slow, nobody could renew either: a takeover now would depose a
            // catalog that is well.
            self.failed();
            return None;
        }
        let first = match self.first {
            Some((epoch, beat, first)) if (epoch, beat) == (seen.epoch, seen.beat) => first,
            _ => {
                self.first = Some((seen.epoch, seen.beat, received));
                received
            }
        };
        let from = seen.epoch;
        // At once: whoever set `clean` had ended its sessions and said nothing more before.
        if seen.clean {
            return Some(Takeover {
                from,
                requires: Requires::Clean,
            });
        }
        // Nobody was ever active, so there is no lease to wait for.
        let waited = seen.epoch == 0 || received.saturating_since(first) >= LEASE + LEASE_MARGIN;
        waited.then_some(Takeover {
            from,
            requires: Requires::Beat(seen.beat),
        })
    }

    /// A look or a takeover failed, was slow, or has an unknown outcome: the wait begins anew.
    pub fn failed(&mut self) {
        self.first = None;
    }
}

/// The lease of one tenure: from a takeover until the catalog is deposed, with the epochs to which
/// it moved itself.
///
/// Invariants, asserted with their values:
/// - A lease never gets shorter, so that sessions which it caps do not either.
/// - Epochs only rise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    epoch: Epoch,
    until: BootInstant,
    /// A move to the next epoch is on its way.
    moving: bool,
    /// Deposed, or given up. Final.
    over: bool,
    /// The newest sign of life of the writer, or of the thread that loads for it.
    alive: BootInstant,
}

/// The meaning of a renewal that found no row with its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRow {
    /// Another catalog took over.
    Deposed,
    /// This one has moved itself to a newer epoch, or is about to.
    Moved,
}

impl Lease {
    /// The lease of a takeover that succeeded.
    #[must_use]
    pub fn taken(epoch: Epoch, sent: BootInstant) -> Self {
        Self {
            epoch,
            until: sent + LEASE,
            moving: false,
            over: false,
            alive: sent,
        }
    }

    /// The epoch under which it renews now. It rises when the catalog moves itself to the next one.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Until when it holds, if it holds now. It covers every value of this tenure: since its
    /// takeover nobody else can have written.
    #[must_use]
    pub fn holds_until(&self, now: BootInstant) -> Option<BootInstant> {
        // `over` first: a deposed catalog's lease may have time left, and another one writes
        // already.
        (!self.over && now < self.until).then_some(self.until)
    }

    /// Whether the tenure is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The epoch to renew; `None` while the writer shows no life.
    #[must_use]
    pub fn to_renew(&self, now: BootInstant) -> Option<Epoch> {
        let silent = now.saturating_since(self.alive) >= WRITER_SILENT;
        // A silent writer lets the lease lapse, so that a standby whose writer works takes over.
        (!self.over && !silent).then_some(self.epoch)
    }

    /// A renewal succeeded. One whose lease had ended goes on: its epoch is its own, so nobody else
    /// has written.
    pub fn renewed(&mut self, epoch: Epoch, sent: BootInstant) {
        assert!(
            epoch <= self.epoch,
            "a renewal of epoch {epoch} succeeded, and the tenure's newest is {}",
            self.epoch
        );
        // The later one: a renewal and a move go over two connections, and their answers come in
        // either sequence.
        self.until = self.until.max(sent + LEASE);
    }

    /// A renewal found no row.
    #[must_use]
    pub fn no_row(&self, epoch: Epoch) -> NoRow {
        // `moving`: the move may be executed and its answer still on its way.
        if self.moving || epoch < self.epoch {
            NoRow::Moved
        } else {
            NoRow::Deposed
        }
    }

    /// Begins to move to the next epoch. Say so before the statement is sent: a renewal may find
    /// its epoch gone before the answer to the move arrives.
    pub fn begin_move(&mut self) -> Takeover {
        self.moving = true;
        Takeover {
            from: self.epoch,
            requires: Requires::Own,
        }
    }

    /// The move succeeded.
    pub fn moved(&mut self, epoch: Epoch, sent: BootInstant) {
        assert!(
            epoch > self.epoch,
            "epochs only rise: {epoch} after {}",
            self.epoch
        );
        self.epoch = epoch;
        // Only now. Until the answer, a renewal of either epoch may find no row.
        self.moving = false;
        // The move raised the beat like a renewal, so it counts as one.
        self.renewed(epoch, sent);
    }

    /// Notes a sign of life of the writer.
    pub fn show_life(&mut self, now: BootInstant) {
        self.alive = self.alive.max(now);
    }

    /// Deposed, or given up.
    pub fn end(&mut self) {
        self.over = true;
    }
}

#[cfg(test)]
mod tests;
