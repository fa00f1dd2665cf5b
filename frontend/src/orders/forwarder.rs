//! The forwarders: each takes the orders that wait (`super::batcher`) as one batch, sends it to
//! the leader, and answers each order. While there is no leader, or a call fails, the batch is held
//! and sent again with the same order keys: the catalog knows which of them traded already.

use super::batcher::BatchReceiver;
use super::evidence::OrderEvidence;
use crate::intake::{Waiting, unavailable};
use crate::leader::cell::{Leader, LeaderCell, WaitFor};
use crate::leader::monitor::Reports;
use crate::metrics::{OrderOutcome, QueueMetrics};
use common::clock::BootInstant;
use common::crash;
use common::http::client::{Call, CallError};
use common::http::{Responder, Response};
use common::threads::Thread;
use common::timing::{LEADER_SLACK, LEADER_TO_CATALOG, MAX_BATCH, MAX_REPLICATION_TIMEOUT};
use common::wire::order::{Side, Submission, Term, Verdict};
use common::wire::public::Receipt;
use common::wire::replica::{NotLeader, OrdersAnswer, OrdersRequest, Unavailable};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Threads that forward, and so batches under way at most. More than one, since a batch that hangs
/// must not stop the others (`HELD_WAIT` in the batcher); few, since each small batch costs as much
/// as a large one.
pub const FORWARDERS: usize = 4;
/// Bound of a call to the leader: the longest that the leader itself may wait, and some slack.
const CALL_TIMEOUT: Duration = Duration::from_millis(
    (LEADER_TO_CATALOG.as_millis() + MAX_REPLICATION_TIMEOUT.as_millis() + LEADER_SLACK.as_millis())
        as u64,
);
/// Least time for a call, however near the deadline is: a shorter one would only turn an order that
/// may trade into one whose outcome is unknown.
const CALL_LEAST: Duration = Duration::from_millis(50);
/// Pause before the same leader is asked again in the same term; a change of leader ends it.
const BACK_OFF: Duration = Duration::from_millis(50);

/// An order that waits for its answer. It has one key for all its attempts: the catalog recognises
/// a repeat by it, so that sending again is safe whatever became of the attempt before.
pub(crate) struct PendingOrder {
    pub submission: Submission,
    /// Whether the client gave an `Idempotency-Key`, with which it can ask again.
    pub client_key: bool,
    /// When it came.
    pub arrived: Instant,
    /// Until when it may wait.
    pub deadline: Instant,
    /// Whether an attempt may have traded although no response says so.
    pub attempted: bool,
    pub responder: Responder,
}

impl Waiting for PendingOrder {
    fn into_responder(self) -> Responder {
        self.responder
    }
}

#[derive(Clone)]
pub(crate) struct OrderForwarder {
    /// Where the leader is named.
    pub cell: Arc<LeaderCell>,
    /// Where failed calls are reported.
    pub reports: Reports,
    pub evidence: Arc<OrderEvidence>,
    pub metrics: QueueMetrics,
}

impl OrderForwarder {
    /// Starts one forwarder per receiver. Closing the queue ends them, once it is empty.
    #[must_use]
    pub fn start(self, orders: Vec<BatchReceiver<PendingOrder>>) -> Vec<Thread> {
        let forwarder = |(i, orders)| {
            let forwarder = self.clone();
            Thread::spawn(&format!("forward-{i}"), move || forwarder.run(orders))
        };
        orders.into_iter().enumerate().map(forwarder).collect()
    }

    fn run(&self, mut orders: BatchReceiver<PendingOrder>) {
        while let Some(batch) = orders.take(MAX_BATCH) {
            for order in &batch {
                self.observe("queue", order.arrived);
            }
            self.forward(batch);
        }
    }

    /// Answers every order of a batch, after as many calls as it takes.
    fn forward(&self, mut batch: Vec<PendingOrder>) {
        // The term in which this batch failed before, if it did.
        let mut failed: Option<Term> = None;
        loop {
            // At each round: an order must not wait beyond its own deadline for the others' leader.
            batch = self.answer_expired(batch);
            // The earliest deadline bounds the wait and the call of the whole batch. Orders of one
            // batch came within milliseconds of each other, so that the others lose next to
            // nothing.
            let Some(deadline) = batch.iter().map(|order| order.deadline).min() else {
                return;
            };
            let waiting = Instant::now();
            let Some((leader, news)) = self.cell.wait(deadline) else {
                // The stop closes the cell: no leader will be named any more.
                if self.cell.is_closed() {
                    return batch
                        .into_iter()
                        .for_each(|order| self.give_up(order, "this front-end is stopping"));
                }
                // The deadline of at least one order is over: the loop's head answers it, and the
                // rest waits on.
                continue;
            };
            // Kept apart from the call's own time: a long stage "leader" is a failover, a long
            // stage "forward" a slow disk.
            self.observe("leader", waiting);
            batch = match self.send(&leader, deadline, batch, failed.is_some()) {
                Sent::Answered => return,
                Sent::Held(batch) => batch,
            };
            // Only a hint: the monitor probes and decides, since calls fail for many reasons. The
            // term keeps a late report from blaming the next leader.
            self.reports.failed(leader.term);
            // The first failure in a term may have been a connection that broke: the same leader is
            // tried again as soon as a probe confirms it. After that it gets a pause, unless
            // another one is named.
            let again = failed.replace(leader.term) == Some(leader.term);
            let wait_for = if again {
                WaitFor::Change
            } else {
                WaitFor::ChangeOrConfirmation
            };
            // The news are those on which this attempt was based: a change during the call ends
            // this wait at once. The wait is bounded, since a probe may find nothing wrong: the
            // same leader is then asked again.
            self.cell
                .wait_news(news, wait_for, Instant::now() + BACK_OFF);
        }
    }

