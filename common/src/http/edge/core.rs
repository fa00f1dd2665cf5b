//! One core of the edge: its connections behind a lock, and the threads around them.
//!
//! A thread waits for events without the lock, serves them with it, and then gives the requests
//! that it read to the handler. Two arrangements
//! ([`super::limits::Threads`]):
//!
//! - **Apart**, at the public listener: one thread per core. Handlers never block, so they are
//!   called within the pass, and a cached read costs no more than it must.
//! - **Together**, at internal listeners: several threads wait for the same connections, and an
//!   event wakes one of them. It calls the handler after the pass, without the lock, and may do
//!   the request's work there while another thread waits for events. So a lone request costs one
//!   wake-up, and one that waits for a disk or another service keeps nobody from being served.
//!
//! Some thread always stays free: a thread blocks only after it saw another one waiting, and a
//! thread that sees none does not block.

use super::Shared;
use super::connections::{Connections, LISTENER};
use super::entry::CoreContext;
use super::mailbox::{ConnectionId, Mailbox, Message};
use super::poller::{EVENTS, Poller};
use crate::http::{Response, ResponseSink};
use parking_lot::Mutex;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// One core.
pub struct Core {
    shared: Arc<Shared>,
    poller: Arc<Poller>,
    mailbox: Mailbox,
    // One lock for all connections of the core. Contended only at internal listeners; with a thread
    // per core nobody else comes but senders of responses, which do not wait for it.
    connections: Mutex<Connections>,
    /// Threads that wait for events.
    waiting: AtomicUsize,
}

impl Core {
    /// A core with its listeners.
    ///
    /// # Errors
    /// When the system has no descriptor left for it.
    pub fn new(shared: Arc<Shared>, listeners: Vec<TcpListener>) -> io::Result<Arc<Self>> {
        let poller = Arc::new(Poller::new()?);
        for listener in &listeners {
            poller.watch_listener(listener, LISTENER)?;
        }
        // Cyclic, since responses find their way back through the core. Weak, so that a responder
        // that a handler keeps does not keep a stopped edge alive.
        Ok(Arc::new_cyclic(|core| {
            let context = CoreContext::new(Arc::clone(&shared), core.clone());
            Self {
                connections: Mutex::new(Connections::new(context, Arc::clone(&poller), listeners)),
                shared,
                poller,
                mailbox: Mailbox::default(),
                waiting: AtomicUsize::new(0),
            }
        }))
    }

    /// Serves until the edge stops and the last connection is closed, or the time for that is over.
    /// Called by each thread of the core.
    pub fn run(&self) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut requests = Vec::new();
        loop {
            // Before the events are served: a message that comes from here on is seen in this pass,
            // and its sender need not wake us.
            self.mailbox.attend();
            let sleep_until = {
                let mut connections = self.connections.lock();
                connections.serve_events(&events, &self.mailbox);
                // Seen under the lock, so that no other thread serves a connection that is being
                // closed.
                if connections.is_over() {
                    connections.close_all();
                    break;
                }
                connections.take_requests(&mut requests);
                connections.sleep_until()
            };
            // After the lock: a message between the pass and here is found by this look. See the
            // trace in `mailbox`.
            let messages = self.mailbox.leave();
            if messages && !requests.is_empty() {
                // They must not wait for a handler.
                self.poller.wake();
            }
            let last = requests.len().saturating_sub(1);
            for (i, (mut request, responder)) in requests.drain(..).enumerate() {
                // The last one only: those behind a request that blocks here would wait for it,
                // heartbeats among them, although another thread is free.
                request.may_block = i == last && self.waiting.load(Ordering::SeqCst) > 0;
                // Without the lock: the handler may answer at once from here, and takes it then.
                self.shared.handler.handle(request, responder);
            }
            let timeout = if messages {
                // A message came in between: look again at once instead of sleeping.
                Some(Duration::ZERO)
            } else {
                sleep_until.map(|at| at.saturating_duration_since(Instant::now()))
            };
            // Counted before the wait begins, so that another thread may block from here on: this
            // one is free, or is about to find work.
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.poller.wait(&mut events, timeout);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        // The next thread of the core sees the end, too.
        self.poller.wake();
    }

    /// Makes a thread look, also without a message.
    pub fn wake(&self) {
        self.poller.wake();
    }

    /// Sends an event to all subscribers.
    pub fn publish(&self, event: Arc<[u8]>) {
        self.post(Message::Event(event));
    }

    fn answer(&self, to: ConnectionId, response: Response) {
        // `try_lock`: while a thread serves events, the response goes to that thread's next one
        // instead of holding its sender up. It also lets a handler answer from within a pass.
        let unsent = match self.connections.try_lock() {
            Some(mut connections) => connections.answer_now(to, response),
            None => Err(response),
        };
        match unsent {
            Ok(true) => self.poller.wake(),
            Ok(false) => {}
            Err(response) => self.post(Message::Response(to, response)),
        }
    }

    fn post(&self, message: Message) {
        if self.mailbox.put(message) {
            self.poller.wake();
        }
    }
}

/// The edge's side of a request: writes the response, or sends it to the core, which drops it if
/// the connection is gone.
pub struct EdgeSink {
    /// The core; gone when the edge has stopped, and the connection with it.
    pub core: Weak<Core>,
    /// The connection.
    pub to: ConnectionId,
}

impl ResponseSink for EdgeSink {
    fn send(self: Box<Self>, response: Response) {
        if let Some(core) = self.core.upgrade() {
            core.answer(self.to, response);
        }
    }
}
