//! The edge's state machine, without a socket: bytes of a request in, bytes of a response out.

use common::http::edge::budget::Budget;
use common::http::edge::connection::{Connection, Handlers, StepContext};
use common::http::edge::date::imf_fixdate;
use common::http::edge::limits::Limits;
use common::http::edge::refusal::RefusalReason;
use common::http::edge::subscribers::FeedSnapshot;
use common::http::edge::trace::Trace;
use common::http::{Request, Response};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const LOOKUP: &[u8] =
    b"GET /stocks/GameStart HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\n\
      Accept: */*\r\n\r\n";
const ORDER: &[u8] =
    b"POST /orders HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\n\
      Accept: */*\r\nContent-Type: application/json\r\nContent-Length: 48\r\n\r\n\
      {\"name\":\"GameStart\",\"quantity\":12,\"type\":\"sell\"}";

/// The cache answers lookups; an order is kept until it is answered.
struct EdgeHandlers {
    cached: Arc<[u8]>,
    order: Option<Request>,
}

impl Handlers for EdgeHandlers {
    fn cached(&mut self, _path: &str) -> Option<Arc<[u8]>> {
        Some(Arc::clone(&self.cached))
    }
    fn has_feed(&mut self, _path: &str) -> bool {
        false
    }
    fn follow(&mut self, _path: &str) -> Option<FeedSnapshot> {
        None
    }
    fn handle(&mut self, request: Request) {
        self.order = Some(request);
    }
    fn refused(&mut self, reason: RefusalReason) {
        panic!("the edge refused: {reason:?}");
    }
    fn new_trace(&mut self) -> Trace {
        Trace::from_number(0)
    }
}

fn edge(criterion: &mut Criterion) {
    let (now, date, limits, bodies) = (
        Instant::now(),
        imf_fixdate(0),
        Limits::default(),
        Budget::new(1 << 20),
    );
    let cached: Arc<[u8]> =
        Arc::from(&br#"{"data":{"name":"GameStart","price":15.99,"quantity":100}}"#[..]);
    let answer = Response::text(
        200,
        "application/json",
        br#"{"data":{"transaction_number":1234567}}"#.to_vec(),
    );
    for (name, bytes) in [("edge: cached read", LOOKUP), ("edge: order", ORDER)] {
        let mut connection = Connection::new(now);
        let (mut handlers, mut spare) = (
            EdgeHandlers {
                cached: Arc::clone(&cached),
                order: None,
            },
            Vec::new(),
        );
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut context = StepContext {
                    now,
                    date: &date,
                    limits: &limits,
                    bodies: &bodies,
                    outputs: &bodies,
                    stopping: false,
                    spare: &mut spare,
                    handlers: &mut handlers,
                };
                connection.receive(black_box(bytes), &mut context);
                if let Some(order) = context.handlers.order.take() {
                    assert_eq!(order.body.len(), 48, "the whole order came");
                    connection.answer(&answer, &mut context);
                }
                let n = connection.output().len();
                assert!(n > 0, "each request is answered");
                connection.sent(n, &mut context);
            });
        });
    }
}

criterion_group!(benches, edge);
criterion_main!(benches);
