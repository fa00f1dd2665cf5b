//! Why the public listener is not tiny_http 0.12: each defect that a stranger can use, shown. Where
//! a defect is gone in a newer version, its test fails here, and the decision can be looked at
//! again. Beside each stands what the edge does in its place.
//!
//! A case that ends a process, or takes its descriptors, runs in a child: this test binary, started
//! again with the name of one test and a variable that says what to serve.

#![allow(clippy::print_stdout, reason = "for whoever runs the test")]

mod raw_client;

use common::http::access::Access;
use common::http::edge::limits::{EdgeConfig, Limits};
use common::http::edge::{Edge, FastPath};
use common::http::tiny::{TinyConfig, TinyServer};
use common::http::{Handler, Request, Responder, Response};
use common::metrics::{HttpMetrics, Metrics};
use raw_client::{Client, wait_for};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// Long enough for every honest answer, short enough to wait for one that never comes.
const GIVE_UP: Duration = Duration::from_millis(700);

struct Fine;

impl Handler for Fine {
    fn handle(&self, _: Request, responder: Responder) {
        responder.send(Response::text(200, "text/plain", "fine"));
    }
}

impl FastPath for Fine {
    fn cached(&self, _: &str) -> Option<Arc<[u8]>> {
        None
    }
}

/// The internal listeners' server: tiny_http with what could be mended from handlers.
fn mended() -> (TinyServer, Metrics) {
    let metrics = Metrics::new();
    let config = TinyConfig {
        name: "tiny",
        listen: ([127, 0, 0, 1], 0).into(),
        workers: 2,
        body_limit_bytes: 65_536,
        access: Access::Public,
    };
    let server =
        TinyServer::start(config, Arc::new(Fine), HttpMetrics::new(&metrics)).expect("starts");
    (server, metrics)
}

fn edge(limits: Limits) -> Edge {
    let metrics = Metrics::new();
    let listen = "127.0.0.1:0".parse().expect("an address");
    let config = EdgeConfig::public(limits).with(listen, 2);
    Edge::start(config, Arc::new(Fine), HttpMetrics::new(&metrics), &metrics).expect("starts")
}

fn is_served(client: &mut Client) -> bool {
    client
        .stream
        .set_read_timeout(Some(GIVE_UP))
        .expect("a time-out");
    client.answer().is_ok_and(|answer| answer.status == 200)
}

fn serves(address: SocketAddr) -> bool {
    let mut client = Client::connect(address);
    client.send(REQUEST);
    is_served(&mut client)
}

/// Names the server that a child is to be.
const SERVE: &str = "TINY_HTTP_DEFECTS_SERVE";

struct Served {
    child: Child,
    address: SocketAddr,
    /// The child serves until this is closed.
    input: Option<ChildStdin>,
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts this binary again, as a server with the given name of a test.
fn serve(test: &str, server: &str) -> Served {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", test, "--nocapture"])
        .env(SERVE, server)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let address = loop {
        let line = lines
            .next()
            .expect("a line with its address")
            .expect("text");
        if let Some((_, address)) = line.split_once("address ") {
            break address.parse().expect("an address");
        }
    };
    let input = child.stdin.take();
    Served {
        child,
        address,
        input,
    }
}

/// In a child: serves until the standard input ends. In the parent: returns false.
fn is_child() -> bool {
    let Ok(server) = std::env::var(SERVE) else {
        return false;
    };
    if server.ends_with("few") {
        use rustix::process::{Resource, Rlimit, setrlimit};
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(60),
                maximum: Some(60),
            },
        )
        .expect("lowered");
    }
    let until_input_ends = |address: SocketAddr| {
        println!("\naddress {address}");
        let _ = io::stdin().read_to_end(&mut Vec::new());
    };
    if server.starts_with("edge") {
        let edge = edge(Limits::default());
        until_input_ends(edge.address());
    } else if server.starts_with("mended") {
        common::threads::end_process_on_panic();
        let (server, _metrics) = mended();
        until_input_ends(server.address());
    } else {
        let server = tiny_http::Server::http("127.0.0.1:0").expect("starts");
        let address = server.server_addr().to_ip().expect("an address");
        let server = Arc::new(server);
        std::thread::spawn(move || {
            while let Ok(request) = server.recv() {
                let _ = request.respond(tiny_http::Response::from_string("fine"));
            }
        });
        until_input_ends(address);
    }
    true
}

/// One request that declares a large body ends the whole process, answered or not. The edge refuses
/// it; the mended server never answers it, and loses the connection.
#[test]
fn a_declared_length_aborts_the_process() {
    if is_child() {
        return;
    }
    let hostile = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000000000\r\n\r\n";
    let mut tiny = serve("a_declared_length_aborts_the_process", "tiny_http");
    assert!(serves(tiny.address));
    let client = Client::connect(tiny.address);
    client.send(hostile);
    let status = tiny.child.wait().expect("it has ended");
    assert_eq!(status.signal(), Some(6), "aborted: {status:?}");

    let (server, metrics) = mended();
    let mut client = Client::connect(server.address());
    client.send(hostile);
    assert!(!is_served(&mut client));
    assert!(
        metrics
            .text()
            .contains("bazaar_http_requests_forgotten_total 1"),
        "its connection is lost for good"
    );

    let edge = edge(Limits::default());
    let mut client = Client::connect(edge.address());
    assert_eq!(client.answer_to(hostile).expect("refused").status, 413);
    client.assert_closed();
    assert!(serves(edge.address()));
}

