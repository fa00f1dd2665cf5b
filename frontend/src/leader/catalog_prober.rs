//! The thread that asks the catalog for its health each heartbeat, for `GET /status` and `GET
//! /readyz`.

use crate::leader::health_table::HealthTable;
use common::http::client::{CallError, HttpClient};
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::{HEARTBEAT, PROBE_TIMEOUT};
use common::wire::catalog::CatalogHealth;
use std::sync::Arc;
use std::time::Instant;

/// Starts the thread. The service's stop ends it.
#[must_use]
pub fn start(
    catalog_url: &str,
    token: Option<&str>,
    health_table: Arc<HealthTable>,
    stop: Shutdown,
) -> Thread {
    let client = HttpClient::new(1, token);
    let url = catalog_url.to_owned();
    Thread::spawn("probe-catalog", move || {
        loop {
            let began = Instant::now();
            match client.get::<CatalogHealth>(&url, "/health", PROBE_TIMEOUT) {
                Ok(health) => health_table.set_catalog(Some(health)),
                Err(CallError::NotSent(_)) => health_table.set_catalog(None),
                // The newest health counts until it is too old, as with replicas.
                Err(error) => tracing::debug!(%error, "the catalog did not answer its health"),
            }
            if stop.wait(HEARTBEAT.saturating_sub(began.elapsed())) {
                return;
            }
        }
    })
}
