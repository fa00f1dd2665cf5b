//! The stock cache, and why a read from it is never stale.
//!
//! This page explains leases and invalidations. It can be read alone, in about ten minutes. The
//! rules are pure ([`Cache`]: no clock, lock or I/O); [`shared::SharedCache`] puts one lock around
//! them, and `session` keeps the lease.
//!
//! # The promise
//!
//! A client buys, gets its number, and tells a friend, who reads the stock through another
//! front-end. The friend must see the new quantity. In the terms of the field: reads and orders are
//! linearizable per stock. "The cache is invalidated soon" is not enough; the invalidation must
//! have happened before the order is acknowledged.
//!
//! # Push, acknowledge, or wait
//!
//! Before the catalog makes a changed quantity visible, it pushes the stock's name to every
//! front-end that caches, and waits for the acknowledgements. The pushes run beside the commit's
//! fsync, so that they mostly cost nothing.
//!
//! A front-end may be paused, cut off, or gone, and will not acknowledge. Without it the catalog
//! would have to choose between a stale read and never trading again. A **lease** (Gray and
//! Cheriton, 1989) resolves that: a front-end may answer from its cache for one second from its
//! last keep-alive, and not longer. The catalog waits for an acknowledgement *or* for the end of
//! the lease and a margin. After that the front-end answers nothing from its cache, whatever its
//! state, so the change may become visible.
//!
//! ```text
//!   front-end            catalog                       leader
//!      │ keep-alive         │                             │
//!      ├───────────────────►│                             │
//!      │◄── 1 s more ───────┤                             │
//!      │                    │◄──── trade FishCo ──────────┤
//!      │                    │ mark FishCo as changing     │
//!      │◄── invalidate ─────┤ commit begins               │
//!      │ remove, void fills │   …fsync…                   │
//!      ├── acknowledged ───►│ commit done                 │
//!      │                    │ visible, unmark             │
//!      │                    ├──── number ────────────────►│
//! ```
//!
//! # Whose clock?
//!
//! Both sides count the lease on their own monotonic clock. The front-end counts from before it
//! sent the keep-alive, the catalog from when it received it. So the front-end's lease always ends
//! first, however long the message took, and the clocks need only run at about the same speed; the
//! margin of 100 ms is for that. The clock is `CLOCK_BOOTTIME`, which also counts while a machine
//! is suspended: a front-end that was suspended for an hour must not wake up with a lease.
//!
//! # A read
//!
//! Under one lock, in this order: read the clock, check the lease, take the entry. Suppose the
//! entry were taken first: the thread is paused, the lease ends, the catalog gives up waiting, the
//! stock is traded; then the thread wakes and hands out the old entry. With the clock read first,
//! everything that happens after the check happens to a read that was answered, in effect, at the
//! time of the check.
//!
//! # A fill
//!
//! A miss asks the catalog and stores the answer. The answer can be old when it arrives:
//!
//! ```text
//!   lookup sent ──► answered "100" … delayed …
//!                       trade commits, invalidate "FishCo", acknowledged, visible: 99
//!                                              … "100" arrives and is stored    ← stale for ever
//! ```
//!
//! So each fill has a stamp from before it was sent, and an invalidation voids every fill of its
//! name with an older stamp. A voided answer still goes to the reader who asked, whose read
//! overlapped with the trade; it is not stored.
//!
//! The other half stands at the catalog. While a stock is marked as changing, its answers say
//! `cacheable: false`. The catalog marks first, then takes the list of sessions: a session that
//! begins later gets no push for this batch, and relies on the mark.
//!
//! Readers share calls: the lookup thread drains its queue and asks once for the distinct names. A
//! reader never gets the answer of a call that was sent before the reader arrived, since that
//! answer may be older than an order that the reader knows of.
//!
//! # Sessions
//!
//! A front-end registers a **session** (as in Chubby) under a random id that it chose, with the URL
//! of its internal listener. The catalog grants a lease only after a probe push to that URL was
//! answered: a front-end that cannot be reached would make every trade wait for its lease.
//!
//! The reply to the registration is the moment at which everything starts anew, in one step: empty
//! the cache, void all fills, install session and lease. Older entries belonged to a
//! session that the catalog no longer pushes to.
//!
//! The catalog may have granted a session whose reply was lost, and pushes to it. So an
//! invalidation for the *pending* session is obeyed and acknowledged too. For any other session it
//! is refused: to acknowledge it would let the catalog go on for a session whose entries nobody
//! touched.
//!
//! A session with a push unanswered for more than 200 ms is not renewed, although its keep-alives
//! arrive. Otherwise a cut in one direction only would stop all trades for as long as it lasts.
//!
//! # Restarts
//!
//! Sessions are not written down. A catalog that starts with an existing file cannot know which
//! leases an earlier run granted, so it waits for lease and margin before it serves a stock or
//! takes a trade. A catalog whose history is lost ends every session at once, so that no cached
//! stock is served beside it.
//!
//! # Tests
//!
//! `tests/src/model/cache` is this page as a state machine that a model checker explores, with a
//! switch for each rule; with any of them off it finds a stale read.
//! `tests/tests/model_conformance.rs` drives [`Cache`] and the model together. `make faults` judges
//! the histories of real processes.

