//! The writer: the one thread that decides and commits. It takes what is queued, decides it in one
//! transaction, pushes the invalidations while the commit's fsync runs, and shows and answers when
//! both are done.

use crate::batch::{Staged, stage};
use crate::leadership::{Claim, ForeignLog, Leadership};
use crate::metrics::CatalogMetrics;
use crate::sessions::Sessions;
use crate::store::{Snapshot, Store};
use crate::visible_state::VisibleState;
use crate::write_health::WriteHealth;
use common::clock::BootInstant;
use common::crash;
use common::database::DbError;
use common::http::{Responder, Response};
use common::queue::{QueueReceiver, Taken};
use common::shutdown::Shutdown;
use common::stage::{self, Stage};
use common::timing::{ANSWER_ROWS, MAX_BATCH};
use common::wire::catalog::{CatalogState, ClaimAnswer, ClaimRequest, TradeAnswer, TradeRequest};
use common::wire::order::{ClusterId, Position, ReplicaId, Rows, Submission, Verdict};
use common::wire::replica::Unavailable;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The writer with its queue: its thread works off what is queued, and a server's worker does a
/// lone batch itself.
pub type WriterStage = Stage<Writer, WriterWork>;

/// What the writer is asked for.
#[derive(Debug)]
pub enum WriterWork {
    /// A replica claims the next term.
    Claim(ClaimRequest, Responder),
    /// The leader's batch.
    Trades(TradeRequest, Responder),
    /// The check after the start found the file wrong.
    CheckFailed(String),
}

/// The writer's state; owned by its thread.
pub struct Writer {
    store: Store,
    /// What the file holds: the same as what is shown, but for the time in which a batch is being
    /// shown.
    state: Snapshot,
    leadership: Leadership,
    visible: Arc<VisibleState>,
    sessions: Arc<Sessions>,
    metrics: Arc<CatalogMetrics>,
    /// How its writes went, for the health.
    writes: Arc<WriteHealth>,
    /// End of the start-up wait.
    serve_from: BootInstant,
    /// Trades that came during the wait.
    parked: Vec<(TradeRequest, Responder)>,
    /// The trouble with claims that the log says already: a front-end asks again and again.
    said: Option<String>,
}

/// Why a batch was not committed.
enum Failure {
    /// Before the commit: nothing happened.
    Undecided(DbError),
    /// By the commit itself: it may be in the file.
    Unknown(DbError),
}

/// What a probe writes: one page of the file.
const PROBE_BYTES: usize = 16;
/// What it writes after a failure: as many pages as an order and more, so that the last page of a
/// full disk does not pass for room.
const PROBE_BYTES_AFTER_FAILURE: usize = 32 * 1_024;
/// Requests taken at once, at most. One leader has few of them under way.
const MAX_WORK: usize = 64;

impl Writer {
    /// A writer that serves no trade before `serve_from`.
    #[must_use]
    pub fn new(
        store: Store,
        state: Snapshot,
        visible: Arc<VisibleState>,
        sessions: Arc<Sessions>,
        metrics: Arc<CatalogMetrics>,
        writes: Arc<WriteHealth>,
        serve_from: BootInstant,
    ) -> Self {
        let leadership = Leadership::new(state.term);
        Self {
            store,
            state,
            leadership,
            visible,
            sessions,
            metrics,
            writes,
            serve_from,
            parked: Vec::new(),
            said: None,
        }
    }

    /// The stage's thread: works until the service stops, and probes the file while nothing else is
    /// written.
    pub fn run(
        stage: &WriterStage,
        writes: &WriteHealth,
        work: &QueueReceiver<WriterWork>,
        stop: &Shutdown,
    ) {
        // The state is held for the whole wait, so that nothing is traded in place meanwhile.
        let taken = stage.state().wait_at_start(work, stop);
        stage.done(taken);
        loop {
            let idle = writes.probe_due(Instant::now());
            match work.take_batch_within(MAX_WORK, stop, idle) {
                Taken::Batch(batch) => stage.work(batch),
                // Unless a worker traded in place meanwhile.
                Taken::Nothing if writes.probe_due(Instant::now()).is_zero() => {
                    stage.state().probe();
                }
                Taken::Nothing => {}
                Taken::Ended => return,
            }
        }
    }

