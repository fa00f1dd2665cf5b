//! The sequencer: the only caller of the catalog for orders. It takes the queued orders, sends them
//! in one batch, and goes on with the next batch while the log writer and the replication threads
//! make this one durable.
//!
//! It never has two batches at the catalog at once. Each batch says which row this leader received
//! last, and gets the rows after it. With two under way, both would get the same rows, and one that
//! overtook the other would leave a gap.
//!
//! The thread `sequencer` does this work while orders are queued, else the server's worker that
//! read a lone batch (see [`common::stage`]). That worker also makes the batch durable
//! ([`super::lone`]).

use crate::leading::catalog::CatalogClient;
use crate::leading::lone::{LoneBatch, LoneWorker};
use crate::leading::pipeline::Waiter;
use crate::log::writer::{AppendOrigin, LogStage, WriterWork};
use crate::metrics::OrderMetrics;
use crate::replica::{Admitted, NotAdmitted, NotLeading, Replica};
use common::crash;
use common::http::client::CallError;
use common::http::{Responder, Response};
use common::stage::{Stage, Work};
use common::timing::MAX_BATCH;
use common::wire::catalog::{TermInfo, TradeAnswer, TradeRequest};
use common::wire::order::{Position, Rows, Submission, Term};
use common::wire::replica::{Copies, Unavailable};
use std::collections::VecDeque;
use std::sync::Arc;

/// A front-end's batch.
#[derive(Debug)]
pub struct OrderBatch {
    pub orders: Vec<Submission>,
    pub responder: Responder,
}

/// The sequencer with its queue.
pub type SequencerStage = Stage<Sequencer, OrderBatch>;

/// The sequencer's state; all of it is shared with other threads or immutable.
#[derive(Debug)]
pub struct Sequencer {
    replica: Arc<Replica>,
    catalog: CatalogClient,
    writer: Arc<LogStage>,
    metrics: Arc<OrderMetrics>,
}

/// The rows after those of the catalog's answer were not taken: this replica steps down.
struct NotPassedOn;

impl Sequencer {
    pub fn new(
        replica: Arc<Replica>,
        catalog: CatalogClient,
        writer: Arc<LogStage>,
        metrics: Arc<OrderMetrics>,
    ) -> Self {
        Self {
            replica,
            catalog,
            writer,
            metrics,
        }
    }

