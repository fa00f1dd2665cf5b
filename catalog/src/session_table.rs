//! Cache sessions and their leases, as pure rules. Leases are those of Gray and Cheriton (1989) and
//! of Chubby (2006).

use common::clock::BootInstant;
use common::timing::{LEASE, LEASE_MARGIN, PUSH_OVERDUE};
use common::wire::catalog::SessionId;
use std::collections::BTreeMap;
use std::time::Duration;

/// The sessions that may hold cached stocks.
///
/// Invariants, the first two asserted with their values:
/// - A session is dropped for silence only after its lease and the margin are over: until then its
///   front-end may answer from its cache, and a batch must wait for it.
/// - A lease never gets shorter: its front-end counts on the longest one that it was granted.
/// - A session with a push unanswered for longer than [`PUSH_OVERDUE`] is not renewed, so that a
///   front-end that reaches the catalog but cannot be reached delays trades by [`PUSH_OVERDUE`], a
///   lease and the margin at most.
/// - A lease ends with the catalog's own at the latest, where it has one: another catalog takes
///   over once that is over, and pushes nothing to sessions that it does not know.
/// - The owner decides keep-alive and drop under one lock: a lease is never extended after its
///   session was dropped.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct SessionTable {
    sessions: BTreeMap<SessionId, Session>,
    /// When the catalog's own lease ends, if it has one.
    cap: Option<BootInstant>,
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
    /// From now on leases end here at the latest.
    pub fn cap_at(&mut self, own: BootInstant) {
        assert!(
            self.cap <= Some(own),
            "the own lease never gets shorter: until {:?}, then until {own:?}",
            self.cap
        );
        self.cap = Some(own);
    }

    /// How long a lease is that is granted now.
    #[must_use]
    pub fn granted(&self, now: BootInstant) -> Duration {
        self.cap
            .map_or(LEASE, |own| own.saturating_since(now).min(LEASE))
    }

    /// Begins a session, whose probe push was acknowledged. False when this id is in use.
    #[must_use]
    pub fn grant(&mut self, id: SessionId, now: BootInstant) -> bool {
        // An id in use is refused, not taken over: the old session's front-end may still answer
        // under it, and nobody would push to it then.
        let new = !self.sessions.contains_key(&id);
        let lease_until = now + self.granted(now);
        if new {
            self.sessions.insert(
                id,
                Session {
                    lease_until,
                    unanswered_since: None,
                },
            );
        }
        new
    }

    /// Renews a lease from now on.
    pub fn keep_alive(&mut self, id: &SessionId, now: BootInstant) -> KeepAlive {
        let renewed = now + self.granted(now);
        let Some(session) = self.sessions.get_mut(id) else {
            return KeepAlive::Unknown;
        };
        if session
            .unanswered_since
            // Without this, a front-end that is cut off one way renews for ever, and no trade
            // becomes visible.
            .is_some_and(|since| now.saturating_since(since) > PUSH_OVERDUE)
        {
            return KeepAlive::NotRenewed;
        }
        assert!(
            renewed >= session.lease_until,
            "a lease never gets shorter: session {id} until {:?}, renewed until {renewed:?}",
            session.lease_until
        );
        session.lease_until = renewed;
        KeepAlive::Renewed
    }

    /// Notes that a push to the session begins. An older one without an answer keeps its beginning.
    pub fn push_begun(&mut self, id: &SessionId, now: BootInstant) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.unanswered_since.get_or_insert(now);
        }
    }

    /// Notes that the push was acknowledged.
    pub fn push_answered(&mut self, id: &SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.unanswered_since = None;
        }
    }

    /// When the session may be dropped; `None` when there is none.
    pub fn over_at(&self, id: &SessionId) -> Option<BootInstant> {
        self.sessions
            .get(id)
            // The margin is for two clocks that run at different rates within one lease.
            .map(|session| session.lease_until + LEASE_MARGIN)
    }

    /// Drops the session if its lease and the margin are over. Returns whether it is gone.
    #[must_use]
    pub fn drop_if_over(&mut self, id: &SessionId, now: BootInstant) -> bool {
        if self.over_at(id).is_some_and(|over| now < over) {
            return false;
        }
        self.sessions.remove(id);
        true
    }

    /// Drops a session under which its front-end holds nothing any more.
    pub fn remove(&mut self, id: &SessionId) {
        self.sessions.remove(id);
    }

    /// The sessions that may hold cached stocks now.
    pub fn ids(&self) -> impl Iterator<Item = &SessionId> {
        self.sessions.keys()
    }

    /// How many sessions may hold cached stocks.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

#[cfg(test)]
mod tests;
