//! Bounds on what a connection holds, whatever its client does.

use super::super::PAUSE_BYTES;
use super::{GET, POST, State, TestConnection};

/// However many requests come at once, and however slowly their responses are read, what is held is
/// bounded; all are answered.
#[test]
fn pipelining_is_bounded() {
    let mut client = TestConnection::new();
    let requests = 16 * 1024 / GET.len();
    for _ in 0..20 {
        assert!(client.connection.wants_input());
        client.context(|connection, context| {
            connection.receive(GET.repeat(requests).as_bytes(), context)
        });
        while !client.connection.output().is_empty() {
            assert!(
                client.connection.output().len() < PAUSE_BYTES + 300,
                "{}",
                client.connection.output().len()
            );
            assert!(client.connection.held.len() <= 16 * 1024 && !client.connection.wants_input());
            client.read(1_000);
        }
    }
    assert_eq!(client.statuses().len(), 20 * requests);
}

/// A body that is held behind a pause, which its own 100 Continue can bring about, is taken when
/// the responses are read.
#[test]
fn body_behind_a_pause() {
    let expecting = POST.replace("Host", "Expect: 100-continue\r\nHost");
    let without_id = TestConnection::new().send(GET).take_written().len() - 16;
    let mut paused = 0;
    // The ids make the responses longer, byte by byte, so that one of them ends right below the
    // bound.
    for longer in 0..200 {
        let mut client = TestConnection::new();
        let mut cached = String::new();
        let mut output = 0;
        for i in 0.. {
            let id = "x".repeat(
                16 + if i < 5 { longer / 5 } else { 0 } + usize::from(i == 0) * (longer % 5),
            );
            output += without_id + id.len();
            if output >= PAUSE_BYTES {
                break;
            }
            cached += &GET.replace("Host", &format!("X-Request-Id: {id}\r\nHost"));
        }
        client.context(|connection, context| {
            connection.receive(
                [&cached, &expecting]
                    .map(String::as_str)
                    .concat()
                    .as_bytes(),
                context,
            )
        });
        paused += usize::from(matches!(client.connection.state, State::Body(_)));
        client.flush();
        assert_eq!(client.handlers.requests.len(), 1, "{longer}");
    }
    assert!(paused > 0, "none of them paused in the body");
}
