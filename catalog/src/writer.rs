//! The writer: the one place where a trade commits.
//!
//! For a batch it does, in this order, each step for a reason:
//!
//! 1. **Compare history and term.** A log that the journal does not contain shows a lost file; a
//!    batch of an older term must commit nothing. Here, and not in the server's workers: a grant
//!    between their look and the commit would let a deposed leader trade.
//! 2. **Decide** each order in the open transaction: a recorded verdict first, then the stock.
//! 3. **Mark** the stocks as changing, so that no lookup from here on is cached.
//! 4. **Push** the invalidations to the sessions that there are now. After the mark: a session that
//!    begins later gets no push, and relies on the mark.
//! 5. **Commit**, with one fsync, while the front-ends work on the pushes.
//! 6. **Wait** for the acknowledgements. Also after a failed commit: its outcome is unknown, so the
//!    new values may be the ones that are read back.
//! 7. **Publish** the new state, and only then answer.
//!
//! A failed commit leaves nothing of the attempt in memory: the state is read again from the file.
//! If that fails too, the process ends, since it could only guess. With a database that several
//! catalogs share, see `writer/shared.rs`.
//!
//! The thread `writer` does this work while batches are queued, else the server's worker that read
//! a lone batch (see [`common::stage`]). The start-up wait is in `writer/start.rs`, claims are in
//! `writer/claims.rs`, the comparison of histories in `writer/history.rs`, the clean stop in
//! `writer/stop.rs`.

mod claims;
mod history;
mod shared;
mod start;
mod stop;

use crate::activity::calls::Calls;
use crate::activity::standing::{SharedLease, Standing};
use crate::batch::{DecidedBatch, decide_batch};
use crate::leadership::Leadership;
use crate::metrics::CatalogMetrics;
use crate::sessions::Sessions;
use crate::store::{Snapshot, Store, StoreError};
use crate::visible_state::VisibleState;
use crate::write_health::WriteHealth;
use common::clock::BootInstant;
use common::crash;
use common::http::{Responder, Response};
use common::queue::{QueueReceiver, Taken};
use common::shutdown::Shutdown;
use common::stage::{Stage, Work};
use common::timing::{ANSWER_ROWS, MAX_BATCH};
use common::wire::catalog::{ClaimRequest, TradeAnswer, TradeRequest};
use common::wire::order::{Order, Rows, Verdict};
use common::wire::replica::Unavailable;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The writer with its queue.
pub type WriterStage = Stage<Writer, WriterWork>;

/// A request to the writer.
#[derive(Debug)]
pub enum WriterWork {
    Claim(ClaimRequest, Responder),
    Trades(TradeRequest, Responder),
    /// The check after the start found that the file contradicts itself.
    CheckFailed(String),
}

/// The writer's state.
pub struct Writer {
    store: Box<dyn Store>,
    /// The content of the store. It is the visible state too, except while a batch is on its way
    /// from the one to the other.
    state: Snapshot,
    leadership: Leadership,
    visible: Arc<VisibleState>,
    sessions: Arc<Sessions>,
    metrics: Arc<CatalogMetrics>,
    writes: Arc<WriteHealth>,
    /// Until then leases of an earlier run may last.
    serve_from: BootInstant,
    /// End of the wait for a log that fits; `None` when none is waited for.
    unconfirmed_until: Option<BootInstant>,
    /// Trades that came during the wait.
    parked: Vec<WriterWork>,
    /// The trouble with claims that was logged last. Front-ends ask again and again.
    logged: Option<String>,
    /// Why batches cannot be decided, as it was logged last. Leaders repeat them at once.
    undecided: Option<String>,
    /// The lease of this tenure, and how the writer moves it to the next epoch; `None` with a file
    /// of its own.
    shared: Option<Shared>,
    standing: Arc<Standing>,
    /// The catalog stops: nothing is taken any more.
    stopped: bool,
}

/// The part of the writer's state that only a shared database needs.
struct Shared {
    lease: Arc<SharedLease>,
    moves: Calls,
}

