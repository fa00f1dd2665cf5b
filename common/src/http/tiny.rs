//! The server of the internal listeners: tiny_http with a few fixed workers in front of a
//! [`Handler`].
//!
//! tiny_http has one thread per open connection, which parses; its requests come out of one queue.
//! Here a few workers take them. Reading a body that is still in the socket has no time-out, so a
//! worker does that only while another one is free, and starts one where there is none. What
//! tiny_http 0.12 needs from its user, each point measured:
//!
//! - The listener is made here, with TCP_NODELAY (else answers wait 40 ms for a delayed
//!   acknowledgement), keep-alive, TCP_USER_TIMEOUT and a send time-out, which accepted sockets
//!   inherit; never with a receive time-out, which would make `accept` fail, and the first failure
//!   ends the acceptor.
//! - Each answer is one write of head and body.
//! - Dropping a request allocates what its Content-Length declares, and aborts when that is too
//!   much: a request that declares far more than the limit is forgotten instead of answered, at the
//!   price of its connection, and counted.
//! - A request to upgrade the connection has the whole rest of the connection as its body: it is
//!   answered without a look at it.
//! - A caller that stops in the middle of a body holds a worker for as long as it likes: there may
//!   be up to 64 of them.
//! - A burst of connections can leave some unserved until another one closes: while connections are
//!   being opened, the server opens and closes one to itself every 20 ms.

use super::{
    Answer, Handler, Headers, Request, Responder, Response, TRACE_HEADER, reason, trace_id,
};
use crate::metrics::HttpMetrics;
use crate::shutdown::Shutdown;
use crate::threads::Thread;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// Bodies up to this size come with the request; tiny_http reads larger ones from the socket when
/// asked.
const READ_WITH_HEAD_BYTES: usize = 1_024;
/// A declared body of up to this size is safe to drop, so that one above the limit is answered with
/// 413.
const SAFE_TO_DROP_BYTES: usize = 1_024 * 1_024;
/// Workers at most, those that callers hold included.
const MAX_WORKERS: usize = 64;
/// How long the stop waits for workers; one that a caller holds ends with the process.
const WORKER_GRACE: Duration = Duration::from_millis(300);
/// How long an answer may stay unread before its connection is given up: by strangers, and among
/// our own services, whose answers are sent by threads that others wait for.
const PUBLIC_SEND_TIMEOUT: Duration = Duration::from_secs(10);
const INTERNAL_SEND_TIMEOUT: Duration = Duration::from_secs(1);
const UNSTICK_EVERY: Duration = Duration::from_millis(20);
const UNSTICK_FOR: Duration = Duration::from_secs(1);

/// Who may call.
#[derive(Debug, Clone)]
pub enum Access {
    /// Anyone.
    Public,
    /// Callers with this bearer token; without a token, callers on the loopback interface. `/livez`
    /// and `/metrics` are open to all.
    Internal(Option<String>),
}

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct TinyConfig {
    /// Name for threads and logs.
    pub name: &'static str,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that route, as long as none of them is held by a caller that stopped in the middle
    /// of a body.
    pub workers: usize,
    /// Largest body in bytes; beyond, 413.
    pub body_limit_bytes: usize,
    /// Who may call.
    pub access: Access,
}

/// A running server. Dropping it stops it: what is in flight is answered first, within
/// [`crate::timing::STOP_GRACE`].
pub struct TinyServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    _unstick: Thread,
}

struct Shared {
    config: TinyConfig,
    server: tiny_http::Server,
    handler: Arc<dyn Handler>,
    metrics: Arc<HttpMetrics>,
    workers: Workers,
    peers: Mutex<Peers>,
    stopping: AtomicBool,
    stop: Shutdown,
}

