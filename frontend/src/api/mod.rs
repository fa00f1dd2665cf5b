//! The public API: checks each request, answers what can be answered at once, and hands the rest to
//! a queue. Nothing here waits.

pub mod openapi;
pub(crate) mod order_body;
pub(crate) mod origin;
pub(crate) mod page_query;
pub(crate) mod routes;
pub(crate) mod status;

use crate::cache::shared::SharedCache;
use crate::feed::Feed;
use crate::intake::{LOOKUPS, ORDERS, PAGES, QUERIES, refuse_if_full, unavailable};
use crate::metrics::{OrderOutcome, OrderOutcomes};
use crate::orders::batcher::OrderBatcher;
use crate::orders::forwarder::PendingOrder;
use crate::reads::lookups::{PendingLookup, Want, stock_response};
use crate::reads::pages::PendingPage;
use crate::reads::queries::PendingQuery;
use common::http::edge::FastPath;
use common::http::routes::{Missed, livez, shortened};
use common::http::{Handler, Request, Responder, Response};
use common::metrics::QueueGauges;
use common::queue::Queue;
use common::timing::{ORDER_TOTAL, READ_TOTAL};
use common::wire::order::{Order, OrderKey, Submission};
use order_body::{InvalidOrder, MAX_NAME_BYTES};
use origin::Origins;
use routes::{Endpoint, stock_name};
use status::StatusReport;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Longest `Idempotency-Key` in bytes.
const MAX_KEY_BYTES: usize = 255;

/// Answers public requests.
pub(crate) struct Api {
    pub cache: Arc<SharedCache>,
    /// To the leader.
    pub orders: OrderBatcher<PendingOrder>,
    /// To the replicas.
    pub queries: Queue<PendingQuery>,
    /// To the replicas, for many orders at once.
    pub pages: Queue<PendingPage>,
    /// To the catalog.
    pub lookups: Queue<PendingLookup>,
    /// How full these queues are, and their refusals.
    pub queues: QueueGauges,
    pub outcomes: OrderOutcomes,
    pub report: StatusReport,
    pub feed: Arc<Feed>,
    /// Which pages may trade.
    pub origins: Origins,
}

impl Handler for Api {
    fn handle(&self, request: Request, mut responder: Responder) {
        // Everything here runs on a thread of the listener, which serves other connections
        // meanwhile: no call, no wait, and locks for moments only.
        let found = match routes::find(&request.method, &request.path) {
            Ok(found) => found,
            Err(missed) => return refuse(missed, &request, responder),
        };
        // The pattern, not the path: labels stay few whatever paths strangers ask for.
        responder.set_route(found.pattern);
        match found.value {
            Endpoint::Stock => self.stock(found.parameter, responder),
            Endpoint::Stocks => self.look_up(Want::All, responder),
            Endpoint::PlaceOrder => self.order(&request, responder),
            Endpoint::Orders => self.page(&request, responder),
            Endpoint::Order => self.query(found.parameter, responder),
            Endpoint::OpenApi => responder.send(openapi::response()),
            Endpoint::Status => responder.send(Response::data(self.report.status())),
            // A HEAD has no body, and its client does not poll: it must not make the front-end read
            // the catalog.
            Endpoint::Events if request.method == "HEAD" => {
                responder.send(self.feed.snapshot_response());
            }
            // A client that can stream was served by the edge before; this one polls, or there was
            // no permit left.
            Endpoint::Events => responder.send(self.feed.polled()),
            Endpoint::Page(asset) => responder.send(asset.response()),
            Endpoint::Livez => livez(self, &request, responder),
            Endpoint::Readyz => responder.send(match self.report.not_ready() {
                None => Response::data("ready"),
                Some(why) => unavailable(&why),
            }),
        }
    }
}

impl FastPath for Api {
    // A miss goes through `handle`, which looks again and counts it.
    fn cached(&self, path: &str) -> Option<Arc<[u8]>> {
        // Called for each GET at the edge: other paths cost a look at the table and no more.
        let found = routes::find("GET", path).ok()?;
        if found.value != Endpoint::Stock {
            return None;
        }
        self.cache.get(&stock_name(found.parameter).ok()?)
    }

