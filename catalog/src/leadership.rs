//! Which replica may trade, as pure rules: the term's compare-and-set, and the spacing of claims.

use common::clock::BootInstant;
use common::timing::CLAIM_SPACING;
use common::wire::catalog::TermInfo;
use common::wire::order::{ReplicaId, Term};

/// The current term and who holds it.
///
/// - Terms only rise, asserted with both values.
/// - A claim is granted only if it names the current term: of two front-ends that judged on the
///   same evidence, one wins.
/// - Within [`CLAIM_SPACING`] of a grant there is no other: two front-ends that each reach another
///   replica only cannot depose each other's leader without end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leadership {
    current: TermInfo,
    last_grant: Option<BootInstant>,
}

/// The judgement of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Make this term durable, then call [`Leadership::install`].
    Grant(TermInfo),
    /// Ask again after this many milliseconds.
    Wait {
        /// How long, at least 1.
        ms: u64,
    },
    /// `seen` is not the current term.
    Stale(TermInfo),
}

/// The meaning of a log of another bazaar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignLog {
    /// The catalog's file may have been lost.
    FileLost,
    /// A replica has a wrong file, or a wrong `CATALOG_URL`.
    WrongPlace,
}

impl Leadership {
    /// With the term that the store has. The spacing of claims counts from this run's own grants.
    pub fn new(current: TermInfo) -> Self {
        Self {
            current,
            last_grant: None,
        }
    }

    /// The current term.
    pub fn term_info(&self) -> TermInfo {
        self.current
    }

    /// Judges a log of another bazaar. While no term was granted from this file, the file may be a
    /// new one in the place of one that was lost, and that log the rest of the true history. Once
    /// one was granted, replicas with this bazaar's logs exist: the other log is merely in the
    /// wrong place, and must not stop them.
    pub fn judge_foreign_log(&self) -> ForeignLog {
        if self.current.term == 0 {
            ForeignLog::FileLost
        } else {
            ForeignLog::WrongPlace
        }
    }

    /// Judges a claim. Changes nothing: a grant counts once it is durable.
    pub fn judge(&self, replica: ReplicaId, seen: Term, now: BootInstant) -> Claim {
        // A higher one is refused, too: the front-end read it at another catalog, or before this
        // file went back.
        if seen != self.current.term {
            return Claim::Stale(self.current);
        }
        let since = self
            .last_grant
            // After a start there was no grant yet, so the first claim waits for none.
            .map_or(CLAIM_SPACING, |granted| now.saturating_since(granted));
        match CLAIM_SPACING.checked_sub(since) {
            Some(rest) if !rest.is_zero() => Claim::Wait {
                // Rounded up: with 0 the caller would ask again at once.
                ms: u64::try_from(rest.as_millis()).unwrap_or(0).max(1),
            },
            _ => Claim::Grant(TermInfo {
                term: self.current.term + 1,
                owner: Some(replica),
            }),
        }
    }

    /// Takes a granted term that is durable now.
    ///
    /// # Panics
    /// When it does not rise.
    pub fn install(&mut self, info: TermInfo, now: BootInstant) {
        assert!(
            info.term > self.current.term,
            "terms only rise: {} after {}",
            info.term,
            self.current.term
        );
        self.current = info;
        self.last_grant = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::clock::BootInstant;

    fn replica(id: u8) -> ReplicaId {
        ReplicaId::try_from(id).expect("an id")
    }

    /// A claim that names the current term is granted, once, and not right after another grant.
    #[test]
    fn compare_and_set_with_spacing() {
        let at = BootInstant::from_millis;
        let mut leadership = Leadership::new(TermInfo {
            term: 4,
            owner: None,
        });
        assert_eq!(
            leadership.judge(replica(1), 3, at(0)),
            Claim::Stale(leadership.term_info())
        );
        assert_eq!(
            leadership.judge(replica(1), 5, at(0)),
            Claim::Stale(leadership.term_info())
        );
        let granted = TermInfo {
            term: 5,
            owner: Some(replica(3)),
        };
        assert_eq!(
            leadership.judge(replica(3), 4, at(0)),
            Claim::Grant(granted),
            "no spacing after a start"
        );
        leadership.install(granted, at(1_000));
        assert_eq!(
            leadership.judge(replica(1), 4, at(1_001)),
            Claim::Stale(granted)
        );
        assert_eq!(
            leadership.judge(replica(1), 5, at(1_050)),
            Claim::Wait { ms: 150 }
        );
        assert!(matches!(
            leadership.judge(replica(1), 5, at(1_200)),
            Claim::Grant(TermInfo { term: 6, .. })
        ));
    }

    /// A log of another bazaar shows a lost file only before the first grant.
    #[test]
    fn a_foreign_log_stops_no_bazaar_that_was_led() {
        let mut leadership = Leadership::new(TermInfo {
            term: 0,
            owner: None,
        });
        assert_eq!(leadership.judge_foreign_log(), ForeignLog::FileLost);
        let granted = TermInfo {
            term: 1,
            owner: Some(replica(3)),
        };
        leadership.install(granted, BootInstant::BOOT);
        assert_eq!(leadership.judge_foreign_log(), ForeignLog::WrongPlace);
        assert_eq!(
            Leadership::new(granted).judge_foreign_log(),
            ForeignLog::WrongPlace,
            "after a restart too"
        );
    }

    /// A term that does not rise is our own mistake and is not taken.
    #[test]
    #[should_panic(expected = "terms only rise: 4 after 4")]
    fn terms_only_rise() {
        Leadership::new(TermInfo {
            term: 4,
            owner: None,
        })
        .install(
            TermInfo {
                term: 4,
                owner: None,
            },
            BootInstant::BOOT,
        );
    }
}
