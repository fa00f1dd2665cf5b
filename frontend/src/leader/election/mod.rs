//! The election of the leader, as a pure state machine: events go in, commands come out, and the
//! time is a parameter. The threads of [`crate::leader::monitor`] carry the commands out.
//!
//! ```text
//!   Reading ──term──> Probing ──ask──> Asking ──leads──> Led ──it failed──> Reading
//!      ^                 │ │             │                ^
//!      │                 │ └─claiming────┴──> Completing ─┤
//!      └──── Resting <───┴── nobody, refused ───┘         │
//!                        └──── somebody leads ────────────┘
//! ```

mod copies;
mod event;
mod refusals;
mod replica_health;

#[cfg(test)]
mod tests;

pub use event::{Command, Event, Judgement, LeadOutcome};
pub use replica_health::{Outcome, Probe};

use common::clock::BootInstant;
use common::timing::{CLAIM_BACK_OFF, ELIGIBLE_LAG, FIRST_CHOICE_WAIT, HEARTBEAT, PROBE_TIMEOUT};
use common::wire::catalog::{TermAnswer, TermInfo};
use common::wire::order::{ClusterId, ReplicaId, Term};
use common::wire::replica::{Health, LeadAnswer};
use copies::CopyWatch;
use refusals::Refusals;
use replica_health::{ReplicaHealth, log_length};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often [`Election::tick`] is wanted while there is no leader.
pub const TICK: Duration = Duration::from_millis(10);
/// A claim whose log does not grow for so long is given up.
const CLAIM_STALL: Duration = Duration::from_millis(1_000);
/// Pause before judging anew after a contested or refused claim.
const REST_SHORT: Duration = Duration::from_millis(10);
/// Pause before judging anew while the catalog or every replica is away.
const REST_LONG: Duration = Duration::from_millis(50);
/// The longest wait that a candidate can ask for.
const LONGEST_WAIT: Duration = Duration::from_millis(1_000);
/// How long a replica that could not lead is asked after the others only.
const PASSED_OVER: Duration = Duration::from_millis(500);
/// Older health does not show that a replica answers now.
const RECENT: Duration = HEARTBEAT.saturating_add(PROBE_TIMEOUT);

/// The state of the election at one front-end. Its rules:
///
/// 1. A sitting leader is adopted, not deposed: the leader is the catalog's owner of the current
///    term, once its own health says that it leads that term. Any other replica that claims to lead
///    only makes the election read the term again.
/// 2. Only health that was asked for after the judgement began counts in it, and only health asked
///    for after a leader was adopted can end it: what is older may describe the time before.
/// 3. `seen` of a request to lead is the term that the same judgement read at the catalog.
/// 4. A replica that completes its log for the catalog's term is left alone as long as that log
///    grows.
/// 5. One judgement at a time; answers that belong to an older one are ignored.
/// 6. Nothing here waits: a judgement goes on with whatever answered within [`PROBE_TIMEOUT`].
/// 7. Once the catalog has granted a term, a replica with a file of another bazaar counts as one
///    that does not answer: its terms, its log and its word on who leads are of that bazaar.
///    Before, the catalog's file may be a new one in the place of one that was lost; then every log
///    counts, so that a claim shows it to the catalog.
/// 8. A leader with too few copies is relieved, by the rules of [`copies`], when enough replicas
///    answer that another one may have them.
/// 9. After a refused claim nobody is asked for the time of [`refusals`]; the term is read on, so
///    that a leader which another front-end asked is adopted.
#[derive(Debug)]
pub struct Election {
    replicas: BTreeMap<ReplicaId, ReplicaHealth>,
    phase: Phase,
    judgement: Judgement,
    /// The bazaar of the catalog, once that has granted a term.
    cluster: Option<ClusterId>,
    /// The bazaar that the catalog named last.
    named_cluster: Option<ClusterId>,
    /// The highest term above the catalog's that a replica named, and that was looked for there.
    looked_for: Option<Term>,
    /// A read of the term while there is a leader.
    checking: Option<Check>,
    copies: CopyWatch,
    refusals: Refusals,
    /// Until then the highest id is waited for; `None` once a leader was adopted.
    first_election_until: Option<BootInstant>,
}