    /// A write that nobody asked for, since nothing else was written for a while.
    fn probe(&mut self) {
        let failed = self.writes.has_failed();
        let bytes = if failed {
            PROBE_BYTES_AFTER_FAILURE
        } else {
            PROBE_BYTES
        };
        self.writes.begin(Instant::now());
        let outcome = self.store.probe(bytes);
        if let Err(error) = &outcome
            && !failed
        {
            tracing::error!(%error, "the file cannot be written: every order fails until it can");
        } else if outcome.is_ok() && failed {
            tracing::info!("the file can be written again");
        }
        self.note_write(outcome.err().as_ref());
    }

    fn note_write(&self, error: Option<&DbError>) {
        let now = Instant::now();
        match error {
            None => self.writes.succeeded(now),
            Some(error) => self.writes.failed(now, &error.to_string()),
        }
    }

    /// The start-up wait: until every lease of an earlier run is over, claims are granted, but no
    /// trade is taken, since the front-ends that hold those leases cannot be told. Trades that come
    /// meanwhile are kept: their leader's call outlives the wait.
    ///
    /// Returns how many items it took from the queue.
    fn wait_at_start(&mut self, work: &QueueReceiver<WriterWork>, stop: &Shutdown) -> usize {
        let mut taken = 0;
        while self.visible.state() == CatalogState::StartUpWait && !stop.is_triggered() {
            let left = self.serve_from.saturating_since(BootInstant::now());
            if left.is_zero() {
                self.visible.set_state(CatalogState::Serving, "");
                tracing::info!("the start-up wait is over: serving");
            } else if let Some(item) = stop.receive_timeout(work.receiver(), left) {
                taken += 1;
                match item {
                    WriterWork::Claim(request, responder) => self.claim(request, responder),
                    WriterWork::Trades(request, responder) if self.parked.len() < MAX_WORK => {
                        self.parked.push((request, responder));
                    }
                    WriterWork::Trades(_, responder) => {
                        responder.send(nothing_happened("too many batches wait for the catalog"))
                    }
                    WriterWork::CheckFailed(what) => self.distrust(&what),
                }
            }
        }
        // Also when the wait ended otherwise: a stop, or lost history. They are admitted, or
        // refused, by what is served now.
        let parked = std::mem::take(&mut self.parked);
        self.trade(parked);
        taken
    }

    fn claim(&mut self, request: ClaimRequest, responder: Responder) {
        responder.send(self.judge_claim(request));
    }

    fn judge_claim(&mut self, request: ClaimRequest) -> Response {
        let ClaimRequest {
            replica, position, ..
        } = request;
        if let Err(refusal) = self
            .check_cluster(replica, &request.cluster, position)
            .and_then(|()| self.check_history(replica, position))
        {
            return refusal;
        }
        if let Err(refusal) = self.check_longest(request.longest) {
            return refusal;
        }
        let granted = match self
            .leadership
            .judge(request.replica, request.seen, BootInstant::now())
        {
            Claim::Grant(granted) => granted,
            Claim::Wait { ms } => return Response::json(200, &ClaimAnswer::Wait { ms }),
            Claim::Stale(view) => {
                self.metrics.fenced.inc();
                return Response::json(412, &view);
            }
        };
        self.writes.begin(Instant::now());
        let written = self.store.set_term(granted);
        self.note_write(written.as_ref().err());
        if let Err(error) = written {
            self.say(&format!(
                "the term could not be written, so no replica can begin to lead: {error}"
            ));
            self.reload();
            return nothing_happened(&format!("the catalog cannot write its file: {error}"));
        }
        self.said = None;
        self.leadership.install(granted, BootInstant::now());
        self.state.term = granted;
        self.visible.set_term(granted);
        if self.visible.state() == CatalogState::AwaitingClaim {
            self.visible.set_state(CatalogState::Serving, "");
        }
        self.metrics
            .term
            .set(i64::try_from(granted.term).unwrap_or(i64::MAX));
        self.metrics.claims_granted.inc();
        tracing::warn!(term = granted.term, replica = %request.replica, "leadership granted; older terms are fenced");
        Response::json(
            200,
            &ClaimAnswer::Granted {
                term: granted.term,
                end: self.state.position,
            },
        )
    }

