//! What a connection does with bytes: from heads and bodies to requests, and from answers to
//! output.

use super::super::audience::Opening;
use super::super::body::Decoder;
use super::super::budget::{FREE_BYTES, FREE_OUTPUT_BYTES, Share};
use super::super::head::{self, Framing, Head};
use super::super::parse::{Method, RequestLine, request_line};
use super::super::reason::Reason;
use super::super::respond::{self, CONTINUE, Envelope};
use super::super::trace::Trace;
use super::{BETWEEN, Connection, Exchange, Intake, PAUSE_BYTES, State, Turn, World, is_head};
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
    pub(super) fn resume<W: World>(&mut self, turn: &mut Turn<'_, W>) {
        let mut held = mem::take(&mut self.held);
        let used = self.advance(&held, turn);
        if self.is_open() && used < held.len() {
            held.drain(..used);
            self.held = held;
        }
    }

    /// Takes requests from `bytes` as long as there are whole ones and room for their answers, and
    /// returns how many bytes that used.
    pub(super) fn advance<W: World>(&mut self, bytes: &[u8], turn: &mut Turn<'_, W>) -> usize {
        let mut at = 0;
        while self.may_go_on(turn) {
            let step = match self.state {
                State::Head { .. } => self.head(&bytes[at..], turn),
                State::Body(_) => self.body(&bytes[at..], turn),
                _ => break,
            };
            match step {
                Step::Used(n) => at += n,
                Step::Starved(n) => {
                    at += n;
                    self.starve(&bytes[at..], turn);
                    break;
                }
            }
        }
        at
    }

    /// Whether there is room for the answer to one more request.
    fn may_go_on<W: World>(&mut self, turn: &Turn<'_, W>) -> bool {
        let waits = self.output.pending().len();
        waits < FREE_OUTPUT_BYTES || (waits < PAUSE_BYTES && self.has_room(0, turn))
    }

    /// What is there is not enough: the head's time begins, or the end of the client's side shows
    /// what it meant.
    fn starve<W: World>(&mut self, rest: &[u8], turn: &mut Turn<'_, W>) {
        if self.ended {
            match &self.state {
                State::Head { .. } if rest.is_empty() => {
                    self.state = if self.output.is_empty() {
                        State::Done
                    } else {
                        State::Closing
                    };
                }
                State::Body(intake) => {
                    let Exchange {
                        trace, head_only, ..
                    } = intake.exchange;
                    self.refuse(Reason::Incomplete, Some(trace), head_only, turn);
                }
                _ => self.refuse(Reason::Incomplete, None, is_head(rest), turn),
            }
        } else if let State::Head { since, .. } = &mut self.state
            && !rest.is_empty()
        {
            since.get_or_insert(turn.now);
        }
    }

    fn head<W: World>(&mut self, bytes: &[u8], turn: &mut Turn<'_, W>) -> Step {
        // Empty lines before a request mean nothing (RFC 9112 section 2.2).
        if bytes.starts_with(b"\r\n") {
            return Step::Used(2);
        }
        if bytes.is_empty() || bytes == b"\r" {
            return Step::Starved(0);
        }
        match self.whole_head(bytes, turn) {
            Ok(Some(used)) => Step::Used(used),
            Ok(None) => Step::Starved(0),
            Err(head::Fault { reason, trace }) => {
                self.refuse(reason, trace, is_head(bytes), turn);
                Step::Used(bytes.len())
            }
        }
    }

    /// Reads a head and begins its request; `None` when the head is not complete.
    fn whole_head<W: World>(
        &mut self,
        bytes: &[u8],
        turn: &mut Turn<'_, W>,
    ) -> Result<Option<usize>, head::Fault> {
        let limits = turn.limits;
        let Some(line) = request_line(bytes, limits.target_bytes)? else {
            return Ok(None);
        };
        let State::Head { scan, .. } = &mut self.state else {
            return Ok(None);
        };
        // Not beyond the limit: what is wrong there must not be seen before it is too large.
        let Some(end) = scan.end(&bytes[..bytes.len().min(limits.head_bytes)])? else {
            return if bytes.len() > limits.head_bytes {
                Err(Reason::HeadTooLarge.into())
            } else {
                Ok(None)
            };
        };
        let fields = &bytes[line.length..end];
        head::parse(&line, fields, limits.fields, |head, fields| {
            self.begin(&line, head, fields, turn)
        })?;
        Ok(Some(end))
    }

    fn begin<W: World>(
        &mut self,
        line: &RequestLine<'_>,
        head: Head,
        fields: &[Header<'_>],
        turn: &mut Turn<'_, W>,
    ) {
        let exchange = Exchange {
            trace: head.trace.unwrap_or_else(|| turn.world.new_trace()),
            close: !head.keep_alive,
            old: line.old,
            head_only: line.method == Method::Head,
        };
        let readable = matches!(line.method, Method::Get | Method::Head);
        if readable
            && line.query.is_none()
            && head.framing == Framing::Length(0)
            && let Some(body) = turn.world.quick(line.path)
        {
            self.admitted = true;
            return self.write(&exchange, turn, |out, envelope| {
                respond::prebuilt(out, &body, envelope)
            });
        }
        if readable
            && line.query.is_none()
            && head.framing == Framing::Length(0)
            && turn.world.has_feed(line.path)
        {
            if exchange.head_only {
                // It has no length, takes no seat, and nobody counts as watching.
                return self.write(&exchange, turn, respond::feed);
            }
            if !turn.stopping
                && let Some(opening) = turn.world.follow(line.path)
            {
                return self.follow(opening, &exchange, turn);
            }
        }
        let mut request = Request {
            method: line.method.name().into(),
            path: line.path.into(),
            query: line.query.map(Into::into),
            headers: head::owned(fields),
            body: Vec::new(),
            peer: None,
            trace: exchange.trace.as_str().into(),
            // This thread serves all connections of its core.
            may_block: false,
        };
        // Before the decoder: a stranger is not told even what is too large.
        let has_body = head.framing != Framing::Length(0);
        if let Err(answer) = turn.world.admit(&mut request, has_body) {
            let last = Exchange {
                close: true,
                ..exchange
            };
            return self.write(&last, turn, |out, envelope| {
                respond::response(out, &answer, envelope)
            });
        }
        self.admitted = true;
        let decoder = match Decoder::new(head.framing, turn.limits.body_bytes) {
            Ok(decoder) => decoder,
            Err(reason) => {
                return self.refuse(reason, Some(exchange.trace), exchange.head_only, turn);
            }
        };
        if decoder.is_complete() {
            return self.dispatch(request, exchange, turn);
        }
        if head.expects_continue {
            // Also when a part of the body is there already: whether it is must not show.
            self.writer(turn).extend_from_slice(CONTINUE);
        }
        let until = turn.now + turn.limits.body_timeout;
        let share = Share::new(turn.bodies, FREE_BYTES);
        self.state = State::Body(Box::new(Intake {
            request,
            decoder,
            share,
            exchange,
            until,
        }));
    }

    fn follow<W: World>(
        &mut self,
        Opening { seat, bytes }: Opening,
        exchange: &Exchange,
        turn: &mut Turn<'_, W>,
    ) {
        let exchange = Exchange {
            close: true,
            ..*exchange
        };
        if !self.has_room(bytes.len(), turn) {
            return self.refuse(Reason::OutputBudget, Some(exchange.trace), false, turn);
        }
        self.write(&exchange, turn, |out, envelope| {
            respond::feed(out, envelope);
            out.extend_from_slice(&bytes);
        });
        self.state = State::Following {
            _seat: seat,
            opening: self.output.pending().len(),
        };
    }

    fn body<W: World>(&mut self, bytes: &[u8], turn: &mut Turn<'_, W>) -> Step {
        let State::Body(intake) = &mut self.state else {
            return Step::Starved(0);
        };
        let exchange = intake.exchange;
        let taken = intake.decoder.take(bytes);
        // Also when the body is complete: whether it came in one read must not show.
        let covered = intake.share.cover(intake.decoder.held());
        match if covered {
            taken
        } else {
            Err(Reason::BodyBudget)
        } {
            Err(reason) => {
                self.refuse(reason, Some(exchange.trace), exchange.head_only, turn);
                Step::Used(bytes.len())
            }
            Ok(used) if !intake.decoder.is_complete() => Step::Starved(used),
            Ok(used) => {
                if let State::Body(intake) = mem::replace(&mut self.state, BETWEEN) {
                    let Intake {
                        mut request,
                        decoder,
                        exchange,
                        ..
                    } = *intake;
                    request.body = decoder.into_body();
                    self.dispatch(request, exchange, turn);
                }
                Step::Used(used)
            }
        }
    }

    fn dispatch<W: World>(&mut self, request: Request, exchange: Exchange, turn: &mut Turn<'_, W>) {
        if request.path == "*" {
            // About the server, not about anything that a handler knows (RFC 9110 section 9.3.7).
            let answer =
                Response::text(204, "", "").with_header("Allow", "GET, HEAD, POST, OPTIONS");
            return self.write(&exchange, turn, |out, envelope| {
                respond::response(out, &answer, envelope)
            });
        }
        self.state = State::Waiting(exchange);
        turn.world.handle(request);
    }

    /// Writes the answer of an exchange, after which the connection takes the next request or ends.
    pub(super) fn write<W: World>(
        &mut self,
        exchange: &Exchange,
        turn: &mut Turn<'_, W>,
        write: impl FnOnce(&mut Vec<u8>, &Envelope<'_>),
    ) {
        let close = exchange.close || turn.stopping;
        let Exchange {
            trace,
            old,
            head_only,
            ..
        } = exchange;
        let envelope = Envelope {
            date: turn.date,
            trace,
            close,
            old: *old,
            head_only: *head_only,
        };
        write(self.writer(turn), &envelope);
        self.idle_since = turn.now;
        self.state = if close { State::Closing } else { BETWEEN };
    }

    /// Answers with a refusal and ends the connection: where the next request would begin is not
    /// known, or not to be waited for.
    pub(super) fn refuse<W: World>(
        &mut self,
        reason: Reason,
        trace: Option<Trace>,
        head_only: bool,
        turn: &mut Turn<'_, W>,
    ) {
        turn.world.refused(reason);
        let trace = trace.unwrap_or_else(|| turn.world.new_trace());
        let mut answer = Response::error(reason.status(), &reason.message(turn.limits));
        if reason.status() == 503 {
            answer = answer.with_header("Retry-After", "1");
        }
        let exchange = Exchange {
            trace,
            close: true,
            old: false,
            head_only,
        };
        self.write(&exchange, turn, |out, envelope| {
            respond::response(out, &answer, envelope)
        });
        self.held = Vec::new();
    }

    pub(super) fn writer<W>(&mut self, turn: &mut Turn<'_, W>) -> &mut Vec<u8> {
        if self.output.is_empty() {
            self.send_progress = 0;
            self.send_until = turn.now + turn.limits.send_timeout;
        }
        self.output.writer(turn.spare)
    }
}
