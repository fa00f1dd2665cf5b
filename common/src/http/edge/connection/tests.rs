//! The state machine without sockets and without waiting. Stories (golden scripts) show its rules
//! case by case; random bytes and cuts show those that hold for all input.

use super::super::budget::Budget;
use super::super::date::imf_fixdate;
use super::super::limits::Limits;
use super::super::refusal::RefusalReason;
use super::super::subscribers::{FeedSnapshot, Permits};
use super::super::trace::Trace;
use super::{Connection, Handlers, State, StepContext};
use crate::http::{Request, Response};
use prometheus::IntGauge;
use std::sync::Arc;
use std::time::Instant;

/// A connection with a handler and a clock of its own, and the client at its other end.
struct TestConnection {
    connection: Connection,
    handlers: TestHandlers,
    limits: Limits,
    bodies: Arc<Budget>,
    outputs: Arc<Budget>,
    date: String,
    now: Instant,
    stopping: bool,
    spare: Vec<u8>,
    /// Everything that was written.
    written: Vec<u8>,
    half_closed: bool,
}

struct TestHandlers {
    requests: Vec<Request>,
    reasons: Vec<RefusalReason>,
    /// One for `/feed`.
    permits: Arc<Permits>,
}

impl Default for TestHandlers {
    fn default() -> Self {
        let gauge = IntGauge::new("subscribers", "Subscribers.").expect("a gauge");
        Self {
            requests: Vec::new(),
            reasons: Vec::new(),
            permits: Permits::new(1, gauge),
        }
    }
}

impl Handlers for TestHandlers {
    fn cached(&mut self, path: &str) -> Option<Arc<[u8]>> {
        (path == "/cached").then(|| Arc::from(&b"{}"[..]))
    }
    fn has_feed(&mut self, path: &str) -> bool {
        path == "/feed"
    }
    fn follow(&mut self, _path: &str) -> Option<FeedSnapshot> {
        Some(FeedSnapshot {
            permit: self.permits.take()?,
            bytes: Arc::from(&b"first\n\n"[..]),
        })
    }
    fn handle(&mut self, request: Request) {
        self.requests.push(request);
    }
    fn refused(&mut self, reason: RefusalReason) {
        self.reasons.push(reason);
    }
    fn new_trace(&mut self) -> Trace {
        Trace::from_number(0)
    }
}

fn small() -> Limits {
    Limits {
        head_bytes: 300,
        target_bytes: 100,
        fields: 30,
        body_bytes: 64,
        drain_bytes: 100,
        ..Limits::default()
    }
}

impl TestConnection {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            connection: Connection::new(now),
            handlers: TestHandlers::default(),
            limits: small(),
            bodies: Budget::new(1_000),
            outputs: Budget::new(1_000_000),
            date: imf_fixdate(0),
            now,
            stopping: false,
            spare: Vec::new(),
            written: Vec::new(),
            half_closed: false,
        }
    }

    fn context<R>(
        &mut self,
        step: impl FnOnce(&mut Connection, &mut StepContext<'_, TestHandlers>) -> R,
    ) -> R {
        let mut context = StepContext {
            now: self.now,
            date: &self.date,
            limits: &self.limits,
            bodies: &self.bodies,
            outputs: &self.outputs,
            stopping: self.stopping,
            spare: &mut self.spare,
            handlers: &mut self.handlers,
        };
        step(&mut self.connection, &mut context)
    }

    /// Lets the client take up to `n` bytes of what is to be written.
    fn read(&mut self, n: usize) {
        let n = n.min(self.connection.output().len());
        self.written
            .extend_from_slice(&self.connection.output()[..n]);
        self.context(|connection, context| connection.sent(n, context));
        self.half_closed |= self.connection.take_half_close();
    }

    /// Lets the client take everything.
    fn flush(&mut self) {
        while !self.connection.output().is_empty() {
            self.read(usize::MAX);
        }
    }

    /// The client sends bytes and takes what comes back.
    fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        assert!(
            self.connection.wants_input(),
            "the machine would not read {:?}",
            bytes.as_ref()
        );
        self.context(|connection, context| connection.receive(bytes.as_ref(), context));
        self.flush();
        self
    }

    fn end(&mut self) {
        self.context(|connection, context| connection.end_of_input(context));
        self.flush();
    }

    fn answer(&mut self, response: &Response) {
        self.context(|connection, context| connection.answer(response, context));
        self.flush();
    }

    fn take_written(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.written)).expect("text")
    }

    /// Statuses of the responses so far, in order.
    fn statuses(&self) -> Vec<u16> {
        let text = String::from_utf8_lossy(&self.written);
        text.split("HTTP/1.1 ")
            .skip(1)
            .map(|answer| answer[..3].parse().expect("a status"))
            .collect()
    }
}

const GET: &str = "GET /cached HTTP/1.1\r\nHost: a\r\n\r\n";
const OTHER: &str = "GET /other?q HTTP/1.1\r\nHost: a\r\n\r\n";
const FEED: &str = "GET /feed HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";

mod bounds;
mod splits;
mod stories;
