//! Orders by number.

use super::replicas::{Asked, ReplicaRead, Rest};
use crate::intake::{LEADER_QUERIES, QueueKind, Waiting};
use common::http::client::{Call, CallError};
use common::http::{IMMUTABLE, Responder, Response};
use common::timing::MAX_BATCH;
use common::wire::public::OrderInfo;
use common::wire::replica::{QueryAnswer, QueryAnswers, QueryRequest};
use std::time::Instant;

/// Threads of step 1: while one waits for an answer, another can ask for what came since.
pub const THREADS: usize = 2;

/// A query that waits for its answer.
pub struct PendingQuery {
    /// Number of the order.
    pub number: u64,
    /// Until when it may wait.
    pub deadline: Instant,
    pub responder: Responder,
}

impl Waiting for PendingQuery {
    fn into_responder(self) -> Responder {
        self.responder
    }
}

impl ReplicaRead for PendingQuery {
    const THREAD: &'static str = "query";
    const LEADER_QUEUE: QueueKind = LEADER_QUERIES;
    // As many as wait: one call costs nearly the same for one number as for hundreds.
    const BATCH: usize = MAX_BATCH;
    const UNANSWERED: &'static str =
        "no leader of the order service could tell whether this order exists";

    fn deadline(&self) -> Instant {
        self.deadline
    }

    /// One call for all.
    fn ask(queries: Vec<Self>, replica: &Asked<'_>) -> Rest<Self> {
        replica.metrics.query_batch.observe(queries.len() as f64);
        let request = QueryRequest {
            cluster: replica.cluster.clone(),
            numbers: queries.iter().map(|query| query.number).collect(),
            found_only: replica.found_only,
        };
        match call(&request, replica) {
            Ok(answers) => answer(queries, answers, replica.found_only),
            Err(error) => {
                tracing::debug!(
                    replica = %replica.id, %error, queries = queries.len(),
                    "queries not answered"
                );
                Rest {
                    // All are left to the next replica. A query changes nothing, so whether this
                    // one has read them does not matter.
                    reads: queries,
                    well: false,
                }
            }
        }
    }
}

fn call(request: &QueryRequest, replica: &Asked<'_>) -> Result<Vec<QueryAnswer>, CallError> {
    let call = Call {
        method: "POST",
        base: replica.url,
        path: "/orders/query",
        timeout: replica.timeout,
        trace: None,
    };
    let answers = replica
        .client
        .call::<_, QueryAnswers>(call, request)?
        .answers;
    // Answers belong to queries by their place alone; with another count none can be trusted.
    if answers.len() == request.numbers.len() {
        Ok(answers)
    } else {
        Err(CallError::Misfit(format!(
            "{} answers to {} queries",
            answers.len(),
            request.numbers.len()
        )))
    }
}

/// Answers each query that the replica knows the answer to. Only a leader that was asked to confirm
/// its term may say that there is no such order.
fn answer(
    queries: Vec<PendingQuery>,
    answers: Vec<QueryAnswer>,
    found_only: bool,
) -> Rest<PendingQuery> {
    let (mut reads, mut well) = (Vec::new(), true);
    for (query, answer) in queries.into_iter().zip(answers) {
        // Each on its own: a batch may hold found orders beside missing ones, and the found must
        // not wait for the others.
        match answer {
            QueryAnswer::Found(order) => {
                let order = OrderInfo {
                    number: query.number,
                    name: order.name,
                    side: order.side,
                    quantity: order.quantity,
                };
                query
                    .responder
                    // It never changes: caches between here and the client may keep it, and readers
                    // of history cost nothing twice.
                    .send(Response::data(order).with_header("Cache-Control", IMMUTABLE));
            }
            // In step 1 a follower may merely be behind, and so may a leader that was fenced
            // without knowing it yet.
            QueryAnswer::NotFound if !found_only => {
                let message = format!(
                    "there is no order {}: numbers are given from 0 upwards",
                    query.number
                );
                query.responder.send(Response::error(404, &message));
            }
            QueryAnswer::NotLeader => {
                // Reported, so that the monitor looks; the other answers of this batch are good all
                // the same.
                well = false;
                reads.push(query);
            }
            // The leader could not confirm its term, as the catalog is away: neither found nor
            // missing, so the read waits for the next round.
            QueryAnswer::NotFound | QueryAnswer::Unconfirmed => reads.push(query),
        }
    }
    Rest { reads, well }
}
