//! The timeline of a bazaar: changes of leader, crashes, returns. Pure rules: status in,
//! sentences out.

use common::wire::catalog::CatalogState;
use common::wire::order::{ReplicaId, Term};
use common::wire::public::{ReplicaState, ReplicaStatus, Status};
use serde::Serialize;
use std::collections::BTreeMap;

/// How many looks in a row must find a service silent before the timeline says so: on a busy
/// machine a probe may be late. A leader that is down has been judged already, by the monitor.
const SILENT_LOOKS: u32 = 5;

/// An entry of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Counts from 0 with the start of this front-end.
    pub id: u64,
    /// When it was seen, in milliseconds since 1970.
    pub at_ms: u64,
    pub kind: Kind,
    /// A sentence for people.
    pub text: String,
}

/// Kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Somebody leads.
    Leader,
    /// Somebody is gone, or something does not work.
    Down,
    /// It is on its way back.
    Waiting,
    /// It is back.
    Up,
}

/// The state that the entries so far describe.
#[derive(Debug, Default)]
pub struct Timeline {
    next: u64,
    leader: Option<(ReplicaId, Term)>,
    leaderless: bool,
    replicas: BTreeMap<ReplicaId, ReplicaState>,
    silent_replicas: BTreeMap<ReplicaId, u32>,
    silent_catalog: u32,
    // `None` until the first look; the inner one while the catalog does not answer.
    catalog: Option<Option<CatalogState>>,
    leased: Option<bool>,
}

impl Timeline {
    /// The new entries for a status that was read at `at_ms`.
    pub fn look(&mut self, status: &Status, at_ms: u64) -> Vec<Entry> {
        let mut news = Vec::new();
        // In this order, since one look may bring several: the cause (a service that is gone)
        // stands before its effect (a new leader).
        self.catalog(status, &mut news);
        for replica in &status.replicas {
            self.replica(replica, status, &mut news);
        }
        self.leader(status, &mut news);
        self.cache(status, &mut news);
        // Numbered from the start of this front-end: a viewer that comes back tells new entries
        // from those it has.
        let entries = (self.next..).zip(news).map(|(id, (kind, text))| Entry {
            id,
            at_ms,
            kind,
            text,
        });
        let entries: Vec<Entry> = entries.collect();
        self.next += entries.len() as u64;
        entries
    }

    fn leader(&mut self, status: &Status, news: &mut Vec<(Kind, String)>) {
        match status.leader.map(|id| (id, status.term)) {
            Some((id, term)) if self.leader != Some((id, term)) => {
                let after = match self.leader {
                    // The same replica in a newer term was deposed and came back: "after replica 3"
                    // would be odd.
                    Some((before, _)) if before != id => format!(", after replica {before}"),
                    _ => String::new(),
                };
                news.push((
                    Kind::Leader,
                    format!("Replica {id} leads in term {term}{after}"),
                ));
                self.leader = Some((id, term));
                self.leaderless = false;
            }
            // Back in the same term: it could not reach the catalog for a while.
            Some((id, term)) if self.leaderless => {
                news.push((
                    Kind::Leader,
                    format!("Replica {id} still leads in term {term}"),
                ));
                self.leaderless = false;
            }
            None if !self.leaderless => {
                // Before there was a first leader its absence is no event.
                if let Some((id, _)) = self.leader {
                    news.push((
                        Kind::Down,
                        format!("Replica {id} leads no more; the next leader is being chosen"),
                    ));
                    self.leaderless = true;
                }
            }
            _ => {}
        }
    }

