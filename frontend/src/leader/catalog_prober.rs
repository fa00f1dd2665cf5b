//! The threads that ask each catalog for its health each heartbeat, for `GET /status` and `GET
//! /readyz`. Where several share a database, they also find out which one is active, for all
//! callers of this front-end.

use crate::leader::health_table::HealthTable;
use common::http::catalogs::Catalogs;
use common::http::client::{CallError, HttpClient};
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::{HEARTBEAT, PROBE_TIMEOUT};
use common::wire::catalog::{CatalogHealth, CatalogRole};
use std::sync::Arc;
use std::time::Instant;

/// Starts a thread for each catalog. The service's stop ends them.
#[must_use]
pub fn start(
    catalogs: &Catalogs,
    token: Option<&str>,
    health_table: &Arc<HealthTable>,
    stop: &Shutdown,
) -> Vec<Thread> {
    // A thread for each catalog: one that hangs for its time-out must not make the others' health
    // old.
    let prober = |(index, url): (usize, &String)| {
        let prober = CatalogProber {
            index,
            url: url.clone(),
            // A connection of its own, so that a probe never waits behind calls that hang.
            client: HttpClient::new(1, token),
            catalogs: catalogs.clone(),
            health_table: Arc::clone(health_table),
        };
        let stop = stop.clone();
        let run = move || prober.run(&stop);
        // The first keeps the bare name, under which a bazaar with one catalog knows its thread.
        match index {
            0 => Thread::spawn("probe-catalog", run),
            _ => Thread::spawn(&format!("probe-catalog{}", index + 1), run),
        }
    };
    catalogs.urls().iter().enumerate().map(prober).collect()
}

struct CatalogProber {
    index: usize,
    url: String,
    client: HttpClient,
    catalogs: Catalogs,
    health_table: Arc<HealthTable>,
}

impl CatalogProber {
    fn run(&self, stop: &Shutdown) {
        loop {
            let began = Instant::now();
            self.probe();
            // From the start of the probe, so that a slow answer does not stretch the heartbeat.
            if stop.wait(HEARTBEAT.saturating_sub(began.elapsed())) {
                return;
            }
        }
    }

    fn probe(&self) {
        let answered = self
            .client
            .get::<CatalogHealth>(&self.url, "/health", PROBE_TIMEOUT);
        match answered {
            Ok(health) => {
                // One without an epoch has a file of its own: there is no other to tell it from.
                if health.role == CatalogRole::Active && health.epoch > 0 {
                    // Before a call of this front-end has to find out by a 421 or a time-out: calls
                    // in flight to the catalog that was active before end at once.
                    self.catalogs.note_active(self.index, health.epoch);
                }
                self.health_table.set_catalog(self.index, Some(health));
            }
            // No connection was made, so the old health does not count any more.
            Err(CallError::NotSent(_)) => self.health_table.set_catalog(self.index, None),
            // The newest health counts until it is too old, as with replicas.
            Err(error) => {
                tracing::debug!(url = self.url, %error, "the catalog did not answer its health");
            }
        }
    }
}