    fn has_feed(&self, path: &str) -> bool {
        routes::find("GET", path).is_ok_and(|found| found.value == Endpoint::Events)
    }

    fn feed_snapshot(&self, path: &str) -> Option<Arc<[u8]>> {
        self.has_feed(path).then(|| self.feed.snapshot())
    }
}

impl Api {
    fn stock(&self, segment: &str, responder: Responder) {
        let name = match stock_name(segment) {
            Ok(name) => name,
            Err(refusal) => return responder.send(refusal),
        };
        // Again, since the fast path is not taken for every request (tiny_http has none): here a
        // hit is as good.
        if let Some(body) = self.cache.get(&name) {
            return responder.send(stock_response(&body));
        }
        // No stock has such a name, and it must not reach the catalog: a queue of such names would
        // hold megabytes.
        if name.len() > MAX_NAME_BYTES {
            let message = format!(
                "there is no stock '{}'; GET /stocks lists them",
                shortened(&name)
            );
            return responder.send(Response::error(404, &message));
        }
        // Here rather than in `get`, which both paths call: a read counts once.
        self.cache.count_miss();
        self.look_up(Want::Stock(name.into_owned()), responder);
    }

    fn look_up(&self, want: Want, responder: Responder) {
        let put = self.lookups.put(PendingLookup {
            want,
            deadline: Instant::now() + READ_TOTAL,
            responder,
        });
        refuse_if_full(put, &LOOKUPS, &self.queues);
    }

    fn query(&self, number: &str, responder: Responder) {
        // Digits only, although `parse` would take a sign: `/orders/+1` is a second address of one
        // order, which caches would keep twice.
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            let message = format!(
                "'{}' is not the number of an order: write digits only, such as /orders/0",
                shortened(number)
            );
            return responder.send(Response::error(400, &message));
        }
        match number.parse() {
            Ok(number) => {
                let put = self.queries.put(PendingQuery {
                    number,
                    deadline: Instant::now() + READ_TOTAL,
                    responder,
                });
                refuse_if_full(put, &QUERIES, &self.queues);
            }
            // Digits that exceed 64 bits: a number that no order ever gets.
            Err(_) => {
                let message = format!(
                    "there is no order {}: numbers are given from 0 upwards",
                    shortened(number)
                );
                responder.send(Response::error(404, &message));
            }
        }
    }

    fn page(&self, request: &Request, responder: Responder) {
        match page_query::parse(request.query.as_deref()) {
            Ok(page) => {
                let put = self.pages.put(PendingPage {
                    page,
                    deadline: Instant::now() + READ_TOTAL,
                    responder,
                });
                refuse_if_full(put, &PAGES, &self.queues);
            }
            Err(message) => responder.send(Response::error(400, &message)),
        }
    }

    fn order(&self, request: &Request, responder: Responder) {
        // First, so that a foreign order has no effect, and its page learns nothing from the
        // answer.
        if let Err(foreign) = self.origins.check(&request.headers) {
            return responder.send(Response::error(403, &foreign.to_string()));
        }
        match check_order(request) {
            Ok((submission, client_key)) => {
                let arrived = Instant::now();
                // From the arrival, the wait in the queue included: the client's patience began
                // then.
                let deadline = arrived + ORDER_TOTAL;
                let put = self.orders.put(PendingOrder {
                    submission,
                    client_key,
                    arrived,
                    deadline,
                    attempted: false,
                    responder,
                });
                // Counted as failed, as it is answered 503: an alert on failed orders must see a
                // queue that overflows.
                if put.is_err() {
                    self.outcomes.count(OrderOutcome::Failed);
                }
                refuse_if_full(put, &ORDERS, &self.queues);
            }
            Err(refusal) => responder.send(Response::error(refusal.status, &refusal.message)),
        }
    }
}

