//! Cache sessions and their leases, pure (design section 6; leases as in Gray and Cheriton, 1989,
//! and Chubby, 2006).

use common::clock::BootInstant;
use common::timing::{LEASE, LEASE_MARGIN, PUSH_OVERDUE};
use common::wire::catalog::SessionId;
use std::collections::BTreeMap;

/// The sessions that may hold cached stocks.
///
/// - A session is dropped only after its lease and the margin are over: until then its front-end
///   may answer from its cache, and a batch must wait for it.
/// - A session with a push unanswered for longer than [`PUSH_OVERDUE`] is not renewed, so that a
///   front-end that reaches the catalog but cannot be reached delays trades by one lease at most.
/// - Keep-alive and drop are decided under one lock (the owner's): a lease is never extended after
///   its session was given up.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct SessionTable {
    sessions: BTreeMap<SessionId, Session>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Session {
    lease_until: BootInstant,
    unanswered_since: Option<BootInstant>,
}

/// Answer to a keep-alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// The lease counts anew from now.
    Renewed,
    /// A push is unanswered for too long; the lease runs out as it is.
    NotRenewed,
    /// No such session: it was dropped, or is of an earlier run.
    Unknown,
}

impl SessionTable {
    /// Begins a session, whose probe push was answered. False when there is one with this id.
    #[must_use]
    pub fn grant(&mut self, id: SessionId, now: BootInstant) -> bool {
        let new = !self.sessions.contains_key(&id);
        if new {
            self.sessions.insert(
                id,
                Session {
                    lease_until: now + LEASE,
                    unanswered_since: None,
                },
            );
        }
        new
    }

    /// Renews a lease from now on.
    pub fn keep_alive(&mut self, id: &SessionId, now: BootInstant) -> KeepAlive {
        let Some(session) = self.sessions.get_mut(id) else {
            return KeepAlive::Unknown;
        };
        if session
            .unanswered_since
            .is_some_and(|since| now.saturating_since(since) > PUSH_OVERDUE)
        {
            return KeepAlive::NotRenewed;
        }
        session.lease_until = session.lease_until.max(now + LEASE);
        KeepAlive::Renewed
    }

    /// Notes that a push to the session begins.
    pub fn push_begun(&mut self, id: &SessionId, now: BootInstant) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.unanswered_since.get_or_insert(now);
        }
    }

    /// Notes that it was acknowledged.
    pub fn push_answered(&mut self, id: &SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.unanswered_since = None;
        }
    }

    /// When the session may be dropped; `None` when there is none.
    #[must_use]
    pub fn over_at(&self, id: &SessionId) -> Option<BootInstant> {
        self.sessions
            .get(id)
            .map(|session| session.lease_until + LEASE_MARGIN)
    }

    /// Drops the session if its lease and the margin are over. True when there is none afterwards.
    #[must_use]
    pub fn drop_if_over(&mut self, id: &SessionId, now: BootInstant) -> bool {
        if self.over_at(id).is_some_and(|over| now < over) {
            return false;
        }
        self.sessions.remove(id);
        true
    }

    /// Drops a session whose front-end said that it does not use it.
    pub fn remove(&mut self, id: &SessionId) {
        self.sessions.remove(id);
    }

    /// The sessions.
    pub fn ids(&self) -> impl Iterator<Item = &SessionId> {
        self.sessions.keys()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> SessionId {
        SessionId("a".into())
    }

    const fn at(ms: u64) -> BootInstant {
        BootInstant::from_millis(ms)
    }

    /// A session lasts a lease and the margin beyond its last keep-alive, and is then unknown.
    #[test]
    fn leases_run_out() {
        let mut table = SessionTable::default();
        assert!(table.grant(id(), at(0)) && !table.grant(id(), at(0)));
        assert_eq!(table.keep_alive(&id(), at(500)), KeepAlive::Renewed);
        assert!(!table.drop_if_over(&id(), at(1_599)));
        assert!(table.drop_if_over(&id(), at(1_600)));
        assert_eq!(table.keep_alive(&id(), at(1_600)), KeepAlive::Unknown);
        assert!(table.is_empty());
    }

    /// A push that stays unanswered ends renewals, not the lease; an answer allows them again.
    #[test]
    fn unanswered_pushes_end_renewals() {
        let mut table = SessionTable::default();
        assert!(table.grant(id(), at(0)));
        table.push_begun(&id(), at(100));
        table.push_begun(&id(), at(290));
        assert_eq!(table.keep_alive(&id(), at(300)), KeepAlive::Renewed);
        assert_eq!(table.keep_alive(&id(), at(301)), KeepAlive::NotRenewed);
        assert!(!table.drop_if_over(&id(), at(1_399)) && table.over_at(&id()) == Some(at(1_400)));
        table.push_answered(&id());
        assert_eq!(table.keep_alive(&id(), at(302)), KeepAlive::Renewed);
    }
}
