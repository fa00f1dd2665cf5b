//! Routes of the catalog's listener. Workers answer what is in memory; the rest goes to the
//! writer's queue or the journal's.

use crate::sessions::Sessions;
use crate::store::{JournalReader, StoreError};
use crate::visible_state::{NotServing, VisibleState};
use crate::write_health::WriteHealth;
use crate::writer::{WriterStage, WriterWork};
use common::http::routes::{Action, Route, RouteTable, livez, metrics_page, with_body};
use common::http::{Handler, Request, Responder, Response, first_after, protocol};
use common::metrics::{Metrics, QueueGauges};
use common::queue::{Queue, QueueReceiver};
use common::shutdown::Shutdown;
use common::timing::PAGE_ROWS;
use common::wire::catalog::{CatalogHealth, CatalogRole, LookupRequest, TermAnswer, TermInfo};
use common::wire::order::Genesis;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug)]
pub struct Api {
    pub visible: Arc<VisibleState>,
    pub writes: Arc<WriteHealth>,
    pub sessions: Arc<Sessions>,
    pub genesis: Genesis,
    pub writer: Arc<WriterStage>,
    pub journal: Queue<JournalPage>,
    pub metrics: Metrics,
    pub queues: QueueGauges,
}

/// A page of the journal that a replica asks for.
#[derive(Debug)]
pub struct JournalPage {
    first: u64,
    responder: Responder,
}

const ROUTES: RouteTable<Action<Api>> = RouteTable::new(&[
    Route::get("/livez", livez),
    Route::get("/metrics", |api, _, responder| {
        responder.send(metrics_page(&api.metrics));
    }),
    Route::get("/health", |api, _, responder| {
        responder.send(Response::json(200, &api.health()));
    }),
    Route::get("/term", |api, _, responder| {
        responder.send(Response::json(200, &api.term()));
    }),
    Route::get("/genesis", |api, _, responder| {
        responder.send(Response::json(200, &api.genesis));
    }),
    Route::get("/journal", Api::journal_page),
    Route::post("/lookup", |api, request, responder| {
        with_body(request, responder, |lookup: LookupRequest, responder| {
            responder.send(match api.visible.lookup(lookup.names.as_deref()) {
                Ok(stocks) => Response::json(200, &stocks),
                Err(not) => not_serving(&not),
            });
        });
    }),
    Route::post("/trades", |api, request, responder| {
        with_body(request, responder, |trades, responder| {
            api.trade(WriterWork::Trades(trades, responder), request.may_block);
        });
    }),
    Route::post("/claim", |api, request, responder| {
        with_body(request, responder, |claim, responder| {
            api.trade(WriterWork::Claim(claim, responder), false);
        });
    }),
    Route::post("/sessions/register", |api, request, responder| {
        with_body(request, responder, |register, responder| {
            api.sessions.register(register, responder);
        });
    }),
    Route::post("/sessions/keep-alive", |api, request, responder| {
        with_body(request, responder, |keep_alive, responder| {
            responder.send(api.sessions.keep_alive(&keep_alive));
        });
    }),
    Route::post("/sessions/end", |api, request, responder| {
        with_body(request, responder, |end, responder| {
            responder.send(api.sessions.leave(&end));
        });
    }),
]);

impl Handler for Api {
    fn handle(&self, request: Request, responder: Responder) {
        ROUTES.dispatch(self, &request, responder);
    }
}

fn not_serving(not: &NotServing) -> Response {
    Response::unavailable(&not.message)
}

impl Api {
    fn term(&self) -> TermAnswer {
        let TermInfo { term, owner } = self.visible.term();
        TermAnswer {
            term,
            owner,
            cluster: self.genesis.cluster.clone(),
        }
    }

    fn health(&self) -> CatalogHealth {
        let position = self.visible.position();
        CatalogHealth {
            state: self.visible.state(),
            cluster: self.genesis.cluster.clone(),
            term: self.visible.term(),
            last: position.last,
            hash: position.hash,
            sessions: self.sessions.len(),
            write_fault: self.writes.fault(Instant::now()),
            role: CatalogRole::Active,
            epoch: 0,
            protocol: protocol::text().into(),
            version: protocol::release(),
        }
    }

    /// A lone batch need not change threads: a worker that may block trades it itself (see
    /// [`common::stage`]). A claim is rare, so it always goes to the writer's thread.
    fn trade(&self, work: WriterWork, may_block: bool) {
        let put = if may_block {
            self.writer.run_or_put(work)
        } else {
            self.writer.put(work)
        };
        if let Err(WriterWork::Claim(_, responder) | WriterWork::Trades(_, responder)) = put {
            self.queues.refused("work");
            responder.send(Response::unavailable("the catalog's queue is full"));
        }
    }

    fn journal_page(&self, request: &Request, responder: Responder) {
        let first = match first_after(request.query.as_deref()) {
            Ok(first) => first,
            Err(refusal) => return responder.send(refusal),
        };
        if let Err(not) = self.visible.serving() {
            return responder.send(not_serving(&not));
        }
        if let Err(page) = self.journal.put(JournalPage { first, responder }) {
            self.queues.refused("journal");
            page.responder
                .send(Response::unavailable("too many pages are asked for"));
        }
    }
}

/// The thread that reads pages of the journal, from a connection of its own. Only visible rows
/// leave.
pub fn serve_journal(
    mut journal: JournalReader,
    visible: &VisibleState,
    pages: &QueueReceiver<JournalPage>,
    stop: &Shutdown,
) {
    while let Some(batch) = pages.take_batch(1, stop) {
        for JournalPage { first, responder } in batch {
            responder.send(
                read_page(&mut journal, visible, first).unwrap_or_else(|error| {
                    tracing::error!(%error, "the journal could not be read");
                    Response::unavailable(&format!("the journal could not be read: {error}"))
                }),
            );
        }
    }
}

fn read_page(
    journal: &mut JournalReader,
    visible: &VisibleState,
    first: u64,
) -> Result<Response, StoreError> {
    let rows = visible.position().next().saturating_sub(first);
    let limit = usize::try_from(rows).unwrap_or(PAGE_ROWS).min(PAGE_ROWS);
    Ok(Response::json(200, &journal.rows(first, limit)?))
}
