//! What the threads of a replica share: its role, where its log ends, and, while it leads, the rows
//! and batches on their way. Each method is one step under the lock; whoever ends a batch answers
//! it outside.

use crate::leading::commit::{Done, Outcome};
use crate::leading::pipeline::{Pipeline, Waiter};
use crate::leading::traces::Traces;
use crate::metrics::OrderMetrics;
use crate::role::RoleState;
use common::crash;
use common::http::Response;
use common::wire::catalog::{TermAnswer, TermView};
use common::wire::order::{ClusterId, Position, ReplicaId, Rows, Term};
use common::wire::replica::{Copies, Health, LogPosition, NotLeader, OrdersAnswer, Unavailable};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A replica of the order service.
///
/// Invariants, asserted where they could break:
/// - The log only grows, but for a file that was set aside, and is a prefix of the catalog's
///   journal.
/// - It leads a term only after its log was durable up to the journal's end at the grant.
/// - While it leads, `received` is at least what is durable.
#[derive(Debug)]
pub struct Replica {
    /// Its id.
    pub id: ReplicaId,
    peers: Vec<ReplicaId>,
    min_copies: usize,
    state: Mutex<State>,
    changed: Condvar,
    /// Trace ids of the orders on their way, for log lines.
    pub traces: Traces,
    metrics: Arc<OrderMetrics>,
}

#[derive(Debug)]
struct State {
    role: RoleState,
    file: FileState,
    /// Peers whose log is still to be asked for what this one missed.
    peers_to_query: BTreeSet<ReplicaId>,
    /// While leading.
    pipeline: Option<Pipeline>,
    /// It was told to stop: it does not offer itself any more.
    stopping: bool,
    /// The catalog's bazaar, once a term of it was read.
    settled_cluster: Option<ClusterId>,
    /// Whether the log says already that this file is of another one.
    foreign: bool,
}

#[derive(Debug)]
struct FileState {
    /// Where the durable log ends; `None` while the file has no genesis.
    durable: Option<Position>,
    cluster: Option<ClusterId>,
    /// False after a failed write, until one succeeds.
    writable: bool,
    /// Counts the files: readers open theirs again when it changes.
    generation: u64,
}

/// Why an order batch cannot be taken.
#[derive(Debug)]
pub enum NotTaken {
    /// It does not lead.
    NotLeader(NotLeader),
    /// Fewer replicas are in sync than `ORDER_MIN_COPIES` wants.
    TooFewCopies {
        /// The leader.
        leader: ReplicaId,
        /// How many there are.
        copies: Copies,
        /// Whether that lasts for too long to be waited for.
        lasts: bool,
    },
}

/// A batch may go to the catalog.
#[derive(Debug)]
pub struct Admitted {
    /// In this term.
    pub term: Term,
    /// After this row.
    pub position: Position,
    /// Of this bazaar.
    pub cluster: ClusterId,
}

impl Replica {
    /// A follower, before its file was opened.
    #[must_use]
    pub fn new(
        id: ReplicaId,
        peers: Vec<ReplicaId>,
        min_copies: usize,
        metrics: Arc<OrderMetrics>,
    ) -> Self {
        let file = FileState {
            durable: None,
            cluster: None,
            writable: true,
            generation: 0,
        };
        let state = State {
            role: RoleState::default(),
            file,
            peers_to_query: peers.iter().copied().collect(),
            pipeline: None,
            stopping: false,
            settled_cluster: None,
            foreign: false,
        };
        Self {
            id,
            peers,
            min_copies,
            state: Mutex::new(state),
            changed: Condvar::new(),
            traces: Traces::default(),
            metrics,
        }
    }

    /// Answers `GET /health`.
    #[must_use]
    pub fn health(&self) -> Health {
        let state = self.state.lock();
        let known = state.role.known();
        Health {
            replica: self.id,
            leading: state.leads_openly(),
            claiming: state.role.claiming(),
            eligible: state.may_lead(),
            // A leader's log is complete, whether or not the others were asked before it began to
            // lead.
            catching_up: !state.peers_to_query.is_empty() && state.role.leading().is_none(),
            last: state.file.durable.and_then(|end| end.last),
            cluster: state.file.cluster.clone(),
            term: known.term,
            leader: known.owner,
            in_sync: state
                .pipeline
                .as_ref()
                .map(|p| p.tracker.in_sync().collect())
                .unwrap_or_default(),
            copies: state.pipeline.as_ref().map(|p| self.copies(p)),
        }
    }

