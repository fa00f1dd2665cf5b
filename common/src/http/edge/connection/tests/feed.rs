//! Subscribers of a feed.

use super::super::FEED_BYTES;
use super::{GET, Script, small};
use crate::http::edge::limits::Limits;
use crate::http::edge::refusal::RefusalReason;

const FEED: &str = "GET /feed HTTP/1.1\r\nHost: a\r\n\r\n";

fn push_event(script: &mut Script, event: &[u8]) {
    script.context(|connection, context| connection.push_event(event, context));
}

fn subscriber() -> Script {
    let mut script = Script::new();
    script.send(FEED);
    assert!(script.connection.is_following());
    script
}

/// A subscriber gets a head without length, the snapshot, then each event, whole and in
/// order; its requests behind the first are not served.
#[test]
fn follows() {
    let mut script = Script::new();
    script.send([FEED, GET].concat());
    let written = script.take_written();
    assert!(
        written.starts_with("HTTP/1.1 200 OK\r\n") && written.ends_with("\r\n\r\nfirst\n\n"),
        "{written}"
    );
    assert!(
        written.contains("text/event-stream") && !written.contains("Content-Length"),
        "{written}"
    );
    for event in ["one\n\n", "two\n\n"] {
        push_event(&mut script, event.as_bytes());
    }
    script.flush();
    assert_eq!(script.take_written(), "one\n\ntwo\n\n");
    assert!(
        !script.connection.wants_input()
            && script.connection.idle_since().is_none()
            && !script.half_closed
    );
    assert_eq!(
        script.connection.deadline(&script.limits),
        None,
        "it may watch for ever"
    );
    assert!(script.handlers.requests.is_empty());
}

/// HEAD of a feed has the fields of the feed: no length, since GET has none. It takes no permit, no
/// handler is asked, and the connection goes on.
#[test]
fn head_of_a_feed_has_no_length_and_no_effect() {
    let mut script = Script::new();
    script.send(FEED.replace("GET", "HEAD"));
    let written = script.take_written();
    assert!(
        written.starts_with("HTTP/1.1 200 OK\r\n")
            && written.contains("Content-Type: text/event-stream\r\n")
            && written.ends_with("\r\n\r\n"),
        "{written}"
    );
    for wrong in ["Content-Length", "Connection: close", "first"] {
        assert!(!written.contains(wrong), "{wrong} in {written}");
    }
    assert!(script.handlers.requests.is_empty() && script.handlers.permits.take().is_some());
    script.send(GET);
    assert_eq!(script.statuses(), [200]);
}

/// Events go to subscribers only; with a query, or without a free permit, a GET is an ordinary request.
#[test]
fn only_subscribers() {
    let mut script = Script::new();
    push_event(&mut script, b"one\n\n");
    assert!(script.connection.output().is_empty());
    let mut script = Script::new();
    script.send(FEED.replace("/feed", "/feed?poll"));
    assert!(script.connection.is_waiting() && !script.connection.is_following());
    let mut script = Script::new();
    let taken = script.handlers.permits.take();
    script.send(FEED);
    assert!(taken.is_some() && script.connection.is_waiting());
    let mut script = Script::new();
    script.stopping = true;
    script.send(FEED);
    assert!(
        script.connection.is_waiting(),
        "a server that stops begins no feed"
    );
}

/// A subscriber that does not keep up is dropped before more than the bound waits, and its permit
/// is free; what it was sent first does not count.
#[test]
fn slow_subscriber() {
    let mut script = Script::new();
    script.context(|connection, context| connection.receive(FEED.as_bytes(), context));
    let opening = script.connection.output().len();
    let event = [b'x'; 1_000];
    for _ in 0..FEED_BYTES / event.len() {
        push_event(&mut script, &event);
    }
    assert!(script.connection.is_following() && script.handlers.permits.take().is_none());
    assert!(script.connection.output().len() <= opening + FEED_BYTES);
    push_event(&mut script, &event);
    assert!(script.connection.is_done() && script.connection.output().is_empty());
    assert_eq!(script.handlers.reasons, [RefusalReason::Slow]);
    assert!(
        script.handlers.permits.take().is_some(),
        "the permit is free"
    );
}

/// A subscriber that reads nothing at all is dropped in the time that any answer has.
#[test]
fn stalled_subscriber() {
    let mut script = subscriber();
    push_event(&mut script, b"one\n\n");
    script.now += script.limits.send_timeout;
    script.context(|connection, context| connection.expire(context));
    assert!(script.connection.is_done());
    assert_eq!(script.handlers.reasons, [RefusalReason::Unread]);
}

/// A subscriber that ends its side is gone, and nobody's fault.
#[test]
fn subscriber_leaves() {
    let mut script = subscriber();
    script.end();
    assert!(script.connection.is_done() && script.handlers.reasons.is_empty());
    assert!(
        script.handlers.permits.take().is_some(),
        "the permit is free"
    );
}

/// Subscribers take a tenth of the connections, and there is always a place for one.
#[test]
fn permits_of_a_server() {
    assert_eq!(
        Limits {
            connections: 10_000,
            ..small()
        }
        .subscribers(),
        1_000
    );
    assert_eq!(
        Limits {
            connections: 1,
            ..small()
        }
        .subscribers(),
        1
    );
}
