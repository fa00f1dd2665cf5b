//! The public API: what a front-end's clients send and read. Success is [`Data`], failure
//! [`ErrorBody`], for every answer.

use crate::wire::catalog::CatalogState;
use crate::wire::money::Price;
use crate::wire::order::{ReplicaId, Side, Term};
use serde::{Deserialize, Serialize};

/// Envelope of a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data<T> {
    /// The value that was asked for.
    pub data: T,
}

/// Envelope of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    /// The failure.
    pub error: ErrorDetail,
}

/// A failure and its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorDetail {
    /// The HTTP status.
    pub code: u16,
    /// A sentence for a person; names the field when one is wrong.
    pub message: String,
}

/// A stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockInfo {
    /// Its name.
    pub name: String,
    /// Its price.
    pub price: Price,
    /// How many are left.
    pub quantity: u64,
}

/// Body of `POST /orders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// Name of the stock.
    pub name: String,
    /// How many, 1 to 1 000 000.
    pub quantity: u64,
    /// Buy or sell.
    #[serde(rename = "type")]
    pub side: Side,
}

/// Data of a successful `POST /orders`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Number of the order.
    pub transaction_number: u64,
}

/// Data of `GET /orders/<number>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderInfo {
    /// Its number.
    pub number: u64,
    /// Name of the stock.
    pub name: String,
    /// Buy or sell.
    #[serde(rename = "type")]
    pub side: Side,
    /// How many.
    pub quantity: u64,
}

/// Data of `GET /orders?after=<number>&limit=<n>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrdersPage {
    /// Orders with consecutive numbers, oldest first.
    pub orders: Vec<OrderInfo>,
    /// The value of `after` to read on; `null` when there are no more orders now.
    pub next: Option<u64>,
}

/// Data of `GET /status`. Replicas and catalog are shown as they were at most 200 ms ago.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Whether this front-end can trade now, as `GET /readyz` says.
    pub ready: bool,
    /// Why it cannot, one sentence each; empty when it can.
    pub reasons: Vec<String>,
    /// The leader that this front-end sends orders to.
    pub leader: Option<ReplicaId>,
    /// Its term; of the last leader while there is none.
    pub term: Term,
    /// The replicas, by id.
    pub replicas: Vec<ReplicaStatus>,
    /// The catalog.
    pub catalog: CatalogStatus,
    /// This front-end's stock cache.
    pub cache: CacheStatus,
}

/// A replica as this front-end sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaStatus {
    /// Its id.
    pub id: ReplicaId,
    /// Its role.
    pub state: ReplicaState,
    /// Number of its last durable order; `null` when it has none, or counts as down. The leader's
    /// is never below that of a follower, which gets every order from it.
    pub last: Option<u64>,
    /// How long ago it said so, in milliseconds; `null` when it is down.
    pub age_ms: Option<u64>,
}

/// The role of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaState {
    /// Takes the orders.
    Leader,
    /// Was granted a term and completes its log.
    Claiming,
    /// Copies the leader's log.
    Follower,
    /// Fetches what it missed, or checks its file.
    CatchingUp,
    /// Does not answer.
    Down,
    /// Another replica answers under its URL: `ORDER_REPLICAS` is wrong. Counts as down.
    WrongReplica,
    /// Its file belongs to another bazaar. Counts as down.
    Foreign,
}

impl ReplicaState {
    /// Whether there is nothing of this replica to count on.
    pub fn counts_as_down(self) -> bool {
        matches!(self, Self::Down | Self::WrongReplica | Self::Foreign)
    }
}

/// The catalog as this front-end sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogStatus {
    /// Its state; `null` while it does not answer.
    pub state: Option<CatalogState>,
    /// Why it can make nothing durable, so that every order fails; `null` while it can.
    pub write_fault: Option<String>,
    /// How long ago it said so, in milliseconds; `null` while it does not answer.
    pub age_ms: Option<u64>,
}

/// This front-end's stock cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheStatus {
    /// Whether it is switched on.
    pub enabled: bool,
    /// Whether it holds a lease now: without one every read goes to the catalog.
    pub leased: bool,
    /// Stocks that it holds.
    pub entries: usize,
    /// Stocks that it holds at most.
    pub capacity: usize,
    /// Reads that it answered since the start.
    pub hits: u64,
    /// Reads that went to the catalog since the start.
    pub misses: u64,
}
