//! A client that sends exactly the given bytes, and reads responses strictly.

pub mod hostile;

use std::io::{self, BufReader, Cursor, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longer than anything here takes: a client that waits for this long fails its test.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    /// Bytes that were read and belong to later answers.
    rest: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The first field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        fields
            .into_iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Self {
            stream,
            rest: Vec::new(),
        }
    }

    /// Sends all bytes. A server that has refused may close before they are all sent.
    pub fn send(&self, bytes: &[u8]) {
        match (&self.stream).write_all(bytes) {
            Err(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) =>
            {
                panic!("{error}")
            }
            _ => {}
        }
    }

    /// Sends and reads the response.
    #[allow(dead_code)] // Not every test binary needs it.
    pub fn answer_to(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        self.send(bytes);
        self.answer()
    }

    /// Sends the same bytes again and again until a response comes.
    #[allow(dead_code)] // Not every test binary needs it.
    pub fn drip(&mut self, bytes: &[u8], every: Duration) -> io::Result<Answer> {
        self.stream.set_read_timeout(Some(every))?;
        let until = Instant::now() + PATIENCE;
        while !self.fill()? {
            assert!(Instant::now() < until, "no answer");
            self.send(bytes);
        }
        self.stream.set_read_timeout(Some(PATIENCE))?;
        self.answer()
    }

    /// Reads one response without a body: to HEAD, or an interim one.
    pub fn head(&mut self) -> io::Result<Answer> {
        loop {
            if let Some(end) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                let body = self.rest.split_off(end + 4);
                let head =
                    String::from_utf8(std::mem::replace(&mut self.rest, body)).expect("text");
                let status = head
                    .strip_prefix("HTTP/1.1 ")
                    .and_then(|rest| rest[..3].parse().ok());
                return Ok(Answer {
                    status: status.expect("a status line"),
                    head,
                    body: Vec::new(),
                });
            }
            self.more()?;
        }
    }

    /// Reads one response with its body.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        let length: usize = answer
            .field("content-length")
            .expect("a length")
            .parse()
            .expect("a number");
        while self.rest.len() < length {
            self.more()?;
        }
        let rest = self.rest.split_off(length);
        answer.body = std::mem::replace(&mut self.rest, rest);
        Ok(answer)
    }

    /// The reader of all further bytes, for a response without length.
    #[allow(dead_code)] // Not every test binary needs it.
    pub fn into_reader(self) -> BufReader<impl Read> {
        BufReader::new(Cursor::new(self.rest).chain(self.stream))
    }

    /// The server ends the connection in order, without a reset and without another byte.
    #[allow(dead_code)] // Not every test binary needs it.
    pub fn assert_closed(&mut self) {
        assert_eq!(self.rest, b"", "nothing more was expected");
        let mut byte = [0];
        assert_eq!(
            self.stream.read(&mut byte).expect("the end, not a reset"),
            0
        );
    }

    fn more(&mut self) -> io::Result<()> {
        if self.fill()? {
            Ok(())
        } else {
            Err(ErrorKind::TimedOut.into())
        }
    }

    /// Reads once; false when nothing came in time.
    fn fill(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 65_536];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.rest.extend_from_slice(&bytes[..n]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Waits until something is so.
#[allow(dead_code)] // Not every test binary needs it.
pub fn wait_for(what: &str, at_most: Duration, is_so: impl Fn() -> bool) {
    let until = Instant::now() + at_most;
    while !is_so() {
        assert!(Instant::now() < until, "not within {at_most:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
