//! The choice of the leader, as a pure state machine: events go in, commands come out, and the time
//! is a parameter. The threads that carry the commands out are those of [`crate::leader::monitor`].
//!
//! ```text
//!   Reading ──term──> Probing ──ask──> Asking ──leads──> Led ──it failed──> Reading
//!      ^                 │ │             │                ^
//!      │                 │ └─claiming────┴──> Watching ───┤
//!      └──── Resting <───┴── nobody, refused ───┘         │
//!                        └──── somebody leads ────────────┘
//! ```

mod view;

#[cfg(test)]
mod tests;

pub use view::{Outcome, Probe};

use common::clock::BootInstant;
use common::timing::{ELIGIBLE_LAG, FIRST_CHOICE_WAIT, PROBE_TIMEOUT};
use common::wire::catalog::TermView;
use common::wire::order::{ReplicaId, Term};
use common::wire::replica::{Health, LeadAnswer};
use std::collections::BTreeMap;
use std::time::Duration;
use view::{View, log_length};

/// How often [`Choice::tick`] is wanted while there is no leader.
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

/// Number of a judgement; answers to an older one are ignored.
pub type Round = u64;

/// What the choice is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A probe of a replica ended.
    Probe(ReplicaId, Probe),
    /// The catalog was asked for the term; `None`: it did not answer.
    Term(Round, Option<TermView>),
    /// A replica was asked to lead.
    Lead(Round, Answer),
    /// A call to the leader of this term failed.
    Failed(Term),
}

/// What a replica answered that was asked to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An answer of its own.
    Lead(LeadAnswer),
    /// A newer term exists than the one that was read.
    Outdated,
    /// It refused, or did not answer.
    Failed,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Ask the catalog for the term.
    ReadTerm(Round),
    /// Probe a replica at once.
    ProbeNow(ReplicaId),
    /// Ask a replica to lead.
    AskToLead {
        /// For the answer.
        round: Round,
        /// Whom.
        candidate: ReplicaId,
        /// The term that this judgement read.
        seen: Term,
        /// Number of the last row of the longest log that it saw.
        longest: Option<u64>,
    },
    /// Stop waiting for the answer to that.
    Abandon,
    /// Tell a replica who leads.
    Announce {
        /// Whom.
        to: ReplicaId,
        /// The term.
        term: Term,
        /// Who leads it.
        leader: ReplicaId,
    },
    /// Send orders to this leader.
    Adopt {
        /// Who.
        leader: ReplicaId,
        /// In which term.
        term: Term,
    },
    /// The leader is gone: hold the orders.
    Release {
        /// Who it was.
        leader: ReplicaId,
        /// In which term.
        term: Term,
        /// What was seen.
        why: &'static str,
    },
    /// The leader was doubted, and leads.
    Confirm,
}

/// The choice.
///
/// 1. A sitting leader is adopted, never deposed: whoever says that it leads the catalog's term is
///    the leader.
/// 2. Only health that was asked for after the judgement began counts in it, and only health asked
///    for after a leader was adopted can end it: what is older may describe the time before.
/// 3. `seen` of a request to lead is the term that the same judgement read at the catalog.
/// 4. A replica that completes its log for the catalog's term is left alone as long as that log
///    grows.
/// 5. One judgement at a time; answers that belong to an older one are ignored.
/// 6. Nothing here waits: a judgement goes on with whatever answered within [`PROBE_TIMEOUT`].
#[derive(Debug)]
pub struct Choice {
    replicas: BTreeMap<ReplicaId, View>,
    phase: Phase,
    round: Round,
    /// Until then the highest id is waited for; `None` once a leader was adopted.
    first_choice_until: Option<BootInstant>,
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
    Probing { began: BootInstant, seen: TermView },
    /// A candidate was asked to lead.
    Asking { candidate: ReplicaId, seen: Term },
    /// A replica completes its log for the term.
    Watching {
        owner: ReplicaId,
        term: Term,
        since: BootInstant,
        length: u64,
        grew: BootInstant,
    },
    /// Judge anew then.
    Resting { until: BootInstant },
}

