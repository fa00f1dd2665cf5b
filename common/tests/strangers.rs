//! Callers without the token at an internal listener, with each of the two servers: they get their
//! refusal, and keep nothing for longer than a moment.

use common::http::client::{Call, HttpClient};
use common::http::internal::InternalServer;
use common::http::{Handler, Request, Responder, Response};
use common::metrics::{HttpMetrics, Metrics};
use common::settings::{Settings, Shared};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const TOKEN: &str = "a-good-token";
const SERVERS: [&str; 2] = ["tiny_http", "edge"];
/// Deadline for what happens within three seconds on a machine that does nothing else.
const SOON: Duration = Duration::from_secs(20);

/// Answers with the length of the body.
struct Echo;

impl Handler for Echo {
    fn handle(&self, request: Request, responder: Responder) {
        responder.send(Response::json(200, &request.body.len()));
    }
}

struct Listener {
    server: InternalServer,
    metrics: Metrics,
}

impl Listener {
    fn start(kind: &str) -> Self {
        let pairs = [("BAZAAR_INTERNAL_SERVER", kind), ("BAZAAR_TOKEN", TOKEN)];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let shared = Shared::read(&mut Settings::from_pairs(pairs));
        let metrics = Metrics::new();
        let server = InternalServer::start(
            "test",
            &"127.0.0.1:0".parse().expect("an address"),
            &shared,
            Arc::new(Echo),
            HttpMetrics::new(&metrics),
            &metrics,
        );
        Self {
            server: server.expect("starts"),
            metrics,
        }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// A connection on which this was sent.
    fn stranger(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address()).expect("connects");
        stream.set_read_timeout(Some(SOON)).expect("a time-out");
        stream.write_all(text.as_bytes()).expect("sends");
        stream
    }

    /// A call of one of ours with so many bytes.
    fn call(&self, client: &HttpClient, bytes: usize) -> usize {
        let base = format!("http://{}", self.address());
        let call = Call {
            method: "POST",
            base: &base,
            path: "/x",
            timeout: SOON,
            trace: None,
        };
        client.call(call, &"x".repeat(bytes)).expect("answered")
    }
}

fn status(mut stream: &TcpStream) -> u16 {
    let mut bytes = [0; 512];
    let read = stream.read(&mut bytes).expect("an answer");
    let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
    status.unwrap_or_else(|| panic!("no answer: {text:?}"))
}

/// Reads to the end of the connection; a reset is one.
fn wait_for_end(mut stream: &TcpStream) {
    let mut bytes = [0; 4_096];
    while matches!(stream.read(&mut bytes), Ok(1..)) {}
}

fn post(length: usize, more: &str) -> String {
    format!(
        "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         {more}Content-Length: {length}\r\n\r\n"
    )
}

fn descriptors_at(port: u16) -> usize {
    let text = |name| std::fs::read_to_string(name).expect("there");
    let marks = format!(":{port:04X} ");
    let connected = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Local address, and ESTABLISHED or CLOSE_WAIT: still held by the server.
        fields.len() > 3
            && format!("{} ", fields[1]).ends_with(&marks)
            && matches!(fields[3], "01" | "08")
    };
    text("/proc/net/tcp").lines().filter(connected).count()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The refusal comes although not a byte of the body was sent, for any declared length.
#[test]
fn the_token_is_compared_before_a_body_is_read() {
    for server in SERVERS {
        let listener = Listener::start(server);
        for length in [70, 2_000, 4_194_304, 4_194_305, 900_000_000] {
            // tiny_http reads bodies of up to 1 024 bytes with the head.
            let sent = if length <= 1_024 {
                "x".repeat(length)
            } else {
                String::new()
            };
            let stranger = listener.stranger(&(post(length, "") + &sent));
            assert_eq!(status(&stranger), 401, "{server}, {length} bytes");
        }
        let chunked = "POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(
            status(&listener.stranger(chunked)),
            401,
            "{server}, chunked"
        );
    }
}

/// More strangers with half a body than there could ever be workers keep no service waiting, and
/// are ended, whether the head was that of a stranger or of a service.
#[test]
fn half_sent_bodies_stop_nobody() {
    for server in SERVERS {
        let listener = Listener::start(server);
        let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
        for more in ["", bearer.as_str()] {
            let half = post(2_000, more) + "x";
            let held: Vec<TcpStream> = (0..80).map(|_| listener.stranger(&half)).collect();
            let client = HttpClient::new(1, Some(TOKEN));
            assert_eq!(listener.call(&client, 10), 12, "{server}");
            held.iter().for_each(wait_for_end);
        }
        assert_eq!(
            listener.call(&HttpClient::new(1, Some(TOKEN)), 5_000),
            5_002
        );
    }
}

/// Requests that declare a body beyond the limit, and are left or closed, leave nothing behind: no
/// descriptor, and no request that could neither be answered nor dropped.
#[test]
fn declared_bodies_beyond_the_limit_leave_nothing() {
    for server in SERVERS {
        let listener = Listener::start(server);
        for length in [4_194_305, 50_000_000] {
            for _ in 0..100 {
                drop(listener.stranger(&post(length, "")));
            }
            let held = [(); 20].map(|()| listener.stranger(&post(length, "")));
            held.iter().for_each(wait_for_end);
        }
        let port = listener.address().port();
        wait_until("descriptors to be back", || descriptors_at(port) == 0);
        let text = listener.metrics.text();
        assert!(
            text.contains("bazaar_http_requests_forgotten_total 0"),
            "{server}"
        );
        assert_eq!(listener.call(&HttpClient::new(1, Some(TOKEN)), 10), 12);
    }
}

/// Idle connections, heads that never end and pipelined garbage are ended by the server.
#[test]
fn strangers_do_not_stay() {
    for server in SERVERS {
        let listener = Listener::start(server);
        let garbage = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
        for text in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: a\r\n", &garbage] {
            let held: Vec<TcpStream> = (0..20).map(|_| listener.stranger(text)).collect();
            held.iter().for_each(wait_for_end);
        }
        let port = listener.address().port();
        wait_until("connections to be gone", || descriptors_at(port) == 0);
    }
}

/// Strangers get the routes that are open to all. Requests that a page in a browser could send are
/// refused with the token too.
#[test]
fn open_paths_and_pages() {
    for server in SERVERS {
        let listener = Listener::start(server);
        let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
        for (line, fields, expected) in [
            ("GET /livez", "Host: 127.0.0.1\r\n".to_owned(), 200),
            (
                "GET /livez",
                "Host: rebound.example:7100\r\n".to_owned(),
                421,
            ),
            ("GET /x", format!("Host: localhost\r\n{bearer}"), 200),
            (
                "GET /x",
                format!("Host: localhost\r\nOrigin: http://a\r\n{bearer}"),
                403,
            ),
            (
                "POST /x",
                format!("Host: localhost\r\nContent-Length: 1\r\n{bearer}"),
                415,
            ),
        ] {
            let stranger = listener.stranger(&format!("{line} HTTP/1.1\r\n{fields}\r\n1"));
            assert_eq!(status(&stranger), expected, "{server}: {line} {fields}");
        }
    }
}

/// Bodies up to 4 MiB of callers with the token arrive whole.
#[test]
fn large_bodies_of_services_arrive() {
    for server in SERVERS {
        let listener = Listener::start(server);
        let client = HttpClient::new(1, Some(TOKEN));
        for bytes in [1_000, 100_000, 4_194_302] {
            assert_eq!(listener.call(&client, bytes), bytes + 2, "{server}");
        }
    }
}
