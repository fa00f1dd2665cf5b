//! Where a head ends, and its request line (RFC 9112 sections 2 and 3). Both look at what has
//! arrived so far: a prefix is found wrong exactly if every continuation of it would be, so that
//! the outcome never depends on how the bytes were cut into reads.
//!
//! Line ends are CRLF. The RFC lets a recipient take a lone LF as well; here it is refused, as a
//! lone CR must be, since two recipients that see different lines are what request smuggling lives
//! on.

use super::refusal::RefusalReason;

/// Methods are shorter than this; a longer one is none that is known.
const METHOD_BYTES: usize = 16;

/// A method that a handler may be asked for. CONNECT is not among them: this is no proxy. TRACE is,
/// to be refused like any other that a path does not take: an echo of a request would show a page's
/// script fields that the browser hides from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// TRACE
    Trace,
    /// QUERY
    Query,
}

impl Method {
    const ALL: [Self; 9] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
        Self::Options,
        Self::Trace,
        Self::Query,
    ];

    /// Its name on the wire; names compare with regard to case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Query => "QUERY",
        }
    }
}

/// A request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: Method,
    /// The path as sent; `*` for an OPTIONS that asks for the whole server.
    pub path: &'a str,
    /// The text after the first `?`.
    pub query: Option<&'a str>,
    /// Whether it is HTTP/1.0.
    pub http_1_0: bool,
    /// Its bytes, the line end included.
    pub length: usize,
}

/// Reads the request line at the start of `bytes`; `None` when it is not complete and nothing is
/// wrong so far.
///
/// # Errors
/// The first thing that is wrong.
pub fn request_line(
    bytes: &[u8],
    target_limit: usize,
) -> Result<Option<RequestLine<'_>>, RefusalReason> {
    // From the first bytes on: a method that is none is refused before its line is whole.
    let Some((method, after)) = word(bytes, METHOD_BYTES, is_token, RefusalReason::Method)? else {
        return Ok(None);
    };
    // Only for its answer: 505 says to the client's user what to do, 501 would not.
    if method == HTTP_2_METHOD {
        return http_2_preface(after);
    }
    let method = Method::ALL
        .into_iter()
        .find(|m| m.name().as_bytes() == method)
        .ok_or(RefusalReason::Method)?;
    let visible = |byte: u8| byte.is_ascii_graphic();
    let Some((target, version)) = word(after, target_limit, visible, RefusalReason::TargetTooLong)?
    else {
        return Ok(None);
    };
    let Some(http_1_0) = is_http_1_0(version)? else {
        return Ok(None);
    };
    // Visible ASCII only, as was just checked.
    let target = std::str::from_utf8(target).map_err(|_| RefusalReason::RequestLine)?;
    let (path, query) = split_target(method, target)?;
    Ok(Some(RequestLine {
        method,
        path,
        query,
        http_1_0,
        length: bytes.len() - version.len() + VERSION_LINE.len(),
    }))
}

/// The first line of an HTTP/2 connection reads like a request line, made so that a server of
/// HTTP/1.1 refuses it (RFC 9113 section 3.4).
const HTTP_2_METHOD: &[u8] = b"PRI";
const HTTP_2_REST: &[u8] = b"* HTTP/2.0\r\n";

/// Refuses the version, not the method, once the line is that of HTTP/2.
fn http_2_preface(rest: &[u8]) -> Result<Option<RequestLine<'_>>, RefusalReason> {
    if rest.starts_with(HTTP_2_REST) {
        Err(RefusalReason::Version)
    } else if HTTP_2_REST.starts_with(rest) {
        Ok(None)
    } else {
        Err(RefusalReason::Method)
    }
}

/// A word and what stands behind the blank at its end.
type Word<'a> = (&'a [u8], &'a [u8]);

/// Splits a word off that ends at a blank; `None` when it goes on beyond `bytes`.
fn word(
    bytes: &[u8],
    limit: usize,
    fits: impl Fn(u8) -> bool,
    too_long: RefusalReason,
) -> Result<Option<Word<'_>>, RefusalReason> {
    match bytes.iter().take(limit + 1).position(|byte| !fits(*byte)) {
        // An empty word is none: two blanks between words are refused, as some recipients skip them
        // and others do not.
        Some(end) if end > 0 && bytes[end] == b' ' => Ok(Some((&bytes[..end], &bytes[end + 1..]))),
        Some(_) => Err(RefusalReason::RequestLine),
        // One byte beyond the limit decides, so that a word of just the limit is not refused while
        // its end is on the way.
        None if bytes.len() > limit => Err(too_long),
        None => Ok(None),
    }
}

/// The rest of a request line, digits in place of the `d`.
const VERSION_LINE: &[u8] = b"HTTP/d.d\r\n";

