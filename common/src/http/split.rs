//! A kept connection whose caller sends in one step and reads the response in another. So one
//! thread can send to several services, do its own work, and then read their responses.
//!
//! [`super::client`] is for everything else: its calls block from the first byte to the last. To
//! run such a call beside other work takes another thread, and a lone order would pay for waking
//! it, only to save the caller a wait that it has to do anyway.
//!
//! Nothing is retried and nothing reconnects. A connection that failed is dropped, and its owner
//! falls back to the ordinary client, which also judges what the failure means.

use super::client::{CallError, HttpClient};
use super::protocol;
use serde::Serialize;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Largest response in bytes: positions and acknowledgements are far below.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024;
/// Header fields of a response at most.
const FIELDS: usize = 32;

/// A connection to one service; at most one call is under way.
#[derive(Debug)]
pub struct SplitConnection {
    stream: TcpStream,
    /// Header fields that every call carries.
    fields: String,
    read_timeout: Option<Duration>,
    received: Vec<u8>,
}

/// A response to a call.
#[derive(Debug, PartialEq, Eq)]
pub struct SplitResponse {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl SplitConnection {
    /// Connects to the service at `base`, with the addresses and the token of `client`. Blocks for
    /// the connect time-out at most.
    ///
    /// # Errors
    /// [`CallError::NotSent`].
    pub fn open(
        client: &HttpClient,
        base: &str,
        send_timeout: Duration,
    ) -> Result<Self, CallError> {
        let (stream, authority) = client.connect(base)?;
        // One write for a call, so that Nagle's algorithm has nothing to wait for; see `socket`.
        let prepared = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_write_timeout(Some(send_timeout)));
        prepared.map_err(|e| CallError::NotSent(e.to_string()))?;
        let version = protocol::text();
        let mut fields = format!(
            "Host: {authority}\r\nContent-Type: application/json\r\n{}: {version}\r\n",
            protocol::HEADER
        );
        if let Some(authorization) = client.authorization() {
            fields += &format!("Authorization: {authorization}\r\n");
        }
        Ok(Self {
            stream,
            fields,
            read_timeout: None,
            received: Vec::new(),
        })
    }

    /// Sends a POST with `body` as JSON, in one write.
    ///
    /// # Errors
    /// When the connection broke: drop it. The call may have arrived.
    ///
    /// # Panics
    /// When the body cannot be JSON, which is a mistake of ours: wire types can.
    pub fn send<Q: Serialize>(&mut self, path: &str, body: &Q) -> io::Result<()> {
        let mut body = serde_json::to_vec(body).expect("wire types serialise");
        protocol::extend(&mut body);
        let mut call = format!(
            "POST {path} HTTP/1.1\r\n{}Content-Length: {}\r\n\r\n",
            self.fields,
            body.len()
        )
        .into_bytes();
        // Appended, so that head and body leave in one write.
        call.extend_from_slice(&body);
        self.stream.write_all(&call)
    }

