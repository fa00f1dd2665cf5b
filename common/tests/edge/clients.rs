//! Clients that are hostile, slow, gone, or quicker than usual.

use super::*;

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
