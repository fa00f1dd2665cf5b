//! Routes of a replica's listener. Workers answer what is in memory; orders, appends, reads and
//! claims go to their queues.

use crate::leading::lone::LoneWorker;
use crate::leading::sequencer::{OrderBatch, SequencerStage};
use crate::log::writer::{AppendOrigin, LogStage, WriterWork};
use crate::metrics::OrderMetrics;
use crate::queries::Read;
use crate::replica::Replica;
use common::http::routes::{Action, Route, RouteTable, livez, metrics_page, with_body};
use common::http::{Handler, Request, Responder, Response, first_after};
use common::metrics::{Metrics, QueueGauges};
use common::queue::Queue;
use common::wire::Empty;
use common::wire::catalog::TermInfo;
use common::wire::order::ClusterId;
use common::wire::replica::{AppendRequest, LeadRequest, LeaderNotice, OrdersRequest, Traced};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub struct Api {
    pub replica: Arc<Replica>,
    pub orders: Arc<SequencerStage>,
    pub writer: Arc<LogStage>,
    pub reads: Queue<Read>,
    pub takeover: Queue<(LeadRequest, Responder)>,
    pub metrics: Metrics,
    pub own: Arc<OrderMetrics>,
    pub queues: QueueGauges,
    /// `ORDER_REPLICATION_TIMEOUT_MS`.
    pub replication_timeout: Duration,
}

const ROUTES: RouteTable<Action<Api>> = RouteTable::new(&[
    Route::get("/livez", livez),
    Route::get("/metrics", |api, _, responder| {
        responder.send(metrics_page(&api.metrics));
    }),
    Route::get("/health", |api, _, responder| {
        responder.send(Response::json(200, &api.replica.health()));
    }),
    Route::put("/leader", |api, request, responder| {
        with_body(request, responder, |lead, responder| {
            if let Err((_, responder)) = api.takeover.put((lead, responder)) {
                api.busy("claims", responder, "a claim is under way");
            }
        });
    }),
    Route::put("/term", |api, request, responder| {
        with_body(request, responder, |notice, responder| {
            responder.send(api.note_leader(&notice));
        });
    }),
    Route::post("/orders", |api, request, responder| {
        with_body(request, responder, |batch, responder| {
            api.order(batch, responder, request.may_block);
        });
    }),
    Route::post("/orders/query", |api, request, responder| {
        with_body(request, responder, |query, responder| {
            api.read(Read::Query(query, responder));
        });
    }),
    Route::post("/orders/page", |api, request, responder| {
        with_body(request, responder, |page, responder| {
            api.read(Read::OrderPage(page, responder));
        });
    }),
    Route::post("/log", |api, request, responder| {
        with_body(request, responder, |append, responder| {
            api.append(append, responder, request.may_block);
        });
    }),
    Route::get("/log", |api, request, responder| {
        match first_after(request.query.as_deref()) {
            Ok(first) => api.read(Read::LogRange(first, responder)),
            Err(refusal) => responder.send(refusal),
        }
    }),
    Route::get("/genesis", |api, _, responder| {
        api.read(Read::Genesis(responder));
    }),
]);

impl Handler for Api {
    fn handle(&self, request: Request, responder: Responder) {
        ROUTES.dispatch(self, &request, responder);
    }
}

impl Api {
    fn is_foreign(&self, cluster: &ClusterId) -> bool {
        cluster.differs_from(self.replica.cluster().as_ref())
    }

    fn note_leader(&self, notice: &LeaderNotice) -> Response {
        // A term of another bazaar says nothing here, and a higher one would depose this bazaar's
        // leader.
        if self.is_foreign(&notice.cluster) {
            return Response::error(409, "the notice is of another bazaar's leader");
        }
        let observed = self.replica.observe_term(TermInfo {
            term: notice.term,
            owner: Some(notice.leader),
        });
        match observed {
            Ok(()) => Response::json(200, &Empty {}),
            Err(newer) => Response::json(412, &newer),
        }
    }

    fn busy(&self, queue: &str, responder: Responder, what: &str) {
        self.queues.refused(queue);
        responder.send(Response::unavailable(&format!("{what}: nothing happened")));
    }

    /// A lone batch need not change threads: a worker that may block takes it through the catalog
    /// itself (see [`common::stage`]), and then makes it durable.
    fn order(&self, batch: OrdersRequest, responder: Responder, may_block: bool) {
        // Answered here, without a turn at the sequencer: a deposed leader must send its callers on
        // at once, even while a batch of its own hangs at the catalog.
        if self.replica.led_term().is_none() {
            return responder.send(Response::json(421, &self.replica.not_leader(false)));
        }
        let batch = OrderBatch {
            orders: batch.orders,
            responder,
        };
        // `may_block`: another worker is free for health and appends. Else a hung catalog would
        // silence this replica, and front-ends would take it for dead.
        if may_block && let Some(turn) = self.orders.reserve() {
            let worker = LoneWorker {
                replica: &self.replica,
                log: &self.writer,
                metrics: &self.own,
                timeout: self.replication_timeout,
            };
            // The turn ends before the rows are durable: the next batch may go to the catalog.
            if let Some(rows) = turn.run(|sequencer| sequencer.trade_alone(batch, worker)) {
                rows.finish();
            }
        } else if let Err(batch) = self.orders.put(batch) {
            self.busy("orders", batch.responder, "the queue of orders is full");
        }
    }

    fn read(&self, read: Read) {
        if let Err(read) = self.reads.put(read) {
            self.busy("reads", read.into_responder(), "too many reads wait");
        }
    }

    /// Rows of a leader. Any row of the journal may be appended, whatever term its sender leads.
    /// The term is compared all the same, so that a deposed leader learns of the newer one here.
    fn append(&self, append: AppendRequest, responder: Responder, may_block: bool) {
        if self.is_foreign(&append.cluster) {
            // Before the term is looked at: a higher one of another bazaar would depose this
            // bazaar's leader.
            return responder.send(Response::json(409, &self.replica.log_position()));
        }
        if let Err(newer) = self.replica.observe_term(TermInfo {
            term: append.term,
            owner: Some(append.leader),
        }) {
            return responder.send(Response::json(412, &newer));
        }
        if append.rows.orders.is_empty() {
            // The leader's question where this log ends. From memory: the leader allows it a
            // probe's time, which a wait behind an append could exceed.
            return responder.send(Response::json(200, &self.replica.log_position()));
        }
        for Traced { number, trace } in &append.traces {
            tracing::debug!(
                trace, number, term = append.term, leader = %append.leader,
                "order arrives to be copied"
            );
        }
        let work = WriterWork::Append(Arc::new(append.rows), AppendOrigin::Follower(responder));
        let put = if may_block {
            self.writer.run_or_put(work)
        } else {
            self.writer.put(work)
        };
        // Nothing was appended, so 503. The leader counts this replica out of sync and asks again.
        if let Err(WriterWork::Append(_, AppendOrigin::Follower(responder))) = put {
            self.busy("log", responder, "the log writer is busy");
        }
    }
}
