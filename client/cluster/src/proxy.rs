//! A TCP proxy on one way between two services, or between clients and a front-end. It passes bytes
//! on until it is told to do harm: see [`Harm`]. The tests injure a bazaar with it, the evaluation
//! stands it in for distance.
//!
//! Each connection has two threads, one per direction. Harm is looked up for every piece that is
//! read, so that it also meets connections that are open already; held bytes go on when the harm
//! ends, as with a network that comes back.

use parking_lot::{Condvar, Mutex};
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a thread waits for bytes before it looks whether the proxy ends.
const LOOK: Duration = Duration::from_millis(100);
/// How long connecting to the service behind may take.
const CONNECT: Duration = Duration::from_millis(500);
/// A piece: what is read at once.
const PIECE: usize = 16 * 1024;

/// What a proxy does to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Nothing.
    None,
    /// Requests are held back: they never arrive while this lasts.
    CutRequests,
    /// Answers are held back, the requests arrive.
    CutAnswers,
    /// Both are held back.
    CutBoth,
    /// New connections are closed at once, and open ones with their next piece.
    Refuse,
    /// Every piece is late by so much, in both directions.
    Delay(Duration),
    /// So many bytes a second pass, in both directions.
    Slow(u32),
    /// Each n-th request is broken off in its middle, by a reset in both directions.
    ResetRequests(u32),
    /// Each n-th answer is broken off in its middle, the same way.
    ResetAnswers(u32),
    /// Each n-th answer is lost with its connection, after the request was delivered.
    LoseAnswers(u32),
    /// Each n-th request is delivered a second time, over a connection of its own; the second
    /// answer goes nowhere.
    Repeat(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Answer,
}

#[derive(Debug)]
struct State {
    harm: Harm,
    ended: bool,
    /// Pieces that met the harm, or were held, since it began.
    met: u64,
    /// Pieces of the harmed direction since it began.
    seen: u32,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
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
    /// A proxy to this address, on a free port of loopback.
    ///
    /// # Errors
    /// When no port or thread is left.
    pub fn start(to: SocketAddr) -> io::Result<Self> {
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
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listens_at)
    }

    /// Does this from now on.
    pub fn set(&self, harm: Harm) {
        let mut state = self.shared.state.lock();
        *state = State {
            harm,
            met: 0,
            seen: 0,
            ended: state.ended,
        };
        drop(state);
        self.shared.changed.notify_all();
    }

    /// How many pieces met the present harm.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.shared.state.lock().met
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state.lock().ended = true;
        self.shared.changed.notify_all();
        // Wakes the acceptor; if that fails it is not waiting.
        let _ = TcpStream::connect(self.listens_at);
        if let Some(acceptor) = self.acceptor.take() {
            // It panics on nothing; a second panic here would hide the first.
            let _ = acceptor.join();
        }
    }
}

/// Takes connections until the proxy ends, then waits for the threads of all.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for client in listener.incoming() {
        if shared.state.lock().ended {
            break;
        }
        threads.retain(|thread| !thread.is_finished());
        let Ok(client) = client else { continue };
        if shared.state.lock().harm == Harm::Refuse {
            shared.state.lock().met += 1;
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
        // Without them pieces would come late, or threads end late: no reason to give up the
        // connection.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(LOOK));
    }
    thread::scope(|scope| {
        scope.spawn(|| pump(shared, Way::Answer, &server, client));
        pump(shared, Way::Request, client, &server);
    });
}

/// Passes bytes one way, until either side ends.
fn pump(shared: &Shared, way: Way, from: &TcpStream, to: &TcpStream) {
    let mut piece = vec![0; PIECE];
    let mut message = Vec::new();
    let passed = loop {
        let length = match (&*from).read(&mut piece) {
            Ok(0) => break shared.hold(way),
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
        if way == Way::Request {
            message.extend_from_slice(&piece[..length]);
            if let Some(whole) = whole_message(&message) {
                if shared.meets_repeat() {
                    deliver_again(shared, &message[..whole]);
                }
                message.drain(..whole);
            }
        }
        if !shared.pass(way, &piece[..length], to) {
            break false;
        }
    };
    if passed {
        let _ = to.shutdown(Shutdown::Write);
    } else {
        reset(from);
        reset(to);
    }
}

impl Shared {
    /// Waits while this way is cut. False when the proxy ended meanwhile.
    fn hold(&self, way: Way) -> bool {
        let mut state = self.state.lock();
        let cut = |harm| match harm {
            Harm::CutBoth => true,
            Harm::CutRequests => way == Way::Request,
            Harm::CutAnswers => way == Way::Answer,
            _ => false,
        };
        if cut(state.harm) {
            state.met += 1;
        }
        while cut(state.harm) && !state.ended {
            self.changed.wait(&mut state);
        }
        !state.ended
    }

    /// Passes a piece on, as the harm has it. False when the connection is to be reset.
    fn pass(&self, way: Way, piece: &[u8], mut to: &TcpStream) -> bool {
        if !self.hold(way) {
            return false;
        }
        let harm = self.state.lock().harm;
        match harm {
            Harm::Refuse => {
                self.state.lock().met += 1;
                false
            }
            Harm::ResetRequests(n) if way == Way::Request && self.meets(n) => {
                // The first half arrives; what comes of it is of no interest.
                let _ = to.write_all(&piece[..piece.len() / 2]);
                false
            }
            Harm::ResetAnswers(n) if way == Way::Answer && self.meets(n) => {
                let _ = to.write_all(&piece[..piece.len() / 2]);
                false
            }
            Harm::LoseAnswers(n) if way == Way::Answer && self.meets(n) => false,
            Harm::Delay(time) => {
                self.late(time);
                to.write_all(piece).is_ok()
            }
            Harm::Slow(bytes_per_second) => piece.chunks(256).all(|chunk| {
                self.late(Duration::from_secs_f64(
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

    fn meets_repeat(&self) -> bool {
        let harm = self.state.lock().harm;
        matches!(harm, Harm::Repeat(n) if self.meets(n))
    }

    /// Waits for a time, or for another harm.
    fn late(&self, time: Duration) {
        let mut state = self.state.lock();
        state.met += 1;
        let (until, harm) = (Instant::now() + time, state.harm);
        while state.harm == harm
            && !state.ended
            && !self.changed.wait_until(&mut state, until).timed_out()
        {}
    }
}

/// The length of the first message, once all of it is here. Our services send a length with every
/// body.
fn whole_message(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    (bytes.len() >= head + length).then_some(head + length)
}

/// Delivers a request over a connection of its own, and waits for the first of its answer, so that
/// it is known to have been handled.
fn deliver_again(shared: &Shared, message: &[u8]) {
    let deliver = || -> io::Result<()> {
        let mut again = TcpStream::connect_timeout(&shared.to, CONNECT)?;
        again.set_read_timeout(Some(CONNECT))?;
        again.write_all(message)?;
        again.read(&mut [0; 256]).map(drop)
    };
    // A repeat that fails is one that did not happen: the network promised none.
    let _ = deliver();
}

/// Closes a connection so that the other side is told of a reset.
fn reset(stream: &TcpStream) {
    // Both fail only for a connection that is gone.
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
        // Ends with the test program.
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

    /// Each harm does what it says, counts what it met, and ends with it.
    #[test]
    fn harms() {
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
            // A new service and proxy each time: what a cut held back would be counted late.
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

    /// What a cut held goes on when it ends; a whole message is known by its length.
    #[test]
    fn held_bytes_go_on() {
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