    fn replica(
        &mut self,
        replica: &ReplicaStatus,
        status: &Status,
        news: &mut Vec<(Kind, String)>,
    ) {
        let (id, state) = (replica.id, replica.state);
        let looks = self.silent_replicas.entry(id).or_default();
        // Counted here, though the monitor counts misses too: its two misses decide an election,
        // while an entry can wait for certainty.
        *looks = if state == ReplicaState::Down {
            *looks + 1
        } else {
            0
        };
        let before = self.replicas.get(&id).copied();
        // It led, and is not taken for the leader any more.
        let judged =
            self.leader.is_some_and(|(leader, _)| leader == id) && status.leader != Some(id);
        // Nothing new, or a silence that is too short for an entry.
        if before == Some(state)
            || (state == ReplicaState::Down && *looks < SILENT_LOOKS && !judged)
        {
            return;
        }
        // A first look counts as a return: what was before this front-end started is unknown.
        let was_down = before.is_none_or(ReplicaState::counts_as_down);
        let entry = match state {
            ReplicaState::Down => Some((Kind::Down, format!("Replica {id} does not answer"))),
            ReplicaState::WrongReplica => Some((
                Kind::Down,
                format!("Another replica answers under the URL of replica {id}"),
            )),
            ReplicaState::Foreign => Some((
                Kind::Down,
                format!("The file of replica {id} belongs to another bazaar"),
            )),
            ReplicaState::Claiming => Some((
                Kind::Waiting,
                format!("Replica {id} was chosen and completes its log"),
            )),
            // A front-end that starts sees a replica for the first time: it is not "back".
            ReplicaState::CatchingUp if before.is_none() => {
                Some((Kind::Waiting, format!("Replica {id} catches up")))
            }
            ReplicaState::CatchingUp if was_down => Some((
                Kind::Waiting,
                format!("Replica {id} is back and catches up"),
            )),
            ReplicaState::CatchingUp => Some((
                Kind::Waiting,
                format!("Replica {id} fell behind and catches up"),
            )),
            ReplicaState::Follower if before == Some(ReplicaState::CatchingUp) => {
                Some((Kind::Up, format!("Replica {id} has caught up")))
            }
            ReplicaState::Follower if was_down => {
                Some((Kind::Up, format!("Replica {id} answers and follows")))
            }
            ReplicaState::Leader if before.is_some_and(ReplicaState::counts_as_down) => {
                Some((Kind::Up, format!("Replica {id} answers again")))
            }
            // The leader's entry covers both.
            ReplicaState::Follower | ReplicaState::Leader => None,
        };
        news.extend(entry);
        self.replicas.insert(id, state);
    }

    fn catalog(&mut self, status: &Status, news: &mut Vec<(Kind, String)>) {
        let state = status.catalog.state;
        self.silent_catalog = if state.is_none() {
            self.silent_catalog + 1
        } else {
            0
        };
        // A silence of less than half a second is not mentioned; one that is over leaves no entry
        // either.
        if self.catalog == Some(state) || (1..SILENT_LOOKS).contains(&self.silent_catalog) {
            return;
        }
        let (kind, text) = match state {
            Some(CatalogState::Serving) => (Kind::Up, "The catalog serves"),
            Some(CatalogState::StartUpWait) => (
                Kind::Waiting,
                "The catalog is back and waits for earlier leases to end",
            ),
            Some(CatalogState::AwaitingClaim) => {
                (Kind::Waiting, "The catalog waits for a first leader")
            }
            Some(CatalogState::HistoryLost) => (
                Kind::Down,
                "The catalog has lost its history and refuses trades",
            ),
            None => (Kind::Down, "The catalog does not answer: trades wait"),
        };
        news.push((kind, text.into()));
        self.catalog = Some(state);
    }

