//! The way of an order while this replica leads: admitted, received, durable everywhere,
//! acknowledged.

use crate::leading::commit::{Ended, Outcome};
use crate::leading::pipeline::{PositionSource, Waiter};
use crate::replica::Replica;
use common::crash;
use common::http::Response;
use common::wire::order::{ClusterId, Position, ReplicaId, Rows, Term};
use common::wire::replica::{Copies, NotLeader, OrdersAnswer, Unavailable};
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

/// The answer to [`Replica::rows_from`].
#[derive(Debug)]
pub enum ToSend {
    Rows(Arc<Rows>),
    /// The rows are no longer in memory: read them from the file.
    FromFile,
    /// Nothing new, or no longer leading.
    Nothing,
}

impl Replica {
    /// Admits a batch.
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
                lasts: p.shortage.lasts(Instant::now()),
            }),
            _ => Err(NotAdmitted::NotLeader(state.not_leader(self.id, false))),
        }
    }

    /// Takes rows that came from the catalog, for the followers and the log writer. False when it
    /// no longer leads that term. The rows are in the journal, so the next leader gets them there.
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
            None => late = waiters,
        }
        drop(state);
        acknowledge(ended);
        for waiter in late {
            let body = self.not_leader(true);
            waiter.responder.send(Response::json(421, &body));
        }
    }

    /// A follower answered that it has `next` durable rows.
    pub fn follower_at(&self, term: Term, id: ReplicaId, next: u64, source: PositionSource) {
        let mut state = self.state.lock();
        let Some(pipeline) = state.pipeline.as_mut().filter(|p| p.term == term) else {
            return;
        };
        let before = pipeline.tracker.copies();
        let received = pipeline.received.next();
        let ended = pipeline.follower_at(id, next, source);
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

    /// Rows for a follower that needs row `next`. Waits up to `timeout` for a new one.
    pub fn rows_from(&self, term: Term, next: u64, limit: usize, timeout: Duration) -> ToSend {
        let mut state = self.state.lock();
        let mut timed_out = false;
        loop {
            // Looked up anew after each wait: the wait releases the lock, so the leadership may
            // have ended or the rows may have left memory.
            let Some(pipeline) = state.pipeline.as_ref().filter(|p| p.term == term) else {
                return ToSend::Nothing;
            };
            if next < pipeline.cache.first() {
                return ToSend::FromFile;
            }
            if let Some(rows) = pipeline.cache.from(next, limit) {
                return ToSend::Rows(rows);
            }
            if timed_out {
                return ToSend::Nothing;
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
