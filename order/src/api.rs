//! Routes of a replica's listener. Workers answer what is in memory; orders, appends, reads and
//! claims go to their queues.

use crate::leading::sequencer::{OrderBatch, SequencerStage};
use crate::log::writer::{AppendOrigin, LogStage, WriterWork};
use crate::queries::Read;
use crate::replica::Replica;
use common::http::{Handler, Request, Responder, Response, first_after, open_to_all};
use common::metrics::{Metrics, QueueGauges};
use common::queue::Queue;
use common::wire::Empty;
use common::wire::catalog::TermView;
use common::wire::order::ClusterId;
use common::wire::replica::{
    AppendRequest, LeadRequest, LeaderNotice, OrdersRequest, QueryRequest, Traced,
};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The handler of a replica's listener.
#[derive(Debug)]
pub struct Api {
    /// Roles and positions.
    pub replica: Arc<Replica>,
    /// To the sequencer.
    pub orders: Arc<SequencerStage>,
    /// To the log writer.
    pub writer: Arc<LogStage>,
    /// To the reading threads.
    pub reads: Queue<Read>,
    /// To the takeover thread.
    pub takeover: Queue<(LeadRequest, Responder)>,
    /// For `/metrics`.
    pub metrics: Metrics,
    /// Refusals of full queues.
    pub queues: QueueGauges,
}

impl Handler for Api {
    fn handle(&self, request: Request, mut responder: Responder) {
        if let Some((route, response)) = open_to_all(&request, &self.metrics) {
            responder.set_route(route);
            return responder.send(response);
        }
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/health") => {
                responder.set_route("/health");
                responder.send(Response::json(200, &self.replica.health()));
            }
            ("PUT", "/leader") => with_body(&request, responder, "/leader", |ask, responder| {
                if let Err((_, responder)) = self.takeover.put((ask, responder)) {
                    self.busy("claims", responder, "a claim is under way");
                }
            }),
            ("PUT", "/term") => with_body(
                &request,
                responder,
                "/term",
                |notice: LeaderNotice, responder| {
                    // Terms of another bazaar say nothing here, and a higher one would depose this
                    // bazaar's leader.
                    if self.is_foreign(&notice.cluster) {
                        let message = "the notice is of another bazaar's leader";
                        return responder.send(Response::error(409, message));
                    }
                    let heard = self.replica.observe_term(TermView {
                        term: notice.term,
                        owner: Some(notice.leader),
                    });
                    responder.send(match heard {
                        Ok(()) => Response::json(200, &Empty {}),
                        Err(newer) => Response::json(412, &newer),
                    });
                },
            ),
            ("POST", "/orders") => with_body(&request, responder, "/orders", |batch, responder| {
                self.order(batch, responder, request.may_block)
            }),
            ("POST", "/orders/query") => {
                with_body(
                    &request,
                    responder,
                    "/orders/query",
                    |query: QueryRequest, responder| {
                        self.read(Read::Query(query, responder));
                    },
                );
            }
            ("POST", "/orders/page") => {
                with_body(&request, responder, "/orders/page", |page, responder| {
                    self.read(Read::OrderPage(page, responder));
                });
            }
            ("POST", "/log") => with_body(&request, responder, "/log", |append, responder| {
                self.append(append, responder, request.may_block)
            }),
            ("GET", "/log") => {
                responder.set_route("/log");
                match first_after(request.query.as_deref()) {
                    Ok(first) => self.read(Read::LogRange(first, responder)),
                    Err(refusal) => responder.send(refusal),
                }
            }
            ("GET", "/genesis") => {
                responder.set_route("/genesis");
                self.read(Read::Genesis(responder));
            }
            (_, path) => responder.send(match allowed(path) {
                Some(methods) => {
                    Response::error(405, &format!("use {methods}")).with_header("Allow", methods)
                }
                None => Response::error(404, "no such path"),
            }),
        }
    }
}

fn allowed(path: &str) -> Option<&'static str> {
    match path {
        "/health" | "/genesis" | "/livez" | "/metrics" => Some("GET"),
        "/leader" | "/term" => Some("PUT"),
        "/orders" | "/orders/query" | "/orders/page" => Some("POST"),
        "/log" => Some("GET, POST"),
        _ => None,
    }
}

fn with_body<T: DeserializeOwned>(
    request: &Request,
    mut responder: Responder,
    route: &'static str,
    then: impl FnOnce(T, Responder),
) {
    responder.set_route(route);
    match request.json() {
        Ok(body) => then(body, responder),
        Err(refusal) => responder.send(refusal),
    }
}

impl Api {
    fn is_foreign(&self, cluster: &ClusterId) -> bool {
        cluster.differs_from(self.replica.cluster().as_ref())
    }

    fn busy(&self, queue: &str, responder: Responder, what: &str) {
        self.queues.refused(queue);
        responder.send(Response::unavailable(&format!("{what}: nothing happened")));
    }

    /// A worker that may block takes a lone batch through the catalog itself.
    fn order(&self, batch: OrdersRequest, responder: Responder, may_block: bool) {
        if self.replica.leading().is_none() {
            return responder.send(Response::json(421, &self.replica.not_leader(false)));
        }
        let batch = OrderBatch {
            orders: batch.orders,
            responder,
        };
        let put = if may_block {
            self.orders.run_or_put(batch)
        } else {
            self.orders.put(batch)
        };
        if let Err(batch) = put {
            self.busy("orders", batch.responder, "the queue of orders is full");
        }
    }

    fn read(&self, read: Read) {
        if let Err(read) = self.reads.put(read) {
            self.busy("reads", read.into_responder(), "too many reads wait");
        }
    }

    /// Rows of a leader. Any row of the journal may be appended, whoever brings it; the term is
    /// looked at so that a leader that was deposed hears of it here.
    fn append(&self, append: AppendRequest, responder: Responder, may_block: bool) {
        if self.is_foreign(&append.cluster) {
            // Before its term is heard of: it is another bazaar's.
            return responder.send(Response::json(409, &self.replica.log_position()));
        }
        if let Err(newer) = self.replica.observe_term(TermView {
            term: append.term,
            owner: Some(append.leader),
        }) {
            return responder.send(Response::json(412, &newer));
        }
        if append.rows.orders.is_empty() {
            return responder.send(Response::json(200, &self.replica.log_position()));
        }
        for Traced { number, trace } in &append.traces {
            tracing::debug!(trace, number, term = append.term, leader = %append.leader, "order arrives to be copied");
        }
        let work = WriterWork::Append(Arc::new(append.rows), AppendOrigin::Follower(responder));
        let put = if may_block {
            self.writer.run_or_put(work)
        } else {
            self.writer.put(work)
        };
        if let Err(WriterWork::Append(_, AppendOrigin::Follower(responder))) = put {
            self.busy("log", responder, "the log writer is busy");
        }
    }
}