/// A read of the term while there is a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Check {
    judgement: Judgement,
    /// Whether the leader is to be relieved, if the term is still its own.
    relieve: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is a leader.
    Led {
        leader: ReplicaId,
        term: Term,
        since: BootInstant,
        /// A call failed then; a probe that began later settles whether it leads.
        doubted: Option<BootInstant>,
    },
    /// The catalog is asked for the term, and the replicas are probed meanwhile.
    Reading { began: BootInstant },
    /// The term is known; probes that began since are waited for.
    Probing { began: BootInstant, seen: TermInfo },
    /// A candidate was asked to lead.
    Asking {
        candidate: ReplicaId,
        seen: TermInfo,
    },
    /// A replica completes its log for the term.
    Completing {
        owner: ReplicaId,
        term: Term,
        since: BootInstant,
        length: u64,
        grew: BootInstant,
    },
    /// A new judgement begins then.
    Resting { until: BootInstant },
}

impl Election {
    /// No leader yet; the first tick begins a judgement.
    #[must_use]
    pub fn new(replicas: impl IntoIterator<Item = ReplicaId>, now: BootInstant) -> Self {
        Self {
            replicas: replicas
                .into_iter()
                .map(|id| (id, ReplicaHealth::default()))
                .collect(),
            phase: Phase::Resting { until: now },
            judgement: 0,
            cluster: None,
            named_cluster: None,
            looked_for: None,
            checking: None,
            copies: CopyWatch::default(),
            refusals: Refusals::default(),
            first_election_until: Some(now + FIRST_CHOICE_WAIT),
        }
    }

    /// The bazaar of the catalog that was read last, to be named in every message that depends on
    /// it.
    #[must_use]
    pub fn cluster(&self) -> Option<&ClusterId> {
        self.named_cluster.as_ref()
    }

    /// Whether there is a leader.
    #[must_use]
    pub fn is_led(&self) -> bool {
        matches!(self.phase, Phase::Led { .. })
    }

    /// Lets time-outs take effect; wanted each [`TICK`] while there is no leader.
    pub fn tick(&mut self, now: BootInstant, out: &mut Vec<Command>) {
        match self.phase {
            Phase::Resting { until } if now >= until => self.begin_judgement(now, out),
            Phase::Probing { .. } => self.decide(now, out),
            Phase::Completing {
                owner, term, grew, ..
            } => {
                if now.saturating_since(grew) > CLAIM_STALL {
                    self.give_up_claim(owner, term, now, out);
                } else {
                    // More often than the heartbeat: orders wait for the end of this claim.
                    out.push(Command::ProbeNow(owner));
                }
            }
            _ => {}
        }
    }

    /// Takes an event in, and appends the commands that follow from it.
    pub fn on(&mut self, event: &Event, now: BootInstant, out: &mut Vec<Command>) {
        match event {
            Event::Probe(id, probe) => {
                let foreign = matches!(&probe.outcome, Outcome::Health(h) if self.is_foreign(h));
                let stranger = Probe {
                    began: probe.began,
                    outcome: Outcome::Foreign,
                };
                let probe = if foreign { &stranger } else { probe };
                let Some(view) = self.replicas.get_mut(id) else {
                    return;
                };
                let old_failure = matches!(self.phase, Phase::Led { leader, since, .. }
                    if leader == *id
                        && probe.began < since
                        && !matches!(probe.outcome, Outcome::Health(_)));
                if !old_failure {
                    view.update(probe);
                }
                self.on_probe(*id, probe, now, out);
            }
            Event::Term(judgement, answer) if *judgement == self.judgement => {
                if let Some(answer) = answer {
                    self.note_cluster(answer);
                }
                let seen = answer.as_ref().map(TermAnswer::term_info);
                match (self.phase, seen) {
                    (Phase::Reading { began }, Some(seen)) => {
                        self.phase = Phase::Probing { began, seen };
                        self.decide(now, out);
                    }
                    (Phase::Reading { .. }, None) => self.rest(now + REST_LONG),
                    (Phase::Led { leader, term, .. }, seen) => {
                        if let Some(check) = self.checking.take_if(|c| c.judgement == *judgement)
                            && let Some(seen) = seen
                        {
                            self.check_leader(leader, term, (seen, check.relieve), now, out);
                        }
                    }
                    _ => {}
                }
            }
            Event::Lead(judgement, answer) if *judgement == self.judgement => {
                self.on_lead_answer(*answer, now, out)
            }
            Event::Failed(failed) => {
                if let Phase::Led {
                    leader,
                    term,
                    doubted,
                    ..
                } = &mut self.phase
                    && term == failed
                {
                    *doubted = Some(now);
                    out.push(Command::ProbeNow(*leader));
                }
            }
            Event::Term(..) | Event::Lead(..) => {}
        }
    }

