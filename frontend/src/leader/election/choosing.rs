//! While there is no leader: a judgement reads the term and the replicas' health, and asks one of
//! them to lead.

use super::event::LeadOutcome;
use super::replica_health::{Outcome, Probe, log_length};
use super::{Command, Election, LONGEST_WAIT, Phase, REST_LONG, REST_SHORT, is_fit};
use common::clock::BootInstant;
use common::timing::{CLAIM_BACK_OFF, CLAIM_STALL, PROBE_TIMEOUT};
use common::wire::catalog::TermInfo;
use common::wire::order::{ReplicaId, Term};
use common::wire::replica::{Health, LeadAnswer};
use std::time::Duration;

impl Election {
    /// Begins a judgement: the term is read and everybody probed, at the same time.
    pub(super) fn begin_judgement(&mut self, now: BootInstant, out: &mut Vec<Command>) {
        // Answers that belong to the judgement before are ignored from here on.
        self.judgement += 1;
        self.phase = Phase::Reading { began: now };
        out.push(Command::ReadTerm(self.judgement));
        // At the same time as the read: one after the other, a failover would take both times.
        out.extend(self.replicas.keys().map(|id| Command::ProbeNow(*id)));
    }

    /// Decides, with the term known: adopt the owner, leave a claimer alone, ask a candidate, or
    /// wait for more probes.
    pub(super) fn decide(&mut self, now: BootInstant, out: &mut Vec<Command>) {
        let Phase::Probing { began, seen } = self.phase else {
            return;
        };
        let fresh: Vec<(ReplicaId, &Health)> = self
            .replicas
            .iter()
            .filter_map(|(id, replica)| Some((*id, replica.fresh(began)?)))
            .collect();
        // Nobody was granted term 0, and only the catalog's owner holds a later one.
        let owner = fresh
            .iter()
            .find(|(id, _)| seen.term > 0 && seen.owner == Some(*id));
        // Before the wait for the other probes: the owner's word is enough, and orders wait.
        if let Some((leader, _)) = owner.filter(|(_, h)| h.leading == Some(seen.term)) {
            return self.adopt(*leader, seen.term, now, out);
        }
        // Claims count like leaderships here: the catalog granted both.
        let named = fresh.iter().flat_map(|(_, h)| [h.leading, h.claiming]);
        let newest = named.max().flatten().filter(|term| *term > seen.term);
        if newest > self.looked_for {
            // The term was read before that claim, perhaps: it is read again, once. If the catalog
            // does not know the term then, it never granted it.
            self.looked_for = newest;
            return self.rest(now + REST_SHORT);
        }
        let claimer = owner
            .filter(|(id, health)| {
                // A claim that stalled in this term is not waited for again.
                health.claiming == Some(seen.term) && self.replicas[id].stalled != Some(seen.term)
            })
            .map(|(id, health)| (*id, log_length(health)));
        // It fills its log, and will lead in a moment. To ask another one would fence it, and begin
        // anew.
        if let Some((owner, length)) = claimer {
            self.phase = Phase::Completing {
                owner,
                term: seen.term,
                since: now,
                length,
                grew: now,
            };
            return;
        }
        let settled = self
            .replicas
            .values()
            .all(|replica| replica.fresh(began).is_some() || replica.is_dead());
        // All have answered or are dead, or the time is up: a replica that hangs must not hold up a
        // failover.
        if settled || now.saturating_since(began) >= PROBE_TIMEOUT {
            let candidate = self.candidate(&fresh, now);
            // Goes into the claim, where the catalog compares it with its journal: so a lost file
            // is noticed even if this candidate's own log is a short one.
            let newest_row = fresh.iter().filter_map(|(_, health)| health.last).max();
            self.ask(candidate, seen, newest_row, now, out);
        }
    }

    /// The highest id that may lead. Replicas that could not lead just now come after the others.
    fn candidate(&self, fresh: &[(ReplicaId, &Health)], now: BootInstant) -> Option<ReplicaId> {
        // Of those that answered: whatever only an absent replica has is in the journal, too.
        let most_orders = fresh.iter().map(|(_, health)| log_length(health)).max()?;
        fresh
            .iter()
            .filter(|(_, health)| is_fit(health, most_orders))
            .map(|(id, _)| *id)
            // Passed over comes before the id: a highest replica that cannot lead would otherwise
            // be asked for ever.
            .max_by_key(|id| (!self.replicas[id].is_passed_over(now), *id))
    }

    fn ask(
        &mut self,
        candidate: Option<ReplicaId>,
        seen: TermInfo,
        newest_row: Option<u64>,
        now: BootInstant,
        out: &mut Vec<Command>,
    ) {
        let Some(candidate) = candidate else {
            // Nobody fit answers. They may come back any moment, so the pause is a short one.
            return self.rest(now + REST_LONG);
        };
        let highest = self.replicas.keys().next_back().copied();
        if self.first_election_until.is_some_and(|until| now < until) && Some(candidate) != highest
        {
            // Services start in any order: a moment later the highest id may be there, and would
            // not depose this one.
            return self.rest(now + REST_LONG);
        }
        // The term is read on during this pause, so that a leader which another front-end made is
        // adopted without waiting for its end.
        if let Some(left) = self.refusals.wait(seen, now) {
            return self.rest(now + left.min(CLAIM_BACK_OFF));
        }
        self.ask_to_lead(candidate, seen, newest_row, out);
    }

