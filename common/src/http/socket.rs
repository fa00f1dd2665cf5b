//! The connections of [`super::client`]: ureq's transport with one write per request.
//!
//! ureq's own hands the head and the body of a request to the kernel one after the other, sets both
//! time-outs anew in each phase of a call (what is left of them has changed by microseconds), and
//! looks with three system calls whether a kept connection is still open. Between services whose
//! messages are small that is most of a call's price: the head alone already wakes the receiver's
//! thread, which then waits for the body. Here what is to be sent is kept until a response is
//! awaited, a time-out is rounded up to [`STEP`], and one `recv` looks at a kept connection.

use rustix::net::{RecvFlags, recv};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Weak};
use std::time::Duration;
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
    time,
};

/// Time-outs of a socket are multiples of this, so that one setting serves many calls.
const STEP: Duration = Duration::from_millis(10);
/// Bytes that are collected for one write; a longer request goes out in several.
const KEPT_BYTES: usize = 256 * 1024;

/// Opens connections.
#[derive(Debug)]
pub(super) struct OneWrite;

impl Connector for OneWrite {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Connection>, Error> {
        let mut refused = None;
        for address in &details.addrs {
            let connected = match details.timeout.not_zero() {
                Some(timeout) => TcpStream::connect_timeout(address, *timeout),
                None => TcpStream::connect(address),
            };
            match connected {
                Ok(stream) => {
                    let connection = Connection::new(stream, details)?;
                    // ureq's `Agent::shutdown` ends the calls in flight through this. Weak, so that
                    // it keeps no socket open.
                    let handle: Weak<dyn ShutdownHandle> =
                        Arc::<TcpStream>::downgrade(&connection.stream);
                    (details.register_shutdown)(handle)?;
                    return Ok(Some(connection));
                }
                Err(error) => refused = Some(error),
            }
        }
        Err(match refused {
            // A kind of its own: a time-out while connecting counts as not sent.
            Some(error) if error.kind() == ErrorKind::TimedOut => {
                Error::Timeout(ureq::Timeout::Connect)
            }
            Some(error) => error.into(),
            None => Error::HostNotFound,
        })
    }
}

/// A connection to a service.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Arc<TcpStream>,
    buffers: LazyBuffers,
    /// Not sent yet.
    kept: Vec<u8>,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl Connection {
    fn new(stream: TcpStream, details: &ConnectionDetails<'_>) -> io::Result<Self> {
        // Trap: with Nagle's algorithm a request in two parts waits for the receiver's
        // acknowledgement of the first, 40 ms.
        stream.set_nodelay(true)?;
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Self {
            stream: Arc::new(stream),
            buffers,
            kept: Vec::new(),
            read_timeout: None,
            write_timeout: None,
        })
    }

    fn flush(&mut self, timeout: NextTimeout) -> Result<(), Error> {
        let wanted = rounded(timeout)?;
        // A system call, saved where the time-out is the same as last time: see `STEP`.
        if wanted != self.write_timeout {
            self.stream.set_write_timeout(wanted)?;
            self.write_timeout = wanted;
        }
        let sent = (&*self.stream).write_all(&self.kept);
        // Also after a failure, when the connection is dropped: what was not sent must not go out
        // with another request.
        self.kept.clear();
        sent.map_err(|error| sorted(error, timeout))
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.kept
            .extend_from_slice(&self.buffers.output()[..amount]);
        // A large body goes out in pieces rather than to be held whole.
        if self.kept.len() >= KEPT_BYTES {
            self.flush(timeout)
        } else {
            Ok(())
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        // Here the request is complete: ureq asks for input once it has handed everything over.
        if !self.kept.is_empty() {
            self.flush(timeout)?;
        }
        let wanted = rounded(timeout)?;
        if wanted != self.read_timeout {
            self.stream.set_read_timeout(wanted)?;
            self.read_timeout = wanted;
        }
        let space = self.buffers.input_append_buf();
        let read = loop {
            match (&*self.stream).read(space) {
                // A signal is no answer.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let amount = read.map_err(|error| sorted(error, timeout))?;
        self.buffers.input_appended(amount);
        // Nothing read is the end of the other side: ureq makes an error of it.
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // Nothing is due on a kept connection: an end or stray bytes mean that it is of
        // no more use.
        let looked = recv(
            &*self.stream,
            &mut [0; 1],
            RecvFlags::PEEK | RecvFlags::DONTWAIT,
        );
        looked.is_err_and(|error| error == rustix::io::Errno::AGAIN)
    }
}

/// The time-out for the socket; `None` for none.
fn rounded(timeout: NextTimeout) -> Result<Option<Duration>, Error> {
    // Not NextTimeout::not_zero, which makes a second of nothing left.
    let left = match timeout.after {
        time::Duration::NotHappening => return Ok(None),
        time::Duration::Exact(left) if left.is_zero() => {
            return Err(Error::Timeout(timeout.reason));
        }
        time::Duration::Exact(left) => left,
    };
    // Rounded up, never down: down could be nothing, which means no time-out at all.
    let steps = left.as_nanos().div_ceil(STEP.as_nanos());
    Ok(Some(
        STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX)),
    ))
}

