//! The catalog: what its file holds and what it shows, the batch under way, the sessions.

use super::config::Value;
use catalog::session_table::SessionTable;
use common::clock::BootInstant;
use common::wire::catalog::SessionId;

/// Front-end and count: which session of which front-end.
pub type Session = (usize, u8);

/// The catalog.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Catalog {
    /// The value that readers see.
    pub shown: Value,
    /// The durable value.
    pub durable: Value,
    /// The stock is marked as changing.
    pub changing: bool,
    /// The trade under way.
    pub batch: Option<Batch>,
    /// The sessions, as the code keeps them.
    pub table: SessionTable,
    /// The end of the wait after a start.
    pub waits_until: Option<BootInstant>,
}

/// A trade under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Batch {
    /// The sessions were listed.
    pub listed: bool,
    /// The commit is done.
    pub committed: bool,
    /// Sessions that have neither acknowledged nor ended, and whether their acknowledgement is on
    /// its way.
    pub outstanding: Vec<(Session, bool)>,
}

impl Catalog {
    /// A new one, without sessions.
    pub fn new() -> Self {
        Self {
            shown: 0,
            durable: 0,
            changing: false,
            batch: None,
            table: SessionTable::default(),
            waits_until: None,
        }
    }

    /// Whether stocks are answered and trades taken.
    #[must_use]
    pub fn serving(&self) -> bool {
        self.waits_until.is_none()
    }

    /// Drops a session that is over, or that its front-end refused, and no longer waits for it.
    pub fn settle(&mut self, session: Session) {
        if let Some(batch) = &mut self.batch {
            batch.outstanding.retain(|(other, _)| *other != session);
        }
    }

    /// The process ends and starts again. The file has all commits.
    pub fn restart(&mut self, waits_until: Option<BootInstant>) {
        *self = Self {
            shown: self.shown,
            durable: self.durable,
            waits_until,
            ..Self::new()
        };
        if waits_until.is_none() {
            self.shown = self.durable;
        }
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new()
    }
}

/// A session's id as the code has it.
pub fn id(session: Session) -> SessionId {
    SessionId(format!("{}.{}", session.0, session.1))
}
