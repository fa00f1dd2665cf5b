//! Scripts for the state machine: what goes in and what comes out, without sockets and without
//! waiting.

use super::super::budget::{Budget, FREE_BYTES, FREE_OUTPUT_BYTES};
use super::super::date::imf_fixdate;
use super::super::limits::Limits;
use super::super::refusal::RefusalReason;
use super::super::subscribers::{FeedSnapshot, Permits};
use super::super::trace::Trace;
use super::{Connection, Handlers, PAUSE_BYTES, State, StepContext};
use crate::http::{Request, Response};
use prometheus::IntGauge;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection with a handler and a clock of its own.
struct Script {
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

impl Script {
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

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.context(|connection, context| connection.expire(context));
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
const POST: &str = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";

fn ok() -> Response {
    Response::text(200, "text/plain", "ok")
}

/// A cached read is answered at once, in full, and leaves nothing behind.
#[test]
fn cached_read() {
    let mut script = Script::new();
    let with_trace = "GET /cached HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\n\r\n";
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                    Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nX-Content-Type-Options: nosniff\r\nX-Request-Id: mine\r\n\
                    Cache-Control: no-store\r\n\r\n{}";
    assert_eq!(script.send(with_trace).take_written(), expected);
    assert!(script.connection.idle_since().is_some() && script.connection.held.capacity() == 0);
    assert!(
        script.connection.output.writer(&mut Vec::new()).capacity() == 0,
        "the buffer went back"
    );
    let head = script
        .send(with_trace.replace("GET", "HEAD"))
        .take_written();
    assert_eq!(head, expected.strip_suffix("{}").expect("a body"));
    assert!(script.handlers.requests.is_empty());
}

/// A handler gets the whole request, and the client gets its response.
#[test]
fn handled_request() {
    let mut script = Script::new();
    script.send("POST /a%20b?c=d HTTP/1.1\r\nHost: a\r\nX-Y: z \r\nContent-Length: 3\r\n\r\nab");
    assert!(script.handlers.requests.is_empty());
    script.send("c");
    let request = script.handlers.requests.pop().expect("complete");
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/a%20b")
    );
    assert_eq!(
        (request.query.as_deref(), request.headers.get("x-y")),
        (Some("c=d"), Some("z"))
    );
    assert_eq!(
        (request.body.as_slice(), request.trace.as_str()),
        (&b"abc"[..], "0000000000000000")
    );
    assert!(script.connection.is_waiting() && !script.connection.wants_input());
    assert_eq!(
        script.connection.deadline(&script.limits),
        None,
        "a handler answers in its own time"
    );
    script.answer(&ok());
    assert!(
        script
            .take_written()
            .ends_with("X-Request-Id: 0000000000000000\r\nCache-Control: no-store\r\n\r\nok")
    );
    assert!(script.connection.wants_input());
}

/// Answers come in the order of their requests: the next one is not even parsed before.
#[test]
fn pipelining() {
    let mut script = Script::new();
    script.send([GET, POST, GET, OTHER, GET].concat());
    assert_eq!(
        (script.statuses(), script.handlers.requests.len()),
        (vec![200], 1)
    );
    assert!(!script.connection.wants_input(), "reading stops meanwhile");
    script.answer(&Response::error(404, "no"));
    assert_eq!(
        (script.statuses(), script.handlers.requests.len()),
        (vec![200, 404, 200], 2)
    );
    script.answer(&Response::error(409, "no"));
    assert_eq!(script.statuses(), [200, 404, 200, 409, 200]);
    assert!(script.connection.held.is_empty() && script.connection.wants_input());
}

/// However many requests come at once, and however slowly their responses are read, what is held is
/// bounded; all are answered.
#[test]
fn pipelining_is_bounded() {
    let mut script = Script::new();
    let requests = 16 * 1024 / GET.len();
    for _ in 0..20 {
        assert!(script.connection.wants_input());
        script.context(|connection, context| {
            connection.receive(GET.repeat(requests).as_bytes(), context)
        });
        while !script.connection.output().is_empty() {
            assert!(
                script.connection.output().len() < PAUSE_BYTES + 300,
                "{}",
                script.connection.output().len()
            );
            assert!(script.connection.held.len() <= 16 * 1024 && !script.connection.wants_input());
            script.read(1_000);
        }
    }
    assert_eq!(script.statuses().len(), 20 * requests);
}

/// A body that is held behind a pause, which its own 100 Continue can bring about, is taken when
/// the responses are read.
#[test]
fn body_behind_a_pause() {
    let expecting = POST.replace("Host", "Expect: 100-continue\r\nHost");
    let without_id = Script::new().send(GET).take_written().len() - 16;
    let mut paused = 0;
    // The ids make the responses longer, byte by byte, so that one of them ends right below the
    // bound.
    for longer in 0..200 {
        let mut script = Script::new();
        let mut cached = String::new();
        let mut output = 0;
        for i in 0.. {
            let id = "x".repeat(
                16 + if i < 5 { longer / 5 } else { 0 } + usize::from(i == 0) * (longer % 5),
            );
            output += without_id + id.len();
            if output >= PAUSE_BYTES {
                break;
            }
            cached += &GET.replace("Host", &format!("X-Request-Id: {id}\r\nHost"));
        }
        script.context(|connection, context| {
            connection.receive(
                [&cached, &expecting]
                    .map(String::as_str)
                    .concat()
                    .as_bytes(),
                context,
            )
        });
        paused += usize::from(matches!(script.connection.state, State::Body(_)));
        script.flush();
        assert_eq!(script.handlers.requests.len(), 1, "{longer}");
    }
    assert!(paused > 0, "none of them paused in the body");
}

/// 100 Continue: only when asked for, only when the body is wanted, and before the response.
#[test]
fn expect_continue() {
    let expecting =
        |more: &str| format!("POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{more}\r\n");
    let mut script = Script::new();
    script.send(expecting("Content-Length: 3\r\n"));
    assert_eq!(script.take_written(), "HTTP/1.1 100 Continue\r\n\r\n");
    script.send("abc").answer(&ok());
    assert!(script.take_written().starts_with("HTTP/1.1 200 OK\r\n"));
    script.send(expecting("Content-Length: 0\r\n"));
    assert_eq!(script.take_written(), "", "there is no body to wait for");
    script.answer(&ok());
    script.take_written();
    script.send(expecting("Content-Length: 65\r\n"));
    assert_eq!(script.statuses(), [413], "not invited first");
}

/// The end of a request that asks for it, or that is HTTP/1.0, is the end of its connection; what
/// follows is not served.
#[test]
fn close() {
    let get = |version: &str, connection: &str| {
        format!("GET /cached HTTP/{version}\r\nHost: a\r\n{connection}\r\n")
    };
    for (request, told, open) in [
        (get("1.1", ""), "", true),
        (
            get("1.1", "Connection: close\r\n"),
            "Connection: close\r\n",
            false,
        ),
        (get("1.0", ""), "Connection: close\r\n", false),
        (
            get("1.0", "Connection: keep-alive\r\n"),
            "Connection: keep-alive\r\n",
            true,
        ),
    ] {
        let mut script = Script::new();
        script.send([request.as_str(), GET].concat());
        assert_eq!(
            script.statuses().len(),
            if open { 2 } else { 1 },
            "{request}"
        );
        assert_eq!(script.half_closed, !open);
        let written = script.take_written();
        let first = written.split("\r\n\r\n").next().expect("a head");
        assert_eq!(
            first
                .split_once("Connection")
                .map_or("", |(_, rest)| rest.lines().next().unwrap_or_default()),
            told.trim_end().trim_start_matches("Connection")
        );
    }
}

/// Large responses that are not read share their memory: who asks for one more is refused, while
/// small responses, those of orders too, are always written. What was taken is given back as it is
/// read, or with its connection.
#[test]
fn unread_answers_share_a_budget() {
    let outputs = Budget::new(50_000);
    let script = || Script {
        outputs: Arc::clone(&outputs),
        ..Script::new()
    };
    let large = Response::text(200, "text/plain", vec![b'x'; FREE_OUTPUT_BYTES + 30_000]);
    // The client reads nothing: the response only waits.
    let ask = |script: &mut Script, answer: &Response| {
        script.context(|connection, context| connection.receive(OTHER.as_bytes(), context));
        script.context(|connection, context| connection.answer(answer, context));
    };
    let mut holder = script();
    ask(&mut holder, &large);
    for order in [false, true] {
        let mut other = script();
        ask(&mut other, &if order { ok() } else { large.clone() });
        other.flush();
        let (status, reasons) = if order {
            (200, vec![])
        } else {
            (503, vec![RefusalReason::OutputBudget])
        };
        assert_eq!(
            (other.statuses(), other.half_closed),
            (vec![status], !order)
        );
        assert_eq!(other.handlers.reasons, reasons);
        assert_eq!(other.take_written().contains("Retry-After: 1"), !order);
    }
    holder.read(30_000);
    let mut other = script();
    ask(&mut other, &large);
    assert!(other.handlers.reasons.is_empty(), "room for what was read");
    drop((holder, other));
    let mut last = script();
    ask(
        &mut last,
        &Response::text(200, "text/plain", vec![b'x'; FREE_OUTPUT_BYTES + 49_000]),
    );
    assert!(last.handlers.reasons.is_empty(), "all of it is free again");
    last.flush();
    // Many small responses that nobody reads: no more requests are taken beyond what is free.
    let mut holder = script();
    ask(
        &mut holder,
        &Response::text(200, "text/plain", vec![b'x'; FREE_OUTPUT_BYTES + 49_900]),
    );
    let mut piping = script();
    piping.context(|connection, context| connection.receive(GET.repeat(1_000).as_bytes(), context));
    let waits = piping.connection.output().len();
    assert!(
        (FREE_OUTPUT_BYTES..FREE_OUTPUT_BYTES + 1_000).contains(&waits),
        "{waits}"
    );
    piping.flush();
    assert_eq!(
        piping.statuses().len(),
        1_000,
        "all are answered once they are read"
    );
}

/// Large bodies share their memory: a body beyond it is refused, however it is cut; small
/// bodies always fit, and what was taken is given back when the body is complete, refused or given
/// up.
#[test]
fn body_budget() {
    let bodies = Budget::new(1_000);
    let script = || {
        let limits = Limits {
            body_bytes: 20_000,
            ..small()
        };
        Script {
            bodies: Arc::clone(&bodies),
            limits,
            ..Script::new()
        }
    };
    let post =
        |length: usize| format!("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let body = |length: usize| vec![b'x'; length];
    let large = FREE_BYTES + 1_000;
    let mut holder = script();
    holder.send(post(large + 1)).send(body(large));
    for parts in [1, 3] {
        let mut small = script();
        small.send(post(FREE_BYTES)).send(body(FREE_BYTES));
        assert_eq!(small.handlers.requests.len(), 1, "small ones always fit");
        let mut refused = script();
        refused.send(post(FREE_BYTES + 1));
        for part in body(FREE_BYTES + 1).chunks(FREE_BYTES / parts + 1) {
            refused.send(part);
        }
        assert_eq!(
            (refused.statuses(), &refused.handlers.reasons[..]),
            (vec![503], &[RefusalReason::BodyBudget][..])
        );
        assert!(refused.half_closed && refused.take_written().contains("\r\nRetry-After: 1\r\n"));
    }
    holder.send("y");
    assert_eq!(
        holder.handlers.reasons,
        [RefusalReason::BodyBudget],
        "its last byte is too much, too"
    );
    let mut dripping = script();
    dripping.send(post(large)).send(body(large - 1));
    dripping.pass(dripping.limits.body_timeout);
    assert_eq!(dripping.statuses(), [408]);
    for _ in 0..2 {
        let mut whole = script();
        whole.send(post(large)).send(body(large));
        assert_eq!(
            whole.handlers.requests.len(),
            1,
            "given back by whoever was before"
        );
    }
    let mut vanished = script();
    vanished.send(post(large)).send(body(large - 1));
    drop(vanished);
    script().send(post(large)).send(body(large)).answer(&ok());
}

/// Behind its last response a connection throws away what comes, within bounds, until the client is
/// done.
#[test]
fn draining() {
    let closed = || {
        let mut script = Script::new();
        script.send("GET /cached HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(
            script.half_closed && script.connection.wants_input() && !script.connection.is_done()
        );
        script
    };
    let mut script = closed();
    script.send([b'x'; 99]);
    assert!(!script.connection.is_done());
    script.send("x");
    assert!(script.connection.is_done(), "too much");
    let mut script = closed();
    script.end();
    assert!(script.connection.is_done(), "the client is done");
    let mut script = closed();
    script.pass(script.limits.drain_timeout - Duration::from_millis(1));
    assert!(!script.connection.is_done());
    script.pass(Duration::from_millis(1));
    assert!(
        script.connection.is_done() && script.handlers.reasons.is_empty(),
        "too long, and nobody's fault"
    );
}

/// A client that ends its side gets every response that it is owed; an unfinished request is
/// refused.
#[test]
fn half_close_by_the_client() {
    let mut script = Script::new();
    script.send([OTHER, GET].concat());
    script.end();
    script.answer(&ok());
    assert_eq!(script.statuses(), [200, 200]);
    assert!(script.connection.is_done());
    for (sent, statuses) in [
        ("", &[][..]),
        ("\r\n", &[]),
        (&GET[..9], &[400]),
        (&POST[..POST.len() - 1], &[400]),
    ] {
        let mut script = Script::new();
        script.send(sent);
        script.end();
        assert_eq!(
            (script.statuses().as_slice(), script.connection.is_done()),
            (statuses, true),
            "{sent}"
        );
    }
}

/// While the server stops, each response is the last one of its connection.
#[test]
fn stopping() {
    let mut script = Script::new();
    script.send(OTHER);
    script.stopping = true;
    script.answer(&ok());
    assert!(script.take_written().contains("\r\nConnection: close\r\n") && script.half_closed);
}

/// A connection over the limit is refused before it asks, and the client can read that.
#[test]
fn refused_connection() {
    let mut script = Script::new();
    script.connection =
        script.context(|_, context| Connection::refused(RefusalReason::Crowded, context));
    script.flush();
    assert_eq!((script.statuses(), script.half_closed), (vec![503], true));
    assert!(script.take_written().contains("\r\nRetry-After: "));
}

/// A second answer, or one that nobody waits for, changes nothing.
#[test]
fn unasked_answer() {
    let mut script = Script::new();
    script.answer(&ok());
    assert!(script.written.is_empty() && script.connection.wants_input());
}

mod conformance;
mod feed;
mod splits;
mod time;