    pub(super) fn ask_to_lead(
        &mut self,
        candidate: ReplicaId,
        seen: TermInfo,
        newest_row: Option<u64>,
        out: &mut Vec<Command>,
    ) {
        // From here on this judgement waits for one answer; ticks change nothing until it comes, or
        // until the candidate's health says more.
        self.phase = Phase::Asking { candidate, seen };
        out.push(Command::AskToLead {
            judgement: self.judgement,
            candidate,
            seen: seen.term,
            newest_row,
        });
    }

    pub(super) fn on_lead_answer(
        &mut self,
        answer: LeadOutcome,
        now: BootInstant,
        out: &mut Vec<Command>,
    ) {
        // An answer of a candidate that was abandoned: its judgement has ended.
        let Phase::Asking { candidate, seen } = self.phase else {
            return;
        };
        match answer {
            // The catalog decides whether the term is its own. One that repeats it and is not the
            // owner is asked after the others, and not without end.
            LeadOutcome::Lead(LeadAnswer::Leading(term)) if term >= seen.term => {
                let again = self.replicas[&candidate].is_passed_over(now);
                self.pass_over(candidate, now);
                // Passed over already, and it said the same before: the catalog does not know it as
                // the owner, and will not the next time.
                if again {
                    return self.on_refusal(seen, now);
                }
                // Not adopted on its own word: the judgement reads the term and probes it again.
                self.begin_judgement(now, out);
            }
            LeadOutcome::Lead(LeadAnswer::Claiming(term)) if term >= seen.term => {
                self.refusals.clear();
                // From whatever health there is: only growth beyond it counts.
                let length = self.replicas[&candidate]
                    .fresh(BootInstant::BOOT)
                    .map_or(0, log_length);
                self.phase = Phase::Completing {
                    owner: candidate,
                    term,
                    since: now,
                    length,
                    grew: now,
                };
                // Before its next heartbeat: the claim may be complete within milliseconds.
                out.push(Command::ProbeNow(candidate));
            }
            // The replica with the newest grant may lead by then, so the judgement begins anew
            // rather than the request alone.
            LeadOutcome::Lead(LeadAnswer::Wait(ms)) => {
                // Bounded, so that a candidate cannot stop the election by its answer.
                self.rest(now + Duration::from_millis(ms).min(LONGEST_WAIT))
            }
            // The catalog has a newer term, so perhaps a leader: it is read again at once.
            LeadOutcome::Outdated => self.rest(now + REST_SHORT),
            LeadOutcome::Refused => self.on_refusal(seen, now),
            // It leads a term older than the catalog's, and will be fenced by the newer one.
            LeadOutcome::Lead(_) | LeadOutcome::Failed => {
                // Asked before within half a second, so all others have been asked meanwhile.
                let again = self.replicas[&candidate].is_passed_over(now);
                self.pass_over(candidate, now);
                if again {
                    // The others could not either.
                    return self.on_refusal(seen, now);
                }
                // The next judgement asks another one.
                self.rest(now + REST_SHORT);
            }
        }
    }

    fn on_refusal(&mut self, seen: TermInfo, now: BootInstant) {
        self.refusals.note(seen, now);
        // Not for the whole time of the refusals: within it the term is read on, each 100 ms.
        self.rest(now + CLAIM_BACK_OFF);
    }

    pub(super) fn on_probe_completing(
        &mut self,
        probe: &Probe,
        now: BootInstant,
        out: &mut Vec<Command>,
    ) {
        let Phase::Completing {
            owner,
            term,
            since,
            length,
            grew,
        } = self.phase
        else {
            return;
        };
        // It died while it filled its log. The grant stands, so the next claim is made for a newer
        // term.
        if self.replicas[&owner].is_dead() {
            return self.begin_judgement(now, out);
        }
        // A single miss: the claim goes on, perhaps, and the stall bounds the wait.
        let Outcome::Health(health) = &probe.outcome else {
            return;
        };
        // Asked before the claim was known: its `claiming` and length are of before.
        if probe.began < since {
            return;
        }
        if health.leading == Some(term) {
            // Judged afresh rather than adopted here: the term may have moved on since.
            self.begin_judgement(now, out);
        } else if health.claiming != Some(term) {
            // It gave the claim up, or was fenced: the next judgement finds out which.
            self.rest(now + REST_SHORT);
        } else if log_length(health) > length {
            self.phase = Phase::Completing {
                owner,
                term,
                since,
                length: log_length(health),
                grew: now,
            };
        } else if now.saturating_since(grew) > CLAIM_STALL {
            self.give_up_claim(owner, term, now, out);
        }
    }

    pub(super) fn give_up_claim(
        &mut self,
        owner: ReplicaId,
        term: Term,
        now: BootInstant,
        out: &mut Vec<Command>,
    ) {
        if let Some(replica) = self.replicas.get_mut(&owner) {
            // Noted with the term: a later claim of the same replica is left alone again.
            replica.stalled = Some(term);
        }
        self.pass_over(owner, now);
        self.begin_judgement(now, out);
    }
}
