//! The server of the internal listeners against callers that misbehave, and the client that talks
//! to it.

use common::http::access::Access;
use common::http::client::{Call, CallError, HttpClient};
use common::http::tiny::{TinyConfig, TinyServer};
use common::http::{Handler, Request, Responder, Response};
use common::metrics::{HttpMetrics, Metrics};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers with the length of the body.
struct Echo;

impl Handler for Echo {
    fn handle(&self, request: Request, responder: Responder) {
        responder.send(Response::json(200, &request.body.len()));
    }
}

fn start(token: Option<&str>) -> TinyServer {
    let config = TinyConfig {
        name: "test",
        listen: "127.0.0.1:0".parse().expect("an address"),
        workers: 2,
        body_limit_bytes: 100_000,
        access: Access::internal(token),
    };
    TinyServer::start(config, Arc::new(Echo), HttpMetrics::new(&Metrics::new())).expect("starts")
}

fn length_of(server: &TinyServer, client: &HttpClient, bytes: usize) -> Result<usize, CallError> {
    let base = format!("http://{}", server.address());
    let call = Call {
        method: "POST",
        base: &base,
        path: "/x",
        timeout: Duration::from_secs(5),
        trace: None,
    };
    client.call(call, &"x".repeat(bytes))
}

fn raw(server: &TinyServer, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("connects");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("sets");
    stream.write_all(text.as_bytes()).expect("sends");
    stream
}

fn first_line(mut stream: &TcpStream) -> String {
    let mut bytes = [0; 256];
    let read = stream.read(&mut bytes).expect("an answer");
    String::from_utf8_lossy(&bytes[..read])
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Small and large bodies arrive whole, one above the limit is refused, and a caller without the
/// token gets 401.
#[test]
fn bodies_and_access() {
    let server = start(Some("a-good-token"));
    let client = HttpClient::new(2, Some("a-good-token"));
    for bytes in [10, 1_022, 1_030, 90_000] {
        assert_eq!(
            length_of(&server, &client, bytes).expect("answers"),
            bytes + 2
        );
    }
    let status = |result: Result<usize, CallError>| match result {
        Err(CallError::Status { status, .. }) => status,
        other => panic!("{other:?}"),
    };
    assert_eq!(status(length_of(&server, &client, 200_000)), 413);
    for stranger in [None, Some("a-bad-token!")] {
        assert_eq!(
            status(length_of(&server, &HttpClient::new(1, stranger), 10)),
            401
        );
        assert_eq!(
            status(length_of(&server, &HttpClient::new(1, stranger), 5_000)),
            401
        );
    }
}

/// Requests to upgrade the connection are refused at once; they hold no worker.
#[test]
fn upgrades_hold_nobody() {
    let server = start(None);
    let waiting: Vec<TcpStream> = (0..6)
        .map(|_| {
            raw(
                &server,
                "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n\
                 Upgrade: y\r\n\r\n",
            )
        })
        .collect();
    for stream in &waiting {
        assert_eq!(first_line(stream), "HTTP/1.1 400 Bad Request");
    }
    assert_eq!(
        length_of(&server, &HttpClient::new(1, None), 10).expect("answers"),
        12
    );
}

/// Callers that stop in the middle of a body hold neither other bodies nor the stop.
#[test]
fn half_sent_bodies_hold_nobody() {
    let server = start(None);
    let half = "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 5000\r\n\r\nonly the beginning";
    let waiting: Vec<TcpStream> = (0..12).map(|_| raw(&server, half)).collect();
    let client = HttpClient::new(1, None);
    assert_eq!(length_of(&server, &client, 5_000).expect("answers"), 5_002);
    let stopping = Instant::now();
    drop(server);
    assert!(
        stopping.elapsed() < Duration::from_secs(4),
        "{:?}",
        stopping.elapsed()
    );
    drop(waiting);
}

/// A refused connection was not sent; a connection that is closed without a response may have been
/// carried out; an aborted client fails at once.
#[test]
fn the_client_tells_what_is_known() {
    let client = HttpClient::new(1, None);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let closer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accepts");
        let mut bytes = [0; 1_024];
        let _read = stream.read(&mut bytes).expect("a request");
    });
    let get = || client.get::<usize>(&base, "/x", Duration::from_secs(5));
    let lost = get().expect_err("closed");
    assert!(lost.outcome_unknown() && lost.is_retryable(), "{lost}");
    closer.join().expect("joins");
    let refused = get().expect_err("refused");
    assert!(
        !refused.outcome_unknown() && refused.is_retryable(),
        "{refused}"
    );
    client.abort();
    assert!(get().is_err());
}
