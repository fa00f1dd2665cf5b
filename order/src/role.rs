//! Whether a replica follows, claims or leads, and the highest term that it heard of; pure.

use common::wire::catalog::TermView;
use common::wire::order::{ReplicaId, Term};

/// What a replica is in a term.
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
/// - The term only rises, and a role's term is never above it.
/// - Hearing of a newer term ends claiming and leading.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoleState {
    role: Role,
    known: TermView,
}

impl Default for RoleState {
    fn default() -> Self {
        Self {
            role: Role::Follower,
            known: TermView {
                term: 0,
                owner: None,
            },
        }
    }
}

impl RoleState {
    /// The highest term heard of, and its owner where that is known.
    #[must_use]
    pub fn known(&self) -> TermView {
        self.known
    }

    /// The term that it leads.
    #[must_use]
    pub fn leading(&self) -> Option<Term> {
        if let Role::Leading(term) = self.role {
            Some(term)
        } else {
            None
        }
    }

    /// The term that it claims.
    #[must_use]
    pub fn claiming(&self) -> Option<Term> {
        if let Role::Claiming(term) = self.role {
            Some(term)
        } else {
            None
        }
    }

    /// Hears of a term. Returns the term whose leadership ended by it.
    #[must_use]
    pub fn observe_term(&mut self, heard: TermView) -> Option<Term> {
        if heard.term > self.known.term {
            let led = self.leading();
            *self = Self {
                role: Role::Follower,
                known: heard,
            };
            return led;
        }
        if heard.term == self.known.term {
            self.known.owner = self.known.owner.or(heard.owner);
        }
        None
    }

    /// Begins a claim that was granted. Returns the term whose leadership ended by it.
    ///
    /// # Errors
    /// When the term is below one that it heard of: nothing changes.
    pub fn begin_claim(&mut self, term: Term, own: ReplicaId) -> Result<Option<Term>, TermView> {
        if term < self.known.term {
            return Err(self.known);
        }
        let led = self.leading().filter(|led| *led < term);
        *self = Self {
            role: Role::Claiming(term),
            known: TermView {
                term,
                owner: Some(own),
            },
        };
        Ok(led)
    }

    /// Leads the term that it claims. False when it does not claim that.
    #[must_use]
    pub fn lead(&mut self, term: Term) -> bool {
        let stands = self.role == Role::Claiming(term);
        if stands {
            assert_eq!(
                self.known.term, term,
                "a claim's term is the highest heard of"
            );
            self.role = Role::Leading(term);
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
        assert_eq!((s.claiming(), s.leading()), (Some(1), None));
        assert!(!s.lead(2) && s.lead(1));
        assert_eq!(
            s.observe_term(TermView {
                term: 1,
                owner: None
            }),
            None
        );
        assert_eq!(s.known().owner, Some(own()));
        assert_eq!(s.leading(), Some(1));
        let newer = TermView {
            term: 5,
            owner: None,
        };
        assert_eq!(s.observe_term(newer), Some(1));
        assert_eq!((s.leading(), s.claiming(), s.known()), (None, None, newer));
    }

    /// A grant that arrives after a newer term was heard of is not taken.
    #[test]
    fn late_grants_are_dropped() {
        let mut s = RoleState::default();
        assert_eq!(
            s.observe_term(TermView {
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
