//! Subscribers of a feed.

use super::*;

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
