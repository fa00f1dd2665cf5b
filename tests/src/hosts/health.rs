//! How a bazaar across hosts is: who leads, who is active, who died, and waits until all is well.

use super::bazaar::{Hosts, SOON};
use super::engine::{docker, must};
use super::host::Host;
use client::api::Api;
use cluster::service::Service::{self, Catalog, Frontend, Order, OtherCatalog};
use cluster::wait;
use common::wire::catalog::{CatalogHealth, CatalogRole};
use common::wire::public::Status;
use common::wire::replica::Health;
use std::time::Duration;

/// Time-out of one request to a service.
const POLL_TIMEOUT: Duration = Duration::from_secs(2);

impl Hosts {
    /// A client of a service's internal listener, with the token.
    pub fn internal(&self, service: Service) -> Api {
        let port = match service {
            Catalog | OtherCatalog(_) => 7_100,
            Order(id) => 7_200 + u16::from(id),
            Frontend(_) => 7_000,
        };
        let url = format!("http://{}:{port}", self.address(service));
        Api::with_timeout(&url, POLL_TIMEOUT).with_token(&self.token)
    }

    /// A replica's own health.
    pub fn health(&self, id: u8) -> Option<Health> {
        self.internal(Order(id)).internal("/health").ok()
    }

    /// A catalog's own health.
    pub fn catalog_health(&self, catalog: Service) -> Option<CatalogHealth> {
        self.internal(catalog).internal("/health").ok()
    }

    /// A status from any front-end that answers.
    pub fn status(&self) -> Option<Status> {
        let urls = self.urls();
        urls.iter()
            .find_map(|url| Api::with_timeout(url, POLL_TIMEOUT).status().ok())
    }

    /// The leader, once there is one.
    ///
    /// # Panics
    /// When none is found.
    pub fn leader(&self) -> u8 {
        let leader = wait::until(SOON, || self.status()?.leader);
        leader.map(u8::from).expect("a leader is found")
    }

    /// The catalog that is active, once there is one.
    ///
    /// # Panics
    /// When none is.
    pub fn active(&self) -> Service {
        let active = wait::until(SOON, || {
            let mut catalogs = self.layout.catalogs().into_iter();
            catalogs.find(|catalog| self.is_active(*catalog))
        });
        active.expect("a catalog is active")
    }

    fn is_active(&self, catalog: Service) -> bool {
        let health = self.catalog_health(catalog);
        health.is_some_and(|health| health.role == CatalogRole::Active)
    }

    /// Waits until a catalog is active.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn wait_active(&self, catalog: Service) {
        let active = wait::until(SOON, || self.is_active(catalog).then_some(()));
        assert!(
            active.is_some(),
            "{catalog} is not active: {:?}; {:?}",
            self.catalog_health(catalog),
            self.died()
        );
    }

    /// Waits until one catalog is active, and all others stand by for it.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn wait_standing_by(&self) {
        let catalogs = self.layout.catalogs();
        let mut last = Vec::new();
        let done = wait::until(SOON, || {
            let health = catalogs.iter().filter_map(|c| self.catalog_health(*c));
            last = health.map(|health| health.role).collect();
            let active = last.iter().filter(|role| **role == CatalogRole::Active);
            (active.count() == 1 && last.len() == catalogs.len()).then_some(())
        });
        assert!(
            done.is_some(),
            "one catalog is active, the others stand by: {last:?}; {:?}",
            self.died()
        );
    }

    /// Hosts that ended unasked, with their exit codes.
    pub fn died(&self) -> Vec<String> {
        let hosts = self.layout.hosts();
        let mut running: Vec<Host> = hosts;
        running.retain(|host| !self.down.contains(host));
        let names = running.iter().map(|host| self.container(*host));
        let format = "--format={{.State.Running}} {{.State.ExitCode}}";
        let arguments: Vec<String> = ["inspect".into(), format.into()]
            .into_iter()
            .chain(names)
            .collect();
        let states = must(&arguments);
        let pairs = running.iter().zip(states.lines());
        pairs
            .filter_map(|(host, state)| Some((host, state.strip_prefix("false ")?)))
            .map(|(host, code)| format!("{host} (exit code {code})\n{}", self.log(*host)))
            .collect()
    }

    /// Waits until every front-end can trade.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn wait_ready(&self) {
        for url in self.urls() {
            let api = Api::with_timeout(&url, POLL_TIMEOUT);
            let mut last = String::new();
            let ready = wait::until(SOON, || {
                match api.get("/readyz") {
                    Ok(answer) if answer.status == 200 => return Some(()),
                    Ok(answer) => last = answer.body,
                    Err(error) => last = error.to_string(),
                }
                None
            });
            assert!(ready.is_some(), "{url}: {last}; {:?}", self.died());
        }
    }

    /// Asks every service as its container's health check does: by the image's own program.
    ///
    /// # Panics
    /// When one is not well.
    pub fn health_checks_pass(&self) {
        for service in self.layout.services() {
            let url = match service {
                Catalog | OtherCatalog(_) => "http://127.0.0.1:7100/livez".into(),
                Order(id) => format!("http://127.0.0.1:720{id}/livez"),
                Frontend(_) => "http://127.0.0.1:8080/readyz".to_owned(),
            };
            let container = self.container(service);
            let check = ["exec", &container, "bazaar", "healthcheck", &url];
            docker(&check).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// Waits until the leader counts both others as in sync, and until all have the catalog's last
    /// row, if `level`: then nobody may trade meanwhile.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn wait_in_sync(&self, level: bool) {
        let mut last = String::new();
        let done = wait::until(SOON, || {
            let catalogs = self.layout.catalogs().into_iter();
            let mut catalogs = catalogs.filter_map(|catalog| self.catalog_health(catalog));
            let catalog = catalogs.find(|health| health.role == CatalogRole::Active)?;
            let health: Vec<Health> = (1..=3).filter_map(|id| self.health(id)).collect();
            last = format!(
                "the catalog's last is {:?}, replicas: {health:#?}",
                catalog.last
            );
            let in_sync = health
                .iter()
                .any(|h| h.leading.is_some() && h.in_sync.len() == 2);
            let equal = health
                .iter()
                .all(|h| h.last == catalog.last && !h.catching_up);
            (in_sync && health.len() == 3 && (equal || !level)).then_some(())
        });
        assert!(
            done.is_some(),
            "replicas are not in sync: {last}; {:?}",
            self.died()
        );
    }
}