fn sorted(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use crate::http::client::{Call, CallError, HttpClient};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;
    use std::time::{Duration, Instant};

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

    fn client_of(listener: &TcpListener) -> (HttpClient, String) {
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        (HttpClient::new(1, None), base)
    }

    fn post(
        client: &HttpClient,
        base: &str,
        body: &str,
        timeout: Duration,
    ) -> Result<serde_json::Value, CallError> {
        client.call(
            Call {
                method: "POST",
                base,
                path: "/orders",
                timeout,
                trace: None,
            },
            &body,
        )
    }

    fn accept(listener: &TcpListener) -> TcpStream {
        listener.accept().expect("a connection").0
    }

    /// Head and body come in one piece, on the same connection as before; a connection that was
    /// closed meanwhile is replaced without an error.
    #[test]
    fn one_write_per_request() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let (client, base) = client_of(&listener);
        let server = thread::spawn(move || {
            let mut pieces = Vec::new();
            for requests in [2, 1] {
                let mut connection = accept(&listener);
                for _ in 0..requests {
                    let mut piece = [0; 4_096];
                    let n = connection.read(&mut piece).expect("reads");
                    pieces.push(String::from_utf8_lossy(&piece[..n]).into_owned());
                    connection.write_all(ANSWER).expect("answers");
                }
            }
            pieces
        });
        for body in ["first", "second"] {
            post(&client, &base, body, Duration::from_secs(5)).expect("answered");
        }
        // The server closes after two. Until that is here, the kept connection is as good as any.
        let deadline = Instant::now() + Duration::from_secs(5);
        while post(&client, &base, "third", Duration::from_secs(5)).is_err() {
            assert!(
                Instant::now() < deadline,
                "a closed connection is used again and again"
            );
        }
        let pieces = server.join().expect("joins");
        assert_eq!(pieces.len(), 3);
        for (piece, body) in pieces.iter().zip(["first", "second", "third"]) {
            assert!(
                piece.starts_with("POST /orders HTTP/1.1\r\n")
                    && piece.ends_with(body_of(body).as_str()),
                "{piece}"
            );
        }
    }

    fn body_of(text: &str) -> String {
        format!("\r\n\r\n\"{text}\"")
    }

    /// A request of several megabytes arrives whole.
    #[test]
    fn large_requests_arrive_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let (client, base) = client_of(&listener);
        let text = "x".repeat(3_000_000);
        let expected = text.len() + 2;
        let server = thread::spawn(move || {
            let mut connection = accept(&listener);
            let mut all = Vec::new();
            let mut piece = [0; 65_536];
            let head = loop {
                let n = connection.read(&mut piece).expect("reads");
                all.extend_from_slice(&piece[..n]);
                let head = all
                    .windows(4)
                    .position(|w| w == b"\r\n\r\n")
                    .map(|at| at + 4);
                if let Some(head) = head.filter(|head| all.len() >= head + expected) {
                    break head;
                }
            };
            connection.write_all(ANSWER).expect("answers");
            all.len() - head
        });
        post(&client, &base, &text, Duration::from_secs(20)).expect("answered");
        assert_eq!(server.join().expect("joins"), expected);
    }

    /// A response that does not come ends the call after its time-out, with an unknown outcome; an
    /// abort from another thread ends it at once.
    #[test]
    fn calls_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let (client, base) = client_of(&listener);
        let began = Instant::now();
        let error = post(&client, &base, "", Duration::from_millis(35)).expect_err("no answer");
        assert!(error.outcome_unknown(), "{error}");
        assert!(
            (35..5_000).contains(&began.elapsed().as_millis()),
            "{:?}",
            began.elapsed()
        );
        let aborter = thread::spawn({
            let client = client.clone();
            // The second connection: its call is under way.
            move || (accept(&listener), accept(&listener), client.abort())
        });
        let began = Instant::now();
        let error = post(&client, &base, "", Duration::from_secs(60)).expect_err("aborted");
        assert!(error.outcome_unknown(), "{error}");
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{:?}",
            began.elapsed()
        );
        drop(aborter.join().expect("joins"));
    }
}
