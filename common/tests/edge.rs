//! The edge over real sockets: hostile clients, each followed by an honest one that must be served.

#![allow(clippy::print_stdout, reason = "for whoever runs the test")]

mod raw_client;

use common::http::edge::limits::{EdgeConfig, Limits};
use common::http::edge::{Edge, FastPath};
use common::http::{Handler, Request, Responder, Response};
use common::metrics::{HttpMetrics, Metrics};
use common::timing::PUBLIC_BODY_LIMIT_BYTES;
use crossbeam::channel::{Receiver, Sender, unbounded};
use raw_client::{Client, hostile, wait_for};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CACHED: &[u8] = br#"{"data":{"name":"GameStart","price":15.99,"quantity":100}}"#;
const BIG_BYTES: usize = 32 * 1024 * 1024;

/// Has a feed at `/feed`, answers `/stocks/GameStart` from memory, `/echo` with the body, `/big`
/// with much, and keeps `/slow` for the test.
struct TestHandler {
    cached: Arc<[u8]>,
    slow: Sender<(Request, Responder)>,
}

impl FastPath for TestHandler {
    fn cached(&self, path: &str) -> Option<Arc<[u8]>> {
        (path == "/stocks/GameStart").then(|| Arc::clone(&self.cached))
    }

    fn has_feed(&self, path: &str) -> bool {
        path == "/feed"
    }

    fn feed_snapshot(&self, path: &str) -> Option<Arc<[u8]>> {
        self.has_feed(path).then(|| Arc::from(&b"hello\n"[..]))
    }
}

impl Handler for TestHandler {
    fn handle(&self, request: Request, responder: Responder) {
        match request.path.as_str() {
            "/echo" => responder.send(Response::text(
                200,
                "application/octet-stream",
                request.body,
            )),
            "/big" => responder.send(Response::text(200, "text/plain", vec![b'x'; BIG_BYTES])),
            "/slow" => {
                let _ = self.slow.send((request, responder));
            }
            _ => responder.send(Response::error(404, "no such path")),
        }
    }
}

struct Server {
    edge: Edge,
    metrics: Metrics,
    slow: Receiver<(Request, Responder)>,
}

impl Server {
    fn start(limits: Limits) -> Self {
        let (metrics, (sender, slow)) = (Metrics::new(), unbounded());
        let listen = "127.0.0.1:0".parse().expect("an address");
        let config = EdgeConfig::public(limits).with(listen, 2);
        let handler = Arc::new(TestHandler {
            cached: CACHED.into(),
            slow: sender,
        });
        let edge =
            Edge::start(config, handler, HttpMetrics::new(&metrics), &metrics).expect("starts");
        Self {
            edge,
            metrics,
            slow,
        }
    }

    fn client(&self) -> Client {
        Client::connect(self.edge.address())
    }

    /// An honest client is served, now.
    fn assert_serves(&self) {
        assert_serves(self.edge.address());
    }

    /// The value of a counter or gauge.
    fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.text();
        let line = text.lines().find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in {text}"))
    }
}