pub(crate) mod session;
pub mod shared;
#[cfg(test)]
mod tests;

use common::clock::BootInstant;
use common::wire::catalog::SessionId;
use hashlink::LruCache;
use std::collections::HashMap;
use std::sync::Arc;

/// Stocks that may be read without asking the catalog, as prebuilt bodies of the public answer.
///
/// 1. A read is answered from here only while the lease runs, and the clock is read **before** the
///    entry is taken: an entry taken first could be handed out after a pause during which the lease
///    ended and the stock changed.
/// 2. The lease counts from before the front-end asked for it, so it ends here before it ends at
///    the catalog.
/// 3. An invalidation for the current or the pending session removes the entry and voids the fills
///    of that name in flight: their answers may have left the catalog before the change. For any
///    other session it is refused, since acknowledging it would let the catalog go on for a session
///    whose entries were not touched.
/// 4. A fill is stored only if it was not voided, if its answer says that it may be cached, and if
///    the session is still the one under which it began.
/// 5. At the reply to a registration, in one step: empty, void all fills, install the session and
///    its lease. Older entries belonged to a session that the catalog no longer pushes to.
/// 6. A session that the catalog does not know leaves nothing behind: empty, void all fills, no
///    lease.
/// 7. A pending session stays pending until the next one replaces it: the catalog may have granted
///    it although no reply came, and its pushes can then be acknowledged truthfully instead of
///    holding up trades until its lease has run out.
/// 8. A session that the catalog ends is forgotten in the same way, a pending one too: the reply to
///    that registration, which may be on its way, then installs nothing.
/// 9. A front-end that stops leaves: it forgets the session in the same way, a pending one too, and
///    only then ends it at the catalog. The other way round, the catalog would let trades go on
///    while the cache still answers.
/// 10. A lease only grows while its session lives: an answer that overtook a later one does not
///     shorten it.
#[derive(Debug)]
pub struct Cache {
    entries: LruCache<Arc<str>, Arc<[u8]>>,
    /// The registered session, under which entries are stored.
    current: Option<SessionId>,
    /// A session whose registration was sent and not answered. It may be granted all the same: the
    /// catalog then pushes to it, and waits for its lease.
    pending: Option<SessionId>,
    /// [`BootInstant::BOOT`], which is always past, while there is no session.
    lease_end: BootInstant,
    /// Rises whenever a session begins or ends; a fill of an older generation is void. So a new
    /// session needs no walk over the fills in flight.
    generation: u64,
    /// Fills begun so far, which stamps them. Never reset, so that no stamp is given twice.
    stamp: u64,
    /// Fills in flight of this generation, by name. Only names that are being asked for have an
    /// entry, so an invalidation of any other name costs one failed look-up.
    in_flight: HashMap<Arc<str>, InFlight>,
}

