//! The knowledge that all callers of a process share: which catalog they ask first, and the highest
//! epoch that they saw.

use crate::http::client::HttpClient;
use parking_lot::{Condvar, Mutex};
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The knowledge that all callers of one process share about the catalogs.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) urls: Vec<String>,
    /// The catalog that is asked first.
    pub(super) preferred: AtomicUsize,
    /// The highest epoch of an answer; 0 before the first.
    pub(super) epoch: AtomicU64,
    /// Every pool of connections to the catalogs, to end calls. Its lock orders all changes.
    pub(super) pools: Mutex<Vec<Weak<Pool>>>,
    pub(super) changed: Condvar,
}

impl Choice {
    /// Notes who answered, and under which epoch. False for an epoch older than one seen before.
    pub(super) fn answered(&self, catalog: usize, epoch: u64) -> bool {
        // Without the lock: nearly every answer changes nothing.
        let seen = self.epoch.load(Ordering::Acquire);
        if epoch == seen && self.preferred.load(Ordering::Relaxed) == catalog {
            return true;
        }
        if epoch < seen {
            // A catalog without epochs never shows one: a mixed list is none that works.
            return false;
        }
        self.change(catalog, epoch)
    }

    fn change(&self, catalog: usize, epoch: u64) -> bool {
        // One change at a time: epoch and preference have to fit each other.
        let mut pools = self.pools.lock();
        // Read again under the lock: another caller may have seen a newer epoch since.
        let seen = self.epoch.load(Ordering::Acquire);
        if epoch < seen {
            return false;
        }
        // Stored before the calls are ended: whoever looks again sees the new choice.
        self.epoch.store(epoch, Ordering::Release);
        let before = self.preferred.swap(catalog, Ordering::Relaxed);
        if before != catalog {
            tracing::info!(url = self.urls[catalog], epoch, "calls go to this catalog");
        }
        pools.retain(|pool| pool.strong_count() > 0);
        // Only for a newer epoch: then calls to the others wait for one that is not active any
        // more. A mere change of preference says nothing of theirs.
        if epoch > seen {
            let all = pools.iter().filter_map(Weak::upgrade);
            all.for_each(|pool| pool.end_calls_except(catalog));
        }
        // Callers in a pause between two rounds ask at once.
        self.changed.notify_all();
        true
    }

    /// Waits for news of another caller, at most `pause`.
    pub(super) fn wait(&self, pause: Duration) {
        let mut pools = self.pools.lock();
        self.changed.wait_for(&mut pools, pause);
    }
}

/// Connections to the catalogs: a client for each.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) clients: Vec<Mutex<HttpClient>>,
    connections: usize,
    pub(super) token: Option<String>,
}

impl Pool {
    pub(super) fn new(catalogs: usize, connections: usize, token: Option<&str>) -> Self {
        let client = |_| Mutex::new(HttpClient::new(connections, token));
        Self {
            clients: (0..catalogs).map(client).collect(),
            connections,
            token: token.map(Into::into),
        }
    }

    /// Ends the calls in flight to all other catalogs. A client that was ended is of no more use,
    /// so that another one takes its place first.
    fn end_calls_except(&self, catalog: usize) {
        for (other, client) in self.clients.iter().enumerate() {
            if other != catalog {
                let new = HttpClient::new(self.connections, self.token.as_deref());
                // Replaced before it is ended: a caller whose call ends asks again, and must find a
                // client that works.
                let old = std::mem::replace(&mut *client.lock(), new);
                old.abort();
            }
        }
    }
}
