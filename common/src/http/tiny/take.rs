//! The work on a request: judge the head, read the body, call the handler.

use super::Shared;
use super::acceptor::Acceptor;
use super::sink::TinySink;
use super::strangers::{Gets, StrangerRequest};
use crate::http::access::Admission;
use crate::http::{Headers, Request, Responder, Response, TRACE_HEADER, trace_id};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Bodies up to this size come with the request; tiny_http reads larger ones from the socket when
/// asked.
const READ_WITH_HEAD_BYTES: usize = 1_024;

/// The fields of a head that concern body and connection.
struct Head {
    declared: Option<usize>,
    has_body: bool,
    /// The body, or a part of it, may still be in the socket.
    in_socket: bool,
    /// The whole rest of the connection would be the body.
    upgrade: bool,
    close: bool,
}

impl Head {
    fn of(request: &tiny_http::Request, headers: &Headers) -> Self {
        let declared = request.body_length();
        // Trap: tiny_http takes any Transfer-Encoding for chunked.
        let chunked = headers.get("transfer-encoding").is_some();
        let connection = headers.get("connection").map(str::to_ascii_lowercase);
        let says = |what| connection.as_deref().is_some_and(|c| c.contains(what));
        let expects = headers.get("expect").is_some();
        let length = declared.unwrap_or(0);
        Self {
            declared,
            has_body: length > 0 || chunked,
            // With `Expect` nothing comes before the body is asked for.
            in_socket: length > READ_WITH_HEAD_BYTES || chunked || (expects && length > 0),
            upgrade: says("upgrade"),
            close: says("close"),
        }
    }
}

impl Shared {
    /// Answers from the head, or reads the body and calls the handler. `others`: whether other
    /// workers are free.
    pub fn take(
        self: &Arc<Self>,
        request: tiny_http::Request,
        acceptor: &Arc<Acceptor>,
        others: bool,
    ) {
        let (request, mut converted, head) = self.convert(request, others);
        // Before the body is touched: see the table of attacks in docs/decisions.md.
        let verdict = self.config.access.judge(&converted, head.has_body);
        // The token comes first: a stranger must not learn more from another refusal.
        let gets = match verdict {
            Admission::Refused(refusal) => Gets::Error(refusal),
            Admission::Stranger if head.upgrade => Gets::Error(no_upgrade()),
            Admission::Stranger => {
                // Threads for strangers are few, and none may be held by a handler.
                converted.may_block = false;
                Gets::Handled(converted)
            }
            Admission::Trusted => {
                let Err(refusal) = self.may_read(&head, &request, acceptor, others) else {
                    return self.serve(request, converted, &head);
                };
                Gets::Error(refusal)
            }
        };
        self.set_aside(StrangerRequest {
            sink: request,
            // The rest of an upgraded connection is not a body to wait for.
            in_socket: head.in_socket && !head.upgrade,
            gets,
        });
    }