/// Whether `bytes` begin with the end of an HTTP/1.0 line. A higher minor version than 1 is
/// answered as 1.1 (RFC 9112 section 2.3).
fn is_http_1_0(bytes: &[u8]) -> Result<Option<bool>, RefusalReason> {
    let fits = |(wanted, got): (&u8, &u8)| {
        if *wanted == b'd' {
            got.is_ascii_digit()
        } else {
            got == wanted
        }
    };
    if !VERSION_LINE.iter().zip(bytes).all(fits) {
        return Err(RefusalReason::RequestLine);
    }
    match (bytes.get(5), bytes.get(7)) {
        // After the prefix was compared: a wrong byte is refused at once.
        _ if bytes.len() < VERSION_LINE.len() => Ok(None),
        (Some(b'1'), Some(minor)) => Ok(Some(*minor == b'0')),
        _ => Err(RefusalReason::Version),
    }
}

/// Path and query of a target in origin form, absolute form, or for OPTIONS the asterisk (RFC 9112
/// section 3.2).
fn split_target(method: Method, target: &str) -> Result<(&str, Option<&str>), RefusalReason> {
    // A fragment never leaves the client.
    // Its place in a request would be read differently by different recipients.
    if target.contains('#') {
        return Err(RefusalReason::RequestLine);
    }
    if target == "*" && method == Method::Options {
        return Ok(("*", None));
    }
    let split = |origin| match str::split_once(origin, '?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin, None),
    };
    if target.starts_with('/') {
        return Ok(split(target));
    }
    // Absolute form, which proxies send, and which a server has to take (RFC 9112 section 3.2.2).
    let scheme_end = target.find("://").ok_or(RefusalReason::RequestLine)?;
    let scheme = &target[..scheme_end];
    let secure = scheme.eq_ignore_ascii_case("https");
    if !(secure || scheme.eq_ignore_ascii_case("http")) {
        return Err(RefusalReason::RequestLine);
    }
    let rest = &target[scheme_end + 3..];
    let (authority, origin) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // An empty authority would leave it to Host to say whom the request is for.
    if authority.is_empty() || !is_host(authority) {
        return Err(RefusalReason::Host);
    }
    // After the host was found valid: the sentence about https would mislead otherwise.
    if secure {
        return Err(RefusalReason::Misdirected);
    }
    let (path, query) = split(origin);
    // The path of an absolute target may be empty, and means `/`.
    Ok((if path.is_empty() { "/" } else { path }, query))
}

/// Whether `text` may stand in Host: a name or address and perhaps a port (RFC 9110 section 7.2);
/// empty where the target has none.
pub fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, "")) => (address, ""),
            Some((address, after)) if after.starts_with(':') => (address, &after[1..]),
            _ => return false,
        },
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let in_name = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&b);
    let in_literal = |b: u8| in_name(b) || b == b':';
    let literal = text.starts_with('[');
    host.bytes()
        .all(|b| if literal { in_literal(b) } else { in_name(b) })
        && !(literal && host.is_empty())
        && port.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a byte may stand in a token (RFC 9110 section 5.6.2).
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Looks for the end of a head, each byte once however it drips.
#[derive(Debug, Clone, Copy)]
pub struct Scan {
    at: usize,
    line: usize,
}

impl Scan {
    /// At the first byte of a head.
    pub const START: Self = Self { at: 0, line: 0 };

    /// The bytes of the head, its empty line included, or `None` when that has not come. `bytes`
    /// are all bytes of the head so far.
    ///
    /// # Errors
    /// A line that does not end in CRLF.
    pub fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, RefusalReason> {
        // From where the last look ended: a head that drips in byte by byte is not searched again
        // each time.
        while let Some(step) = bytes[self.at..].iter().position(|byte| *byte == b'\n') {
            let line_feed = self.at + step;
            // A lone LF: see the module.
            if line_feed == 0 || bytes[line_feed - 1] != b'\r' {
                return Err(RefusalReason::Field);
            }
            let empty = line_feed - 1 == self.line;
            self.at = line_feed + 1;
            self.line = self.at;
            if empty {
                return Ok(Some(self.at));
            }
        }
        self.at = bytes.len();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts<'a> = (&'a str, &'a str, Option<&'a str>, bool);