    fn on_probe(&mut self, id: ReplicaId, probe: &Probe, now: BootInstant, out: &mut Vec<Command>) {
        match self.phase {
            Phase::Led {
                leader,
                term,
                since,
                doubted,
            } => self.on_probe_led(id, probe, (leader, term, since, doubted), now, out),
            Phase::Probing { .. } => self.decide(now, out),
            Phase::Asking { candidate, .. } if candidate == id && self.replicas[&id].is_dead() => {
                out.push(Command::Abandon);
                self.pass_over(candidate, now);
                self.begin_judgement(now, out);
            }
            Phase::Asking { candidate, seen } if candidate == id => {
                // Its health may come before its answer, which then need not be waited for. Whether
                // the term is really its own, the catalog decides.
                let leading = self.replicas[&id]
                    .fresh(probe.began)
                    .and_then(|health| health.leading);
                if leading.is_some_and(|term| term > seen.term && Some(term) > self.looked_for) {
                    out.push(Command::Abandon);
                    self.begin_judgement(now, out);
                }
            }
            Phase::Completing { owner, .. } if owner == id => {
                self.on_probe_completing(probe, now, out)
            }
            Phase::Completing { term, .. }
                if self.replicas[&id]
                    .fresh(probe.began)
                    .is_some_and(|h| h.leading > self.looked_for.max(Some(term))) =>
            {
                self.begin_judgement(now, out);
            }
            _ => {}
        }
    }

