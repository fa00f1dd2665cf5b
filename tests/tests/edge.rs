//! Strangers at the public listener of a real front-end: whatever they do, honest clients are
//! answered and can trade.

#![allow(clippy::print_stdout, reason = "for the person who runs the test")]

// One client for both: what a hostile client may say is written down once.
#[path = "../../common/tests/raw_client/mod.rs"]
mod raw_client;

use cluster::service::Service;
use cluster::wait;
use common::wire::order::Side;
use common::wire::public::ErrorBody;
use raw_client::{Answer, Client, hostile};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Barrier, Weak};
use std::thread;
use std::time::{Duration, Instant};
use tests::harness::{Bazaar, SOON};

const FRONTEND: Service = Service::Frontend(1);
const CACHED: &[u8] = b"GET /stocks/FishCo HTTP/1.1\r\nHost: bazaar\r\n\r\n";

fn address(bazaar: &Bazaar) -> SocketAddr {
    bazaar.cluster.spec().addresses.frontends[0].public
}

/// The value of one of the front-end's counters or gauges.
fn metric(bazaar: &Bazaar, name: &str) -> u64 {
    let text = bazaar
        .cluster
        .internal(FRONTEND)
        .get("/metrics")
        .expect("metrics")
        .body;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

fn wait_metric(bazaar: &Bazaar, name: &str, wanted: u64) {
    let mut last = 0;
    let reached = wait::until(SOON, || {
        last = metric(bazaar, name);
        (last == wanted).then_some(())
    });
    assert!(reached.is_some(), "{name} is {last}, not {wanted}");
}

/// An honest client is answered and can trade.
fn assert_serves(bazaar: &Bazaar) {
    assert!(bazaar.quantity("FishCo") >= 100);
    bazaar
        .trade("BoarCo", Side::Sell, 1)
        .expect("an honest client can trade");
}

/// Every hostile request is refused readably, with its status and the public error object, and its
/// connection ends in order; nothing that was smuggled behind it is answered. After each, an honest
/// client is answered and can trade.
#[test]
fn hostile_requests() {
    let bazaar = Bazaar::start();
    let requests = hostile::requests();
    for (request, status) in &requests {
        let shown = &request[..request.len().min(100)];
        let mut client = Client::connect(address(&bazaar));
        let answer = client
            .answer_to(request.as_bytes())
            .unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        assert_eq!(answer.status, *status, "{shown:?}");
        let body: ErrorBody =
            serde_json::from_slice(&answer.body).expect("the public error object");
        assert_eq!(body.error.code, *status);
        assert_eq!(answer.field("connection"), Some("close"), "{shown:?}");
        client.assert_closed();
        assert_serves(&bazaar);
    }
    assert_eq!(
        bazaar.quantity("BoarCo"),
        100 + requests.len() as u64,
        "no hostile request traded"
    );
    bazaar.close();
}

/// A burst of 1 000 connections, opened at once and all kept open, is served, each of them.
#[test]
fn burst() {
    const THREADS: usize = 20;
    let bazaar = Bazaar::start();
    allow_open_files(3_000);
    let address = address(&bazaar);
    let all_open = Barrier::new(THREADS);
    let open = || {
        let mut clients: Vec<Client> = (0..1_000 / THREADS)
            .map(|_| Client::connect(address))
            .collect();
        clients.iter().for_each(|client| client.send(CACHED));
        for client in &mut clients {
            assert_eq!(client.answer().expect("each is served").status, 200);
        }
        all_open.wait();
        clients.len()
    };
    let served: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(open)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("all are served"))
            .sum()
    });
    assert_eq!(served, 1_000);
    assert_serves(&bazaar);
    bazaar.close();
}

