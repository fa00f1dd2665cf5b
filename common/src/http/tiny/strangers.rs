//! Requests without the token, and those that are refused. They are answered by threads set aside
//! for that, never by a worker: a stranger may leave its responses unread, and a body that it never
//! sends is waited for when tiny_http drops the request.

use super::Shared;
use super::sink::TinySink;
use crate::http::{Request, Responder, Response, ResponseSink};
use crate::queue::QueueReceiver;
use crate::timing::STOP_GRACE;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Threads that answer strangers: two, so that one that is held for a moment does not keep
/// `GET /livez` waiting.
pub const STRANGER_THREADS: usize = 2;
/// Requests of strangers that wait at most. Each connection has at most one with a body that is
/// still in the socket, and connections are bounded, so only others are ever turned away.
pub const STRANGERS_WAITING: usize = 2_048;

/// A request that no worker answers.
pub struct StrangerRequest {
    /// The request, its body unread.
    pub sink: Box<TinySink>,
    /// A body of it may still be in the socket.
    pub in_socket: bool,
    /// How it is answered.
    pub gets: Gets,
}

/// How a stranger's request is answered.
pub enum Gets {
    /// By the handler: its route is open to all.
    Handled(Request),
    /// This refusal.
    Error(Response),
    /// Nothing: its connection ends.
    Nothing,
}

/// Answers strangers until the server stops.
pub fn serve(shared: &Arc<Shared>, waiting: &QueueReceiver<StrangerRequest>) {
    // One at a time: a stranger that holds this thread must hold no other's request with it.
    while let Some(strangers) = waiting.take_batch(1, &shared.stop) {
        for stranger in strangers {
            one(shared, stranger);
        }
    }
}

fn one(
    shared: &Arc<Shared>,
    StrangerRequest {
        sink,
        in_socket,
        gets,
    }: StrangerRequest,
) {
    let refused = !matches!(gets, Gets::Handled(_));
    if let Some(peer) = sink.request.remote_addr().copied() {
        // Before the response: what follows may last until the connection is ended for this.
        shared
            .callers
            .lock()
            .answered(peer, refused, Instant::now());
    }
    match gets {
        Gets::Handled(request) => {
            let responder = Responder::new(sink, Arc::clone(&shared.metrics));
            shared.handler.handle(request, responder);
        }
        Gets::Error(response) => {
            let metrics = &shared.metrics;
            metrics.answered("refused", response.status, Duration::ZERO);
            refuse(shared, sink, in_socket, response);
        }
        Gets::Nothing => discard(shared, sink.request, in_socket),
    }
}

fn refuse(shared: &Shared, sink: Box<TinySink>, in_socket: bool, response: Response) {
    // The body came with the head, so nothing has to be waited for.
    if !in_socket {
        return sink.send(response);
    }
    // Trap: dropping would abort the process. A thread and two descriptors are the smaller loss.
    if !is_safe_to_drop(&sink.request) {
        return shared.forget(sink.request);
    }
    // Unlike into_writer, this writes before it drops the request, and so the body.
    let plain = tiny_http::Response::new(
        response.status.into(),
        fields(&response, &sink.trace),
        io::Cursor::new(response.body),
        None,
        None,
    );
    // It may wait for the stranger's body, for as long as its connection lives: the keeper ends
    // that.
    let _not_delivered = sink.request.respond(plain);
}

fn fields(response: &Response, trace: &str) -> Vec<tiny_http::Header> {
    let own = [
        ("Content-Type", response.content_type),
        ("Cache-Control", response.cache_control()),
        ("X-Request-Id", trace),
        ("X-Content-Type-Options", "nosniff"),
    ];
    let others = response.headers.iter();
    let others = others.map(|(name, value)| (*name, value.as_str()));
    let header = |(name, value): (&str, &str)| tiny_http::Header::from_bytes(name, value).ok();
    own.into_iter().chain(others).filter_map(header).collect()
}

/// Lets a request go without a response. The body is waited for, as long as the connection lives.
fn discard(shared: &Shared, request: tiny_http::Request, in_socket: bool) {
    if in_socket && !is_safe_to_drop(&request) {
        return shared.forget(request);
    }
    // Unlike `drop`, this does not send the 500 that tiny_http has for a request that nobody
    // answered.
    drop(request.into_writer());
}

/// Dropping a request allocates what is left of its declared length, and the process aborts when
/// that is not to be had. Untouched memory costs nothing, so what can be reserved now is safe.
fn is_safe_to_drop(request: &tiny_http::Request) -> bool {
    let declared = request.body_length().unwrap_or(0);
    Vec::<u8>::new().try_reserve_exact(declared).is_ok()
}

/// Waits for the threads that answer strangers; one that a stranger holds ends with the process.
pub fn wait_for_end(threads: &mut Vec<std::thread::JoinHandle<()>>) -> usize {
    // A tenth of the grace: the rest is for requests of services.
    let deadline = Instant::now() + STOP_GRACE / 10;
    while Instant::now() < deadline && !threads.is_empty() {
        std::thread::park_timeout(Duration::from_millis(1));
        threads.retain(|thread| !thread.is_finished());
    }
    threads.len()
}