/// The parts that a writer begins with.
pub struct Context {
    pub store: Box<dyn Store>,
    pub state: Snapshot,
    pub visible: Arc<VisibleState>,
    pub sessions: Arc<Sessions>,
    pub metrics: Arc<CatalogMetrics>,
    pub writes: Arc<WriteHealth>,
    /// It takes no trade before: until then leases of an earlier run may last.
    pub serve_from: BootInstant,
    /// Until then it takes no trade before a log has shown that the file is no older copy.
    pub unconfirmed_until: Option<BootInstant>,
    pub lease: Option<Arc<SharedLease>>,
    pub moves: Option<Calls>,
    pub standing: Arc<Standing>,
}

/// Why a batch was not committed.
enum Failure {
    /// Before the commit: nothing happened.
    Undecided(StoreError),
    /// By the commit itself: it may be in the file.
    Unknown(StoreError),
}

/// The epoch of a catalog that needs none: its store has no other one.
const EPOCH: u64 = 0;
/// The bytes of a probe: one page of the file.
const PROBE_BYTES: usize = 16;
/// The same after a failure: as many pages as an order and more, so that the last page of a full
/// disk does not pass for room.
const PROBE_BYTES_AFTER_FAILURE: usize = 32 * 1_024;
/// Requests taken at once, at most. One leader has few of them under way.
const MAX_WORK: usize = 64;

impl Writer {
    /// A writer with nothing under way.
    pub fn new(context: Context) -> Self {
        let Context { lease, moves, .. } = context;
        // Both or none: a lease without the statement that moves it could not get past an unknown
        // outcome.
        let shared = lease.zip(moves);
        Self {
            leadership: Leadership::new(context.state.term),
            store: context.store,
            state: context.state,
            visible: context.visible,
            sessions: context.sessions,
            metrics: context.metrics,
            writes: context.writes,
            serve_from: context.serve_from,
            unconfirmed_until: context.unconfirmed_until,
            parked: Vec::new(),
            logged: None,
            undecided: None,
            shared: shared.map(|(lease, moves)| Shared { lease, moves }),
            standing: context.standing,
            stopped: false,
        }
    }

    /// The stage's thread: works until the service stops, and probes the file while nothing else is
    /// written. While it has nothing to do it shows each `life` that it lives.
    pub fn run(
        stage: &WriterStage,
        writes: &WriteHealth,
        work: &QueueReceiver<WriterWork>,
        life: Duration,
        stop: &Shutdown,
    ) {
        // The state stays locked for the whole wait, so that no worker trades in place meanwhile.
        let taken = stage.state().wait_at_start(work, stop);
        stage.done(taken);
        loop {
            // The nearer of two duties: a probe of the disk, and a sign of life for the keeper of
            // the lease.
            let idle = writes.probe_due(Instant::now()).min(life);
            match work.take_batch_within(MAX_WORK, stop, idle) {
                Taken::Batch(batch) => stage.work(batch),
                Taken::Nothing => stage.state().idle(),
                Taken::Ended => return,
            }
        }
    }

    /// Nothing was queued for a while.
    fn idle(&mut self) {
        self.show_life();
        // A worker may have traded in place meanwhile: then no probe is due.
        if self.writes.probe_due(Instant::now()).is_zero() && !self.is_over() {
            self.probe();
        }
    }

    /// Writes a few bytes when nothing else was written for a while: a disk that fails is noticed
    /// before an order is lost to it.
    fn probe(&mut self) {
        let failed = self.writes.has_failed();
        let bytes = if failed {
            PROBE_BYTES_AFTER_FAILURE
        } else {
            PROBE_BYTES
        };
        // A disk that hangs never returns from the probe. With the beginning noted, the listener's
        // workers see how long it takes.
        self.writes.begin(Instant::now());
        let outcome = self.store.probe(bytes);
        if let Err(StoreError::Fenced) = outcome {
            self.writes.wrote_nothing();
            self.end_tenure();
            return;
        }
        if let Err(error) = &outcome
            // At the change only: after a failure a probe comes four times a second.
            && !failed
        {
            tracing::error!(%error, "the file cannot be written: every order fails until it can");
        } else if outcome.is_ok() && failed {
            tracing::info!("the file can be written again");
        }
        self.note_write(outcome.as_ref().err());
        if outcome.is_err() && self.shared.is_some() {
            // The database takes no batch after a write with an unknown outcome.
            self.reload();
        }
    }

