//! While there is a leader: it is adopted, watched, relieved and released.

use super::replica_health::{Outcome, Probe, log_length};
use super::{Check, CheckReason, Command, Election, Leadership, Phase, RECENT, is_fit};
use common::clock::BootInstant;
use common::wire::catalog::TermInfo;
use common::wire::order::{ReplicaId, Term};
use common::wire::replica::Health;
use std::cmp::Reverse;

impl Election {
    pub(super) fn adopt(
        &mut self,
        leader: ReplicaId,
        term: Term,
        now: BootInstant,
        out: &mut Vec<Command>,
    ) {
        self.first_election_until = None;
        self.checking = None;
        self.copies.adopted();
        self.refusals.clear();
        self.phase = Phase::Led(Leadership {
            leader,
            term,
            since: now,
            doubted: None,
        });
        for (id, replica) in &mut self.replicas {
            replica.stalled = None;
            if *id == leader {
                replica.forgive_misses();
            } else if !replica.is_dead() {
                out.push(Command::Announce {
                    to: *id,
                    term,
                    leader,
                });
            }
        }
        assert!(
            term > 0,
            "replica {leader} is adopted in term 0, which nobody was granted"
        );
        // First of all: orders wait for it.
        out.insert(0, Command::Adopt { leader, term });
    }

    /// Checks that the leader still leads, and announces it to replicas that do not know it.
    pub(super) fn on_probe_led(
        &mut self,
        id: ReplicaId,
        probe: &Probe,
        own: Leadership,
        now: BootInstant,
        out: &mut Vec<Command>,
    ) {
        let Leadership { leader, term, .. } = own;
        let release = |why| Command::Release { leader, term, why };
        if let Outcome::Health(health) = &probe.outcome
            && id != leader
            && self.checking.is_none()
            && health.leading > self.looked_for.max(Some(term))
        {
            // Perhaps a newer term fences the one that we believe in: the catalog knows.
            self.looked_for = health.leading;
            self.check_term(CheckReason::NewerTerm, out);
        }
        if id != leader {
            if let Outcome::Health(health) = &probe.outcome
                && (health.term < term || health.term == term && health.leader != Some(leader))
            {
                out.push(Command::Announce {
                    to: id,
                    term,
                    leader,
                });
            }
            return;
        }
        if probe.began < own.since {
            return;
        }
        let why = match &probe.outcome {
            Outcome::Refused => "it refuses connections",
            Outcome::Missed if self.replicas[&id].is_dead() => "it misses its heartbeats",
            Outcome::Missed => return out.extend(own.doubted.map(|_| Command::ProbeNow(leader))),
            Outcome::WrongReplica(_) => "another replica answers under its URL",
            Outcome::Foreign => "its file belongs to another bazaar",
            Outcome::Health(health) if health.leading == Some(term) => {
                self.copies.saw(health.copies, now);
                if self.copies.due(now).is_some() && self.relief(leader, now).is_some() {
                    self.copies.asked(now);
                    self.check_term(CheckReason::TooFewCopies, out);
                }
                if own.doubted.is_some_and(|doubted| probe.began >= doubted) {
                    self.phase = Phase::Led(Leadership {
                        doubted: None,
                        ..own
                    });
                    out.push(Command::Confirm);
                }
                return;
            }
            Outcome::Health(_) => "it does not say that it leads",
        };
        out.push(release(why));
        self.begin_judgement(now, out);
    }

    /// Reads the term while there is a leader; one read at a time, however many replicas name newer
    /// ones.
    fn check_term(&mut self, reason: CheckReason, out: &mut Vec<Command>) {
        if self.checking.is_some() {
            return;
        }
        self.judgement += 1;
        self.checking = Some(Check {
            judgement: self.judgement,
            reason,
        });
        out.push(Command::ReadTerm(self.judgement));
    }

    /// The term was read while there is a leader: is it still its own, and is the leader to be
    /// relieved?
    pub(super) fn check_leader(
        &mut self,
        own: Leadership,
        seen: TermInfo,
        reason: CheckReason,
        now: BootInstant,
        out: &mut Vec<Command>,
    ) {
        let Leadership { leader, term, .. } = own;
        if seen.term > term {
            let why = "the catalog granted a newer term";
            out.push(Command::Release { leader, term, why });
            return self.begin_judgement(now, out);
        }
        let leads = seen.term == term && seen.owner == Some(leader);
        let relieve = leads && reason == CheckReason::TooFewCopies;
        let relief = self.relief(leader, now).filter(|_| relieve);
        if let Some((next, newest_row)) = relief {
            if let Some(replica) = self.replicas.get_mut(&leader) {
                replica.relieved = Some(now);
            }
            self.ask_to_lead(next, seen, newest_row, out);
        }
    }

    /// A replica that may have the copies which the leader lacks, and the last row of the longest
    /// log. `None` when fewer replicas answer than copies are wanted. First those that were never
    /// relieved themselves, then those for whom that is longest ago; among equals the highest id.
    fn relief(&self, leader: ReplicaId, now: BootInstant) -> Option<(ReplicaId, Option<u64>)> {
        let wanted = self.copies.wanted()?;
        let recent: Vec<(ReplicaId, &Health)> = self
            .replicas
            .iter()
            .filter_map(|(id, replica)| Some((*id, replica.fresh(now - RECENT)?)))
            .collect();
        let most_orders = recent.iter().map(|(_, health)| log_length(health)).max()?;
        let next = recent
            .iter()
            .filter(|(id, health)| *id != leader && is_fit(health, most_orders))
            .map(|(id, _)| *id)
            .min_by_key(|id| (self.replicas[id].relieved, Reverse(*id)))?;
        let newest_row = recent.iter().filter_map(|(_, health)| health.last).max();
        (recent.len() >= wanted).then_some((next, newest_row))
    }
}
