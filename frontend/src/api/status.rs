//! `GET /status` and `GET /readyz`: what the watching threads saw last, put together.

use crate::cache::shared::SharedCache;
use crate::leader::cell::LeaderCell;
use crate::leader::health_table::Views;
use common::wire::catalog::CatalogState;
use common::wire::order::Term;
use common::wire::public::{CatalogStatus, ReplicaState, ReplicaStatus, Status};
use common::wire::replica::Health;
use std::sync::Arc;

/// What status and readiness are made of.
pub struct Overview {
    /// The leader.
    pub cell: Arc<LeaderCell>,
    /// Replicas and catalog.
    pub views: Arc<Views>,
    /// The cache.
    pub cache: Arc<SharedCache>,
}

impl Overview {
    /// The status now.
    #[must_use]
    pub fn status(&self) -> Status {
        let known = self.cell.view();
        let replicas = self
            .views
            .replicas()
            .into_iter()
            .map(|(id, health)| ReplicaStatus {
                id,
                state: state(health.as_ref(), known.term),
                last: health.and_then(|health| health.last),
            });
        Status {
            leader: known.leader.as_ref().map(|leader| leader.id),
            term: known.term,
            replicas: replicas.collect(),
            catalog: CatalogStatus {
                state: self.views.catalog().map(|health| health.state),
            },
            cache: self.cache.status(),
        }
    }

    /// Why this front-end is not ready; `None` when it is.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        let catalog = match self.views.catalog().map(|health| health.state) {
            Some(CatalogState::Serving) => None,
            Some(CatalogState::StartUpWait) => Some("the catalog waits for earlier leases to end"),
            Some(CatalogState::AwaitingClaim) => Some("the catalog waits for a first leader"),
            Some(CatalogState::HistoryLost) => Some("the catalog has lost its history"),
            None => Some("the catalog does not answer"),
        };
        let leader = self
            .cell
            .view()
            .leader
            .is_none()
            .then_some("no leader of the order service is known");
        let reasons: Vec<&str> = catalog.into_iter().chain(leader).collect();
        (!reasons.is_empty()).then(|| format!("not ready: {}", reasons.join("; ")))
    }
}

/// What a replica does, by its own word; one that leads an older term than the known one does not
/// lead.
fn state(health: Option<&Health>, term: Term) -> ReplicaState {
    let Some(health) = health else {
        return ReplicaState::Down;
    };
    if health.leading.is_some_and(|led| led >= term) {
        ReplicaState::Leader
    } else if health.claiming.is_some() {
        ReplicaState::Claiming
    } else if health.catching_up {
        ReplicaState::CatchingUp
    } else {
        ReplicaState::Follower
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::wire::order::ReplicaId;

    /// Each state of the table comes from what the replica says.
    #[test]
    fn states() {
        let health = |leading, claiming, catching_up| Health {
            replica: ReplicaId::try_from(1).expect("an id"),
            leading,
            claiming,
            eligible: true,
            catching_up,
            last: Some(4),
            cluster: None,
            term: 2,
            leader: None,
            in_sync: Vec::new(),
        };
        assert_eq!(state(None, 2), ReplicaState::Down);
        assert_eq!(
            state(Some(&health(Some(2), None, false)), 2),
            ReplicaState::Leader
        );
        assert_eq!(
            state(Some(&health(Some(1), None, false)), 2),
            ReplicaState::Follower
        );
        assert_eq!(
            state(Some(&health(None, Some(3), true)), 2),
            ReplicaState::Claiming
        );
        assert_eq!(
            state(Some(&health(None, None, true)), 2),
            ReplicaState::CatchingUp
        );
        assert_eq!(
            state(Some(&health(None, None, false)), 2),
            ReplicaState::Follower
        );
    }
}