    fn note_write(&self, error: Option<&StoreError>) {
        let now = Instant::now();
        match error {
            None => self.writes.succeeded(now),
            Some(error) => self.writes.failed(now, &error.to_string()),
        }
    }

    fn trade(&mut self, requests: Vec<(TradeRequest, Responder)>) {
        if self.is_over() {
            // Nothing happened: these batches were not begun.
            let refusal = self.not_active(false);
            let responders = requests.into_iter().map(|(_, responder)| responder);
            return responders.for_each(|responder| responder.send(refusal.clone()));
        }
        let mut taken = Vec::with_capacity(requests.len());
        for (request, responder) in requests {
            match self.admit(&request) {
                Ok(()) => {
                    self.metrics
                        .queue_seconds
                        .observe(responder.age().as_secs_f64());
                    taken.push((request, responder));
                }
                Err(refusal) => responder.send(refusal),
            }
        }
        // A later batch of these may have shown that the history is lost. Then none may trade.
        if let Err(not) = self.visible.serving() {
            let refusal = self.nothing_happened(&not.message);
            taken
                .drain(..)
                .for_each(|(_, responder)| responder.send(refusal.clone()));
        }
        if taken.is_empty() {
            return;
        }
        let timer = self.metrics.batch_seconds.start_timer();
        let submissions = taken.iter().flat_map(|(request, _)| &request.orders);
        let orders: Vec<&Order> = submissions.map(|submission| &submission.order).collect();
        match self.decide_and_commit(&orders) {
            Ok(decided) => {
                self.undecided = None;
                // Visible before the answer leaves. A client that has its number and reads the
                // stock through another front-end must find the new quantity.
                self.publish(&decided);
                crash::point("catalog-after-publish");
                let mut verdicts = decided.verdicts.iter().copied();
                for (request, responder) in taken {
                    // Verdicts came in the sequence of all orders, so each request's are the next
                    // so many.
                    let own = verdicts.by_ref().take(request.orders.len()).collect();
                    responder.send(self.answer(&request, own, &decided.rows));
                }
            }
            Err(failure) => {
                // One response to the whole batch: one transaction either is there for all of them
                // or for none.
                let refusal = self.recover(&failure);
                taken
                    .into_iter()
                    .for_each(|(_, responder)| responder.send(refusal.clone()));
            }
        }
        timer.observe_duration();
    }

    /// Whether a batch may be decided: the leader's log is a prefix of the journal, the term is the
    /// current one, the catalog serves. The history comes first. A file that was replaced by an
    /// older copy has an older term too, and would blame the leader's term for its own loss. The
    /// log of a deposed leader is always a prefix, so it still gets its 412.
    fn admit(&mut self, request: &TradeRequest) -> Result<(), Response> {
        self.check_cluster(request.replica, &request.cluster, request.position)?;
        self.check_history(request.replica, request.position)?;
        let term = self.leadership.term_info();
        if request.term != term.term {
            // "Another term" is a statement about now. A deposed catalog that slept through its
            // lease would call the true leader's term a wrong one, and that leader would step down
            // for nothing.
            self.check_lease()?;
            self.metrics.fenced.inc();
            tracing::warn!(
                term = request.term,
                current = term.term,
                "a batch of another term was refused"
            );
            return Err(Response::json(412, &term));
        }
        self.visible
            .serving()
            .map_err(|not| self.nothing_happened(&not.message))
    }