    /// Checks that the leader still leads, and announces it to replicas that do not know it.
    fn on_probe_led(
        &mut self,
        id: ReplicaId,
        probe: &Probe,
        (leader, term, since, doubted): (ReplicaId, Term, BootInstant, Option<BootInstant>),
        now: BootInstant,
        out: &mut Vec<Command>,
    ) {
        let release = |why| Command::Release { leader, term, why };
        if let Outcome::Health(health) = &probe.outcome
            && id != leader
            && self.checking.is_none()
            && health.leading > self.looked_for.max(Some(term))
        {
            // Perhaps a newer term fences the one that we believe in: the catalog knows.
            self.looked_for = health.leading;
            self.check_term(false, out);
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
        if probe.began < since {
            return;
        }
        let why = match &probe.outcome {
            Outcome::Refused => "it refuses connections",
            Outcome::Missed if self.replicas[&id].is_dead() => "it misses its heartbeats",
            Outcome::Missed => return out.extend(doubted.map(|_| Command::ProbeNow(leader))),
            Outcome::WrongReplica(_) => "another replica answers under its URL",
            Outcome::Foreign => "its file belongs to another bazaar",
            Outcome::Health(health) if health.leading == Some(term) => {
                self.copies.saw(health.copies, now);
                if self.copies.due(now).is_some() && self.relief(leader, now).is_some() {
                    self.copies.asked(now);
                    self.check_term(true, out);
                }
                if doubted.is_some_and(|doubted| probe.began >= doubted) {
                    self.phase = Phase::Led {
                        leader,
                        term,
                        since,
                        doubted: None,
                    };
                    out.push(Command::Confirm);
                }
                return;
            }
            Outcome::Health(_) => "it does not say that it leads",
        };
        out.push(release(why));
        self.begin_judgement(now, out);
    }

    fn on_probe_completing(&mut self, probe: &Probe, now: BootInstant, out: &mut Vec<Command>) {
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
        if self.replicas[&owner].is_dead() {
            return self.begin_judgement(now, out);
        }
        let Outcome::Health(health) = &probe.outcome else {
            return;
        };
        if probe.began < since {
            return;
        }
        if health.leading == Some(term) {
            self.begin_judgement(now, out);
        } else if health.claiming != Some(term) {
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

    fn on_lead_answer(&mut self, answer: LeadOutcome, now: BootInstant, out: &mut Vec<Command>) {
        let Phase::Asking { candidate, seen } = self.phase else {
            return;
        };
        match answer {
            // The catalog decides whether the term is its own. One that repeats it and is not the
            // owner is asked after the others, and not without end.
            LeadOutcome::Lead(LeadAnswer::Leading(term)) if term >= seen.term => {
                let again = self.replicas[&candidate].is_passed_over(now);
                self.pass_over(candidate, now);
                if again {
                    return self.on_refusal(seen, now);
                }
                self.begin_judgement(now, out);
            }
            LeadOutcome::Lead(LeadAnswer::Claiming(term)) if term >= seen.term => {
                self.refusals.clear();
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
                out.push(Command::ProbeNow(candidate));
            }
            // The replica with the newest grant may lead by then, so the judgement begins anew
            // rather than the request alone.
            LeadOutcome::Lead(LeadAnswer::Wait(ms)) => {
                self.rest(now + Duration::from_millis(ms).min(LONGEST_WAIT))
            }
            LeadOutcome::Outdated => self.rest(now + REST_SHORT),
            LeadOutcome::Refused => self.on_refusal(seen, now),
            // It leads a term older than the catalog's, and will be fenced by the newer one.
            LeadOutcome::Lead(_) | LeadOutcome::Failed => {
                let again = self.replicas[&candidate].is_passed_over(now);
                self.pass_over(candidate, now);
                if again {
                    // The others could not either.
                    return self.on_refusal(seen, now);
                }
                self.rest(now + REST_SHORT);
            }
        }
    }

    /// Begins a judgement: the term is read and everybody probed, at the same time.
    fn begin_judgement(&mut self, now: BootInstant, out: &mut Vec<Command>) {
        self.judgement += 1;
        self.phase = Phase::Reading { began: now };
        out.push(Command::ReadTerm(self.judgement));
        out.extend(self.replicas.keys().map(|id| Command::ProbeNow(*id)));
    }

    /// Decides, with the term known: adopt the owner, leave a claimer alone, ask a candidate, or
    /// wait for more probes.
    fn decide(&mut self, now: BootInstant, out: &mut Vec<Command>) {
        let Phase::Probing { began, seen } = self.phase else {
            return;
        };
        let fresh: Vec<(ReplicaId, &Health)> = self
            .replicas
            .iter()
            .filter_map(|(id, view)| Some((*id, view.fresh(began)?)))
            .collect();
        // Nobody was granted term 0, and only the catalog's owner holds a later one.
        let owner = fresh
            .iter()
            .find(|(id, _)| seen.term > 0 && seen.owner == Some(*id));
        if let Some((leader, _)) = owner.filter(|(_, h)| h.leading == Some(seen.term)) {
            return self.adopt(*leader, seen.term, now, out);
        }
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
                health.claiming == Some(seen.term) && self.replicas[id].stalled != Some(seen.term)
            })
            .map(|(id, health)| (*id, log_length(health)));
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
            .all(|view| view.fresh(began).is_some() || view.is_dead());
        if settled || now.saturating_since(began) >= PROBE_TIMEOUT {
            let candidate = self.candidate(&fresh, now);
            let longest = fresh.iter().filter_map(|(_, health)| health.last).max();
            self.ask(candidate, seen, longest, now, out);
        }
    }

    /// The highest id that may lead. Replicas that could not lead just now come after the others.
    fn candidate(&self, fresh: &[(ReplicaId, &Health)], now: BootInstant) -> Option<ReplicaId> {
        let longest = fresh.iter().map(|(_, health)| log_length(health)).max()?;
        fresh
            .iter()
            .filter(|(_, health)| is_fit(health, longest))
            .map(|(id, _)| *id)
            .max_by_key(|id| (!self.replicas[id].is_passed_over(now), *id))
    }

    fn ask(
        &mut self,
        candidate: Option<ReplicaId>,
        seen: TermInfo,
        longest: Option<u64>,
        now: BootInstant,
        out: &mut Vec<Command>,
    ) {
        let Some(candidate) = candidate else {
            return self.rest(now + REST_LONG);
        };
        let highest = self.replicas.keys().next_back().copied();
        if self.first_election_until.is_some_and(|until| now < until) && Some(candidate) != highest
        {
            // Services start in any order: a moment later the highest id may be there, and would
            // not depose this one.
            return self.rest(now + REST_LONG);
        }
        if let Some(left) = self.refusals.wait(seen, now) {
            return self.rest(now + left.min(CLAIM_BACK_OFF));
        }
        self.ask_to_lead(candidate, seen, longest, out);
    }

    fn ask_to_lead(
        &mut self,
        candidate: ReplicaId,
        seen: TermInfo,
        longest: Option<u64>,
        out: &mut Vec<Command>,
    ) {
        self.phase = Phase::Asking { candidate, seen };
        out.push(Command::AskToLead {
            judgement: self.judgement,
            candidate,
            seen: seen.term,
            longest,
        });
    }

    fn on_refusal(&mut self, seen: TermInfo, now: BootInstant) {
        self.refusals.note(seen, now);
        self.rest(now + CLAIM_BACK_OFF);
    }

    /// Reads the term while there is a leader; one read at a time, however many replicas name newer
    /// ones.
    fn check_term(&mut self, relieve: bool, out: &mut Vec<Command>) {
        if self.checking.is_some() {
            return;
        }
        self.judgement += 1;
        self.checking = Some(Check {
            judgement: self.judgement,
            relieve,
        });
        out.push(Command::ReadTerm(self.judgement));
    }

    /// The term was read while there is a leader: is it still its own, and is the leader to be
    /// relieved?
    fn check_leader(
        &mut self,
        leader: ReplicaId,
        term: Term,
        (seen, relieve): (TermInfo, bool),
        now: BootInstant,
        out: &mut Vec<Command>,
    ) {
        if seen.term > term {
            let why = "the catalog granted a newer term";
            out.push(Command::Release { leader, term, why });
            return self.begin_judgement(now, out);
        }
        let own = seen.term == term && seen.owner == Some(leader);
        let relief = self.relief(leader, now).filter(|_| own && relieve);
        if let Some((next, longest)) = relief {
            if let Some(view) = self.replicas.get_mut(&leader) {
                view.relieved = Some(now);
            }
            self.ask_to_lead(next, seen, longest, out);
        }
    }

    /// A replica that may have the copies which the leader lacks, and the longest log. `None`
    /// when fewer replicas answer than copies are wanted. First those that were never relieved
    /// themselves, then those for whom that is longest ago; among equals the highest id.
    fn relief(&self, leader: ReplicaId, now: BootInstant) -> Option<(ReplicaId, Option<u64>)> {
        let wanted = self.copies.wanted()?;
        let recent: Vec<(ReplicaId, &Health)> = self
            .replicas
            .iter()
            .filter_map(|(id, view)| Some((*id, view.fresh(now - RECENT)?)))
            .collect();
        let longest = recent.iter().map(|(_, health)| log_length(health)).max()?;
        let next = recent
            .iter()
            .filter(|(id, health)| *id != leader && is_fit(health, longest))
            .map(|(id, _)| *id)
            .min_by_key(|id| (self.replicas[id].relieved, Reverse(*id)))?;
        let last = recent.iter().filter_map(|(_, health)| health.last).max();
        (recent.len() >= wanted).then_some((next, last))
    }

    /// Takes in which bazaar this is. Replicas that were seen before that was known are looked at
    /// again.
    fn note_cluster(&mut self, answer: &TermAnswer) {
        if self.named_cluster.as_ref() != Some(&answer.cluster) {
            self.named_cluster = Some(answer.cluster.clone());
        }
        let settled = answer.settled_cluster();
        if self.cluster.as_ref() == settled {
            return;
        }
        self.cluster = settled.cloned();
        if let Some(cluster) = settled {
            for view in self.replicas.values_mut() {
                view.drop_foreign(cluster);
            }
        }
    }

    fn is_foreign(&self, health: &Health) -> bool {
        let own = self.cluster.as_ref();
        own.is_some_and(|own| own.differs_from(health.cluster.as_ref()))
    }

    fn adopt(&mut self, leader: ReplicaId, term: Term, now: BootInstant, out: &mut Vec<Command>) {
        self.first_election_until = None;
        self.checking = None;
        self.copies.adopted();
        self.refusals.clear();
        self.phase = Phase::Led {
            leader,
            term,
            since: now,
            doubted: None,
        };
        for (id, view) in &mut self.replicas {
            view.stalled = None;
            if *id == leader {
                view.forgive_misses();
            } else if !view.is_dead() {
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

    fn give_up_claim(
        &mut self,
        owner: ReplicaId,
        term: Term,
        now: BootInstant,
        out: &mut Vec<Command>,
    ) {
        if let Some(view) = self.replicas.get_mut(&owner) {
            view.stalled = Some(term);
        }
        self.pass_over(owner, now);
        self.begin_judgement(now, out);
    }

    fn pass_over(&mut self, id: ReplicaId, now: BootInstant) {
        if let Some(view) = self.replicas.get_mut(&id) {
            view.pass_over(now + PASSED_OVER);
        }
    }

    fn rest(&mut self, until: BootInstant) {
        self.phase = Phase::Resting { until };
    }
}

/// Whether a replica may be asked to lead, beside a log of this length.
fn is_fit(health: &Health, longest: u64) -> bool {
    health.eligible && log_length(health) + ELIGIBLE_LAG >= longest
}
