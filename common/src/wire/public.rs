//! The public API: what a front-end's clients send and read. Success is [`Data`], failure
//! [`ErrorBody`], for every answer.

use crate::wire::catalog::{CatalogRole, CatalogState};
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

/// Data of `GET /status`. Replicas and catalogs are shown as they were at most 200 ms ago. Readers
/// skip fields that they do not know: the launcher may be older than the front-end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The active catalog, else one that stands by.
    pub catalog: CatalogStatus,
    /// Each catalog, in the order of `CATALOG_URL`.
    #[serde(default)]
    pub catalogs: Vec<CatalogMember>,
    /// This front-end's stock cache.
    pub cache: CacheStatus,
}

/// A replica as this front-end sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct CatalogStatus {
    /// Its state; `null` while it does not answer.
    pub state: Option<CatalogState>,
    /// Why it can make nothing durable, so that every order fails; `null` while it can.
    pub write_fault: Option<String>,
    /// How long ago it said so, in milliseconds; `null` while it does not answer.
    pub age_ms: Option<u64>,
}

/// One of the catalogs, as this front-end sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogMember {
    /// `catalog` for the first of `CATALOG_URL`, then `catalog2` and so on, as the launcher names
    /// them.
    pub id: String,
    /// Whether it serves or stands by; `null` while it does not answer.
    pub role: Option<CatalogRole>,
    /// Its epoch; 0 for a catalog on a file of its own, `null` while it does not answer.
    pub epoch: Option<u64>,
    /// How long ago it said so, in milliseconds; `null` while it does not answer.
    pub age_ms: Option<u64>,
}

impl CatalogMember {
    /// The id of the catalog at this place of `CATALOG_URL`, from 0 on.
    #[must_use]
    pub fn id_of(place: usize) -> String {
        match place {
            0 => "catalog".into(),
            _ => format!("catalog{}", place + 1),
        }
    }
}

/// This front-end's stock cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
