//! The way of an order while this replica leads: admitted, received, durable everywhere,
//! acknowledged.

use crate::leading::commit::{Ended, Outcome};
use crate::leading::links::{Link, Loan, Taken};
use crate::leading::pipeline::{FollowerReport, PositionSource, Waiter};
use crate::replica::{Replica, State};
use common::crash;
use common::http::Response;
use common::http::split::SplitConnection;
use common::wire::order::{ClusterId, Position, ReplicaId, Rows, Term};
use common::wire::replica::{Copies, NotLeader, OrdersAnswer, Unavailable};
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a batch of orders may not go to the catalog. Nothing happened then.
#[derive(Debug)]
pub enum NotAdmitted {
    NotLeader(NotLeader),
    /// Fewer replicas are in sync than `ORDER_MIN_COPIES` asks for.
    TooFewCopies {
        leader: ReplicaId,
        copies: Copies,
        /// Whether the shortage is too long for the caller to wait it out.
        lasts: bool,
    },
}

/// A batch may go to the catalog, with these fields.
#[derive(Debug)]
pub struct Admitted {
    pub term: Term,
    /// The last row that this leader received.
    pub position: Position,
    pub cluster: ClusterId,
}

/// The answer to [`Replica::rows_for`].
#[derive(Debug)]
pub enum ToSend {
    /// Nobody knows where its log ends: ask it.
    Question,
    Rows(Arc<Rows>),
    /// The rows from this one on are no longer in memory: read them from the file.
    FromFile(u64),
    /// Nothing new, or no longer leading.
    Nothing,
    /// Another thread sends to this follower since then.
    Lent(Instant),
}

/// This replica no longer leads that term.
#[derive(Debug)]
pub struct NotLeading;

impl Replica {
    /// Admits a batch to the catalog. Term, position and bazaar are of one moment.
    ///
    /// # Errors
    /// [`NotAdmitted`]
    pub fn admit(&self) -> Result<Admitted, NotAdmitted> {
        let state = self.state.lock();
        match (&state.pipeline, &state.file.cluster) {
            // Before the catalog call: afterwards the order has traded, and only "outcome unknown"
            // would be left to say.
            (Some(p), Some(cluster)) if p.tracker.has_enough_copies() => Ok(Admitted {
                term: p.term,
                position: p.received,
                cluster: cluster.clone(),
            }),
            (Some(p), Some(_)) => Err(NotAdmitted::TooFewCopies {
                leader: self.id,
                copies: self.copies(p),
                // A short shortage is worth waiting for: the front-end tries again, and a restarted
                // follower is back within a second.
                lasts: p.shortage.lasts(Instant::now()),
            }),
            _ => Err(NotAdmitted::NotLeader(state.not_leader(self.id, false))),
        }
    }

    /// Takes rows that came from the catalog, for the followers and the log writer. With
    /// `borrow`, returns the connections of the followers to which the caller sends them; the
    /// threads of the others are notified.
    ///
    /// # Errors
    /// When it no longer leads that term. The rows are in the journal, so the next leader gets them
    /// there.
    pub fn receive(
        &self,
        term: Term,
        rows: &Arc<Rows>,
        borrow: bool,
    ) -> Result<Vec<Loan<SplitConnection>>, NotLeading> {
        let mut state = self.state.lock();
        let pipeline = state.pipeline.as_mut().filter(|p| p.term == term);
        let pipeline = pipeline.ok_or(NotLeading)?;
        // A batch of repeats or refusals alone: nothing to copy, and no thread to wake for it.
        if rows.orders.is_empty() {
            return Ok(Vec::new());
        }
        let now = Instant::now();
        pipeline.receive(rows, now);
        // In the same step as `receive`. In between, the follower's thread could take its link back
        // and send these rows too.
        let loans = if borrow {
            pipeline.links.lend(rows.first, now)
        } else {
            Vec::new()
        };
        // With every link lent, nobody has anything to do: each wake-up would cost two context
        // switches for nothing.
        if loans.len() < self.peers.len() {
            self.changed.notify_all();
        }
        Ok(loans)
    }

