//! The next steps. A pause of a replica is that nothing happens there; a lost or late message
//! is one that is not delivered yet.

use super::catalog::number;
use super::config::{Config, Index, Key, REPLICAS};
use super::replica::id;
use super::state::{Message, State};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A front-end sends an order, for the first time or again.
    Send {
        /// The order.
        key: Key,
        /// The replica that it takes for the leader.
        to: Index,
    },
    /// A front-end reads the term and asks a replica to lead, which claims.
    AskToLead(Index),
    /// A message arrives.
    Deliver(Message),
    /// A message arrives, and will arrive once more.
    DeliverTwice(Message),
    /// The leader no longer waits for the catalog's answer.
    GiveUpCall(Index),
    /// The log writer makes durable what was received.
    Write(Index),
    /// A follower gets every row that the leader has. `heard`: its answer arrives too.
    Replicate {
        /// The leader.
        from: Index,
        /// The follower.
        to: Index,
        /// Whether the answer arrives.
        heard: bool,
    },
    /// A follower in sync did not answer in time.
    LoseSync {
        /// The leader.
        leader: Index,
        /// The follower.
        follower: Index,
    },
    /// A replica that completes its log reads the journal.
    Fetch(Index),
    /// A replica reads the catalog's term.
    ReadTerm(Index),
    /// A replica crashes and comes back.
    Crash(Index),
    /// A replica loses its file and comes back.
    LoseFile(Index),
    /// The catalog crashes and comes back.
    RestartCatalog,
    /// Its start-up wait ends.
    EndWait,
    /// A replica looks for an acknowledged order that its log does not have.
    Look(Index),
    /// It finds out whether it may say that there is none.
    ConfirmMissing,
}

impl State {
    /// The possible next steps.
    pub fn offer(&self, config: &Config, actions: &mut Vec<Action>) {
        self.offer_clients(config, actions);
        for message in &self.net {
            actions.push(Action::Deliver(message.clone()));
            if self.faults.duplicates > 0 {
                actions.push(Action::DeliverTwice(message.clone()));
            }
        }
        for replica in 0..REPLICAS {
            self.offer_replica(replica, actions);
        }
        if self.faults.catalog_restarts > 0 {
            actions.push(Action::RestartCatalog);
        }
        if !self.catalog.serving {
            actions.push(Action::EndWait);
        }
    }

    fn offer_clients(&self, config: &Config, actions: &mut Vec<Action>) {
        for (key, (client, order)) in (0..).zip(self.clients.iter().zip(&config.orders)) {
            if client.sent < order.attempts {
                // A replica that does not lead sends it back, which changes nothing.
                let leaders = (0..REPLICAS).filter(|to| self.replicas[*to].pipeline.is_some());
                actions.extend(leaders.map(|to| Action::Send { key, to }));
            }
        }
        let term = self.catalog.term_info().term;
        for &candidate in &config.candidates {
            // One that leads answers with its term and claims nothing.
            let claims =
                |m: &Message| matches!(m, Message::Claim { from, .. } if *from == candidate);
            if term < config.terms
                && self.replicas[candidate].pipeline.is_none()
                && !self.net.iter().any(claims)
                && self.replicas[candidate].claimed != Some(term)
            {
                actions.push(Action::AskToLead(candidate));
            }
        }
        if config.queries {
            self.offer_query(actions);
        }
    }

    fn offer_query(&self, actions: &mut Vec<Action>) {
        if self.query.is_some() {
            return actions.push(Action::ConfirmMissing);
        }
        for (replica, state) in self.replicas.iter().enumerate() {
            let first_missing = state.log.len();
            if self.acknowledged >> first_missing != 0 && state.role.known().term > 0 {
                actions.push(Action::Look(replica));
            }
        }
    }

    fn offer_replica(&self, own: Index, actions: &mut Vec<Action>) {
        let replica = &self.replicas[own];
        if let Some(pipeline) = &replica.pipeline {
            if pipeline.call.is_some() && self.faults.missed_answers > 0 {
                actions.push(Action::GiveUpCall(own));
            }
            if pipeline.received.len() > replica.log.len() {
                actions.push(Action::Write(own));
            }
            for other in (0..REPLICAS).filter(|other| *other != own) {
                let in_sync = pipeline.tracker.in_sync().any(|f| f == id(other));
                let ahead = self.replicas[other].log.len() > pipeline.received.len();
                let behind = self.replicas[other].log.len() < pipeline.received.len();
                if behind {
                    actions.push(Action::Replicate {
                        from: own,
                        to: other,
                        heard: false,
                    });
                }
                if !ahead && (behind || !in_sync || self.waits_for(own, other)) {
                    actions.push(Action::Replicate {
                        from: own,
                        to: other,
                        heard: true,
                    });
                }
                if in_sync && self.faults.missed_followers > 0 {
                    actions.push(Action::LoseSync {
                        leader: own,
                        follower: other,
                    });
                }
            }
        }
        if replica.role.claiming().is_some() && self.catalog.serving {
            actions.push(Action::Fetch(own));
        }
        let busy = replica.role.claiming().is_some() || replica.pipeline.is_some();
        if busy && replica.role.known().term < self.catalog.term_info().term {
            actions.push(Action::ReadTerm(own));
        }
        if self.faults.crashes > 0 {
            actions.push(Action::Crash(own));
        }
        if self.faults.file_losses > 0 && !replica.log.is_empty() {
            actions.push(Action::LoseFile(own));
        }
    }

    /// Whether an order waits for this follower at this leader.
    #[must_use]
    pub fn waits_for(&self, leader: Index, follower: Index) -> bool {
        let pipeline = self.replicas[leader].pipeline.as_ref();
        pipeline.is_some_and(|pipeline| pipeline.tracker.waiting_since(id(follower)).is_some())
    }

    /// A length as the network carries it.
    pub fn rows(log: &[Key]) -> u8 {
        number(log.len())
    }
}
