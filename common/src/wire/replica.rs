//! Messages that a replica of the order service answers.

use crate::wire::order::{ClusterId, Order, Position, ReplicaId, Rows, Submission, Term, Verdict};
use serde::{Deserialize, Serialize};

/// `GET /health` of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The replica that answers.
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
    /// The leader, as far as the replica knows.
    pub leader: Option<ReplicaId>,
    /// While it leads: the followers in sync: each order waits for all of them.
    pub in_sync: Vec<ReplicaId>,
    /// While it leads: how many copies of a new order there would be.
    pub copies: Option<Copies>,
    /// The version of the messages that it speaks, `<major>.<minor>`.
    // Not in the first version's messages, as every field with a default here: without one, a
    // replica of that version would count as down in the middle of an upgrade.
    #[serde(default = "super::first_protocol")]
    pub protocol: String,
    /// The version of its program; empty when it does not say.
    #[serde(default)]
    pub version: String,
}

/// Copies of a new order, the leader's among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    /// How many there would be: the leader and the followers in sync.
    pub present: usize,
    /// How many `ORDER_MIN_COPIES` asks for.
    pub wanted: usize,
}

impl Copies {
    /// Whether orders are taken.
    pub fn suffice(self) -> bool {
        self.present >= self.wanted
    }
}

/// `PUT /leader`: a front-end asks a replica to lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeadRequest {
    /// Id of the bazaar whose catalog the front-end read. A replica of another one refuses.
    pub cluster: ClusterId,
    /// The term that the front-end read at the catalog when it judged that there is no leader.
    pub seen: Term,
    /// Number of the last row of the longest log that it saw, for the catalog to compare with its
    /// journal.
    pub longest: Option<u64>,
}

/// Answer to a request to lead. A claim that came too late is a 412 with
/// [`crate::wire::catalog::TermInfo`]; one that the catalog refuses is a 409 (the history does not
/// fit) or a 502 (the catalog cannot write it), from any replica; 503 when this replica cannot
/// claim now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadAnswer {
    /// It leads this term.
    Leading(Term),
    /// The term is its own, its log not yet complete: watch `claiming` and `last` of its health.
    Claiming(Term),
    /// Ask again after this many milliseconds.
    Wait(u64),
}

/// `PUT /term`: a front-end notifies a replica who leads. 409 from a replica of another bazaar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderNotice {
    /// Id of the bazaar whose catalog the front-end read.
    pub cluster: ClusterId,
    /// The term.
    pub term: Term,
    /// The leader of the term.
    pub leader: ReplicaId,
}

/// `POST /orders`: a front-end's batch for the leader. 421 with [`NotLeader`] from a replica that
/// does not lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrdersRequest<S = Submission> {
    /// The orders.
    pub orders: Vec<S>,
}

/// Answer to a batch of orders: every accepted one is durable at the catalog and on every replica
/// in sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrdersAnswer {
    /// One per order, in the same sequence.
    pub verdicts: Vec<Verdict>,
}

/// Body of a 421: this replica does not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotLeader {
    /// The highest term that it heard of.
    pub term: Term,
    /// The leader of the term, as far as the replica knows.
    pub leader: Option<ReplicaId>,
    /// Whether orders of the call may have traded: true when leadership ended while they were under
    /// way.
    pub outcome_unknown: bool,
}

/// Body of a 503 of the leader: the batch was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// Why, for a person.
    pub message: String,
    /// Whether orders of the call may have traded.
    pub outcome_unknown: bool,
    /// Whether to try again at once is of use (the leader is about to step down, say). Otherwise
    /// the client gets this message.
    pub retry: bool,
}

/// `POST /orders/query`: a front-end asks for orders by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryRequest {
    /// The front-end's bazaar, once it is known. A replica of another one finds nothing.
    pub cluster: Option<ClusterId>,
    /// The numbers.
    pub numbers: Vec<u64>,
    /// Asks only for what is found, which takes no call to the catalog.
    // A front-end that does not send it wants the whole answer.
    #[serde(default)]
    pub found_only: bool,
}

/// Answer to a query: one answer per number, in the same sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryAnswers {
    /// The answers.
    pub answers: Vec<QueryAnswer>,
}

/// A replica's answer about one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCall {
    /// As in [`QueryRequest`].
    pub cluster: Option<ClusterId>,
    /// Which orders.
    pub page: PageRequest,
}

/// Consecutive orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct PageAnswer {
    /// The orders, numbered from `first`.
    pub orders: Vec<Order>,
    /// Whether more follow.
    pub end: PageEnd,
}

/// Whether more orders follow a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
/// A gap, and rows of another bazaar, are a 409 with [`LogPosition`]; rows that contradict its log
/// a 422, an older term a 412 with [`crate::wire::catalog::TermInfo`]. The sender borrows
/// the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendRequest<R = Rows> {
    /// The leader's term.
    pub term: Term,
    /// The leader.
    pub leader: ReplicaId,
    /// Id of the leader's bazaar.
    pub cluster: ClusterId,
    /// The rows; none asks for the position alone.
    pub rows: R,
    /// For the follower's log lines: trace ids of requests that brought rows. Empty unless the
    /// leader logs single orders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<Traced>,
}

/// The trace id of the request that brought a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// Number of the row.
    pub number: u64,
    /// The trace id.
    pub trace: String,
}

/// Answer to an append, and to a gap: who answers, and where its durable log ends; `null` while it
/// has no genesis. The leader compares id and bazaar each time: a URL that was given twice, or
/// leads to another bazaar, must not count as a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// The replica that answers.
    pub replica: ReplicaId,
    /// Id of the bazaar that its file belongs to; `null` while the file is empty.
    pub cluster: Option<ClusterId>,
    /// Where the log ends.
    pub position: Option<Position>,
}
