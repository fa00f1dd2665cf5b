//! Cache sessions: which front-ends may hold cached stocks, and the threads that serve them.
//!
//! The rule that all of it serves: **a batch becomes visible only after every session has let go of
//! the stocks that it changes, or is over.** A session is over when its lease and the margin have
//! ended, which both sides count on their own clocks; so a front-end that cannot be reached delays
//! trades, but never makes a cached read older than an acknowledged trade.
//!
//! | module | one idea |
//! |---|---|
//! | `crate::session_table` | leases, as pure rules |
//! | `crate::push_round` | the wait for the acknowledgements of one batch |
//! | `pushes` | how invalidations reach the front-ends |
//! | this one | registration, keep-alive, end |

mod pushes;

use crate::activity::standing::SharedLease;
use crate::metrics::CatalogMetrics;
use crate::push_round::PushRound;
use crate::session_table::{KeepAlive, SessionTable};
use common::clock::BootInstant;
use common::http::client::HttpClient;
use common::http::{Responder, Response};
use common::queue::{Queue, QueueReceiver, queue};
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::KEEP_ALIVE;
use common::wire::Empty;
use common::wire::catalog::{KeepAliveRequest, LeaseAnswer, RegisterRequest, SessionId};
use common::wire::frontend::EndSessionRequest;
use parking_lot::{Condvar, Mutex};
use pushes::{Push, Pusher};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Sessions at most: front-ends are few. Each has a thread and two connections.
const MAX_SESSIONS: usize = 64;
/// Registrations that wait for their probe push at most; the next one gets a 503.
const MAX_REGISTRATIONS: usize = 64;
/// Ids of sessions that their front-ends left, which are kept: the registration of one may still be
/// under way.
const MAX_LEFT: usize = MAX_REGISTRATIONS + 1;

/// The sessions, and the threads `registrar`, `session-keeper` and `pusher`. They have a stop of
/// their own: a batch that the writer finishes while the service stops must still be pushed before
/// it becomes visible, so they end after the writer, when their last owner drops them.
#[derive(Debug)]
pub struct Sessions {
    shared: Arc<Shared>,
    registrations: Queue<Registration>,
    _registrar: Thread,
    _keeper: Thread,
}

type Registration = (RegisterRequest, Responder);

#[derive(Debug)]
struct Shared {
    /// One lock for the table and its pushers: keep-alive and drop are decided under it, so that no
    /// lease is renewed after its session was given up.
    inner: Mutex<Inner>,
    client: HttpClient,
    stop: Shutdown,
    metrics: Arc<CatalogMetrics>,
    /// The catalog's own lease, which ends that of each session; `None` with a file of its own.
    lease: Option<Arc<SharedLease>>,
    /// A session was removed.
    removed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    table: SessionTable,
    /// One for each session of the table.
    pushers: BTreeMap<SessionId, Pusher>,
    /// The pushes under way: a session that ends early settles its own.
    round: Option<Arc<PushRound>>,
    /// Sessions that their front-ends left, the newest last.
    left: VecDeque<SessionId>,
    /// Why no session is granted or renewed any more.
    closed: Option<String>,
    /// Pushers of sessions that are over. The keeper joins them: the thread that ends a session
    /// must not wait for the pusher's last call.
    ended: Vec<Pusher>,
}

impl Sessions {
    /// Starts without a session.
    pub fn start(
        token: Option<&str>,
        metrics: &Arc<CatalogMetrics>,
        lease: Option<Arc<SharedLease>>,
    ) -> Self {
        let shared = Arc::new(Shared {
            inner: Mutex::default(),
            client: HttpClient::new(2, token),
            stop: Shutdown::new(),
            metrics: Arc::clone(metrics),
            lease,
            removed: Condvar::new(),
        });
        let (registrations, waiting) = queue(MAX_REGISTRATIONS);
        let registrar = Thread::spawn("registrar", {
            let shared = Arc::clone(&shared);
            move || shared.register_all(&waiting)
        });
        let keeper = Thread::spawn("session-keeper", {
            let shared = Arc::clone(&shared);
            move || shared.keep()
        });
        Self {
            shared,
            registrations,
            _registrar: registrar,
            _keeper: keeper,
        }
    }

    /// Queues a registration. The registrar answers it, since the probe push may take long.
    pub fn register(&self, request: RegisterRequest, responder: Responder) {
        if let Err((_, responder)) = self.registrations.put((request, responder)) {
            responder.send(Response::unavailable("too many registrations wait"));
        }
    }

