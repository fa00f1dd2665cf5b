//! One connection as a pure state machine: bytes and time go in; requests, bytes to write and
//! deadlines come out. No socket and no clock inside: the time is a parameter, and what it needs
//! from outside stands in [`Handlers`].
//!
//! ```text
//!          head complete        body complete            answered
//!   Head ────────────────► Body ──────────────► Waiting ──────────► Head …
//!    │ │  (no body: at once)  │                    │ last response
//!    │ └─ cached: answered    │ refused            ▼                    written, half-closed
//!    └────────────────────────┴───────────────► Closing ──────────────► Draining ──────────► Done
//! ```
//!
//! A GET of a feed leads from Head to Following, where events are written until either side ends
//! the connection.
//!
//! Invariants:
//! - One request at a time: the next one is parsed once the response to the one before is in the
//!   output. So responses are in order.
//! - Input is asked for only while no output waits and no request is with a handler: what a client
//!   makes the edge hold is bounded by one head and one read beyond a body, plus [`PAUSE_BYTES`]
//!   and one response of output. All bodies together, and all output together, but for the first
//!   bytes of each, are bounded by [`super::budget`].
//! - Output and requests depend on the bytes, never on how they were cut into reads.
//! - A subscriber never has more than [`FEED_BYTES`] waiting beside its snapshot. One that does not
//!   keep up is dropped; an event is never left out.
//! - Every refusal is the last response of its connection.

use super::body::Decoder;
use super::budget::{Budget, FREE_OUTPUT_BYTES, Share};
use super::limits::Limits;
use super::output::Output;
use super::parse::Scan;
use super::refusal::RefusalReason;
use super::respond;
use super::subscribers::{FeedSnapshot, Permit};
use super::trace::Trace;
use crate::http::{Request, Response};
use std::mem;
use std::sync::Arc;
use std::time::Instant;

/// While this much output waits, no further request of the connection is parsed.
pub const PAUSE_BYTES: usize = 64 * 1024;
/// The time for an unread response begins anew whenever the client has taken this much of it. So a
/// large response over a slow line arrives, and a client that takes byte after byte is dropped.
const PROGRESS_BYTES: usize = 16 * 1024;

/// A response up to this size is always written: a refusal never replaces the outcome of an order.
const SMALL_ANSWER_BYTES: usize = 4 * 1024;

/// A subscriber that leaves this much of its feed unread is dropped: it will never keep up.
pub const FEED_BYTES: usize = 64 * 1024;

/// The calls that a connection makes to the server around it.
pub trait Handlers {
    /// The prebuilt body of a GET of this path, if there is one.
    fn cached(&mut self, path: &str) -> Option<Arc<[u8]>>;
    /// Whether there is a feed at this path.
    fn has_feed(&mut self, path: &str) -> bool;
    /// A permit and the snapshot for a new subscriber of the feed at this path, if there is one.
    fn follow(&mut self, path: &str) -> Option<FeedSnapshot>;
    /// Judges a request by its head, before any of its body is read. `has_body`: whether it
    /// announces one.
    ///
    /// # Errors
    /// The response that the client gets instead.
    fn admit(&mut self, _request: &mut Request, _has_body: bool) -> Result<(), Response> {
        Ok(())
    }
    /// Takes a request. The response comes back through [`Connection::answer`], at any later time.
    fn handle(&mut self, request: Request);
    /// Counts a request that the edge itself refused, or a connection that it gave up.
    fn refused(&mut self, reason: RefusalReason);
    /// A new trace id.
    fn new_trace(&mut self) -> Trace;
}

