//! Whether a replica follows, claims or leads, and the highest term that it knows of, as pure
//! rules.

use common::wire::catalog::TermInfo;
use common::wire::order::{ReplicaId, Term};

/// A replica's part in a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Copies the leader's log.
    Follower,
    /// Was granted a term, and completes its log.
    Claiming(Term),
    /// Takes orders.
    Leading(Term),
}

/// Role and term.
///
/// Invariants, asserted with their values:
/// - The known term only rises.
/// - A replica claims or leads the highest term that it knows of, never an older one. So a newer
///   term ends claiming and leading. Otherwise two replicas would take orders, and only the
///   catalog's fencing would keep their numbers apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoleState {
    role: Role,
    known: TermInfo,
}

impl Default for RoleState {
    fn default() -> Self {
        Self {
            role: Role::Follower,
            known: TermInfo {
                term: 0,
                owner: None,
            },
        }
    }
}

impl RoleState {
    /// The highest known term, and its owner where that is known.
    pub fn known(&self) -> TermInfo {
        self.known
    }

    /// The term that it leads; `None` while it follows or claims.
    pub fn led_term(&self) -> Option<Term> {
        if let Role::Leading(term) = self.role {
            Some(term)
        } else {
            None
        }
    }

    /// The term that it was granted and completes its log for; `None` while it follows or leads.
    pub fn claiming(&self) -> Option<Term> {
        if let Role::Claiming(term) = self.role {
            Some(term)
        } else {
            None
        }
    }

    /// Takes note of a term. Returns the term whose leadership it ended.
    #[must_use]
    pub fn observe_term(&mut self, observed: TermInfo) -> Option<Term> {
        if observed.term > self.known.term {
            let led = self.led_term();
            // At once, also while it claims or leads: whoever was granted the newer term may be
            // trading already.
            self.change(Role::Follower, observed);
            return led;
        }
        if observed.term == self.known.term {
            // A term has one owner for ever; some messages name the term without it.
            self.known.owner = self.known.owner.or(observed.owner);
        }
        None
    }

    /// Begins a claim that was granted. Returns the term whose leadership ended by it.
    ///
    /// # Errors
    /// The known term, when that is newer. Nothing changes then: the grant came too late.
    pub fn begin_claim(&mut self, term: Term, own: ReplicaId) -> Result<Option<Term>, TermInfo> {
        // Not `<=`: the term keeper may have read this very term at the catalog, between the grant
        // and this call.
        if term < self.known.term {
            return Err(self.known);
        }
        let led = self.led_term().filter(|led| *led < term);
        let known = TermInfo {
            term,
            owner: Some(own),
        };
        self.change(Role::Claiming(term), known);
        Ok(led)
    }

    /// Leads the term that it claims. False when it does not claim that.
    #[must_use]
    pub fn lead(&mut self, term: Term) -> bool {
        let stands = self.role == Role::Claiming(term);
        if stands {
            self.change(Role::Leading(term), self.known);
        }
        stands
    }

    /// Gives up the claim of a term.
    pub fn abandon_claim(&mut self, term: Term) {
        if self.role == Role::Claiming(term) {
            self.role = Role::Follower;
        }
    }

    /// Ends the leadership of a term. False when it does not lead that.
    #[must_use]
    pub fn step_down(&mut self, term: Term) -> bool {
        let leads = self.role == Role::Leading(term);
        if leads {
            self.role = Role::Follower;
        }
        leads
    }
}

impl RoleState {
    /// Every change that may raise the term goes through here.
    fn change(&mut self, role: Role, known: TermInfo) {
        assert!(
            known.term >= self.known.term,
            "the known term only rises: {} after {}",
            known.term,
            self.known.term
        );
        if let Role::Claiming(term) | Role::Leading(term) = role {
            assert_eq!(
                term, known.term,
                "a replica claims or leads the highest term that it knows of"
            );
        }
        *self = Self { role, known };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> ReplicaId {
        ReplicaId::try_from(2).expect("an id")
    }

    /// Follower, claiming, leading, and back by a newer term; an older or equal one changes
    /// nothing.
    #[test]
    fn the_way_of_a_leader() {
        let mut s = RoleState::default();
        assert!(!s.lead(1));
        assert_eq!(s.begin_claim(1, own()), Ok(None));
        assert_eq!((s.claiming(), s.led_term()), (Some(1), None));
        assert!(!s.lead(2) && s.lead(1));
        assert_eq!(
            s.observe_term(TermInfo {
                term: 1,
                owner: None
            }),
            None
        );
        assert_eq!(s.known().owner, Some(own()));
        assert_eq!(s.led_term(), Some(1));
        let newer = TermInfo {
            term: 5,
            owner: None,
        };
        assert_eq!(s.observe_term(newer), Some(1));
        assert_eq!((s.led_term(), s.claiming(), s.known()), (None, None, newer));
    }

    /// A grant that arrives after a newer term became known is not taken.
    #[test]
    fn late_grants_are_dropped() {
        let mut s = RoleState::default();
        assert_eq!(
            s.observe_term(TermInfo {
                term: 7,
                owner: None
            }),
            None
        );
        assert_eq!(s.begin_claim(6, own()), Err(s.known()));
        assert_eq!((s.claiming(), s.known().term), (None, 7));
        assert_eq!(s.begin_claim(8, own()), Ok(None));
        s.abandon_claim(7);
        assert_eq!(s.claiming(), Some(8));
        s.abandon_claim(8);
        assert!(!s.lead(8) && !s.step_down(8));
    }
}