    fn copies(&self, pipeline: &Pipeline) -> Copies {
        Copies {
            present: pipeline.tracker.copies(),
            wanted: self.min_copies,
        }
    }

    /// Who this is, and where its durable log ends, for a leader.
    #[must_use]
    pub fn log_position(&self) -> LogPosition {
        let state = self.state.lock();
        LogPosition {
            replica: self.id,
            cluster: state.file.cluster.clone(),
            position: state.file.durable,
        }
    }

    /// The bazaar that its file belongs to; `None` while the file is empty.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.state.lock().file.cluster.clone()
    }

    /// The catalog's bazaar, once a term of it was read.
    #[must_use]
    pub fn settled_cluster(&self) -> Option<ClusterId> {
        self.state.lock().settled_cluster.clone()
    }

    /// Notes which bazaar the catalog belongs to. With a file of another one this replica neither
    /// leads nor offers itself.
    pub fn note_catalog(&self, answer: &TermAnswer) {
        let mut state = self.state.lock();
        if let Some(cluster) = answer.settled_cluster()
            && state.settled_cluster.as_ref() != Some(cluster)
        {
            state.settled_cluster = Some(cluster.clone());
        }
        state.look_for_foreign_file();
        let led = state.role.leading().filter(|_| state.foreign);
        if let Some(term) = led.filter(|term| state.role.step_down(*term)) {
            self.end_leadership(state, term, "its file is not of the catalog's bazaar");
        }
    }

    /// The term that it leads.
    #[must_use]
    pub fn leading(&self) -> Option<Term> {
        self.state.lock().role.leading()
    }

    /// The term that it leads and says so.
    #[must_use]
    pub fn leading_openly(&self) -> Option<Term> {
        self.state.lock().leads_openly()
    }

    /// Where its log ends and to which bazaar it belongs, when it may be asked to lead.
    #[must_use]
    pub fn candidacy(&self) -> Option<(Position, ClusterId)> {
        let state = self.state.lock();
        state
            .file
            .durable
            .zip(state.file.cluster.clone())
            .filter(|_| state.may_lead())
    }

    /// It was told to stop: it hands the leadership over and takes no other.
    pub fn begin_shutdown(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        if let Some(term) = state
            .role
            .leading()
            .filter(|term| state.role.step_down(*term))
        {
            self.end_leadership(state, term, "it was told to stop");
        }
    }

    /// The highest term that it heard of, and who owns it, as far as that is known.
    #[must_use]
    pub fn known_term(&self) -> TermView {
        self.state.lock().role.known()
    }

    /// Body of a 421.
    #[must_use]
    pub fn not_leader(&self, outcome_unknown: bool) -> NotLeader {
        self.state.lock().not_leader(self.id, outcome_unknown)
    }

    /// Hears of a term. A newer one ends its own leadership.
    ///
    /// # Errors
    /// What it knows, when that is newer.
    pub fn observe_term(&self, term: TermView) -> Result<(), TermView> {
        let mut state = self.state.lock();
        let known = state.role.known();
        if term.term < known.term {
            return Err(known);
        }
        if term.term > known.term {
            tracing::info!(term = term.term, leader = ?term.owner.map(u8::from), "heard of a newer term");
            self.metrics
                .term
                .set(i64::try_from(term.term).unwrap_or(i64::MAX));
        }
        if let Some(old) = state.role.observe_term(term) {
            self.end_leadership(state, old, "a newer term exists");
        }
        Ok(())
    }

    /// Begins to complete its log for a term that was granted to it. False when it has heard of a
    /// newer one.
    #[must_use]
    pub fn begin_claim(&self, term: Term) -> bool {
        let mut state = self.state.lock();
        let Ok(ended) = state.role.begin_claim(term, self.id) else {
            return false;
        };
        self.metrics
            .term
            .set(i64::try_from(term).unwrap_or(i64::MAX));
        if let Some(old) = ended {
            self.end_leadership(state, old, "it claimed a newer term");
        }
        true
    }

    /// Gives a claim up, if it still stands.
    pub fn abandon_claim(&self, term: Term) {
        self.state.lock().role.abandon_claim(term);
    }

    /// Leads a term that it claims and whose log it has up to `end`. False when the claim no longer
    /// stands, or rows are missing.
    #[must_use]
    pub fn lead(&self, term: Term, end: Position) -> bool {
        let mut state = self.state.lock();
        let Some(durable) = state.file.durable.filter(|own| own.next() >= end.next()) else {
            return false;
        };
        if !state.may_lead() || !state.role.lead(term) {
            return false;
        }
        state.pipeline = Some(Pipeline::new(
            term,
            durable,
            self.min_copies,
            self.peers.iter().copied(),
        ));
        self.metrics.leading.set(1);
        self.metrics.leaderships.inc();
        tracing::warn!(term, last = ?durable.last, "leading");
        self.changed.notify_all();
        true
    }

    /// Ends the leadership of `term`, if it still leads that.
    pub fn step_down(&self, term: Term, why: &str) {
        let mut state = self.state.lock();
        if state.role.step_down(term) {
            self.end_leadership(state, term, why);
        }
    }

    /// Everything that follows from a leadership's end: those who wait are told that their outcome
    /// is unknown here; they ask the next leader.
    fn end_leadership(&self, mut state: MutexGuard<'_, State>, term: Term, why: &str) {
        let waiters = state
            .pipeline
            .take()
            .map(|mut pipeline| pipeline.tracker.abandon())
            .unwrap_or_default();
        let body = state.not_leader(self.id, true);
        self.changed.notify_all();
        drop(state);
        self.metrics.leading.set(0);
        tracing::warn!(term, waiting = waiters.len(), "no longer leading: {why}");
        for waiter in waiters {
            waiter.responder.send(Response::json(421, &body));
        }
    }

    /// Whether a batch may go to the catalog now: the term, and the last row received.
    ///
    /// # Errors
    /// Why not; nothing happened then.
    pub fn admit(&self) -> Result<Admitted, NotTaken> {
        let state = self.state.lock();
        match (&state.pipeline, &state.file.cluster) {
            (Some(p), Some(cluster)) if p.tracker.has_enough_copies() => Ok(Admitted {
                term: p.term,
                position: p.received,
                cluster: cluster.clone(),
            }),
            (Some(p), Some(_)) => Err(NotTaken::TooFewCopies {
                leader: self.id,
                copies: self.copies(p),
                lasts: p.shortage.lasts(Instant::now()),
            }),
            _ => Err(NotTaken::NotLeader(state.not_leader(self.id, false))),
        }
    }

    /// Takes rows that came from the catalog, for the followers and the log writer. False when it
    /// no longer leads that term: the rows are in the journal, and the next leader has them.
    #[must_use]
    pub fn receive(&self, term: Term, rows: &Arc<Rows>) -> bool {
        let mut state = self.state.lock();
        let Some(pipeline) = state.pipeline.as_mut().filter(|p| p.term == term) else {
            return false;
        };
        if rows.orders.is_empty() {
            return true;
        }
        pipeline.receive(rows, Instant::now());
        self.changed.notify_all();
        true
    }

    /// Lets batches wait until their rows are durable.
    pub fn await_durable(&self, term: Term, waiters: Vec<Waiter>) {
        let mut state = self.state.lock();
        let mut done = Vec::new();
        let mut late = Vec::new();
        match state.pipeline.as_mut().filter(|p| p.term == term) {
            Some(pipeline) => {
                for waiter in waiters {
                    done.extend(
                        pipeline
                            .tracker
                            .submit(waiter.needed(), waiter, Instant::now()),
                    );
                }
            }
            None => late = waiters,
        }
        drop(state);
        answer(done);
        for waiter in late {
            waiter
                .responder
                .send(Response::json(421, &self.not_leader(true)));
        }
    }

    /// The log writer made rows durable, or merely looked at its file; only a commit shows that it
    /// can be written.
    pub fn written(&self, durable: Option<Position>, cluster: Option<ClusterId>, committed: bool) {
        let mut state = self.state.lock();
        state.file.durable = durable;
        state.file.cluster = cluster;
        state.file.writable |= committed;
        state.look_for_foreign_file();
        let next = durable.map_or(0, |end| end.next());
        let mut done = Vec::new();
        if let Some(pipeline) = state.pipeline.as_mut() {
            done = pipeline.written(next);
        }
        self.metrics
            .log_rows
            .set(i64::try_from(next).unwrap_or(i64::MAX));
        drop(state);
        answer(done);
    }

    /// A write failed: it does not lead, nor offer itself, until one succeeds.
    pub fn write_failed(&self) {
        let mut state = self.state.lock();
        state.file.writable = false;
        if let Some(term) = state
            .role
            .leading()
            .filter(|term| state.role.step_down(*term))
        {
            self.end_leadership(state, term, "its log could not be written");
        }
    }

    /// Whether the last write succeeded.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.state.lock().file.writable
    }

    /// Its file was set aside: the log is empty, and is asked for anew.
    pub fn file_replaced(&self) {
        let mut state = self.state.lock();
        state.file.durable = None;
        state.file.cluster = None;
        state.file.generation += 1;
        state.peers_to_query = self.peers.iter().copied().collect();
        let led = state
            .role
            .leading()
            .filter(|term| state.role.step_down(*term));
        if let Some(term) = led {
            self.end_leadership(state, term, "its file was set aside");
        }
    }

    /// Where the durable log ends; `None` while the file is empty.
    #[must_use]
    pub fn durable(&self) -> Option<Position> {
        self.state.lock().file.durable
    }

    /// Which of its files is in use.
    #[must_use]
    pub fn file_generation(&self) -> u64 {
        self.state.lock().file.generation
    }

    /// Whether this peer's log is still to be asked for.
    #[must_use]
    pub fn must_query(&self, peer: ReplicaId) -> bool {
        self.state.lock().peers_to_query.contains(&peer)
    }

    /// This peer has told all that it has.
    pub fn queried(&self, peer: ReplicaId) {
        self.state.lock().peers_to_query.remove(&peer);
    }

    /// A follower said where its durable log ends; `acknowledged`: in answer to rows, not to the
    /// mere question. A follower whose disk hangs still answers the question, so that brings it
    /// into sync only when it misses nothing.
    pub fn follower_at(&self, term: Term, id: ReplicaId, next: u64, acknowledged: bool) {
        let mut state = self.state.lock();
        let Some(pipeline) = state.pipeline.as_mut().filter(|p| p.term == term) else {
            return;
        };
        let before = pipeline.tracker.copies();
        let received = pipeline.received.next();
        let done = pipeline.follower_at(id, next, acknowledged);
        let after = pipeline.tracker.copies();
        drop(state);
        let lag = i64::try_from(received.saturating_sub(next)).unwrap_or(i64::MAX);
        self.metrics
            .follower_lag
            .with_label_values(&[&id.to_string()])
            .set(lag);
        if after > before {
            tracing::info!(follower = %id, term, copies = after, "follower in sync");
        } else if after < before {
            tracing::warn!(follower = %id, term, "follower lost rows: out of sync until it has them again");
        }
        answer(done);
    }

    /// A follower did not answer in time, or refused.
    pub fn follower_lost(&self, term: Term, id: ReplicaId, why: &str) {
        let mut state = self.state.lock();
        let Some(pipeline) = state.pipeline.as_mut().filter(|p| p.term == term) else {
            return;
        };
        let (was_in_sync, done) = pipeline.follower_lost(id);
        drop(state);
        if was_in_sync {
            self.metrics.followers_lost.inc();
            tracing::warn!(follower = %id, term, "follower out of sync: {why}");
        }
        answer(done);
    }

    /// The last row that came from the catalog while it leads this term.
    #[must_use]
    pub fn received(&self, term: Term) -> Option<Position> {
        self.state
            .lock()
            .pipeline
            .as_ref()
            .filter(|p| p.term == term)
            .map(|p| p.received)
    }

    /// Since when a batch waits for this follower.
    #[must_use]
    pub fn waiting_since(&self, id: ReplicaId) -> Option<Instant> {
        self.state
            .lock()
            .pipeline
            .as_ref()
            .and_then(|p| p.tracker.waiting_since(id))
    }

    /// What to send to a follower that needs row `next`. Waits up to `timeout` for something new.
    #[must_use]
    pub fn rows_from(&self, term: Term, next: u64, limit: usize, timeout: Duration) -> ToSend {
        let mut state = self.state.lock();
        let mut waited = false;
        loop {
            let Some(pipeline) = state.pipeline.as_ref().filter(|p| p.term == term) else {
                return ToSend::Nothing;
            };
            if next < pipeline.cache.first() {
                return ToSend::FromFile;
            }
            if let Some(rows) = pipeline.cache.from(next, limit) {
                return ToSend::Rows(rows);
            }
            if waited {
                return ToSend::Nothing;
            }
            waited = self.changed.wait_for(&mut state, timeout).timed_out();
        }
    }

    /// Waits until it leads, at most `timeout`.
    #[must_use]
    pub fn wait_leading(&self, timeout: Duration) -> Option<Term> {
        let mut state = self.state.lock();
        if state.role.leading().is_none() {
            self.changed.wait_for(&mut state, timeout);
        }
        state.role.leading()
    }

    /// The term keeper's finding: whether the catalog answers.
    pub fn catalog_answers(&self, term: Term, answers: bool) {
        let mut state = self.state.lock();
        if let Some(pipeline) = state
            .pipeline
            .as_mut()
            .filter(|p| p.term == term && p.catalog_answers != answers)
        {
            pipeline.catalog_answers = answers;
            if answers {
                tracing::info!(term, "the catalog answers again: leading");
            } else {
                tracing::warn!(
                    term,
                    "the catalog does not answer: not leading until it does"
                );
            }
        }
    }
}

