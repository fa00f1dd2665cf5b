//! The connections of one core: accepting, reading, writing, deadlines, and the responses that come
//! back. A lock around them has one owner at a time ([`super::core`]); nothing here waits.
//!
//! Accepting and refusing is in `connections/arrivals.rs`.
//!
//! Readiness is edge-triggered and asked for once per connection, so that a cached read costs a
//! wait, a read and a write. An event comes once, so it is remembered until
//! a read or write returns "would block".

mod arrivals;

use super::entry::{CoreContext, Entry, Progress};
use super::mailbox::{ConnectionId, Mailbox, Message};
use super::poller::{Event, Poller, WAKER};
use super::timers::Timers;
use crate::http::{Request, Responder, Response};
use crate::timing::STOP_GRACE;
use rustix::event::epoll;
use slab::Slab;
use std::collections::VecDeque;
use std::mem;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Token of the listeners.
pub const LISTENER: u64 = WAKER + 1;
const FIRST_CONNECTION: u64 = LISTENER + 1;

/// Reads and writes of one connection before the others have their turn.
const STEPS: usize = 8;
/// Connections that go on in one pass without a new event from the kernel: a feed event for many
/// subscribers must not make all others wait.
const AGAIN: usize = 32;
/// How often a core with connections looks whether it has become crowded.
const CROWD_CHECK: Duration = Duration::from_secs(1);

/// The connections of one core.
pub struct Connections {
    poller: Arc<Poller>,
    /// One per address. None is left once the edge stops.
    listeners: Vec<TcpListener>,
    /// Set while a listener may have more, and from when on they may be asked: later than now if
    /// descriptors ran out.
    accept_from: Option<Instant>,
    entries: Slab<Entry>,
    timers: Timers,
    /// Connections with more to do for which the kernel reports nothing new.
    again: VecDeque<usize>,
    /// Connections that follow the feed. Those that are gone leave this list at the next event: to
    /// search for one at each close would cost more.
    subscribers: Vec<ConnectionId>,
    // Kept between passes for its memory alone.
    messages: Vec<Message>,
    // Never given twice, so that a late response finds its connection or none.
    numbers: u64,
    crowd_look: Instant,
    /// When the stop began.
    stopping: Option<Instant>,
    /// Until when the core's threads sleep without an event; `None` for ever.
    sleep_until: Option<Instant>,
    context: CoreContext,
}

impl Connections {
    /// No connections yet. `poller` watches the listeners already.
    pub fn new(context: CoreContext, poller: Arc<Poller>, listeners: Vec<TcpListener>) -> Self {
        Self {
            poller,
            listeners,
            accept_from: None,
            entries: Slab::new(),
            timers: Timers::default(),
            again: VecDeque::new(),
            subscribers: Vec::new(),
            messages: Vec::new(),
            numbers: 0,
            crowd_look: context.now,
            stopping: None,
            sleep_until: None,
            context,
        }
    }

    /// One pass: what the kernel reported, what other threads sent, what is due.
    pub fn serve_events(&mut self, events: &[epoll::Event], mailbox: &Mailbox) {
        // Once for the pass: reading the clock costs more than most steps.
        self.look_at_the_clock();
        // Those left over from the pass before come first, but only some of them: events of others
        // have waited as long.
        for _ in 0..self.again.len().min(AGAIN) {
            if let Some(slot) = self.again.pop_front() {
                self.serve(slot);
            }
        }
        for event in events.iter().map(Event::of) {
            match event.token {
                // Its message is the wake-up itself: the mailbox is emptied below in any case.
                WAKER => {}
                // Only noted: connections that are open are served before new ones are taken.
                LISTENER => self.accept_from = self.accept_from.or(Some(self.context.now)),
                token => self.ready(slot_of(token), event),
            }
        }
        // After the kernel's events: a response may be for a connection whose end was among them,
        // and is dropped then.
        self.deliver(mailbox);
        self.accept();
        // Last, so that bytes which came in time are seen before their deadline is.
        self.expire();
        self.look_at_crowd();
        self.context.meters.flush_if_due(self.context.now);
        // At the end of a pass, so that whatever it brought is served before.
        if self.stopping.is_none() && self.context.shared.stopping.load(Ordering::SeqCst) {
            self.stop();
        }
        self.sleep_until = self.next_look();
    }

    /// The requests that wait for a thread, for the caller to give to the handler.
    pub fn take_requests(&mut self, into: &mut Vec<(Request, Responder)>) {
        // Swapped rather than moved one by one: the emptied vector comes back and keeps its memory.
        mem::swap(&mut self.context.requests, into);
    }

