//! The duties of a server in RFC 9112, and the limits to the byte.

use super::{GET, POST, Script, ok};

/// The limits, each met exactly and exceeded by one.
#[test]
fn limits() {
    let head_of = |n: usize| {
        format!(
            "GET /cached HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n",
            "x".repeat(n - 38)
        )
    };
    let target_of = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(n - 1));
    let fields_of = |n: usize| {
        format!(
            "GET /cached HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "A:\r\n".repeat(n - 1)
        )
    };
    let body_of = |n: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {n}\r\n\r\n{}",
            "x".repeat(n)
        )
    };
    for (request, wrong) in [
        (head_of(300), None),
        (head_of(301), Some(431)),
        (head_of(302)[..301].into(), Some(431)),
        (target_of(100), None),
        (target_of(101), Some(414)),
        (fields_of(30), None),
        (fields_of(31), Some(431)),
        (body_of(64), None),
        (body_of(65), Some(413)),
        (body_of(66).replace(": 66", ": 100000000000"), Some(413)),
    ] {
        let mut script = Script::new();
        script.send(&request);
        if script.connection.is_waiting() {
            script.answer(&ok());
        }
        assert_eq!(script.statuses(), [wrong.unwrap_or(200)], "{request}");
        assert_eq!(script.half_closed, wrong.is_some());
    }
}