#[derive(Debug)]
struct InFlight {
    /// How many were begun and not finished.
    count: usize,
    /// Fills with a stamp up to this one are void.
    void_up_to: u64,
}

/// A fill in flight: begun before the catalog was asked, to be finished with its answer.
#[derive(Debug)]
pub struct Fill {
    name: Arc<str>,
    generation: u64,
    stamp: u64,
}

/// The end of a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillEnd {
    /// It is in the cache.
    Stored,
    /// An invalidation or another session came in between.
    Voided,
    /// There was nothing to store: no such stock, not cacheable, or no session.
    Nothing,
}

impl Cache {
    /// An empty cache for `capacity` stocks, without session.
    pub fn new(capacity: usize) -> Self {
        Self {
            // A capacity of 0 would make `insert` evict what it has just stored.
            entries: LruCache::new(capacity.max(1)),
            current: None,
            pending: None,
            lease_end: BootInstant::BOOT,
            generation: 0,
            stamp: 0,
            in_flight: HashMap::new(),
        }
    }

    /// The body for a stock; `None` when it is not cached or the lease has ended at `now`.
    pub fn get(&mut self, name: &str, now: BootInstant) -> Option<Arc<[u8]>> {
        if !self.leased(now) {
            // Entries stay when a lease has ended: a keep-alive that was merely late makes them
            // valid again, since the catalog went on pushing to the session.
            return None;
        }
        self.entries.get(name).cloned()
    }

    /// Whether the lease runs.
    pub fn leased(&self, now: BootInstant) -> bool {
        self.current.is_some() && now < self.lease_end
    }

