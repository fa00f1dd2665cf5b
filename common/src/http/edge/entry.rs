//! One connection's socket and state machine, and the state of a core that all its connections
//! share. A step is one write or one read.

use super::Shared;
use super::connection::{Connection, Handlers, StepContext};
use super::core::{Core, EdgeSink};
use super::date::Date;
use super::limits::{Limits, Threads};
use super::mailbox::ConnectionId;
use super::meters::Meters;
use super::refusal::RefusalReason;
use super::subscribers::FeedSnapshot;
use super::trace::Trace;
use crate::http::access::Admission;
use crate::http::{Request, Responder, Response};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Bytes that one read takes at most.
pub const READ_BYTES: usize = 16 * 1024;

/// A connection.
pub struct Entry {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    /// A number that no other connection of the core ever has.
    pub number: u64,
    pub connection: Connection,
    /// Reading may bring something.
    pub readable: bool,
    /// The kernel reported the peer's end: reads go on until they return it.
    pub ended: bool,
    /// For the timers alone.
    pub timer: Option<Instant>,
    /// Counted among the refused ones.
    pub refused: bool,
    /// Listed among the subscribers.
    pub listed: bool,
}

/// The state of a core that every step of its connections uses.
pub struct CoreContext {
    pub shared: Arc<Shared>,
    /// The owner, through which responses come back.
    pub core: Weak<Core>,
    /// Requests that the core's thread gives to the handler after its pass.
    pub requests: Vec<(Request, Responder)>,
    pub meters: Meters,
    pub date: Date,
    /// Read once per wait, and after responses from the cache: reading the clock costs more than
    /// most steps.
    pub now: Instant,
    /// The output buffer that is lent to connections.
    pub spare: Vec<u8>,
    /// Where reads go.
    pub read: Box<[u8]>,
    pub stopping: bool,
}

/// [`Handlers`] for one step of one connection.
pub struct EdgeHandlers<'a> {
    shared: &'a Shared,
    core: &'a Weak<Core>,
    requests: &'a mut Vec<(Request, Responder)>,
    to: ConnectionId,
    peer: SocketAddr,
    answered: usize,
}

impl Handlers for EdgeHandlers<'_> {
    fn cached(&mut self, path: &str) -> Option<Arc<[u8]>> {
        // Not counted as a hit here: the cache does that itself.
        let body = self.shared.handler.cached(path)?;
        self.answered += 1;
        Some(body)
    }

    fn has_feed(&mut self, path: &str) -> bool {
        self.shared.handler.has_feed(path)
    }

    fn follow(&mut self, path: &str) -> Option<FeedSnapshot> {
        // The permit comes first: later events are then sent to this connection, and earlier ones
        // are in the snapshot. The other way round, an event in between would be lost.
        // Taken, and given back by drop, if there is no snapshot: the request then goes to the
        // handler.
        let permit = self.shared.permits.take()?;
        let bytes = self.shared.handler.feed_snapshot(path)?;
        // Counted like a request that was answered: nothing else of this connection will be.
        self.shared
            .metrics
            .http
            .answered("/events", 200, Duration::ZERO);
        Some(FeedSnapshot { permit, bytes })
    }

    fn admit(&mut self, request: &mut Request, has_body: bool) -> Result<(), Response> {
        request.peer = Some(self.peer);
        match self.shared.config.access.judge(request, has_body) {
            Admission::Trusted | Admission::Stranger => Ok(()),
            Admission::Refused(answer) => {
                self.shared
                    .metrics
                    .http
                    .answered("refused", answer.status, Duration::ZERO);
                Err(answer)
            }
        }
    }

    fn handle(&mut self, request: Request) {
        let answer = EdgeSink {
            // Weak: the response of a handler that outlives the edge goes nowhere.
            core: Weak::clone(self.core),
            to: self.to,
        };
        let responder = Responder::new(Box::new(answer), Arc::clone(&self.shared.metrics.http))
            .for_services(self.shared.config.access.is_internal());
        match self.shared.config.threads {
            // At the public listener handlers never block, so the call within the pass saves a
            // hand-over.
            Threads::Apart(_) => self.shared.handler.handle(request, responder),
            // It may block, which nobody may under the lock of this pass.
            Threads::Together(_) => self.requests.push((request, responder)),
        }
    }

    fn refused(&mut self, reason: RefusalReason) {
        self.shared.metrics.refused(reason);
        // A client can cause as many as it likes, so at debug only; the counters have them.
        tracing::debug!(peer = %self.peer, reason = reason.label(), "refused");
    }

    fn new_trace(&mut self) -> Trace {
        Trace::from_number(fastrand::u64(..))
    }
}

