//! The ways in and out of a service. A server reads a whole [`Request`] and gives it, with a
//! [`Responder`], to the service's [`Handler`], which never blocks: it answers at once, or hands
//! both to a queue, whose thread answers later. [`routes`] is the table that handlers share. Two
//! servers stand behind this interface: [`tiny::TinyServer`] and the [`edge`];
//! [`internal::InternalServer`] is the one that the settings name. [`access`] says who may call.
//! [`client::HttpClient`] is the way out; [`catalogs::Catalogs`]
//! finds the active catalog among several. [`protocol`] is the version of what goes both ways.

pub mod access;
pub mod catalogs;
pub mod client;
pub mod edge;
pub mod internal;
pub mod mismatches;
pub mod names;
pub mod protocol;
pub mod routes;
mod socket;
pub mod split;
pub mod tiny;

use crate::metrics::HttpMetrics;
use crate::wire::public::{Data, ErrorBody, ErrorDetail};
use serde::{Serialize, de::DeserializeOwned};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Name of the header that carries the trace id.
pub const TRACE_HEADER: &str = "x-request-id";

/// Name of the header in which a catalog that shares its database with others says under which
/// epoch it answered. A catalog on a file of its own sends none.
pub const EPOCH_HEADER: &str = "bazaar-epoch";

/// `Cache-Control` of a response that is true for ever.
pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// `Cache-Control` of every response without one of its own: it may be out of date in a moment.
pub const NO_STORE: &str = "no-store";

/// A request, read whole.
#[derive(Debug)]
pub struct Request {
    /// The method, in upper case.
    pub method: String,
    /// The path as sent: not percent-decoded, without the query.
    pub path: String,
    /// The text after the first `?`, as sent.
    pub query: Option<String>,
    /// The header fields.
    pub headers: Headers,
    /// The body; empty when there is none.
    pub body: Vec<u8>,
    /// The address that it came from, where that is known.
    pub peer: Option<SocketAddr>,
    /// The trace id: the client's, or one that the server made.
    pub trace: String,
    /// Whether the handler may block for a while: the server has another thread that is free.
    pub may_block: bool,
}

impl Request {
    /// The body as a message of ours.
    ///
    /// # Errors
    /// A 400 response that says where the body does not fit.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Response> {
        serde_json::from_slice(&self.body)
            .map_err(|e| Response::error(400, &format!("the body does not fit: {e}")))
    }
}

/// Header fields in the order in which they came. Names compare without regard to case.
#[derive(Debug, Default)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first field of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// All fields of that name.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }
}

/// A response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Content type of the body.
    pub content_type: &'static str,
    /// Further fields. Content-Length, Date, Connection and the trace id are the server's business.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A JSON response.
    ///
    /// # Panics
    /// When the value cannot be JSON, which is a mistake of ours: wire types can.
    pub fn json<T: Serialize>(status: u16, value: &T) -> Self {
        let body = serde_json::to_vec(value).expect("wire types serialise");
        Self {
            status,
            content_type: "application/json",
            headers: Vec::new(),
            body,
        }
    }

    /// A success in its envelope.
    pub fn data<T: Serialize>(data: T) -> Self {
        Self::json(200, &Data { data })
    }

    /// A failure in its envelope.
    pub fn error(status: u16, message: &str) -> Self {
        Self::json(
            status,
            &ErrorBody {
                error: ErrorDetail {
                    code: status,
                    message: message.into(),
                },
            },
        )
    }

    /// A 503 with `Retry-After`: not now.
    pub fn unavailable(message: &str) -> Self {
        Self::error(503, message).with_header("Retry-After", "1")
    }

    /// Plain text.
    pub fn text(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Whether a cache between here and the client may keep it.
    pub fn cache_control(&self) -> &str {
        let own = self
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("cache-control"));
        own.map_or(NO_STORE, |(_, value)| value)
    }

    /// Whether a cache may give this response to other clients.
    pub fn is_shared(&self) -> bool {
        self.cache_control().starts_with("public")
    }

    /// The same with one more header field.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The reason phrase of a status.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

/// The first number that `?after=N` asks for; 0 without a query.
///
/// # Errors
/// A 400 response that says what to write.
pub fn first_after(query: Option<&str>) -> Result<u64, Response> {
    let Some(query) = query else { return Ok(0) };
    let after = query
        .strip_prefix("after=")
        .and_then(|n| n.parse::<u64>().ok());
    after
        .and_then(|n| n.checked_add(1))
        .ok_or_else(|| Response::error(400, "write ?after=<number>, or no query for all"))
}

