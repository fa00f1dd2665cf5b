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
        // A leader was found: from now on a lower id is taken at once.
        self.first_election_until = None;
        // A read that is under way belongs to the leadership before; its answer must not relieve
        // this one.
        self.checking = None;
        self.copies.adopted();
        // The cause of the refusals is gone, and the next failover should not wait for it.
        self.refusals.clear();
        self.phase = Phase::Led(Leadership {
            leader,
            term,
            since: now,
            doubted: None,
        });
        for (id, replica) in &mut self.replicas {
            // No claim is waited for any more.
            replica.stalled = None;
            if *id == leader {
                // Misses from before it was adopted were of a replica that restarted, perhaps. Two
                // more count.
                replica.forgive_misses();
            } else if !replica.is_dead() {
                // A dead one hears of it when it is back: its health then names an older leader.
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
            // It restarted, or the announcement was lost: the heartbeat repeats it.
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
            // The probe began before the adoption: it may describe the time before.
            return;
        }
        let why = match &probe.outcome {
            Outcome::Refused => "it refuses connections",
            // Two misses: a single one may be a lost packet, or a busy machine. A refused
            // connection is proof, and is not waited for twice.
            Outcome::Missed if self.replicas[&id].is_dead() => "it misses its heartbeats",
            // Orders wait for this doubt to be settled, so the second probe does not wait for the
            // heartbeat.
            Outcome::Missed => return out.extend(own.doubted.map(|_| Command::ProbeNow(leader))),
            Outcome::WrongReplica(_) => "another replica answers under its URL",
            Outcome::Foreign => "its file belongs to another bazaar",
            // Its own term: a leader of an older one has been fenced, or will be.
            Outcome::Health(health) if health.leading == Some(term) => {
                // Copies are judged by the leader's own count, since it alone knows which followers
                // are in sync.
                self.copies.saw(health.copies, now);
                // Only where another one is there to take over: without it the leader would be
                // deposed for nothing. The term is read first, so that `seen` is fresh.
                if self.copies.due(now).is_some()
                    && self.relief(leader, now).is_some()
                    && self.check_term(CheckReason::TooFewCopies, out)
                {
                    // Only once the read has begun: behind another one it is due again at the next
                    // probe, not a second later.
                    self.copies.asked(now);
                }
                // A probe that began before the call failed says nothing about it.
                if own.doubted.is_some_and(|doubted| probe.began >= doubted) {
                    self.phase = Phase::Led(Leadership {
                        doubted: None,
                        ..own
                    });
                    // Forwarders whose call failed wait for this, and send again.
                    out.push(Command::Confirm);
                }
                return;
            }
            // It restarted, was fenced, cannot write, or has lost the catalog: orders had better go
            // elsewhere.
            Outcome::Health(_) => "it does not say that it leads",
        };
        // Released before the next one is known: orders are held rather than sent to a leader that
        // cannot answer them.
        out.push(release(why));
        self.begin_judgement(now, out);
    }

    /// Reads the term while there is a leader; one read at a time, however many replicas name newer
    /// ones. Returns whether the read begins now.
    fn check_term(&mut self, reason: CheckReason, out: &mut Vec<Command>) -> bool {
        if self.checking.is_some() {
            return false;
        }
        // A new number, so that the answer to an earlier read is not taken for this one.
        self.judgement += 1;
        self.checking = Some(Check {
            judgement: self.judgement,
            reason,
        });
        out.push(Command::ReadTerm(self.judgement));
        true
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
        // It was fenced already, whatever its health says: its next trade would be refused.
        if seen.term > term {
            let why = "the catalog granted a newer term";
            out.push(Command::Release { leader, term, why });
            return self.begin_judgement(now, out);
        }
        // Anything but a newer term is no reason to depose a leader that works.
        let leads = seen.term == term && seen.owner == Some(leader);
        let relieve = leads && reason == CheckReason::TooFewCopies;
        let relief = self.relief(leader, now).filter(|_| relieve);
        if let Some((next, newest_row)) = relief {
            // Noted on the one that is left: the next relief goes to those that had no turn yet.
            if let Some(replica) = self.replicas.get_mut(&leader) {
                replica.relieved = Some(now);
            }
            // Nobody is released here: orders go on to the leader, and a relief that fails changes
            // nothing for them.
            self.ask_to_lead(next, seen, newest_row, out);
        }
    }

    /// A replica that may have the copies which the leader lacks, and the last row of the longest
    /// log. `None` when fewer replicas answer than copies are wanted. First those that were never
    /// relieved themselves, then those for whom that is longest ago; among equals the highest id.
    fn relief(&self, leader: ReplicaId, now: BootInstant) -> Option<(ReplicaId, Option<u64>)> {
        let wanted = self.copies.wanted()?;
        // Only health of the last heartbeat or so: a replica that was seen a second ago may be cut
        // off by now.
        let recent: Vec<(ReplicaId, &Health)> = self
            .replicas
            .iter()
            .filter_map(|(id, replica)| Some((*id, replica.fresh(now - RECENT)?)))
            .collect();
        let most_orders = recent.iter().map(|(_, health)| log_length(health)).max()?;
        let next = recent
            .iter()
            // Not the one that leads, and not one that would first have to catch up.
            .filter(|(id, health)| *id != leader && is_fit(health, most_orders))
            .map(|(id, _)| *id)
            .min_by_key(|id| (self.replicas[id].relieved, Reverse(*id)))?;
        let newest_row = recent.iter().filter_map(|(_, health)| health.last).max();
        // With fewer replicas than copies wanted no leader can have them.
        (recent.len() >= wanted).then_some((next, newest_row))
    }
}