/// Of connections that are opened at once, some are not served as long as the others stay open. The
/// edge serves all.
#[test]
fn a_burst_leaves_connections_unserved() {
    if is_child() {
        return;
    }
    let all_served = |address: SocketAddr| {
        let mut clients: Vec<Client> = (0..64).map(|_| Client::connect(address)).collect();
        clients.iter().for_each(|client| client.send(REQUEST));
        clients.iter_mut().all(is_served)
    };
    let stuck = (0..20).any(|_| {
        let tiny = serve("a_burst_leaves_connections_unserved", "tiny_http");
        !all_served(tiny.address)
    });
    assert!(stuck, "twenty bursts were served whole");
    let edge = serve("a_burst_leaves_connections_unserved", "edge");
    assert!(all_served(edge.address));
}

/// The first failure of accept, here for want of descriptors, ends the acceptor: nobody is served
/// ever after. The edge goes on, and what was mended begins anew.
#[test]
fn one_accept_error_ends_the_acceptor() {
    if is_child() {
        return;
    }
    for (server, survives) in [
        ("tiny_http few", false),
        ("mended few", true),
        ("edge few", true),
    ] {
        let served = serve("one_accept_error_ends_the_acceptor", server);
        assert!(serves(served.address), "{server}");
        // Once the acceptor has ended nobody listens, and connecting fails as well.
        let crowd: Vec<TcpStream> = (0..100)
            .map_while(|_| TcpStream::connect(served.address).ok())
            .collect();
        let asks = |mut stream: &TcpStream| stream.write_all(REQUEST).is_ok();
        let waits = |mut stream: &TcpStream| {
            stream.set_read_timeout(Some(GIVE_UP)).is_ok()
                && stream.read(&mut [0; 1]).unwrap_or(0) == 0
        };
        crowd.iter().for_each(|stream| {
            asks(stream);
        });
        assert!(
            crowd.len() < 100 || crowd.iter().any(waits),
            "{server}: there are fewer descriptors than connections"
        );
        drop(crowd);
        // The mended one begins anew after a tenth of a second, once it has a descriptor for that.
        let deadline = Instant::now() + Duration::from_secs(if survives { 20 } else { 2 });
        let mut again = false;
        while !again && Instant::now() < deadline {
            again = TcpStream::connect(served.address).is_ok() && serves(served.address);
        }
        assert_eq!(again, survives, "{server}");
    }
}

/// A head that is never finished is waited for without end. The edge ends it, and so does what was
/// mended.
#[test]
fn no_read_time_out() {
    if is_child() {
        return;
    }
    let begun = b"GET / HTTP/1.1\r\nHost: a\r\n";
    let tiny = serve("no_read_time_out", "tiny_http");
    let mut waited_for = Client::connect(tiny.address);
    waited_for.send(begun);
    let edge = edge(Limits {
        head_timeout: Duration::from_millis(200),
        ..Limits::default()
    });
    let mut ended = Client::connect(edge.address());
    ended.send(begun);
    assert_eq!(ended.answer().expect("ended").status, 408);
    let (server, _metrics) = mended();
    let ended = Client::connect(server.address());
    ended.send(begun);
    let mut end = &ended.stream;
    assert_eq!(end.read(&mut [0; 1]).expect("its end"), 0);
    assert!(
        !is_served(&mut waited_for),
        "neither answered nor ended in all that time"
    );
    waited_for.send(b"\r\n");
    assert!(is_served(&mut waited_for), "it still waits");
}

/// A head may be as large as a client likes. The edge refuses it.
#[test]
fn no_head_limit() {
    let field = format!("A: {}\r\n", "x".repeat(1_000));
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", field.repeat(2_000));
    let (server, _metrics) = mended();
    let mut client = Client::connect(server.address());
    assert_eq!(
        client.answer_to(large.as_bytes()).expect("served").status,
        200
    );
    let edge = edge(Limits::default());
    let mut client = Client::connect(edge.address());
    client.send(&large.as_bytes()[..100_000]);
    assert_eq!(client.answer().expect("refused").status, 431);
}

/// Every open connection has a thread, without a limit. The edge has one thread per core.
#[test]
fn no_connection_limit() {
    if is_child() {
        return;
    }
    for (server, threads_grow) in [("tiny_http", true), ("edge", false)] {
        let served = serve("no_connection_limit", server);
        let threads = || {
            std::fs::read_dir(format!("/proc/{}/task", served.child.id()))
                .expect("there")
                .count()
        };
        let before = threads();
        let clients: Vec<Client> = (0..300).map(|_| Client::connect(served.address)).collect();
        clients.iter().for_each(|client| client.send(REQUEST));
        if threads_grow {
            // Some are stuck (see above), most are not.
            wait_for(
                "threads for most of the connections",
                Duration::from_secs(10),
                || threads() >= before + 100,
            );
        } else {
            assert!(clients.into_iter().all(|mut client| is_served(&mut client)));
            assert_eq!(threads(), before);
        }
    }
}

/// Content-Length beside Transfer-Encoding, two lengths, and a length that is no number are all
/// served, though two recipients could understand them differently. The edge refuses them.
#[test]
fn smuggled_requests_are_served() {
    let (server, _metrics) = mended();
    let edge = edge(Limits::default());
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Content-Length: 0\r\nContent-Length: 3",
        "Content-Length: none",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n");
        let mut client = Client::connect(server.address());
        assert_eq!(
            client.answer_to(request.as_bytes()).expect("served").status,
            200,
            "{fields}"
        );
        let mut client = Client::connect(edge.address());
        assert_eq!(
            client
                .answer_to(request.as_bytes())
                .expect("refused")
                .status,
            400,
            "{fields}"
        );
    }
}