    /// One call to the leader. Only the first failure of a batch is worth a warning: what follows
    /// is one outage.
    fn send(
        &self,
        leader: &Leader,
        deadline: Instant,
        mut batch: Vec<PendingOrder>,
        again: bool,
    ) -> Sent {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.clamp(CALL_LEAST, CALL_TIMEOUT);
        let call = Call {
            method: "POST",
            base: &leader.url,
            path: "/orders",
            timeout,
            // A batch has as many trace ids as orders; they travel in the submissions.
            trace: None,
        };
        let request = OrdersRequest {
            orders: batch.iter().map(|order| &order.submission).collect(),
        };
        self.metrics.order_batch.observe(batch.len() as f64);
        let began = Instant::now();
        // No lock is held here: this thread waits for the leader, for up to three seconds when it
        // hangs. The end of its term aborts the call (`LeaderCell::set`).
        let answer = leader.client.call::<_, OrdersAnswer>(call, &request);
        self.observe("forward", began);
        let error = match answer {
            // Verdicts belong to orders by their place alone, so that a count that differs makes
            // all of them worthless: a verdict taken for another order would be a false receipt.
            Ok(answer) if answer.verdicts.len() == batch.len() => {
                let began = Instant::now();
                let accepted = |verdict: &Verdict| matches!(verdict, Verdict::Accepted(_));
                // Before the clients have their answers: a client that asks `/readyz` after a
                // receipt must not read that orders fail.
                if answer.verdicts.iter().any(accepted) {
                    self.evidence.accepted();
                }
                batch
                    .into_iter()
                    .zip(answer.verdicts)
                    .for_each(|(order, verdict)| self.answer_verdict(order, verdict, leader));
                self.observe("answer", began);
                return Sent::Answered;
            }
            // Not "refused": the leader did carry something out, so the orders are sent again under
            // their keys, and count as attempted until then.
            Ok(answer) => CallError::Misfit(format!(
                "{} verdicts for {} orders",
                answer.verdicts.len(),
                batch.len()
            )),
            Err(error) => error,
        };
        let failure = Failure::of(&error);
        let (orders, first_trace, why) =
            (batch.len(), &batch[0].submission.trace, &failure.message);
        if again {
            tracing::debug!(
                leader = %leader.id, term = leader.term, orders, first_trace, why,
                "a batch was not answered again"
            );
        } else {
            tracing::warn!(
                leader = %leader.id, term = leader.term, orders, first_trace, why,
                "a batch was not answered"
            );
        }
        // It stays set: a later refusal does not show that this attempt did not trade.
        for order in &mut batch {
            order.attempted |= failure.outcome_unknown;
        }
        // The failure will pass: the orders stay together, under their keys.
        if failure.retry {
            return Sent::Held(batch);
        }
        batch
            .into_iter()
            .for_each(|order| self.give_up(order, &failure.message));
        Sent::Answered
    }

    fn observe(&self, stage: &str, since: Instant) {
        self.metrics
            .order_stage
            .with_label_values(&[stage])
            .observe(since.elapsed().as_secs_f64());
    }