/// The inputs of a step of a connection beside its own state.
#[derive(Debug)]
pub struct StepContext<'a, H> {
    /// Now.
    pub now: Instant,
    /// The same as a date.
    pub date: &'a str,
    /// The limits.
    pub limits: &'a Limits,
    /// The memory for bodies.
    pub bodies: &'a Arc<Budget>,
    /// The memory for unread responses.
    pub outputs: &'a Arc<Budget>,
    /// Whether the server stops: each response is then the last one of its connection.
    pub stopping: bool,
    /// A buffer to lend.
    pub spare: &'a mut Vec<u8>,
    /// The server around the connection.
    pub handlers: &'a mut H,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    state: State,
    /// Bytes that came and are not parsed yet; empty between requests, so that an idle connection
    /// owns no memory for them.
    held: Vec<u8>,
    output: Output,
    /// The output's share of the memory for all; none while it is small.
    output_share: Option<Share>,
    /// Until when the client must read, and the bytes that it took since that was set. A client
    /// that reads byte after byte makes no progress by this measure.
    send_until: Instant,
    send_progress: usize,
    idle_since: Instant,
    /// A request of it was let in.
    admitted: bool,
    /// The client has ended its side.
    ended: bool,
    half_close: bool,
}

#[derive(Debug)]
enum State {
    /// Between requests, or in a head whose first byte came at `since`.
    Head { since: Option<Instant>, scan: Scan },
    /// In a body.
    Body(Box<BodyInProgress>),
    /// The request is with its handler.
    Waiting(Exchange),
    /// A subscriber. Leaving this state drops the permit.
    Following {
        _permit: Permit,
        /// Bytes of the snapshot that are still to be written: they do not count as falling behind.
        snapshot_left: usize,
    },
    /// The last response is being written.
    Closing,
    /// Our side is closed. Further bytes of the client are thrown away: closing with unread bytes
    /// would reset the connection, and the client could lose the last response (RFC 9112 section
    /// 9.6).
    Draining { left: usize, until: Instant },
    /// Nothing more will happen.
    Done,
}

/// A request whose body comes in.
#[derive(Debug)]
struct BodyInProgress {
    request: Request,
    decoder: Decoder,
    /// Ends with the body's arrival: handlers keep no bodies, their queues hold parsed values.
    share: Share,
    exchange: Exchange,
    until: Instant,
}

/// The parts of a request on which its response depends.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    trace: Trace,
    close: bool,
    http_1_0: bool,
    head_only: bool,
}

const BETWEEN: State = State::Head {
    since: None,
    scan: Scan::START,
};

impl Connection {
    /// A fresh connection.
    pub fn new(now: Instant) -> Self {
        Self {
            state: BETWEEN,
            held: Vec::new(),
            output: Output::default(),
            output_share: None,
            send_until: now,
            send_progress: 0,
            idle_since: now,
            admitted: false,
            ended: false,
            half_close: false,
        }
    }

    /// A connection that is refused before its first request.
    pub fn refused<H: Handlers>(reason: RefusalReason, context: &mut StepContext<'_, H>) -> Self {
        let mut connection = Self::new(context.now);
        connection.refuse(reason, None, false, context);
        connection
    }

    /// Takes bytes that the client sent.
    pub fn receive<H: Handlers>(&mut self, bytes: &[u8], context: &mut StepContext<'_, H>) {
        // Counted down, so that a client that goes on sending after its last response ends sooner
        // or later.
        if let State::Draining { left, .. } = &mut self.state {
            *left = left.saturating_sub(bytes.len());
            if *left == 0 {
                self.state = State::Done;
            }
        } else if self.held.is_empty() {
            // The usual case: nothing is held, so requests are parsed where they were read, and
            // only what is left over is copied.
            let used = self.advance(bytes, context);
            // A connection that refused a request holds nothing: the rest of its input is thrown
            // away.
            if self.is_open() {
                self.held.extend_from_slice(&bytes[used..]);
            }
        } else {
            self.held.extend_from_slice(bytes);
            self.resume(context);
        }
    }

    /// The client has ended its side. Requests that are complete are still answered.
    pub fn end_of_input<H: Handlers>(&mut self, context: &mut StepContext<'_, H>) {
        self.ended = true;
        match self.state {
            // The client has read our last response, or does not want it.
            State::Draining { .. } => self.state = State::Done,
            // A request that is cut off can never become whole: it is refused.
            State::Head { .. } | State::Body(_) => self.resume(context),
            // A subscriber sent its only request already; its end means that it has gone.
            State::Following { .. } => self.give_up_quietly(),
            // The response goes out all the same: the client may have closed its side only.
            State::Waiting(_) | State::Closing | State::Done => {}
        }
    }