fn assert_serves(address: SocketAddr) {
    let mut client = Client::connect(address);
    client.send(b"GET /stocks/GameStart HTTP/1.1\r\nHost: bazaar\r\n\r\n");
    let answer = client.answer().expect("an honest client is answered");
    assert_eq!((answer.status, answer.body.as_slice()), (200, CACHED));
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Every hostile request is answered readably with its status, in the public error shape, its
/// connection is closed without a reset, and an honest client is served after it.
#[test]
fn hostile_requests() {
    let server = Server::start(Limits::default());
    let mut too_large = 0.0;
    for (request, status) in hostile::requests() {
        let shown = &request[..request.len().min(80)];
        let mut client = server.client();
        client.send(request.as_bytes());
        let answer = client.answer().unwrap_or_else(|e| panic!("{shown:?}: {e}"));
        assert_eq!(answer.status, status, "{shown:?}");
        let error: common::wire::public::ErrorBody =
            serde_json::from_slice(&answer.body).expect("the public error shape");
        assert_eq!(error.error.code, status);
        assert!(
            answer
                .field("x-request-id")
                .is_some_and(|id| id.len() == 16),
            "{:?}",
            answer.head
        );
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(answer.field("server").is_none() && answer.field("date").is_some());
        client.assert_closed();
        server.assert_serves();
        too_large += if status == 413 { 1.0 } else { 0.0 };
    }
    wait_for("all refused connections are gone", ms(5_000), || {
        server.metric("bazaar_edge_connections") == 0.0
    });
    assert_eq!(
        server.metric("bazaar_edge_refusals_total{reason=\"body_too_large\"}"),
        too_large
    );
}

/// Clients that go away at any point of a request leave nothing behind.
#[test]
fn clients_that_vanish() {
    let server = Server::start(Limits::default());
    let request = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    for cut in 0..=request.len() {
        for reset in [false, true] {
            let client = server.client();
            client.send(&request[..cut]);
            if cut == request.len() {
                let (_, responder) = server.slow.recv_timeout(ms(5_000)).expect("handed over");
                vanish(client, reset);
                responder.send(Response::data(1));
            } else {
                vanish(client, reset);
            }
        }
    }
    server.assert_serves();
    wait_for("all are gone", ms(5_000), || {
        server.metric("bazaar_edge_connections") == 0.0
    });
}

/// The client goes away, with a reset or in order.
fn vanish(client: Client, reset: bool) {
    if reset {
        let socket = socket2::SockRef::from(&client.stream);
        socket
            .set_linger(Some(Duration::ZERO))
            .expect("a reset on close");
    }
    drop(client);
}

/// A head or body that drips is ended in its time, with 408, however steadily it drips.
#[test]
fn dripping() {
    let limits = Limits {
        head_timeout: ms(150),
        body_timeout: ms(250),
        ..Limits::default()
    };
    let server = Server::start(limits);
    let body = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n";
    let chunks = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (first, drip, timeout) in [
        ("GET / HTTP/1.1\r\n", "A: b\r\n", 150),
        (body, "x", 250),
        (chunks, "1\r\nx\r\n", 250),
        ("G", "", 150),
        (body, "", 250),
    ] {
        let mut client = server.client();
        client.send(first.as_bytes());
        let began = Instant::now();
        let answer = client.drip(drip.as_bytes(), ms(3)).expect("a refusal");
        let took = began.elapsed();
        assert_eq!(answer.status, 408, "{first:?}");
        assert!(
            took + ms(20) >= ms(timeout) && took < ms(timeout + 2_000),
            "{first:?}: {took:?}"
        );
        server.assert_serves();
    }
}

/// An idle connection is closed without a word when its time is over; a busy one stays.
#[test]
fn idle_connections() {
    let server = Server::start(Limits {
        idle_timeout: ms(200),
        ..Limits::default()
    });
    let mut fresh = server.client();
    let mut busy = server.client();
    let began = Instant::now();
    while began.elapsed() < ms(600) {
        busy.send(b"GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(busy.answer().expect("kept").status, 200);
    }
    fresh.assert_closed();
    busy.assert_closed();
    assert_eq!(
        server.metric("bazaar_edge_refusals_total{reason=\"idle\"}"),
        2.0
    );
}

/// A client that asks for much and reads nothing is given up in its time; nobody else notices.
#[test]
fn unread_answers() {
    let server = Server::start(Limits {
        send_timeout: ms(200),
        ..Limits::default()
    });
    let client = server.client();
    client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("it is given up", ms(10_000), || {
        server.metric("bazaar_edge_refusals_total{reason=\"unread\"}") == 1.0
    });
    server.assert_serves();
    wait_for("it is gone", ms(5_000), || {
        server.metric("bazaar_edge_connections") == 0.0
    });
}

/// Large bodies that arrive at once share their memory: beyond it one is refused with 503, while
/// small requests are served. A body that was begun keeps its room, which is used again after it.
#[test]
fn large_bodies_share_their_memory() {
    let server = Server::start(Limits {
        body_budget_bytes: PUBLIC_BODY_LIMIT_BYTES,
        ..Limits::default()
    });
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 60003\r\n\r\n";
    let unfinished = format!("{head}{}", " ".repeat(60_000));
    let mut first = server.client();
    first.send(unfinished.as_bytes());
    wait_for("the body has come but for its end", ms(10_000), || {
        server.metric("bazaar_edge_received_bytes_total") > 60_000.0
    });
    let mut second = server.client();
    let refused = second.answer_to(unfinished.as_bytes()).expect("a refusal");
    assert_eq!(
        (refused.status, refused.field("retry-after")),
        (503, Some("1"))
    );
    second.assert_closed();
    server.assert_serves();
    assert_eq!(first.answer_to(b"end").expect("has its room").status, 200);
    let whole = format!("{unfinished}end");
    let answer = first.answer_to(whole.as_bytes()).expect("room again");
    assert_eq!(answer.status, 200);
    let refusals = "bazaar_edge_refusals_total{reason=\"body_budget\"}";
    assert_eq!(server.metric(refusals), 1.0);
}

/// Answers that are not read hold one budget of our memory and little of the kernel's: one more is
/// refused, honest clients are served meanwhile, and the room is used again.
#[test]
fn unread_answers_hold_little_memory() {
    let server = Server::start(Limits {
        output_budget_bytes: BIG_BYTES + BIG_BYTES / 2,
        ..Limits::default()
    });
    let big = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut holder = server.client();
    holder.send(big);
    wait_for("the first part is sent", ms(10_000), || {
        server.metric("bazaar_edge_sent_bytes_total") > 0.0
    });
    let refused = server.client().answer_to(big).expect("refused");
    assert_eq!(
        (refused.status, refused.field("retry-after")),
        (503, Some("1"))
    );
    server.assert_serves();
    // The sent bytes lie in the kernel: our half of it and the client's.
    let sent = server.metric("bazaar_edge_sent_bytes_total");
    assert!(
        sent < 1_000_000.0,
        "{sent} bytes for a client that reads nothing"
    );
    assert_eq!(
        holder.answer().expect("its room is kept").body.len(),
        BIG_BYTES
    );
    assert_eq!(holder.answer_to(big).expect("room again").status, 200);
}

/// A large response arrives whole at a client that reads.
#[test]
fn large_answers() {
    let server = Server::start(Limits::default());
    let mut client = server.client();
    for _ in 0..2 {
        client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer().expect("an answer");
        assert!(answer.body.len() == BIG_BYTES && answer.body.iter().all(|byte| *byte == b'x'));
    }
}

/// Beyond the limit of connections a client is refused, readably; room that becomes free is used
/// again, and idle connections make room for others in time.
#[test]
fn connection_limit() {
    let server = Server::start(Limits {
        connections: 4,
        ..Limits::default()
    });
    let mut held: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for client in &mut held {
        client.send(b"GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().expect("within the limit").status, 200);
    }
    let mut fifth = server.client();
    let answer = fifth.answer().expect("refused without a request");
    assert_eq!(
        (answer.status, answer.field("retry-after")),
        (503, Some("1"))
    );
    fifth.assert_closed();
    held.pop();
    wait_for("its place is free", ms(5_000), || {
        server.metric("bazaar_edge_connections") == 3.0
    });
    let mut sixth = server.client();
    sixth.send(b"GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(sixth.answer().expect("has a place").status, 200);
    // All four places are taken by idle connections; within a second or so the oldest have to go.
    wait_for("somebody else gets a place", ms(5_000), || {
        let mut client = server.client();
        client
            .answer_to(b"GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n")
            .is_ok_and(|answer| answer.status == 200)
    });
}

/// A thousand connections opened at once are served, each of them, while all are open.
#[test]
fn burst() {
    let server = Server::start(Limits::default());
    let mut clients: Vec<Client> = (0..1_000).map(|_| server.client()).collect();
    for client in &clients {
        client.send(b"GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer().expect("each is served").status, 200);
    }
    assert_eq!(server.metric("bazaar_edge_connections"), 1_000.0);
}

/// Pipelined requests are answered in their order, also when the handler answers later and from
/// another thread.
#[test]
fn pipelining() {
    let server = Server::start(Limits::default());
    let mut client = server.client();
    let cached = "GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n";
    let slow = |body: &str| {
        format!(
            "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    client.send(
        [cached, &slow("one"), cached, &slow("two!"), cached]
            .concat()
            .as_bytes(),
    );
    for expected in [3, 4] {
        assert_eq!(client.answer().expect("cached").body, CACHED);
        let (request, responder) = server.slow.recv_timeout(ms(5_000)).expect("handed over");
        assert_eq!(request.body.len(), expected);
        assert!(request.peer.is_some() && request.trace.len() == 16);
        assert!(server.slow.try_recv().is_err(), "one at a time");
        let answering =
            std::thread::spawn(move || responder.send(Response::data(request.body.len())));
        let answer = client.answer().expect("answered");
        assert_eq!(answer.body, format!("{{\"data\":{expected}}}").as_bytes());
        answering.join().expect("joins");
    }
    assert_eq!(client.answer().expect("cached").body, CACHED);
}

/// A client that pipelines for ever and reads nothing is stopped by its full socket, not by our
/// memory; what it sent is answered.
#[test]
fn deep_pipelining_is_bounded() {
    let server = Server::start(Limits::default());
    let mut client = server.client();
    let batch = b"GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    let mut sent = 0;
    client
        .stream
        .set_write_timeout(Some(ms(300)))
        .expect("a time-out");
    loop {
        match client.stream.write(&batch[sent % batch.len()..]) {
            Ok(n) => sent += n,
            Err(error) => {
                break assert!(
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "{error}"
                );
            }
        }
        assert!(sent < 256 * 1024 * 1024, "nothing stops it");
    }
    server.assert_serves();
    let whole = sent / (batch.len() / 100);
    for _ in 0..whole {
        assert_eq!(client.answer().expect("answered").status, 200);
    }
}

/// A client that ends its side after its requests gets every response, then the end.
#[test]
fn half_close() {
    let server = Server::start(Limits::default());
    let mut client = server.client();
    client.send(
        b"POST /slow HTTP/1.1\r\nHost: a\r\n\r\nHEAD /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    client
        .stream
        .shutdown(Shutdown::Write)
        .expect("half-closes");
    let (_, responder) = server.slow.recv_timeout(ms(5_000)).expect("handed over");
    responder.send(Response::data(7));
    assert_eq!(client.answer().expect("answered").body, b"{\"data\":7}");
    let head = client.head().expect("answered");
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some(&*CACHED.len().to_string()))
    );
    client.assert_closed();
}

/// 100 Continue over a real connection, with the body in chunks.
#[test]
fn expect_continue() {
    let server = Server::start(Limits::default());
    let mut client = server.client();
    client.send(
        b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
          Transfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(client.head().expect("invited").status, 100);
    client.send(b"3\r\nabc\r\n2;x\r\nde\r\n0\r\nA: b\r\n\r\n");
    assert_eq!(client.answer().expect("answered").body, b"abcde");
}

/// A stop answers what is in flight, as the last response of its connection, closes what is idle,
/// takes no more, and is done in time.
#[test]
fn clean_stop() {
    let Server { edge, slow, .. } = Server::start(Limits::default());
    let (address, edge) = (edge.address(), Arc::new(edge));
    let mut idle = Client::connect(address);
    idle.send(b"GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(idle.answer().expect("served").status, 200);
    let mut open = Client::connect(address);
    open.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, responder) = slow.recv_timeout(ms(5_000)).expect("handed over");
    let began = Instant::now();
    let stopping = std::thread::spawn({
        let edge = Arc::clone(&edge);
        move || edge.stop()
    });
    idle.assert_closed();
    wait_for("nobody listens", ms(5_000), || {
        TcpStream::connect(address).is_err()
    });
    responder.send(Response::data(1));
    let answer = open.answer().expect("what is in flight is answered");
    assert_eq!(
        (answer.status, answer.field("connection")),
        (200, Some("close"))
    );
    open.assert_closed();
    drop(open);
    stopping.join().expect("stops");
    assert!(
        began.elapsed() < common::timing::STOP_GRACE,
        "{:?}",
        began.elapsed()
    );
    edge.stop();
}

/// The port of a running edge is refused to a second one, and free again after the stop.
#[test]
fn port_in_use() {
    let server = Server::start(Limits::default());
    let start = |listen: SocketAddr| {
        let (metrics, (sender, _)) = (Metrics::new(), unbounded());
        let config = EdgeConfig::public(Limits::default()).with(listen.into(), 2);
        let handler = Arc::new(TestHandler {
            cached: CACHED.into(),
            slow: sender,
        });
        Edge::start(config, handler, HttpMetrics::new(&metrics), &metrics)
    };
    let address = server.edge.address();
    let error = start(address).expect_err("in use");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    drop(server);
    assert_eq!(start(address).expect("free again").address(), address);
}

/// Served requests show in the metrics, cached reads under their route.
#[test]
fn metrics() {
    let server = Server::start(Limits::default());
    for _ in 0..3 {
        server.assert_serves();
    }
    let cached = "bazaar_http_requests_total{route=\"/stocks/{name}\",status=\"200\"}";
    wait_for("counts are added up", ms(5_000), || {
        server.metric(cached) == 3.0
    });
    assert_eq!(server.metric("bazaar_edge_accepted_total"), 3.0);
    assert_eq!(
        server.metric("bazaar_http_request_seconds_count{route=\"/stocks/{name}\"}"),
        3.0
    );
    assert!(
        server.metric("bazaar_edge_sent_bytes_total")
            > server.metric("bazaar_edge_received_bytes_total")
    );
}

/// Name of the variable that makes this test binary a server with few descriptors.
const FEW_DESCRIPTORS: &str = "EDGE_TEST_FEW_DESCRIPTORS";

/// When descriptors run out, accepting rests and goes on: connections that had to wait are served
/// once others have closed.
#[test]
fn descriptors_run_out() {
    if std::env::var_os(FEW_DESCRIPTORS).is_some() {
        return serve_with_few_descriptors();
    }
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "descriptors_run_out", "--nocapture"])
        .env(FEW_DESCRIPTORS, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let address: SocketAddr = loop {
        let line = lines
            .next()
            .expect("a line with its address")
            .expect("text");
        if let Some((_, address)) = line.split_once("address ") {
            break address.parse().expect("an address");
        }
    };
    let request = b"GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut clients: Vec<Client> = (0..300).map(|_| Client::connect(address)).collect();
    clients.iter().for_each(|client| client.send(request));
    let mut waiting = clients.split_off(270);
    let stuck = waiting.pop().expect("one of them");
    stuck
        .stream
        .set_read_timeout(Some(ms(300)))
        .expect("a time-out");
    assert!(
        (&stuck.stream).read(&mut [0; 1]).is_err(),
        "there are fewer descriptors than connections"
    );
    drop(clients);
    for mut client in waiting {
        assert_eq!(client.answer().expect("served in the end").status, 200);
    }
    drop(stuck);
    assert_serves(address);
    drop(child.stdin.take());
    assert!(child.wait().expect("ends").success());
}

/// The child's part: serves until its standard input ends.
fn serve_with_few_descriptors() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let few = Rlimit {
        current: Some(60),
        maximum: Some(60),
    };
    // After the start, which keeps the connections below what it finds.
    let server = Server::start(Limits::default());
    setrlimit(Resource::Nofile, few).expect("lowered");
    println!("\naddress {}", server.edge.address());
    io::stdin().read_to_end(&mut Vec::new()).expect("reads");
    assert!(server.metric("bazaar_edge_accept_errors_total") >= 1.0);
}

/// A subscriber that has read the head of its response and what it is sent first.
fn subscriber(server: &Server) -> BufReader<impl Read> {
    let mut client = server.client();
    client.send(b"GET /feed HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head().expect("a head");
    assert_eq!(
        (head.status, head.field("content-type")),
        (200, Some("text/event-stream"))
    );
    let mut subscriber = client.into_reader();
    assert_eq!(line(&mut subscriber), "hello\n");
    subscriber
}

fn line(subscriber: &mut impl BufRead) -> String {
    let mut line = String::new();
    subscriber.read_line(&mut line).expect("in time");
    line
}

/// Each event reaches every subscriber of every core, in order; subscribers are counted while they
/// watch, and honest clients are served beside them.
#[test]
fn subscribers() {
    let server = Server::start(Limits::default());
    let mut streams: Vec<_> = (0..200).map(|_| subscriber(&server)).collect();
    let subscribers = server.edge.subscribers();
    assert_eq!(
        (
            subscribers.count(),
            server.metric("bazaar_edge_subscribers")
        ),
        (200, 200.0)
    );
    for n in 0..20 {
        subscribers.publish(&format!("event {n}\n").into_bytes().into());
    }
    server.assert_serves();
    for subscriber in &mut streams {
        for n in 0..20 {
            assert_eq!(line(subscriber), format!("event {n}\n"));
        }
    }
    streams.truncate(50);
    wait_for("150 have left", ms(10_000), || subscribers.count() == 50);
    server.edge.stop();
    for subscriber in &mut streams {
        assert_eq!(line(subscriber), "", "the feed ends with the server");
    }
    assert_eq!(subscribers.count(), 0);
}

/// There are permits for a tenth of the connections; a later client gets an ordinary response, and
/// a permit that is given back is taken again.
#[test]
fn permits() {
    let server = Server::start(Limits {
        connections: 20,
        ..Limits::default()
    });
    let holders: Vec<_> = (0..2).map(|_| subscriber(&server)).collect();
    let refused = server
        .client()
        .answer_to(b"GET /feed HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("an answer");
    assert_eq!(refused.status, 404, "the handler's word");
    drop(holders);
    wait_for("they have left", ms(10_000), || {
        server.edge.subscribers().count() == 0
    });
    subscriber(&server);
}

/// A subscriber that reads nothing is dropped, and its unread output was bounded; one that reads
/// gets everything.
#[test]
fn slow_subscriber() {
    let server = Server::start(Limits::default());
    let (slow, mut quick) = (subscriber(&server), subscriber(&server));
    let subscribers = server.edge.subscribers();
    let event: Arc<[u8]> = [vec![b'x'; 30_000], vec![b'\n']].concat().into();
    let mut published = 0;
    while server.metric("bazaar_edge_refusals_total{reason=\"slow_subscriber\"}") < 1.0 {
        // The kernel holds some megabytes for it first.
        assert!(published < 2_000, "never dropped");
        subscribers.publish(&event);
        published += 1;
        assert_eq!(line(&mut quick).len(), event.len());
    }
    assert_eq!(subscribers.count(), 1);
    drop(slow);
    subscribers.publish(&event);
    assert_eq!(line(&mut quick).len(), event.len());
}