/// No response allows another site anything, although a browser asks from there; none names the
/// server, and OPTIONS lists the methods.
#[test]
fn headers() {
    let bazaar = Bazaar::start();
    let origin =
        "Host: a\r\nOrigin: http://elsewhere.example\r\nAccess-Control-Request-Method: POST\r\n";
    for (request, status, allow) in [
        ("GET /stocks/FishCo HTTP/1.1", 200, None),
        ("GET /stocks HTTP/1.1", 200, None),
        ("GET /nothing HTTP/1.1", 404, None),
        (
            "DELETE /orders HTTP/1.1",
            405,
            Some("GET, HEAD, POST, OPTIONS"),
        ),
        ("BREW /stocks HTTP/1.1", 501, None),
        (
            "OPTIONS /orders HTTP/1.1",
            204,
            Some("GET, HEAD, POST, OPTIONS"),
        ),
        (
            "OPTIONS /stocks/FishCo HTTP/1.1",
            204,
            Some("GET, HEAD, OPTIONS"),
        ),
        ("OPTIONS * HTTP/1.1", 204, Some("GET, HEAD, POST, OPTIONS")),
    ] {
        let mut client = Client::connect(address(&bazaar));
        client.send(format!("{request}\r\n{origin}\r\n").as_bytes());
        let answer: Answer = if status == 204 {
            client.head()
        } else {
            client.answer()
        }
        .expect("answered");
        assert_eq!(
            (answer.status, answer.field("allow")),
            (status, allow),
            "{request}"
        );
        let names: Vec<_> = answer
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .collect();
        let discloses = |name: &str| {
            name.starts_with("access-control-") || ["server", "via", "x-powered-by"].contains(&name)
        };
        let disclosed = names
            .iter()
            .find(|(name, _)| discloses(&name.to_ascii_lowercase()));
        assert_eq!(disclosed, None, "{request}");
        assert!(answer.field("date").is_some(), "{request}");
        assert_eq!(
            answer.field("x-content-type-options"),
            Some("nosniff"),
            "{request}"
        );
    }
    bazaar.close();
}

