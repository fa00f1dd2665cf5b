//! The server of the internal listeners: tiny_http with a few fixed workers in front of a
//! [`Handler`].
//!
//! tiny_http has one thread per open connection, which parses; its requests come out of one queue.
//! Here a few workers take them. tiny_http 0.12 asks much of its user; each point was measured:
//!
//! - The listener is made here, with TCP_NODELAY (else answers wait 40 ms for a delayed
//!   acknowledgement), keep-alive, TCP_USER_TIMEOUT and a send time-out, which accepted sockets
//!   inherit; never with a receive time-out, which would make `accept` fail, and the first failure
//!   ends the acceptor.
//! - Each answer is one write of head and body.
//! - Nothing is read or written for a caller before its head was judged, and a stranger is served
//!   by threads of its own: `strangers`.
//! - Dropping a request waits for its body, and allocates what its Content-Length declares. More
//!   than the machine has would abort the process: such a request is forgotten instead of answered,
//!   with a thread and two descriptors, and counted.
//! - A request to upgrade the connection has the whole rest of the connection as its body: it is
//!   answered without a look at it.
//! - Reading a body that is still in the socket has no time-out: a worker does that only while
//!   another one is free, and starts one where there is none.
//! - Connections have neither a time-out nor a limit: `watch` finds them, `callers` decides,
//!   and `keeper` ends those whose time is over.
//! - The acceptor ends at its first failure: `acceptor`.
//! - A burst of connections can leave some unserved until another one closes: while connections are
//!   being opened, the keeper opens and closes one every 20 ms.
//!
//! It cannot be bounded from here how large a head is, and how many connections are accepted
//! between two looks of the keeper. The edge bounds both.

mod acceptor;

mod callers;
mod keeper;
mod sink;
mod strangers;
mod take;
mod watch;

use self::acceptor::Acceptor;
use self::callers::Callers;
use self::keeper::Keeper;
use self::strangers::{STRANGER_THREADS, STRANGERS_WAITING, StrangerRequest};
use super::Handler;
use super::access::Access;
use super::edge::limits::INTERNAL_CONNECTIONS;
use crate::descriptors::{self, Share};
use crate::metrics::HttpMetrics;
use crate::queue::{Queue, queue};
use crate::shutdown::Shutdown;
use crate::threads::Thread;
use parking_lot::Mutex;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a response may stay unread before its connection is given up: by strangers, and among
/// our own services, whose answers are sent by threads that others wait for.
const PUBLIC_SEND_TIMEOUT: Duration = Duration::from_secs(10);
const INTERNAL_SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that may wait to be accepted, at least and at most.
const BACKLOG: (usize, usize) = (16, 1_024);
/// A connection's descriptors: tiny_http duplicates its socket.
const DESCRIPTORS_EACH: usize = 2;

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
    /// The rule that lets callers in.
    pub access: Access,
}

/// A running server. Dropping it stops it: what is in flight is answered first, within
/// [`crate::timing::STOP_GRACE`].
pub struct TinyServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    strangers: Mutex<Vec<JoinHandle<()>>>,
    _keeper: Thread,
}

struct Shared {
    config: TinyConfig,
    /// Kept for the next acceptor.
    listener: TcpListener,
    /// Connections at once; beyond three quarters of it some are ended.
    connections: usize,
    handler: Arc<dyn Handler>,
    metrics: Arc<HttpMetrics>,
    /// The one that accepts; none once the server stopped.
    acceptor: Mutex<Option<Arc<Acceptor>>>,
    strangers: Queue<StrangerRequest>,
    callers: Mutex<Callers>,
    stopping: AtomicBool,
    stop: Shutdown,
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
        let share = match config.access {
            Access::Public => Share::Public,
            Access::Internal { .. } => Share::Internal,
        };
        let connections =
            descriptors::connections_within(share, INTERNAL_CONNECTIONS, DESCRIPTORS_EACH);
        // Made here, since tiny_http sets none of the options that we need.
        let listener = listen(&config, connections).map_err(|e| {
            io::Error::new(e.kind(), format!("cannot listen on {}: {e}", config.listen))
        })?;
        let address = listener.local_addr()?;
        let (strangers, waiting) = queue(STRANGERS_WAITING);
        let shared = Arc::new(Shared {
            config,
            listener,
            connections,
            handler,
            metrics,
            acceptor: Mutex::default(),
            strangers,
            callers: Mutex::default(),
            stopping: AtomicBool::new(false),
            stop: Shutdown::new(),
        });
        // Before the server counts as started: an address on which nothing accepts is none.
        let first = Acceptor::start(0, &shared.listener, &shared)?;
        *shared.acceptor.lock() = Some(first);
        let name = shared.config.name;
        // Not `Thread`: one of them may be held by a stranger for as long as its connection lives,
        // and the stop must not wait for that.
        let strangers = (0..STRANGER_THREADS).map(|i| {
            let (shared, waiting) = (Arc::clone(&shared), waiting.clone());
            std::thread::Builder::new()
                .name(format!("{name}-other{i}"))
                .spawn(move || strangers::serve(&shared, &waiting))
        });
        let strangers = strangers.collect::<io::Result<_>>()?;
        let keeper = Keeper::new(Arc::clone(&shared), address);
        Ok(Self {
            address,
            shared,
            strangers: Mutex::new(strangers),
            _keeper: Thread::spawn(&format!("{name}-keeper"), move || keeper.run()),
        })
    }

    /// The address in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what is in flight, asking clients to close their connections, then stops. Called by
    /// drop.
    pub fn stop(&self) {
        // 1. From here on each answer asks for the end of its connection, and requests are refused.
        self.shared.stopping.store(true, Ordering::Relaxed);
        // 2. Requests in flight are answered: their threads still run.
        self.shared.metrics.wait_idle(crate::timing::STOP_GRACE);
        // 3. The threads end.
        self.shared.stop.trigger();
        let mut held = strangers::wait_for_end(&mut self.strangers.lock());
        if let Some(acceptor) = self.shared.acceptor.lock().take() {
            held += acceptor.retire();
        }
        if held > 0 {
            tracing::warn!(
                threads = held,
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
fn listen(config: &TinyConfig, connections: usize) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
    let address = config.listen;
    let send_timeout = match config.access {
        Access::Public => PUBLIC_SEND_TIMEOUT,
        Access::Internal { .. } => INTERNAL_SEND_TIMEOUT,
    };
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Trap: socket2 does not set it, std does. Without it a restart fails while connections of
    // before linger.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit these. Trap: without NODELAY an answer of a few KB waits 40 ms.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(30)))?;
    socket.set_tcp_user_timeout(Some(PUBLIC_SEND_TIMEOUT))?;
    // Trap: never a receive time-out here. `accept` would fail with it, and one failure ends the
    // acceptor.
    socket.set_write_timeout(Some(send_timeout))?;
    socket.bind(&address.into())?;
    // A new acceptor accepts all that waits in one go: not more than there is room
    // for.
    let (least, most) = BACKLOG;
    let backlog = connections.clamp(least, most);
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}
