//! How long to wait after claims that were refused, pure.
//!
//! A catalog that lost its history, or cannot write, refuses every claim. Asked again at once it
//! refuses again: that was 90 lines of log a second, without end.

use common::clock::BootInstant;
use common::timing::{CLAIM_BACK_OFF, CLAIM_BACK_OFF_MOST};
use common::wire::catalog::TermInfo;
use std::time::Duration;

/// The refusals since a replica was last seen to lead.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    count: u32,
    /// Until when nobody is asked, and the term at which that was decided: another term is news.
    wait: Option<(BootInstant, TermInfo)>,
}

impl Refusals {
    /// Another one, while the catalog had this term.
    pub fn note(&mut self, seen: TermInfo, now: BootInstant) {
        let doubled =
            // At 32 refusals the shift would overflow; the wait is at its bound long before.
            CLAIM_BACK_OFF.saturating_mul(1_u32.checked_shl(self.count).unwrap_or(u32::MAX));
        self.count = self.count.saturating_add(1);
        self.wait = Some((now + doubled.min(CLAIM_BACK_OFF_MOST), seen));
    }

    /// There is a leader, or a claim was granted.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How long to wait before a replica is asked; `None`: no longer. Another term than the one
    /// that was refused ends the wait: the catalog grants claims again, or was mended.
    #[must_use]
    pub fn wait(&self, seen: TermInfo, now: BootInstant) -> Option<Duration> {
        let (until, refused) = self.wait?;
        let left = until.saturating_since(now);
        (refused == seen && !left.is_zero()).then_some(left)
    }
}