    /// Takes a lone batch through the catalog, on the caller's thread. Returns the rows that the
    /// caller is then to make durable, once it gave up its turn here.
    pub fn trade_alone<'a>(
        &self,
        batch: OrderBatch,
        worker: LoneWorker<'a>,
    ) -> Option<LoneBatch<'a>> {
        self.trade(vec![batch], Some(worker))
    }

    /// One call to the catalog. With `worker` the caller makes the rows durable that are returned,
    /// else the log writer and the replication threads do.
    fn trade<'a>(
        &self,
        mut batch: Vec<OrderBatch>,
        worker: Option<LoneWorker<'a>>,
    ) -> Option<LoneBatch<'a>> {
        // Read once for the whole batch: position and term must be of one leadership.
        let Admitted {
            term,
            position,
            cluster,
        } = match self.replica.admit() {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let response = refusal_response(&refusal);
                batch
                    .into_iter()
                    .for_each(|b| b.responder.send(response.clone()));
                return None;
            }
        };
        for taken in &batch {
            self.metrics
                .queue_seconds
                .observe(taken.responder.age().as_secs_f64());
        }
        // The catalog sees one list. The counts cut its verdicts apart again, in `accept`.
        let counts: Vec<usize> = batch.iter().map(|b| b.orders.len()).collect();
        let orders: Vec<Submission> = batch
            .iter_mut()
            .flat_map(|b| std::mem::take(&mut b.orders))
            .collect();
        self.metrics.batch_orders.observe(orders.len() as f64);
        let request = TradeRequest {
            term,
            replica: self.replica.id,
            cluster,
            position,
            orders,
        };
        let timer = self.metrics.catalog_seconds.start_timer();
        // Only this turn is held during the call, which may take a lease and more while caches do
        // not acknowledge. The next batch waits for it; health, replication and reads go on.
        let traded = self.catalog.trade(&request);
        timer.observe_duration();
        match traded {
            Ok(answer) => {
                crash::point("leader-after-catalog");
                self.accept(answer, &request, batch.into_iter().zip(counts), worker)
            }
            Err(error) => {
                let response = self.failed(term, &error);
                batch
                    .into_iter()
                    .for_each(|b| b.responder.send(response.clone()));
                None
            }
        }
    }

    /// Passes the new rows on, and lets each front-end's batch wait for its own rows.
    fn accept<'a>(
        &self,
        answer: TradeAnswer,
        request: &TradeRequest,
        batch: impl Iterator<Item = (OrderBatch, usize)>,
        worker: Option<LoneWorker<'a>>,
    ) -> Option<LoneBatch<'a>> {
        let term = request.term;
        for (submission, verdict) in request.orders.iter().zip(&answer.verdicts) {
            let key = &submission.order.key;
            tracing::debug!(trace = submission.trace, %key, ?verdict, term, "order sequenced");
        }
        self.replica
            .traces
            .note(request.orders.iter().zip(&answer.verdicts));
        // One verdict too few would give a client the verdict of another client's order. Such an
        // answer is a bug of the catalog, and nothing of it is used. The rows come with the next
        // leader's fetch.
        let passed_on = if answer.verdicts.len() == request.orders.len() {
            self.pass_on(request, answer.rows, answer.end, worker)
        } else {
            Err(NotPassedOn)
        };
        // Also after a failure: each caller gets an answer, whichever way the batch ended.
        let mut verdicts = answer.verdicts.into_iter();
        let waiters = batch.map(|(b, n)| Waiter {
            responder: b.responder,
            verdicts: verdicts.by_ref().take(n).collect(),
        });
        // After the rows were passed on, so that a batch never waits for rows that are not on their
        // way. They may be durable everywhere by now; the tracker then ends the batch at once.
        match passed_on {
            Ok(alone) => {
                self.replica.await_durable(term, waiters.collect());
                alone
            }
            Err(NotPassedOn) => {
                self.replica
                    .step_down(term, "it could not take the catalog's rows");
                // Unknown, since the orders have traded. The next leader finds their keys in the
                // journal, and answers the recorded verdicts.
                let response = Response::json(421, &self.replica.not_leader(true));
                waiters.for_each(|waiter| waiter.responder.send(response.clone()));
                None
            }
        }
    }

    /// Gives rows to the followers and the log writer, and fetches the rest when the answer could
    /// not hold them all. With `worker`, returns the rows instead, if the answer holds all of them.
    ///
    /// # Errors
    /// When they cannot be fetched, or this replica no longer leads. It then steps down: a leader
    /// that lacks rows of the journal would answer "no such order" for orders that were
    /// acknowledged.
    fn pass_on<'a>(
        &self,
        request: &TradeRequest,
        rows: Rows,
        end: Position,
        worker: Option<LoneWorker<'a>>,
    ) -> Result<Option<LoneBatch<'a>>, NotPassedOn> {
        let term = request.term;
        let mut next = request.position.next();
        let mut rows = rows;
        loop {
            // The position that was sent is this leader's `received`, and no other batch was under
            // way. So another first row is a bug or another journal; appending it would leave a gap
            // or hide a contradiction.
            if rows.first != next {
                tracing::error!(
                    term,
                    expected = next,
                    got = rows.first,
                    "the catalog's rows do not continue the log"
                );
                return Err(NotPassedOn);
            }
            next = rows.end();
            let run = Arc::new(rows);
            // A page that more rows follow goes to the log writer. This thread has to fetch the
            // next page, and cannot wait for followers in between.
            let worker = worker.filter(|_| next >= end.next() && !run.orders.is_empty());
            // The followers first: their round trip takes longer than the own fsync.
            let loans = self
                .replica
                .receive(term, &run, worker.is_some())
                .map_err(|NotLeading| NotPassedOn)?;
            // The turn at the log is taken before this batch gives up its turn here: the next
            // batch's rows must not come first.
            let turn = worker.and_then(|worker| worker.log.reserve());
            if turn.is_none()
                && !run.orders.is_empty()
                // A full queue means that the disk is a thousand appends behind. Blocking here
                // would hold the sequencer's turn, and with it every order, for as long as the disk
                // hangs.
                && self
                    .writer
                    .put(WriterWork::Append(
                        Arc::clone(&run),
                        AppendOrigin::Leader(term),
                    ))
                    .is_err()
            {
                tracing::error!(term, "the log writer does not keep up");
                return Err(NotPassedOn);
            }
            if next >= end.next() {
                return Ok(worker.map(|worker| LoneBatch {
                    worker,
                    term,
                    cluster: request.cluster.clone(),
                    rows: run,
                    turn,
                    loans,
                }));
            }
            rows = match self.catalog.journal(next.checked_sub(1)) {
                Ok(page) if !page.orders.is_empty() => page,
                // The catalog said that the journal goes on to `end`, and now has no row there. It
                // answers an older state than its own: nothing that it says about the end can be
                // trusted.
                Ok(_) => return Err(NotPassedOn),
                Err(error) => {
                    tracing::warn!(term, %error, "rows after those of the answer were not fetched");
                    return Err(NotPassedOn);
                }
            };
        }
    }

    /// The response to a batch whose call brought no verdicts.
    fn failed(&self, term: Term, error: &CallError) -> Response {
        if let Some(newer) = error.refusal::<TermInfo>(412) {
            tracing::warn!(term, newer = newer.term, "fenced by the catalog");
            // An error means that this replica knows a still newer term: nothing to learn.
            let _ = self.replica.observe_term(newer);
            // Stepping down must not depend on `newer`: if this replica knew that term already,
            // `observe_term` changed nothing, and a leader that goes on after a fence gets nothing
            // but refusals.
            self.replica.step_down(term, "fenced by the catalog");
            // The catalog compares terms before it decides an order, so this call has not traded.
            // Another catalog may have been asked before it, and have committed.
            return Response::json(421, &self.replica.not_leader(error.outcome_unknown()));
        }
        if let Some(mut refusal) = error.refusal::<Unavailable>(503) {
            // The catalog's own words: it alone knows whether it refused before or after it began a
            // commit. It knows nothing of one that was asked before it.
            refusal.outcome_unknown |= error.outcome_unknown();
            return Response::json(503, &refusal);
        }
        // No retry: the history is lost until a person rebuilds the catalog, and every repeat would
        // only delay the client's error. The leader stays, since any other one would be refused,
        // too.
        if let CallError::Status { status: 409, .. } = error {
            tracing::error!(term, %error, "the catalog does not know this log");
            let message = format!("the catalog refuses this bazaar's history: {error}");
            return Response::json(
                503,
                &Unavailable {
                    message,
                    outcome_unknown: error.outcome_unknown(),
                    retry: false,
                },
            );
        }
        // The leader stays here as well. The term keeper decides whether the catalog is
        // unreachable: one broken connection is no reason for an election.
        tracing::warn!(term, %error, "the catalog's call failed");
        let message = format!("the catalog could not be asked: {error}");
        Response::json(
            503,
            &Unavailable {
                message,
                outcome_unknown: error.outcome_unknown(),
                retry: true,
            },
        )
    }
}

