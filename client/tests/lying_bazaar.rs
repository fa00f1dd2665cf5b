//! Tests of the checker: the workload client against front-ends that lie, fail or fall silent.

use client::report::Report;
use client::stats::Kind;
use client::workload::{self, Control, Options, Outcome};
use cluster::addresses::PortBlock;
use common::http::access::Access;
use common::http::tiny::{TinyConfig, TinyServer};
use common::http::{Handler, Request, Responder, Response};
use common::metrics::{HttpMetrics, Metrics};
use common::wire::money::Price;
use common::wire::public::{NewOrder, OrderInfo, Receipt, StockInfo};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The misbehaviour of a front-end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Every fifth order reads back with another quantity.
    Changes,
    /// Every fifth order is forgotten.
    Forgets,
    /// Each number goes to two orders.
    Repeats,
    /// Every third request gets a 503.
    Hiccups,
    /// Every order gets a 503.
    Never,
    /// After some requests, every request gets a 503.
    Stops,
    /// Lookups have no envelope.
    Shapeless,
}

struct Lying {
    fault: Fault,
    requests: AtomicU64,
    orders: Mutex<HashMap<u64, NewOrder>>,
    /// Numbers by Idempotency-Key.
    keys: Mutex<HashMap<String, u64>>,
}

impl Handler for Lying {
    fn handle(&self, request: Request, responder: Responder) {
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        let response = match self.fault {
            Fault::Hiccups if count % 3 == 2 => Response::error(503, "hiccup"),
            Fault::Never if request.method == "POST" => {
                Response::error(503, "never").with_header("Retry-After", "1")
            }
            Fault::Stops if count >= 40 => Response::error(503, "gone"),
            _ => self.answer(&request),
        };
        responder.send(response);
    }
}

impl Lying {
    fn answer(&self, request: &Request) -> Response {
        let stock = StockInfo {
            name: "FishCo".into(),
            price: Price::from_cents(100).expect("a price"),
            quantity: 1,
        };
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/stocks") => Response::data(vec![stock]),
            ("GET", "/stocks/FishCo") if self.fault == Fault::Shapeless => {
                Response::json(200, &stock)
            }
            ("GET", "/stocks/FishCo") => Response::data(stock),
            ("POST", "/orders") => self.order(request),
            (_, path) => {
                let number = path
                    .strip_prefix("/orders/")
                    .and_then(|number| number.parse().ok())
                    .expect("a number");
                self.read_back(number)
            }
        }
    }

    fn order(&self, request: &Request) -> Response {
        let key = request
            .headers
            .get("idempotency-key")
            .expect("every order has a key")
            .to_owned();
        let order: NewOrder = request.json().expect("an order");
        let (mut keys, mut orders) = (
            self.keys.lock().expect("whole"),
            self.orders.lock().expect("whole"),
        );
        let next = keys.len() as u64;
        let next = if self.fault == Fault::Repeats {
            next / 2
        } else {
            next
        };
        let number = *keys.entry(key).or_insert(next);
        orders.insert(number, order);
        Response::data(Receipt {
            transaction_number: number,
        })
    }

    fn read_back(&self, number: u64) -> Response {
        if self.fault == Fault::Forgets && number % 5 == 4 {
            return Response::error(404, "order not found");
        }
        let NewOrder {
            name,
            quantity,
            side,
        } = self.orders.lock().expect("whole")[&number].clone();
        let more = u64::from(self.fault == Fault::Changes && number % 5 == 4);
        Response::data(OrderInfo {
            number,
            name,
            side,
            quantity: quantity + more,
        })
    }
}

fn serve(fault: Fault) -> (TinyServer, String) {
    let ports = PortBlock::take().expect("there are free ports");
    let port = ports.ports().next().expect("a port");
    let handler = Lying {
        fault,
        requests: AtomicU64::new(0),
        orders: Mutex::default(),
        keys: Mutex::default(),
    };
    let config = TinyConfig {
        name: "lying",
        listen: ([127, 0, 0, 1], port).into(),
        workers: 2,
        body_limit_bytes: 10_000,
        access: Access::Public,
    };
    let server = TinyServer::start(config, Arc::new(handler), HttpMetrics::new(&Metrics::new()))
        .expect("listens");
    (server, format!("http://127.0.0.1:{port}"))
}

fn outcome(fault: Fault) -> Outcome {
    let (_server, url) = serve(fault);
    let options = Options {
        probability: 1.0,
        iterations: 20,
        seed: 7,
        deadline: Duration::from_millis(if fault == Fault::Never { 100 } else { 10_000 }),
        ..Options::new(&url)
    };
    workload::run(&options, &Control::default()).expect("has stocks")
}

