//! The edge: the HTTP/1.1 server of the public listener, and of internal ones that ask for it. Its
//! clients are strangers: the work for one of them is bounded in bytes and in time.
//!
//! ```text
//!   clients ──► kernel ──► core 0: listener, ──┬──► FastPath::cached: answered by the core itself
//!    (SO_REUSEPORT) │      connections, timers └──► Handler::handle ──► queues, workers
//!                   │                  ▲                                        │
//!                   └────► core 1: …   └── written there, or by mailbox ◄── Responder::send
//! ```
//!
//! | module | one idea |
//! |---|---|
//! | [`connection`] | one connection as a pure state machine: no socket, no clock |
//! | [`parse`], [`head`], [`body`] | request line, fields, body: strict |
//! | [`budget`] | memory that all bodies share, and all unread responses |
//! | [`subscribers`] | connections that follow a feed, and events for all of them |
//! | [`respond`], [`date`], [`trace`], [`output`] | responses |
//! | [`limits`], [`refusal`] | limits of clients, and reasons of refusals |
//! | `core` | the threads of one core |
//! | `connections`, `entry`, `timers` | its connections, behind a lock |
//! | `mailbox`, `poller` | messages of other threads, events of the kernel |
//! | `listen`, `meters` | listening sockets; counters |
//!
//! Threads: those of `core`. Invariants: those of [`connection`]; a connection belongs to one core
//! for its life; at most one request of a connection is with a handler, and the response reaches
//! that connection or none; a subscriber gets every event after its snapshot, whole and in order,
//! or is dropped.
//!
//! Not done on purpose: TLS, HTTP/2 and compression, which belong to a proxy in front; CORS; `100
//! Continue` only when asked for; limits per address, since behind a proxy all clients have the
//! same one.

pub mod body;
pub mod budget;
pub mod connection;
mod connections;
mod core;
pub mod date;
mod entry;
pub mod head;
pub mod limits;
mod listen;
mod mailbox;
mod meters;
pub mod output;
pub mod parse;
mod poller;
pub mod refusal;
pub mod respond;
pub mod subscribers;
mod timers;
pub mod trace;

use self::budget::Budget;
use self::core::Core;
use self::limits::{EdgeConfig, Threads};
use self::meters::{EdgeMetrics, Listener};
use self::subscribers::{Permits, Subscribers};
use crate::descriptors::{self, Share};
use crate::http::access::Access;
use crate::http::{Handler, Request, Responder};
use crate::metrics::{HttpMetrics, Metrics};
use crate::threads::Thread;
use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// The handler of an edge. Some requests it answers inline.
pub trait FastPath: Handler {
    /// Prebuilt body (application/json, status 200) of a cached `GET /stocks/<name>`; `path` as
    /// sent. `None`: not cached; the request goes through [`Handler::handle`]. Called for every GET
    /// and HEAD without query and body. Must not block: all connections of the core wait.
    fn cached(&self, path: &str) -> Option<Arc<[u8]>>;

    /// Whether there is a feed at `path`. Called for every GET and HEAD without query and body that
    /// is not cached, before a permit is taken. Must not block either.
    fn has_feed(&self, _path: &str) -> bool {
        false
    }

    /// The first bytes for a new subscriber of the feed at `path`. `None`: there are none now, and
    /// the request goes through [`Handler::handle`]. Must not block either.
    fn feed_snapshot(&self, _path: &str) -> Option<Arc<[u8]>> {
        None
    }
}

/// A handler that answers nothing inline: that of an internal listener.
pub struct NoFastPath(pub Arc<dyn Handler>);

impl Handler for NoFastPath {
    fn handle(&self, request: Request, responder: Responder) {
        self.0.handle(request, responder);
    }
}

impl FastPath for NoFastPath {
    fn cached(&self, _: &str) -> Option<Arc<[u8]>> {
        None
    }
}

/// The state that the cores share.
pub(crate) struct Shared {
    config: EdgeConfig,
    handler: Arc<dyn FastPath>,
    metrics: Arc<EdgeMetrics>,
    bodies: Arc<Budget>,
    outputs: Arc<Budget>,
    /// When a core last logged that descriptors or memory ran out.
    exhaustion_logged: Mutex<Option<Instant>>,
    permits: Arc<Permits>,
    /// Connections that count against the limit.
    open: AtomicUsize,
    /// Connections beyond it whose refusal is being written.
    refused: AtomicUsize,
    stopping: AtomicBool,
}

/// A running edge. Dropping it stops it.
pub struct Edge {
    address: SocketAddr,
    shared: Arc<Shared>,
    cores: Vec<Arc<Core>>,
    threads: Mutex<Vec<Thread>>,
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Edge {
    /// Binds and starts. The connection limit is cut to what the process's limit of open files
    /// allows.
    ///
    /// # Errors
    /// When the address cannot be bound (the message names it), or the system has no descriptor
    /// left.
    pub fn start(
        mut config: EdgeConfig,
        handler: Arc<dyn FastPath>,
        http: Arc<HttpMetrics>,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let limits = &mut config.limits;
        let (share, metered) = match config.access {
            Access::Public => (Share::Public, Listener::Public),
            Access::Internal { .. } => (Share::Internal, Listener::Internal),
        };
        // Cut before anything is bound: with more connections than descriptors, accepting would
        // fail for those that are promised room.
        limits.connections = descriptors::connections_within(share, limits.connections, 1);
        // Apart: a core for each thread. Together: one core, whose connections all threads serve.
        let (cores, threads_each) = match config.threads {
            Threads::Apart(threads) => (threads.max(1), 1),
            Threads::Together(threads) => (1, threads.max(1)),
        };
        // Bound before the threads start: an address in use is an error of the start.
        let (address, listeners) =
            listen::listen_at_all(config.listen.all(), cores, &config.limits)?;
        let metrics = Arc::new(EdgeMetrics::new(metrics, http, metered));
        let bodies = Budget::new(config.limits.body_budget_bytes);
        let outputs = Budget::new(config.limits.output_budget_bytes);
        let permits = Permits::new(config.limits.subscribers(), metrics.subscribers.clone());
        let shared = Arc::new(Shared {
            permits,
            config,
            handler,
            metrics,
            bodies,
            outputs,
            exhaustion_logged: Mutex::new(None),
            open: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let cores = listeners
            .into_iter()
            .map(|own| Core::new(Arc::clone(&shared), own))
            .collect::<io::Result<Vec<_>>>()?;
        // Started together once nothing can fail any more.
        let name = shared.config.name;
        let threads = (0..cores.len() * threads_each)
            .map(|i| {
                let core = Arc::clone(&cores[i / threads_each]);
                Thread::spawn(&format!("{name}-edge{i}"), move || core.run())
            })
            .collect();
        Ok(Self {
            address,
            shared,
            cores,
            threads: Mutex::new(threads),
        })
    }

    /// The address in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connections that follow a feed.
    pub fn subscribers(&self) -> Subscribers {
        Subscribers::new(Arc::clone(&self.shared.permits), self.cores.clone())
    }

    /// Stops: accepts no more, answers what is in flight with `Connection: close`, within
    /// [`crate::timing::STOP_GRACE`], and returns when every connection is closed. Called by drop.
    pub fn stop(&self) {
        // The flag before the wake-up: a core that wakes must see it.
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.cores.iter().for_each(|core| core.wake());
        // Joined by drop.
        self.threads.lock().clear();
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop();
    }
}