impl Work<OrderBatch> for Sequencer {
    /// Cuts the queued batches into batches for the catalog. A front-end's batch stays whole, since
    /// one response answers all of it.
    fn work(&mut self, taken: Vec<OrderBatch>) {
        let mut held = VecDeque::from(taken);
        while !held.is_empty() {
            let mut batch: Vec<OrderBatch> = Vec::new();
            let mut orders = 0;
            while let Some(next) = held
                // Nothing bounds the orders of one request but its bytes. A batch above the cap
                // leaves alone; without `is_empty` it would stay in front, and this loop would not
                // end.
                .pop_front_if(|next| batch.is_empty() || orders + next.orders.len() <= MAX_BATCH)
            {
                orders += next.orders.len();
                batch.push(next);
            }
            self.trade(batch, None);
        }
    }
}

fn refusal_response(refusal: &NotAdmitted) -> Response {
    match refusal {
        NotAdmitted::NotLeader(body) => Response::json(421, body),
        NotAdmitted::TooFewCopies {
            // The front-end's user reads this text, so it names the replica and the setting.
            leader,
            copies: Copies { present, wanted },
            lasts,
        } => {
            let message = format!(
                "too few replicas are in sync with the leader, replica {leader}: a new order would \
                 have {present} of the {wanted} copies that ORDER_MIN_COPIES asks for"
            );
            Response::json(
                503,
                &Unavailable {
                    message,
                    outcome_unknown: false,
                    retry: !lasts,
                },
            )
        }
    }
}