/// The threads that take requests.
#[derive(Default)]
struct Workers {
    /// Those that wait for a request.
    free: AtomicUsize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Peers seen lately, to notice that connections are being opened: tiny_http does not tell.
#[derive(Default)]
struct Peers {
    seen: HashMap<SocketAddr, Instant>,
    newest: Option<Instant>,
}

impl TinyServer {
    /// Binds and starts.
    ///
    /// # Errors
    /// When the address cannot be bound; the message names it.
    pub fn start(
        config: TinyConfig,
        handler: Arc<dyn Handler>,
        metrics: Arc<HttpMetrics>,
    ) -> io::Result<Self> {
        let listener = listen(&config).map_err(|e| {
            io::Error::new(e.kind(), format!("cannot listen on {}: {e}", config.listen))
        })?;
        let address = listener.local_addr()?;
        let server = tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?;
        let workers = config.workers.max(1);
        let shared = Arc::new(Shared {
            config,
            server,
            handler,
            metrics,
            workers: Workers::default(),
            peers: Mutex::default(),
            stopping: AtomicBool::new(false),
            stop: Shutdown::new(),
        });
        for _ in 0..workers {
            shared.start_worker()?;
        }
        let unstick = Thread::spawn(&format!("{}-unstick", shared.config.name), {
            let shared = Arc::clone(&shared);
            move || shared.unstick()
        });
        Ok(Self {
            address,
            shared,
            _unstick: unstick,
        })
    }

    /// The address in use.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what is in flight, asking clients to close their connections, then stops. Called by
    /// drop.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.metrics.wait_idle(crate::timing::STOP_GRACE);
        self.shared.stop.trigger();
        let deadline = Instant::now() + WORKER_GRACE;
        let mut threads = std::mem::take(&mut *self.shared.workers.threads.lock());
        while Instant::now() < deadline && !threads.is_empty() {
            // Each call wakes one worker, or ends the next wait of one.
            threads.iter().for_each(|_| self.shared.server.unblock());
            std::thread::park_timeout(Duration::from_millis(1));
            threads.retain(|thread| !thread.is_finished());
        }
        if !threads.is_empty() {
            tracing::warn!(
                threads = threads.len(),
                "bodies that were never sent whole hold threads, which end with the process"
            );
        }
    }
}

impl std::fmt::Debug for TinyServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TinyServer({})", self.address)
    }
}

impl Drop for TinyServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A listener with the socket options that tiny_http does not set. SO_REUSEADDR lets a restarted
/// service have its port back at once; a port in use is still refused.
fn listen(config: &TinyConfig) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
    let address = config.listen;
    let send_timeout = match config.access {
        Access::Public => PUBLIC_SEND_TIMEOUT,
        Access::Internal(_) => INTERNAL_SEND_TIMEOUT,
    };
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(30)))?;
    socket.set_tcp_user_timeout(Some(PUBLIC_SEND_TIMEOUT))?;
    socket.set_write_timeout(Some(send_timeout))?;
    socket.bind(&address.into())?;
    socket.listen(1_024)?;
    Ok(socket.into())
}

