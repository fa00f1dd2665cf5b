//! The newest health by the probing threads, for `GET /status` and `GET /readyz`: one slot per
//! replica, one per catalog.

use crate::leader::election::Outcome;
use common::clock::BootInstant;
use common::wire::catalog::{CatalogHealth, CatalogRole, CatalogState};
use common::wire::order::{ClusterId, ReplicaId};
use common::wire::replica::Health;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

/// Older health is not shown: two heartbeats, so that one that is late does not make a replica look
/// down.
const MAX_AGE: Duration = Duration::from_millis(200);

/// The newest health of everybody, with the time at which it came. It has two locks, and no
/// function holds both: the probers of replicas and of catalogs never wait for each other.
#[derive(Debug)]
pub struct HealthTable {
    replicas: Mutex<BTreeMap<ReplicaId, Option<(BootInstant, Observation)>>>,
    catalogs: Mutex<CatalogTable>,
}

#[derive(Debug)]
struct CatalogTable {
    newest: Vec<Option<(BootInstant, CatalogHealth)>>,
    /// The bazaar that one of them named last; kept while none answers.
    cluster: Option<ClusterId>,
}

impl CatalogTable {
    /// The one that counts, of those that answered within `age`: the active one of the newest
    /// epoch, else any that stands by.
    fn counts(&self, now: BootInstant, age: Duration) -> Option<&(BootInstant, CatalogHealth)> {
        let recent = |seen: &&(BootInstant, CatalogHealth)| now.saturating_since(seen.0) <= age;
        // Old answers are left out before the choice: an active catalog that died an hour ago must
        // not hide a standby that answers.
        let answering = self.newest.iter().flatten().filter(recent);
        // A deposed catalog may still say that it is active; its epoch is the lower one.
        answering.max_by_key(|(_, health)| (health.role == CatalogRole::Active, health.epoch))
    }
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
    pub fn new(replicas: impl IntoIterator<Item = ReplicaId>, catalogs: usize) -> Self {
        Self {
            replicas: Mutex::new(replicas.into_iter().map(|id| (id, None)).collect()),
            catalogs: Mutex::new(CatalogTable {
                newest: vec![None; catalogs],
                cluster: None,
            }),
        }
    }

    /// A probe of a replica ended. A missed one leaves what was seen until it is too old.
    pub fn set_replica(&self, id: ReplicaId, outcome: &Outcome) {
        let seen = match outcome {
            Outcome::Health(health) => Some(Observation::Health(health.clone())),
            Outcome::WrongReplica(other) => Some(Observation::WrongReplica(*other)),
            // Nobody listens: down at once, without waiting for the health to grow old.
            Outcome::Refused => None,
            // Whether a file is of another bazaar is judged when it is shown.
            Outcome::Missed | Outcome::Foreign => return,
        };
        // The time of the receipt, not of the question: it says how old the table's row is.
        let seen = seen.map(|seen| (BootInstant::now(), seen));
        self.replicas.lock().insert(id, seen);
    }

    /// A catalog answered; `None`: it refused the connection. A missed answer is no reason to
    /// call this.
    pub fn set_catalog(&self, catalog: usize, health: Option<CatalogHealth>) {
        let mut catalogs = self.catalogs.lock();
        if let Some(health) = &health {
            // Kept from then on: while the catalog is away, strangers are still recognised.
            catalogs.cluster = Some(health.cluster.clone());
        }
        catalogs.newest[catalog] = health.map(|health| (BootInstant::now(), health));
    }

    /// The bazaar that the replicas should be of: the catalog's, once it is known. `None` while the
    /// catalog's history is lost: without its file it begins with another cluster id, and then the
    /// replicas are right. Their orders are still read, and none of them is shown as foreign.
    pub fn cluster(&self) -> Option<ClusterId> {
        let catalogs = self.catalogs.lock();
        let lost = |health: &CatalogHealth| health.state == CatalogState::HistoryLost;
        // However old: while the catalog is away its last word on its history counts.
        match catalogs.counts(BootInstant::now(), Duration::MAX) {
            Some((_, health)) if lost(health) => None,
            _ => catalogs.cluster.clone(),
        }
    }

    /// All replicas, by id.
    pub fn replicas(&self) -> Vec<(ReplicaId, Observation)> {
        // The cluster first, whose lock is released before the replicas' is taken.
        let (now, cluster) = (BootInstant::now(), self.cluster());
        let replicas = self.replicas.lock();
        let recent = |seen: &Option<(BootInstant, Observation)>| match seen {
            // Judged when it is read, not when it came: silence alone makes a row old.
            Some((at, seen)) if now.saturating_since(*at) <= MAX_AGE => seen.clone(),
            _ => Observation::Down,
        };
        replicas
            .iter()
            // Here rather than in `set_replica`: the cluster may have become known since.
            .map(|(id, seen)| (*id, mark_foreign(recent(seen), cluster.as_ref())))
            .collect()
    }

    /// How long ago a replica answered; `None` when that is too long ago.
    pub fn replica_age(&self, id: ReplicaId) -> Option<Duration> {
        let replicas = self.replicas.lock();
        recent_age(replicas.get(&id)?.as_ref()?.0)
    }

    /// How long ago the catalog that counts answered; `None` when that is too long ago.
    pub fn catalog_age(&self) -> Option<Duration> {
        let catalogs = self.catalogs.lock();
        let (at, _) = catalogs.counts(BootInstant::now(), MAX_AGE)?;
        recent_age(*at)
    }

    /// One replica.
    pub fn replica(&self, id: ReplicaId) -> Observation {
        // Through the whole table, so that one replica is judged by the same rules as all. It has
        // three rows.
        let all = self.replicas();
        let found = all.into_iter().find(|(other, _)| *other == id);
        found.map_or(Observation::Down, |(_, seen)| seen)
    }

    /// Each catalog, in the order of the setting: its health and how old that is; `None` while it
    /// does not answer.
    pub fn catalogs(&self) -> Vec<Option<(CatalogHealth, Duration)>> {
        let catalogs = self.catalogs.lock();
        let shown = |seen: &Option<(BootInstant, CatalogHealth)>| {
            let (at, health) = seen.as_ref()?;
            Some((health.clone(), recent_age(*at)?))
        };
        catalogs.newest.iter().map(shown).collect()
    }

    /// The health of the active catalog, else of one that stands by; `None` while none answers.
    pub fn catalog(&self) -> Option<CatalogHealth> {
        let now = BootInstant::now();
        let catalogs = self.catalogs.lock();
        let (_, health) = catalogs.counts(now, MAX_AGE)?;
        Some(health.clone())
    }
}

fn recent_age(at: BootInstant) -> Option<Duration> {
    let age = BootInstant::now().saturating_since(at);
    (age <= MAX_AGE).then_some(age)
}

/// Marks the health of a replica whose file belongs to another bazaar.
fn mark_foreign(seen: Observation, cluster: Option<&ClusterId>) -> Observation {
    match seen {
        // A replica that has no file yet names no cluster, and is no stranger.
        Observation::Health(Health {
            cluster: Some(other),
            ..
        }) if cluster.is_some_and(|own| *own != other) => Observation::Foreign(other),
        seen => seen,
    }
}
