//! Answers on their way from any thread to the core whose connection waits for them.

use crate::http::{Answer, Response};
use mio::Waker;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A connection of one core: its place, and a number that no other connection of the core ever has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Its place in the slab.
    pub slot: usize,
    /// Its number.
    pub number: u64,
}

/// What arrives for a core.
#[derive(Debug)]
pub enum Letter {
    /// The answer to the request of a connection.
    Answer(Address, Response),
    /// An event for all viewers.
    Event(Arc<[u8]>),
}

/// What arrived for a core. It is bounded by the number of connections, each of which has at most
/// one request open, and by the events that are published, a few each second, while the core is
/// busy with one round.
pub struct Mailbox {
    letters: Mutex<Vec<Letter>>,
    /// Whether the core sleeps, or is about to look a last time before it does: only then is the
    /// waker, a system call, needed.
    asleep: AtomicBool,
    waker: Waker,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("letters", &self.letters.lock().len())
            .finish_non_exhaustive()
    }
}

impl Mailbox {
    /// An empty mailbox of the core that `waker` wakes.
    #[must_use]
    pub fn new(waker: Waker) -> Self {
        Self {
            letters: Mutex::new(Vec::new()),
            asleep: AtomicBool::new(false),
            waker,
        }
    }

    /// Wakes the core, whatever for.
    pub fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "a core of the public server cannot be woken");
        }
    }

    /// Tells that the core is going to sleep; false when it must not, because there is post.
    #[must_use]
    pub fn may_sleep(&self) -> bool {
        // In this order: whoever adds a letter after this look sees the flag, since the lock stands
        // between.
        self.asleep.store(true, Ordering::SeqCst);
        self.letters.lock().is_empty()
    }

    /// Tells that the core is awake and will look before it sleeps.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Moves the letters into `into`, which is empty.
    pub fn empty_into(&self, into: &mut Vec<Letter>) {
        std::mem::swap(&mut *self.letters.lock(), into);
    }

    /// Puts an event in.
    pub fn put_event(&self, event: Arc<[u8]>) {
        self.put(Letter::Event(event));
    }

    fn put(&self, letter: Letter) {
        self.letters.lock().push(letter);
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }
}

/// The edge's side of a request: sends the answer to its core, which drops it when the connection
/// is gone.
#[derive(Debug)]
pub struct EdgeAnswer {
    /// The core.
    pub mailbox: Arc<Mailbox>,
    /// The connection.
    pub to: Address,
}

impl Answer for EdgeAnswer {
    fn answer(self: Box<Self>, response: Response) {
        self.mailbox.put(Letter::Answer(self.to, response));
    }
}