    /// Until when the core may sleep if no event comes; `None` for ever.
    pub fn sleep_until(&self) -> Option<Instant> {
        self.sleep_until
    }

    /// Whether the stop is over: the last connection is closed, or the time for that is.
    pub fn is_over(&self) -> bool {
        self.stopping
            // A handler that has not answered by then ends with its client: the grace is over.
            .is_some_and(|since| self.entries.is_empty() || self.context.now >= since + STOP_GRACE)
    }

    /// Closes what is left.
    pub fn close_all(&mut self) {
        for slot in self.slots() {
            self.close(slot);
        }
        self.context.meters.flush();
    }

    /// Writes a response on the thread that made it, if its connection waits for nothing but that.
    /// Returns whether a thread of the core has to look now.
    ///
    /// Through the mailbox, every lone order would wake the core for this one write. Where the
    /// connection has more to do (pipelined requests, output that waits, the end of the peer or of
    /// the server) it is the core's: its next request must not reach the handler from here, where
    /// the caller may hold locks of the service.
    ///
    /// # Errors
    /// The response itself, which then goes through the mailbox.
    pub fn answer_now(&mut self, to: ConnectionId, response: Response) -> Result<bool, Response> {
        let Some(entry) = self
            .entries
            .get_mut(to.slot)
            .filter(|entry| entry.number == to.number)
        else {
            // The connection is gone, and nobody waits for the response.
            return Ok(false);
        };
        let quiet = entry.connection.waits_for_response_alone() && !entry.readable && !entry.ended;
        if !quiet || self.stopping.is_some() {
            return Err(response);
        }
        // The clock was read in the last pass, perhaps long ago: deadlines of the response would be
        // in the past.
        self.look_at_the_clock();
        self.give(to, &response);
        // A response outside a pass must not leave its counts behind until the next one.
        self.context.meters.flush();
        let due = self.timers.next();
        // A new deadline may be sooner than the moment up to which the threads sleep.
        let sooner = due.is_some_and(|at| self.sleep_until.is_none_or(|until| at < until));
        Ok(sooner || !self.again.is_empty())
    }

    fn look_at_the_clock(&mut self) {
        self.context.now = Instant::now();
        self.context.date.refresh(self.context.now);
    }

    /// When the next pass is due without an event.
    fn next_look(&self) -> Option<Instant> {
        // Connections have more to do, which no event reports.
        if !self.again.is_empty() {
            return Some(self.context.now);
        }
        // Also while it is not crowded: another core may make it so, and then our idle connections
        // have to go.
        let look = if self.is_crowded() {
            self.crowd_look
        } else {
            self.context.now + CROWD_CHECK
        };
        let crowded = (!self.entries.is_empty()).then_some(look);
        let stopped = self.stopping.map(|since| since + STOP_GRACE);
        let next = [
            self.timers.next(),
            self.accept_from,
            self.context.meters.flush_at(),
            crowded,
            stopped,
        ];
        next.into_iter().flatten().min()
    }

    fn ready(&mut self, slot: usize, event: Event) {
        let Some(entry) = self.entries.get_mut(slot) else {
            return;
        };
        entry.readable |= event.is_readable();
        entry.ended |= event.is_read_closed();
        // A reset shows in the next read or write, but while a request is with its handler there is
        // none. The end of the peer's side alone is no reason: it may wait for its response.
        // Where both sides have ended, nobody waits for the handler's response.
        let dead = event.is_error() || (event.is_write_closed() && entry.connection.is_waiting());
        if dead {
            self.close(slot)
        } else {
            self.serve(slot)
        }
    }

    /// Writes and reads for a connection until it has nothing to do, and closes it when it is done.
    fn serve(&mut self, slot: usize) {
        let Some(entry) = self.entries.get_mut(slot) else {
            return;
        };
        let mut steps = 0;
        let keep = loop {
            // A step is one write or one read, so a client that sends without end comes to its
            // bound.
            match entry.step(slot, &mut self.context) {
                Progress::Some if steps < STEPS => steps += 1,
                Progress::Some => {
                    // Edge-triggered: the kernel reports nothing new for bytes that are there
                    // already, so the connection has to be remembered.
                    self.again.push_back(slot);
                    break true;
                }
                Progress::None => break true,
                Progress::Done => break false,
            }
        };
        if keep {
            // Listed once, after its snapshot is in its output: events come behind it.
            if entry.connection.is_following() && !mem::replace(&mut entry.listed, true) {
                self.subscribers.push(ConnectionId {
                    slot,
                    number: entry.number,
                });
            }
            let deadline = entry
                .connection
                .deadline(&self.context.shared.config.limits);
            // Set anew after each turn; a later one costs nothing (see `timers`).
            self.timers.set(slot, &mut entry.timer, deadline);
        } else {
            self.close(slot);
        }
    }

