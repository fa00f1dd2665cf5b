//! The state that a replica's threads share: its role, where its log ends, and, while it leads, the
//! rows and batches under way.
//!
//! One lock guards all of it, because its parts must agree: a batch is admitted, a follower counted
//! and an order acknowledged under one role and one term. With a lock per part, a thread could read
//! "leads term 4", another end that leadership, and the first acknowledge an order in its name.
//! Each method is one step under the lock. No method writes a file or a socket under it: a response
//! leaves after the lock is released, so a slow client delays no thread.
//!
//! | module | steps |
//! |---|---|
//! | `terms` | terms, claims, the beginning and end of a leadership |
//! | `file` | where the durable log ends, and whether the file can be written |
//! | `orders` | the way of an order while this replica leads |

mod file;
mod orders;
mod terms;

pub use file::LogUpdate;
pub use orders::{Admitted, NotAdmitted, NotLeading, ToSend};

use crate::leading::pipeline::Pipeline;
use crate::leading::traces::Traces;
use crate::metrics::OrderMetrics;
use crate::role::RoleState;
use common::http::protocol;
use common::wire::order::{ClusterId, Position, ReplicaId, Term};
use common::wire::replica::{Copies, Health, LogPosition, NotLeader};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A replica of the order service.
///
/// Invariants, asserted with their values here, in [`RoleState`], [`Pipeline`] and the log store:
/// - The durable log never gets shorter, except when its file is set aside.
/// - It leads a term only after its log was durable up to the journal's end at the grant.
/// - There is a pipeline exactly while it leads, and of the same term.
#[derive(Debug)]
pub struct Replica {
    pub id: ReplicaId,
    peers: Vec<ReplicaId>,
    min_copies: usize,
    state: Mutex<State>,
    /// Notified when rows arrive, a leadership begins or one ends.
    changed: Condvar,
    pub traces: Traces,
    metrics: Arc<OrderMetrics>,
}

#[derive(Debug)]
struct State {
    role: RoleState,
    file: FileState,
    /// Peers that this replica has not yet asked for the rows that it missed.
    peers_to_ask: BTreeSet<ReplicaId>,
    /// `Some` exactly while the role is leading.
    pipeline: Option<Pipeline>,
    /// Set once, at the stop: no further leadership begins.
    stopping: bool,
    /// The catalog's bazaar, once a term of it was read.
    settled_cluster: Option<ClusterId>,
    /// Whether the file belongs to another bazaar than the catalog.
    foreign: bool,
}

#[derive(Debug)]
struct FileState {
    /// Where the durable log ends; `None` while the file has no genesis.
    durable: Option<Position>,
    cluster: Option<ClusterId>,
    /// False after a failed write, until one succeeds.
    writable: bool,
    /// Rises with each new file. A reader opens the file again when it differs from its own.
    generation: u64,
}

impl Replica {
    /// A follower whose file is not open yet.
    pub fn new(
        id: ReplicaId,
        peers: Vec<ReplicaId>,
        min_copies: usize,
        metrics: Arc<OrderMetrics>,
    ) -> Self {
        let file = FileState {
            durable: None,
            cluster: None,
            writable: true,
            generation: 0,
        };
        let state = State {
            role: RoleState::default(),
            file,
            peers_to_ask: peers.iter().copied().collect(),
            pipeline: None,
            stopping: false,
            settled_cluster: None,
            foreign: false,
        };
        Self {
            id,
            peers,
            min_copies,
            state: Mutex::new(state),
            changed: Condvar::new(),
            traces: Traces::default(),
            metrics,
        }
    }

    /// The body of `GET /health`.
    pub fn health(&self) -> Health {
        let state = self.state.lock();
        let known = state.role.known();
        Health {
            replica: self.id,
            leading: state.openly_led_term(),
            claiming: state.role.claiming(),
            eligible: state.may_lead(),
            // A leader's log is complete, even if it began to lead before it asked every peer.
            catching_up: !state.peers_to_ask.is_empty() && state.role.led_term().is_none(),
            last: state.file.durable.and_then(|end| end.last),
            cluster: state.file.cluster.clone(),
            term: known.term,
            leader: known.owner,
            in_sync: state
                .pipeline
                .as_ref()
                .map(|p| p.tracker.in_sync().collect())
                .unwrap_or_default(),
            copies: state.pipeline.as_ref().map(|p| self.copies(p)),
            protocol: protocol::text().into(),
            version: protocol::release(),
        }
    }

    fn copies(&self, pipeline: &Pipeline) -> Copies {
        Copies {
            present: pipeline.tracker.copies(),
            wanted: self.min_copies,
        }
    }

    /// Where the durable log ends, with this replica's id and bazaar: a leader checks both.
    pub fn log_position(&self) -> LogPosition {
        let state = self.state.lock();
        LogPosition {
            replica: self.id,
            cluster: state.file.cluster.clone(),
            position: state.file.durable,
        }
    }

    /// The body of a 421.
    pub fn not_leader(&self, outcome_unknown: bool) -> NotLeader {
        self.state.lock().not_leader(self.id, outcome_unknown)
    }
}

impl State {
    /// Whether it may be elected: its log can be written and is of this bazaar, the service does
    /// not stop, and it is no leader that cannot take orders now.
    fn may_lead(&self) -> bool {
        // Such a leader must not offer itself either: elected again, it would wait for the same
        // disk or lack the same catalog.
        let stuck = self.pipeline.is_some() && self.openly_led_term().is_none();
        let fit = self.file.durable.is_some() && self.file.writable && !self.foreign;
        fit && !self.stopping && !stuck
    }

    /// The term that `/health` shows as led. A leader that may be unable to take orders does not
    /// show it, so that front-ends elect another one.
    fn openly_led_term(&self) -> Option<Term> {
        let pipeline = self.pipeline.as_ref()?;
        // Computed at each look, not stored: a disk that hangs wakes no thread which could set a
        // flag.
        (pipeline.catalog_answers && !pipeline.is_overdue() && self.file.writable)
            .then_some(pipeline.term)
    }

    fn not_leader(&self, own: ReplicaId, outcome_unknown: bool) -> NotLeader {
        let known = self.role.known();
        NotLeader {
            term: known.term,
            // This replica does not lead, so naming itself would send the caller in a circle.
            leader: known.owner.filter(|id| *id != own),
            outcome_unknown,
        }
    }
}