/// An order that a browser marks as a foreign page's is refused with the remedy, whatever its
/// content type, and trades nothing; the bazaar's own page, programs and listed origins trade.
#[test]
fn a_foreign_page_may_not_trade() {
    let bazaar = Bazaar::start_with(1, |spec| {
        spec.set("FRONTEND_ORIGINS", "https://shop.example");
    });
    let own = address(&bazaar).to_string();
    let body = r#"{"name":"FishCo","quantity":1,"type":"sell"}"#;
    let rebound = String::from("Host: evil.example\r\nOrigin: http://evil.example\r\n");
    for (fields, status) in [
        (format!("Host: {own}\r\n"), 200),
        (
            format!("Host: {own}\r\nOrigin: http://{own}\r\nSec-Fetch-Site: same-origin\r\n"),
            200,
        ),
        (
            format!(
                "Host: {own}\r\nOrigin: https://shop.example\r\nSec-Fetch-Site: cross-site\r\n"
            ),
            200,
        ),
        (
            format!("Host: {own}\r\nSec-Fetch-Site: cross-site\r\n"),
            403,
        ),
        (
            format!("Host: {own}\r\nSec-Fetch-Site: same-site\r\nOrigin: http://{own}\r\n"),
            403,
        ),
        (
            format!("Host: {own}\r\nOrigin: http://127.0.0.1:1\r\n"),
            403,
        ),
        (format!("Host: {own}\r\nOrigin: null\r\n"), 403),
        (rebound, 403),
    ] {
        for content_type in ["", "Content-Type: text/plain\r\n"] {
            let mut client = Client::connect(address(&bazaar));
            let request = format!(
                "POST /orders HTTP/1.1\r\n{fields}{content_type}Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = client.answer_to(request.as_bytes()).expect("answered");
            assert_eq!(answer.status, status, "{request}");
            let text = String::from_utf8_lossy(&answer.body);
            assert_eq!(text.contains("FRONTEND_ORIGINS"), status == 403, "{text}");
        }
    }
    assert_eq!(
        bazaar.quantity("FishCo"),
        106,
        "three kinds traded, twice each"
    );
    // Their orders are not among the recorded ones: the closing checks count them in the log.
    bazaar.close();
}

/// With the other server a front-end says at start what it lacks; with the edge there is nothing to
/// say.
#[test]
fn tiny_http_says_what_it_lacks() {
    for (server, lacks) in [("edge", false), ("tiny_http", true)] {
        let bazaar = Bazaar::start_with(1, |spec| {
            spec.set("FRONTEND_SERVER", server);
        });
        let log = fs::read_to_string(bazaar.cluster.log_path(FRONTEND)).expect("a log");
        let line = log
            .lines()
            .find(|line| line.contains("WARN") && line.contains("tiny_http"));
        assert_eq!(line.is_some(), lacks, "{log}");
        for lack in line.map_or(&[][..], |_| {
            &["connections", "heads", "slow clients", "large body"]
        }) {
            assert!(
                line.is_some_and(|line| line.contains(lack)),
                "'{lack}' is not in {line:?}"
            );
        }
        bazaar.close();
    }
}

/// A crowd of idle and dripping clients, small enough for every run of the tests. How quickly
/// honest clients are served is for the full one: here other tests run beside it.
#[test]
fn crowd() {
    assert_crowd_is_borne(500, 25);
}

/// 5 000 idle and 500 dripping connections: honest cached reads keep their p99 under 20 ms.
#[test]
#[ignore = "a measurement: run it alone, with --release"]
fn full_crowd() {
    let most = assert_crowd_is_borne(5_000, 250);
    assert!(
        most < Duration::from_millis(20),
        "p99 of cached reads: {most:?}"
    );
}

/// How much memory a front-end may take in a crowd.
const MEMORY_KIB: u64 = 100 * 1024;
/// The edge's times for a head and for a body.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// While so many clients are idle, so many drip a head and so many a body, reads and orders go on,
/// each dripping client is refused in its time, and the front-end stays small; the idle ones are
/// served when they ask at last. Gives the p99 of cached reads.
fn assert_crowd_is_borne(idle: usize, dripping: usize) -> Duration {
    let bazaar = Bazaar::start();
    allow_open_files(idle + 2 * dripping + 200);
    let address = address(&bazaar);
    assert_serves(&bazaar);
    let mut idle: Vec<Client> = (0..idle).map(|_| Client::connect(address)).collect();
    let (alive, mut memory) = (Arc::new(()), 0);
    let crowd = Arc::downgrade(&alive);
    let (mut reads, orders) = thread::scope(|scope| {
        let reading = scope.spawn(|| read_while(address, &crowd));
        let trading = scope.spawn(|| trade_while(&bazaar, &crowd));
        // Owns the mark, so that the others end with it, also when it fails.
        let dripping = scope.spawn(move || drip(address, dripping, alive));
        let ended = wait::until(SOON * 2, || {
            memory = memory.max(resident_kib(&bazaar));
            dripping.is_finished().then_some(())
        });
        dripping
            .join()
            .expect("each dripping client is refused in its time");
        assert!(ended.is_some());
        (
            reading.join().expect("all are read"),
            trading.join().expect("all are traded"),
        )
    });
    reads.sort();
    let (half, most) = (reads[reads.len() / 2], reads[reads.len() * 99 / 100]);
    println!(
        "{} idle, {} dripping: {} reads, median {half:?}, p99 {most:?}; {orders} orders; {memory} \
         KiB",
        idle.len(),
        2 * dripping,
        reads.len()
    );
    assert!(
        reads.len() > 100 && orders > 10,
        "{} reads and {orders} orders",
        reads.len()
    );
    assert!(memory < MEMORY_KIB, "{memory} KiB");
    for reason in ["head_timeout", "body_timeout"] {
        let name = format!("bazaar_edge_refusals_total{{reason=\"{reason}\"}}");
        wait_metric(&bazaar, &name, dripping as u64);
    }
    idle.iter().for_each(|client| client.send(CACHED));
    for client in &mut idle {
        assert_eq!(
            client.answer().expect("an idle one asks at last").status,
            200
        );
    }
    drop(idle);
    assert_serves(&bazaar);
    bazaar.close();
    most
}

/// A client that sends byte after byte until it is refused.
struct Dripping {
    client: Client,
    began: Instant,
    limit: Duration,
}

/// So many dripping heads and as many dripping bodies. Each is answered 408 when its time is over.
fn drip(address: SocketAddr, each: usize, _alive: Arc<()>) {
    const EVERY: Duration = Duration::from_millis(100);
    let head = "GET /stocks/FishCo HTTP/1.1\r\nHost: a\r\nA: ";
    let body = "POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n";
    let start = |(first, limit): (&str, Duration)| {
        let (client, began) = (Client::connect(address), Instant::now());
        client.send(first.as_bytes());
        client.stream.set_nonblocking(true).expect("does not wait");
        Dripping {
            client,
            began,
            limit,
        }
    };
    let kinds = [(head, HEAD_TIMEOUT), (body, BODY_TIMEOUT)];
    let mut all: Vec<Dripping> = kinds
        .into_iter()
        .cycle()
        .take(2 * each)
        .map(start)
        .collect();
    let mut last = Instant::now();
    let refused = wait::until(SOON + BODY_TIMEOUT, || {
        if last.elapsed() >= EVERY {
            last = Instant::now();
            all.iter().for_each(|dripping| dripping.client.send(b"x"));
        }
        all.retain(|dripping| !dripping.is_refused());
        all.is_empty().then_some(())
    });
    assert!(refused.is_some(), "{} clients drip for ever", all.len());
}

impl Dripping {
    /// Whether its refusal has come, and that not before its time, nor later than the bounds of 5 s
    /// for a head and 10 s for a body.
    fn is_refused(&self) -> bool {
        let mut answer = [0; 1_024];
        match (&self.client.stream).read(&mut answer) {
            Ok(n) => {
                let took = self.began.elapsed();
                let answer = String::from_utf8_lossy(&answer[..n]);
                assert!(
                    answer.starts_with("HTTP/1.1 408 "),
                    "{answer:?} after {took:?}"
                );
                // The front-end's clock is read once per round of its loop: it may think that the
                // first byte came a little earlier.
                assert!(took + Duration::from_millis(100) > self.limit, "{took:?}");
                assert!(took < self.limit.mul_f64(2.5), "{took:?}");
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                false
            }
        }
    }
}

/// Reads a cached stock again and again while `crowd` is there, now and then over a fresh
/// connection, and gives how long each took.
fn read_while(address: SocketAddr, crowd: &Weak<()>) -> Vec<Duration> {
    let mut client = Client::connect(address);
    let mut times = Vec::new();
    while crowd.strong_count() > 0 {
        let asked = Instant::now();
        if times.len() % 50 == 49 {
            client = Client::connect(address);
        }
        assert_eq!(
            client
                .answer_to(CACHED)
                .expect("an honest client is answered")
                .status,
            200
        );
        times.push(asked.elapsed());
    }
    times
}

/// Trades while `crowd` is there, and gives how often.
fn trade_while(bazaar: &Bazaar, crowd: &Weak<()>) -> u64 {
    let (api, mut orders) = (bazaar.api(), 0);
    while crowd.strong_count() > 0 {
        bazaar
            .trade_at(&api, "BoarCo", Side::Sell, 1, None)
            .expect("orders go on");
        orders += 1;
    }
    orders
}

/// Memory of the front-end's process.
fn resident_kib(bazaar: &Bazaar) -> u64 {
    let pid = bazaar.cluster.pid(FRONTEND).expect("it runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("readable");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("there");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

/// Raises the limit of open files of this process, which has one for each client.
fn allow_open_files(wanted: usize) {
    let (limit, wanted) = (getrlimit(Resource::Nofile), wanted as u64 + 200);
    if limit.current.is_some_and(|current| current < wanted) {
        assert!(
            limit.maximum.is_none_or(|maximum| maximum >= wanted),
            "this test needs {wanted} open files"
        );
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                ..limit
            },
        )
        .expect("raised");
    }
}
