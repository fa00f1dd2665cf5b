//! What goes into the election of the leader, and what comes out.

use super::replica_health::Probe;
use common::wire::catalog::TermAnswer;
use common::wire::order::{ReplicaId, Term};
use common::wire::replica::LeadAnswer;

/// Number of a judgement; answers to an older one are ignored.
pub type Judgement = u64;

/// What the election is told.
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

/// What a replica answered that was asked to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadOutcome {
    /// An answer of its own.
    Lead(LeadAnswer),
    /// A newer term exists than the one that was read.
    Outdated,
    /// The catalog refuses the claim, whoever makes it.
    Refused,
    /// The replica cannot lead, or did not answer.
    Failed,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Ask the catalog for the term.
    ReadTerm(Judgement),
    /// Probe a replica at once.
    ProbeNow(ReplicaId),
    /// Ask a replica to lead.
    AskToLead {
        /// For the answer.
        judgement: Judgement,
        /// Whom.
        candidate: ReplicaId,
        /// The term that this judgement read.
        seen: Term,
        /// Number of the last row of the longest log that it saw.
        longest: Option<u64>,
    },
    /// Stop waiting for the answer to that.
    Abandon,
    /// Tell a replica who leads.
    Announce {
        /// Whom.
        to: ReplicaId,
        /// The term.
        term: Term,
        /// Who leads it.
        leader: ReplicaId,
    },
    /// Send orders to this leader.
    Adopt {
        /// Who.
        leader: ReplicaId,
        /// In which term.
        term: Term,
    },
    /// The leader is gone: hold the orders.
    Release {
        /// Who it was.
        leader: ReplicaId,
        /// In which term.
        term: Term,
        /// What was seen.
        why: &'static str,
    },
    /// The leader was doubted, and leads.
    Confirm,
}