    /// A log of another bazaar never leads here. Whether it shows more than that is
    /// [`Leadership::judge_foreign_log`]'s to say.
    fn check_cluster(
        &mut self,
        replica: ReplicaId,
        cluster: &ClusterId,
        position: Position,
    ) -> Result<(), Response> {
        let own = self.store.genesis().cluster.clone();
        if *cluster == own {
            return Ok(());
        }
        let last = number_or_none(position.last);
        match self.leadership.judge_foreign_log() {
            ForeignLog::WrongPlace => {
                let message = format!(
                    "the log of replica {replica} (last order {last}) belongs to bazaar {cluster}, this catalog to bazaar {own}: \
                     the replica can neither lead nor follow here; stop it and give it its own ORDER_DB and CATALOG_URL, \
                     or move the file away, and it fetches this bazaar's log"
                );
                self.say(&message);
                Err(Response::error(409, &message))
            }
            ForeignLog::FileLost => {
                self.lose_history(&format!(
                    "this catalog's file is new (bazaar {own}), but replica {replica} has a log of bazaar {cluster} (last order {last}). \
                     If the catalog's file was lost: stop all services and run 'catalog rebuild' from the longest order log. \
                     If that log is another bazaar's: stop all services, move it away, and the catalog's new file, too"
                ));
                self.refuse_lost()
            }
        }
    }

    fn refuse_lost(&self) -> Result<(), Response> {
        self.visible
            .serving()
            .map_err(|not| Response::error(409, &not.message))
    }

    /// Logs trouble with claims when it changes, not at each try.
    fn say(&mut self, trouble: &str) {
        if self.said.as_deref() != Some(trouble) {
            tracing::error!("a claim was refused: {trouble}");
            self.said = Some(trouble.into());
        }
    }

    /// A position that is not in the journal means that numbers were given which this file does not
    /// know: it was lost or cut, or the replica's is of another bazaar. Going on would give those
    /// numbers again.
    fn check_history(&mut self, replica: ReplicaId, position: Position) -> Result<(), Response> {
        if self.visible.state() != CatalogState::HistoryLost {
            let end = self.state.position;
            let known = if position.last == end.last {
                Some(end.hash)
            } else if position.next() > end.next() {
                None
            } else {
                match self.store.hash_before(position.next()) {
                    Ok(hash) => hash,
                    Err(error) => return Err(self.cannot_read(&error)),
                }
            };
            if known == Some(position.hash) {
                return Ok(());
            }
            let (journal_last, last) = (number_or_none(end.last), number_or_none(position.last));
            self.lose_history(&format!(
                "the log of replica {replica} (last order {last}) is no prefix of the catalog's journal (last order {journal_last}): \
                 the catalog's file was lost or cut; \
                 stop all services and run 'catalog rebuild' from a complete order log"
            ));
        }
        self.refuse_lost()
    }

    /// The candidate's own log may be a prefix of a file that was cut while another log is longer.
    fn check_longest(&self, longest: Option<u64>) -> Result<(), Response> {
        if longest <= self.state.position.last {
            return Ok(());
        }
        let (last, end) = (
            number_or_none(longest),
            number_or_none(self.state.position.last),
        );
        self.lose_history(&format!(
            "a replica has order {last}, the catalog's journal ends at {end}: the catalog's file was lost or cut; \
             stop all services and run 'catalog rebuild' from the longest order log"
        ));
        self.refuse_lost()
    }

    /// Final until the file was mended: said and written once, by the first who finds it.
    fn lose_history(&self, reason: &str) {
        if self.visible.state() == CatalogState::HistoryLost {
            return;
        }
        tracing::error!("trades and stocks are refused: {reason}");
        // First no stock leaves, then the caches let go: a fill between the two finds nothing.
        self.visible.set_state(CatalogState::HistoryLost, reason);
        self.sessions.end_all(reason);
        if let Err(error) = self.store.set_history_lost(reason) {
            tracing::error!(%error, "this could not be written down: a restart will have to find it out again");
        }
    }