impl Shared {
    fn start_worker(self: &Arc<Self>) -> io::Result<()> {
        let shared = Arc::clone(self);
        let mut threads = self.workers.threads.lock();
        let name = format!("{}-http{}", self.config.name, threads.len());
        // Counted from here, so that nobody starts one more while this one is on its way.
        self.workers.free.fetch_add(1, Ordering::Relaxed);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || shared.work())
            .inspect_err(|_| {
                self.workers.free.fetch_sub(1, Ordering::Relaxed);
            })?;
        threads.push(thread);
        Ok(())
    }

    fn work(self: &Arc<Self>) {
        while !self.stop.is_triggered() {
            let received = self.server.recv();
            let others = self.workers.free.fetch_sub(1, Ordering::Relaxed) - 1;
            match received {
                Ok(request) => self.take(request, others),
                Err(_) if self.stop.is_triggered() => return,
                // Its acceptor has ended for good. A service that nobody can reach any more must
                // say so and end.
                Err(error) => panic!("the listener {} failed: {error}", self.config.listen),
            }
            self.workers.free.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers from the head, or reads the body and routes. `others`: how many workers were free
    /// when this one was taken.
    fn take(self: &Arc<Self>, request: tiny_http::Request, others: usize) {
        self.note_peer(&request);
        let declared = request.body_length();
        if let Some(declared_bytes) =
            declared.filter(|&n| n > self.config.body_limit_bytes.max(SAFE_TO_DROP_BYTES))
        {
            // See the module's text: neither answering nor dropping this request is safe.
            let limit_bytes = self.config.body_limit_bytes;
            tracing::warn!(
                declared_bytes,
                limit_bytes,
                "request forgotten: body too large"
            );
            return self.forget(request);
        }
        let header = |name: &'static str| {
            request
                .headers()
                .iter()
                .find(|h| h.field.equiv(name))
                .map(|h| h.value.as_str())
        };
        let in_socket = declared.is_some_and(|n| n > READ_WITH_HEAD_BYTES)
            || header("Transfer-Encoding").is_some()
            || header("Expect").is_some();
        let upgrade =
            header("Connection").is_some_and(|c| c.to_ascii_lowercase().contains("upgrade"));
        if in_socket && !upgrade && others == 0 && !self.has_another_worker() {
            tracing::warn!("request forgotten: too many bodies are being read");
            return self.forget(request);
        }
        self.route(request, upgrade, others > 0);
    }

    /// Starts one more worker, within the bound.
    fn has_another_worker(self: &Arc<Self>) -> bool {
        let started = self.workers.threads.lock().len() < MAX_WORKERS && {
            let started = self.start_worker();
            if let Err(error) = &started {
                tracing::warn!(%error, "no further worker");
            }
            started.is_ok()
        };
        started || self.workers.free.load(Ordering::Relaxed) > 0
    }

    fn forget(&self, request: tiny_http::Request) {
        self.metrics.forgotten.inc();
        std::mem::forget(request);
    }

    /// Reads the body and calls the handler.
    fn route(&self, mut request: tiny_http::Request, upgrade: bool, may_block: bool) {
        let limit = self.config.body_limit_bytes;
        let mut body = Vec::with_capacity(request.body_length().unwrap_or(0).min(limit));
        let read = if upgrade {
            Ok(0)
        } else {
            request
                .as_reader()
                .take(limit as u64 + 1)
                .read_to_end(&mut body)
        };
        let (path, query) = match request.url().split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (request.url().to_owned(), None),
        };
        let headers = request.headers().iter();
        let headers = Headers(
            headers
                .map(|h| (h.field.as_str().to_string(), h.value.to_string()))
                .collect(),
        );
        let converted = Request {
            method: request.method().as_str().to_owned(),
            path,
            query,
            trace: trace_id(headers.get(TRACE_HEADER)),
            peer: request.remote_addr().copied(),
            headers,
            body,
            may_block,
        };
        let stopping = self.stopping.load(Ordering::Relaxed);
        let says_close = converted
            .headers
            .get("connection")
            .is_some_and(|c| c.to_ascii_lowercase().contains("close"));
        let answer = TinyAnswer {
            head_only: converted.method == "HEAD",
            close: says_close || upgrade || stopping,
            old: *request.http_version() < (1, 1),
            trace: converted.trace.clone(),
            request,
        };
        let responder = Responder::new(Box::new(answer), Arc::clone(&self.metrics));
        if upgrade {
            responder.send(Response::error(
                400,
                "this server does not upgrade connections",
            ));
        } else if let Err(error) = read {
            responder.send(Response::error(
                400,
                &format!("the body could not be read: {error}"),
            ));
        } else if converted.body.len() > limit {
            responder.send(Response::error(
                413,
                &format!("the body is larger than {limit} bytes"),
            ));
        } else if stopping {
            responder.send(Response::unavailable("this service is stopping"));
        } else if self.allowed(&converted) {
            self.handler.handle(converted, responder);
        } else {
            let answer = Response::error(
                401,
                "internal calls need the header 'Authorization: Bearer <BAZAAR_TOKEN>'",
            );
            responder.send(answer.with_header("WWW-Authenticate", "Bearer"));
        }
    }

    fn allowed(&self, request: &Request) -> bool {
        let Access::Internal(token) = &self.config.access else {
            return true;
        };
        if request.method == "GET" && matches!(request.path.as_str(), "/livez" | "/metrics") {
            return true;
        }
        match token {
            None => request
                .peer
                .is_some_and(|peer| peer.ip().to_canonical().is_loopback()),
            Some(token) => {
                let given = request
                    .headers
                    .get("authorization")
                    .and_then(|a| a.strip_prefix("Bearer "))
                    .unwrap_or("");
                // Constant in time, so that answers do not tell how much of a guess was right.
                bool::from(given.as_bytes().ct_eq(token.as_bytes()))
            }
        }
    }

    fn note_peer(&self, request: &tiny_http::Request) {
        let Some(peer) = request.remote_addr().copied() else {
            return;
        };
        let now = Instant::now();
        let mut peers = self.peers.lock();
        if peers.seen.insert(peer, now).is_none() {
            peers.newest = Some(now);
            if peers.seen.len() > 4_096 {
                peers
                    .seen
                    .retain(|_, seen| now.duration_since(*seen) < UNSTICK_FOR);
            }
        }
    }

    fn unstick(self: &Arc<Self>) {
        let IpAddr::V4(_) = self.config.listen.ip() else {
            return self.unstick_at(Ipv6Addr::LOCALHOST.into());
        };
        self.unstick_at(Ipv4Addr::LOCALHOST.into());
    }

    fn unstick_at(&self, loopback: IpAddr) {
        let Some(mut own) = self.server.server_addr().to_ip() else {
            return;
        };
        if own.ip().is_unspecified() {
            own.set_ip(loopback);
        }
        while !self.stop.wait(UNSTICK_EVERY) {
            let busy = self
                .peers
                .lock()
                .newest
                .is_some_and(|newest| newest.elapsed() < UNSTICK_FOR);
            if busy {
                drop(TcpStream::connect_timeout(&own, UNSTICK_EVERY));
            }
        }
    }
}

