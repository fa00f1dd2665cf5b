//! The newest health by the probing threads, for `GET /status` and `GET /readyz`: one slot per
//! replica, one for the catalog.

use crate::leader::election::Outcome;
use common::clock::BootInstant;
use common::wire::catalog::{CatalogHealth, CatalogState};
use common::wire::order::{ClusterId, ReplicaId};
use common::wire::replica::Health;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

/// Older health is not shown.
const MAX_AGE: Duration = Duration::from_millis(200);

/// The newest health of everybody, with the time at which it came.
#[derive(Debug)]
pub struct HealthTable {
    replicas: Mutex<BTreeMap<ReplicaId, Option<(BootInstant, Observation)>>>,
    catalog: Mutex<Catalog>,
}

#[derive(Debug, Default)]
struct Catalog {
    newest: Option<(BootInstant, CatalogHealth)>,
    /// The bazaar that it named last; kept while it does not answer.
    cluster: Option<ClusterId>,
}

/// A replica as the newest probe found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// It does not answer.
    Down,
    /// This other replica answers under its URL.
    WrongReplica(ReplicaId),
    /// Its file belongs to this other bazaar.
    Foreign(ClusterId),
    /// Its health.
    Health(Health),
}

impl Observation {
    /// Its health, when it is one of this bazaar.
    pub fn health(&self) -> Option<&Health> {
        match self {
            Self::Health(health) => Some(health),
            Self::Down | Self::WrongReplica(_) | Self::Foreign(_) => None,
        }
    }
}

impl HealthTable {
    /// A table without any health yet.
    pub fn new(replicas: impl IntoIterator<Item = ReplicaId>) -> Self {
        Self {
            replicas: Mutex::new(replicas.into_iter().map(|id| (id, None)).collect()),
            catalog: Mutex::default(),
        }
    }

    /// A probe of a replica ended. A missed one leaves what was seen until it is too old.
    pub fn set_replica(&self, id: ReplicaId, outcome: &Outcome) {
        let seen = match outcome {
            Outcome::Health(health) => Some(Observation::Health(health.clone())),
            Outcome::WrongReplica(other) => Some(Observation::WrongReplica(*other)),
            Outcome::Refused => None,
            // Whether a file is of another bazaar is judged when it is shown.
            Outcome::Missed | Outcome::Foreign => return,
        };
        let seen = seen.map(|seen| (BootInstant::now(), seen));
        self.replicas.lock().insert(id, seen);
    }

    /// The catalog answered; `None`: it refused the connection. A missed answer is no reason to
    /// call this.
    pub fn set_catalog(&self, health: Option<CatalogHealth>) {
        let mut catalog = self.catalog.lock();
        if let Some(health) = &health {
            catalog.cluster = Some(health.cluster.clone());
        }
        catalog.newest = health.map(|health| (BootInstant::now(), health));
    }

    /// The bazaar that the replicas should be of: the catalog's, once it is known. `None` while the
    /// catalog's history is lost: without its file it begins with another cluster id, and then the
    /// replicas are right. Their orders are still read, and none of them is shown as foreign.
    pub fn cluster(&self) -> Option<ClusterId> {
        let catalog = self.catalog.lock();
        let lost = |health: &CatalogHealth| health.state == CatalogState::HistoryLost;
        match &catalog.newest {
            Some((_, health)) if lost(health) => None,
            _ => catalog.cluster.clone(),
        }
    }

    /// All replicas, by id.
    pub fn replicas(&self) -> Vec<(ReplicaId, Observation)> {
        let (now, cluster) = (BootInstant::now(), self.cluster());
        let replicas = self.replicas.lock();
        let recent = |seen: &Option<(BootInstant, Observation)>| match seen {
            Some((at, seen)) if now.saturating_since(*at) <= MAX_AGE => seen.clone(),
            _ => Observation::Down,
        };
        replicas
            .iter()
            .map(|(id, seen)| (*id, mark_foreign(recent(seen), cluster.as_ref())))
            .collect()
    }

    /// How long ago a replica answered; `None` when that is too long ago.
    pub fn replica_age(&self, id: ReplicaId) -> Option<Duration> {
        let replicas = self.replicas.lock();
        recent_age(replicas.get(&id)?.as_ref()?.0)
    }

    /// How long ago the catalog answered; `None` when that is too long ago.
    pub fn catalog_age(&self) -> Option<Duration> {
        recent_age(self.catalog.lock().newest.as_ref()?.0)
    }

    /// One replica.
    pub fn replica(&self, id: ReplicaId) -> Observation {
        let all = self.replicas();
        let found = all.into_iter().find(|(other, _)| *other == id);
        found.map_or(Observation::Down, |(_, seen)| seen)
    }

    /// The catalog's health; `None` while it does not answer.
    pub fn catalog(&self) -> Option<CatalogHealth> {
        let now = BootInstant::now();
        let catalog = self.catalog.lock();
        catalog
            .newest
            .as_ref()
            .filter(|(at, _)| now.saturating_since(*at) <= MAX_AGE)
            .map(|(_, health)| health.clone())
    }
}

fn recent_age(at: BootInstant) -> Option<Duration> {
    let age = BootInstant::now().saturating_since(at);
    (age <= MAX_AGE).then_some(age)
}

/// Marks the health of a replica whose file belongs to another bazaar.
fn mark_foreign(seen: Observation, cluster: Option<&ClusterId>) -> Observation {
    match seen {
        Observation::Health(Health {
            cluster: Some(other),
            ..
        }) if cluster.is_some_and(|own| *own != other) => Observation::Foreign(other),
        seen => seen,
    }
}
