//! The bytes of a response. One function writes every head, so that Content-Length, Date,
//! Connection and the trace id are right on all of them. No field names this server or its version.

use super::trace::Trace;
use crate::http::{Response, reason_phrase};

/// Lets a client send its body if it waits for that.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Fields of a feed: no cache keeps it, and no proxy collects events before it passes them on.
pub const FEED_FIELDS: [(&str, &str); 2] =
    [("Cache-Control", "no-store"), ("X-Accel-Buffering", "no")];

/// The parts of a response that the handler does not decide.
#[derive(Debug, Clone, Copy)]
pub struct ResponseContext<'a> {
    /// Now.
    pub date: &'a str,
    /// The request's trace id.
    pub trace: &'a Trace,
    /// Whether the connection ends with this response.
    pub close: bool,
    /// Whether the client speaks HTTP/1.0, where only a field keeps a connection open.
    pub http_1_0: bool,
    /// Whether the request was HEAD: the response has a body's fields, but no body.
    pub head_only: bool,
}

/// Writes a success with a prebuilt JSON body.
pub fn prebuilt(out: &mut Vec<u8>, body: &[u8], context: &ResponseContext<'_>) {
    let content = Some(("application/json", body.len()));
    head(out, 200, content, Some(context.trace), context);
    out.extend_from_slice(b"Cache-Control: no-store\r\n");
    out.extend_from_slice(b"\r\n");
    if !context.head_only {
        out.extend_from_slice(body);
    }
}

/// Writes a handler's response.
pub fn response(out: &mut Vec<u8>, response: &Response, context: &ResponseContext<'_>) {
    // 204 has no body, and must not say how long it is (RFC 9110 section 8.6).
    let content = (response.status != 204).then_some((response.content_type, response.body.len()));
    // A cache gives one response to many clients: the trace id of the first would be wrong for the
    // others, and would disclose that request to them.
    let trace = (!response.is_shared()).then_some(context.trace);
    head(out, response.status, content, trace, context);
    // One of these on every response: without it caches may guess.
    let cache_control = ("Cache-Control", response.cache_control());
    let others = response
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    let others = others.filter(|(name, _)| !name.eq_ignore_ascii_case("cache-control"));
    for (name, value) in [cache_control].into_iter().chain(others) {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        // A line end in a handler's value must not begin another field.
        out.extend(
            value
                .bytes()
                .map(|byte| if byte.is_ascii_control() { b' ' } else { byte }),
        );
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if !context.head_only && content.is_some() {
        out.extend_from_slice(&response.body);
    }
}

/// Writes the head of a feed of server-sent events, which ends with its connection.
pub fn feed(out: &mut Vec<u8>, context: &ResponseContext<'_>) {
    head(out, 200, None, Some(context.trace), context);
    out.extend_from_slice(b"Content-Type: text/event-stream\r\n");
    for (name, value) in FEED_FIELDS {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn head(
    out: &mut Vec<u8>,
    status: u16,
    content: Option<(&str, usize)>,
    trace: Option<&Trace>,
    context: &ResponseContext<'_>,
) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        number(out, usize::from(status));
        out.push(b' ');
        out.extend_from_slice(reason_phrase(status).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if let Some((content_type, length)) = content {
        out.extend_from_slice(b"Content-Type: ");
        out.extend_from_slice(content_type.as_bytes());
        out.extend_from_slice(b"\r\nContent-Length: ");
        number(out, length);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(context.date.as_bytes());
    // A browser must not take text of ours for a page or a script.
    out.extend_from_slice(b"\r\nX-Content-Type-Options: nosniff");
    if let Some(trace) = trace {
        out.extend_from_slice(b"\r\nX-Request-Id: ");
        out.extend_from_slice(trace.as_bytes());
    }
    out.extend_from_slice(match (context.close, context.http_1_0) {
        // Said although the close shows: a client must not send a next request into it.
        (true, _) => b"\r\nConnection: close\r\n",
        (false, true) => b"\r\nConnection: keep-alive\r\n",
        (false, false) => b"\r\n",
    });
}

fn number(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::date::imf_fixdate;
    use super::*;
    use crate::http::IMMUTABLE;

    fn written(answer: &Response, close: bool, http_1_0: bool, head_only: bool) -> String {
        let (date, trace) = (imf_fixdate(0), Trace::from_number(1));
        let mut out = Vec::new();
        response(
            &mut out,
            answer,
            &ResponseContext {
                date: &date,
                trace: &trace,
                close,
                http_1_0,
                head_only,
            },
        );
        String::from_utf8(out).expect("text")
    }

    const COMMON: &str = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
                          X-Content-Type-Options: nosniff\r\nX-Request-Id: 0000000000000001\r\n";
    const NOT_KEPT: &str = "Cache-Control: no-store\r\n";

    /// Every byte of a response, with a body and without.
    #[test]
    fn bytes_of_answers() {
        let missing = Response::text(404, "text/plain", "no").with_header("Retry-After", "1");
        let head = format!(
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n{COMMON}"
        );
        assert_eq!(
            written(&missing, false, false, false),
            format!("{head}{NOT_KEPT}Retry-After: 1\r\n\r\nno")
        );
        assert_eq!(
            written(&missing, false, true, true),
            format!("{head}Connection: keep-alive\r\n{NOT_KEPT}Retry-After: 1\r\n\r\n")
        );
        let none = Response::text(204, "", "ignored").with_header("Allow", "GET");
        assert_eq!(
            written(&none, true, true, false),
            format!(
                "HTTP/1.1 204 No Content\r\n{COMMON}Connection: close\r\n{NOT_KEPT}\
                 Allow: GET\r\n\r\n"
            )
        );
    }

    /// The head of a feed says that it ends with the connection, and has no length.
    #[test]
    fn feeds() {
        let (date, trace) = (imf_fixdate(0), Trace::from_number(1));
        let mut out = Vec::new();
        feed(
            &mut out,
            &ResponseContext {
                date: &date,
                trace: &trace,
                close: true,
                http_1_0: false,
                head_only: false,
            },
        );
        let expected = format!(
            "HTTP/1.1 200 OK\r\n{COMMON}Connection: close\r\nContent-Type: text/event-stream\r\n\
             Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n\r\n"
        );
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    /// A value of a handler cannot begin another field or answer, and its word on caches is the
    /// only one.
    #[test]
    fn values_stay_in_their_line() {
        let answer = Response::text(200, "text/plain", "")
            .with_header("Cache-Control", IMMUTABLE)
            .with_header("Location", "a\r\nSet-Cookie: b\0");
        let bytes = written(&answer, false, false, false);
        assert_eq!(bytes.matches("Cache-Control").count(), 1, "{bytes}");
        assert!(bytes.contains("\r\nLocation: a  Set-Cookie: b \r\n\r\n"));
    }

    /// A response that caches may keep carries no trace id: it would be that of the first who
    /// asked.
    #[test]
    fn an_immutable_answer_carries_no_trace_id() {
        let answer = Response::text(200, "application/json", "{}");
        assert!(written(&answer, false, false, false).contains("X-Request-Id"));
        for word in [IMMUTABLE, "public, max-age=300"] {
            let kept = answer.clone().with_header("Cache-Control", word);
            for head_only in [false, true] {
                let bytes = written(&kept, false, false, head_only);
                assert!(!bytes.contains("X-Request-Id"), "{bytes}");
                assert!(bytes.contains("X-Content-Type-Options: nosniff"), "{bytes}");
            }
        }
    }
}
