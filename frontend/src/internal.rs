//! The internal listener: invalidations, ends of sessions, the names that are cached, liveness,
//! metrics. Its workers answer everything themselves, at once: an invalidation that waited behind
//! anything would hold up every trade.

use crate::cache::shared::SharedCache;
use common::http::routes::{Action, Route, RouteTable, livez, metrics_page, with_body};
use common::http::{Handler, Request, Responder, Response};
use common::metrics::Metrics;
use common::wire::catalog::SessionId;
use common::wire::frontend::{CachedNames, EndSessionRequest, InvalidateRequest};
use serde_json::json;
use std::sync::Arc;

/// Answers internal calls.
pub struct Internal {
    /// The cache.
    pub cache: Arc<SharedCache>,
    /// The counters behind `GET /metrics`.
    pub metrics: Metrics,
}

const ROUTES: RouteTable<Action<Internal>> = RouteTable::new(&[
    Route::get("/livez", livez),
    Route::get("/metrics", |internal, _, responder| {
        responder.send(metrics_page(&internal.metrics));
    }),
    Route::get("/cache", |internal, _, responder| {
        responder.send(Response::json(200, &internal.cached_names()));
    }),
    Route::post("/invalidate", |internal, request, responder| {
        with_body(request, responder, |push, responder| {
            responder.send(internal.invalidate(&push));
        });
    }),
    Route::post("/sessions/end", |internal, request, responder| {
        with_body(request, responder, |end, responder| {
            responder.send(internal.end_session(&end));
        });
    }),
]);

impl Handler for Internal {
    fn handle(&self, request: Request, responder: Responder) {
        ROUTES.dispatch(self, &request, responder);
    }
}

impl Internal {
    fn cached_names(&self) -> CachedNames {
        CachedNames {
            names: self.cache.names().iter().map(ToString::to_string).collect(),
        }
    }

    fn invalidate(&self, push: &InvalidateRequest) -> Response {
        if self.cache.invalidate(&push.session, &push.names) {
            Response::json(200, &json!({}))
        } else {
            tracing::warn!(
                session = %push.session,
                "invalidation refused: the session is not this front-end's"
            );
            not_ours(&push.session)
        }
    }

    fn end_session(&self, EndSessionRequest { session }: &EndSessionRequest) -> Response {
        if self.cache.end(session) {
            tracing::warn!(%session, "the catalog ended the cache session: every read goes to it");
            Response::json(200, &json!({}))
        } else {
            not_ours(session)
        }
    }
}

fn not_ours(session: &SessionId) -> Response {
    let message = format!("session {session} is not the one of this front-end");
    Response::error(409, &message)
}