    /// Steps 2 to 6: afterwards the batch may become visible.
    fn decide_and_commit(&mut self, orders: &[&Order]) -> Result<DecidedBatch, Failure> {
        self.writes.begin(Instant::now());
        let begun = self.store.begin(&self.state, orders);
        // Dropping `batch` rolls back, on each way out of this function but the commit.
        let mut batch = begun.map_err(Failure::Undecided)?;
        // Decided on the state in memory, which is what the store holds: this thread alone writes
        // it, and `begin` compares the journal's end where others could.
        let decided = decide_batch(&self.state, orders, batch.recorded());
        batch
            .write(&self.state, &decided)
            // Before the mark, which only a publication or a reload takes away: an error here
            // leaves nothing to undo.
            .map_err(Failure::Undecided)?;
        self.metrics
            .batch_orders
            .observe(decided.verdicts.len() as f64);
        // Mark, push, commit: the order is explained at the top of this file.
        self.visible.mark(decided.quantities.keys());
        let invalidation = self.metrics.invalidation_seconds.start_timer();
        // A batch of repeats and refusals changes no stock, so no cache has to let go of any.
        let pushed = (!decided.quantities.is_empty()).then(|| {
            self.sessions
                .push(decided.quantities.keys().cloned().collect())
        });
        let commit = self.metrics.commit_seconds.start_timer();
        crash::point("catalog-before-commit");
        let committed = batch.commit();
        crash::point("catalog-after-commit");
        commit.observe_duration();
        match &committed {
            // SQLite writes no page for such a commit: it succeeds on a full disk, too, and would
            // end the fault.
            Ok(()) if decided.is_empty() => self.writes.wrote_nothing(),
            outcome => self.note_write(outcome.as_ref().err()),
        }
        // Before the error leaves: step 6 holds for a failed commit, too.
        if let Some(pushed) = pushed {
            self.sessions.wait(pushed);
        }
        invalidation.observe_duration();
        committed.map_err(Failure::Unknown)?;
        Ok(decided)
    }

    fn publish(&mut self, decided: &DecidedBatch) {
        for (name, quantity) in &decided.quantities {
            self.state
                .market
                .get_mut(name)
                .expect("only known stocks trade")
                .quantity = *quantity;
        }
        assert!(
            decided.position.next() >= self.state.position.next(),
            "the journal never gets shorter: its last row is {:?}, the next one {:?}",
            self.state.position.last,
            decided.position.last
        );
        self.state.position = decided.position;
        self.visible.publish(
            decided
                .quantities
                .iter()
                .map(|(name, quantity)| (name, *quantity)),
            decided.position,
        );
        self.metrics
            .journal_rows
            .set(i64::try_from(decided.position.next()).unwrap_or(i64::MAX));
        self.count(decided);
    }

    /// After a failure: memory as the file has it. Returns the response to the whole batch.
    fn recover(&mut self, failure: &Failure) -> Response {
        match failure {
            // The fence comes first in a transaction, so that nothing of this one happened.
            Failure::Undecided(StoreError::Fenced) | Failure::Unknown(StoreError::Fenced) => {
                self.fenced()
            }
            Failure::Undecided(
                error @ (StoreError::RowsLost(_) | StoreError::UnknownBefore { .. }),
            ) => {
                tracing::error!(%error, "memory and database may differ: loading again");
                self.reload();
                // True whatever the load found: this batch had sent nothing that could be
                // committed.
                self.nothing_happened("the catalog had to load its journal again")
            }
            Failure::Undecided(error) => {
                // Rolled back when the batch was dropped: nothing of it is anywhere.
                let why = error.to_string();
                if self.undecided.as_ref() != Some(&why) {
                    tracing::error!(%error, "a batch could not be decided");
                    self.undecided = Some(why);
                }
                self.note_write(Some(error));
                self.cannot_read(error)
            }
            Failure::Unknown(error) => {
                self.metrics.commit_failures.inc();
                tracing::error!(%error, "a commit failed: its outcome is unknown");
                self.reload();
                self.unknown_outcome(&format!("the catalog could not write: {error}"))
            }
        }
    }

