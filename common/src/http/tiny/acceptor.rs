//! One tiny_http server: an acceptor on the listening socket, and the workers that take the
//! requests of the connections which it accepted.
//!
//! The first error of `accept` ends tiny_http's acceptor for good, and so does a panic when no
//! descriptor or thread is left for a connection. Its connections go on. So a new acceptor is
//! started on the same socket, and the one before stays as long as connections of it do.

use super::Shared;
use crate::threads;
use parking_lot::Mutex;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Workers at most, those that callers hold included.
const MAX_WORKERS: usize = 64;
/// How long the stop waits for workers; one that a caller holds ends with the process.
const WORKER_GRACE: Duration = Duration::from_millis(300);

/// An acceptor and its workers.
pub struct Acceptor {
    /// No other acceptor of the listener has this number.
    pub number: u64,
    server: tiny_http::Server,
    /// `accept` failed: connections of this acceptor are all that will ever be.
    failed: AtomicBool,
    /// Panics of threads that were not ours, when it began: one since then may have been its own.
    panics: usize,
    /// The workers are to end.
    retired: AtomicBool,
    /// Workers that wait for a request.
    free: AtomicUsize,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl Acceptor {
    /// Starts one on a duplicate of the listening socket.
    ///
    /// # Errors
    /// When there is no descriptor or thread for it.
    pub fn start(
        number: u64,
        listener: &TcpListener,
        shared: &Arc<Shared>,
    ) -> io::Result<Arc<Self>> {
        // Counted before it starts: a panic from here on may be its own.
        let panics = threads::acceptor_panics();
        // Trap: an acceptor that ended takes its socket with it, so it gets a duplicate.
        let server = tiny_http::Server::from_listener(listener.try_clone()?, None)
            .map_err(io::Error::other)?;
        let acceptor = Arc::new(Self {
            number,
            server,
            failed: AtomicBool::new(false),
            panics,
            retired: AtomicBool::new(false),
            free: AtomicUsize::new(0),
            workers: Mutex::default(),
        });
        for _ in 0..shared.config.workers.max(1) {
            acceptor.start_worker(shared)?;
        }
        Ok(acceptor)
    }

    /// Whether it has to be replaced: after an error that it reported, or a panic that may have
    /// been its own. Two acceptors on one socket do no harm.
    pub fn has_ended(&self) -> bool {
        // Nothing shows whose panic it was. Replacing one that lives costs little: two acceptors
        // on one socket do no harm.
        self.failed.load(Ordering::Relaxed) || threads::acceptor_panics() != self.panics
    }

    fn start_worker(self: &Arc<Self>, shared: &Arc<Shared>) -> io::Result<()> {
        // Under the lock of the list, so that names are not given twice.
        let (acceptor, shared) = (Arc::clone(self), Arc::clone(shared));
        let mut workers = self.workers.lock();
        let name = format!("{}-http{}", shared.config.name, workers.len());
        // Counted from here, so that nobody starts one more while this one is on its way.
        self.free.fetch_add(1, Ordering::Relaxed);
        let worker = std::thread::Builder::new()
            .name(name)
            .spawn(move || acceptor.work(&shared))
            .inspect_err(|_| {
                self.free.fetch_sub(1, Ordering::Relaxed);
            })?;
        workers.push(worker);
        Ok(())
    }

    fn work(self: &Arc<Self>, shared: &Arc<Shared>) {
        while !self.retired.load(Ordering::Relaxed) {
            let received = self.server.recv();
            // Counted as busy before the request is looked at: `others` says whether anybody is
            // left for what comes next.
            let others = self.free.fetch_sub(1, Ordering::Relaxed) - 1;
            match received {
                Ok(request) => shared.take(request, self, others > 0),
                Err(_) if self.retired.load(Ordering::Relaxed) => return,
                Err(error) => {
                    let listen = &shared.config.listen;
                    tracing::warn!(%error, %listen, "accepting failed; it is begun anew");
                    // Noted for the keeper, which starts the next one. Workers stay: connections of
                    // this acceptor go on.
                    self.failed.store(true, Ordering::Relaxed);
                }
            }
            self.free.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a worker is there for the requests that come while one reads a body: starts one more
    /// where there is none, within the bound.
    pub fn has_another_worker(self: &Arc<Self>, shared: &Arc<Shared>) -> bool {
        // Bounded: callers that stop in the middle of a body could otherwise take a thread each,
        // without end.
        let started = self.workers.lock().len() < MAX_WORKERS && {
            let started = self.start_worker(shared);
            if let Err(error) = &started {
                tracing::warn!(%error, "no further worker");
            }
            started.is_ok()
        };
        started || self.free.load(Ordering::Relaxed) > 0
    }

    /// Ends the workers; returns how many of them a caller still holds.
    pub fn retire(&self) -> usize {
        // The flag before the wake-ups: a worker that wakes looks at it.
        self.retired.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + WORKER_GRACE;
        let mut workers = std::mem::take(&mut *self.workers.lock());
        while Instant::now() < deadline && !workers.is_empty() {
            // Each call wakes one worker, or ends the next wait of one.
            workers.iter().for_each(|_| self.server.unblock());
            std::thread::park_timeout(Duration::from_millis(1));
            workers.retain(|worker| !worker.is_finished());
        }
        workers.len()
    }
}