    /// The file contradicts itself: what it would serve may be wrong.
    fn distrust(&self, what: &str) {
        self.lose_history(&format!(
            "{what}; stop all services and run 'catalog rebuild' from the longest order log"
        ));
    }

    fn cannot_read(&self, error: &DbError) -> Response {
        if error.is_damage() {
            self.lose_history(&format!(
                "the catalog's file is damaged ({error}); stop all services and run 'catalog rebuild'"
            ));
        }
        nothing_happened(&format!("the catalog cannot use its file: {error}"))
    }

    fn trade(&mut self, requests: Vec<(TradeRequest, Responder)>) {
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
        // History that a later batch showed to be lost holds for those before it, too.
        if let Err(not) = self.visible.serving() {
            let refusal = nothing_happened(&not.message);
            taken
                .drain(..)
                .for_each(|(_, responder)| responder.send(refusal.clone()));
        }
        if taken.is_empty() {
            return;
        }
        let timer = self.metrics.batch_seconds.start_timer();
        match self.decide_and_commit(taken.iter().flat_map(|(request, _)| &request.orders)) {
            Ok(staged) => {
                self.publish(&staged);
                crash::point("catalog-after-publish");
                let mut verdicts = staged.verdicts.iter().copied();
                for (request, responder) in taken {
                    let own = verdicts.by_ref().take(request.orders.len()).collect();
                    responder.send(self.answer(&request, own, &staged.rows));
                }
            }
            Err(failure) => {
                let refusal = self.recover(&failure);
                taken
                    .into_iter()
                    .for_each(|(_, responder)| responder.send(refusal.clone()));
            }
        }
        timer.observe_duration();
    }

    /// Whether a batch may be decided: the leader's log is a prefix of the journal, the term is the
    /// current one, the catalog serves. The history comes first: a file that was replaced by an
    /// older one has an older term too, and its leader is not the one to blame. A deposed leader's
    /// log is always a prefix.
    fn admit(&mut self, request: &TradeRequest) -> Result<(), Response> {
        self.check_cluster(request.replica, &request.cluster, request.position)?;
        self.check_history(request.replica, request.position)?;
        let term = self.leadership.view();
        if request.term != term.term {
            self.metrics.fenced.inc();
            tracing::warn!(
                term = request.term,
                current = term.term,
                "a batch of an older term was refused"
            );
            return Err(Response::json(412, &term));
        }
        self.visible
            .serving()
            .map_err(|not| nothing_happened(&not.message))
    }

