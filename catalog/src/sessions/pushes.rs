//! How invalidations reach the front-ends, while the batch's fsync runs.
//!
//! The writer itself sends each push before the commit, on a connection kept for it, and reads the
//! acknowledgements after the commit. So a push that goes well wakes no other thread. Where that
//! fails, or the session has no such connection, its thread `pusher` takes the push over. It
//! repeats the push until the front-end acknowledges it or the session is over, and then opens the
//! connection for the next one. A push that arrives twice is harmless: it removes the same
//! entries.

use crate::push_round::PushRound;
use crate::sessions::{Inner, Sessions, Shared};
use common::clock::BootInstant;
use common::http::client::{Call, CallError};
use common::http::split::SplitConnection;
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::{PROBE_TIMEOUT, PUSH_REPEAT};
use common::wire::Empty;
use common::wire::catalog::{RegisterRequest, SessionId};
use common::wire::frontend::{EndSessionRequest, InvalidateRequest};
use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long the writer waits for an acknowledgement after the commit, before it leaves the push to
/// the session's pusher.
const ACKNOWLEDGED_WITHIN: Duration = PUSH_REPEAT;

/// The thread of one session, and the connection that it opens for the writer.
#[derive(Debug)]
pub(super) struct Pusher {
    /// Room for one push: the batch before waited for its own.
    pub pushes: Sender<Push>,
    connection: WriterConnection,
    pub session_over: Shutdown,
    _thread: Thread,
}

/// The connection on which the writer pushes to one session. `None` while a push is under way on
/// it, or the pusher has none.
type WriterConnection = Arc<Mutex<Option<SplitConnection>>>;

#[derive(Debug)]
pub(super) enum Push {
    /// Stocks are about to change.
    Invalidate(Arc<Vec<String>>, Arc<PushRound>),
    /// The session is over.
    End,
}

/// The pushes of one batch under way; pass it to [`Sessions::wait`].
#[must_use]
#[derive(Debug)]
pub struct Pushed {
    names: Arc<Vec<String>>,
    round: Arc<PushRound>,
    by_writer: Vec<WriterPush>,
}

/// A push that the writer sent itself.
#[derive(Debug)]
struct WriterPush {
    session: SessionId,
    connection: SplitConnection,
    /// Where the connection belongs once it is free.
    home: WriterConnection,
}

impl Sessions {
    /// Begins to push an invalidation to every session there is now. The stocks must be marked as
    /// changing before. A session that begins after this list was taken gets no push: its
    /// front-end sees the mark on whatever it looks up.
    pub fn push(&self, names: Vec<String>) -> Pushed {
        let now = BootInstant::now();
        let mut inner = self.shared.inner.lock();
        // List and `push_begun` in one step: a session that begins in between would be in neither.
        let ids: BTreeSet<SessionId> = inner.table.ids().cloned().collect();
        let mut pushed = Pushed {
            names: Arc::new(names),
            round: Arc::new(PushRound::new(ids.clone())),
            by_writer: Vec::new(),
        };
        // Known to the others from here on: a session that leaves while this batch waits settles
        // its part.
        inner.round = Some(Arc::clone(&pushed.round));
        for session in ids {
            // Before the push is sent: from now on a silent session is renewed for `PUSH_OVERDUE`
            // only.
            inner.table.push_begun(&session, now);
            let home = Arc::clone(&inner.pushers[&session].connection);
            // Taken out, so that the pusher cannot use it meanwhile.
            let kept = home.lock().take();
            match kept {
                Some(connection) => pushed.by_writer.push(WriterPush {
                    session,
                    connection,
                    home,
                }),
                None => inner.hand_over(&session, &pushed.names, &pushed.round),
            }
        }
        drop(inner);
        // Outside the lock, so that no keep-alive waits for these writes.
        let (names, round) = (&pushed.names, &pushed.round);
        pushed.by_writer.retain_mut(|push| {
            let request = InvalidateRequest {
                session: push.session.clone(),
                names: names.to_vec(),
            };
            // The push before was acknowledged, so the socket's buffer is empty and this does not
            // block; a time-out bounds it all the same.
            let sent = push.connection.send("/invalidate", &request).is_ok();
            if !sent {
                let inner = self.shared.inner.lock();
                inner.hand_over(&push.session, names, round);
            }
            sent
        });
        pushed
    }

    /// Waits until each push of a batch is acknowledged, or its session is over and dropped. A
    /// session with an unanswered push is renewed for [`common::timing::PUSH_OVERDUE`] at most, so
    /// this takes no longer than that, a lease and the margin.
    pub fn wait(&self, pushed: Pushed) {
        let Pushed {
            names,
            round,
            by_writer,
        } = pushed;
        // One after the other. Each waits 10 ms at most, and the next answer has arrived by then.
        for push in by_writer {
            self.shared.read_acknowledgement(push, &names, &round);
        }
        // The rest is with the pushers: without a time-out of its own, since each session has its
        // end.
        round.wait(|id| self.shared.drop_if_over(id, BootInstant::now()));
    }
}