    /// Reads the response to the call that was sent. Each read waits up to `timeout`.
    ///
    /// # Errors
    /// When none comes in time, or it is no HTTP response with a length. The outcome of the call is
    /// unknown then, and the connection must be dropped.
    pub fn receive(&mut self, timeout: Duration) -> io::Result<SplitResponse> {
        // A system call, saved where the time-out is as before.
        if self.read_timeout != Some(timeout) {
            self.stream.set_read_timeout(Some(timeout))?;
            self.read_timeout = Some(timeout);
        }
        let mut chunk = [0; 4 * 1024];
        loop {
            if let Some((answered, used)) = parse(&self.received)? {
                // One call, one response: further bytes would be taken for the next one.
                if used != self.received.len() {
                    return Err(misfit("bytes after the answer"));
                }
                self.received.clear();
                return Ok(answered);
            }
            match (&self.stream).read(&mut chunk) {
                // The other side ended the connection: its owner falls back to the ordinary client.
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.received.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // Bounded like every answer: something else than our service may listen there.
            if self.received.len() > ANSWER_LIMIT_BYTES {
                return Err(misfit("the answer is too large"));
            }
        }
    }
}

/// The first response in `bytes` and how many bytes it takes; `None` while it is not complete.
fn parse(bytes: &[u8]) -> io::Result<Option<(SplitResponse, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let parsed = head.parse(bytes).map_err(|e| misfit(&e.to_string()))?;
    let httparse::Status::Complete(begin) = parsed else {
        return Ok(None);
    };
    let field = |name: &str| {
        let found = head
            .headers
            .iter()
            .find(|f| f.name.eq_ignore_ascii_case(name));
        found.and_then(|f| std::str::from_utf8(f.value).ok())
    };
    // Judged before the body is believed, as the ordinary client does.
    if let Some(theirs) = protocol::unfit(field(protocol::HEADER)) {
        return Err(misfit(&format!("the answer is of protocol {theirs}")));
    }
    // A chunked response has no length; our servers send none on these paths.
    let length = field("content-length").and_then(|n| n.parse::<usize>().ok());
    let length = length.ok_or_else(|| misfit("the answer has no length"))?;
    let end = begin.checked_add(length).ok_or_else(|| misfit("length"))?;
    let Some(body) = bytes.get(begin..end) else {
        return Ok(None);
    };
    let answered = SplitResponse {
        status: head.code.unwrap_or(0),
        body: body.to_vec(),
    };
    Ok(Some((answered, end)))
}

fn misfit(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    /// A service that answers each call with the next of `answers`, written in pieces of `piece`
    /// bytes, and returns what it read.
    fn service(answers: Vec<String>, piece: usize) -> (String, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let base = format!("http://{}", listener.local_addr().expect("has an address"));
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a caller");
            let mut lines = BufReader::new(stream.try_clone().expect("clones"));
            let mut calls = Vec::new();
            for answer in answers {
                let (mut call, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    lines.read_line(&mut line).expect("a line");
                    if let Some(n) = line.strip_prefix("Content-Length: ") {
                        length = n.trim().parse().expect("a number");
                    }
                    call += &line;
                    if line == "\r\n" {
                        break;
                    }
                }
                let mut body = vec![0; length];
                lines.read_exact(&mut body).expect("the body");
                calls.push(call + &String::from_utf8(body).expect("text"));
                for part in answer.as_bytes().chunks(piece) {
                    (&stream).write_all(part).expect("writes");
                }
            }
            calls
        });
        (base, thread)
    }

    const WAIT: Duration = Duration::from_secs(10);

    /// Calls follow each other on one connection; a response may come in any pieces.
    #[test]
    fn calls_are_sent_and_answered_in_two_steps() {
        let answer = |status: &str, body: &str| {
            format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let (base, thread) = service(vec![answer("200", "{}"), answer("409", "\"no\"")], 3);
        let client = HttpClient::new(1, Some("secret"));
        let mut connection = SplitConnection::open(&client, &base, WAIT).expect("connects");
        for (status, body) in [(200, &b"{}"[..]), (409, b"\"no\"")] {
            connection.send("/log", &[1, 2]).expect("sends");
            let answered = connection.receive(WAIT).expect("an answer");
            assert_eq!((answered.status, &*answered.body), (status, body));
        }
        let calls = thread.join().expect("ends");
        assert!(calls[0].starts_with("POST /log HTTP/1.1\r\nHost: 127.0.0.1:"));
        assert!(calls[0].contains("\r\nAuthorization: Bearer secret\r\n"));
        assert!(calls[1].ends_with("\r\n\r\n[1,2]"));
    }

    /// An end, silence and bytes that are no response are errors.
    #[test]
    fn a_broken_answer_is_an_error() {
        let bad = [
            "HTTP/1.1 200 OK\r\n\r\n",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}more",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        ];
        for answer in bad {
            let (base, thread) = service(vec![answer.into()], usize::MAX);
            let client = HttpClient::new(1, None);
            let mut connection = SplitConnection::open(&client, &base, WAIT).expect("connects");
            connection.send("/log", &()).expect("sends");
            assert!(connection.receive(WAIT).is_err(), "{answer}");
            drop(connection);
            thread.join().expect("ends");
        }
    }
}
