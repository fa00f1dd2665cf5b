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
    pub cache: Arc<SharedCache>,
    pub metrics: Metrics,
}

const ROUTES: RouteTable<Action<Internal>> = RouteTable::new(&[
    // Answered by a worker, never behind a queue: it says that the process runs, not that it can
    // trade.
    Route::get("/livez", livez),
    Route::get("/metrics", |internal, _, responder| {
        responder.send(metrics_page(&internal.metrics));
    }),
    Route::get("/cache", |internal, _, responder| {
        responder.send(Response::json(200, &internal.cached_names()));
    }),
    Route::post("/invalidate", |internal, request, responder| {
        // The body is small and read by the worker itself; the cache's lock is held for a few map
        // operations. So the catalog, whose trade waits for this answer, waits for the network
        // only.
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
        // The entries are gone when this returns: only then may the acknowledgement leave, since
        // the catalog makes the new quantity visible on the strength of it.
        if self.cache.invalidate(&push.session, &push.names) {
            Response::json(200, &json!({}))
        } else {
            // The catalog ends that session at once instead of waiting for its lease: whoever
            // answers here is a new process at the same address, or has begun another session.
            tracing::warn!(
                session = %push.session,
                "invalidation refused: the session is not this front-end's"
            );
            not_ours(&push.session)
        }
    }

    fn end_session(&self, EndSessionRequest { session }: &EndSessionRequest) -> Response {
        // Both the current and the pending session end so. A registration that is being answered
        // installs nothing afterwards (rule 8 of the cache).
        if self.cache.end(session) {
            tracing::warn!(%session, "the catalog ended the cache session: every read goes to it");
            Response::json(200, &json!({}))
        } else {
            // An older session has no entries left here, and no lease: the catalog need not wait.
            not_ours(session)
        }
    }
}

fn not_ours(session: &SessionId) -> Response {
    let message = format!("session {session} is not the one of this front-end");
    // A status that no proxy or full server makes by itself: to the catalog a 409 is proof that
    // nothing is held under that session, while any other failure is not.
    Response::error(409, &message)
}