    fn answer_expired(&self, batch: Vec<PendingOrder>) -> Vec<PendingOrder> {
        let now = Instant::now();
        let (expired, rest): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|order| order.deadline <= now);
        expired
            .into_iter()
            .for_each(|order| self.give_up(order, "the order service did not answer in time"));
        rest
    }

    /// Answers 503 with what is known of the outcome.
    fn give_up(&self, order: PendingOrder, why: &str) {
        let message = match (order.attempted, order.client_key) {
            // The only case in which this may be said: no attempt left this machine, or each was
            // refused before the catalog was asked.
            (false, _) => format!("{why}; nothing happened: try again"),
            (true, true) => format!("{why}; outcome unknown, retry with the same Idempotency-Key"),
            // The key that the front-end made dies with this answer. A repeat by the client gets
            // another one, and the catalog cannot recognise it.
            (true, false) => format!(
                "{why}; outcome unknown, retry with the same Idempotency-Key (this request had \
                 none: sent again, it may trade twice)"
            ),
        };
        let Submission {
            order: content,
            trace,
        } = &order.submission;
        tracing::warn!(
            trace, key = %content.key, why, outcome_unknown = order.attempted,
            "order given up"
        );
        self.metrics.outcomes.count(OrderOutcome::Failed);
        // Readiness turns at once, rather than with the next heartbeat: an order may fail for a
        // reason that no health shows.
        self.evidence.failed(BootInstant::now(), why);
        order.responder.send(unavailable(&message));
    }

    fn answer_verdict(&self, order: PendingOrder, verdict: Verdict, leader: &Leader) {
        let Submission {
            order: content,
            trace,
        } = &order.submission;
        tracing::debug!(
            trace, key = %content.key, verdict = ?verdict, leader = %leader.id, term = leader.term,
            took_us = order.arrived.elapsed().as_micros(), "order answered"
        );
        let (name, quantity) = (&content.name, content.quantity);
        // Verdicts are decisions, not failures: none of these answers asks for a repeat.
        let response = match verdict {
            Verdict::Accepted(transaction_number) => Response::data(Receipt { transaction_number })
                .with_header("Location", format!("/orders/{transaction_number}")),
            Verdict::InsufficientQuantity => Response::error(
                409,
                &match content.side {
                    Side::Buy => {
                        format!("insufficient quantity: fewer than {quantity} of '{name}' are left")
                    }
                    Side::Sell => format!("'{name}' cannot hold {quantity} more"),
                },
            ),
            Verdict::UnknownStock => Response::error(
                404,
                &format!("there is no stock '{name}'; GET /stocks lists them"),
            ),
            Verdict::KeyReused => Response::error(
                422,
                "this Idempotency-Key was used before with another order; nothing happened: use a \
                 new key for a new order",
            ),
        };
        // Counted before the answer leaves: a client that reads the metrics after its receipt finds
        // its order counted.
        self.metrics.outcomes.count(match verdict {
            Verdict::Accepted(_) => OrderOutcome::Accepted,
            _ => OrderOutcome::Refused,
        });
        // The order is durable and its client does not know: the tests crash here.
        crash::point("frontend-before-answer");
        order.responder.send(response);
    }
}

enum Sent {
    /// Every order has its answer.
    Answered,
    /// They are to be sent again.
    Held(Vec<PendingOrder>),
}

/// The meaning of a failed call for its orders.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    outcome_unknown: bool,
    retry: bool,
    message: String,
}

impl Failure {
    fn of(error: &CallError) -> Self {
        // A replica that does not lead did nothing, unless it lost the leadership while the orders
        // were on their way to the catalog: only it can know, and it says so.
        if let Some(answer) = error.refusal::<NotLeader>(421) {
            // Always worth a repeat: another replica leads, or will soon.
            return Self {
                outcome_unknown: answer.outcome_unknown,
                retry: true,
                message: error.to_string(),
            };
        }
        // The leader's own words on this batch: it alone knows whether the catalog was asked before
        // it gave up, and whether a repeat can help.
        if let Some(answer) = error.refusal::<Unavailable>(503) {
            let Unavailable {
                message,
                outcome_unknown,
                retry,
            } = answer;
            return Self {
                outcome_unknown,
                retry,
                message,
            };
        }
        // An answer that does not fit may come from a replica that is being replaced by another
        // version: the next leader's may fit.
        let retry = error.is_retryable() || matches!(error, CallError::Misfit(_));
        Self {
            outcome_unknown: error.outcome_unknown(),
            retry,
            message: format!("the order service answers with {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status<T: serde::Serialize>(status: u16, body: &T) -> CallError {
        CallError::Status {
            status,
            body: serde_json::to_vec(body).expect("serialises"),
            epoch: None,
            unknown_before: false,
        }
    }

    /// Each failure says whether orders may have traded and whether they are sent again, as the
    /// protocol has it.
    #[test]
    fn failures() {
        let not_leader = |outcome_unknown| {
            status(
                421,
                &NotLeader {
                    term: 3,
                    leader: None,
                    outcome_unknown,
                },
            )
        };
        let busy = |outcome_unknown, retry| {
            status(
                503,
                &Unavailable {
                    message: "disk full".into(),
                    outcome_unknown,
                    retry,
                },
            )
        };
        for (error, outcome_unknown, retry) in [
            (not_leader(false), false, true),
            (not_leader(true), true, true),
            (busy(false, false), false, false),
            (busy(true, true), true, true),
            (CallError::NotSent("refused".into()), false, true),
            (CallError::NoAnswer("closed".into()), true, true),
            (CallError::Misfit("text".into()), true, true),
            (status(500, &"dropped"), true, true),
            (status(503, &"full"), false, true),
            (status(401, &"token"), false, false),
        ] {
            let failure = Failure::of(&error);
            assert_eq!(
                (failure.outcome_unknown, failure.retry),
                (outcome_unknown, retry),
                "{error}"
            );
        }
        assert_eq!(Failure::of(&busy(true, false)).message, "disk full");
    }
}
