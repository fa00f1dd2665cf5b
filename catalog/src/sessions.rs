//! Pushes invalidations to the front-ends that hold a cache session, while the batch's fsync runs.
//!
//! The writer thread itself sends each push before the commit, on a connection kept for it, and
//! reads the acknowledgements after the commit: no thread has to wake up for them. Where that fails,
//! or there is no such connection, the session's pusher thread takes the push over. It repeats the
//! push until the front-end acknowledges it or the session is dropped, and then opens the connection
//! for the next one. A push that was sent twice is harmless: it removes the same entries.

use crate::metrics::CatalogMetrics;
use crate::push_round::PushRound;
use crate::session_table::{KeepAlive, SessionTable};
use common::clock::BootInstant;
use common::http::client::{Call, CallError, HttpClient};
use common::http::split::SplitConnection;
use common::http::{Responder, Response};
use common::queue::{Queue, QueueReceiver, queue};
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::{KEEP_ALIVE, LEASE, PROBE_TIMEOUT, PUSH_REPEAT};
use common::wire::Empty;
use common::wire::catalog::{KeepAliveRequest, LeaseAnswer, RegisterRequest, SessionId};
use common::wire::frontend::{EndSessionRequest, InvalidateRequest};
use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Sessions at most: front-ends are few.
const MAX_SESSIONS: usize = 64;
/// How long the writer waits for an acknowledgement after the commit, before it leaves the push to
/// the session's pusher thread.
const ACKNOWLEDGED_WITHIN: Duration = PUSH_REPEAT;
/// Registrations that wait for their probe at most.
const MAX_REGISTRATIONS: usize = 64;

/// The sessions, and the threads that push to them. They have a stop of their own: a batch that the
/// writer finishes while the service stops must still be pushed before it is shown, so they end
/// after the writer, when their last owner drops them.
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
    inner: Mutex<Inner>,
    client: HttpClient,
    stop: Shutdown,
    metrics: Arc<CatalogMetrics>,
}

#[derive(Debug, Default)]
struct Inner {
    table: SessionTable,
    pushers: BTreeMap<SessionId, Pusher>,
    /// Why no session is granted or renewed any more.
    closed: Option<String>,
    /// Pushers of dropped sessions, to be joined by the keeper: whoever drops a session must not
    /// wait for its last call.
    ended: Vec<Pusher>,
}

#[derive(Debug)]
struct Pusher {
    pushes: Sender<Push>,
    direct: DirectSlot,
    dropped: Shutdown,
    _thread: Thread,
}

/// The connection on which the writer pushes to one session; the pusher thread opens it.
type DirectSlot = Arc<Mutex<Option<SplitConnection>>>;

/// The pushes of one batch on their way: to be waited for with [`Sessions::wait`].
#[must_use]
#[derive(Debug)]
pub struct Pushed {
    names: Arc<Vec<String>>,
    round: Arc<PushRound>,
    direct: Vec<DirectPush>,
}

/// A push that the writer sent itself.
#[derive(Debug)]
struct DirectPush {
    session: SessionId,
    connection: SplitConnection,
    slot: DirectSlot,
}

#[derive(Debug)]
enum Push {
    /// Stocks are about to change.
    Invalidate(Arc<Vec<String>>, Arc<PushRound>),
    /// The session is over.
    End,
}

