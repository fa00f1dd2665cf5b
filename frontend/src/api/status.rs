//! `GET /status` and `GET /readyz`: what the watching threads saw last, put together.

use crate::cache::shared::SharedCache;
use crate::leader::cell::LeaderCell;
use crate::leader::health_table::{Seen, Views};
use common::http::tokens;
use common::wire::catalog::CatalogState;
use common::wire::order::{ReplicaId, Term};
use common::wire::public::{CatalogStatus, ReplicaState, ReplicaStatus, Status};
use common::wire::replica::Copies;
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
            .map(|(id, seen)| ReplicaStatus {
                id,
                state: state(&seen, known.term),
                last: seen.health().and_then(|health| health.last),
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
        let (copies, strangers) = self.replica_reasons();
        let mut reasons: Vec<String> = catalog
            .into_iter()
            .chain(leader)
            .map(Into::into)
            .chain(copies)
            .chain(strangers.filter(|_| leader.is_some()))
            .collect();
        if reasons.is_empty() {
            return None;
        }
        // The cause, where that is it: without a trouble of its own it stops nobody from trading.
        reasons.extend(tokens::refusals());
        Some(format!("not ready: {}", reasons.join("; ")))
    }

    /// Why orders are refused although there is a leader; and which replicas do not count, which
    /// explains why there is none.
    fn replica_reasons(&self) -> (Option<String>, Option<String>) {
        let leader = self.cell.view().leader.map(|leader| leader.id);
        let replicas = self.views.replicas();
        let led = replicas.iter().find(|(id, _)| Some(*id) == leader);
        let copies = led
            .and_then(|(id, seen)| Some((id, seen.health()?.copies?)))
            .filter(|(_, copies)| !copies.suffice())
            .map(|(id, Copies { present, wanted })| {
                format!("too few replicas are in sync with the leader, replica {id}: an order would have {present} of the {wanted} copies that ORDER_MIN_COPIES asks for")
            });
        let strangers: Vec<String> = replicas
            .iter()
            .filter_map(|(id, seen)| describe_stranger(*id, seen))
            .collect();
        (
            copies,
            (!strangers.is_empty()).then(|| strangers.join("; ")),
        )
    }
}

/// What is known of replicas that are not what they should be.
fn describe_stranger(id: ReplicaId, seen: &Seen) -> Option<String> {
    match seen {
        Seen::WrongReplica(other) => Some(format!("replica {other} answers under the URL of {id}")),
        Seen::Foreign(_) => Some(format!(
            "the file of replica {id} belongs to another bazaar"
        )),
        Seen::Down | Seen::Health(_) => None,
    }
}

/// What a replica does, by its own word; one that leads an older term than the known one does not
/// lead.
fn state(seen: &Seen, term: Term) -> ReplicaState {
    let health = match seen {
        Seen::Down => return ReplicaState::Down,
        Seen::WrongReplica(_) => return ReplicaState::WrongReplica,
        Seen::Foreign(_) => return ReplicaState::Foreign,
        Seen::Health(health) => health,
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
    use common::wire::order::{ClusterId, ReplicaId};
    use common::wire::replica::Health;

    /// Each state of the table comes from what the replica says.
    #[test]
    fn states() {
        let health = |leading, claiming, catching_up| {
            Seen::Health(Health {
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
                copies: None,
            })
        };
        let other = ReplicaId::try_from(2).expect("an id");
        let theirs = ClusterId("theirs".into());
        assert_eq!(state(&Seen::Down, 2), ReplicaState::Down);
        assert_eq!(
            state(&Seen::WrongReplica(other), 2),
            ReplicaState::WrongReplica
        );
        assert_eq!(state(&Seen::Foreign(theirs), 2), ReplicaState::Foreign);
        assert_eq!(
            state(&health(Some(2), None, false), 2),
            ReplicaState::Leader
        );
        assert_eq!(
            state(&health(Some(1), None, false), 2),
            ReplicaState::Follower
        );
        assert_eq!(
            state(&health(None, Some(3), true), 2),
            ReplicaState::Claiming
        );
        assert_eq!(
            state(&health(None, None, true), 2),
            ReplicaState::CatchingUp
        );
        assert_eq!(state(&health(None, None, false), 2), ReplicaState::Follower);
    }
}
