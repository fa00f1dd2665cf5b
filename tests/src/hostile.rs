//! Callers without the token at an internal listener, who do what a service never would.

use parking_lot::Mutex;
use socket2::SockRef;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Connections that one attack holds at most.
const HELD: usize = 500;
/// From one connection to the next.
const PACE: Duration = Duration::from_millis(2);
/// How long a stranger tries to write bytes that are never read.
const WRITE: Duration = Duration::from_millis(200);
/// A request line that never ends grows by pieces of this size, up to so many.
const PIECE: usize = 64 * 1_024;
const PIECES: usize = 1_024;

/// The strangers' attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Connect, and say nothing.
    Idle,
    /// Stop in the middle of a head.
    HalfHead,
    /// Stop in the middle of a small body.
    HalfBody,
    /// Declare a body beyond the limit, send none of it, and wait.
    DeclaredBody,
    /// The same, but close at once.
    DeclaredAndClosed,
    /// Send a request line without an end.
    HugeLine,
    /// Send many requests at once, and read no answer.
    Pipelined,
    /// Connect, send and reset.
    Reset,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Idle,
        Self::HalfHead,
        Self::HalfBody,
        Self::DeclaredBody,
        Self::DeclaredAndClosed,
        Self::HugeLine,
        Self::Pipelined,
        Self::Reset,
    ];

    /// Does it to a listener until the time is up. All connections are closed then.
    pub fn run(self, address: SocketAddr, time: Duration) {
        let until = Instant::now() + time;
        let held = Mutex::new(Vec::new());
        thread::scope(|scope| {
            while Instant::now() < until {
                if let Ok(stream) = TcpStream::connect_timeout(&address, WRITE) {
                    let _refused = stream.set_write_timeout(Some(WRITE));
                    if self == Self::HugeLine && held.lock().len() < 8 {
                        let kept = stream.try_clone();
                        scope.spawn(move || write_line(&stream, until));
                        held.lock().extend(kept);
                    } else if self.send(&stream) {
                        held.lock().push(stream);
                    }
                }
                let mut held = held.lock();
                if held.len() > HELD {
                    // The oldest goes, so that new ones keep coming.
                    held.remove(0);
                }
                drop(held);
                thread::park_timeout(PACE);
            }
        });
    }

    /// Sends what this stranger sends; whether it then holds its connection.
    fn send(self, mut stream: &TcpStream) -> bool {
        let post = |length: u64| {
            format!(
                "POST /trades HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n"
            )
        };
        let text = match self {
            Self::Idle => String::new(),
            Self::HalfHead | Self::HugeLine => "POST /trades HTTP/1.1\r\nHost: 127".into(),
            Self::HalfBody => post(70 + fastrand::u64(0..4_000)) + "x",
            Self::DeclaredBody | Self::DeclaredAndClosed => {
                post(4_194_305 + fastrand::u64(0..50_000_000))
            }
            Self::Pipelined => {
                "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGARBAGE\r\n".repeat(200)
            }
            Self::Reset => "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".into(),
        };
        let _refused = stream.write_all(text.as_bytes());
        if self == Self::Reset {
            let _gone = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        !matches!(self, Self::DeclaredAndClosed | Self::Reset)
    }
}

fn write_line(mut stream: &TcpStream, until: Instant) {
    let piece = [b'x'; PIECE];
    let _refused = stream.write_all(b"GET /");
    for _ in 0..PIECES {
        if Instant::now() >= until || stream.write_all(&piece).is_err() {
            return;
        }
    }
}
