//! The header fields of a request: what they say about its framing and its connection (RFC 9112
//! sections 3.2, 6 and 9; RFC 9110 sections 7.2, 8.6 and 10.1.1). A head that two
//! recipients could understand differently is refused.

use super::parse::{RequestLine, is_host};
use super::refusal::RefusalReason;
use super::trace::Trace;
use crate::http::{Headers, TRACE_HEADER};
use httparse::{EMPTY_HEADER, Header, Status};

/// Fields that are parsed without allocating; heads with more take a larger table.
const USUAL_FIELDS: usize = 24;

/// How the body of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// It has a known length, 0 without any field that says so.
    Length(u64),
    /// It comes in chunks.
    Chunked,
}

/// The fields that concern the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the connection may stay open after the response.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The client's trace id, when it is one.
    pub trace: Option<Trace>,
}

/// Parses the fields in `bytes`, which end with the empty line, and returns the result of `then`.
///
/// # Errors
/// The first thing that is wrong. [`HeadRefusal`] carries the trace id if it was read before.
pub fn parse<R>(
    line: &RequestLine<'_>,
    bytes: &[u8],
    limit: usize,
    then: impl FnOnce(Head, &[Header<'_>]) -> R,
) -> Result<R, HeadRefusal> {
    // On the stack: most heads fit, and a head is parsed for each request.
    let mut usual = [EMPTY_HEADER; USUAL_FIELDS];
    match httparse::parse_headers(bytes, &mut usual) {
        // Only such a head pays for an allocation, and only up to the limit.
        Err(httparse::Error::TooManyHeaders) if limit > USUAL_FIELDS => {
            let mut many = vec![EMPTY_HEADER; limit];
            let fields = complete(httparse::parse_headers(bytes, &mut many), bytes, limit)?;
            Ok(then(read(line, fields)?, fields))
        }
        parsed => {
            let fields = complete(parsed, bytes, limit)?;
            Ok(then(read(line, fields)?, fields))
        }
    }
}

/// A refusal and the trace id that its response carries, if the client sent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadRefusal {
    /// Its reason.
    pub reason: RefusalReason,
    /// The client's trace id.
    pub trace: Option<Trace>,
}

impl From<RefusalReason> for HeadRefusal {
    fn from(reason: RefusalReason) -> Self {
        Self {
            reason,
            trace: None,
        }
    }
}

fn complete<'h, 'b>(
    parsed: httparse::Result<(usize, &'h [Header<'b>])>,
    bytes: &[u8],
    limit: usize,
) -> Result<&'h [Header<'b>], RefusalReason> {
    match parsed {
        // All of them: a byte behind the empty line is not a field's.
        Ok(Status::Complete((used, fields))) if used == bytes.len() => {
            if fields.len() > limit {
                Err(RefusalReason::TooManyFields)
            } else {
                Ok(fields)
            }
        }
        Err(httparse::Error::TooManyHeaders) => Err(RefusalReason::TooManyFields),
        // Also an empty line within: the two scans disagree, so the bytes are not what they seem.
        Ok(_) | Err(_) => Err(RefusalReason::Field),
    }
}

/// The fields for a handler. Bytes that are not UTF-8 become replacement characters.
pub fn owned(fields: &[Header<'_>]) -> Headers {
    let field = |f: &Header<'_>| {
        (
            f.name.to_owned(),
            String::from_utf8_lossy(f.value).into_owned(),
        )
    };
    Headers(fields.iter().map(field).collect())
}

/// The findings of one pass over the fields.
#[derive(Default)]
struct Found<'a> {
    hosts: usize,
    host: Option<&'a [u8]>,
    length: Option<u64>,
    codings: Option<Codings>,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    expects_more: bool,
    trace: Option<Trace>,
}

/// The transfer codings, over all fields of that name.
#[derive(Default, Clone, Copy)]
struct Codings {
    count: usize,
    chunked: usize,
    last_is_chunked: bool,
}

fn read(line: &RequestLine<'_>, fields: &[Header<'_>]) -> Result<Head, HeadRefusal> {
    // The trace id first, so that every refusal below can carry it.
    let trace = fields
        .iter()
        .find(|f| f.name.eq_ignore_ascii_case(TRACE_HEADER));
    let trace = trace.and_then(|field| Trace::from_client(field.value));
    let fault = |reason| HeadRefusal { reason, trace };
    let mut found = Found {
        trace,
        ..Found::default()
    };
    for field in fields {
        found.take(field).map_err(fault)?;
    }
    found.conclude(line).map_err(fault)
}