impl State {
    /// Whether it may lead: it has a log that can be written, it is not stopping, and it does not
    /// hold a term that it dares not use.
    fn may_lead(&self) -> bool {
        let stuck = self.pipeline.is_some() && self.leads_openly().is_none();
        let fit = self.file.durable.is_some() && self.file.writable && !self.foreign;
        fit && !self.stopping && !stuck
    }

    /// Whether the file is of another bazaar than the catalog's; logged when that changes.
    fn look_for_foreign_file(&mut self) {
        let Some(catalog) = &self.settled_cluster else {
            return;
        };
        let foreign = catalog.differs_from(self.file.cluster.as_ref());
        if foreign && !self.foreign {
            let own = self.file.cluster.as_ref().map(ToString::to_string);
            tracing::error!(
                own,
                catalog = %catalog,
                "this replica's file belongs to another bazaar than the catalog's: it neither leads nor follows here; \
                 give it its own ORDER_DB and CATALOG_URL, or move the file away, and it fetches this bazaar's log"
            );
        } else if self.foreign && !foreign {
            tracing::info!("the file is of the catalog's bazaar");
        }
        self.foreign = foreign;
    }

    fn not_leader(&self, own: ReplicaId, outcome_unknown: bool) -> NotLeader {
        let known = self.role.known();
        NotLeader {
            term: known.term,
            leader: known.owner.filter(|id| *id != own),
            outcome_unknown,
        }
    }

    /// The term that it says it leads. It does not say so when it may not be able to take orders.
    fn leads_openly(&self) -> Option<Term> {
        let pipeline = self.pipeline.as_ref()?;
        (pipeline.catalog_answers && !pipeline.is_overdue() && self.file.writable)
            .then_some(pipeline.term)
    }
}

/// What to send to a follower.
#[derive(Debug)]
pub enum ToSend {
    /// These rows.
    Rows(Arc<Rows>),
    /// Rows that are no longer in memory.
    FromFile,
    /// Nothing new, or no longer leading.
    Nothing,
}

fn answer(done: Done<Waiter>) {
    for (waiter, outcome) in done {
        crash::point("leader-before-answer");
        let response = match outcome {
            Outcome::Durable => Response::json(
                200,
                &OrdersAnswer {
                    verdicts: waiter.verdicts,
                },
            ),
            Outcome::TooFewCopies => {
                let message =
                    "the orders are durable on fewer replicas than ORDER_MIN_COPIES wants";
                Response::json(
                    503,
                    &Unavailable {
                        message: message.into(),
                        outcome_unknown: true,
                        retry: true,
                    },
                )
            }
        };
        waiter.responder.send(response);
    }
}