    /// Lets batches wait until their rows are durable.
    pub fn await_durable(&self, term: Term, waiters: Vec<Waiter>) {
        let mut state = self.state.lock();
        let mut ended = Vec::new();
        let mut late = Vec::new();
        match state.pipeline.as_mut().filter(|p| p.term == term) {
            Some(pipeline) => {
                for waiter in waiters {
                    // The rows may be durable already: log writer and followers began when
                    // `receive` returned.
                    let needed = waiter.needed();
                    ended.extend(pipeline.tracker.submit(needed, waiter, Instant::now()));
                }
            }
            // The leadership ended while the rows were passed on. They traded, so "unknown" is the
            // truth; the next leader answers the same keys.
            None => late = waiters,
        }
        drop(state);
        acknowledge(ended);
        for waiter in late {
            let body = self.not_leader(true);
            waiter.responder.send(Response::json(421, &body));
        }
    }

    /// A follower answered the borrower of its connection: its durable log ends at `end`.
    pub fn borrowed_at(&self, term: Term, loan: Loan<SplitConnection>, end: Position) {
        let mut state = self.state.lock();
        let Some(pipeline) = state.pipeline.as_mut().filter(|p| p.term == term) else {
            return;
        };
        // Recalled: the follower's thread has learned of a newer position since, and this one would
        // look like lost rows.
        if !pipeline.links.is_current(&loan) {
            return;
        }
        let follower = loan.follower;
        // Given back before the batch is acknowledged: the client's next order may be here at once,
        // and finds the link free.
        pipeline.links.give_back(loan, end.next(), Instant::now());
        if end.next() < pipeline.received.next() {
            // Rows came meanwhile: the follower's thread sends them.
            self.changed.notify_all();
        }
        let report = FollowerReport {
            follower,
            rows: end.next(),
            source: PositionSource::Append,
        };
        self.count_follower(state, term, report);
    }

    /// The borrower got no good answer. The follower's thread asks the follower anew. `late`: it
    /// did not answer in time, so it is out of sync.
    pub fn loan_failed(&self, term: Term, loan: &Loan<SplitConnection>, late: Option<&str>) {
        let mut state = self.state.lock();
        let pipeline = state.pipeline.as_mut().filter(|p| p.term == term);
        let Some(pipeline) = pipeline.filter(|p| p.links.is_current(loan)) else {
            return;
        };
        pipeline.links.give_up(loan);
        self.changed.notify_all();
        drop(state);
        if let Some(why) = late {
            self.follower_lost(term, loan.follower, why);
        }
    }

    /// Takes a follower's link away from a borrower that has it for too long.
    pub fn recall(&self, term: Term, follower: ReplicaId) {
        let mut state = self.state.lock();
        if let Some(pipeline) = state.pipeline.as_mut().filter(|p| p.term == term) {
            pipeline.links.recall(follower);
        }
    }

    /// A follower answered its own thread.
    pub fn follower_at(&self, term: Term, report: FollowerReport) {
        let state = self.state.lock();
        self.count_follower(state, term, report);
    }

    fn count_follower(&self, mut state: MutexGuard<'_, State>, term: Term, report: FollowerReport) {
        let id = report.follower;
        let Some(pipeline) = state.pipeline.as_mut().filter(|p| p.term == term) else {
            return;
        };
        let before = pipeline.tracker.copies();
        let received = pipeline.received.next();
        let ended = pipeline.follower_at(report);
        let after = pipeline.tracker.copies();
        drop(state);
        // Metrics and log lines after the lock: writing a line may block on a slow terminal or
        // disk.
        let lag = i64::try_from(received.saturating_sub(report.rows)).unwrap_or(i64::MAX);
        self.metrics
            .follower_lag
            .with_label_values(&[&id.to_string()])
            .set(lag);
        if after > before {
            tracing::info!(follower = %id, term, copies = after, "follower in sync");
        } else if after < before {
            tracing::warn!(
                follower = %id, term,
                "follower lost rows: out of sync until it has them again"
            );
        }
        acknowledge(ended);
    }

