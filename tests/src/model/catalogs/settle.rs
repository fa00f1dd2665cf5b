//! Liveness as a property of each state: from it, a run in which nothing more goes wrong
//! acknowledges an order that is new. The run is the model's own steps in a fixed sequence, chosen
//! as the services choose them. Where the database lost acknowledged rows, the run must find that.

use super::action::Action;
use super::catalog::{Outcome, Role, Stage};
use super::config::{Config, Index, Key};
use super::store::{Phase, Statement, Task};
use super::world::{Timer, World};

/// The part that stays broken while the run lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    /// Nothing.
    Healed,
    /// This catalog process does nothing any more, and its connections stay open.
    Paused(Index),
    /// The writer thread of this catalog does nothing any more; the others of its threads go on.
    Hanging(Index),
}

/// Steps within which a run ends.
const PATIENCE: usize = 120;
/// An order that nobody has sent before.
const NEW: Key = Key::MAX;

impl Continuation {
    /// Whether the catalog takes the answer to a statement.
    fn takes(self, statement: &Statement) -> bool {
        match self {
            Self::Healed => true,
            Self::Paused(own) => statement.from != own,
            Self::Hanging(own) => statement.from != own || statement.is_renewal(),
        }
    }

    /// Whether the writer thread of a catalog works.
    fn works(self, own: Index) -> bool {
        !matches!(self, Self::Paused(other) | Self::Hanging(other) if other == own)
    }
}

impl World {
    /// Whether the run ends well.
    #[must_use]
    pub fn settles(&self, config: &Config, continuation: Continuation) -> bool {
        let alone = (0..self.catalogs.len()).all(|own| !continuation.works(own));
        let mut world = self.clone();
        for _ in 0..PATIENCE {
            if alone || world.acknowledged.contains(&NEW) {
                return true;
            }
            if world.store.lost {
                return world.rows_lost;
            }
            let Some(next) = world.next(config, continuation) else {
                return false;
            };
            world.take(config, &next);
        }
        false
    }

    fn next(&self, config: &Config, continuation: Continuation) -> Option<Action> {
        let database = self
            .statements
            .iter()
            .find_map(|s| self.next_of(config, continuation, s));
        database.or_else(|| {
            let working = || (0..self.catalogs.len()).filter(|own| continuation.works(*own));
            working()
                .find_map(|own| self.next_active(config, own))
                .or_else(|| working().find_map(|own| self.next_standby(config, continuation, own)))
        })
    }

    fn next_of(
        &self,
        config: &Config,
        continuation: Continuation,
        statement: &Statement,
    ) -> Option<Action> {
        let takes = continuation.takes(statement);
        if self.can_execute(config, statement) {
            Some(Action::Execute(statement.clone()))
        } else if statement.is_over() && takes {
            Some(Action::TakeAnswer(statement.clone()))
        } else if statement.phase == Phase::Fenced && takes {
            Some(Action::SendCommit(statement.clone()))
        } else if statement.phase == Phase::Fenced && config.rules.idle_transactions_end {
            Some(Action::EndIdle(statement.clone()))
        } else {
            None
        }
    }

    /// The next step of a catalog that has, or believes to have, an epoch.
    fn next_active(&self, config: &Config, own: Index) -> Option<Action> {
        let catalog = &self.catalogs[own];
        let epoch = catalog.epoch()?;
        if epoch != self.store.epoch || self.store.holder != own {
            return Some(Action::Renew(own));
        }
        if let Some(batch) = &catalog.batch {
            if let Some(session) = batch.outstanding.first() {
                return Some(Action::Push(own, *session));
            }
            return matches!(batch.outcome, Outcome::Committed(_)).then_some(Action::Publish(own));
        }
        if catalog.stopping == Some(Stage::Draining) {
            return Some(match catalog.sessions.first() {
                Some(session) if !config.old_fronts => Action::End(own, *session),
                Some(session) if self.fronts[session.0].leased(*session) => {
                    Action::Expire(self.running(session.0)?)
                }
                Some(session) => Action::Drop(own, *session),
                None => Action::SendClean(own),
            });
        }
        if !self.takes_batch(own) {
            return None;
        }
        if usize::from(self.place(own)) < self.acknowledged.len() {
            return Some(Action::Suspect(own));
        }
        Some(Action::Begin(own, NEW))
    }

    fn running(&self, front: Index) -> Option<Timer> {
        let own = &self.fronts[front];
        let pending = own.pending.and_then(|call| call.lease);
        let keep_alive = own.keep_alive.and_then(|call| call.lease);
        own.lease
            .map(|_| Timer::Session(front))
            .or(pending.map(|_| Timer::Registration(front)))
            .or(keep_alive.map(|_| Timer::KeepAlive(front)))
    }

    /// The next step of one that waits, when no other one works.
    fn next_standby(
        &self,
        config: &Config,
        continuation: Continuation,
        own: Index,
    ) -> Option<Action> {
        let catalog = &self.catalogs[own];
        let seen = match catalog.role {
            Role::Standby { watch, .. } => watch == Some((self.store.epoch, self.store.beat)),
            Role::Waiting => true,
            Role::Active { .. } => return None,
        };
        if self.store.clean && catalog.stands_by() {
            return Some(Action::TakeOverClean(own));
        }
        if !seen {
            return Some(Action::Look(own));
        }
        if let Continuation::Hanging(other) = continuation {
            let goes_on = !config.rules.renewal_needs_writer && self.renews(other).is_none();
            if goes_on && self.catalogs[other].epoch() == Some(self.store.epoch) {
                return Some(Action::Renew(other));
            }
        }
        if self.waited(own) {
            return Some(match catalog.role {
                Role::Waiting => Action::EndWait(own),
                _ => Action::TakeOver(own),
            });
        }
        // Time goes by.
        let leased = |other: &Index| self.catalogs[*other].lease.is_some();
        let renewing = |other: &Index| self.renews(*other).is_some();
        let catalogs = 0..self.catalogs.len();
        (catalogs.clone().find(renewing).map(Action::GiveUpRenewal))
            .or_else(|| {
                let lease = catalogs.clone().find(leased);
                lease.map(|other| Action::Expire(Timer::Catalog(other)))
            })
            .or_else(|| {
                let running = (0..self.fronts.len()).find_map(|front| self.running(front));
                running.map(Action::Expire)
            })
            .or_else(|| {
                // A takeover whose answer nobody takes.
                let waits = |s: &&Statement| matches!(s.task, Task::Takeover(..)) && s.attached;
                let statement = self.statements.iter().find(waits)?;
                Some(Action::LoseConnection(statement.from))
            })
    }
}
