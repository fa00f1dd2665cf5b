//! Arbitrary bytes for the state machine of a connection. The first three bytes say how the rest is
//! cut into reads and how fast the client takes its responses; neither may show in what comes out.

#![no_main]

use common::http::edge::budget::Budget;
use common::http::edge::connection::{Connection, Handlers, PAUSE_BYTES, StepContext};
use common::http::edge::date::imf_fixdate;
use common::http::edge::limits::Limits;
use common::http::edge::refusal::RefusalReason;
use common::http::edge::subscribers::{FeedSnapshot, Permits};
use common::http::edge::trace::Trace;
use common::http::{Request, Response};
use common::metrics::Metrics;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

/// Never used up: bodies here are smaller than what does not count.
static BODIES: LazyLock<Arc<Budget>> = LazyLock::new(|| Budget::new(0));

/// Never used up either: whether it is would depend on how fast the client reads.
static OUTPUTS: LazyLock<Arc<Budget>> = LazyLock::new(|| Budget::new(usize::MAX / 2));

static PERMITS: LazyLock<Arc<Permits>> = LazyLock::new(|| {
    let gauge = Metrics::new().gauge("subscribers", "Subscribers.");
    Permits::new(1_000, gauge)
});

static LIMITS: LazyLock<Limits> = LazyLock::new(|| Limits {
    head_bytes: 1_024,
    target_bytes: 256,
    fields: 30,
    body_bytes: 512,
    drain_bytes: 1_000_000,
    ..Limits::default()
});

#[derive(Default)]
struct EdgeHandlers {
    open: Option<Request>,
    handled: Vec<String>,
    reasons: Vec<RefusalReason>,
}

impl Handlers for EdgeHandlers {
    fn cached(&mut self, path: &str) -> Option<Arc<[u8]>> {
        path.starts_with("/q")
            .then(|| Arc::from(&b"{\"data\":1}"[..]))
    }
    fn has_feed(&mut self, path: &str) -> bool {
        path == "/feed"
    }
    fn follow(&mut self, _path: &str) -> Option<FeedSnapshot> {
        Some(FeedSnapshot {
            permit: PERMITS.take()?,
            bytes: Arc::from(&b"data: 1\n\n"[..]),
        })
    }
    fn handle(&mut self, request: Request) {
        assert!(self.open.is_none(), "one request at a time");
        assert!(
            request.body.len() <= LIMITS.body_bytes && request.headers.0.len() <= LIMITS.fields
        );
        self.handled.push(format!("{request:?}"));
        self.open = Some(request);
    }
    fn refused(&mut self, reason: RefusalReason) {
        self.reasons.push(reason);
    }
    fn new_trace(&mut self) -> Trace {
        Trace::from_number(0)
    }
}

/// The output: bytes, requests, reasons.
type Seen = (Vec<u8>, Vec<String>, Vec<RefusalReason>);

fn run(bytes: &[u8], cut: usize, reads: usize) -> Seen {
    let (now, date, mut spare) = (Instant::now(), imf_fixdate(0), Vec::new());
    let mut handlers = EdgeHandlers::default();
    let mut connection = Connection::new(now);
    let (mut written, mut at, mut ended) = (Vec::new(), 0, false);
    loop {
        let answered = handlers.open.take();
        let mut context = StepContext {
            now,
            date: &date,
            limits: &LIMITS,
            bodies: &BODIES,
            outputs: &OUTPUTS,
            stopping: false,
            spare: &mut spare,
            handlers: &mut handlers,
        };
        if let Some(request) = answered {
            connection.answer(
                &Response::text(200, "text/plain", request.body),
                &mut context,
            );
        } else if !connection.output().is_empty() {
            assert!(
                connection.output().len() <= PAUSE_BYTES + 2_048,
                "{}",
                connection.output().len()
            );
            let n = reads.min(connection.output().len());
            written.extend_from_slice(&connection.output()[..n]);
            connection.sent(n, &mut context);
        } else if connection.is_done() {
            break;
        } else if connection.is_following() {
            // It would watch for ever; what it still sends is not read.
            connection.end_of_input(&mut context);
            assert!(connection.is_done());
        } else if connection.wants_input() && at < bytes.len() {
            let n = cut.min(bytes.len() - at);
            connection.receive(&bytes[at..at + n], &mut context);
            at += n;
        } else {
            assert!(
                !ended && connection.wants_input(),
                "a client that has ended leaves the connection open"
            );
            connection.end_of_input(&mut context);
            ended = true;
        }
    }
    (written, handlers.handled, handlers.reasons)
}

fuzz_target!(|data: &[u8]| {
    let [cut, long_cut, reads, bytes @ ..] = data else {
        return;
    };
    let cut = 1 + usize::from(*cut) + 64 * usize::from(*long_cut);
    let whole = run(bytes, usize::MAX, usize::MAX);
    let parts = run(bytes, cut, 1 + 16 * usize::from(*reads));
    assert!(
        whole == parts,
        "cut {cut}:\n{}\n{}",
        show(&whole),
        show(&parts)
    );
});

fn show((written, handled, reasons): &Seen) -> String {
    format!("{} {handled:?} {reasons:?}", written.escape_ascii())
}
