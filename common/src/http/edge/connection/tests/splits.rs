//! Output and requests depend on the bytes, never on how they were cut into reads.

use super::{GET, OTHER, POST, RefusalReason, TestConnection};
use crate::http::Response;
use proptest::prelude::*;

/// The outside of a connection: everything that was written, the requests that the handler
/// saw, and whether it is over.
type Seen = (String, Vec<(String, Vec<u8>)>, Vec<RefusalReason>, bool);

fn run(bytes: &[u8], cuts: &[usize]) -> Seen {
    let mut client = TestConnection::new();
    let mut at = 0;
    let mut cuts = cuts.iter().copied().cycle();
    let mut seen = Vec::new();
    loop {
        while let Some(request) = client.handlers.requests.pop() {
            let answer = Response::text(200, "text/plain", request.body.clone());
            seen.push((
                format!("{} {} {:?}", request.method, request.path, request.query),
                request.body,
            ));
            client.answer(&answer);
        }
        if at == bytes.len() || !client.connection.wants_input() {
            break;
        }
        let n = cuts.next().unwrap_or(usize::MAX).clamp(1, bytes.len() - at);
        client.send(&bytes[at..at + n]);
        at += n;
    }
    // A subscriber would watch until it ends its side.
    if client.connection.wants_input() || client.connection.is_following() {
        client.end();
    }
    let over = client.connection.is_done();
    let written = String::from_utf8_lossy(&client.written).into_owned();
    (written, seen, client.handlers.reasons, over)
}

/// Pieces of which many sequences are almost right.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        GET,
        OTHER,
        POST,
        "HEAD /cached HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /feed HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /cached HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "3\r\nabc\r\n",
        "0\r\n\r\n",
        "1;x\r\n",
        "GET ",
        "/cached",
        " HTTP/1.1\r\n",
        "Host: a\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "Connection: close\r\n",
        "\r\n",
        "\r",
        "\n",
        " ",
        "\0",
        "X-Request-Id: t\r\n",
        "HTTP/2.0",
        // Longer than a target may be.
        concat!(
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        ),
    ]);
    prop_oneof![
        9 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..9)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    /// However the same bytes are cut into reads, the same requests are seen and the same answers
    /// are written.
    #[test]
    fn any_split_gives_the_same(
        pieces in prop::collection::vec(piece(), 0..12),
        cuts in prop::collection::vec(1_usize..40, 1..8),
    ) {
        let bytes = pieces.concat();
        let whole = run(&bytes, &[usize::MAX]);
        prop_assert_eq!(&run(&bytes, &cuts), &whole);
        prop_assert_eq!(&run(&bytes, &[1]), &whole);
        prop_assert!(whole.3, "a client that is done leaves nothing open");
    }
}
