//! A TCP proxy on the link between two services, or between clients and a front-end. It forwards
//! bytes until [`Proxy::set`] names a [`Harm`]. The tests injure a bazaar with it; the evaluation
//! emulates distance with it.
//!
//! Each connection has two threads, one for each direction. Each thread reads the harm anew for
//! every piece, so a harm also affects open connections. When a cut ends, the proxy forwards the
//! held bytes, as a network does that comes back.

use parking_lot::{Condvar, Mutex};
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a thread waits for bytes before it checks whether the proxy ends.
const LOOK: Duration = Duration::from_millis(100);
/// Time-out for connecting to the service.
const CONNECT: Duration = Duration::from_millis(500);
/// Most bytes of a piece, which is one read.
const PIECE: usize = 16 * 1024;

/// The harm that a proxy does to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It forwards everything.
    None,
    /// It holds requests back: none arrives while this lasts.
    CutRequests,
    /// It holds answers back; requests arrive.
    CutAnswers,
    /// It holds both back.
    CutBoth,
    /// It closes new connections at once, and open ones at their next piece.
    Refuse,
    /// It delays every piece by this time, in both directions.
    Delay(Duration),
    /// It forwards this many bytes a second, in both directions.
    Slow(u32),
    /// It breaks each n-th request off in its middle, with a reset in both directions.
    ResetRequests(u32),
    /// It breaks each n-th answer off in the same way.
    ResetAnswers(u32),
    /// It delivers each n-th request, and loses the answer with its connection.
    LoseAnswers(u32),
    /// It delivers each n-th request a second time, over another connection, and drops the second
    /// answer.
    Repeat(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

#[derive(Debug)]
struct State {
    harm: Harm,
    ended: bool,
    /// Pieces that the present harm affected.
    met: u64,
    /// Pieces of the harmed direction since the harm began.
    seen: u32,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    /// Whether the bytes are HTTP, of which it knows where a request ends.
    http: bool,
    state: Mutex<State>,
    changed: Condvar,
}

/// A listening proxy. Dropping it closes every connection.
#[derive(Debug)]
pub struct Proxy {
    listens_at: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy for HTTP to this address, on a free port of loopback.
    ///
    /// # Errors
    /// When no port or thread is left.
    pub fn start(to: SocketAddr) -> io::Result<Self> {
        Self::listen(to, true)
    }

    /// The same for another protocol, as a database's. [`Harm::Repeat`] does nothing to it: a
    /// request of such a protocol belongs to its connection, and to no other.
    ///
    /// # Errors
    /// As [`Proxy::start`].
    pub fn for_bytes(to: SocketAddr) -> io::Result<Self> {
        Self::listen(to, false)
    }

    fn listen(to: SocketAddr, http: bool) -> io::Result<Self> {
        // A free port: its users are given its address.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let listens_at = listener.local_addr()?;
        let state = Mutex::new(State {
            harm: Harm::None,
            ended: false,
            met: 0,
            seen: 0,
        });
        let shared = Arc::new(Shared {
            to,
            http,
            state,
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::Builder::new()
            .name("proxy".into())
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Self {
            listens_at,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.listens_at)
    }

    /// Its own address.
    pub fn address(&self) -> SocketAddr {
        self.listens_at
    }

    /// Changes the harm, and resets its counts.
    pub fn set(&self, harm: Harm) {
        let mut state = self.shared.state.lock();
        *state = State {
            harm,
            met: 0,
            seen: 0,
            ended: state.ended,
        };
        // Changed before the wake-up, so that a thread which waits looks at the new harm.
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Pieces that the present harm affected. A test that injures a link must see this above 0.
    pub fn met(&self) -> u64 {
        self.shared.state.lock().met
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state.lock().ended = true;
        self.shared.changed.notify_all();
        // Wakes the acceptor out of its accept. A failed connect means that it does not wait there.
        let _ = TcpStream::connect(self.listens_at);
        if let Some(acceptor) = self.acceptor.take() {
            // Ignored: a second panic during an unwinding would abort and hide the first.
            let _ = acceptor.join();
        }
    }
}

/// Accepts connections until the proxy ends, then joins their threads.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for client in listener.incoming() {
        if shared.state.lock().ended {
            break;
        }
        threads.retain(|thread| !thread.is_finished());
        // A client that went away before it was accepted concerns nobody else.
        let Ok(client) = client else { continue };
        if shared.state.lock().harm == Harm::Refuse {
            shared.state.lock().met += 1;
            // A reset rather than a close: a refused connection should look like that of a dead
            // process.
            reset(&client);
            continue;
        }
        let shared = Arc::clone(shared);
        let run = move || serve(&shared, &client);
        threads.extend(
            thread::Builder::new()
                .name("proxy-connection".into())
                .spawn(run),
        );
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve(shared: &Shared, client: &TcpStream) {
    let Ok(server) = TcpStream::connect_timeout(&shared.to, CONNECT) else {
        return reset(client);
    };
    for stream in [client, &server] {
        // Without these options pieces come late, or threads end late. That is no reason to close
        // the connection.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(LOOK));
    }
    thread::scope(|scope| {
        scope.spawn(|| pump(shared, Direction::Answer, &server, client));
        pump(shared, Direction::Request, client, &server);
    });
}

/// Forwards bytes in one direction, until either side ends.
fn pump(shared: &Shared, direction: Direction, from: &TcpStream, to: &TcpStream) {
    let mut piece = vec![0; PIECE];
    let mut message = Vec::new();
    let passed = loop {
        let length = match (&*from).read(&mut piece) {
            // The end of a side travels as its bytes do, and is held back by a cut as they are.
            Ok(0) => break shared.hold(direction),
            Ok(length) => length,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                if shared.state.lock().ended {
                    break false;
                }
                continue;
            }
            Err(_) => break false,
        };
        if shared.http && direction == Direction::Request {
            message.extend_from_slice(&piece[..length]);
            // Whole requests alone can be repeated: half of one would be refused, not handled
            // twice.
            if let Some(whole) = whole_message(&message) {
                if shared.repeats_this() {
                    deliver_again(shared, &message[..whole]);
                }
                message.drain(..whole);
            }
        }
        if !shared.pass(direction, &piece[..length], to) {
            break false;
        }
    };
    if passed {
        // Half closed: the other direction may still have an answer to deliver.
        let _ = to.shutdown(Shutdown::Write);
    } else {
        // Both sides: each must see that the connection broke.
        reset(from);
        reset(to);
    }
}

impl Shared {
    /// Waits while this direction is cut. False when the proxy ended meanwhile.
    fn hold(&self, direction: Direction) -> bool {
        let mut state = self.state.lock();
        let cut = |harm| match harm {
            Harm::CutBoth => true,
            Harm::CutRequests => direction == Direction::Request,
            Harm::CutAnswers => direction == Direction::Answer,
            _ => false,
        };
        // Counted once for the wait, so that a test sees that its cut met something.
        if cut(state.harm) {
            state.met += 1;
        }
        while cut(state.harm) && !state.ended {
            self.changed.wait(&mut state);
        }
        !state.ended
    }

    /// Forwards a piece under the present harm. False when the caller must reset the connection.
    fn pass(&self, direction: Direction, piece: &[u8], mut to: &TcpStream) -> bool {
        if !self.hold(direction) {
            return false;
        }
        // Read for each piece: a harm also meets connections that were open before.
        let harm = self.state.lock().harm;
        match harm {
            Harm::Refuse => {
                self.state.lock().met += 1;
                false
            }
            Harm::ResetRequests(n) if direction == Direction::Request && self.meets(n) => {
                // The first half arrives. The reset follows whether or not this write succeeds.
                let _ = to.write_all(&piece[..piece.len() / 2]);
                false
            }
            Harm::ResetAnswers(n) if direction == Direction::Answer && self.meets(n) => {
                let _ = to.write_all(&piece[..piece.len() / 2]);
                false
            }
            Harm::LoseAnswers(n) if direction == Direction::Answer && self.meets(n) => false,
            Harm::Delay(time) => {
                self.delay(time);
                to.write_all(piece).is_ok()
            }
            // In small pieces, so that the rate is even and a change of harm is noticed soon.
            Harm::Slow(bytes_per_second) => piece.chunks(256).all(|chunk| {
                self.delay(Duration::from_secs_f64(
                    chunk.len() as f64 / f64::from(bytes_per_second),
                ));
                to.write_all(chunk).is_ok()
            }),
            _ => to.write_all(piece).is_ok(),
        }
    }

    /// Counts a piece of the harmed direction; true for each n-th.
    fn meets(&self, n: u32) -> bool {
        let mut state = self.state.lock();
        state.seen += 1;
        let meets = state.seen.is_multiple_of(n);
        state.met += u64::from(meets);
        meets
    }

    fn repeats_this(&self) -> bool {
        let harm = self.state.lock().harm;
        matches!(harm, Harm::Repeat(n) if self.meets(n))
    }

    /// Waits for this time, or until the harm changes.
    fn delay(&self, time: Duration) {
        let mut state = self.state.lock();
        state.met += 1;
        let (until, harm) = (Instant::now() + time, state.harm);
        while state.harm == harm
            && !state.ended
            && !self.changed.wait_until(&mut state, until).timed_out()
        {}
    }
}

/// The length of the first message, once it is complete. It reads `Content-Length` only: our
/// services send a length with every body.
fn whole_message(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    (bytes.len() >= head + length).then_some(head + length)
}

/// Delivers a request over another connection. It waits for the first bytes of the answer, so that
/// the service has handled the request when it returns.
fn deliver_again(shared: &Shared, message: &[u8]) {
    let deliver = || -> io::Result<()> {
        let mut again = TcpStream::connect_timeout(&shared.to, CONNECT)?;
        again.set_read_timeout(Some(CONNECT))?;
        again.write_all(message)?;
        again.read(&mut [0; 256]).map(drop)
    };
    // A failed repeat is ignored: it is as if the network had not repeated.
    let _ = deliver();
}

/// Closes a connection with a reset (linger time 0).
fn reset(stream: &TcpStream) {
    // Both calls fail only for a connection that is closed already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that answers each request of 4 bytes with the same bytes, and counts them.
    fn echo() -> (SocketAddr, Arc<Mutex<u32>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let count = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&count);
        // Not joined: it ends with the test program.
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                thread::spawn(move || {
                    let mut bytes = [0; 4];
                    while stream.read_exact(&mut bytes).is_ok() {
                        *counted.lock() += 1;
                        if stream.write_all(&bytes).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        (address, count)
    }

    fn call(stream: &mut TcpStream) -> io::Result<[u8; 4]> {
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        let mut answer = [0; 4];
        stream.write_all(b"\r\n\r\n")?;
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    /// Each harm has its effect, counts its pieces, and ends when the next one is set.
    #[test]
    fn each_harm_has_its_effect_and_ends() {
        for (harm, answered, arrives) in [
            (Harm::CutRequests, false, 0),
            (Harm::CutAnswers, false, 1),
            (Harm::CutBoth, false, 0),
            (Harm::Refuse, false, 0),
            (Harm::Delay(Duration::from_millis(20)), true, 1),
            (Harm::Slow(1_000), true, 1),
            (Harm::ResetRequests(1), false, 0),
            (Harm::ResetAnswers(1), false, 1),
            (Harm::LoseAnswers(1), false, 1),
            (Harm::Repeat(1), true, 2),
        ] {
            // A new service and proxy each time: bytes that a cut held would be counted late.
            let (to, count) = echo();
            let proxy = Proxy::start(to).expect("starts");
            let connect = || TcpStream::connect(proxy.listens_at).expect("connects");
            let asked = || std::mem::take(&mut *count.lock());
            assert!(call(&mut connect()).is_ok() && asked() == 1);
            proxy.set(harm);
            let answer = call(&mut connect());
            assert_eq!(answer.is_ok(), answered, "{harm:?}: {answer:?}");
            assert_eq!(asked(), arrives, "{harm:?}");
            assert!(proxy.met() > 0, "{harm:?} met nothing");
            proxy.set(Harm::None);
            assert!(call(&mut connect()).is_ok(), "{harm:?} has ended");
        }
    }

    /// Held bytes go on when a cut ends; the length shows the end of a message.
    #[test]
    fn held_bytes_go_on_when_a_cut_ends() {
        let (to, _) = echo();
        let proxy = Proxy::start(to).expect("starts");
        let mut stream = TcpStream::connect(proxy.listens_at).expect("connects");
        proxy.set(Harm::CutAnswers);
        assert!(call(&mut stream).is_err());
        proxy.set(Harm::None);
        let mut answer = [0; 4];
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("set");
        stream.read_exact(&mut answer).expect("it comes late");
        assert_eq!(
            whole_message(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcd"),
            Some(41)
        );
        assert_eq!(
            whole_message(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"),
            None
        );
    }
}
