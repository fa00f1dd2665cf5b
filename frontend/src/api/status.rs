//! `GET /status` and `GET /readyz`, put together from the newest probes.

use crate::cache::shared::SharedCache;
use crate::leader::cell::LeaderCell;
use crate::leader::health_table::{HealthTable, Observation};
use crate::orders::evidence::OrderEvidence;
use common::clock::BootInstant;
use common::http::mismatches;
use common::wire::catalog::{CatalogHealth, CatalogRole, CatalogState};
use common::wire::order::{ReplicaId, Term};
use common::wire::public::{CatalogMember, CatalogStatus, ReplicaState, ReplicaStatus, Status};
use common::wire::replica::Copies;
use std::sync::Arc;
use std::time::Duration;

/// The sources of status and readiness.
pub struct StatusReport {
    pub cell: Arc<LeaderCell>,
    pub health_table: Arc<HealthTable>,
    pub cache: Arc<SharedCache>,
    /// This front-end's own newest order.
    pub evidence: Arc<OrderEvidence>,
}

impl StatusReport {
    /// The status of this moment.
    pub fn status(&self) -> Status {
        // Read once, so that leader, term and reasons of the response fit each other.
        let known = self.cell.snapshot();
        let leader = known.leader.as_ref().map(|leader| leader.id);
        let catalog = self.health_table.catalog();
        let mut replicas = replicas(&self.health_table.replicas(), known.term);
        for replica in &mut replicas {
            replica.age_ms = self.health_table.replica_age(replica.id).map(ms);
        }
        let reasons = self.reasons(leader, catalog.as_ref());
        Status {
            ready: reasons.is_empty(),
            reasons,
            leader,
            term: known.term,
            replicas,
            catalog: CatalogStatus {
                state: catalog.as_ref().map(|health| health.state),
                write_fault: catalog.and_then(|health| health.write_fault),
                age_ms: self.health_table.catalog_age().map(ms),
            },
            catalogs: catalogs(self.health_table.catalogs()),
            cache: self.cache.status(),
        }
    }

    /// Why this front-end is not ready; `None` when it is.
    pub fn not_ready(&self) -> Option<String> {
        let leader = self.cell.snapshot().leader.map(|leader| leader.id);
        let reasons = self.reasons(leader, self.health_table.catalog().as_ref());
        (!reasons.is_empty()).then(|| format!("not ready: {}", reasons.join("; ")))
    }

    /// Why no order can be taken now. Readiness, `GET /status`, the page and the metric are all
    /// made of this, so that they cannot differ.
    fn reasons(&self, leader: Option<ReplicaId>, health: Option<&CatalogHealth>) -> Vec<String> {
        let stands_by = |health: &CatalogHealth| health.role == CatalogRole::Standby;
        let catalog = match health.map(|health| health.state) {
            // First, whatever its state: one that stands by takes no trades even if all else is
            // well.
            Some(_) if health.is_some_and(stands_by) => Some("no catalog is active"),
            Some(CatalogState::Serving) => None,
            Some(CatalogState::StartUpWait) => Some("the catalog waits for earlier leases to end"),
            Some(CatalogState::AwaitingClaim) => Some("the catalog waits for a first leader"),
            Some(CatalogState::HistoryLost) => Some("the catalog has lost its history"),
            None => Some("the catalog does not answer"),
        };
        let (copies, strangers) = self.replica_reasons(leader);
        let no_leader = leader
            .is_none()
            .then_some("no leader of the order service is known");
        let mut reasons: Vec<String> = catalog
            .into_iter()
            .chain(no_leader)
            .map(Into::into)
            .chain(
                health
                    .and_then(|health| health.write_fault.as_deref())
                    .map(describe_fault),
            )
            .chain(copies)
            // Strangers only explain why nobody leads: beside a leader they stop no order.
            .chain(strangers.filter(|_| leader.is_none()))
            .collect();
        if reasons.is_empty() {
            // The others name the cause; an order that failed is for what they do not know yet.
            let failure = self.evidence.failure(BootInstant::now());
            reasons.extend(failure.map(|why| format!("the newest order failed: {why}")));
        }
        if !reasons.is_empty() {
            // The cause, where that is it: without a trouble of its own it stops nobody from
            // trading.
            reasons.extend(mismatches::reasons());
        }
        reasons
    }