impl Shared {
    /// Reads the acknowledgement of a push that the writer sent. By now the commit is done, so it
    /// has mostly arrived. After anything else than a 200 the session's pusher goes on with this
    /// push, and the connection is closed: a late response on it would be taken for the next one.
    fn read_acknowledgement(
        &self,
        mut push: WriterPush,
        names: &Arc<Vec<String>>,
        round: &Arc<PushRound>,
    ) {
        let answered = push.connection.receive(ACKNOWLEDGED_WITHIN);
        if !answered.is_ok_and(|answered| answered.status == 200) {
            return self.inner.lock().hand_over(&push.session, names, round);
        }
        // Before the session is settled, for the reason that `push_all` has.
        self.inner.lock().table.push_answered(&push.session);
        round.settle(&push.session);
        *push.home.lock() = Some(push.connection);
    }

    pub(super) fn spawn_pusher(self: &Arc<Self>, request: &RegisterRequest) -> Pusher {
        let (pushes, waiting) = bounded(1);
        let (session_over, connection) = (Shutdown::new(), WriterConnection::default());
        let (shared, over, request) = (Arc::clone(self), session_over.clone(), request.clone());
        let home = Arc::clone(&connection);
        let thread = Thread::spawn("pusher", move || {
            // On this thread and not at the registration: connecting takes a round trip, and the
            // registrar holds the lock of the sessions there.
            shared.open_connection(&request.url, &home);
            shared.push_all(&request, &waiting, &over, &home);
        });
        Pusher {
            pushes,
            connection,
            session_over,
            _thread: thread,
        }
    }

    /// The thread `pusher` of one session: repeats each push until it is acknowledged, or the
    /// session is over.
    fn push_all(
        &self,
        session: &RegisterRequest,
        waiting: &Receiver<Push>,
        over: &Shutdown,
        home: &WriterConnection,
    ) {
        let id = &session.session;
        // Ends when the session is over, or the sessions are dropped with the catalog.
        while let Some(push) = over.receive(waiting) {
            loop {
                let sent = match &push {
                    Push::Invalidate(names, _) => self.send(&session.url, id, names),
                    Push::End => self.send_end(&session.url, id),
                };
                match (sent, &push) {
                    (Ok(()), Push::Invalidate(_, round)) => {
                        // In this order: once the round is settled the writer may push again, and
                        // that push must count as unanswered from its own beginning.
                        self.inner.lock().table.push_answered(id);
                        round.settle(id);
                        self.open_connection(&session.url, home);
                        break;
                    }
                    (Ok(()), Push::End) => {
                        tracing::info!(session = %id, "cache session ended");
                        return self.remove(id);
                    }
                    (Err(CallError::Status { status: 409, .. }), push) => {
                        // The front-end has begun another session, or is a new process: it caches
                        // nothing under this one.
                        tracing::info!(
                            session = %id,
                            "cache session ended: its front-end uses another one"
                        );
                        // Removed before it is settled: the writer must not push to it again.
                        self.remove(id);
                        if let Push::Invalidate(_, round) = push {
                            round.settle(id);
                        }
                        return;
                    }
                    (Err(error), _) => {
                        self.metrics.pushes_repeated.inc();
                        tracing::debug!(session = %id, %error, "push not acknowledged");
                        // The session is over: whoever ended it saw to it that no batch waits for
                        // this push.
                        if over.wait(PUSH_REPEAT) {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Opens the connection on which the writer pushes next time. When that fails, the next push
    /// comes to this thread again.
    fn open_connection(&self, url: &str, home: &WriterConnection) {
        match SplitConnection::open(&self.client, url, PROBE_TIMEOUT) {
            Ok(connection) => *home.lock() = Some(connection),
            Err(error) => tracing::debug!(url, %error, "no connection for pushes"),
        }
    }

    pub(super) fn send(
        &self,
        url: &str,
        session: &SessionId,
        names: &[String],
    ) -> Result<(), CallError> {
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
}

impl Inner {
    /// Gives a push to the session's pusher. A session that was dropped meanwhile has none: the
    /// round notices by itself that there is nothing to wait for.
    fn hand_over(&self, session: &SessionId, names: &Arc<Vec<String>>, round: &Arc<PushRound>) {
        let Some(pusher) = self.pushers.get(session) else {
            return;
        };
        let push = Push::Invalidate(Arc::clone(names), Arc::clone(round));
        assert!(
            pusher.pushes.try_send(push).is_ok(),
            "session {session} has one push at a time: the batch before waited for its own"
        );
    }
}

/// Short: a push that takes longer is repeated, and the writer waits for the session meanwhile.
fn call<'a>(base: &'a str, path: &'a str) -> Call<'a> {
    Call {
        method: "POST",
        base,
        path,
        timeout: PROBE_TIMEOUT,
        trace: None,
    }
}