    /// How many stocks are held.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Names of the stocks that are held, the most recently used one first.
    pub fn names(&self) -> Vec<Arc<str>> {
        // The library yields the least recently used first.
        let newest_first = self.entries.iter().rev();
        newest_first.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Begins a fill: before the catalog is asked.
    pub fn begin_fill(&mut self, name: &str) -> Fill {
        // Rises for every fill, also of one name: an invalidation voids the fills begun before it,
        // and none after.
        self.stamp += 1;
        let name = match self.in_flight.get_key_value(name) {
            // The name is shared with the fill that is in flight already, rather than copied for
            // each reader.
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(name),
        };
        let flight = self.in_flight.entry(Arc::clone(&name)).or_insert(InFlight {
            count: 0,
            // A new entry has voided nothing: invalidations from before this fill do not concern
            // it, since its question is not sent yet.
            void_up_to: 0,
        });
        flight.count += 1;
        Fill {
            name,
            generation: self.generation,
            stamp: self.stamp,
        }
    }

    /// Ends a fill. `body` is the answer's, where there is one that may be cached.
    pub fn finish_fill(&mut self, fill: &Fill, body: Option<Arc<[u8]>>) -> FillEnd {
        // The session under which it began has ended, and invalidations since then went to no
        // session of ours. Its count went with the others in `forget`.
        if fill.generation != self.generation {
            return FillEnd::Voided;
        }
        // Only the last `finish_fill` of a name removes it, and a new session begins a new
        // generation.
        let Some(flight) = self.in_flight.get_mut(&fill.name) else {
            unreachable!("a fill of this generation is in flight until it is finished: {fill:?}");
        };
        // Not older than the newest invalidation of this name: the catalog may have read the stock
        // before the change.
        let voided = fill.stamp <= flight.void_up_to;
        assert!(
            fill.stamp <= self.stamp && flight.count > 0,
            "fill {fill:?} of {} stamps, {} in flight",
            self.stamp,
            flight.count
        );
        flight.count -= 1;
        // Removed so that the map holds names in flight only; otherwise a client that asks for
        // random names would make it grow.
        if flight.count == 0 {
            self.in_flight.remove(&fill.name);
        }
        match body {
            // The reader still gets this answer: its read overlapped with the trade, so either
            // value is right.
            _ if voided => FillEnd::Voided,
            // Without a session nobody would invalidate it.
            Some(body) if self.current.is_some() => {
                self.entries.insert(Arc::clone(&fill.name), body);
                FillEnd::Stored
            }
            // The catalog said `cacheable: false`, as the stock is being changed, or there is no
            // such stock and so no body.
            _ => FillEnd::Nothing,
        }
    }

    /// The catalog is about to change these stocks. False: not our session, nothing was done.
    #[must_use]
    pub fn invalidate(&mut self, session: &SessionId, names: &[String]) -> bool {
        if self.current.as_ref() != Some(session) && self.pending.as_ref() != Some(session) {
            // To acknowledge would be a lie: entries of the session that is meant may live in
            // another process at this address.
            return false;
        }
        for name in names {
            self.entries.remove(name.as_str());
            // All fills begun so far, and not merely those whose answers are late: which answers
            // left the catalog before the change cannot be seen from here.
            if let Some(flight) = self.in_flight.get_mut(name.as_str()) {
                flight.void_up_to = self.stamp;
            }
        }
        // True also when nothing was held: acknowledged is that nothing is held now.
        true
    }

    /// A registration is about to be sent.
    pub fn begin_session(&mut self, session: SessionId) {
        // The one before is given up, whatever became of it. If it was granted, its pushes are
        // refused from here on, and the catalog ends it.
        self.pending = Some(session);
    }

    /// The reply to the registration of the pending session came. False when the catalog has ended
    /// that session meanwhile: nothing is installed.
    pub fn install_session(&mut self, session: &SessionId, lease_end: BootInstant) -> bool {
        // The catalog ended it meanwhile, and trades without waiting for it: installing it now
        // would serve entries that nobody invalidates.
        let Some(pending) = self.pending.take() else {
            return false;
        };
        // One thread registers, and it waits for each reply: another session here is our own
        // mistake.
        assert_eq!(&pending, session, "only the pending session is installed");
        // In one step under the caller's lock: a reader between the two would find entries of the
        // old session under the new lease.
        self.forget();
        self.current = Some(pending);
        self.lease_end = lease_end;
        true
    }

    /// A keep-alive was answered.
    pub fn renew(&mut self, session: &SessionId, lease_end: BootInstant) {
        // An answer for a session that was lost since says nothing about the present one.
        if self.current.as_ref() == Some(session) {
            // A response that overtook a later one must not shorten the lease.
            self.lease_end = self.lease_end.max(lease_end);
        }
    }

    /// The catalog does not know this session.
    pub fn lose(&mut self, session: &SessionId) {
        // Compared, since the answer may be about a session that was replaced meanwhile, and must
        // not empty the next one's cache.
        if self.current.as_ref() == Some(session) {
            self.forget();
        }
    }

    /// The catalog ends this session. False: not our session, nothing is held under it.
    #[must_use]
    pub fn end(&mut self, session: &SessionId) -> bool {
        if self.current.as_ref() == Some(session) {
            self.forget();
            return true;
        }
        // Only taken: under a pending session nothing was stored, so that nothing has to be
        // removed.
        self.pending.take_if(|pending| pending == session).is_some()
    }

    /// The front-end stops: nothing is read from here any more, and the reply to a registration
    /// that is under way installs nothing. Returns the sessions that the catalog may still know.
    #[must_use]
    pub fn leave(&mut self) -> Vec<SessionId> {
        // Both: the pending one may have been granted, and then trades would wait for its lease.
        let known = self.current.take().into_iter().chain(self.pending.take());
        let known = known.collect();
        self.forget();
        known
    }

    /// Empties the cache, voids every fill in flight, ends session and lease.
    fn forget(&mut self) {
        self.entries.clear();
        self.in_flight.clear();
        // Voids all fills at once, those too whose answers are on their way.
        self.generation += 1;
        self.current = None;
        self.lease_end = BootInstant::BOOT;
    }
}
