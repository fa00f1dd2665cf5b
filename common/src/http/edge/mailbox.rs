//! Responses on their way from any thread to the core whose connection waits for them.
//!
//! Waking a core costs a system call. So a sender makes it only if the core sleeps, or has decided
//! to sleep. The messages and that decision lie behind one lock. The trace that this prevents: the
//! core looks and finds no message; a message comes, and its sender sees that the core is awake;
//! the core falls asleep, and the message lies there.

use crate::http::{Response, ResponseSink};
use mio::Waker;
use std::fmt;
use std::sync::Arc;

#[cfg(test)]
use explore::Mutex;
/// The lock between the threads. This module's tests explore its interleavings.
#[cfg(not(test))]
use parking_lot::Mutex;

/// A connection of one core. Slots are used again; the number tells a late response that its
/// connection is gone and another one has the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId {
    /// Its index in the slab.
    pub slot: usize,
    /// A number that no other connection of the core ever has.
    pub number: u64,
}

/// A message for a core.
#[derive(Debug)]
pub enum Message {
    /// The response to the request of a connection.
    Response(ConnectionId, Response),
    /// An event for all subscribers.
    Event(Arc<[u8]>),
}

/// The messages that a core has not taken yet. They are bounded by the number of connections, each
/// of which has at most one request open, and by the events that are published, a few each second,
/// while the core is busy with one round.
pub struct Mailbox<W: Wake = Waker> {
    state: Mutex<State>,
    waker: W,
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<Message>,
    /// Whether the core sleeps, or goes to sleep without another look.
    asleep: bool,
}

/// Ends a core's sleep, or its next one.
pub trait Wake {
    /// Ends it.
    fn wake(&self);
}

impl Wake for Waker {
    fn wake(&self) {
        if let Err(error) = Self::wake(self) {
            tracing::error!(%error, "a core of the public server cannot be woken");
        }
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("messages", &self.state.lock().messages.len())
            .finish_non_exhaustive()
    }
}

impl<W: Wake> Mailbox<W> {
    /// An empty mailbox of the core that `waker` wakes.
    #[must_use]
    pub fn new(waker: W) -> Self {
        Self {
            state: Mutex::default(),
            waker,
        }
    }

    /// Wakes the core, also without a message.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Called by the core before it sleeps; false when it must not, because there are messages.
    #[must_use]
    pub fn may_sleep(&self) -> bool {
        let mut state = self.state.lock();
        state.asleep = state.messages.is_empty();
        state.asleep
    }

    /// Called by the core after its sleep: it looks again before the next one.
    pub fn awake(&self) {
        self.state.lock().asleep = false;
    }

    /// Moves the messages into `into`, which is empty.
    pub fn empty_into(&self, into: &mut Vec<Message>) {
        std::mem::swap(&mut self.state.lock().messages, into);
    }

    /// Puts an event in.
    pub fn put_event(&self, event: Arc<[u8]>) {
        self.put(Message::Event(event));
    }

    fn put(&self, message: Message) {
        let mut state = self.state.lock();
        state.messages.push(message);
        // The first message wakes; the others find the core awake.
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.wake();
        }
    }
}

/// The edge's side of a request: sends the response to its core, which drops it if the connection
/// is gone.
#[derive(Debug)]
pub struct EdgeSink {
    /// The core.
    pub mailbox: Arc<Mailbox>,
    /// The connection.
    pub to: ConnectionId,
}

impl ResponseSink for EdgeSink {
    fn send(self: Box<Self>, response: Response) {
        self.mailbox.put(Message::Response(self.to, response));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use explore::{Parker, Unparker, explore, spawn};

    impl Wake for Unparker {
        fn wake(&self) {
            self.unpark();
        }
    }

    /// A core gets every message although it sleeps without a deadline: no wake-up is lost.
    #[test]
    fn a_letter_wakes_the_core() {
        explore(|| {
            const SENDERS: usize = 3;
            let parker = Parker::new();
            let mailbox = Arc::new(Mailbox::new(parker.unparker().clone()));
            let core = spawn({
                let mailbox = Arc::clone(&mailbox);
                move || {
                    let (mut got, mut messages) = (0, Vec::new());
                    while got < 2 * SENDERS {
                        if mailbox.may_sleep() {
                            parker.park();
                        }
                        mailbox.awake();
                        mailbox.empty_into(&mut messages);
                        got += messages.drain(..).count();
                    }
                }
            });
            let sender = |_| {
                let mailbox = Arc::clone(&mailbox);
                spawn(move || (0..2).for_each(|_| mailbox.put_event(Arc::from(&b"event"[..]))))
            };
            let senders: Vec<_> = (0..SENDERS).map(sender).collect();
            senders.into_iter().for_each(explore::JoinHandle::join);
            core.join();
        });
    }
}