    fn convert(&self, request: tiny_http::Request, others: bool) -> (Box<TinySink>, Request, Head) {
        let (path, query) = match request.url().split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (request.url().to_owned(), None),
        };
        let fields = request.headers().iter();
        let headers = Headers(
            fields
                .map(|h| (h.field.as_str().to_string(), h.value.to_string()))
                .collect(),
        );
        let head = Head::of(&request, &headers);
        let converted = Request {
            method: request.method().as_str().to_owned(),
            path,
            query,
            trace: trace_id(headers.get(TRACE_HEADER)),
            peer: request.remote_addr().copied(),
            headers,
            body: Vec::new(),
            // Only while another worker takes what comes.
            may_block: others,
        };
        let sink = TinySink {
            head_only: converted.method == "HEAD",
            close: head.close || head.upgrade || self.stopping.load(Ordering::Relaxed),
            http_1_0: *request.http_version() < (1, 1),
            trace: converted.trace.clone(),
            request,
        };
        (Box::new(sink), converted, head)
    }

    /// Whether a worker may go on with a request that was let in.
    fn may_read(
        self: &Arc<Self>,
        head: &Head,
        sink: &TinySink,
        acceptor: &Arc<Acceptor>,
        others: bool,
    ) -> Result<(), Response> {
        let limit = self.config.body_limit_bytes;
        // Trap: its body would be everything that the caller ever sends.
        if head.upgrade {
            return Err(no_upgrade());
        }
        // Before a byte is read, by the declared length.
        if head.declared.is_some_and(|declared| declared > limit) {
            return Err(too_large(limit));
        }
        // This worker will block on the socket, with no time-out. Another one has to be there for
        // heartbeats.
        if head.in_socket && !others && !acceptor.has_another_worker(self) {
            return Err(Response::unavailable("too many bodies are being read"));
        }
        // From here on the keeper knows that a body is being read, and ends the connection if it
        // takes too long.
        if let Some(peer) = sink.request.remote_addr() {
            let mut callers = self.callers.lock();
            callers.let_in(*peer, acceptor.number, head.in_socket, Instant::now());
        }
        Ok(())
    }

    /// Reads the body and calls the handler.
    fn serve(&self, mut sink: Box<TinySink>, mut request: Request, head: &Head) {
        let limit = self.config.body_limit_bytes;
        let read = if head.has_body {
            // Bounded: the declared length was checked above.
            request.body.reserve_exact(head.declared.unwrap_or(0));
            let reader = sink.request.as_reader();
            // One byte beyond the limit shows that it is exceeded; a chunked body declares no
            // length.
            reader.take(limit as u64 + 1).read_to_end(&mut request.body)
        } else {
            Ok(0)
        };
        if let Some(peer) = request.peer.filter(|_| head.in_socket) {
            self.callers.lock().body_ended(peer);
        }
        // Trap: tiny_http reports an early end as the end of the body.
        let complete = head.declared.is_none_or(|n| n == request.body.len());
        let responder = Responder::new(sink, Arc::clone(&self.metrics))
            .for_services(self.config.access.is_internal());
        if let Err(error) = unbroken(read, complete) {
            let message = format!("the body could not be read: {error}");
            responder.send(Response::error(400, &message));
        } else if request.body.len() > limit {
            responder.send(too_large(limit));
        } else if self.stopping.load(Ordering::Relaxed) {
            // After the body was read: unread, its drop would wait for it.
            responder.send(Response::unavailable("this service is stopping"));
        } else {
            self.handler.handle(request, responder);
        }
    }

    /// Hands a request to the threads for strangers.
    fn set_aside(&self, mut stranger: StrangerRequest) {
        let peer = stranger.sink.request.remote_addr().copied();
        // Strangers may have one request at a time: see `Callers::stranger`.
        let first = peer.is_none_or(|peer| self.callers.lock().stranger(peer, Instant::now()));
        if !first {
            stranger.gets = Gets::Nothing;
            if !stranger.in_socket {
                // Neither read nor written, so nothing to wait for.
                return drop(stranger.sink.request.into_writer());
            }
        }
        // Asked to close: a refused stranger has no reason to stay.
        stranger.sink.close = true;
        // Full: there are as many strangers waiting as connections are allowed. It is given up
        // rather than kept waiting.
        if let Err(stranger) = self.strangers.put(stranger) {
            if stranger.in_socket {
                self.forget(stranger.sink.request);
            } else {
                drop(stranger.sink.request.into_writer());
            }
        }
    }

    /// Gives a request up that can neither be answered nor dropped, with its connection: a thread
    /// and two descriptors.
    pub fn forget(&self, request: tiny_http::Request) {
        self.metrics.forgotten.inc();
        std::mem::forget(request);
    }
}

/// A body that ended early is none.
fn unbroken(read: io::Result<usize>, complete: bool) -> io::Result<()> {
    read?;
    if complete {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn too_large(limit: usize) -> Response {
    Response::error(413, &format!("the body is larger than {limit} bytes"))
}

fn no_upgrade() -> Response {
    Response::error(400, "this server does not upgrade connections")
}