    fn cache(&mut self, status: &Status, news: &mut Vec<(Kind, String)>) {
        let leased = status.cache.leased;
        let before = self.leased.replace(leased);
        match (before, leased) {
            // The first look is no change.
            (Some(true), false) => news.push((
                Kind::Down,
                "The cache lost its lease: reads go to the catalog".into(),
            )),
            (Some(false), true) => news.push((Kind::Up, "The cache holds a lease".into())),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::wire::public::{CacheStatus, CatalogStatus};

    fn id(n: u8) -> ReplicaId {
        ReplicaId::try_from(n).expect("an id")
    }

    /// A status in which these replicas have these states.
    fn status(leader: Option<u8>, term: Term, states: [ReplicaState; 3]) -> Status {
        let replicas = (1..).zip(states).map(|(n, state)| ReplicaStatus {
            id: id(n),
            state,
            last: Some(4),
            age_ms: Some(9),
        });
        Status {
            ready: leader.is_some(),
            reasons: Vec::new(),
            leader: leader.map(id),
            term,
            replicas: replicas.collect(),
            catalog: CatalogStatus {
                state: Some(CatalogState::Serving),
                write_fault: None,
                age_ms: Some(9),
            },
            catalogs: Vec::new(),
            cache: CacheStatus {
                enabled: true,
                leased: true,
                entries: 0,
                capacity: 9,
                hits: 0,
                misses: 0,
            },
        }
    }

    fn texts(timeline: &mut Timeline, status: &Status) -> Vec<String> {
        timeline
            .look(status, 1)
            .into_iter()
            .map(|entry| entry.text)
            .collect()
    }

    use ReplicaState::{CatchingUp, Down, Follower, Leader};

    /// The story of a leader that is killed and comes back, each step an entry, once.
    #[test]
    fn crash_and_return() {
        let mut timeline = Timeline::default();
        let began = texts(
            &mut timeline,
            &status(Some(3), 1, [Follower, Follower, Leader]),
        );
        assert_eq!(
            began.last().map(String::as_str),
            Some("Replica 3 leads in term 1")
        );
        assert!(
            texts(
                &mut timeline,
                &status(Some(3), 1, [Follower, Follower, Leader])
            )
            .is_empty()
        );
        let gone = texts(&mut timeline, &status(None, 1, [Follower, Follower, Down]));
        assert_eq!(
            gone,
            [
                "Replica 3 does not answer",
                "Replica 3 leads no more; the next leader is being chosen"
            ]
        );
        let chosen = texts(&mut timeline, &status(Some(2), 2, [Follower, Leader, Down]));
        assert_eq!(chosen, ["Replica 2 leads in term 2, after replica 3"]);
        let back = texts(
            &mut timeline,
            &status(Some(2), 2, [Follower, Leader, CatchingUp]),
        );
        assert_eq!(back, ["Replica 3 is back and catches up"]);
        assert_eq!(
            texts(
                &mut timeline,
                &status(Some(2), 2, [Follower, Leader, Follower])
            ),
            ["Replica 3 has caught up"]
        );
    }

    /// A follower or catalog that is late now and then is no entry; one that stays away is,
    /// once.
    #[test]
    fn late_probes() {
        let mut timeline = Timeline::default();
        let (up, down) = (
            status(Some(3), 1, [Follower, Follower, Leader]),
            status(Some(3), 1, [Down, Follower, Leader]),
        );
        texts(&mut timeline, &up);
        for _ in 0..5 {
            assert!(texts(&mut timeline, &down).is_empty() && texts(&mut timeline, &up).is_empty());
        }
        let entries: Vec<String> = (0..10).flat_map(|_| texts(&mut timeline, &down)).collect();
        assert_eq!(entries, ["Replica 1 does not answer"]);
        assert_eq!(texts(&mut timeline, &up), ["Replica 1 answers and follows"]);
        let mut silent = up.clone();
        silent.catalog.state = None;
        for _ in 0..5 {
            assert!(
                texts(&mut timeline, &silent).is_empty() && texts(&mut timeline, &up).is_empty()
            );
        }
        let entries: Vec<String> = (0..10)
            .flat_map(|_| texts(&mut timeline, &silent))
            .collect();
        assert_eq!(entries, ["The catalog does not answer: trades wait"]);
    }

    /// Doubts about a leader that stays are entries, and so is their end; so are the catalog and
    /// the lease. Entries are numbered on.
    #[test]
    fn doubts_catalog_and_lease() {
        let mut timeline = Timeline::default();
        let all = [Follower, Follower, Leader];
        let began = timeline.look(&status(Some(3), 1, all), 1).len() as u64;
        texts(&mut timeline, &status(None, 1, all));
        assert_eq!(
            texts(&mut timeline, &status(Some(3), 1, all)),
            ["Replica 3 still leads in term 1"]
        );
        let mut broken = status(Some(3), 1, all);
        broken.catalog.state = None;
        broken.cache.leased = false;
        let entries: Vec<Entry> = (0..SILENT_LOOKS)
            .flat_map(|_| timeline.look(&broken, 77))
            .collect();
        assert_eq!(
            entries.iter().map(|e| e.id - began).collect::<Vec<_>>(),
            [2, 3]
        );
        assert!(
            entries
                .iter()
                .all(|e| e.kind == Kind::Down && e.at_ms == 77)
        );
        let mended = texts(&mut timeline, &status(Some(3), 1, all));
        assert_eq!(mended, ["The catalog serves", "The cache holds a lease"]);
    }
}