    /// The response to a keep-alive.
    pub fn keep_alive(&self, request: &KeepAliveRequest) -> Response {
        let mut inner = self.shared.inner.lock();
        if inner.closed.is_some() {
            // The push of the end may not have arrived yet: the front-end forgets its session here.
            return unknown_session();
        }
        if let Err(refusal) = self.shared.cap(&mut inner) {
            return refusal;
        }
        // The clock is read under the lock. Read before, a thread that waits for the lock would
        // renew from a moment that is past, and the table could see time go back.
        let now = BootInstant::now();
        match inner.table.keep_alive(&request.session, now) {
            KeepAlive::Renewed => Response::json(200, &lease_answer(inner.table.granted(now))),
            // No error: the session lasts until its lease is over, and batches wait for it until
            // then. A 404 would say that it is gone.
            KeepAlive::NotRenewed => Response::json(200, &lease_answer(Duration::ZERO)),
            KeepAlive::Unknown => unknown_session(),
        }
    }

    /// A front-end stops, has emptied its cache and forgotten this session: trades need not wait
    /// for the rest of its lease. The session may be one whose registration is still under way.
    pub fn leave(&self, request: &EndSessionRequest) -> Response {
        let id = &request.session;
        let mut inner = self.shared.inner.lock();
        if inner.left.len() == MAX_LEFT {
            inner.left.pop_front();
        }
        // Also for a session that is not there yet: its registration may be waiting for the probe
        // push, and would begin it after the front-end has gone.
        inner.left.push_back(id.clone());
        if inner.table.over_at(id).is_some() {
            inner.table.remove(id);
            inner.end(id);
            // After the session left the table: a batch that begins now has no push for it. One
            // under way would wait for the end of the lease, as its pusher ends here.
            if let Some(round) = &inner.round {
                round.settle(id);
            }
            self.shared.count(&inner);
            self.shared.removed.notify_all();
            tracing::info!(session = %id, "cache session ended: its front-end stops");
        }
        Response::json(200, &Empty {})
    }

    /// Ends every session at once, and grants and renews none any more: no stock may be read from
    /// any cache. Does not wait: each pusher repeats the end until it is acknowledged or the lease
    /// is over. The writer calls this, between two batches.
    pub fn end_all(&self, why: &str) {
        let mut inner = self.shared.inner.lock();
        if inner.closed.is_some() {
            return;
        }
        inner.closed = Some(why.into());
        for (session, pusher) in &inner.pushers {
            // Never blocks the writer: the channel has room, as each push of a batch was waited
            // for.
            let sent = pusher.pushes.try_send(Push::End);
            assert!(
                sent.is_ok(),
                "session {session} has a push under way between two batches"
            );
        }
    }

