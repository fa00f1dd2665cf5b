//! Where the durable log ends, whether the file can be written, and which file it is.

use crate::replica::orders::acknowledge;
use crate::replica::{Replica, State};
use common::wire::order::{ClusterId, Position, ReplicaId};

/// Why the log writer reports where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogUpdate {
    /// It opened the file, or found nothing to write. That shows nothing about the disk.
    Read,
    /// A commit succeeded, so the file can be written.
    Committed,
}

impl Replica {
    /// Takes note of where the durable log ends.
    ///
    /// # Panics
    /// When rows went away: the log writer reports a new file with [`Replica::file_replaced`]
    /// first.
    pub fn log_at(&self, durable: Option<Position>, cluster: Option<ClusterId>, update: LogUpdate) {
        let mut state = self.state.lock();
        let next = durable.map_or(0, |end| end.next());
        let before = state.file.durable.map_or(0, |end| end.next());
        assert!(
            next >= before,
            "the durable log never gets shorter: {next} rows after {before}"
        );
        state.file.durable = durable;
        state.file.cluster = cluster;
        // Never set to false here. Finding nothing to write proves nothing either way, and a
        // failure reports itself.
        state.file.writable |= update == LogUpdate::Committed;
        state.look_for_foreign_file();
        let ended = state
            .pipeline
            .as_mut()
            // Under the same lock as the new end: a reader of `/health` never sees rows as durable
            // that a batch still waits for.
            .map(|pipeline| pipeline.written(next))
            .unwrap_or_default();
        self.metrics
            .log_rows
            .set(i64::try_from(next).unwrap_or(i64::MAX));
        // The answers go out on sockets: not under the lock.
        drop(state);
        acknowledge(ended);
    }

    /// A write failed: this replica neither leads nor offers itself until one succeeds.
    pub fn write_failed(&self) {
        let mut state = self.state.lock();
        state.file.writable = false;
        // In the same step. A leader that cannot write would go on to take orders to the catalog,
        // and each of them would end as "outcome unknown".
        self.end_any_leadership(state, "its log could not be written");
    }

    /// Whether the last write succeeded.
    pub fn writable(&self) -> bool {
        self.state.lock().file.writable
    }

    /// The file was set aside: the log is empty, and the peers are to be asked again.
    pub fn file_replaced(&self) {
        let mut state = self.state.lock();
        state.file.durable = None;
        state.file.cluster = None;
        // Together with the empty end. A reader that sees the new end and opens the old file, or
        // the other way round, would answer for a log that does not exist.
        state.file.generation += 1;
        // Everything is missing again, so each peer is a source again.
        state.peers_to_ask = self.peers.iter().copied().collect();
        self.end_any_leadership(state, "its file was set aside");
    }

    /// Where the durable log ends; `None` while the file is empty.
    pub fn durable(&self) -> Option<Position> {
        self.state.lock().file.durable
    }

    /// The bazaar that the file belongs to; `None` while the file is empty.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.state.lock().file.cluster.clone()
    }

    /// Which of its files is in use.
    pub fn file_generation(&self) -> u64 {
        self.state.lock().file.generation
    }

    /// Whether this peer is yet to be asked for the rows that this replica missed.
    pub fn must_ask(&self, peer: ReplicaId) -> bool {
        self.state.lock().peers_to_ask.contains(&peer)
    }

    /// This peer gave every row that it has, or cannot be asked.
    pub fn asked(&self, peer: ReplicaId) {
        self.state.lock().peers_to_ask.remove(&peer);
    }
}

impl State {
    /// Compares the file's bazaar with the catalog's, and logs a change.
    pub(super) fn look_for_foreign_file(&mut self) {
        let Some(catalog) = &self.settled_cluster else {
            return;
        };
        let foreign = catalog.differs_from(self.file.cluster.as_ref());
        if foreign && !self.foreign {
            let own = self.file.cluster.as_ref().map(ToString::to_string);
            tracing::error!(
                own,
                catalog = %catalog,
                "this replica's file belongs to another bazaar than the catalog's: it neither \
                 leads nor follows here; give it its own ORDER_DB and CATALOG_URL, or move the \
                 file \
                 away, and it fetches this bazaar's log"
            );
        } else if self.foreign && !foreign {
            tracing::info!("the file is of the catalog's bazaar");
        }
        self.foreign = foreign;
    }
}
