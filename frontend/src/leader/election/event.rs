//! The events that go into an election, and the commands that come out.

use super::replica_health::Probe;
use common::wire::catalog::TermAnswer;
use common::wire::order::{ReplicaId, Term};
use common::wire::replica::LeadAnswer;

/// Number of a judgement; answers to an older one are ignored.
pub type Judgement = u64;

/// An event of an election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A probe of a replica ended.
    Probe(ReplicaId, Probe),
    /// The catalog was asked for the term; `None`: it did not answer.
    Term(Judgement, Option<TermAnswer>),
    /// A replica was asked to lead.
    Lead(Judgement, LeadOutcome),
    /// A call to the leader of this term failed.
    Failed(Term),
}

/// The outcome of a request to lead, sorted by what the election does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadOutcome {
    /// The replica answered.
    Lead(LeadAnswer),
    /// A newer term exists than the one that was read.
    Outdated,
    /// The catalog refuses the claim, and would refuse that of any other replica.
    Refused,
    /// The replica cannot lead, or did not answer.
    Failed,
}

/// A command to the monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Ask the catalog for the term.
    ReadTerm(Judgement),
    /// Probe a replica before its next heartbeat.
    ProbeNow(ReplicaId),
    AskToLead {
        /// Comes back with the outcome.
        judgement: Judgement,
        candidate: ReplicaId,
        /// The term that this judgement read.
        seen: Term,
        /// Number of the last row of the longest log that it saw.
        newest_row: Option<u64>,
    },
    /// Stop waiting for the answer to that.
    Abandon,
    /// Name the leader to a replica.
    Announce {
        to: ReplicaId,
        term: Term,
        leader: ReplicaId,
    },
    /// Send orders to this leader.
    Adopt { leader: ReplicaId, term: Term },
    /// The leader is gone: hold the orders.
    Release {
        leader: ReplicaId,
        term: Term,
        why: &'static str,
    },
    /// The leader was doubted, and leads.
    Confirm,
}