    /// Waits, after [`Sessions::end_all`], until each front-end has acknowledged the end of its
    /// session, or the session is over.
    pub fn wait_ended(&self) {
        loop {
            let now = BootInstant::now();
            let ids: Vec<SessionId> = self.shared.inner.lock().table.ids().cloned().collect();
            let lasting = ids
                .iter()
                .filter_map(|id| self.shared.drop_if_over(id, now));
            // The first one that ends. A session that is acknowledged before wakes this thread.
            let Some(next) = lasting.min() else { return };
            let mut inner = self.shared.inner.lock();
            // Unless one was removed since the list was made.
            if inner.table.len() == ids.len() {
                self.shared.removed.wait_for(&mut inner, next);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.shared.inner.lock().table.len()
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.shared.stop.trigger();
    }
}

fn unknown_session() -> Response {
    Response::error(404, "unknown session: empty the cache and register again")
}

fn lease_answer(lease: Duration) -> LeaseAnswer {
    LeaseAnswer {
        lease_ms: u64::try_from(lease.as_millis()).unwrap_or(0),
    }
}

impl Shared {
    /// Drops the session when it is over; else returns how long it still lasts.
    fn drop_if_over(&self, id: &SessionId, now: BootInstant) -> Option<Duration> {
        let mut inner = self.inner.lock();
        let over_at = inner.table.over_at(id)?;
        // Looked at again under the lock: a keep-alive may have renewed it since the list was made.
        if inner.table.drop_if_over(id, now) {
            inner.end(id);
            self.metrics.sessions_lost.inc();
            self.count(&inner);
            tracing::warn!(session = %id, "cache session dropped: its lease ran out");
            return None;
        }
        Some(over_at.saturating_since(now))
    }

    fn remove(&self, id: &SessionId) {
        let mut inner = self.inner.lock();
        inner.table.remove(id);
        inner.end(id);
        self.count(&inner);
        self.removed.notify_all();
    }

    /// Ends leases that are granted from now on with the catalog's own. Under the lock of the
    /// grant.
    fn cap(&self, inner: &mut Inner) -> Result<(), Response> {
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        let Some(until) = lease.holds_until() else {
            let message = "no cache session is granted or renewed: the catalog has no lease now";
            return Err(Response::unavailable(message));
        };
        inner.table.cap_at(until);
        Ok(())
    }

    fn count(&self, inner: &Inner) {
        self.metrics
            .sessions
            .set(i64::try_from(inner.table.len()).unwrap_or(0));
    }

    /// The thread `registrar`. One at a time: registrations come after a start or a lost lease, and
    /// a slow probe push then delays only other front-ends' caches, no trade.
    fn register_all(self: &Arc<Self>, waiting: &QueueReceiver<Registration>) {
        while let Some(batch) = waiting.take_batch(1, &self.stop) {
            for (request, responder) in batch {
                let stopping = self.stop.is_triggered();
                responder.send(if stopping {
                    Response::unavailable("stopping")
                } else {
                    self.register(&request)
                });
            }
        }
    }

    fn register(self: &Arc<Self>, request: &RegisterRequest) -> Response {
        let RegisterRequest { session, url } = request;
        // The probe comes before the lease. A front-end that reaches the catalog but cannot be
        // reached would else hold up each trade for a whole lease, again and again.
        // Without the lock: this call may take a whole time-out, and keep-alives of others go on.
        if let Err(error) = self.send(url, session, &[]) {
            tracing::warn!(%session, url, %error, "cache session refused: probe push failed");
            return Response::error(502, &format!("the probe push to {url} failed: {error}"));
        }
        let mut inner = self.inner.lock();
        // Under the lock of the grant: a session that began after `end_all` would get no push of
        // the end.
        if let Some(why) = &inner.closed {
            return Response::unavailable(&format!("no cache session is granted: {why}"));
        }
        // Each session lengthens every batch by a push.
        if inner.table.len() >= MAX_SESSIONS {
            return Response::unavailable("there are too many cache sessions");
        }
        // The end overtook this registration: nobody is there who would answer a push.
        if inner.left.contains(session) {
            return Response::error(409, "the front-end of this session has stopped");
        }
        if let Err(refusal) = self.cap(&mut inner) {
            return refusal;
        }
        let now = BootInstant::now();
        if !inner.table.grant(session.clone(), now) {
            return Response::error(409, "this session id is in use: choose another one");
        }
        // Before the lock is released: the next batch must find a pusher for each session.
        let pusher = self.spawn_pusher(request);
        inner.pushers.insert(session.clone(), pusher);
        self.count(&inner);
        tracing::info!(%session, url, "cache session begun");
        Response::json(200, &lease_answer(inner.table.granted(now)))
    }

    /// The thread `session-keeper`: drops sessions that are not renewed, and joins the pushers of
    /// those that are over. Without it a front-end that died would keep its session until the next
    /// trade.
    fn keep(&self) {
        while !self.stop.wait(KEEP_ALIVE) {
            let now = BootInstant::now();
            let ids: Vec<SessionId> = self.inner.lock().table.ids().cloned().collect();
            for id in ids {
                let _still_lasts = self.drop_if_over(&id, now);
            }
            // Joined outside the lock: a pusher takes it before it ends.
            let ended = std::mem::take(&mut self.inner.lock().ended);
            drop(ended);
        }
        // The stop. The writer has ended, so no push begins any more.
        let mut inner = self.inner.lock();
        let ids: Vec<SessionId> = inner.pushers.keys().cloned().collect();
        ids.iter().for_each(|id| inner.end(id));
        let ended = std::mem::take(&mut inner.ended);
        drop(inner);
        drop(ended);
    }
}

impl Inner {
    /// Ends a session's pusher; the table no longer has the session, or is about to be dropped.
    fn end(&mut self, id: &SessionId) {
        if let Some(pusher) = self.pushers.remove(id) {
            // The thread may be inside a call: it is not joined here, under the lock that it needs
            // to end.
            pusher.session_over.trigger();
            self.ended.push(pusher);
        }
    }
}
