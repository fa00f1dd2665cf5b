//! Reads of the log for others: orders by number, pages for a replica that catches up, the genesis.
//! A few threads, each with its own connection.
//!
//! A missing row proves absence only if this replica led the same term before and after the read,
//! and only the catalog knows whether it did. That takes a call, which may hang. So another thread,
//! the confirmer, makes it, once for all reads that wait for it: a reader never waits for anything
//! but its file, and an order that is here is never read behind one that is not.

use crate::leading::catalog::CatalogClient;
use crate::log::reader::LogReader;
use crate::replica::Replica;
use common::database::{DbError, orders};
use common::http::{Responder, Response};
use common::queue::{Queue, QueueReceiver};
use common::shutdown::Shutdown;
use common::timing::{MAX_BATCH, MAX_ORDERS_PAGE, PAGE_ROWS};
use common::wire::order::{ClusterId, Order, Term};
use common::wire::replica::{
    PageAnswer, PageCall, PageEnd, QueryAnswer, QueryAnswers, QueryRequest,
};
use std::sync::Arc;

/// A read that a caller waits for.
#[derive(Debug)]
pub enum Read {
    Query(QueryRequest, Responder),
    /// Consecutive orders for a client.
    OrderPage(PageCall, Responder),
    /// A page of the log, from this number on.
    LogRange(u64, Responder),
    /// Record −1 of this file, for a replica whose own file is empty.
    Genesis(Responder),
}

impl Read {
    pub fn into_responder(self) -> Responder {
        match self {
            Self::Query(_, responder)
            | Self::OrderPage(_, responder)
            | Self::LogRange(_, responder)
            | Self::Genesis(responder) => responder,
        }
    }
}

/// The rows that were found, where others are missing.
#[derive(Debug)]
enum Incomplete {
    Query(Vec<Option<Order>>),
    OrderPage(Vec<Order>),
}

/// Why nothing more was found.
#[derive(Debug, Clone, Copy)]
enum Absence {
    Confirmed,
    NotLeader,
    Unconfirmed,
}

/// A read that waits for the confirmer.
#[derive(Debug)]
pub struct ToConfirm {
    /// The term that this replica led before the read.
    term: Term,
    read: Incomplete,
    responder: Responder,
}

/// One reading thread's state.
#[derive(Debug)]
pub struct Queries {
    pub replica: Arc<Replica>,
    pub confirmer: Queue<ToConfirm>,
    pub reader: LogReader,
}

impl Queries {
    /// Works until the service stops.
    pub fn run(mut self, reads: &QueueReceiver<Read>, stop: &Shutdown) {
        while let Some(batch) = reads.take_batch(1, stop) {
            for read in batch {
                match read {
                    Read::Query(query, responder) => self.query(&query, responder),
                    Read::OrderPage(page, responder) => self.orders(page, responder),
                    // No confirmation: a replica that catches up wants what is here, and takes an
                    // empty page for the end of this log only.
                    Read::LogRange(first, responder) => responder.send(self.page(first)),
                    Read::Genesis(responder) => responder.send(self.genesis()),
                }
            }
        }
    }

    /// Whether the caller's bazaar is another one than this file's: its orders are not here.
    fn is_foreign_to(&self, caller: Option<&ClusterId>) -> bool {
        let own = self.replica.cluster();
        own.is_some_and(|own| own.differs_from(caller))
    }

    fn query(&mut self, query: &QueryRequest, responder: Responder) {
        if self.is_foreign_to(query.cluster.as_ref()) {
            let nothing = Incomplete::Query(vec![None; query.numbers.len()]);
            return responder.send(nothing.into_response(Absence::NotLeader));
        }
        // Before the read: a leadership that began after it says nothing of what was acknowledged
        // before it.
        let led = self.replica.led_term();
        let found = self.reader.read(|connection, seed| {
            let numbers = query.numbers.iter();
            numbers
                .map(|&number| orders::get(connection, seed, number))
                .collect::<Result<Vec<_>, _>>()
        });
        let found: Vec<Option<Order>> = match found {
            // A file without a genesis has no order, and no say in whether one exists.
            Ok(found) => found.unwrap_or_else(|| vec![None; query.numbers.len()]),
            Err(error) => return responder.send(failed(&error)),
        };
        if found.iter().all(Option::is_some) {
            let answers = found.into_iter().flatten().map(QueryAnswer::Found);
            let answers = answers.collect();
            return responder.send(Response::json(200, &QueryAnswers { answers }));
        }
        self.complete(led, query.found_only, Incomplete::Query(found), responder);
    }

