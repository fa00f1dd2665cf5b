//! Deadlines, by a clock that the scripts turn.

use super::{OTHER, RefusalReason, Response, Script, ok, small};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Time-outs of head and body count from the first byte, however it drips; an idle connection goes
/// without a word.
#[test]
fn time_outs() {
    let mut script = Script::new();
    script.pass(small().idle_timeout / 2);
    script.send("\r\n").pass(small().idle_timeout / 2);
    assert!(
        script.connection.is_done() && script.written.is_empty(),
        "an empty line is no sign of life"
    );
    assert_eq!(script.handlers.reasons, [RefusalReason::Idle]);

    for (begin, drip, reason, timeout) in [
        (
            "G",
            "ET /cached HTTP/1.1\r\nA: bbbbbbbbbbbbbbbbbbbbbbbbbbbb",
            RefusalReason::HeadTimeout,
            small().head_timeout,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n",
            &"x".repeat(50),
            RefusalReason::BodyTimeout,
            small().body_timeout,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;",
            &"x".repeat(50),
            RefusalReason::BodyTimeout,
            small().body_timeout,
        ),
    ] {
        let mut script = Script::new();
        script.send(begin);
        let steps = u32::try_from(drip.len()).expect("few");
        for byte in drip.bytes() {
            assert!(script.statuses().is_empty(), "{reason:?} too early");
            script
                .send([byte])
                .pass(timeout / steps + Duration::from_nanos(1));
        }
        assert_eq!(
            (script.statuses(), &script.handlers.reasons),
            (vec![408], &vec![reason])
        );
        assert!(script.half_closed);
    }
}

/// The head's time begins with its own first byte, not with that of the request before.
#[test]
fn each_head_has_its_time() {
    let mut script = Script::new();
    for _ in 0..5 {
        let (first, rest) = OTHER.split_at(9);
        script
            .send(first)
            .pass(small().head_timeout - Duration::from_millis(1));
        script.send(rest).pass(2 * small().head_timeout);
        script.answer(&ok());
        script.pass(2 * SECOND);
    }
    assert_eq!(script.statuses(), [200; 5]);
}

/// A client that does not read is given up; one that reads slowly, but does, is not.
#[test]
fn unread_answers() {
    let answer = Response::text(200, "text/plain", vec![b'x'; 100_000]);
    let mut script = Script::new();
    script.send(OTHER);
    script.context(|connection, context| connection.answer(&answer, context));
    while !script.connection.output().is_empty() {
        assert!(script.handlers.reasons.is_empty());
        script.read(20_000);
        script.pass_without_reading(script.limits.send_timeout - Duration::from_millis(1));
    }
    assert_eq!(
        (script.statuses(), script.connection.is_done()),
        (vec![200], false)
    );

    script.send(OTHER);
    script.context(|connection, context| connection.answer(&answer, context));
    for _ in 0..10 {
        script.read(10);
        script.pass_without_reading(script.limits.send_timeout / 10);
    }
    assert!(script.connection.is_done() && script.connection.output().is_empty());
    assert_eq!(script.handlers.reasons, [RefusalReason::Unread]);
}

impl Script {
    fn pass_without_reading(&mut self, time: Duration) {
        self.now += time;
        self.context(|connection, context| connection.expire(context));
    }
}