    fn count(&self, decided: &DecidedBatch) {
        for verdict in &decided.verdicts {
            let label = match verdict {
                Verdict::Accepted(_) => "accepted",
                Verdict::InsufficientQuantity => "insufficient_quantity",
                Verdict::UnknownStock => "unknown_stock",
                Verdict::KeyReused => "key_reused",
            };
            self.metrics.verdicts.with_label_values(&[label]).inc();
        }
    }

    /// The response to one request: its verdicts, and every row after its leader's last one.
    fn answer(&mut self, request: &TradeRequest, verdicts: Vec<Verdict>, new: &Rows) -> Response {
        for (submission, verdict) in request.orders.iter().zip(&verdicts) {
            let key = &submission.order.key;
            tracing::debug!(trace = submission.trace, %key, ?verdict, "order decided");
        }
        // A leader whose last answer was lost asks with its old position, and gets those rows now.
        let from = request.position.next();
        let end = self.state.position;
        // The common case needs no read: the leader lacks exactly the rows of this batch.
        if from == new.first && new.orders.len() <= ANSWER_ROWS {
            return Response::json(
                200,
                &TradeAnswer {
                    verdicts,
                    rows: new,
                    end,
                },
            );
        }
        // A page at most: a leader that lacks a million rows gets the rest from `/journal`, beside
        // the trades of others. The answer's `end` tells it that there are more.
        match self.store.rows(from, ANSWER_ROWS) {
            Ok(rows) => Response::json(
                200,
                &TradeAnswer {
                    verdicts,
                    rows,
                    end,
                },
            ),
            Err(error) => {
                tracing::error!(%error, "the journal could not be read");
                // Unknown, although this batch was committed: without the rows before it the leader
                // would have a gap, so it must not take the verdicts. The repeat gets them again.
                self.unknown_outcome(&format!("the catalog cannot read its journal: {error}"))
            }
        }
    }

    /// After a failed write nothing of the attempt may survive in memory: reads everything again.
    /// Of a file, a panic, and so the end of the process, when that fails too.
    fn reload(&mut self) {
        if self.shared.is_some() {
            return self.move_and_load();
        }
        let snapshot = self.store.load(EPOCH).unwrap_or_else(|error| {
            // Memory may lack a committed batch, or have one that was not. A number given on top of
            // either could be given twice, so the process ends, and the next start reads the file.
            panic!("the catalog's file can neither be written nor read: {error}");
        });
        self.install(snapshot);
    }

    /// Takes a state that was loaded, and makes it visible.
    fn install(&mut self, snapshot: Snapshot) {
        // A term whose write failed may be in the file all the same. It then fences: a replica may
        // have got the grant before, or not.
        if snapshot.term.term > self.leadership.term_info().term {
            self.leadership.install(snapshot.term, BootInstant::now());
        }
        self.state = snapshot.clone();
        self.visible.reload(snapshot);
    }
}

impl Work<WriterWork> for Writer {
    /// Trades next to each other share a transaction. A claim stands alone: what came before it is
    /// decided in the old term, what comes after it in the new one.
    fn work(&mut self, batch: Vec<WriterWork>) {
        self.show_life();
        let mut trades = Vec::new();
        let mut orders = 0;
        for work in batch {
            match work {
                WriterWork::Trades(request, responder) => {
                    // Between requests, never inside one: its verdicts leave in one response. A
                    // larger transaction would let the first order wait for the last.
                    if orders + request.orders.len() > MAX_BATCH {
                        self.trade(std::mem::take(&mut trades));
                        orders = 0;
                    }
                    orders += request.orders.len();
                    trades.push((request, responder));
                }
                WriterWork::Claim(request, responder) => {
                    self.trade(std::mem::take(&mut trades));
                    orders = 0;
                    self.claim(&request, responder);
                }
                // Before the trades gathered so far, not after them: they are refused, as they were
                // to be decided on quantities that are wrong.
                WriterWork::CheckFailed(what) => self.distrust(&what),
            }
        }
        self.trade(trades);
    }
}

fn unavailable(body: &Unavailable) -> Response {
    Response::json(503, body).with_header("Retry-After", RETRY_AFTER.as_secs().to_string())
}

const RETRY_AFTER: Duration = Duration::from_secs(1);
