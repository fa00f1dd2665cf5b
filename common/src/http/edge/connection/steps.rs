//! The parsing half of a connection: heads and bodies become requests, responses become output.

use super::super::body::Decoder;
use super::super::budget::{FREE_BYTES, FREE_OUTPUT_BYTES, Share};
use super::super::head::{self, Framing, Head};
use super::super::parse::{Method, RequestLine, request_line};
use super::super::refusal::RefusalReason;
use super::super::respond::{self, CONTINUE, ResponseContext};
use super::super::subscribers::FeedSnapshot;
use super::super::trace::Trace;
use super::{
    BETWEEN, BodyInProgress, Connection, Exchange, Handlers, PAUSE_BYTES, State, StepContext,
    is_head,
};
use crate::http::{Request, Response};
use httparse::Header;
use std::mem;

/// How far a step came.
enum Step {
    /// This many bytes were used, and more may be.
    Used(usize),
    /// This many bytes were used; the rest is not enough.
    Starved(usize),
}

impl Connection {
    /// Goes on with what is held.
    pub(super) fn resume<H: Handlers>(&mut self, context: &mut StepContext<'_, H>) {
        // Taken out, so that the steps may borrow the connection. Given back below if something is
        // left.
        let mut held = mem::take(&mut self.held);
        let used = self.advance(&held, context);
        if self.is_open() && used < held.len() {
            held.drain(..used);
            self.held = held;
        }
    }

    /// Takes requests from `bytes` as long as they are whole and there is room for their responses.
    /// Returns how many bytes that used.
    pub(super) fn advance<H: Handlers>(
        &mut self,
        bytes: &[u8],
        context: &mut StepContext<'_, H>,
    ) -> usize {
        let mut at = 0;
        // One request after the other, as long as they are whole: pipelined ones are answered in
        // one pass.
        while self.may_go_on(context) {
            let step = match self.state {
                State::Head { .. } => self.head(&bytes[at..], context),
                State::Body(_) => self.body(&bytes[at..], context),
                _ => break,
            };
            match step {
                Step::Used(n) => at += n,
                Step::Starved(n) => {
                    at += n;
                    // Only now does the time for a head begin: a request that came whole needs
                    // none.
                    self.starve(&bytes[at..], context);
                    break;
                }
            }
        }
        at
    }

    /// Whether there is room for the response to one more request.
    fn may_go_on<H: Handlers>(&mut self, context: &StepContext<'_, H>) -> bool {
        let waits = self.output.pending().len();
        // First the part that costs nothing. Beyond it only while the memory for all has room: the
        // rest waits in the kernel, which makes the client wait.
        waits < FREE_OUTPUT_BYTES || (waits < PAUSE_BYTES && self.has_room(0, context))
    }

    /// Waits for the rest of a request, and starts the time for a head. After the end of the
    /// client's side nothing more comes: the request is refused, or the connection ends.
    fn starve<H: Handlers>(&mut self, rest: &[u8], context: &mut StepContext<'_, H>) {
        if self.ended {
            match &self.state {
                // A clean end between two requests.
                State::Head { .. } if rest.is_empty() => {
                    self.state = if self.output.is_empty() {
                        State::Done
                    } else {
                        State::Closing
                    };
                }
                State::Body(arriving) => {
                    let Exchange {
                        trace, head_only, ..
                    } = arriving.exchange;
                    self.refuse(RefusalReason::Incomplete, Some(trace), head_only, context);
                }
                _ => self.refuse(RefusalReason::Incomplete, None, is_head(rest), context),
            }
        } else if let State::Head { since, .. } = &mut self.state
            && !rest.is_empty()
        {
            // From the first byte, not from the last: a client that sends a byte now and then would
            // never be late.
            since.get_or_insert(context.now);
        }
    }

    fn head<H: Handlers>(&mut self, bytes: &[u8], context: &mut StepContext<'_, H>) -> Step {
        // Empty lines before a request mean nothing (RFC 9112 section 2.2).
        if bytes.starts_with(b"\r\n") {
            return Step::Used(2);
        }
        // A CR may be the start of an empty line; it begins no head yet.
        if bytes.is_empty() || bytes == b"\r" {
            return Step::Starved(0);
        }
        match self.whole_head(bytes, context) {
            Ok(Some(used)) => Step::Used(used),
            Ok(None) => Step::Starved(0),
            Err(head::HeadRefusal { reason, trace }) => {
                self.refuse(reason, trace, is_head(bytes), context);
                Step::Used(bytes.len())
            }
        }
    }

