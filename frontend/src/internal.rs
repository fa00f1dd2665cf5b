//! The internal listener: invalidations, liveness, metrics. Its workers answer everything themselves, at once: an invalidation that
//! waited behind anything would hold up every trade.

use crate::cache::shared::SharedCache;
use crate::lanes::Depths;
use common::http::{Handler, Request, Responder, Response};
use common::metrics::Metrics;
use common::wire::frontend::InvalidateRequest;
use serde_json::json;
use std::sync::Arc;

/// Answers internal calls.
pub struct Internal {
    /// The cache.
    pub cache: Arc<SharedCache>,
    /// What `GET /metrics` shows.
    pub metrics: Metrics,
    /// How full the lanes are, read when the metrics are.
    pub depths: Depths,
}

impl Handler for Internal {
    fn handle(&self, request: Request, mut responder: Responder) {
        let (route, allowed) = match request.path.as_str() {
            "/invalidate" => ("/invalidate", "POST"),
            "/livez" => ("/livez", "GET"),
            "/metrics" => ("/metrics", "GET"),
            path => return responder.send(Response::error(404, &format!("there is no '{path}' here"))),
        };
        responder.set_route(route);
        let response = match (route, request.method.as_str()) {
            ("/invalidate", "POST") => self.invalidate(&request),
            ("/livez", "GET" | "HEAD") => Response::data("alive"),
            ("/metrics", "GET" | "HEAD") => {
                self.depths.sample();
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
    fn invalidate(&self, request: &Request) -> Response {
        let push: InvalidateRequest = match request.json() {
            Ok(push) => push,
            Err(refusal) => return refusal,
        };
        if self.cache.invalidate(&push.session, &push.names) {
            Response::json(200, &json!({}))
        } else {
            tracing::warn!(session = %push.session, "invalidation refused: the session is not this front-end's");
            Response::error(409, &format!("session {} is not the one of this front-end", push.session))
        }
    }
}
