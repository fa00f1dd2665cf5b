//! When a leader with too few copies is relieved, pure.
//!
//! A leader that is cut off from its followers alone still reaches catalog and front-ends. It
//! leads, and with `ORDER_MIN_COPIES` of 2 or more it refuses every order, while another replica
//! could serve. So one that has had too few copies for [`COPIES_MISSING`] is relieved, at most once
//! in [`RELIEF_SPACING`]: where nobody reaches enough others, the leadership goes round, and
//! slowly.

use common::clock::BootInstant;
use common::timing::{COPIES_MISSING, RELIEF_SPACING};
use common::wire::replica::Copies;

/// The present leader's copies, as its health gives them.
#[derive(Debug, Default)]
pub(super) struct CopyWatch {
    /// How many are wanted, and since when there are too few of them.
    missing: Option<(usize, BootInstant)>,
    /// When a leader was relieved last.
    relieved: Option<BootInstant>,
}

impl CopyWatch {
    /// Another leader: its copies count anew.
    pub fn adopted(&mut self) {
        self.missing = None;
    }

    /// The leader's health came.
    pub fn saw(&mut self, copies: Option<Copies>, now: BootInstant) {
        self.missing = match copies {
            Some(copies) if !copies.suffice() => {
                // Since the first health with too few: one that has enough in between begins the
                // count anew.
                let since = self.missing.map_or(now, |(_, since)| since);
                Some((copies.wanted, since))
            }
            _ => None,
        };
    }

    /// How many copies are wanted, when the leader is to be relieved for the lack of them.
    pub fn due(&self, now: BootInstant) -> Option<usize> {
        // Nothing is missing, or nothing is known: a leader of an older version names no copies.
        let (wanted, since) = self.missing?;
        let rested = self
            .relieved
            // Counted over all leaders: where nobody reaches enough others, each new leader would
            // be relieved as soon as it leads, and orders would only see elections.
            .is_none_or(|at| now.saturating_since(at) >= RELIEF_SPACING);
        // A follower that restarts is back in sync within this time, and the leader keeps its term.
        (rested && now.saturating_since(since) >= COPIES_MISSING).then_some(wanted)
    }

    /// How many copies are wanted, while there are too few.
    pub fn wanted(&self) -> Option<usize> {
        self.missing.map(|(wanted, _)| wanted)
    }

    /// Another replica is about to be asked.
    pub fn asked(&mut self, now: BootInstant) {
        self.relieved = Some(now);
    }
}
