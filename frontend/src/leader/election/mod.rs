//! The election of the leader, as a pure state machine: events go in, commands come out, and the
//! time is a parameter. The threads of [`crate::leader::monitor`] carry the commands out.
//!
//! ```text
//!   Reading ──term──> Probing ──the owner leads──────────────────────────────> Led
//!      ^                 ├──ask the best──> Asking ──leads, dies──> Reading     │ it failed
//!      │                 ├──claiming──────> Completing ──leads──> Reading       ├──> Reading
//!      └──── Resting <───┴──nobody, refused                                     └ too few copies:
//!                                                                                 Asking another
//! ```
//!
//! A replica that says it leads is not believed: the next judgement reads the term and probes it
//! again before it is adopted.

mod choosing;
mod copies;
mod event;
mod led;
mod refusals;
mod replica_health;

#[cfg(test)]
mod tests;

pub use event::{Command, Event, Judgement, LeadOutcome};
pub use replica_health::{Outcome, Probe};

use common::clock::BootInstant;
use common::timing::{CLAIM_STALL, ELIGIBLE_LAG, FIRST_CHOICE_WAIT, HEARTBEAT, PROBE_TIMEOUT};
use common::wire::catalog::{TermAnswer, TermInfo};
use common::wire::order::{ClusterId, ReplicaId, Term};
use common::wire::replica::Health;
use copies::CopyWatch;
use refusals::Refusals;
use replica_health::{ReplicaHealth, log_length};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often [`Election::tick`] is wanted while there is no leader: each tick that comes late is
/// time that orders wait.
pub const TICK: Duration = Duration::from_millis(10);
/// Pause before judging anew after a contested or refused claim.
const REST_SHORT: Duration = Duration::from_millis(10);
/// Pause before judging anew while the catalog or every replica is away.
const REST_LONG: Duration = Duration::from_millis(50);
/// The longest wait that a candidate can ask for.
const LONGEST_WAIT: Duration = Duration::from_millis(1_000);
/// How long a replica that could not lead is asked after the others only. Long enough for each of
/// the others to be asked once.
const PASSED_OVER: Duration = Duration::from_millis(500);
/// Older health does not show that a replica answers now.
const RECENT: Duration = HEARTBEAT.saturating_add(PROBE_TIMEOUT);

/// The state of the election at one front-end. Its rules:
///
/// 1. A sitting leader is adopted, not deposed, unless it has had too few copies for long: the
///    leader is the catalog's owner of the current term, once its own health says that it leads
///    that term. Any other replica that claims to lead only makes the election read the term again.
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
    // Ordered by id, as the highest one goes first.
    replicas: BTreeMap<ReplicaId, ReplicaHealth>,
    phase: Phase,
    judgement: Judgement,
    /// The bazaar of the catalog, once that has granted a term.
    cluster: Option<ClusterId>,
    /// The bazaar that the catalog named last.
    named_cluster: Option<ClusterId>,
    /// The highest term above the catalog's that a replica named, and that was looked for there.
    /// Each is looked for once: a stranger that names a high term must not keep the election
    /// reading.
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
    reason: CheckReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CheckReason {
    /// A replica names a newer term.
    NewerTerm,
    /// The leader has too few copies. It is relieved if the term is still its own.
    TooFewCopies,
}

/// A leadership as this front-end sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leadership {
    leader: ReplicaId,
    term: Term,
    since: BootInstant,
    /// A call failed then; a probe that began later settles whether it leads.
    doubted: Option<BootInstant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is a leader.
    Led(Leadership),
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
        // Probes from before the claim show the length of before, and would look like a claim that
        // does not move.
        since: BootInstant,
        length: u64,
        // From here the stall is counted. A claim that grows is left alone however long it takes.
        grew: BootInstant,
    },
    /// A new judgement begins then.
    Resting { until: BootInstant },
}

impl Election {
    /// No leader yet; the first tick begins a judgement.
    pub fn new(replicas: impl IntoIterator<Item = ReplicaId>, now: BootInstant) -> Self {
        Self {
            replicas: replicas
                .into_iter()
                .map(|id| (id, ReplicaHealth::default()))
                .collect(),
            // At once, since `now` is past: the first tick begins a judgement.
            phase: Phase::Resting { until: now },
            judgement: 0,
            cluster: None,
            named_cluster: None,
            looked_for: None,
            checking: None,
            copies: CopyWatch::default(),
            refusals: Refusals::default(),
            // From the start of this front-end, since services start in any order.
            first_election_until: Some(now + FIRST_CHOICE_WAIT),
        }
    }

    /// The bazaar of the catalog that was read last, to be named in every message that depends on
    /// it.
    pub fn cluster(&self) -> Option<&ClusterId> {
        self.named_cluster.as_ref()
    }

    /// Whether there is a leader.
    pub fn is_led(&self) -> bool {
        matches!(self.phase, Phase::Led(_))
    }

    /// Lets time-outs take effect; wanted each [`TICK`] while there is no leader.
    pub fn tick(&mut self, now: BootInstant, out: &mut Vec<Command>) {
        match self.phase {
            Phase::Resting { until } if now >= until => self.begin_judgement(now, out),
            // The time may be over for replicas that have not answered; nothing else would notice.
            Phase::Probing { .. } => self.decide(now, out),
            Phase::Completing {
                owner, term, grew, ..
            } => {
                if now.saturating_since(grew) > CLAIM_STALL {
                    // The owner neither leads nor grows: another one is asked, so that a replica
                    // with a hanging disk does not hold up the bazaar.
                    self.give_up_claim(owner, term, now, out);
                } else {
                    // More often than the heartbeat: orders wait for the end of this claim.
                    out.push(Command::ProbeNow(owner));
                }
            }
            // Led: only events end it. Reading and Asking: the calls have time-outs of their own,
            // and their ends are events.
            _ => {}
        }
    }

