//! The query lane: orders by number. The leader is asked; while there is none, or it does not
//! answer, the other replicas are: an order that any of them has is immutable and true, and only a
//! leader may say that there is none.

use crate::intake::{Waiting, unavailable};
use crate::leader::cell::{LeaderCell, WaitFor};
use crate::leader::health_table::Views;
use crate::leader::monitor::Reports;
use crate::metrics::QueueMetrics;
use common::http::client::{Call, CallError, HttpClient};
use common::http::{IMMUTABLE, Responder, Response};
use common::queue::QueueReceiver;
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::{MAX_BATCH, PROBE_TIMEOUT};
use common::wire::order::ReplicaId;
use common::wire::public::OrderView;
use common::wire::replica::{QueryAnswer, QueryAnswers, QueryRequest};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Threads that ask: while one waits, another can ask for who came since.
pub const THREADS: usize = 2;
/// Bound of a call to the leader, which may have to confirm its term at the catalog.
const LEADER_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Bound of a call to another replica, which only reads its own file.
const OTHER_TIMEOUT: Duration = PROBE_TIMEOUT;
/// Pause before all are asked again, unless there is news of the leader.
const BACK_OFF: Duration = Duration::from_millis(50);

/// A query that waits for its answer.
pub struct PendingQuery {
    /// Number of the order.
    pub number: u64,
    /// Until when it may wait.
    pub deadline: Instant,
    /// For the answer.
    pub responder: Responder,
}

impl Waiting for PendingQuery {
    fn into_responder(self) -> Responder {
        self.responder
    }
}

/// What the threads share.
#[derive(Clone)]
pub struct QueryLane {
    /// The lane's end.
    pub end: QueueReceiver<PendingQuery>,
    /// Where the leader is named.
    pub cell: Arc<LeaderCell>,
    /// Where failed calls are reported.
    pub reports: Reports,
    /// All replicas.
    pub replicas: BTreeMap<ReplicaId, String>,
    /// Who is down is not asked.
    pub views: Arc<Views>,
    /// Connections to replicas that do not lead.
    pub client: HttpClient,
    /// Counters.
    pub metrics: QueueMetrics,
    /// The service's stop.
    pub stop: Shutdown,
}

impl QueryLane {
    /// Starts the threads. The service's stop ends them, once the lane is empty.
    #[must_use]
    pub fn start(self) -> Vec<Thread> {
        let asker = |i| {
            let lane = self.clone();
            Thread::spawn(&format!("query-{i}"), move || lane.run())
        };
        (0..THREADS).map(asker).collect()
    }

    fn run(&self) {
        while let Some(queries) = self.end.take_batch(MAX_BATCH, &self.stop) {
            self.serve(queries);
        }
    }

    /// Answers every query, after as many calls as it takes. Whoever arrives between two rounds is
    /// taken along.
    fn serve(&self, mut queries: Vec<PendingQuery>) {
        loop {
            queries = answer_expired(queries);
            if queries.is_empty() {
                return;
            }
            let known = self.cell.view();
            if let Some(leader) = &known.leader {
                let answer = self.ask(&leader.client, &leader.url, &queries, LEADER_TIMEOUT);
                let failed = answer.is_err();
                let told_to_go =
                    |answer: &QueryAnswers| answer.answers.contains(&QueryAnswer::NotLeader);
                if failed || answer.as_ref().is_ok_and(told_to_go) {
                    self.reports.failed(leader.term);
                }
                queries = answer_found(queries, answer, leader.id, true);
            }
            // Also when the leader merely did not answer: another one has what is asked for, most
            // likely.
            for (id, replica) in self.views.replicas() {
                let asked = known.leader.as_ref().is_some_and(|leader| leader.id == id);
                if !queries.is_empty() && replica.is_some() && !asked {
                    let answer =
                        self.ask(&self.client, &self.replicas[&id], &queries, OTHER_TIMEOUT);
                    queries = answer_found(queries, answer, id, false);
                }
            }
            if queries.is_empty() {
                return;
            }
            if self.cell.is_closed() {
                return queries
                    .into_iter()
                    .for_each(|query| give_up(query, "this front-end is stopping"));
            }
            self.cell
                .wait_news(known.news, WaitFor::Change, Instant::now() + BACK_OFF);
            while queries.len() < MAX_BATCH
                && let Ok(query) = self.end.receiver().try_recv()
            {
                queries.push(query);
            }
        }
    }

    fn ask(
        &self,
        client: &HttpClient,
        url: &str,
        queries: &[PendingQuery],
        timeout: Duration,
    ) -> Result<QueryAnswers, CallError> {
        self.metrics.query_batch.observe(queries.len() as f64);
        let numbers: Vec<u64> = queries.iter().map(|query| query.number).collect();
        let call = Call {
            method: "POST",
            base: url,
            path: "/orders/query",
            timeout,
            trace: None,
        };
        let answers: QueryAnswers = client.call(call, &QueryRequest { numbers })?;
        if answers.answers.len() == queries.len() {
            Ok(answers)
        } else {
            Err(CallError::Misfit(format!(
                "{} answers to {} queries",
                answers.answers.len(),
                queries.len()
            )))
        }
    }
}

/// Answers what was found, and, if a leader says so, what there is not. Gives back the rest.
fn answer_found(
    queries: Vec<PendingQuery>,
    answers: Result<QueryAnswers, CallError>,
    replica: ReplicaId,
    leads: bool,
) -> Vec<PendingQuery> {
    let answers = match answers {
        Ok(answers) => answers.answers,
        Err(error) => {
            tracing::debug!(replica = %replica, %error, queries = queries.len(), "queries not answered");
            return queries;
        }
    };
    let mut rest = Vec::new();
    for (query, answer) in queries.into_iter().zip(answers) {
        match answer {
            QueryAnswer::Found(order) => {
                let view = OrderView {
                    number: query.number,
                    name: order.name,
                    side: order.side,
                    quantity: order.quantity,
                };
                query
                    .responder
                    .send(Response::data(view).with_header("Cache-Control", IMMUTABLE));
            }
            QueryAnswer::NotFound if leads => {
                let message = format!(
                    "there is no order {}: numbers are given from 0 upwards",
                    query.number
                );
                query.responder.send(Response::error(404, &message));
            }
            QueryAnswer::NotFound | QueryAnswer::NotLeader | QueryAnswer::Unavailable => {
                rest.push(query)
            }
        }
    }
    rest
}

fn answer_expired(queries: Vec<PendingQuery>) -> Vec<PendingQuery> {
    let now = Instant::now();
    let (expired, rest): (Vec<_>, Vec<_>) =
        queries.into_iter().partition(|query| query.deadline <= now);
    for query in expired {
        give_up(
            query,
            "no leader of the order service could tell whether this order exists",
        );
    }
    rest
}

fn give_up(query: PendingQuery, why: &str) {
    query
        .responder
        .send(unavailable(&format!("{why}; try again")));
}
