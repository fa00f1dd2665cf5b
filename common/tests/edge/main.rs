//! The edge over real sockets: hostile clients, each followed by an honest one that must be served.

#![allow(clippy::print_stdout, reason = "for whoever runs the test")]

mod bounds;
mod clients;
mod feed;
mod service;

#[path = "../raw_client/mod.rs"]
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
