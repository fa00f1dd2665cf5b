//! Messages that a replica of the order service answers.

use crate::wire::order::{ClusterId, Order, Position, ReplicaId, Rows, Submission, Term, Verdict};
use serde::{Deserialize, Serialize};

/// `GET /health` of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Who answers.
    pub replica: ReplicaId,
    /// The term that it leads; `null` when it does not lead, or does not dare to say so.
    pub leading: Option<Term>,
    /// The term that it claimed and whose log it still completes.
    pub claiming: Option<Term>,
    /// Whether it may be asked to lead: its file is checked and can be written.
    pub eligible: bool,
    /// Whether it is fetching what it missed.
    pub catching_up: bool,
    /// Number of its last durable row.
    pub last: Option<u64>,
    /// Id of the bazaar that its file belongs to; `null` while the file is empty.
    pub cluster: Option<ClusterId>,
    /// The highest term that it heard of.
    pub term: Term,
    /// Who leads, as far as it was told.
    pub leader: Option<ReplicaId>,
    /// While it leads: the other replicas without which it acknowledges nothing.
    pub in_sync: Vec<ReplicaId>,
}

/// `PUT /leader`: a front-end asks a replica to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeadRequest {
    /// The term that the front-end read at the catalog when it judged that there is no leader.
    pub seen: Term,
    /// Number of the last row of the longest log that it saw, for the catalog to compare with its
    /// journal.
    pub longest: Option<u64>,
}

/// Answer to a request to lead. A claim that came too late is a 412 with
/// [`crate::wire::catalog::TermView`]; 503 when the replica cannot claim now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LeadAnswer {
    /// It leads this term.
    Leading(Term),
    /// The term is its own, its log not yet complete: watch `claiming` and `last` of its health.
    Claiming(Term),
    /// Ask again after this many milliseconds.
    Wait(u64),
}

/// `PUT /term`: a front-end tells a replica who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaderNotice {
    /// The term.
    pub term: Term,
    /// Who leads it.
    pub leader: ReplicaId,
}

/// `POST /orders`: a front-end's batch for the leader. 421 with [`NotLeader`] from a replica that
/// does not lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrdersRequest<S = Submission> {
    /// The orders.
    pub orders: Vec<S>,
}

/// Answer to a batch of orders: every accepted one is durable at the catalog and on every replica
/// in sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrdersAnswer {
    /// One per order, in the same sequence.
    pub verdicts: Vec<Verdict>,
}

/// Body of a 421: this replica does not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotLeader {
    /// The highest term that it heard of.
    pub term: Term,
    /// Who leads it, as far as it was told.
    pub leader: Option<ReplicaId>,
    /// Whether orders of the call may have traded: true when leadership ended while they were under
    /// way.
    pub outcome_unknown: bool,
}

/// Body of a 503 of the leader: the batch was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unavailable {
    /// Why, for a person.
    pub message: String,
    /// Whether orders of the call may have traded.
    pub outcome_unknown: bool,
    /// Whether to try again at once is of use (the leader is about to step down, say) or the client
    /// is to be told.
    pub retry: bool,
}

/// `POST /orders/query`: a front-end asks for orders by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryRequest {
    /// The numbers.
    pub numbers: Vec<u64>,
    /// Asks only for what is found, which takes no call to the catalog.
    #[serde(default)]
    pub found_only: bool,
}

/// Answer to a query: one answer per number, in the same sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryAnswers {
    /// The answers.
    pub answers: Vec<QueryAnswer>,
}

/// What a replica says of one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum QueryAnswer {
    /// The order. Immutable, and true from every replica.
    Found(Order),
    /// There is none. Only a leader that has just confirmed its term says so.
    NotFound,
    /// Not here, and this replica does not lead: ask the leader.
    NotLeader,
    /// Not here. Whether it exists was not to be confirmed (`found_only`), or could not be.
    Unconfirmed,
}

/// `POST /orders/page`: a front-end asks for consecutive orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageRequest {
    /// Number of the first order.
    pub first: u64,
    /// How many at most; a replica gives no more than [`crate::timing::MAX_ORDERS_PAGE`].
    pub limit: usize,
    /// Asks only whether more orders follow, which takes no call to the catalog.
    #[serde(default)]
    pub found_only: bool,
}

/// Answer to a request for a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageAnswer {
    /// The orders, numbered from `first`.
    pub orders: Vec<Order>,
    /// What follows them.
    pub end: PageEnd,
}

/// What follows the orders of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PageEnd {
    /// More orders. So the page is full, immutable, and true from every replica.
    More,
    /// Nothing yet. Only a leader that has just confirmed its term says so.
    Last,
    /// Nothing here, and this replica does not lead: ask the leader.
    NotLeader,
    /// Nothing here. Whether more exists was not to be confirmed (`found_only`), or could not be.
    Unconfirmed,
}

/// `POST /log`: the leader's rows for a follower. Rows that it has must be equal, and are skipped.
/// A gap is a 409 with [`LogPosition`], rows that contradict its log a 422, an older term a 412
/// with [`crate::wire::catalog::TermView`]. Who sends it borrows the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppendRequest<R = Rows> {
    /// The leader's term.
    pub term: Term,
    /// The leader.
    pub leader: ReplicaId,
    /// The rows; none asks for the position alone.
    pub rows: R,
    /// For the follower's log lines: trace ids of requests that brought rows. Empty unless the
    /// leader logs single orders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<Traced>,
}

/// The trace id of the request that brought a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traced {
    /// Number of the row.
    pub number: u64,
    /// The trace id.
    pub trace: String,
}

/// Answer to an append, and to a gap: where the follower's durable log ends; `null` while it has no
/// genesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPosition {
    /// Where the log ends.
    pub position: Option<Position>,
}
