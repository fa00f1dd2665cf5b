//! Reads of the log for others: orders by number, pages for a replica that catches up, the genesis.
//! A few threads, each with its own connection.

use crate::leading::catalog::CatalogClient;
use crate::log::reader::LogReader;
use crate::replica::Replica;
use common::database::{DbError, orders};
use common::http::{Responder, Response};
use common::queue::QueueReceiver;
use common::shutdown::Shutdown;
use common::timing::{MAX_ORDERS_PAGE, PAGE_ROWS};
use common::wire::order::{Order, Term};
use common::wire::replica::{PageAnswer, PageEnd, PageRequest, QueryAnswer, QueryAnswers};
use std::sync::Arc;

/// What is to be read.
#[derive(Debug)]
pub enum Read {
    /// Orders by number.
    Query(Vec<u64>, Responder),
    /// Consecutive orders for a client.
    Orders(PageRequest, Responder),
    /// A page of the log, from this number on.
    Page(u64, Responder),
    /// The genesis.
    Genesis(Responder),
}

impl Read {
    /// Who waits for it.
    #[must_use]
    pub fn into_responder(self) -> Responder {
        match self {
            Self::Query(_, responder)
            | Self::Orders(_, responder)
            | Self::Page(_, responder)
            | Self::Genesis(responder) => responder,
        }
    }
}

/// What the catalog says of the term in which was read.
enum Confirmed {
    Yes,
    NotLeader,
    Unavailable,
}

/// One reading thread's state.
#[derive(Debug)]
pub struct Queries {
    /// This replica.
    pub replica: Arc<Replica>,
    /// To confirm the term.
    pub catalog: CatalogClient,
    /// The log.
    pub reader: LogReader,
}

impl Queries {
    /// Works until the service stops.
    pub fn run(mut self, reads: &QueueReceiver<Read>, stop: &Shutdown) {
        while let Some(batch) = reads.take_batch(1, stop) {
            for read in batch {
                match read {
                    Read::Query(numbers, responder) => responder.send(self.query(&numbers)),
                    Read::Orders(page, responder) => responder.send(self.orders(page)),
                    Read::Page(first, responder) => responder.send(self.page(first)),
                    Read::Genesis(responder) => responder.send(self.genesis()),
                }
            }
        }
    }

    fn query(&mut self, numbers: &[u64]) -> Response {
        // Before the read: a leadership that began after it says nothing of what was acknowledged
        // before it.
        let led = self.replica.leading();
        let found = self.reader.read(|connection, seed| {
            numbers
                .iter()
                .map(|&number| orders::get(connection, seed, number))
                .collect::<Result<Vec<_>, _>>()
        });
        let found: Vec<Option<Order>> = match found {
            Ok(found) => found.unwrap_or_else(|| vec![None; numbers.len()]),
            Err(error) => return failed(&error),
        };
        // What is not found is only then missing when this replica led one term from before the
        // read until after it: until then every acknowledged order was in its log.
        let missing = if found.iter().all(Option::is_some) {
            QueryAnswer::NotFound
        } else {
            match self.confirm(led) {
                Confirmed::Yes => QueryAnswer::NotFound,
                Confirmed::NotLeader => QueryAnswer::NotLeader,
                Confirmed::Unavailable => QueryAnswer::Unavailable,
            }
        };
        let answers = found
            .into_iter()
            .map(|order| order.map_or_else(|| missing.clone(), QueryAnswer::Found))
            .collect();
        Response::json(200, &QueryAnswers { answers })
    }

    fn orders(&mut self, PageRequest { first, limit }: PageRequest) -> Response {
        let limit = limit.min(MAX_ORDERS_PAGE);
        // Before the read, for the reason that `query` has.
        let led = self.replica.leading();
        // One row more tells whether there are more.
        let read = self
            .reader
            .read(|connection, seed| orders::read(connection, seed, first, limit + 1));
        let mut found = match read {
            Ok(rows) => rows.map_or_else(Vec::new, |rows| rows.orders),
            Err(error) => return failed(&error),
        };
        let end = if found.len() > limit {
            found.truncate(limit);
            PageEnd::More
        } else {
            match self.confirm(led) {
                Confirmed::Yes => PageEnd::Last,
                Confirmed::NotLeader => PageEnd::NotLeader,
                Confirmed::Unavailable => PageEnd::Unavailable,
            }
        };
        Response::json(200, &PageAnswer { orders: found, end })
    }

    /// Whether the term that this replica led before the read is still the current one: then what
    /// was not found does not exist.
    fn confirm(&self, led: Option<Term>) -> Confirmed {
        let Some(term) = led else {
            return Confirmed::NotLeader;
        };
        match self.catalog.term() {
            Ok(view) if view.term == term && self.replica.leading() == Some(term) => Confirmed::Yes,
            Ok(view) => {
                // Only an older view is an error here, and then there is nothing to learn.
                let _ = self.replica.hear(view);
                Confirmed::NotLeader
            }
            Err(_) => Confirmed::Unavailable,
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

fn failed(error: &DbError) -> Response {
    tracing::warn!(%error, "the log could not be read");
    Response::unavailable(&format!("the log could not be read: {error}"))
}
