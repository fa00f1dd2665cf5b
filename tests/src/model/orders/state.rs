//! The whole system: catalog, replicas, network, clients.

use super::catalog::{Catalog, Verdict};
use super::config::{Config, Faults, Index, Key, REPLICAS};
use super::replica::Replica;
use common::wire::order::Term;
use std::collections::BTreeSet;

/// A state of the system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The catalog.
    pub catalog: Catalog,
    /// The replicas.
    pub replicas: [Replica; REPLICAS],
    /// The state of each order, by key.
    pub clients: Vec<Client>,
    /// Messages on their way, sorted. One may arrive at any time, before or after any other, or
    /// never.
    pub net: Vec<Message>,
    /// An order that is asked for by number.
    pub query: Option<Query>,
    /// Numbers that were acknowledged, as bits: for the properties only.
    pub acknowledged: u16,
    /// Faults that may still happen.
    pub faults: Faults,
    /// The violations so far.
    pub broken: BTreeSet<Broken>,
}

/// A client's order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Client {
    /// How often it was sent.
    pub sent: u8,
    /// The first response. Later ones must be the same.
    pub verdict: Option<Verdict>,
    /// Length of the journal when it was sent first.
    pub from: u8,
    /// The orders that were answered as accepted before it was sent first, as bits.
    pub after: u16,
}

/// A query for an order that was acknowledged and that this replica does not find: every other one
/// has a true answer at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Query {
    /// The replica that was asked.
    pub replica: Index,
    /// The term that it led when it looked.
    pub led: Option<Term>,
}

/// A message between two services.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// Front-end to replica: an order.
    Order {
        /// The order.
        key: Key,
        /// The replica.
        to: Index,
    },
    /// Leader to catalog: a batch of one.
    Trade {
        /// The leader.
        from: Index,
        /// Its term.
        term: Term,
        /// Rows that it received.
        rows: u8,
        /// The order.
        key: Key,
    },
    /// Catalog to leader: the answer to that.
    Traded {
        /// The leader.
        to: Index,
        /// The term of the call.
        term: Term,
        /// The request: order and rows.
        call: (Key, u8),
        /// The order's outcome.
        verdict: Verdict,
        /// Rows of the journal.
        rows: Vec<Key>,
    },
    /// Replica to catalog: a claim.
    Claim {
        /// The replica.
        from: Index,
        /// The term that the front-end saw.
        seen: Term,
        /// Rows that it has.
        rows: u8,
    },
    /// Catalog to replica: the grant.
    Granted {
        /// The replica.
        to: Index,
        /// The term.
        term: Term,
        /// Length of the journal.
        end: u8,
    },
    /// Leader to front-end: what became of an order.
    Reply {
        /// The order.
        key: Key,
        /// Its outcome.
        verdict: Verdict,
    },
}

/// Events that must never happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Broken {
    /// A trade of an older term was committed.
    OldTermTraded,
    /// A row was acknowledged that a follower in sync does not have.
    AcknowledgedTooEarly,
    /// A follower's log contradicts its leader's.
    Contradiction,
    /// The catalog was shown a log that is longer than its journal.
    HistoryLost,
    /// A query denied an acknowledged order.
    AcknowledgedNotFound,
    /// One key got two different responses.
    ToldTwoThings,
    /// An answer does not fit the order of events.
    NotLinearizable,
}

impl State {
    /// Before anything happened.
    pub fn new(config: &Config) -> Self {
        Self {
            catalog: Catalog::new(config),
            replicas: Default::default(),
            clients: vec![Client::default(); config.orders.len()],
            net: Vec::new(),
            query: None,
            acknowledged: 0,
            faults: config.faults,
            broken: BTreeSet::new(),
        }
    }

    /// Puts a message on its way. The same message twice is one: whoever repeats it has a budget of
    /// its own.
    pub fn post(&mut self, message: Message) {
        if let Err(place) = self.net.binary_search(&message) {
            self.net.insert(place, message);
        }
    }

    /// The replica that leads the current term.
    pub fn leader(&self) -> Option<Index> {
        let term = self.catalog.term_info().term;
        self.replicas.iter().position(|replica| replica.leads(term))
    }

    /// The keys that have been sent and not answered.
    pub fn outstanding(&self) -> impl Iterator<Item = Key> {
        (0..)
            .zip(&self.clients)
            .filter(|(_, client)| client.sent > 0 && client.verdict.is_none())
            .map(|(key, _)| key)
    }
}