impl Choice {
    /// No leader yet; the first tick begins a judgement.
    #[must_use]
    pub fn new(replicas: impl IntoIterator<Item = ReplicaId>, now: BootInstant) -> Self {
        Self {
            replicas: replicas
                .into_iter()
                .map(|id| (id, View::default()))
                .collect(),
            phase: Phase::Resting { until: now },
            round: 0,
            first_choice_until: Some(now + FIRST_CHOICE_WAIT),
        }
    }

    /// Whether there is a leader.
    #[must_use]
    pub fn is_led(&self) -> bool {
        matches!(self.phase, Phase::Led { .. })
    }

    /// Time has passed.
    pub fn tick(&mut self, now: BootInstant, out: &mut Vec<Command>) {
        match self.phase {
            Phase::Resting { until } if now >= until => self.judge(now, out),
            Phase::Probing { .. } => self.weigh(now, out),
            Phase::Watching {
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

    /// Something happened.
    pub fn on(&mut self, event: &Event, now: BootInstant, out: &mut Vec<Command>) {
        match event {
            Event::Probe(id, probe) => {
                let Some(view) = self.replicas.get_mut(id) else {
                    return;
                };
                let old_failure = matches!(self.phase, Phase::Led { leader, since, .. }
                    if leader == *id && probe.began < since && !matches!(probe.outcome, Outcome::Health(_)));
                if !old_failure {
                    view.update(probe);
                }
                self.on_probe(*id, probe, now, out);
            }
            Event::Term(round, view) if *round == self.round => {
                let Phase::Reading { began } = self.phase else {
                    return;
                };
                match *view {
                    Some(seen) => {
                        self.phase = Phase::Probing { began, seen };
                        self.weigh(now, out);
                    }
                    None => self.rest(now + REST_LONG),
                }
            }
            Event::Lead(round, answer) if *round == self.round => {
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
            Phase::Probing { .. } => self.weigh(now, out),
            Phase::Asking { candidate, .. } if candidate == id && self.replicas[&id].is_dead() => {
                out.push(Command::Abandon);
                self.pass_over(candidate, now);
                self.judge(now, out);
            }
            Phase::Asking { candidate, seen } if candidate == id => {
                // Its health may come before its answer, which then need not be waited for.
                let leading = self.replicas[&id]
                    .fresh(probe.began)
                    .and_then(|health| health.leading);
                if let Some(term) = leading.filter(|term| *term > seen) {
                    out.push(Command::Abandon);
                    self.adopt(candidate, term, now, out);
                }
            }
            Phase::Watching { owner, .. } if owner == id => self.on_probe_watching(probe, now, out),
            Phase::Watching { term, .. }
                if self.replicas[&id]
                    .fresh(probe.began)
                    .is_some_and(|h| h.leading > Some(term)) =>
            {
                self.judge(now, out);
            }
            _ => {}
        }
    }

    /// Does the leader still lead, and has everybody else heard of it?
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
            && health.leading.is_some_and(|other| other > term)
        {
            // A higher term fences the one that we believe in, whatever its leader says.
            out.push(release("another replica leads a newer term"));
            return self.judge(now, out);
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
            Outcome::Health(health) if health.leading == Some(term) => {
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
        self.judge(now, out);
    }

    fn on_probe_watching(&mut self, probe: &Probe, now: BootInstant, out: &mut Vec<Command>) {
        let Phase::Watching {
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
            return self.judge(now, out);
        }
        let Outcome::Health(health) = &probe.outcome else {
            return;
        };
        if probe.began < since {
            return;
        }
        if health.leading == Some(term) {
            self.adopt(owner, term, now, out);
        } else if health.claiming != Some(term) {
            self.rest(now + REST_SHORT);
        } else if log_length(health) > length {
            self.phase = Phase::Watching {
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

    fn on_lead_answer(&mut self, answer: Answer, now: BootInstant, out: &mut Vec<Command>) {
        let Phase::Asking { candidate, seen } = self.phase else {
            return;
        };
        match answer {
            Answer::Lead(LeadAnswer::Leading(term)) if term >= seen => {
                self.adopt(candidate, term, now, out)
            }
            Answer::Lead(LeadAnswer::Claiming(term)) if term >= seen => {
                let length = self.replicas[&candidate]
                    .fresh(BootInstant::BOOT)
                    .map_or(0, log_length);
                self.phase = Phase::Watching {
                    owner: candidate,
                    term,
                    since: now,
                    length,
                    grew: now,
                };
                out.push(Command::ProbeNow(candidate));
            }
            // Whoever was granted a term just now may lead by then, so the judgement begins anew
            // rather than the request alone.
            Answer::Lead(LeadAnswer::Wait(ms)) => {
                self.rest(now + Duration::from_millis(ms).min(LONGEST_WAIT))
            }
            Answer::Outdated => self.rest(now + REST_SHORT),
            // It says that it leads a term older than the catalog's: it will hear of the newer one.
            Answer::Lead(_) | Answer::Failed => {
                self.pass_over(candidate, now);
                self.rest(now + REST_SHORT);
            }
        }
    }

    /// Begins a judgement: the term is read and everybody probed, at the same time.
    fn judge(&mut self, now: BootInstant, out: &mut Vec<Command>) {
        self.round += 1;
        self.phase = Phase::Reading { began: now };
        out.push(Command::ReadTerm(self.round));
        out.extend(self.replicas.keys().map(|id| Command::ProbeNow(*id)));
    }

    /// The term is known: is there a leader, or enough known to choose one?
    fn weigh(&mut self, now: BootInstant, out: &mut Vec<Command>) {
        let Phase::Probing { began, seen } = self.phase else {
            return;
        };
        let fresh: Vec<(ReplicaId, &Health)> = self
            .replicas
            .iter()
            .filter_map(|(id, view)| Some((*id, view.fresh(began)?)))
            .collect();
        // Nobody was granted term 0.
        let holds = |held: Option<Term>| seen.term > 0 && held == Some(seen.term);
        if let Some((leader, _)) = fresh.iter().find(|(_, health)| holds(health.leading)) {
            return self.adopt(*leader, seen.term, now, out);
        }
        let newer = |held: Option<Term>| held.is_some_and(|term| term > seen.term);
        if fresh
            .iter()
            .any(|(_, health)| newer(health.leading) || newer(health.claiming))
        {
            // The term was read before that claim: read it again.
            return self.rest(now + REST_SHORT);
        }
        let claimer = fresh
            .iter()
            .find(|(id, health)| {
                holds(health.claiming) && self.replicas[id].stalled != Some(seen.term)
            })
            .map(|(id, health)| (*id, log_length(health)));
        if let Some((owner, length)) = claimer {
            self.phase = Phase::Watching {
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
            self.ask(candidate, seen.term, longest, now, out);
        }
    }

    /// The highest id that may lead. Who could not lead just now comes after the others.
    fn candidate(&self, fresh: &[(ReplicaId, &Health)], now: BootInstant) -> Option<ReplicaId> {
        let longest = fresh.iter().map(|(_, health)| log_length(health)).max()?;
        fresh
            .iter()
            .filter(|(_, health)| health.eligible && log_length(health) + ELIGIBLE_LAG >= longest)
            .map(|(id, _)| *id)
            .max_by_key(|id| (!self.replicas[id].is_passed_over(now), *id))
    }

    fn ask(
        &mut self,
        candidate: Option<ReplicaId>,
        seen: Term,
        longest: Option<u64>,
        now: BootInstant,
        out: &mut Vec<Command>,
    ) {
        let Some(candidate) = candidate else {
            return self.rest(now + REST_LONG);
        };
        let highest = self.replicas.keys().next_back().copied();
        if self.first_choice_until.is_some_and(|until| now < until) && Some(candidate) != highest {
            // Services start in any order: a moment later the highest id may be there, and would
            // not depose this one.
            return self.rest(now + REST_LONG);
        }
        self.phase = Phase::Asking { candidate, seen };
        out.push(Command::AskToLead {
            round: self.round,
            candidate,
            seen,
            longest,
        });
    }

    fn adopt(&mut self, leader: ReplicaId, term: Term, now: BootInstant, out: &mut Vec<Command>) {
        self.first_choice_until = None;
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
        self.judge(now, out);
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
