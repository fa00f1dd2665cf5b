//! The internal listener: invalidations, ends of sessions, the names that are cached, liveness,
//! metrics. Its workers answer everything themselves, at once: an invalidation that waited behind
//! anything would hold up every trade.

use crate::cache::shared::SharedCache;
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

impl Handler for Internal {
    fn handle(&self, request: Request, mut responder: Responder) {
        let (route, allowed) = match request.path.as_str() {
            "/invalidate" => ("/invalidate", "POST"),
            "/sessions/end" => ("/sessions/end", "POST"),
            "/cache" => ("/cache", "GET"),
            "/livez" => ("/livez", "GET"),
            "/metrics" => ("/metrics", "GET"),
            path => {
                return responder.send(Response::error(404, &format!("there is no '{path}' here")));
            }
        };
        responder.set_route(route);
        let response = match (route, request.method.as_str()) {
            ("/invalidate", "POST") => self.invalidate(&request),
            ("/sessions/end", "POST") => self.end_session(&request),
            ("/cache", "GET" | "HEAD") => Response::json(200, &self.cached_names()),
            ("/livez", "GET" | "HEAD") => Response::data("alive"),
            ("/metrics", "GET" | "HEAD") => {
                Response::text(200, Metrics::CONTENT_TYPE, self.metrics.text())
            }
            (_, method) => {
                let message = format!("{route} does not take {method}, only {allowed}");
                Response::error(405, &message).with_header("Allow", allowed)
            }
        };
        responder.send(response);
    }
}

impl Internal {
    fn cached_names(&self) -> CachedNames {
        CachedNames {
            names: self.cache.names().iter().map(ToString::to_string).collect(),
        }
    }

    fn invalidate(&self, request: &Request) -> Response {
        let push: InvalidateRequest = match request.json() {
            Ok(push) => push,
            Err(refusal) => return refusal,
        };
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

    fn end_session(&self, request: &Request) -> Response {
        let EndSessionRequest { session } = match request.json() {
            Ok(end) => end,
            Err(refusal) => return refusal,
        };
        if self.cache.end(&session) {
            tracing::warn!(%session, "the catalog ended the cache session: every read goes to it");
            Response::json(200, &json!({}))
        } else {
            not_ours(&session)
        }
    }
}

fn not_ours(session: &SessionId) -> Response {
    let message = format!("session {session} is not the one of this front-end");
    Response::error(409, &message)
}
