//! A front-end: the cache for one stock, its session, the calls on their way.

use super::catalog::Session;
use super::config::{Epoch, Index};
use super::store::Waits;

/// A front-end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Front {
    /// The cached value.
    pub entry: Option<u8>,
    /// The registered session.
    pub session: Option<Session>,
    /// Its lease, while it runs.
    pub lease: Option<Waits>,
    /// A registration.
    pub pending: Option<Call>,
    /// A keep-alive for the registered session.
    pub keep_alive: Option<Call>,
    /// The answer to a fill that was not voided.
    pub fill: Option<u8>,
    /// The end of its session was sent and it has not forgotten it: with that rule off.
    pub stopping: bool,
    /// Sessions that it may still register.
    pub registrations: u8,
    /// The newest epoch and value that it has seen: only where the database loses rows.
    pub seen: (Epoch, u8),
}

/// A call about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// The session.
    pub session: Session,
    /// The catalog that is asked.
    pub to: Index,
    /// The lease that it may become, while it runs: it counts from before it was sent.
    pub lease: Option<Waits>,
    /// The answer on its way.
    pub answer: Option<Answer>,
}

/// The catalog's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The lease runs.
    Granted,
    /// There is no such session.
    Unknown,
}

impl Front {
    /// Empties the cache, voids fills, forgets the session.
    pub fn forget(&mut self) {
        self.entry = None;
        self.fill = None;
        self.session = None;
        self.lease = None;
        self.keep_alive = None;
    }

    /// The process starts again.
    pub fn restart(&mut self) {
        *self = Self {
            registrations: self.registrations,
            seen: self.seen,
            ..Self::default()
        };
    }

    /// Whether this session is registered or pending here.
    #[must_use]
    pub fn knows(&self, session: Session) -> bool {
        self.session == Some(session) || self.is_pending(session)
    }

    /// Whether this session is pending here.
    #[must_use]
    pub fn is_pending(&self, session: Session) -> bool {
        self.pending.is_some_and(|call| call.session == session)
    }

    /// Whether a lease that was granted for this session runs, here or in an answer on its way.
    #[must_use]
    pub fn leased(&self, session: Session) -> bool {
        let granted = |call: &Option<Call>| {
            call.is_some_and(|call| {
                call.session == session
                    && call.answer == Some(Answer::Granted)
                    && call.lease.is_some()
            })
        };
        self.session == Some(session) && self.lease.is_some()
            || granted(&self.pending)
            || granted(&self.keep_alive)
    }

    /// The value that it would answer from its cache now.
    #[must_use]
    pub fn cached(&self) -> Option<u8> {
        self.entry
            .filter(|_| self.session.is_some() && self.lease.is_some())
    }
}
