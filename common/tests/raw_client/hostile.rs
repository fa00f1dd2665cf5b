//! Requests of clients that mean no good, or do not know better.

/// Follows every hostile request. A server that serves it has taken a part of the request before
/// for the end of it.
const SMUGGLED: &str = "GET /stocks/GameStart HTTP/1.1\r\nHost: smuggled\r\n\r\n";

/// Each with the status of its refusal, after which the connection ends: nothing behind it is
/// answered.
#[allow(dead_code)] // Not every test binary needs it.
pub fn requests() -> Vec<(String, u16)> {
    let heads = malformed_heads().into_iter();
    let cases = heads
        .chain(framing())
        .chain(chunks())
        .chain(sizes())
        .chain(unknown());
    cases
        .map(|(request, status)| (request + SMUGGLED, status))
        .collect()
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

fn long(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// Lines that two recipients could read differently, and hosts that are none.
fn malformed_heads() -> Vec<(String, u16)> {
    let fields = [
        "A: b\rc",
        "A: b\0c",
        "A\0: b",
        "A: b\r\n c",
        "A : b",
        "A",
        ": b",
        " A: b",
        "A: b\nC: d",
    ];
    let lines = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.10\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}",
        "\0",
    ];
    let fields = fields.iter().map(|field| post(&format!("{field}\r\n"), ""));
    fields
        .chain(lines.map(String::from))
        .map(|request| (request, 400))
        .collect()
}

/// Where the body ends is not said, or said in two ways (RFC 9112 section 11.2: request smuggling).
fn framing() -> Vec<(String, u16)> {
    let fields = [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 4",
        "Content-Length: three",
        "Content-Length: -3",
        "Content-Length: +3",
        "Content-Length: 0x3",
        "Content-Length: 3 4",
        "Content-Length:",
        "Content-Length : 3",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ];
    let mut cases: Vec<_> = fields
        .iter()
        .map(|f| (post(&format!("{f}\r\n"), "0\r\n\r\n"), 400))
        .collect();
    cases.push((
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        400,
    ));
    cases.push((
        post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        501,
    ));
    cases
}

/// Chunks that are none.
fn chunks() -> Vec<(String, u16)> {
    let bodies = [
        "x\r\n",
        "\r\n",
        "-1\r\n",
        "0x1\r\na\r\n",
        "1\na\n0\n\n",
        "1 \r\na\r\n",
        "1;a\0\r\na\r\n",
        "1;\r\na\r\n",
        "1;a=\r\na\r\n",
        "1;a b\r\na\r\n",
        "1;a=b \r\na\r\n",
        "1;a=\"b\r\na\r\n0\r\n\r\n",
        "1;a=\"b\\\"\r\na\r\n0\r\n\r\n",
        "1;\"a\"=b\r\na\r\n",
        "1\r\nab\r\n",
        "0\r\nA: \0\r\n\r\n",
        "0\r\n A: b\r\n\r\n",
        "0\r\nA : b\r\n\r\n",
    ];
    bodies
        .iter()
        .map(|body| (post("Transfer-Encoding: chunked\r\n", body), 400))
        .collect()
}

/// More than is taken.
fn sizes() -> Vec<(String, u16)> {
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    vec![
        (post("Content-Length: 100000000000\r\n", ""), 413),
        (
            post("Content-Length: 99999999999999999999999999\r\n", ""),
            413,
        ),
        (post("Content-Length: 300000\r\n", &long(300_000)), 413),
        (chunked("10001\r\n"), 413),
        (chunked("FFFFFFFFFFFFFFFFFFFFFFFF\r\n"), 413),
        (
            chunked(&format!("8000\r\n{}\r\n8001\r\n", long(0x8000))),
            413,
        ),
        (chunked(&format!("1;{}\r\n", long(9_000))), 400),
        (chunked(&format!("0\r\nA: {}\r\n\r\n", long(9_000))), 400),
        (post(&format!("A: {}\r\n", long(9_000)), ""), 431),
        (post(&format!("A: {}", long(900_000)), ""), 431),
        (post(&"A: b\r\n".repeat(101), ""), 431),
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(2_048)),
            414,
        ),
        (format!("GET /{}", long(500_000)), 414),
        (long(100), 501),
    ]
}

/// Methods, versions and wishes that are not known here.
fn unknown() -> Vec<(String, u16)> {
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    vec![
        (line("BREW / HTTP/1.1"), 501),
        (line("get / HTTP/1.1"), 501),
        (line("BREW /stocks HTTP/1.1"), 501),
        (line("CONNECT a:1 HTTP/1.1"), 501),
        (line("GET https://a/ HTTP/1.1"), 421),
        (line("GET / HTTP/2.0"), 505),
        (line("GET / HTTP/0.9"), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        (post("Expect: wonders\r\n", ""), 417),
    ]
}
