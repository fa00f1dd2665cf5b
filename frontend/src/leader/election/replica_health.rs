//! One replica as this front-end sees it: its newest health, and the outcomes of probes since.

use common::clock::BootInstant;
use common::timing::MISSES;
use common::wire::order::{ClusterId, ReplicaId, Term, next_number};
use common::wire::replica::Health;

/// The outcome of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Health(Health),
    /// The connection was refused: nobody listens.
    Refused,
    /// No answer in time, or none that fits.
    Missed,
    /// Another replica answered: the URL is wrong.
    WrongReplica(ReplicaId),
    /// A replica of another bazaar answered, or ours with a file of it.
    Foreign,
}

/// A probe that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Its health is true of some moment after this one.
    pub began: BootInstant,
    pub outcome: Outcome,
}

#[derive(Debug, Default)]
pub(super) struct ReplicaHealth {
    // The newest health counts however many probes were missed since: `fresh` asks for its age.
    newest: Option<(BootInstant, Health)>,
    misses: u32,
    /// The newest probe shows that it serves nothing for us, so no second miss is waited for.
    unusable: bool,
    /// It was asked to lead and could not; others go first until then.
    passed_over_until: Option<BootInstant>,
    /// The claim of this term that did not move on.
    pub stalled: Option<Term>,
    /// When it was relieved of the leadership for the lack of copies.
    pub relieved: Option<BootInstant>,
}

impl ReplicaHealth {
    /// Takes a probe's outcome in.
    pub fn update(&mut self, probe: &Probe) {
        match &probe.outcome {
            // One good answer clears all misses: they have to be in a row.
            Outcome::Health(health) => {
                *self = Self {
                    newest: Some((probe.began, health.clone())),
                    misses: 0,
                    unusable: false,
                    // A failure to lead does not pass with one good probe.
                    passed_over_until: self.passed_over_until,
                    stalled: self.stalled,
                    relieved: self.relieved,
                };
            }
            // No second miss is waited for: a refused connection shows that nobody listens, and a
            // stranger in its place is none of ours.
            Outcome::Refused | Outcome::WrongReplica(_) | Outcome::Foreign => self.unusable = true,
            Outcome::Missed => self.misses += 1,
        }
    }

    /// Its bazaar is known now: what was seen of another one does not count.
    pub fn drop_foreign(&mut self, cluster: &ClusterId) {
        let newest = self.newest.as_ref();
        if newest.is_some_and(|(_, health)| cluster.differs_from(health.cluster.as_ref())) {
            self.newest = None;
            // As after a probe that found a stranger: not asked, and not waited for.
            self.unusable = true;
        }
    }

    /// Whether it counts as unreachable.
    pub fn is_dead(&self) -> bool {
        self.unusable || self.misses >= MISSES
    }

    /// A new leader's misses count from when it was adopted.
    pub fn forgive_misses(&mut self) {
        self.misses = 0;
        self.unusable = false;
    }

    /// Its health, where the probe began at `since` or later and no later one failed for good.
    pub fn fresh(&self, since: BootInstant) -> Option<&Health> {
        let (began, health) = self.newest.as_ref()?;
        // Dead, although its last health is recent: its own words do not count any more.
        (*began >= since && !self.is_dead()).then_some(health)
    }

    /// Others are asked to lead first, until `until`.
    pub fn pass_over(&mut self, until: BootInstant) {
        self.passed_over_until = Some(until);
    }

    /// Whether others are asked first.
    pub fn is_passed_over(&self, now: BootInstant) -> bool {
        self.passed_over_until.is_some_and(|until| now < until)
    }
}

/// How many orders a replica has.
pub(super) fn log_length(health: &Health) -> u64 {
    next_number(health.last)
}