impl Sessions {
    /// Starts without a session.
    #[must_use]
    pub fn start(token: Option<&str>, metrics: &Arc<CatalogMetrics>) -> Self {
        let shared = Arc::new(Shared {
            inner: Mutex::default(),
            client: HttpClient::new(2, token),
            stop: Shutdown::new(),
            metrics: Arc::clone(metrics),
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

    /// Takes a registration; it is answered once its probe push was acknowledged.
    pub fn register(&self, request: RegisterRequest, responder: Responder) {
        if let Err((_, responder)) = self.registrations.put((request, responder)) {
            responder.send(Response::unavailable("too many registrations wait"));
        }
    }

    /// Renews a lease.
    #[must_use]
    pub fn keep_alive(&self, request: &KeepAliveRequest) -> Response {
        let mut inner = self.shared.inner.lock();
        if inner.closed.is_some() {
            // Also before the push of the end arrives: the front-end forgets its session here too.
            return unknown_session();
        }
        match inner.table.keep_alive(&request.session, BootInstant::now()) {
            KeepAlive::Renewed => Response::json(200, &lease_answer(LEASE)),
            KeepAlive::NotRenewed => Response::json(200, &lease_answer(Duration::ZERO)),
            KeepAlive::Unknown => unknown_session(),
        }
    }

    /// Ends every session at once, and grants and renews none any more: no stock may be read from
    /// any cache. Does not wait: the pushers repeat it until it is acknowledged or the lease is
    /// over. Called by the thread that pushes, between its rounds.
    pub fn end_all(&self, why: &str) {
        let mut inner = self.shared.inner.lock();
        if inner.closed.is_some() {
            return;
        }
        inner.closed = Some(why.into());
        for pusher in inner.pushers.values() {
            let sent = pusher.pushes.try_send(Push::End);
            assert!(sent.is_ok(), "no push is under way between two rounds");
        }
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.inner.lock().table.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins to push an invalidation to every session there is now. The stocks must be marked as
    /// changing before: a session that begins after this list was taken gets no push, and relies on
    /// the mark.
    pub fn push(&self, names: Vec<String>) -> Pushed {
        let now = BootInstant::now();
        let mut inner = self.shared.inner.lock();
        let ids: BTreeSet<SessionId> = inner.table.ids().cloned().collect();
        let mut pushed = Pushed {
            names: Arc::new(names),
            round: Arc::new(PushRound::new(ids.clone())),
            direct: Vec::new(),
        };
        for session in ids {
            inner.table.push_begun(&session, now);
            let slot = Arc::clone(&inner.pushers[&session].direct);
            let kept = slot.lock().take();
            match kept {
                Some(connection) => pushed.direct.push(DirectPush {
                    session,
                    connection,
                    slot,
                }),
                None => inner.hand_over(&session, &pushed.names, &pushed.round),
            }
        }
        drop(inner);
        // Outside the lock, so that no keep-alive waits for these writes.
        let (names, round) = (&pushed.names, &pushed.round);
        pushed.direct.retain_mut(|push| {
            let request = InvalidateRequest {
                session: push.session.clone(),
                names: names.to_vec(),
            };
            let sent = push.connection.send("/invalidate", &request).is_ok();
            if !sent {
                let inner = self.shared.inner.lock();
                inner.hand_over(&push.session, names, round);
            }
            sent
        });
        pushed
    }

    /// Waits until each push of a round is acknowledged, or its session is over and dropped. A
    /// session with an unanswered push is renewed for [`common::timing::PUSH_OVERDUE`] at most, so
    /// this takes no longer than that, a lease and the margin.
    pub fn wait(&self, pushed: Pushed) {
        let Pushed {
            names,
            round,
            direct,
        } = pushed;
        for push in direct {
            self.shared.read_acknowledgement(push, &names, &round);
        }
        round.wait(|id| self.shared.drop_if_over(id, BootInstant::now()));
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
    /// Drops the session when it is over; else tells how long it still lasts.
    fn drop_if_over(&self, id: &SessionId, now: BootInstant) -> Option<Duration> {
        let mut inner = self.inner.lock();
        let over_at = inner.table.over_at(id)?;
        if inner.table.drop_if_over(id, now) {
            inner.end(id);
            self.metrics.sessions_lost.inc();
            self.metrics
                .sessions
                .set(i64::try_from(inner.table.len()).unwrap_or(0));
            tracing::warn!(session = %id, "cache session dropped: its lease ran out");
            return None;
        }
        Some(over_at.saturating_since(now))
    }

    fn remove(&self, id: &SessionId) {
        let mut inner = self.inner.lock();
        inner.table.remove(id);
        inner.end(id);
        self.metrics
            .sessions
            .set(i64::try_from(inner.table.len()).unwrap_or(0));
    }

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
        if let Err(error) = self.send(&request.url, &request.session, &[]) {
            tracing::warn!(session = %request.session, url = request.url, %error, "cache session refused: probe push failed");
            return Response::error(
                502,
                &format!("the probe push to {} failed: {error}", request.url),
            );
        }
        let mut inner = self.inner.lock();
        // Under the lock of the grant: a session that began after the end would get no push of it.
        if let Some(why) = &inner.closed {
            return Response::unavailable(&format!("no cache session is granted: {why}"));
        }
        if inner.table.len() >= MAX_SESSIONS {
            return Response::unavailable("there are too many cache sessions");
        }
        if !inner
            .table
            .grant(request.session.clone(), BootInstant::now())
        {
            return Response::error(409, "this session id is in use: choose another one");
        }
        let pusher = self.spawn_pusher(request);
        inner.pushers.insert(request.session.clone(), pusher);
        self.metrics
            .sessions
            .set(i64::try_from(inner.table.len()).unwrap_or(0));
        tracing::info!(session = %request.session, url = request.url, "cache session begun");
        Response::json(200, &lease_answer(LEASE))
    }

    /// Reads the acknowledgement of a push that the writer sent. By now the commit is done, so it
    /// is mostly there. Whatever else comes, the session's pusher thread goes on with this push.
    fn read_acknowledgement(
        &self,
        mut push: DirectPush,
        names: &Arc<Vec<String>>,
        round: &Arc<PushRound>,
    ) {
        let answered = push.connection.receive(ACKNOWLEDGED_WITHIN);
        if !answered.is_ok_and(|answered| answered.status == 200) {
            return self.inner.lock().hand_over(&push.session, names, round);
        }
        self.inner.lock().table.push_answered(&push.session);
        round.settle(&push.session);
        *push.slot.lock() = Some(push.connection);
    }

    fn spawn_pusher(self: &Arc<Self>, request: &RegisterRequest) -> Pusher {
        let (pushes, waiting) = bounded(1);
        let (dropped, direct) = (Shutdown::new(), DirectSlot::default());
        let (shared, gone, request) = (Arc::clone(self), dropped.clone(), request.clone());
        let slot = Arc::clone(&direct);
        let thread = Thread::spawn("pusher", move || {
            shared.open_direct(&request.url, &slot);
            shared.push_all(&request, &waiting, &gone, &slot);
        });
        Pusher {
            pushes,
            direct,
            dropped,
            _thread: thread,
        }
    }

    /// The thread of one session: pushes until each is acknowledged, or the session is dropped.
    fn push_all(
        &self,
        session: &RegisterRequest,
        waiting: &Receiver<Push>,
        gone: &Shutdown,
        slot: &DirectSlot,
    ) {
        let id = &session.session;
        while let Some(push) = gone.receive(waiting) {
            loop {
                let sent = match &push {
                    Push::Invalidate(names, _) => self.send(&session.url, id, names),
                    Push::End => self.send_end(&session.url, id),
                };
                match (sent, &push) {
                    (Ok(()), Push::Invalidate(_, round)) => {
                        self.inner.lock().table.push_answered(id);
                        round.settle(id);
                        self.open_direct(&session.url, slot);
                        break;
                    }
                    (Ok(()), Push::End) => {
                        tracing::info!(session = %id, "cache session ended");
                        return self.remove(id);
                    }
                    (Err(CallError::Status { status: 409, .. }), push) => {
                        // The front-end has begun another session, or is a new process: nothing is
                        // cached under this one.
                        tracing::info!(session = %id, "cache session ended: its front-end uses another one");
                        self.remove(id);
                        if let Push::Invalidate(_, round) = push {
                            round.settle(id);
                        }
                        return;
                    }
                    (Err(error), _) => {
                        self.metrics.pushes_repeated.inc();
                        tracing::debug!(session = %id, %error, "push not acknowledged");
                        if gone.wait(PUSH_REPEAT) {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Opens the connection on which the writer pushes next time. Without one it comes here again.
    fn open_direct(&self, url: &str, slot: &DirectSlot) {
        match SplitConnection::open(&self.client, url, PROBE_TIMEOUT) {
            Ok(connection) => *slot.lock() = Some(connection),
            Err(error) => tracing::debug!(url, %error, "no connection for pushes"),
        }
    }

    fn send(&self, url: &str, session: &SessionId, names: &[String]) -> Result<(), CallError> {
        let push = InvalidateRequest {
            session: session.clone(),
            names: names.to_vec(),
        };
        self.client
            .call(call(url, "/invalidate"), &push)
            .map(|Empty {}| ())
    }

    fn send_end(&self, url: &str, session: &SessionId) -> Result<(), CallError> {
        let push = EndSessionRequest {
            session: session.clone(),
        };
        self.client
            .call(call(url, "/sessions/end"), &push)
            .map(|Empty {}| ())
    }

    /// Drops sessions that nobody renews, and joins the pushers of dropped ones.
    fn keep(&self) {
        while !self.stop.wait(KEEP_ALIVE) {
            let now = BootInstant::now();
            let ids: Vec<SessionId> = self.inner.lock().table.ids().cloned().collect();
            for id in ids {
                let _still_lasts = self.drop_if_over(&id, now);
            }
            let ended = std::mem::take(&mut self.inner.lock().ended);
            drop(ended);
        }
        // The stop: nobody pushes any more. Ends all pushers, and joins them outside the lock that
        // they take.
        let mut inner = self.inner.lock();
        let ids: Vec<SessionId> = inner.pushers.keys().cloned().collect();
        ids.iter().for_each(|id| inner.end(id));
        let ended = std::mem::take(&mut inner.ended);
        drop(inner);
        drop(ended);
    }
}

fn call<'a>(base: &'a str, path: &'a str) -> Call<'a> {
    Call {
        method: "POST",
        base,
        path,
        timeout: PROBE_TIMEOUT,
        trace: None,
    }
}

impl Inner {
    /// Gives a push to the session's pusher thread. A session that was dropped meanwhile has none:
    /// the round notices by itself that nothing is to be waited for.
    fn hand_over(&self, session: &SessionId, names: &Arc<Vec<String>>, round: &Arc<PushRound>) {
        let Some(pusher) = self.pushers.get(session) else {
            return;
        };
        let push = Push::Invalidate(Arc::clone(names), Arc::clone(round));
        assert!(
            pusher.pushes.try_send(push).is_ok(),
            "a session has one push at a time: the batch before waited for its own"
        );
    }

    fn end(&mut self, id: &SessionId) {
        if let Some(pusher) = self.pushers.remove(id) {
            pusher.dropped.trigger();
            self.ended.push(pusher);
        }
    }
}
