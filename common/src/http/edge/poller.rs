//! Events of the kernel for one core: its listeners, its connections, and wake-ups by other
//! threads. Any number of threads may wait at once; an event wakes one of them.
//!
//! epoll(7) itself, through rustix: the crate mio lends its poller to one thread at a time, and
//! internal listeners have several threads that wait for the same connections.

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::time::Timespec;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Events that one wait returns at most.
pub const EVENTS: usize = 1_024;
/// The token of wake-ups.
pub const WAKER: u64 = 0;

/// Waits for events, and ends such waits.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    /// An eventfd, edge-triggered: each write is an event of its own, so nobody has to read it.
    waker: OwnedFd,
}

/// An event of the socket that was registered under `token`.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// The token.
    pub token: u64,
    flags: EventFlags,
}

impl Poller {
    /// A poller that watches nothing yet.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered for all: an event wakes one thread, and comes once, so that two threads
        // never serve it both.
        let edge = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &waker, EventData::new_u64(WAKER), edge)?;
        Ok(Self { epoll, waker })
    }

    /// Reports connections that wait at a listener, each time that more come.
    ///
    /// # Errors
    /// When the system cannot watch it.
    pub fn watch_listener(&self, listener: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            listener,
            EventData::new_u64(token),
            flags,
        )?)
    }

    /// Reports each time that more can be read from or written to a connection, and its end.
    /// Closing the socket ends it.
    ///
    /// # Errors
    /// When the system cannot watch it.
    pub fn watch_connection(&self, stream: impl AsFd, token: u64) -> io::Result<()> {
        // Writing from the start: to change the registration whenever output waits would cost a
        // system call each time.
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            stream,
            EventData::new_u64(token),
            flags,
        )?)
    }

    /// Waits for events, up to `timeout`, and puts them in the place of those in `events`. Returns
    /// none when the time is over, or when a signal ended the wait.
    ///
    /// # Panics
    /// When the kernel refuses to wait, which it does only for arguments that are wrong.
    pub fn wait(&self, events: &mut Vec<epoll::Event>, timeout: Option<Duration>) {
        events.clear();
        // Up to the next millisecond: a wait that ends too early would be repeated at once.
        let timeout = timeout.map(|wanted| {
            let millis = wanted.as_nanos().div_ceil(1_000_000);
            let millis = i64::try_from(millis).unwrap_or(i64::from(i32::MAX));
            let millis = millis.min(i64::from(i32::MAX));
            Timespec {
                tv_sec: millis / 1_000,
                tv_nsec: millis % 1_000 * 1_000_000,
            }
        });
        match epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref()) {
            // A signal ends the wait; the caller looks and waits again.
            Ok(_) | Err(Errno::INTR) => {}
            // Wrong arguments would be a mistake of ours, and a core that cannot wait serves
            // nobody.
            Err(error) => panic!("waiting for events failed: {error}"),
        }
    }

    /// Ends a wait of one thread, or the next one that begins.
    pub fn wake(&self) {
        // It fails only if the counter is full, after 2^64 wake-ups.
        if let Err(error) = rustix::io::write(&self.waker, &1_u64.to_ne_bytes()) {
            tracing::error!(%error, "a core of the edge cannot be woken");
        }
    }
}

impl Event {
    /// Reads an event of [`Poller::wait`].
    #[must_use]
    pub fn of(event: &epoll::Event) -> Self {
        Self {
            token: event.data.u64(),
            flags: event.flags,
        }
    }

    /// More can be read.
    #[must_use]
    pub fn is_readable(self) -> bool {
        self.flags.contains(EventFlags::IN)
    }

    /// The peer has ended its side; bytes that it sent before may still be unread.
    #[must_use]
    pub fn is_read_closed(self) -> bool {
        self.flags.intersects(EventFlags::HUP | EventFlags::RDHUP)
    }

    /// Nothing can be written any more: both sides have ended.
    #[must_use]
    pub fn is_write_closed(self) -> bool {
        self.flags.contains(EventFlags::HUP)
    }

    /// The connection failed, or was reset.
    #[must_use]
    pub fn is_error(self) -> bool {
        self.flags.contains(EventFlags::ERR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    fn tokens(poller: &Poller, timeout: Duration) -> Vec<u64> {
        let mut events = Vec::with_capacity(EVENTS);
        poller.wait(&mut events, Some(timeout));
        events.iter().map(|event| Event::of(event).token).collect()
    }

    /// A wake-up before the wait is not lost; each is an event, and one alone is one event.
    #[test]
    fn a_wake_up_is_never_lost() {
        let poller = Poller::new().expect("a poller");
        assert!(tokens(&poller, Duration::ZERO).is_empty());
        for _ in 0..3 {
            poller.wake();
            assert_eq!(tokens(&poller, Duration::from_secs(10)), [WAKER]);
            assert!(tokens(&poller, Duration::ZERO).is_empty(), "reported once");
        }
    }

    /// A connection reports its bytes, and then its end.
    #[test]
    fn a_connection_reports_bytes_and_its_end() {
        let poller = Poller::new().expect("a poller");
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("an address");
        poller.watch_listener(&listener, 1).expect("watches");
        let mut client = TcpStream::connect(address).expect("connects");
        assert_eq!(tokens(&poller, Duration::from_secs(10)), [1]);
        let (server, _) = listener.accept().expect("accepts");
        poller.watch_connection(&server, 2).expect("watches");
        let next = |wanted: fn(Event) -> bool| {
            let mut events = Vec::with_capacity(EVENTS);
            loop {
                poller.wait(&mut events, Some(Duration::from_secs(10)));
                assert!(!events.is_empty(), "an event comes");
                if events.iter().any(|event| wanted(Event::of(event))) {
                    return;
                }
            }
        };
        client.write_all(b"hello").expect("writes");
        next(|event| event.token == 2 && event.is_readable() && !event.is_read_closed());
        drop(client);
        next(|event| event.token == 2 && event.is_read_closed());
    }
}