    /// Takes the response to the request that is with its handler.
    pub fn answer<H: Handlers>(&mut self, response: &Response, context: &mut StepContext<'_, H>) {
        // The connection was given up meanwhile, and the response belongs to nobody.
        let State::Waiting(exchange) = self.state else {
            return;
        };
        let bytes = response.body.len();
        // Room is asked for before the bytes are copied. Small responses always have it: an order's
        // outcome is never lost for others' unread output.
        if !exchange.head_only && bytes > SMALL_ANSWER_BYTES && !self.has_room(bytes, context) {
            let trace = Some(exchange.trace);
            return self.refuse(
                RefusalReason::OutputBudget,
                trace,
                exchange.head_only,
                context,
            );
        }
        self.write(&exchange, context, |out, response_context| {
            respond::response(out, response, response_context)
        });
        // A further request may be held already, whole (pipelining).
        self.resume(context);
    }

    /// Makes the output's share cover the unread bytes and `more`. Returns false if the memory for
    /// all is used up.
    fn has_room<H>(&mut self, more: usize, context: &StepContext<'_, H>) -> bool {
        let bytes = self.output.pending().len() + more;
        // Within the free part: no share, no shared counter to touch.
        if bytes <= FREE_OUTPUT_BYTES {
            self.output_share = None;
            return true;
        }
        let share = || Share::new(context.outputs, FREE_OUTPUT_BYTES);
        self.output_share.get_or_insert_with(share).cover(bytes)
    }

    /// Takes an event, if this is a subscriber.
    pub fn push_event<H: Handlers>(&mut self, event: &[u8], context: &mut StepContext<'_, H>) {
        let State::Following { snapshot_left, .. } = self.state else {
            return;
        };
        let waits = self.output.pending().len() + event.len();
        // The snapshot does not count: it is one large piece that a new subscriber has not had the
        // time to read.
        if waits > snapshot_left + FEED_BYTES || !self.has_room(event.len(), context) {
            // Dropped rather than skipped: a gap in the feed would leave the subscriber wrong
            // without knowing it, and on its return it gets a new snapshot.
            return self.give_up(RefusalReason::Slow, context);
        }
        self.writer(context).extend_from_slice(event);
    }

    /// The bytes that are to be written.
    pub fn output(&self) -> &[u8] {
        self.output.pending()
    }

    /// The first `n` bytes of the output were written.
    pub fn sent<H: Handlers>(&mut self, n: usize, context: &mut StepContext<'_, H>) {
        self.output.take(n, context.spare);
        // Fewer bytes wait than before: this only gives memory back, and cannot fail.
        let _ = self.has_room(0, context);
        if let State::Following { snapshot_left, .. } = &mut self.state {
            *snapshot_left = snapshot_left.saturating_sub(n);
        }
        // Only so many bytes at a time begin the time anew: see `PROGRESS_BYTES`.
        if !self.output.is_empty() {
            self.send_progress += n;
            if self.send_progress >= PROGRESS_BYTES {
                self.send_progress = 0;
                self.send_until = context.now + context.limits.send_timeout;
            }
            return;
        }
        match self.state {
            // Both sides have ended: there is nothing to drain.
            State::Closing if self.ended => self.state = State::Done,
            State::Closing => {
                // The peer reads our end; what it still sends is read and thrown away.
                self.half_close = true;
                let until = context.now + context.limits.drain_timeout;
                self.state = State::Draining {
                    left: context.limits.drain_bytes,
                    until,
                };
            }
            // Output waited, so requests that are held were not parsed: now they are.
            State::Head { .. } | State::Body(_) if !self.held.is_empty() || self.ended => {
                self.resume(context)
            }
            _ => {}
        }
    }

    /// Whether bytes from the client can be taken now.
    pub fn wants_input(&self) -> bool {
        match self.state {
            // While output waits no input is read: a client that sends and never reads would make
            // us hold ever more responses.
            State::Head { .. } | State::Body(_) => !self.ended && self.output.is_empty(),
            // To be thrown away: unread bytes at the close would reset the connection.
            State::Draining { .. } => true,
            State::Waiting(_) | State::Following { .. } | State::Closing | State::Done => false,
        }
    }