    /// Decides the orders, commits, and has every cache let go of what they change: afterwards the
    /// batch may be shown.
    fn decide_and_commit<'a>(
        &mut self,
        orders: impl Iterator<Item = &'a Submission>,
    ) -> Result<Staged, Failure> {
        self.writes.begin(Instant::now());
        let batch = self.store.begin().map_err(Failure::Undecided)?;
        let staged = stage(&batch, &self.state, orders).map_err(Failure::Undecided)?;
        self.metrics
            .batch_orders
            .observe(staged.verdicts.len() as f64);
        // The order matters: mark, so that no fill from here on is cached; then the list of
        // sessions, so that one that begins later relies on the mark; then the commit beside the
        // pushes.
        self.visible.mark(staged.quantities.keys());
        let invalidation = self.metrics.invalidation_seconds.start_timer();
        let round = (!staged.quantities.is_empty()).then(|| {
            self.sessions
                .push(staged.quantities.keys().cloned().collect())
        });
        let commit = self.metrics.commit_seconds.start_timer();
        let writes = batch.has_changes();
        crash::point("catalog-before-commit");
        let committed = batch.commit();
        crash::point("catalog-after-commit");
        commit.observe_duration();
        match &committed {
            Ok(()) if !writes => self.writes.wrote_nothing(),
            outcome => self.note_write(outcome.as_ref().err()),
        }
        // Also after a failure: its outcome is unknown, so that the new values may be the ones that
        // are read back.
        if let Some(round) = round {
            self.sessions.wait(round);
        }
        invalidation.observe_duration();
        committed.map_err(Failure::Unknown)?;
        Ok(staged)
    }

    fn publish(&mut self, staged: &Staged) {
        for (name, quantity) in &staged.quantities {
            self.state
                .market
                .get_mut(name)
                .expect("only known stocks trade")
                .quantity = *quantity;
        }
        self.state.position = staged.position;
        self.visible.publish(
            staged
                .quantities
                .iter()
                .map(|(name, quantity)| (name, *quantity)),
            staged.position,
        );
        self.metrics
            .journal_rows
            .set(i64::try_from(staged.position.next()).unwrap_or(i64::MAX));
        self.count(staged);
    }

    /// After a failure: memory as the file has it, and the answer to everyone in the batch.
    fn recover(&mut self, failure: &Failure) -> Response {
        match failure {
            Failure::Undecided(error) => {
                // Rolled back when the batch was dropped: nothing of it is anywhere.
                tracing::error!(%error, "a batch could not be decided");
                self.note_write(Some(error));
                self.cannot_read(error)
            }
            Failure::Unknown(error) => {
                self.metrics.commit_failures.inc();
                tracing::error!(%error, "a commit failed: its outcome is unknown");
                self.reload();
                unknown_outcome(&format!("the catalog could not write its file: {error}"))
            }
        }
    }

    fn count(&self, staged: &Staged) {
        for verdict in &staged.verdicts {
            let label = match verdict {
                Verdict::Accepted(_) => "accepted",
                Verdict::InsufficientQuantity => "insufficient_quantity",
                Verdict::UnknownStock => "unknown_stock",
                Verdict::KeyReused => "key_reused",
            };
            self.metrics.verdicts.with_label_values(&[label]).inc();
        }
    }

    /// The answer to one request: its verdicts, and every row after its leader's last one.
    fn answer(&self, request: &TradeRequest, verdicts: Vec<Verdict>, new: &Rows) -> Response {
        for (submission, verdict) in request.orders.iter().zip(&verdicts) {
            tracing::debug!(trace = submission.trace, key = %submission.order.key, ?verdict, "order decided");
        }
        let from = request.position.next();
        let end = self.state.position;
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
                unknown_outcome(&format!("the catalog cannot read its journal: {error}"))
            }
        }
    }

    /// After a failed write nothing of the attempt may survive in memory: reads everything again.
    /// Ends the process when that fails too.
    fn reload(&mut self) {
        let snapshot = self.store.snapshot().unwrap_or_else(|error| {
            panic!("the catalog's file can neither be written nor read: {error}");
        });
        if snapshot.term.term > self.leadership.view().term {
            self.leadership.install(snapshot.term, BootInstant::now());
        }
        self.state = snapshot.clone();
        self.visible.reload(snapshot);
    }
}

impl stage::Work<WriterWork> for Writer {
    /// Trades next to each other share a transaction; a claim stands alone, so that it is judged
    /// after all that came before it.
    fn work(&mut self, batch: Vec<WriterWork>) {
        let mut trades = Vec::new();
        let mut orders = 0;
        for work in batch {
            match work {
                WriterWork::Trades(request, responder) => {
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
                    self.claim(request, responder);
                }
                WriterWork::CheckFailed(what) => self.distrust(&what),
            }
        }
        self.trade(trades);
    }
}

fn number_or_none(last: Option<u64>) -> String {
    last.map_or("none".into(), |n| n.to_string())
}

fn nothing_happened(message: &str) -> Response {
    unavailable(message, false)
}

fn unknown_outcome(message: &str) -> Response {
    unavailable(message, true)
}

fn unavailable(message: &str, outcome_unknown: bool) -> Response {
    let body = Unavailable {
        message: message.into(),
        outcome_unknown,
        retry: false,
    };
    Response::json(503, &body).with_header("Retry-After", RETRY_AFTER.as_secs().to_string())
}

const RETRY_AFTER: Duration = Duration::from_secs(1);
