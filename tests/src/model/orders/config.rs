//! The bounds of the search: orders, budgets of faults, and the rules with their switches.

use common::wire::order::{Side, Term};

/// Number of an order's key, which stands for its body too: the index into [`Config::orders`].
pub type Key = u8;
/// Index of a replica; its id is one more.
pub type Index = usize;
/// Replicas.
pub const REPLICAS: usize = 3;
/// Stocks.
pub const STOCKS: usize = 2;

/// A client's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Index of the stock.
    pub stock: usize,
    /// Buy or sell.
    pub side: Side,
    /// How many.
    pub quantity: u64,
    /// How often it is sent at most: by its front-end, which gives up waiting, or by its client,
    /// who asks again with the same key.
    pub attempts: u8,
}

/// How often a fault may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Faults {
    /// A replica crashes and comes back.
    pub crashes: u8,
    /// A replica loses its file and comes back.
    pub file_losses: u8,
    /// The catalog crashes and comes back.
    pub catalog_restarts: u8,
    /// A message arrives twice.
    pub duplicates: u8,
    /// A follower in sync does not answer in time.
    pub missed_followers: u8,
    /// A call of a leader to the catalog is given up before its answer comes.
    pub missed_answers: u8,
}

/// The rules that have a switch; all of them on is the design.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The catalog refuses a batch of another term.
    pub fencing: bool,
    /// The catalog looks each key up in its journal. Off: the leader looks it up among its newest
    /// row, as one with a trimmed table would.
    pub dedupe_at_catalog: bool,
    /// A refusal is recorded under its key.
    pub refusals_recorded: bool,
    /// A batch's answer carries every row after the leader's last one. Off: those of the batch
    /// alone.
    pub rows_from_last: bool,
    /// A replica leads once its log is complete up to the grant's end.
    pub complete_before_leading: bool,
    /// Only who led before it looked for an order, and still leads after, says that there is none.
    pub led_before_looking: bool,
    /// An order is answered once it is durable at the leader and at each follower in sync. Off: at
    /// once.
    pub durable_before_answer: bool,
    /// A replica that leads but does not reach the catalog refuses to lead when it is asked. Off:
    /// it answers that it leads.
    pub unreachable_leader_refuses: bool,
    /// A follower's URL that another replica, or one of another bazaar, answers counts for nothing.
    pub identify_followers: bool,
}

impl Rules {
    /// The design.
    pub const DESIGN: Self = Self {
        fencing: true,
        dedupe_at_catalog: true,
        refusals_recorded: true,
        rows_from_last: true,
        complete_before_leading: true,
        led_before_looking: true,
        durable_before_answer: true,
        unreachable_leader_refuses: true,
        identify_followers: true,
    };
}

/// One search: budgets and rules.
#[derive(Debug, Clone)]
pub struct Config {
    /// The orders that clients may give, by key.
    pub orders: Vec<Order>,
    /// The initial quantity of each stock.
    pub initial: [u64; STOCKS],
    /// Which replicas are asked to lead.
    pub candidates: Vec<Index>,
    /// The highest term that is claimed.
    pub terms: Term,
    /// Whether orders are asked for by number.
    pub queries: bool,
    /// Replicas without which nothing is acknowledged.
    pub min_copies: usize,
    /// The first one's URL leads to the second one: a URL was given twice.
    pub misdirected: Option<(Index, Index)>,
    /// The faults.
    pub faults: Faults,
    /// The rules.
    pub rules: Rules,
    /// The states that must be reached, by the names of [`super::properties`].
    pub reached: Vec<&'static str>,
}

/// A buy of one.
pub const fn buy(stock: usize, attempts: u8) -> Order {
    Order {
        stock,
        side: Side::Buy,
        quantity: 1,
        attempts,
    }
}

/// A sell of one.
pub const fn sell(stock: usize, attempts: u8) -> Order {
    Order {
        stock,
        side: Side::Sell,
        quantity: 1,
        attempts,
    }
}
