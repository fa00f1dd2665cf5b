//! A front-end: the cache for one stock, the lookup queue, the session. The rules are those of the
//! code's cache, numbered as there.

use super::catalog::Session;
use super::config::{Rules, Value};
use common::clock::BootInstant;

/// A front-end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Front {
    /// The cache.
    pub cache: Cache,
    /// Readers that wait for the next call: what was shown when the last of them came. The last one
    /// demands most.
    pub waiting: Option<Value>,
    /// Calls to the catalog.
    pub calls: Vec<Call>,
    /// The request of the session's thread that is under way.
    pub asking: Option<Asking>,
    /// Readers that were sent to the catalog so far.
    pub misses: u8,
    /// Sessions that it chose so far.
    pub registrations: u8,
    /// Keep-alives that it sent so far.
    pub keep_alives: u8,
    /// Its clock has lost the skew.
    pub slow: bool,
    /// A reader who took the entry and has not checked the lease: the entry, and what was shown
    /// when the reader came.
    pub taken: Option<(Value, Value)>,
}

/// A call to the catalog for the stock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// The visible value when the last of its readers came.
    pub floor: Value,
    /// The fill that it began.
    pub fill: Fill,
    /// The catalog's response on its way, and whether it may be cached.
    pub answer: Option<(Value, bool)>,
}

/// A request of the session's thread. The catalog's response is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asking {
    /// For which session.
    pub session: Session,
    /// Whether it registers or renews it.
    pub registers: bool,
    /// When it was asked, on the front-end's clock.
    pub asked: BootInstant,
    /// The response.
    pub answer: Option<Answer>,
}

/// The catalog's response to a registration or keep-alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The lease runs.
    Granted,
    /// It is not renewed.
    NotRenewed,
    /// There is no such session.
    Unknown,
}

/// The cache for one stock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cache {
    entry: Option<Value>,
    /// The registered session.
    pub current: Option<Session>,
    /// A session whose registration was sent and not answered.
    pub pending: Option<Session>,
    /// When the lease ends, on the front-end's clock.
    pub lease_end: BootInstant,
    /// Fills of an older count are void.
    generation: u8,
    /// Fills begun so far since the oldest one in flight.
    stamp: u8,
    /// Fills with a stamp up to this one are void.
    void_up_to: u8,
}

/// A fill in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fill {
    generation: u8,
    stamp: u8,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            entry: None,
            current: None,
            pending: None,
            lease_end: BootInstant::BOOT,
            generation: 0,
            stamp: 0,
            void_up_to: 0,
        }
    }
}

impl Cache {
    /// Rule 1: the entry, while the lease runs.
    pub fn get(&self, now: BootInstant) -> Option<Value> {
        self.entry.filter(|_| self.leased(now))
    }

    /// The entry, whatever the lease.
    pub fn entry(&self) -> Option<Value> {
        self.entry
    }

    /// Whether the lease runs.
    pub fn leased(&self, now: BootInstant) -> bool {
        self.current.is_some() && now < self.lease_end
    }

    /// Begins a fill.
    pub fn begin_fill(&mut self) -> Fill {
        self.stamp += 1;
        Fill {
            generation: self.generation,
            stamp: self.stamp,
        }
    }

    /// Rule 4: stores what a fill brought, if it may be cached, unless it was voided. `last`: no
    /// other one is in flight.
    pub fn finish_fill(&mut self, fill: Fill, value: Option<Value>) {
        if !self.is_void(fill) && self.current.is_some() && value.is_some() {
            self.entry = value;
        }
    }

    /// Whether a fill was voided.
    pub fn is_void(&self, fill: Fill) -> bool {
        fill.generation != self.generation || fill.stamp <= self.void_up_to
    }

    /// With no fill in flight the counts are as good as new: states shall not differ by how many
    /// there were.
    pub fn reset_counts(&mut self) {
        (self.generation, self.stamp, self.void_up_to) = (0, 0, 0);
    }

    /// Rule 3: an invalidation. False: for another session.
    #[must_use]
    pub fn invalidate(&mut self, rules: &Rules, session: Session) -> bool {
        let pending = rules.pending_counts && self.pending == Some(session);
        if self.current != Some(session) && !pending {
            return false;
        }
        self.entry = None;
        if rules.fills_are_voided {
            self.void_up_to = self.stamp;
        }
        true
    }

    /// A registration is about to be sent.
    pub fn begin_session(&mut self, session: Session) {
        self.pending = Some(session);
    }

    /// Rule 5: the reply to the pending session's registration.
    pub fn install_session(&mut self, rules: &Rules, lease_end: BootInstant) {
        if rules.registration_empties {
            self.forget();
        }
        self.current = self.pending.take();
        self.lease_end = lease_end;
    }

    /// Rule 8: a keep-alive was answered.
    pub fn renew(&mut self, session: Session, lease_end: BootInstant) {
        if self.current == Some(session) {
            self.lease_end = self.lease_end.max(lease_end);
        }
    }

    /// Rule 6: the catalog does not know the session.
    pub fn lose(&mut self, session: Session) {
        if self.current == Some(session) {
            self.forget();
        }
    }

    fn forget(&mut self) {
        *self = Self {
            pending: self.pending,
            generation: self.generation + 1,
            ..Self::default()
        };
    }
}

impl Front {
    /// Without session, readers, entry.
    pub fn new() -> Self {
        Self {
            cache: Cache::default(),
            waiting: None,
            calls: Vec::new(),
            asking: None,
            misses: 0,
            registrations: 0,
            keep_alives: 0,
            slow: false,
            taken: None,
        }
    }

    /// The process ends and starts again.
    pub fn crash(&mut self) {
        *self = Self {
            misses: self.misses,
            registrations: self.registrations,
            keep_alives: self.keep_alives,
            slow: self.slow,
            ..Self::new()
        };
    }
}

impl Default for Front {
    fn default() -> Self {
        Self::new()
    }
}
