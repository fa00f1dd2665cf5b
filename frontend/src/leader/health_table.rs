//! What the watching threads saw last, for `GET /status` and `GET /readyz`: one slot per replica,
//! one for the catalog.

use crate::leader::election::Outcome;
use common::clock::BootInstant;
use common::wire::catalog::CatalogHealth;
use common::wire::order::ReplicaId;
use common::wire::replica::Health;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is older than this is not shown.
const MAX_AGE: Duration = Duration::from_millis(200);

/// The newest health of everybody, with the time at which it came.
#[derive(Debug)]
pub struct Views {
    replicas: Mutex<BTreeMap<ReplicaId, Option<(BootInstant, Health)>>>,
    catalog: Mutex<Option<(BootInstant, CatalogHealth)>>,
}

impl Views {
    /// Nothing is known of anybody.
    #[must_use]
    pub fn new(replicas: impl IntoIterator<Item = ReplicaId>) -> Self {
        Self {
            replicas: Mutex::new(replicas.into_iter().map(|id| (id, None)).collect()),
            catalog: Mutex::new(None),
        }
    }

    /// A probe of a replica ended. A missed one leaves what was seen until it is too old.
    pub fn set_replica(&self, id: ReplicaId, outcome: &Outcome) {
        let mut replicas = self.replicas.lock();
        match outcome {
            Outcome::Health(health) => {
                replicas.insert(id, Some((BootInstant::now(), health.clone())))
            }
            Outcome::Refused => replicas.insert(id, None),
            Outcome::Missed => return,
        };
    }

    /// The catalog answered; `None`: it refused the connection. A missed answer is no reason to
    /// call this.
    pub fn set_catalog(&self, health: Option<CatalogHealth>) {
        *self.catalog.lock() = health.map(|health| (BootInstant::now(), health));
    }

    /// The replicas by id; `None`: down.
    #[must_use]
    pub fn replicas(&self) -> Vec<(ReplicaId, Option<Health>)> {
        let now = BootInstant::now();
        let replicas = self.replicas.lock();
        let recent = |seen: &Option<(BootInstant, Health)>| {
            seen.as_ref()
                .filter(|(at, _)| now.saturating_since(*at) <= MAX_AGE)
                .map(|(_, health)| health.clone())
        };
        replicas
            .iter()
            .map(|(id, seen)| (*id, recent(seen)))
            .collect()
    }

    /// The catalog's health; `None` while it does not answer.
    #[must_use]
    pub fn catalog(&self) -> Option<CatalogHealth> {
        let now = BootInstant::now();
        let catalog = self.catalog.lock();
        catalog
            .as_ref()
            .filter(|(at, _)| now.saturating_since(*at) <= MAX_AGE)
            .map(|(_, health)| health.clone())
    }
}
