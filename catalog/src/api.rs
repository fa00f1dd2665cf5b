//! Routes of the catalog's listener. Workers answer what is in memory; the rest goes to the
//! writer's queue or the journal's.

use crate::activity::standing::Standing;
use crate::store::{JournalReader, StoreError};
use crate::tenure::Tenure;
use crate::visible_state::{NotServing, VisibleState};
use crate::writer::WriterWork;
use common::chain::genesis_hash;
use common::http::routes::{Action, Route, RouteTable, livez, metrics_page, with_body};
use common::http::{EPOCH_HEADER, Handler, Request, Responder, Response, first_after, protocol};
use common::metrics::{Metrics, QueueGauges};
use common::queue::QueueReceiver;
use common::shutdown::Shutdown;
use common::timing::PAGE_ROWS;
use common::wire::catalog::{
    CatalogHealth, CatalogRole, CatalogState, LookupRequest, TermAnswer, TermInfo,
};
use common::wire::order::Genesis;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug)]
pub struct Api {
    /// The tenure, while this catalog is active: nearly every route needs it.
    pub standing: Arc<Standing>,
    pub genesis: Genesis,
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
        if let Some((tenure, responder)) = api.active(responder) {
            responder.send(match tenure.visible.term_now() {
                Ok(term) => Response::json(200, &api.term(term)),
                Err(not) => not_serving(&not),
            });
        }
    }),
    Route::get("/genesis", |api, _, responder| {
        if let Some((_, responder)) = api.active(responder) {
            responder.send(Response::json(200, &api.genesis));
        }
    }),
    Route::get("/journal", Api::journal_page),
    Route::post("/lookup", |api, request, responder| {
        api.with_tenure(
            request,
            responder,
            |tenure, lookup: LookupRequest, responder| {
                responder.send(match tenure.visible.lookup(lookup.names.as_deref()) {
                    Ok(stocks) => Response::json(200, &stocks),
                    Err(not) => not_serving(&not),
                });
            },
        );
    }),
    Route::post("/trades", |api, request, responder| {
        let may_block = request.may_block;
        api.with_tenure(request, responder, |tenure, trades, responder| {
            api.trade(tenure, WriterWork::Trades(trades, responder), may_block);
        });
    }),
    Route::post("/claim", |api, request, responder| {
        api.with_tenure(request, responder, |tenure, claim, responder| {
            api.trade(tenure, WriterWork::Claim(claim, responder), false);
        });
    }),
    Route::post("/sessions/register", |api, request, responder| {
        api.with_tenure(request, responder, |tenure, register, responder| {
            tenure.sessions.register(register, responder);
        });
    }),
    Route::post("/sessions/keep-alive", |api, request, responder| {
        api.with_tenure(request, responder, |tenure, keep_alive, responder| {
            responder.send(tenure.sessions.keep_alive(&keep_alive));
        });
    }),
    Route::post("/sessions/end", |api, request, responder| {
        api.with_tenure(request, responder, |tenure, end, responder| {
            responder.send(tenure.sessions.leave(&end));
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
    /// The tenure, and a responder whose response carries its epoch. Without a tenure, answers 421.
    fn active(&self, responder: Responder) -> Option<(Arc<Tenure>, Responder)> {
        let Some(tenure) = self.standing.tenure() else {
            responder.send(Response::json(421, &self.standing.not_active(false)));
            return None;
        };
        let responder = match tenure.epoch() {
            // Of this tenure, not the newest one known: a value of a tenure that is over must not
            // pass for one of the next.
            Some(epoch) => responder.with_header(EPOCH_HEADER, epoch.to_string()),
            None => responder,
        };
        Some((tenure, responder))
    }

    fn with_tenure<T: DeserializeOwned>(
        &self,
        request: &Request,
        responder: Responder,
        handle: impl FnOnce(&Tenure, T, Responder),
    ) {
        if let Some((tenure, responder)) = self.active(responder) {
            with_body(request, responder, |body, responder| {
                handle(&tenure, body, responder)
            });
        }
    }

    fn term(&self, TermInfo { term, owner }: TermInfo) -> TermAnswer {
        TermAnswer {
            term,
            owner,
            cluster: self.genesis.cluster.clone(),
        }
    }

    /// Always answered. Of a catalog that stands by it says no more than that.
    fn health(&self) -> CatalogHealth {
        let standby = CatalogHealth {
            state: CatalogState::StartUpWait,
            cluster: self.genesis.cluster.clone(),
            term: TermInfo {
                term: 0,
                owner: None,
            },
            last: None,
            hash: genesis_hash(&self.genesis),
            sessions: 0,
            write_fault: None,
            role: CatalogRole::Standby,
            epoch: self.standing.known().epoch,
            protocol: protocol::text().into(),
            version: protocol::release(),
        };
        // Without a lease it shows itself as standby: what it has in memory may be of the past.
        let Some(tenure) = self.standing.tenure().filter(|tenure| tenure.holds()) else {
            return standby;
        };
        let position = tenure.visible.position();
        CatalogHealth {
            state: tenure.visible.state(),
            term: tenure.visible.term(),
            last: position.last,
            hash: position.hash,
            sessions: tenure.sessions.len(),
            write_fault: tenure.writes.fault(Instant::now()),
            role: CatalogRole::Active,
            epoch: tenure.epoch().unwrap_or(0),
            ..standby
        }
    }

    /// A lone batch need not change threads: a worker that may block trades it itself (see
    /// [`common::stage`]). A claim is rare, so it always goes to the writer's thread.
    fn trade(&self, tenure: &Tenure, work: WriterWork, may_block: bool) {
        // `may_block`: another worker is free for terms, lookups and keep-alives. Without one, a
        // batch that waits for a silent front-end would keep that front-end's own keep-alive
        // waiting.
        let put = if may_block {
            tenure.writer.run_or_put(work)
        } else {
            tenure.writer.put(work)
        };
        if let Err(WriterWork::Claim(_, responder) | WriterWork::Trades(_, responder)) = put {
            self.queues.refused("work");
            responder.send(Response::unavailable("the catalog's queue is full"));
        }
    }

    fn journal_page(&self, request: &Request, responder: Responder) {
        let Some((tenure, responder)) = self.active(responder) else {
            return;
        };
        let first = match first_after(request.query.as_deref()) {
            Ok(first) => first,
            Err(refusal) => return responder.send(refusal),
        };
        // Looked at here as well as by the reader: it spares the queue while nothing may leave.
        if let Err(not) = tenure.visible.serving() {
            return responder.send(not_serving(&not));
        }
        if let Err(page) = tenure.journal.put(JournalPage { first, responder }) {
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
    // A page that is not full says that no row follows: a statement about now.
    let end = match visible.position_now() {
        Ok(position) => position.next(),
        Err(not) => return Ok(not_serving(&not)),
    };
    // Cut at the visible end. A row beyond it is committed and not yet answered; a replica that got
    // it here could show the order while a cache still has the old quantity.
    let rows = end.saturating_sub(first);
    let limit = usize::try_from(rows).unwrap_or(PAGE_ROWS).min(PAGE_ROWS);
    Ok(Response::json(200, &journal.rows(first, limit)?))
}