    /// Why orders are refused although there is a leader; and which replicas do not count, which
    /// explains why there is none.
    fn replica_reasons(&self, leader: Option<ReplicaId>) -> (Option<String>, Option<String>) {
        // Only the leader's own count matters: it alone knows who is in sync.
        let replicas = self.health_table.replicas();
        let led = replicas.iter().find(|(id, _)| Some(*id) == leader);
        let copies = led
            .and_then(|(id, seen)| Some((id, seen.health()?.copies?)))
            .filter(|(_, copies)| !copies.suffice())
            .map(|(id, Copies { present, wanted })| {
                format!(
                    "too few replicas are in sync with the leader, replica {id}: an order would \
                     have {present} of the {wanted} copies that ORDER_MIN_COPIES asks for"
                )
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

/// Reads go on meanwhile, but every order fails.
fn describe_fault(why: &str) -> String {
    format!("the catalog cannot write its file: {why}")
}

/// Each catalog by its id.
fn catalogs(all: Vec<Option<(CatalogHealth, Duration)>>) -> Vec<CatalogMember> {
    let member = |(place, seen): (usize, Option<(CatalogHealth, Duration)>)| CatalogMember {
        id: CatalogMember::id_of(place),
        role: seen.as_ref().map(|(health, _)| health.role),
        epoch: seen.as_ref().map(|(health, _)| health.epoch),
        age_ms: seen.map(|(_, age)| ms(age)),
    };
    all.into_iter().enumerate().map(member).collect()
}

/// The rows of the table; how old they are is filled in by the caller.
fn replicas(all: &[(ReplicaId, Observation)], term: Term) -> Vec<ReplicaStatus> {
    let row = |(id, seen): &(ReplicaId, Observation)| {
        let state = state(seen, term);
        let own = seen.health().and_then(|health| health.last);
        // The replicas are asked at different moments: under load a follower's answer is often
        // newer than the leader's. An order that a follower has came from the leader. A file of
        // another bazaar has no health here.
        let last = match state {
            ReplicaState::Leader => {
                let others = all.iter().filter_map(|(_, seen)| seen.health()?.last);
                own.max(others.max())
            }
            _ => own,
        };
        ReplicaStatus {
            id: *id,
            state,
            last,
            age_ms: None,
        }
    };
    all.iter().map(row).collect()
}

fn ms(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

/// A replica that its settings do not mean: another id, or another bazaar's file.
fn describe_stranger(id: ReplicaId, seen: &Observation) -> Option<String> {
    match seen {
        Observation::WrongReplica(other) => {
            Some(format!("replica {other} answers under the URL of {id}"))
        }
        Observation::Foreign(_) => Some(format!(
            "the file of replica {id} belongs to another bazaar"
        )),
        Observation::Down | Observation::Health(_) => None,
    }
}

/// The state of a replica by its own health. One that leads an older term than the known one does
/// not lead.
fn state(seen: &Observation, term: Term) -> ReplicaState {
    let health = match seen {
        Observation::Down => return ReplicaState::Down,
        Observation::WrongReplica(_) => return ReplicaState::WrongReplica,
        Observation::Foreign(_) => return ReplicaState::Foreign,
        Observation::Health(health) => health,
    };
    // At least the known term: a leader that the monitor has not adopted yet shows as one.
    if health.leading.is_some_and(|led| led >= term) {
        ReplicaState::Leader
    } else if health.claiming.is_some() {
        // Before `catching_up`: a claimer completes its log too, and people wait for the claim.
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

    /// Under load the leader may be asked before its followers: it still has what they have. A
    /// file of another bazaar does not count.
    #[test]
    fn a_leader_is_never_behind_its_followers() {
        let id = |n: u8| ReplicaId::try_from(n).expect("an id");
        let seen = |n: u8, leading, last| {
            let health = Health {
                replica: id(n),
                leading,
                claiming: None,
                eligible: true,
                catching_up: false,
                last: Some(last),
                cluster: None,
                term: 2,
                leader: None,
                in_sync: Vec::new(),
                copies: None,
                protocol: "1.0".into(),
                version: String::new(),
            };
            (id(n), Observation::Health(health))
        };
        let all = [
            (id(1), Observation::Foreign(ClusterId("theirs".into()))),
            seen(2, None, 52),
            seen(3, Some(2), 41),
            (id(4), Observation::Down),
        ];
        let shown: Vec<_> = replicas(&all, 2).iter().map(|row| row.last).collect();
        assert_eq!(shown, [None, Some(52), Some(52), None]);
    }

    /// Each state of the table comes from the replica's health.
    #[test]
    fn states() {
        let health = |leading, claiming, catching_up| {
            Observation::Health(Health {
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
                protocol: "1.0".into(),
                version: String::new(),
            })
        };
        let other = ReplicaId::try_from(2).expect("an id");
        let theirs = ClusterId("theirs".into());
        assert_eq!(state(&Observation::Down, 2), ReplicaState::Down);
        assert_eq!(
            state(&Observation::WrongReplica(other), 2),
            ReplicaState::WrongReplica
        );
        assert_eq!(
            state(&Observation::Foreign(theirs), 2),
            ReplicaState::Foreign
        );
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
