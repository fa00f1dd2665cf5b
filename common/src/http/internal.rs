//! The server of an internal listener: tiny_http, or the edge where `BAZAAR_INTERNAL_SERVER` says
//! so. docs/decisions.md has the figures of both, and what tiny_http cannot do.

use super::Handler;
use super::access::Access;
use super::edge::limits::{EdgeConfig, Limits, Threads};
use super::edge::{Edge, NoFastPath};
use super::tiny::{TinyConfig, TinyServer};
use crate::metrics::{HttpMetrics, Metrics};
use crate::settings::addresses::ListenAddress;
use crate::settings::{ServerKind, Shared};
use crate::timing::INTERNAL_BODY_LIMIT_BYTES;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// A running server. Dropping it stops it: what is in flight is answered first.
#[derive(Debug)]
pub enum InternalServer {
    /// tiny_http.
    Tiny(TinyServer),
    /// The edge.
    Edge(Edge),
}

impl InternalServer {
    /// Binds and starts. Says in the log which server it is, and who may call it.
    ///
    /// # Errors
    /// When the address cannot be bound; the message names it.
    pub fn start(
        name: &'static str,
        listen: &ListenAddress,
        settings: &Shared,
        handler: Arc<dyn Handler>,
        http: Arc<HttpMetrics>,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        // One that waits for a processor must not keep a heartbeat waiting.
        let threads = settings.threads.max(2);
        let access = settings.internal_access();
        // Said once at the start: whoever wonders why a service on another machine is refused finds
        // it in the log.
        if matches!(&access, Access::Internal { token: None, .. }) {
            tracing::warn!("BAZAAR_TOKEN is not set: internal calls are taken from loopback only");
        }
        match settings.internal_server {
            ServerKind::TinyHttp => {
                let config = TinyConfig {
                    name,
                    listen: listen.one(),
                    workers: threads,
                    body_limit_bytes: INTERNAL_BODY_LIMIT_BYTES,
                    access,
                };
                TinyServer::start(config, handler, http).map(Self::Tiny)
            }
            ServerKind::Edge => {
                let config = EdgeConfig {
                    name,
                    listen: listen.clone(),
                    threads: Threads::Together(threads),
                    limits: Limits::internal(),
                    access,
                };
                Edge::start(config, Arc::new(NoFastPath(handler)), http, metrics).map(Self::Edge)
            }
        }
    }

    /// The address in use.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Tiny(tiny) => tiny.address(),
            Self::Edge(edge) => edge.address(),
        }
    }
}
