//! Messages on their way from any thread to a core: events of the feed, and the responses that
//! their senders could not write themselves.
//!
//! Waking a core costs a system call. So a sender makes it only if no thread of the core will look
//! by itself. The messages and that fact lie behind one lock. The trace that this prevents: the
//! core looks and finds no message; a message comes, and its sender believes that the core will
//! look again; the core falls asleep, and the message lies there.

use crate::http::Response;
use std::fmt;
use std::sync::Arc;

#[cfg(test)]
use explore::Mutex;
/// The lock between the threads. This module's tests explore its interleavings.
#[cfg(not(test))]
use parking_lot::Mutex;

/// A connection of one core. Slots are used again; by the number a late response for a connection
/// that is gone does not reach the next one in its slot.
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
/// while the core is busy with one pass.
#[derive(Default)]
pub struct Mailbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<Message>,
    /// Whether a thread of the core will look before it sleeps or works for a handler.
    attended: bool,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("messages", &self.state.lock().messages.len())
            .finish_non_exhaustive()
    }
}

impl Mailbox {
    /// A thread of the core begins a pass: it looks before it sleeps.
    pub fn attend(&self) {
        // Senders save the wake-up from here on, so a look at the messages must follow. The pass
        // makes it, after the kernel's events.
        self.state.lock().attended = true;
    }

    /// A thread of the core has no time for messages from here on. Returns whether there are some:
    /// then it looks again instead of sleeping.
    #[must_use]
    pub fn leave(&self) -> bool {
        let mut state = self.state.lock();
        // Both under one lock: a message that comes before this is seen here, and the sender of one
        // that comes after it wakes the core.
        state.attended = false;
        !state.messages.is_empty()
    }

    /// Moves the messages into `into`, which is empty.
    pub fn empty_into(&self, into: &mut Vec<Message>) {
        // Swapped, so that the lock is held for a moment and neither vector gives its memory back.
        std::mem::swap(&mut self.state.lock().messages, into);
    }

    /// Puts a message in. Returns whether the sender must wake the core.
    #[must_use]
    pub fn put(&self, message: Message) -> bool {
        let mut state = self.state.lock();
        state.messages.push(message);
        // The first message wakes, and notes that a look is coming: of a hundred responses that are
        // sent at once one pays for the system call.
        !std::mem::replace(&mut state.attended, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use explore::{Parker, explore, spawn};

    /// A core gets every message although it sleeps without a deadline: no wake-up is lost.
    #[test]
    fn a_message_wakes_the_core() {
        explore(|| {
            const SENDERS: usize = 3;
            let parker = Parker::new();
            let mailbox = Arc::new(Mailbox::default());
            let unparker = parker.unparker().clone();
            let core = spawn({
                let mailbox = Arc::clone(&mailbox);
                move || {
                    let (mut got, mut messages) = (0, Vec::new());
                    while got < 2 * SENDERS {
                        if !mailbox.leave() {
                            parker.park();
                        }
                        mailbox.attend();
                        mailbox.empty_into(&mut messages);
                        got += messages.drain(..).count();
                    }
                }
            });
            let sender = |_| {
                let (mailbox, unparker) = (Arc::clone(&mailbox), unparker.clone());
                spawn(move || {
                    for _ in 0..2 {
                        if mailbox.put(Message::Event(Arc::from(&b"event"[..]))) {
                            unparker.unpark();
                        }
                    }
                })
            };
            let senders: Vec<_> = (0..SENDERS).map(sender).collect();
            senders.into_iter().for_each(explore::JoinHandle::join);
            core.join();
        });
    }
}