/// The requirements of RFC 9112 (and RFC 9110 where it refers to it) for a server, each with its
/// section.
#[test]
fn conformance() {
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    let cases: &[(&str, String, &[u16])] = &[
        (
            "2.2: empty lines before a request are ignored",
            format!("\r\n\r\n{GET}"),
            &[200],
        ),
        (
            "2.2: a lone CR ends nothing",
            "GET / HTTP/1.1\rHost: a\r\n\r\n".into(),
            &[400],
        ),
        (
            "2.2: blank before the first field",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n".into(),
            &[400],
        ),
        (
            "2.3: another major version",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(),
            &[505],
        ),
        (
            "2.3: a higher minor version is served",
            GET.replace("1.1", "1.7"),
            &[200],
        ),
        (
            "3: a request line that is none",
            "GET\r\n\r\n".into(),
            &[400],
        ),
        (
            "3: blank at the end of the request line",
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n".into(),
            &[400],
        ),
        (
            "3.1: methods regard case",
            "get /cached HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            &[501],
        ),
        (
            "3.1: an unknown method",
            "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            &[501],
        ),
        ("3.2: no Host", "GET / HTTP/1.1\r\n\r\n".into(), &[400]),
        (
            "3.2: two Hosts",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(),
            &[400],
        ),
        (
            "3.2: a Host that is none",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(),
            &[400],
        ),
        (
            "3.2: an empty Host is one",
            GET.replace("Host: a", "Host:"),
            &[200],
        ),
        (
            "9110 7.4: an https target on a port without TLS",
            GET.replace("/cached", "https://b/cached"),
            &[421],
        ),
        (
            "3.2.2: the absolute form",
            GET.replace("/cached", "http://b/cached"),
            &[200],
        ),
        (
            "3.2.4: the asterisk form",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            &[204],
        ),
        (
            "3.2.4: only for OPTIONS",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            &[400],
        ),
        (
            "5: a field without a colon",
            "GET / HTTP/1.1\r\nHost: a\r\nB\r\n\r\n".into(),
            &[400],
        ),
        (
            "5: names disregard case",
            GET.replace("Host", "hOST"),
            &[200],
        ),
        (
            "5.1: blank before the colon",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n".into(),
            &[400],
        ),
        (
            "5.2: a folded line",
            "GET / HTTP/1.1\r\nHost: a\r\nB: c\r\n d\r\n\r\n".into(),
            &[400],
        ),
        (
            "9110 5.5: NUL in a value",
            "GET / HTTP/1.1\r\nHost: a\r\nB: \0\r\n\r\n".into(),
            &[400],
        ),
        (
            "6.1: coding beside a length",
            format!("{chunked}Content-Length: 3\r\n\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "6.1: a coding in HTTP/1.0",
            format!("{}\r\n0\r\n\r\n", chunked.replace("1.1", "1.0")),
            &[400],
        ),
        (
            "6.1: an unknown coding",
            format!("{}\r\n", chunked.replace("chunked", "gzip, chunked")),
            &[501],
        ),
        (
            "6.3: chunked is not the last coding",
            format!("{}\r\n", chunked.replace("chunked", "chunked, gzip")),
            &[400],
        ),
        (
            "6.3: a length that is no number",
            POST.replace(": 3", ": three"),
            &[400],
        ),
        (
            "6.3: two different lengths",
            POST.replace(": 3", ": 3\r\nContent-Length: 4"),
            &[400],
        ),
        (
            "6.3: the same length twice",
            format!("{}{GET}", POST.replace(": 3", ": 3\r\nContent-Length: 3")),
            &[200, 200],
        ),
        (
            "6.3: no length, no body",
            format!("POST / HTTP/1.1\r\nHost: a\r\n\r\n{GET}"),
            &[200, 200],
        ),
        (
            "6.3: the body of a GET is read",
            format!("{}{GET}", POST.replace("POST", "GET")),
            &[200, 200],
        ),
        (
            "7.1: chunks, any case of the size",
            format!("{chunked}\r\nA\r\n0123456789\r\n00\r\n\r\n{GET}"),
            &[200, 200],
        ),
        (
            "7.1.1: an extension that breaks the grammar",
            format!("{chunked}\r\n1;a=\"b\r\nx\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "7.1.1: unknown extensions are ignored",
            format!("{chunked}\r\n1;a=b;c\r\nx\r\n0;d\r\n\r\n{GET}"),
            &[200, 200],
        ),
        (
            "7.1.2: trailer fields are not mixed in",
            format!("{chunked}\r\n0\r\nContent-Length: 9\r\n\r\n{GET}"),
            &[200, 200],
        ),
        (
            "7.1: a size that no number holds",
            format!("{chunked}\r\nFFFFFFFFFFFFFFFFF\r\n"),
            &[413],
        ),
        (
            "7.1: data without its line end",
            format!("{chunked}\r\n1\r\nabc"),
            &[400],
        ),
        (
            "9.3: persistence is the default",
            GET.repeat(3),
            &[200, 200, 200],
        ),
        (
            "9.6: nothing is served after close",
            format!(
                "{}{GET}",
                GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
            ),
            &[200],
        ),
        (
            "9110 9.3.2: HEAD has no body",
            format!("{}{GET}", GET.replace("GET", "HEAD")),
            &[200, 200],
        ),
        (
            "9110 10.1.1: an unknown expectation",
            GET.replace("\r\n\r\n", "\r\nExpect: more\r\n\r\n"),
            &[417],
        ),
        (
            "9110 15.5.15: target too long",
            format!("GET /{} ", "a".repeat(100)),
            &[414],
        ),
        (
            "9110 9.3.6: CONNECT",
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            &[501],
        ),
    ];
    for (what, request, statuses) in cases {
        let mut script = Script::new();
        script.send(request);
        while script.connection.is_waiting() {
            script.answer(&ok());
        }
        assert_eq!(script.statuses(), *statuses, "{what}");
        let refused = statuses.last().is_some_and(|status| *status >= 400);
        assert!(
            script.half_closed || !refused,
            "{what}: closed after a refusal"
        );
        if refused {
            let body = script.take_written();
            let body = body.rsplit("\r\n\r\n").next().expect("a body");
            let error: crate::wire::public::ErrorBody = serde_json::from_str(body).expect(what);
            assert_eq!(Some(&error.error.code), statuses.last(), "{what}");
        }
    }
}