impl<'a> Found<'a> {
    fn take(&mut self, field: &Header<'a>) -> Result<(), RefusalReason> {
        // By length first: most fields are none of these.
        match field.name.len() {
            // Counted, since two hosts are refused whatever they say: a proxy may have judged by
            // the other one.
            4 if field.name.eq_ignore_ascii_case("host") => {
                self.hosts += 1;
                self.host = Some(field.value);
            }
            // Known and unknown ones apart: only another expectation than this is refused.
            6 if field.name.eq_ignore_ascii_case("expect") => {
                for expectation in members(field.value) {
                    let known = expectation.eq_ignore_ascii_case(b"100-continue");
                    self.expects_continue |= known;
                    self.expects_more |= !known;
                }
            }
            10 if field.name.eq_ignore_ascii_case("connection") => {
                for option in members(field.value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                self.content_length(field.value)?
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                let codings = self.codings.get_or_insert_default();
                for coding in members(field.value) {
                    codings.count += 1;
                    codings.last_is_chunked = coding.eq_ignore_ascii_case(b"chunked");
                    codings.chunked += usize::from(codings.last_is_chunked);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A list of equal numbers is one number (RFC 9110 section 8.6); anything else but one number
    /// is refused.
    fn content_length(&mut self, value: &[u8]) -> Result<(), RefusalReason> {
        for number in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
                return Err(RefusalReason::Framing);
            }
            // Saturating: a number that does not fit is beyond every limit, which is another
            // refusal than no number.
            let digit =
                |sum: u64, b: &u8| sum.saturating_mul(10).saturating_add(u64::from(b - b'0'));
            let number = number.iter().fold(0, digit);
            // A proxy that takes the first and a server that takes the second would find different
            // ends: request smuggling.
            if self.length.is_some_and(|before| before != number) {
                return Err(RefusalReason::Framing);
            }
            self.length = Some(number);
        }
        Ok(())
    }

    fn conclude(&self, line: &RequestLine<'_>) -> Result<Head, RefusalReason> {
        // Before Host is judged: where the request ends matters more than whom it is for.
        let framing = self.framing(line.http_1_0)?;
        let host = std::str::from_utf8(self.host.unwrap_or_default())
            .ok()
            .filter(|host| is_host(host));
        // HTTP/1.0 may leave it out; with one, it must be right.
        if self.hosts > 1 || host.is_none() || (self.hosts == 0 && !line.http_1_0) {
            return Err(RefusalReason::Host);
        }
        // HTTP/1.0 knows no expectations (RFC 9110 section 10.1.1).
        if self.expects_more && !line.http_1_0 {
            return Err(RefusalReason::Expectation);
        }
        Ok(Head {
            framing,
            // HTTP/1.1 keeps the connection unless a field says close; HTTP/1.0 only if one says
            // so.
            keep_alive: !self.close && (!line.http_1_0 || self.keep_alive),
            expects_continue: self.expects_continue && !line.http_1_0,
            trace: self.trace,
        })
    }

    fn framing(&self, http_1_0: bool) -> Result<Framing, RefusalReason> {
        let Some(codings) = self.codings else {
            // No length and no codings: no body (RFC 9112 section 6.3).
            return Ok(Framing::Length(self.length.unwrap_or(0)));
        };
        // Beside a length, or in HTTP/1.0, which has no codings: an attempt to be understood
        // differently by two recipients. Without chunked at the end, or with it twice, the body has
        // no end that could be found (RFC 9112 sections 6.1 and 6.3).
        if self.length.is_some() || http_1_0 || !codings.last_is_chunked || codings.chunked > 1 {
            return Err(RefusalReason::Framing);
        }
        if codings.count > 1 {
            Err(RefusalReason::TransferCoding)
        } else {
            Ok(Framing::Chunked)
        }
    }
}

/// The members of a comma-separated list; empty ones do not count (RFC 9110 section 5.6.1).
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::parse::request_line;
    use super::*;

    fn head_of(version: &str, fields: &str) -> Result<Head, RefusalReason> {
        let line = format!("POST /a HTTP/{version}\r\n");
        let line = request_line(line.as_bytes(), 100)
            .expect("right")
            .expect("complete");
        parse(&line, format!("{fields}\r\n").as_bytes(), 30, |head, _| {
            head
        })
        .map_err(|fault| fault.reason)
    }

    fn head(fields: &str) -> Result<Head, RefusalReason> {
        head_of("1.1", &format!("Host: a\r\n{fields}"))
    }

    fn framing(fields: &str) -> Result<Framing, RefusalReason> {
        head(fields).map(|head| head.framing)
    }

    /// Content-Length: one number, or the same one again.
    #[test]
    fn lengths() {
        assert_eq!(framing(""), Ok(Framing::Length(0)));
        assert_eq!(framing("Content-Length: 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(framing("content-length:\t005 \r\n"), Ok(Framing::Length(5)));
        assert_eq!(
            framing("Content-Length: 5\r\nContent-Length: 5, 5\r\n"),
            Ok(Framing::Length(5))
        );
        assert_eq!(
            framing("Content-Length: 99999999999999999999999\r\n"),
            Ok(Framing::Length(u64::MAX))
        );
        for wrong in [
            "",
            "x",
            "-1",
            "+5",
            "5 6",
            "5,",
            "5, 6",
            "0x5",
            "5.0",
            "5;",
            "5\r\nContent-Length: 6",
        ] {
            assert_eq!(
                framing(&format!("Content-Length: {wrong}\r\n")),
                Err(RefusalReason::Framing),
                "{wrong}"
            );
        }
    }

    /// Transfer-Encoding: chunked, once, last, alone, in HTTP/1.1.
    #[test]
    fn codings() {
        assert_eq!(
            framing("Transfer-Encoding: chunked\r\n"),
            Ok(Framing::Chunked)
        );
        assert_eq!(
            framing("Transfer-Encoding: , CHUNKED ,\r\n"),
            Ok(Framing::Chunked)
        );
        assert_eq!(
            framing("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
            Err(RefusalReason::TransferCoding)
        );
        for wrong in [
            "",
            "identity",
            "xchunked",
            "chunked;a=b",
            "\"chunked\"",
            "chunked, gzip",
            "chunked, chunked",
            "chunked\r\nContent-Length: 5",
            "chunked\r\nContent-Length: 0",
            "gzip, chunked\r\nContent-Length: 5",
        ] {
            assert_eq!(
                framing(&format!("Transfer-Encoding: {wrong}\r\n")),
                Err(RefusalReason::Framing),
                "{wrong}"
            );
        }
        assert_eq!(
            head_of("1.0", "Transfer-Encoding: chunked\r\n"),
            Err(RefusalReason::Framing)
        );
    }

    /// Host: exactly one in 1.1, at most one in 1.0, and one that is a host.
    #[test]
    fn hosts() {
        assert!(head_of("1.0", "").is_ok() && head_of("1.1", "Host:\r\n").is_ok());
        for (version, wrong) in [
            ("1.1", ""),
            ("1.1", "Host: a\r\nHost: a\r\n"),
            ("1.1", "Host: a/b\r\n"),
            ("1.0", "Host: a\r\nhost: b\r\n"),
        ] {
            assert_eq!(
                head_of(version, wrong),
                Err(RefusalReason::Host),
                "{version} {wrong}"
            );
        }
    }

    /// Bytes that are no field, or that could be taken for another one.
    #[test]
    fn malformed_fields() {
        for wrong in [
            "Content-Length : 5",
            "Content-Length\t: 5",
            " Content-Length: 5",
            "A: b\r\n folded",
            "A: b\r\n\tfolded",
            "A",
            ": b",
            "A b: c",
            "A: b\rc",
            "A: b\0c",
            "A: b\u{1}c",
            "A\0: c",
            "A: b\u{7f}c",
            "Ä: b",
        ] {
            assert_eq!(
                head(&format!("{wrong}\r\n")),
                Err(RefusalReason::Field),
                "{wrong:?}"
            );
        }
        assert!(head("A:\r\nB: é \t c\r\nC:d\r\n").is_ok());
    }

    /// Persistence by version and Connection.
    #[test]
    fn keep_alive() {
        for (version, connection, kept) in [
            ("1.1", "", true),
            ("1.1", "Connection: Close\r\n", false),
            ("1.1", "Connection: x, close\r\n", false),
            ("1.1", "Connection: closed\r\n", true),
            (
                "1.1",
                "Connection: keep-alive\r\nConnection: close\r\n",
                false,
            ),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let head = head_of(version, &format!("Host: a\r\n{connection}")).expect("right");
            assert_eq!(head.keep_alive, kept, "{version} {connection}");
        }
    }

    /// Expectations: met, refused, or not known to 1.0.
    #[test]
    fn expectations() {
        assert!(
            head("Expect: 100-Continue\r\n")
                .expect("right")
                .expects_continue
        );
        assert_eq!(
            head("Expect: 100-continue, wonders\r\n"),
            Err(RefusalReason::Expectation)
        );
        assert!(
            !head_of("1.0", "Expect: 100-continue\r\n")
                .expect("right")
                .expects_continue
        );
        assert!(head_of("1.0", "Expect: wonders\r\n").is_ok());
    }

    /// The limit of fields counts them exactly, also beyond the usual number; and a refusal carries
    /// the client's trace id.
    #[test]
    fn field_limit_and_trace() {
        assert!(head(&"A: b\r\n".repeat(29)).is_ok());
        assert_eq!(
            head(&"A: b\r\n".repeat(30)),
            Err(RefusalReason::TooManyFields)
        );
        let line = request_line(b"GET / HTTP/1.1\r\n", 100)
            .expect("right")
            .expect("complete");
        let few =
            parse(&line, b"Host: a\r\nA: b\r\nC: d\r\n\r\n", 2, |_, _| ()).expect_err("three");
        assert_eq!(few.reason, RefusalReason::TooManyFields);
        let fault = parse(
            &line,
            b"Content-Length: x\r\nX-Request-Id: mine\r\n\r\n",
            9,
            |_, _| (),
        )
        .expect_err("no number");
        assert_eq!(
            (fault.reason, fault.trace.map(|t| t.as_str().to_owned())),
            (RefusalReason::Framing, Some("mine".into()))
        );
    }
}
