//! The cache behind its one lock, with what is counted about it. The lock is held for a few map
//! operations, never across a call.

use super::{Cache, Fill, FillEnd};
use crate::metrics::CacheMetrics;
use common::clock::BootInstant;
use common::wire::catalog::{SessionId, Stock};
use common::wire::public::{CacheStatus, Data, StockInfo};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The cache as the threads of a front-end share it.
#[derive(Debug)]
pub struct SharedCache {
    cache: Mutex<Cache>,
    /// Switched off, a read takes no lock.
    enabled: bool,
    capacity: usize,
    metrics: CacheMetrics,
}

impl SharedCache {
    /// An empty cache. Switched off, it never holds anything, and only counts.
    pub fn new(enabled: bool, capacity: usize, metrics: CacheMetrics) -> Self {
        Self {
            cache: Mutex::new(Cache::new(capacity)),
            enabled,
            capacity,
            metrics,
        }
    }

    /// The body of the answer for a stock. Counts a hit; a miss is counted by
    /// [`SharedCache::count_miss`], since one read may look here twice.
    pub fn get(&self, name: &str) -> Option<Arc<[u8]>> {
        if !self.enabled {
            return None;
        }
        // Held for two map operations, well under a microsecond: each cached read of every core
        // passes here.
        let mut cache = self.cache.lock();
        // Under the lock and before the entry is taken: see the first rule of the cache.
        let now = BootInstant::now();
        let body = cache.get(name, now);
        // Counting is outside the lock, which every reader wants.
        drop(cache);
        if body.is_some() {
            self.metrics.hits.inc();
        }
        body
    }

    /// Counts a read that goes to the catalog.
    pub fn count_miss(&self) {
        self.metrics.misses.inc();
    }

    /// Begins the fills of one call to the catalog: before it is sent.
    #[must_use]
    pub fn begin_fills<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Fill> {
        if !self.enabled {
            return Vec::new();
        }
        // One lock for the whole call: the fills are begun at one moment, before the question
        // leaves.
        let mut cache = self.cache.lock();
        names.map(|name| cache.begin_fill(name)).collect()
    }

    /// Ends the fills of one call with what it brought; none for a call that failed.
    pub fn finish_fills(&self, fills: Vec<Fill>, found: &HashMap<&str, FoundStock>) {
        // One lock for all: an invalidation comes before all of them or after.
        let mut cache = self.cache.lock();
        for fill in fills {
            let body = found
                .get(&*fill.name)
                // While a stock is being changed its old value is right to answer with and wrong to
                // keep: a session that began after the catalog had listed the sessions gets no push
                // for this batch.
                .filter(|stock| stock.cacheable)
                .map(|stock| Arc::clone(&stock.body));
            match cache.finish_fill(&fill, body) {
                FillEnd::Stored => self.metrics.fills.inc(),
                FillEnd::Voided => self.metrics.fills_voided.inc(),
                FillEnd::Nothing => {}
            }
        }
    }

    /// An invalidation of the catalog; false when it is not for a session of ours.
    #[must_use]
    pub fn invalidate(&self, session: &SessionId, names: &[String]) -> bool {
        // The lock ends with this statement: counting needs none.
        let ours = self.cache.lock().invalidate(session, names);
        if ours {
            self.metrics.invalidations.inc_by(names.len() as u64);
        }
        ours
    }

    /// A registration is about to be sent.
    pub fn begin_session(&self, session: &SessionId) {
        self.cache.lock().begin_session(session.clone());
    }

    /// Its reply came. False when the catalog has ended that session meanwhile.
    #[must_use]
    pub fn install_session(&self, session: &SessionId, lease_end: BootInstant) -> bool {
        self.cache.lock().install_session(session, lease_end)
    }

    /// A keep-alive was answered.
    pub fn renew(&self, session: &SessionId, lease_end: BootInstant) {
        self.cache.lock().renew(session, lease_end);
    }

    /// The catalog does not know the session.
    pub fn lose(&self, session: &SessionId) {
        self.cache.lock().lose(session);
        // Counted although the session may have been replaced already: the catalog did lose one of
        // ours.
        self.metrics.lease_losses.inc();
    }

    /// The catalog ends a session; false when it is not one of ours.
    #[must_use]
    pub fn end(&self, session: &SessionId) -> bool {
        let ours = self.cache.lock().end(session);
        if ours {
            self.metrics.lease_losses.inc();
        }
        ours
    }

    /// The front-end stops: empties the cache, and returns the sessions to end at the catalog.
    #[must_use]
    pub fn leave(&self) -> Vec<SessionId> {
        self.cache.lock().leave()
    }

    /// Whether reads may be answered from here now.
    pub fn leased(&self) -> bool {
        let cache = self.cache.lock();
        // The clock under the lock, as in `get`: read before it, a wait for the lock could show a
        // lease that has ended.
        cache.leased(BootInstant::now())
    }

    /// Names of the stocks that are held, the most recently used one first.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.cache.lock().names()
    }

    /// Its part of `GET /status`.
    pub fn status(&self) -> CacheStatus {
        let (leased, entries) = {
            let cache = self.cache.lock();
            (cache.leased(BootInstant::now()), cache.entries())
        };
        CacheStatus {
            enabled: self.enabled,
            leased,
            entries,
            capacity: self.capacity,
            hits: self.metrics.hits.get(),
            misses: self.metrics.misses.get(),
        }
    }
}

/// A stock from the catalog, as the body of the public response.
#[derive(Debug, Clone)]
pub struct FoundStock {
    /// The whole body, envelope included.
    pub body: Arc<[u8]>,
    /// Whether it may be cached.
    pub cacheable: bool,
}

impl From<&Stock> for FoundStock {
    fn from(stock: &Stock) -> Self {
        // Encoded once when it is filled, rather than at each hit.
        let data = stock_info(stock);
        let body = serde_json::to_vec(&Data { data }).expect("wire types serialise");
        Self {
            body: body.into(),
            cacheable: stock.cacheable,
        }
    }
}

/// A stock as the public API shows it.
pub fn stock_info(stock: &Stock) -> StockInfo {
    StockInfo {
        name: stock.name.clone(),
        price: stock.price,
        quantity: stock.quantity,
    }
}