    fn close(&mut self, slot: usize) {
        let Some(mut entry) = self.entries.try_remove(slot) else {
            return;
        };
        self.timers.remove(slot, &mut entry.timer);
        let count = if entry.refused {
            &self.context.shared.refused
        } else {
            &self.context.shared.open
        };
        count.fetch_sub(1, Ordering::Relaxed);
        self.context.meters.shared().connections.dec();
        // Dropping the stream closes it, which also ends its registration.
    }

    /// Takes the messages of other threads.
    fn deliver(&mut self, mailbox: &Mailbox) {
        let mut messages = mem::take(&mut self.messages);
        mailbox.empty_into(&mut messages);
        // The mailbox's lock is free meanwhile: senders must not wait for writes to sockets.
        for message in messages.drain(..) {
            match message {
                Message::Response(to, response) => self.give(to, &response),
                Message::Event(event) => self.push_event(&event),
            }
        }
        self.messages = messages;
    }

    /// Gives a response to its connection. Where that is gone, the response is dropped.
    fn give(&mut self, to: ConnectionId, response: &Response) {
        let found = self.entries.get_mut(to.slot);
        // Slots are used again, and by the number a late response does not reach the next owner.
        if let Some(entry) = found.filter(|entry| entry.number == to.number) {
            self.context.step(to, entry.peer, |context, _| {
                entry.connection.answer(response, context)
            });
            self.serve(to.slot);
        }
    }

    /// Gives an event to every subscriber. The next passes write it, for some of them in each.
    fn push_event(&mut self, event: &[u8]) {
        let (entries, core, again) = (&mut self.entries, &mut self.context, &mut self.again);
        // Those that have left the feed leave the list here.
        self.subscribers.retain(|to| {
            let entry = entries
                .get_mut(to.slot)
                .filter(|entry| entry.number == to.number);
            let Some(entry) = entry.filter(|entry| entry.connection.is_following()) else {
                return false;
            };
            let waits = !entry.connection.output().is_empty();
            core.step(*to, entry.peer, |context, _| {
                entry.connection.push_event(event, context)
            });
            // If output waited already, the kernel reports when more can be written.
            // Queued, not written here: one event for a thousand subscribers would otherwise hold
            // up everybody for the whole round.
            if !waits || entry.connection.is_done() {
                again.push_back(to.slot);
            }
            true
        });
    }

    fn expire(&mut self) {
        // The deadline may have moved on since: `expire` reads the connection's own again.
        while let Some(slot) = self.timers.due(self.context.now) {
            if let Some(entry) = self.entries.get_mut(slot) {
                entry.timer = None;
                let to = ConnectionId {
                    slot,
                    number: entry.number,
                };
                self.context.step(to, entry.peer, |context, _| {
                    entry.connection.expire(context)
                });
                self.serve(slot);
            }
        }
    }

    /// The connections that are open now. Closing one of them does not disturb the rest.
    fn slots(&self) -> Vec<usize> {
        self.entries.iter().map(|(slot, _)| slot).collect()
    }

    /// Accepts the connections that wait, then no more. Closes idle connections. From here on each
    /// response is the last one of its connection.
    fn stop(&mut self) {
        // Connections that the kernel accepted for us before the stop are served: their clients saw
        // them open.
        self.accept_the_backlog();
        // From here on the kernel refuses new ones, and a client tries elsewhere.
        self.listeners.clear();
        self.accept_from = None;
        self.stopping = Some(self.context.now);
        self.context.stopping = true;
        for slot in self.slots() {
            // A request that the client sent before it could notice the stop is still served.
            if let Some(entry) = self.entries.get_mut(slot) {
                entry.readable = true;
            }
            self.serve(slot);
            // The others end with their response, which says `Connection: close`.
            let ends = |entry: &Entry| {
                entry.connection.idle_since().is_some() || entry.connection.is_following()
            };
            if self.entries.get_mut(slot).is_some_and(|entry| ends(entry)) {
                self.close(slot);
            }
        }
    }
}

/// The token of a connection's events.
fn token_of(slot: usize) -> u64 {
    slot as u64 + FIRST_CONNECTION
}

/// The connection whose events have this token.
fn slot_of(token: u64) -> usize {
    usize::try_from(token - FIRST_CONNECTION).expect("a token that this core gave")
}