/// The part of a service that takes requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers at once, or hands the request to a queue. Blocks only where
    /// [`Request::may_block`] allows it: else the caller is needed for other connections.
    fn handle(&self, request: Request, responder: Responder);
}

/// A server's side of one request: takes the response, from any thread.
pub trait ResponseSink: Send {
    /// Sends the response to the client.
    fn send(self: Box<Self>, response: Response);
}

/// The right to respond to one request, once, from any thread. If it is dropped without a response,
/// it sends a 500 itself: no connection is left hanging, and the client learns that the outcome is
/// unknown.
pub struct Responder {
    sink: Option<Box<dyn ResponseSink>>,
    route: &'static str,
    since: Instant,
    metrics: Arc<HttpMetrics>,
    /// Whether the caller is a service of ours, which wants to know our version.
    internal: bool,
    /// A field that the response gets whoever makes it.
    header: Option<(&'static str, String)>,
}

impl Responder {
    /// A responder that gives its response to `sink` and counts it in `metrics`.
    pub fn new(sink: Box<dyn ResponseSink>, metrics: Arc<HttpMetrics>) -> Self {
        // Counted from the beginning to the end of the response, so that a stop can wait for all.
        metrics.in_flight.inc();
        Self {
            sink: Some(sink),
            route: "other",
            since: Instant::now(),
            metrics,
            internal: false,
            header: None,
        }
    }

    /// The same, whose response gets one more field.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The same for a listener that only our services call: its response carries the version.
    #[must_use]
    pub(crate) fn for_services(mut self, internal: bool) -> Self {
        self.internal = internal;
        self
    }

    /// Names the route for the metrics: the pattern (`/orders/{number}`), never the path.
    pub fn set_route(&mut self, route: &'static str) {
        self.route = route;
    }

    /// How long ago the request was read.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Sends the response.
    pub fn send(mut self, response: Response) {
        self.finish(response);
    }

    fn finish(&mut self, mut response: Response) {
        // Taken, so that the drop that follows finds nothing to do.
        if let Some(sink) = self.sink.take() {
            // Before the response leaves: both sides have to know each other's version, also from a
            // refusal.
            if self.internal {
                protocol::extend(&mut response.body);
                response = response.with_header(protocol::HEADER, protocol::text());
            }
            response.headers.extend(self.header.take());
            // Counted before it is sent: a client that has the response finds it in the metrics.
            self.metrics
                .answered(self.route, response.status, self.since.elapsed());
            sink.send(response);
            // After it was sent, since a stop waits for this count and then ends the threads that
            // send.
            self.metrics.in_flight.dec();
        }
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Responder({})", self.route)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        // A handler or queue lost the request. Whether it was carried out is unknown, and the
        // status says so: see `CallError::outcome_unknown`.
        if self.sink.is_some() {
            self.finish(Response::error(
                500,
                "the request was dropped inside the service; its outcome is unknown",
            ));
        }
    }
}

/// The trace id of a request: the client's when it is 1 to 64 visible ASCII characters, else a new
/// one.
pub fn trace_id(from_client: Option<&str>) -> String {
    match from_client {
        // Bounded and visible: an id goes into logs and into a header field.
        Some(id) if (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => {
            id.into()
        }
        _ => format!("{:016x}", fastrand::u64(..)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use parking_lot::Mutex;

    struct Keep(Arc<Mutex<Vec<u16>>>);
    impl ResponseSink for Keep {
        fn send(self: Box<Self>, response: Response) {
            self.0.lock().push(response.status);
        }
    }

    /// A responder answers exactly once, also when it is dropped.
    #[test]
    fn answers_once() {
        let metrics = HttpMetrics::new(&Metrics::new());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let responder = || Responder::new(Box::new(Keep(Arc::clone(&seen))), Arc::clone(&metrics));
        responder().send(Response::data(1));
        drop(responder());
        assert_eq!(*seen.lock(), [200, 500]);
        assert_eq!(metrics.in_flight.get(), 0);
    }

    /// Only a well-formed trace id of a client is kept.
    #[test]
    fn trace_ids() {
        assert_eq!(trace_id(Some("abc-1")), "abc-1");
        for bad in [
            None,
            Some(""),
            Some("a b"),
            Some("é"),
            Some(&*"x".repeat(65)),
        ] {
            assert_eq!(trace_id(bad).len(), 16);
        }
    }
}