    /// Takes an event in, and appends the commands that follow from it.
    pub fn on(&mut self, event: &Event, now: BootInstant, out: &mut Vec<Command>) {
        match event {
            Event::Probe(id, probe) => {
                // Before the probe is counted anywhere: a stranger's terms and log are those of
                // another bazaar.
                let foreign = matches!(&probe.outcome, Outcome::Health(h) if self.is_foreign(h));
                let stranger = Probe {
                    began: probe.began,
                    outcome: Outcome::Foreign,
                };
                let probe = if foreign { &stranger } else { probe };
                let Some(replica) = self.replicas.get_mut(id) else {
                    return;
                };
                // A failure from before the adoption may describe the time before: a leader that
                // has just claimed would lose its term to a miss of its start.
                let old_failure = matches!(self.phase, Phase::Led(own)
                    if own.leader == *id
                        && probe.began < own.since
                        && !matches!(probe.outcome, Outcome::Health(_)));
                if !old_failure {
                    replica.update(probe);
                }
                self.on_probe(*id, probe, now, out);
            }
            // An answer to an older judgement says what was true before something changed our mind.
            Event::Term(judgement, answer) if *judgement == self.judgement => {
                if let Some(answer) = answer {
                    self.note_cluster(answer);
                }
                let seen = answer.as_ref().map(TermAnswer::term_info);
                match (self.phase, seen) {
                    (Phase::Reading { began }, Some(seen)) => {
                        // Probes may have come in already: they are judged now rather than at the
                        // next tick.
                        self.phase = Phase::Probing { began, seen };
                        self.decide(now, out);
                    }
                    // Without the term nobody is asked: `seen` would be a guess, and a guess can
                    // depose a healthy leader.
                    (Phase::Reading { .. }, None) => self.rest(now + REST_LONG),
                    (Phase::Led(own), seen) => {
                        // Whatever the outcome, this read is over. Unanswered, nothing changes: the
                        // leader is judged by its own health, which says so when it loses the
                        // catalog.
                        if let Some(check) = self.checking.take_if(|c| c.judgement == *judgement)
                            && let Some(seen) = seen
                        {
                            self.check_leader(own, seen, check.reason, now, out);
                        }
                    }
                    _ => {}
                }
            }
            Event::Lead(judgement, answer) if *judgement == self.judgement => {
                self.on_lead_answer(*answer, now, out)
            }
            Event::Failed(failed) => {
                // A report of another term came late: its leader is gone already.
                if let Phase::Led(own) = &mut self.phase
                    && own.term == *failed
                {
                    // Not a failure yet: the call may have failed for a reason of its own. The
                    // probe settles it within milliseconds.
                    own.doubted = Some(now);
                    out.push(Command::ProbeNow(own.leader));
                }
            }
            // Of an older judgement.
            Event::Term(..) | Event::Lead(..) => {}
        }
    }

    fn on_probe(&mut self, id: ReplicaId, probe: &Probe, now: BootInstant, out: &mut Vec<Command>) {
        match self.phase {
            Phase::Led(own) => self.on_probe_led(id, probe, own, now, out),
            Phase::Probing { .. } => self.decide(now, out),
            // It died with the request in its hands. Its claim may have been granted: the new
            // judgement reads the term, and finds out.
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
                // The end of the call may be far off, while the replica leads already: its answer
                // was lost, or the connection hangs.
                if leading.is_some_and(|term| term > seen.term && Some(term) > self.looked_for) {
                    out.push(Command::Abandon);
                    self.begin_judgement(now, out);
                }
            }
            Phase::Completing { owner, .. } if owner == id => {
                self.on_probe_completing(probe, now, out)
            }
            // Another replica leads a newer term, by another front-end's request: this claim is
            // fenced, and waiting for its end would be in vain.
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

    /// Takes in which bazaar this is. Replicas that were seen before that was known are looked at
    /// again.
    fn note_cluster(&mut self, answer: &TermAnswer) {
        if self.named_cluster.as_ref() != Some(&answer.cluster) {
            self.named_cluster = Some(answer.cluster.clone());
        }
        // Settled once a term was granted. Before, the catalog's file may stand in the place of a
        // lost one, and no replica is a stranger yet.
        let settled = answer.settled_cluster();
        if self.cluster.as_ref() == settled {
            return;
        }
        self.cluster = settled.cloned();
        if let Some(cluster) = settled {
            for replica in self.replicas.values_mut() {
                // Health that came before the cluster was known could otherwise make a stranger the
                // candidate.
                replica.drop_foreign(cluster);
            }
        }
    }

    fn is_foreign(&self, health: &Health) -> bool {
        let own = self.cluster.as_ref();
        own.is_some_and(|own| own.differs_from(health.cluster.as_ref()))
    }

    fn pass_over(&mut self, id: ReplicaId, now: BootInstant) {
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.pass_over(now + PASSED_OVER);
        }
    }

    fn rest(&mut self, until: BootInstant) {
        self.phase = Phase::Resting { until };
    }
}

/// Whether a replica may be asked to lead, beside a log of so many orders.
fn is_fit(health: &Health, most_orders: u64) -> bool {
    // One far behind would have to fetch what it misses before it leads, and orders wait meanwhile.
    // Not eligible: it checks its file, or its last write failed.
    health.eligible && log_length(health) + ELIGIBLE_LAG >= most_orders
}