    fn orders(&mut self, PageCall { cluster, page }: PageCall, responder: Responder) {
        if self.is_foreign_to(cluster.as_ref()) {
            let nothing = Incomplete::OrderPage(Vec::new());
            return responder.send(nothing.into_response(Absence::NotLeader));
        }
        // Also where a front-end of another version asks for more: a page has to fit a message.
        let limit = page.limit.min(MAX_ORDERS_PAGE);
        // Before the read, for the reason that `query` has.
        let led = self.replica.led_term();
        // One row more than asked for shows whether there are more.
        let read = self
            .reader
            .read(|connection, seed| orders::read(connection, seed, page.first, limit + 1));
        let mut found = match read {
            Ok(rows) => rows.map_or_else(Vec::new, |rows| rows.orders),
            Err(error) => return responder.send(failed(&error)),
        };
        if found.len() > limit {
            found.truncate(limit);
            let (orders, end) = (found, PageEnd::More);
            return responder.send(Response::json(200, &PageAnswer { orders, end }));
        }
        self.complete(
            led,
            page.found_only,
            Incomplete::OrderPage(found),
            responder,
        );
    }

    /// Answers a read that lacks something, or hands it to the confirmer.
    fn complete(
        &self,
        led: Option<Term>,
        found_only: bool,
        read: Incomplete,
        responder: Responder,
    ) {
        let Some(term) = led else {
            return responder.send(read.into_response(Absence::NotLeader));
        };
        if found_only {
            // The caller has another thread for the rest, which asks the leader. Here it wants no
            // wait.
            return responder.send(read.into_response(Absence::Unconfirmed));
        }
        let to_confirm = ToConfirm {
            term,
            read,
            responder,
        };
        // The confirmer is at a catalog that hangs, and its queue is full. "Unconfirmed" is true at
        // once, and the caller decides how long it tries.
        if let Err(ToConfirm {
            read, responder, ..
        }) = self.confirmer.put(to_confirm)
        {
            responder.send(read.into_response(Absence::Unconfirmed));
        }
    }

    fn page(&mut self, first: u64) -> Response {
        match self
            .reader
            .read(|connection, seed| orders::read(connection, seed, first, PAGE_ROWS))
        {
            Ok(Some(rows)) => Response::json(200, &rows),
            Ok(None) => Response::error(404, "this log is empty"),
            Err(error) => failed(&error),
        }
    }

    fn genesis(&mut self) -> Response {
        match self.reader.genesis() {
            Ok(Some(genesis)) => Response::json(200, &genesis),
            Ok(None) => Response::error(404, "this log is empty"),
            Err(error) => failed(&error),
        }
    }
}

/// The confirmer's state.
#[derive(Debug)]
pub struct Confirmer {
    pub replica: Arc<Replica>,
    pub catalog: CatalogClient,
}

impl Confirmer {
    /// Works until the service stops.
    pub fn run(&self, reads: &QueueReceiver<ToConfirm>, stop: &Shutdown) {
        while let Some(batch) = reads.take_batch(MAX_BATCH, stop) {
            // One call for all, sent after the last of these reads: a term that is current now was
            // current while each of them was done.
            let current = self.catalog.term();
            for ToConfirm {
                term,
                read,
                responder,
            } in batch
            {
                let absence = match &current {
                    // Both. The catalog's term proves that no other leader acknowledged anything
                    // before that answer; the own role, that this replica did not begin the term
                    // after the read.
                    Ok(info) if info.term == term && self.replica.led_term() == Some(term) => {
                        Absence::Confirmed
                    }
                    Ok(info) => {
                        // An error means that this replica knows a still newer term.
                        let _ = self.replica.observe_term(info.term_info());
                        Absence::NotLeader
                    }
                    Err(_) => Absence::Unconfirmed,
                };
                responder.send(read.into_response(absence));
            }
        }
    }
}

impl Incomplete {
    fn into_response(self, absence: Absence) -> Response {
        match self {
            Self::Query(found) => {
                let missing = match absence {
                    Absence::Confirmed => QueryAnswer::NotFound,
                    Absence::NotLeader => QueryAnswer::NotLeader,
                    Absence::Unconfirmed => QueryAnswer::Unconfirmed,
                };
                let answer = |order: Option<Order>| {
                    order.map_or_else(|| missing.clone(), QueryAnswer::Found)
                };
                let answers = found.into_iter().map(answer).collect();
                Response::json(200, &QueryAnswers { answers })
            }
            Self::OrderPage(orders) => {
                let end = match absence {
                    Absence::Confirmed => PageEnd::Last,
                    Absence::NotLeader => PageEnd::NotLeader,
                    Absence::Unconfirmed => PageEnd::Unconfirmed,
                };
                Response::json(200, &PageAnswer { orders, end })
            }
        }
    }
}

fn failed(error: &DbError) -> Response {
    tracing::warn!(%error, "the log could not be read");
    Response::unavailable(&format!("the log could not be read: {error}"))
}