    fn line(text: &str) -> Result<Option<Parts<'_>>, RefusalReason> {
        let line = request_line(text.as_bytes(), 30)?;
        Ok(line.map(|l| {
            assert_eq!(l.length, text.find('\n').expect("complete") + 1);
            (l.method.name(), l.path, l.query, l.http_1_0)
        }))
    }

    /// The forms that a target may have, and both versions.
    #[test]
    fn request_lines() {
        assert_eq!(
            line("GET / HTTP/1.1\r\nmore"),
            Ok(Some(("GET", "/", None, false)))
        );
        assert_eq!(
            line("POST /a%20b?c?d HTTP/1.0\r\n"),
            Ok(Some(("POST", "/a%20b", Some("c?d"), true)))
        );
        assert_eq!(
            line("GET /? HTTP/1.9\r\n"),
            Ok(Some(("GET", "/", Some(""), false)))
        );
        assert_eq!(
            line("OPTIONS * HTTP/1.1\r\n"),
            Ok(Some(("OPTIONS", "*", None, false)))
        );
        assert_eq!(
            line("GET HTTP://a:1/b?c HTTP/1.1\r\n"),
            Ok(Some(("GET", "/b", Some("c"), false)))
        );
        assert_eq!(
            line("GET http://a HTTP/1.1\r\n"),
            Ok(Some(("GET", "/", None, false)))
        );
        assert_eq!(
            line("GET http://a?b HTTP/1.1\r\n"),
            Ok(Some(("GET", "/", Some("b"), false)))
        );
    }

    /// Wrong request lines, each with its reason.
    #[test]
    fn wrong_request_lines() {
        let tls = "\u{16}\u{3}\u{1}";
        for (text, reason) in [
            (tls, RefusalReason::RequestLine),
            (" GET / HTTP/1.1\r\n", RefusalReason::RequestLine),
            ("GET  / HTTP/1.1\r\n", RefusalReason::RequestLine),
            ("GET /  HTTP/1.1\r\n", RefusalReason::RequestLine),
            ("GET / HTTP/1.1 \r\n", RefusalReason::RequestLine),
            ("GET / HTTP/1.1\n", RefusalReason::RequestLine),
            ("GET / HTTP/1.1\r\r\n", RefusalReason::RequestLine),
            ("GET /\r\n", RefusalReason::RequestLine),
            ("GET / http/1.1\r\n", RefusalReason::RequestLine),
            ("GET / HTTP/1.10\r\n", RefusalReason::RequestLine),
            ("GET /\0 HTTP/1.1\r\n", RefusalReason::RequestLine),
            ("GET /é HTTP/1.1\r\n", RefusalReason::RequestLine),
            ("GET /#a HTTP/1.1\r\n", RefusalReason::RequestLine),
            ("GET a HTTP/1.1\r\n", RefusalReason::RequestLine),
            ("GET * HTTP/1.1\r\n", RefusalReason::RequestLine),
            ("GET ftp://a/ HTTP/1.1\r\n", RefusalReason::RequestLine),
            ("GET http:///a HTTP/1.1\r\n", RefusalReason::Host),
            ("GET http://u@a/ HTTP/1.1\r\n", RefusalReason::Host),
            ("GET https://u@a/ HTTP/1.1\r\n", RefusalReason::Host),
            ("GET https://a/ HTTP/1.1\r\n", RefusalReason::Misdirected),
            (
                "GET HTTPS://a:8080 HTTP/1.1\r\n",
                RefusalReason::Misdirected,
            ),
            ("GET / HTTP/2.0\r\n", RefusalReason::Version),
            ("GET / HTTP/0.9\r\n", RefusalReason::Version),
            ("PRI * HTTP/2.0\r\n", RefusalReason::Version),
            ("PRI / HTTP/2.0\r\n", RefusalReason::Method),
            ("PRI * HTTP/1.1\r\n", RefusalReason::Method),
            ("get / HTTP/1.1\r\n", RefusalReason::Method),
            ("CONNECT a:1 HTTP/1.1\r\n", RefusalReason::Method),
            ("ABCDEFGHIJKLMNOPQ", RefusalReason::Method),
            (
                "GET /aaaaaaaaaabbbbbbbbbbcccccccccc",
                RefusalReason::TargetTooLong,
            ),
        ] {
            assert_eq!(line(text), Err(reason), "{text:?}");
        }
    }

    /// A prefix of a right line is never found wrong, and never taken for a whole one.
    #[test]
    fn prefixes() {
        let whole = "OPTIONS /abc?def HTTP/1.1\r\n";
        for end in 0..whole.len() {
            assert_eq!(line(&whole[..end]), Ok(None), "{end}");
        }
    }

    /// Hosts as the grammar has them.
    #[test]
    fn hosts() {
        for right in [
            "",
            "a",
            "a:80",
            "a:",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8080",
            "a.b-c",
        ] {
            assert!(is_host(right), "{right}");
        }
        for wrong in [
            "a b", "a/b", "a:b", "a:1:2", "u@a", "[::1", "[]", "[::1]x", "a,b/", "é", "a?b",
        ] {
            assert!(!is_host(wrong), "{wrong}");
        }
    }

    /// The end of a head is found however it comes; a lone LF is refused.
    #[test]
    fn ends() {
        let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for first in 0..whole.len() {
            let mut scan = Scan::START;
            let early = scan.end(&whole[..first]).expect("right");
            assert_eq!(early, (first >= 27).then_some(27), "{first}");
            if early.is_none() {
                assert_eq!(scan.end(whole), Ok(Some(27)), "{first}");
            }
        }
        for wrong in [&b"a\r\nb\n\r\n\r\n"[..], b"\n"] {
            let mut scan = Scan::START;
            assert_eq!(scan.end(wrong), Err(RefusalReason::Field));
        }
    }
}