/// The order of a request, and whether the client gave it a key.
fn check_order(request: &Request) -> Result<(Submission, bool), InvalidOrder> {
    let client_key = idempotency_key(request)?;
    // Read only to refuse a compressed body by name, rather than as "not JSON".
    let encodings = request.headers.all("content-encoding");
    let new = order_body::read(&request.body, encodings)?;
    // From the header alone: whether a repeat has the same body is judged where both are known, at
    // the catalog.
    let key = client_key.map_or_else(
        // In time order, which keeps the index on the journal cheap; the random bits are for the
        // keys of one millisecond. Nobody can send a guessed one: a client's key has its top bit
        // set.
        || OrderKey::from_time(unix_ms(), fastrand::u128(..)),
        OrderKey::from_client,
    );
    let order = Order {
        key,
        name: new.name,
        side: new.side,
        quantity: new.quantity,
    };
    Ok((
        Submission {
            order,
            trace: request.trace.clone(),
        },
        client_key.is_some(),
    ))
}

fn idempotency_key(request: &Request) -> Result<Option<&str>, String> {
    let mut given = request.headers.all("idempotency-key");
    let Some(key) = given.next() else {
        return Ok(None);
    };
    // Which of two would count is a guess, and a wrong guess trades twice.
    if given.next().is_some() {
        return Err("the header Idempotency-Key comes more than once: send it once".into());
    }
    // The blanks around a value are no part of it (RFC 9110 section 5.5).
    let key = key.trim_matches([' ', '\t']);
    if (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(Some(key))
    } else {
        Err(format!(
            "the header Idempotency-Key does not fit: write 1 to {MAX_KEY_BYTES} visible ASCII \
             characters, without spaces"
        ))
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Answers a request that no row of the table takes.
fn refuse(missed: Missed, request: &Request, responder: Responder) {
    match missed {
        // A client asks for the methods of the whole server (RFC 9110 section 9.3.7).
        Missed::Path if request.method == "OPTIONS" && request.path == "*" => {
            let response = Response::text(204, "application/json", Vec::new());
            responder.send(response.with_header("Allow", "GET, HEAD, POST, OPTIONS"));
        }
        Missed::Path => {
            let message = format!(
                "there is nothing at '{}': try /stocks, /stocks/<name>, /orders, /orders/<number> \
                 or /status",
                shortened(&request.path)
            );
            responder.send(Response::error(404, &message));
        }
        // The path exists, so the table names the methods that it takes.
        Missed::Method { .. } => missed.refuse(request, responder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::http::Headers;

    fn request(keys: &[&str]) -> Request {
        Request {
            may_block: false,
            method: "POST".into(),
            path: "/orders".into(),
            query: None,
            headers: Headers(
                keys.iter()
                    .map(|key| ("Idempotency-Key".into(), (*key).into()))
                    .collect(),
            ),
            body: br#"{"name":"FishCo","quantity":2,"type":"buy"}"#.to_vec(),
            peer: None,
            trace: "t-1".into(),
        }
    }

    /// The order key comes from the header alone when there is one, else from time and chance.
    #[test]
    fn order_keys() {
        let (given, with_key) = check_order(&request(&["abc"])).expect("fits");
        assert!(with_key && given.order.key == OrderKey::from_client("abc"));
        let (one, with_key) = check_order(&request(&[])).expect("fits");
        let (other, _) = check_order(&request(&[])).expect("fits");
        assert!(!with_key && !one.order.key.is_client() && one.order.key != other.order.key);
    }

    /// A key that is empty, too long, not visible ASCII or given twice is refused by name.
    #[test]
    fn bad_keys_are_refused() {
        assert!(check_order(&request(&[&"k".repeat(255)])).is_ok());
        for wrong in [
            &["a", "b"][..],
            &[""],
            &["a b"],
            &["é"],
            &[&"k".repeat(256)],
        ] {
            let error = check_order(&request(wrong))
                .expect_err("is refused")
                .message;
            assert!(error.contains("Idempotency-Key"), "{error}");
        }
    }
}