/// An honest front-end gives a clean outcome: every order is acknowledged and read back, and no
/// client notices a failure.
#[test]
fn an_honest_front_end_gives_a_clean_outcome() {
    let outcome = outcome(Fault::None);
    assert!(
        outcome.is_clean() && !outcome.noticed_during_orders && !outcome.noticed_in_final_check
    );
    assert_eq!(outcome.acknowledged.len(), 20);
    for kind in Kind::ALL {
        assert_eq!(outcome.stats.of(kind).summary().count, 20);
    }
}

/// Orders that changed, are missing, or share a number are mismatches of the final check.
#[test]
fn changed_missing_and_shared_orders_are_mismatches() {
    for (fault, expected, words) in [
        (Fault::Changes, 4, "reads back as"),
        (Fault::Forgets, 4, "missing"),
        (Fault::Repeats, 10, "two orders have"),
    ] {
        let outcome = outcome(fault);
        let with_words = outcome
            .mismatches
            .iter()
            .filter(|mismatch| mismatch.contains(words))
            .count();
        assert_eq!(with_words, expected, "{fault:?}: {:?}", outcome.mismatches);
        assert!(
            !outcome.is_clean() && outcome.noticed_in_final_check && !outcome.noticed_during_orders,
            "{fault:?}"
        );
    }
}

/// A client repeats after a 503 with the same key: each order trades once, and the client notices
/// the repeat.
#[test]
fn a_503_is_repeated_with_the_same_key() {
    let outcome = outcome(Fault::Hiccups);
    assert!(
        outcome.is_clean() && outcome.noticed_during_orders,
        "{:?}",
        outcome.examples
    );
    assert_eq!(outcome.acknowledged.len(), 20);
    assert!(
        Kind::ALL
            .iter()
            .map(|kind| outcome.stats.of(*kind).retries)
            .sum::<u64>()
            >= 20
    );
    assert!(
        outcome.examples[0].contains("hiccup"),
        "{:?}",
        outcome.examples
    );
}

/// Unanswered orders and responses of another shape are no clean outcome.
#[test]
fn unanswered_and_unexpected_requests_are_not_clean() {
    let never = outcome(Fault::Never);
    assert!(!never.is_clean() && never.stats.of(Kind::Order).unanswered == 20);
    let shapeless = outcome(Fault::Shapeless);
    assert!(!shapeless.is_clean() && shapeless.stats.of(Kind::Lookup).unexpected == 20);
}

/// A bazaar that has gone away ends the run after one deadline, not after one for each call that is
/// left; the outcome keeps the orders until then.
#[test]
fn a_bazaar_that_goes_away_ends_the_run_once() {
    let (_server, url) = serve(Fault::Stops);
    let options = Options {
        probability: 1.0,
        iterations: 1_000_000,
        clients: 3,
        deadline: Duration::from_millis(500),
        stop_when_silent: true,
        ..Options::new(&url)
    };
    let outcome = workload::run(&options, &Control::default()).expect("has stocks");
    let why = outcome.stopped.clone().expect("stopped");
    assert!(why.contains("no request was answered"), "{why}");
    assert!(!outcome.is_clean() && !outcome.acknowledged.is_empty());
    let report = Report::new(&options, &outcome);
    assert!(
        report
            .table()
            .contains("STOPPED before the end: no request was answered")
    );
    let given_up: u64 = Kind::ALL
        .into_iter()
        .map(|kind| outcome.stats.of(kind).unanswered)
        .sum();
    // A call that began before the last answer to another client is no proof of silence. So a
    // client may give up that call and the next one.
    assert!(
        (1..=6).contains(&given_up),
        "at most two calls of each client: {given_up}"
    );
}

/// A run that is ended early returns its outcome, also while a call waits.
#[test]
fn a_run_that_is_ended_keeps_what_it_has_seen() {
    let (_server, url) = serve(Fault::None);
    let options = Options {
        probability: 1.0,
        iterations: u64::MAX,
        ..Options::new(&url)
    };
    let control = Control::default();
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| workload::run(&options, &control));
        while control.acknowledged() < 10 {
            std::thread::yield_now();
        }
        control.end("SIGINT came");
        control.cut();
        running.join().expect("no panic").expect("had stocks")
    });
    assert_eq!(outcome.stopped.as_deref(), Some("SIGINT came"));
    assert!(outcome.acknowledged.len() >= 10 && !outcome.is_clean());
    assert!(outcome.mismatches.is_empty(), "{:?}", outcome.mismatches);
}