    /// A follower did not answer in time, or refused: it is out of sync.
    pub fn follower_lost(&self, term: Term, id: ReplicaId, why: &str) {
        let mut state = self.state.lock();
        let Some(pipeline) = state.pipeline.as_mut().filter(|p| p.term == term) else {
            return;
        };
        let (was_in_sync, ended) = pipeline.follower_lost(id);
        drop(state);
        // A dead follower fails each 50 ms. Only the change is worth a line.
        if was_in_sync {
            self.metrics.followers_lost.inc();
            tracing::warn!(follower = %id, term, "follower out of sync: {why}");
        }
        acknowledge(ended);
    }

    /// The last row that came from the catalog; `None` when it does not lead this term.
    pub fn received(&self, term: Term) -> Option<Position> {
        self.state
            .lock()
            .pipeline
            .as_ref()
            .filter(|p| p.term == term)
            .map(|p| p.received)
    }

    /// Since when a batch waits for this follower.
    pub fn waiting_since(&self, id: ReplicaId) -> Option<Instant> {
        self.state
            .lock()
            .pipeline
            .as_ref()
            .and_then(|p| p.tracker.waiting_since(id))
    }

    /// Whether each order waits for this follower.
    pub fn is_in_sync(&self, id: ReplicaId) -> bool {
        self.state
            .lock()
            .pipeline
            .as_ref()
            .is_some_and(|p| p.tracker.in_sync().any(|follower| follower == id))
    }

    /// Rows for a follower, for its thread. While there are none, waits up to `timeout` and offers
    /// the follower's link meanwhile.
    pub fn rows_for(
        &self,
        term: Term,
        follower: ReplicaId,
        link: &mut Option<Link<SplitConnection>>,
        limit: usize,
        timeout: Duration,
    ) -> ToSend {
        let mut state = self.state.lock();
        let mut timed_out = false;
        loop {
            // Looked up anew after each wait: the wait releases the lock, so the leadership may
            // have ended or the rows may have left memory.
            let Some(pipeline) = state.pipeline.as_mut().filter(|p| p.term == term) else {
                *link = None;
                return ToSend::Nothing;
            };
            match (link.take(), pipeline.links.take(follower)) {
                (Some(own), _) | (None, Taken::Link(own)) => {
                    let next = link.insert(own).next;
                    if next < pipeline.cache.first() {
                        return ToSend::FromFile(next);
                    }
                    if let Some(rows) = pipeline.cache.from(next, limit) {
                        return ToSend::Rows(rows);
                    }
                    // The link stays with the caller: it looks at its role, and asks a follower
                    // that was idle for long.
                    if timed_out {
                        return ToSend::Nothing;
                    }
                    // Offered only for the wait. With rows to send, this thread has to keep the
                    // connection, or a borrower would send later rows first.
                    if let Some(own) = link.take() {
                        pipeline.links.offer(follower, own);
                    }
                }
                (None, Taken::Lent(since)) if timed_out => return ToSend::Lent(since),
                // The borrower wakes this thread if something goes wrong, or if more rows came
                // meanwhile.
                (None, Taken::Lent(_)) => {}
                (None, Taken::Nothing) => return ToSend::Question,
            }
            timed_out = self.changed.wait_for(&mut state, timeout).timed_out();
        }
    }
}

/// Answers batches that have ended; call it after the lock is released.
pub(super) fn acknowledge(ended: Ended<Waiter>) {
    for (waiter, outcome) in ended {
        crash::point("leader-before-answer");
        let response = match outcome {
            Outcome::Durable => {
                let verdicts = waiter.verdicts;
                Response::json(200, &OrdersAnswer { verdicts })
            }
            Outcome::TooFewCopies => {
                // The copies were enough when the batch was admitted, and a follower was lost
                // since. The orders have traded, so the caller must not hear that nothing happened;
                // a repeat gets the recorded verdicts once there are copies enough.
                let message =
                    "the orders are durable on fewer replicas than ORDER_MIN_COPIES asks for";
                let body = Unavailable {
                    message: message.into(),
                    outcome_unknown: true,
                    retry: true,
                };
                Response::json(503, &body)
            }
        };
        waiter.responder.send(response);
    }
}