    /// Whether our side is to be closed now. True once.
    pub fn take_half_close(&mut self) -> bool {
        mem::take(&mut self.half_close)
    }

    /// Whether the connection is to be closed.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether a request is with its handler.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    /// Whether the response to its request is all that it waits for: no output is unread, and no
    /// byte of a next request has come.
    #[must_use]
    pub fn waits_for_response_alone(&self) -> bool {
        self.is_waiting() && self.held.is_empty() && self.output.is_empty()
    }

    /// Whether this is a subscriber.
    pub fn is_following(&self) -> bool {
        matches!(self.state, State::Following { .. })
    }

    /// Whether a request of it was ever let in.
    pub fn is_admitted(&self) -> bool {
        self.admitted
    }

    /// Since when there is no request, not even its first byte, and no response to write; `None`
    /// while there is.
    pub fn idle_since(&self) -> Option<Instant> {
        let idle = matches!(self.state, State::Head { since: None, .. }) && self.output.is_empty();
        idle.then_some(self.idle_since)
    }

    /// When [`Connection::expire`] has to be called, unless something happens before.
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        match &self.state {
            State::Done => None,
            // Unread output comes first, in any state: nothing else goes on before it is written.
            _ if !self.output.is_empty() => Some(self.send_until),
            // Two times: services that were let in keep their connections, strangers that say
            // nothing do not.
            State::Head { since: None, .. } if self.admitted => {
                Some(self.idle_since + limits.idle_timeout)
            }
            // The shorter of the two, should a setting turn them round.
            State::Head { since: None, .. } => {
                Some(self.idle_since + limits.first_timeout.min(limits.idle_timeout))
            }
            State::Head {
                since: Some(since), ..
            } => Some(*since + limits.head_timeout),
            State::Body(arriving) => Some(arriving.until),
            State::Draining { until, .. } => Some(*until),
            // A handler has time-outs of its own, and a subscriber may watch for ever. Closing has
            // output, or it would be Draining.
            State::Waiting(_) | State::Following { .. } | State::Closing => None,
        }
    }

    /// Does what the deadline is for, if it has come.
    pub fn expire<H: Handlers>(&mut self, context: &mut StepContext<'_, H>) {
        if self
            .deadline(context.limits)
            .is_none_or(|deadline| context.now < deadline)
        {
            return;
        }
        match &self.state {
            // No response: the client does not read.
            _ if !self.output.is_empty() => self.give_up(RefusalReason::Unread, context),
            State::Head { since: None, .. } => self.give_up(RefusalReason::Idle, context),
            State::Head { since: Some(_), .. } => {
                // Even in a head that never became whole a HEAD shows at its first bytes: its
                // refusal has no body.
                let head_only = is_head(&self.held);
                self.refuse(RefusalReason::HeadTimeout, None, head_only, context);
            }
            State::Body(arriving) => {
                let Exchange {
                    trace, head_only, ..
                } = arriving.exchange;
                self.refuse(RefusalReason::BodyTimeout, Some(trace), head_only, context);
            }
            _ => self.state = State::Done,
        }
    }

    /// Ends the connection without a response.
    pub fn give_up<H: Handlers>(
        &mut self,
        reason: RefusalReason,
        context: &mut StepContext<'_, H>,
    ) {
        context.handlers.refused(reason);
        self.give_up_quietly();
    }

    fn give_up_quietly(&mut self) {
        self.output.clear();
        self.output_share = None;
        self.held = Vec::new();
        self.state = State::Done;
    }

    /// Whether further bytes may hold requests.
    fn is_open(&self) -> bool {
        matches!(
            self.state,
            State::Head { .. } | State::Body(_) | State::Waiting(_)
        )
    }
}

/// Whether the response to a request, valid or not, has no body.
fn is_head(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HEAD ")
}

mod steps;
#[cfg(test)]
mod tests;