    /// Reads a head and begins its request; `None` when the head is not complete.
    fn whole_head<H: Handlers>(
        &mut self,
        bytes: &[u8],
        context: &mut StepContext<'_, H>,
    ) -> Result<Option<usize>, head::HeadRefusal> {
        let limits = context.limits;
        // The request line is judged before the head is whole, so that a long or wrong one is
        // refused at once.
        let Some(line) = request_line(bytes, limits.target_bytes)? else {
            return Ok(None);
        };
        let State::Head { scan, .. } = &mut self.state else {
            return Ok(None);
        };
        // Only up to the limit: a malformed byte beyond it must not change the refusal, or that
        // would depend on how much one read brought.
        let Some(end) = scan.end(&bytes[..bytes.len().min(limits.head_bytes)])? else {
            // Decided by what has come beyond the limit, not by the size of a read.
            return if bytes.len() > limits.head_bytes {
                Err(RefusalReason::HeadTooLarge.into())
            } else {
                Ok(None)
            };
        };
        let fields = &bytes[line.length..end];
        head::parse(&line, fields, limits.fields, |head, fields| {
            self.begin(&line, head, fields, context)
        })?;
        Ok(Some(end))
    }

    fn begin<H: Handlers>(
        &mut self,
        line: &RequestLine<'_>,
        head: Head,
        fields: &[Header<'_>],
        context: &mut StepContext<'_, H>,
    ) {
        let exchange = Exchange {
            // No id of the client's: one of ours, so that its request can be found in the logs.
            trace: head.trace.unwrap_or_else(|| context.handlers.new_trace()),
            close: !head.keep_alive,
            http_1_0: line.http_1_0,
            head_only: line.method == Method::Head,
        };
        let readable = matches!(line.method, Method::Get | Method::Head);
        // A query or a body would make it another request than the cache knows; `handle` judges
        // those.
        if readable
            && line.query.is_none()
            && head.framing == Framing::Length(0)
            && let Some(body) = context.handlers.cached(line.path)
        {
            self.admitted = true;
            return self.write(&exchange, context, |out, response_context| {
                respond::prebuilt(out, &body, response_context)
            });
        }
        // After the cache: reads of stocks are by far the most.
        if readable
            && line.query.is_none()
            && head.framing == Framing::Length(0)
            && context.handlers.has_feed(line.path)
        {
            if exchange.head_only {
                // HEAD takes no permit: nobody watches.
                return self.write(&exchange, context, respond::feed);
            }
            // A stopping edge takes no new subscriber: the client polls, or comes back to the next
            // process.
            if !context.stopping
                && let Some(snapshot) = context.handlers.follow(line.path)
            {
                return self.follow(snapshot, &exchange, context);
            }
        }
        // A GET of the feed for which there is no permit comes here too: the handler answers it
        // with the snapshot alone.
        let mut request = Request {
            method: line.method.name().into(),
            path: line.path.into(),
            query: line.query.map(Into::into),
            headers: head::owned(fields),
            body: Vec::new(),
            peer: None,
            trace: exchange.trace.as_str().into(),
            // This thread serves all connections of its core: none may wait.
            may_block: false,
        };
        // Before the decoder: a stranger must not learn even the size limit.
        let has_body = head.framing != Framing::Length(0);
        if let Err(answer) = context.handlers.admit(&mut request, has_body) {
            let last = Exchange {
                // The body that it announced is not read: the start of its next request is unknown.
                close: true,
                ..exchange
            };
            return self.write(&last, context, |out, response_context| {
                respond::response(out, &answer, response_context)
            });
        }
        self.admitted = true;
        let decoder = match Decoder::new(head.framing, context.limits.body_bytes) {
            Ok(decoder) => decoder,
            Err(reason) => {
                return self.refuse(reason, Some(exchange.trace), exchange.head_only, context);
            }
        };
        if decoder.is_complete() {
            return self.dispatch(request, exchange, context);
        }
        if head.expects_continue {
            // Also if a part of the body is here already: the output must not depend on that.
            self.writer(context).extend_from_slice(CONTINUE);
        }
        let until = context.now + context.limits.body_timeout;
        let share = Share::new(context.bodies, FREE_BYTES);
        self.state = State::Body(Box::new(BodyInProgress {
            request,
            decoder,
            share,
            exchange,
            until,
        }));
    }

    fn follow<H: Handlers>(
        &mut self,
        FeedSnapshot { permit, bytes }: FeedSnapshot,
        exchange: &Exchange,
        context: &mut StepContext<'_, H>,
    ) {
        let exchange = Exchange {
            // A feed has no length, so its end is that of the connection.
            close: true,
            ..*exchange
        };
        // Asked for as a whole: half a snapshot would be of no use.
        if !self.has_room(bytes.len(), context) {
            return self.refuse(
                RefusalReason::OutputBudget,
                Some(exchange.trace),
                false,
                context,
            );
        }
        self.write(&exchange, context, |out, response_context| {
            respond::feed(out, response_context);
            out.extend_from_slice(&bytes);
        });
        self.state = State::Following {
            _permit: permit,
            // The head of the response counts like the snapshot.
            snapshot_left: self.output.pending().len(),
        };
    }

    fn body<H: Handlers>(&mut self, bytes: &[u8], context: &mut StepContext<'_, H>) -> Step {
        let State::Body(arriving) = &mut self.state else {
            return Step::Starved(0);
        };
        let exchange = arriving.exchange;
        let taken = arriving.decoder.take(bytes);
        // Also if the body is complete: the outcome must not depend on whether it came in one read.
        let covered = arriving.share.cover(arriving.decoder.held());
        match if covered {
            taken
        } else {
            Err(RefusalReason::BodyBudget)
        } {
            Err(reason) => {
                // Whatever is behind a body that was refused cannot be read as a request.
                self.refuse(reason, Some(exchange.trace), exchange.head_only, context);
                Step::Used(bytes.len())
            }
            Ok(used) if !arriving.decoder.is_complete() => Step::Starved(used),
            Ok(used) => {
                // Replaced first: `dispatch` sets the next state.
                if let State::Body(arriving) = mem::replace(&mut self.state, BETWEEN) {
                    let BodyInProgress {
                        mut request,
                        decoder,
                        exchange,
                        ..
                    } = *arriving;
                    request.body = decoder.into_body();
                    self.dispatch(request, exchange, context);
                }
                Step::Used(used)
            }
        }
    }

    fn dispatch<H: Handlers>(
        &mut self,
        request: Request,
        exchange: Exchange,
        context: &mut StepContext<'_, H>,
    ) {
        if request.path == "*" {
            // About the server, not about anything that a handler knows (RFC 9110 section 9.3.7).
            let answer =
                Response::text(204, "", "").with_header("Allow", "GET, HEAD, POST, OPTIONS");
            return self.write(&exchange, context, |out, response_context| {
                respond::response(out, &answer, response_context)
            });
        }
        // Before the handler is called: a response from within the call must find the connection
        // waiting.
        self.state = State::Waiting(exchange);
        context.handlers.handle(request);
    }

    /// Writes the response of an exchange. Then the connection takes the next request, or ends.
    pub(super) fn write<H: Handlers>(
        &mut self,
        exchange: &Exchange,
        context: &mut StepContext<'_, H>,
        write: impl FnOnce(&mut Vec<u8>, &ResponseContext<'_>),
    ) {
        // A stopping edge ends each connection with its response.
        let close = exchange.close || context.stopping;
        let Exchange {
            trace,
            http_1_0,
            head_only,
            ..
        } = exchange;
        let response_context = ResponseContext {
            date: context.date,
            trace,
            close,
            http_1_0: *http_1_0,
            head_only: *head_only,
        };
        write(self.writer(context), &response_context);
        self.idle_since = context.now;
        // The next state is set with the response: nothing else has to remember that the request is
        // over.
        self.state = if close { State::Closing } else { BETWEEN };
    }

    /// Answers with a refusal and ends the connection: the start of the next request is not known,
    /// or too far away.
    pub(super) fn refuse<H: Handlers>(
        &mut self,
        reason: RefusalReason,
        trace: Option<Trace>,
        head_only: bool,
        context: &mut StepContext<'_, H>,
    ) {
        context.handlers.refused(reason);
        let trace = trace.unwrap_or_else(|| context.handlers.new_trace());
        let mut answer = Response::error(reason.status(), &reason.message(context.limits));
        // The edge may have room in a moment.
        if reason.status() == 503 {
            answer = answer.with_header("Retry-After", "1");
        }
        let exchange = Exchange {
            trace,
            close: true,
            http_1_0: false,
            head_only,
        };
        self.write(&exchange, context, |out, response_context| {
            respond::response(out, &answer, response_context)
        });
        // The rest of the input belongs to the refused request, or to none.
        self.held = Vec::new();
    }

    pub(super) fn writer<H>(&mut self, context: &mut StepContext<'_, H>) -> &mut Vec<u8> {
        // The time to read counts from when there is something to read.
        if self.output.is_empty() {
            self.send_progress = 0;
            self.send_until = context.now + context.limits.send_timeout;
        }
        self.output.writer(context.spare)
    }
}