struct TinyAnswer {
    request: tiny_http::Request,
    head_only: bool,
    close: bool,
    old: bool,
    trace: String,
}

impl Answer for TinyAnswer {
    fn answer(self: Box<Self>, response: Response) {
        let mut bytes = Vec::with_capacity(256 + response.body.len());
        let connection = match (self.close, self.old) {
            (true, _) => "Connection: close\r\n",
            (false, true) => "Connection: keep-alive\r\n",
            (false, false) => "",
        };
        // Writing to a Vec cannot fail.
        let _ = write!(
            bytes,
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nX-Content-Type-Options: nosniff\r\nCache-Control: {}\r\n{connection}",
            response.status,
            reason(response.status),
            response.content_type,
            response.body.len(),
            response.cache_control(),
        );
        // A cache gives one answer to many: the trace id of the first who asked tells about it.
        if !response.is_shared() {
            let _ = write!(bytes, "X-Request-Id: {}\r\n", self.trace);
        }
        let written = |name: &str| name.eq_ignore_ascii_case("cache-control");
        for (name, value) in response.headers.iter().filter(|(name, _)| !written(name)) {
            let _ = write!(bytes, "{name}: {value}\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        if !self.head_only {
            bytes.extend_from_slice(&response.body);
        }
        let mut writer = self.request.into_writer();
        if let Err(error) = writer.write_all(&bytes).and_then(|()| writer.flush()) {
            tracing::debug!(%error, trace = self.trace, "answer not delivered");
        }
    }
}
