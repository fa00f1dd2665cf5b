//! Stop, listen, count.

use super::*;

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