impl CoreContext {
    /// The context of a core that begins.
    pub fn new(shared: Arc<Shared>, core: Weak<Core>) -> Self {
        let now = Instant::now();
        Self {
            meters: Meters::new(Arc::clone(&shared.metrics)),
            shared,
            core,
            requests: Vec::new(),
            date: Date::new(now),
            now,
            spare: Vec::new(),
            read: vec![0; READ_BYTES].into_boxed_slice(),
            stopping: false,
        }
    }

    /// Lets a connection take a step.
    pub fn step<R>(
        &mut self,
        to: ConnectionId,
        peer: SocketAddr,
        step: impl FnOnce(&mut StepContext<'_, EdgeHandlers<'_>>, &[u8]) -> R,
    ) -> R {
        let began = self.now;
        let mut handlers = EdgeHandlers {
            shared: &self.shared,
            core: &self.core,
            requests: &mut self.requests,
            to,
            peer,
            answered: 0,
        };
        let date = self.date.text();
        let limits: &Limits = &self.shared.config.limits;
        let (now, stopping, spare) = (self.now, self.stopping, &mut self.spare);
        let (bodies, outputs) = (&self.shared.bodies, &self.shared.outputs);
        let result = step(
            &mut StepContext {
                now,
                date,
                limits,
                bodies,
                outputs,
                stopping,
                spare,
                handlers: &mut handlers,
            },
            &self.read,
        );
        let answered = handlers.answered;
        // The clock is read again only where something was answered: the time of a cached read is
        // measured, and deadlines do not grow old in a long pass.
        if answered > 0 {
            self.now = Instant::now();
            self.meters.cached(answered, self.now.duration_since(began));
        }
        result
    }
}

/// The outcome of one step of a connection.
pub enum Progress {
    /// Something happened; there may be more.
    Some,
    /// Nothing to do before the next event.
    None,
    /// The connection is to be closed.
    Done,
}

impl Entry {
    /// Writes what waits, else reads.
    pub fn step(&mut self, slot: usize, core: &mut CoreContext) -> Progress {
        let to = ConnectionId {
            slot,
            number: self.number,
        };
        // A subscriber that has ended its side is gone: it sent its only request already.
        if self.connection.is_done() || (self.ended && self.connection.is_following()) {
            return Progress::Done;
        }
        // Writes first: with output waiting, the next request is not read (see the invariants of
        // `connection`).
        if !self.connection.output().is_empty() {
            return match self.stream.write(self.connection.output()) {
                Ok(n) => {
                    core.meters.sent(n, core.now);
                    core.step(to, self.peer, |context, _| self.connection.sent(n, context));
                    if self.connection.take_half_close()
                        && self.stream.shutdown(Shutdown::Write).is_err()
                    {
                        return Progress::Done;
                    }
                    Progress::Some
                }
                // Would block: the kernel reports when there is room again, so nothing has to be
                // remembered.
                Err(error) => after(&error, || ()),
            };
        }
        // Both: an end without bytes is found by a read as well.
        if !self.connection.wants_input() || !(self.readable || self.ended) {
            return Progress::None;
        }
        match self.stream.read(&mut core.read) {
            // The peer's end: the connection wants no input from here on.
            Ok(0) => core.step(to, self.peer, |context, _| {
                self.connection.end_of_input(context)
            }),
            Ok(n) => {
                // A short read has emptied the socket: the kernel reports later bytes.
                self.readable = n == READ_BYTES;
                core.meters.received(n, core.now);
                core.step(to, self.peer, |context, read| {
                    self.connection.receive(&read[..n], context)
                });
            }
            Err(error) => return after(&error, || self.readable = false),
        }
        Progress::Some
    }
}

fn after(error: &io::Error, would_block: impl FnOnce()) -> Progress {
    match error.kind() {
        ErrorKind::WouldBlock => {
            would_block();
            Progress::None
        }
        // Repeated at once. Any other error ends the connection: a socket that failed does not
        // recover.
        ErrorKind::Interrupted => Progress::Some,
        _ => Progress::Done,
    }
}
