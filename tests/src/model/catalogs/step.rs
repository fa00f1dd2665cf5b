//! The effects of the steps at the database and at the catalogs.

use super::action::Action;
use super::catalog::{Batch, Catalog, Memory, Outcome, Role, Stage};
use super::config::{Config, Epoch, Index, Key, StoreKind};
use super::store::{FRESH, Phase, Requires, Statement, Task};
use super::world::{Broken, World};

impl World {
    /// Takes one step.
    pub fn take(&mut self, config: &Config, action: &Action) {
        match action {
            Action::Execute(statement) => self.execute(config, statement, false),
            Action::ExecuteCancelled(statement) => self.execute(config, statement, true),
            Action::EndIdle(statement) => self.end_idle(config, statement),
            Action::TakeAnswer(statement) => {
                self.remove(statement);
                self.take_answer(config, statement);
            }
            Action::SendCommit(statement) => self.change(statement, |s| s.phase = Phase::Commit),
            Action::LoseConnection(own) => {
                self.faults.lost_connections = self.faults.lost_connections.saturating_sub(1);
                self.lose_connection(config, *own);
            }
            Action::FallBehind => self.replicated = Some(Box::new(self.store.clone())),
            Action::Promote => self.promote(config),
            Action::Crash(own) => {
                self.faults.crashes = self.faults.crashes.saturating_sub(1);
                self.crash(config, *own);
            }
            Action::Expire(timer) => {
                if let Some(lease) = self.timer(*timer) {
                    *lease = None;
                }
            }
            Action::Begin(own, key) => self.begin(config, *own, *key, None),
            Action::Stage(own, key) => {
                let place = self.place(*own);
                self.catalogs[*own].staged = Some((*key, place));
            }
            Action::SendStaged(own) => {
                if let Some((key, place)) = self.catalogs[*own].staged.take() {
                    self.begin(config, *own, key, Some(place));
                }
            }
            Action::Publish(own) => self.publish(*own),
            Action::Repeat(own) => self.acknowledge(*own),
            Action::Suspect(own) => self.suspect(config, *own),
            Action::Stop(own) => self.stop(config, *own),
            Action::SendClean(own) => self.send_clean(config, *own),
            _ => self.take_of_activity(config, action),
        }
        self.normalise(config);
    }

    fn take_of_activity(&mut self, config: &Config, action: &Action) {
        match action {
            Action::Renew(own) => {
                if let Some(epoch) = self.catalogs[*own].epoch() {
                    self.post(*own, epoch, Task::Renewal(0), Phase::Sent);
                }
            }
            Action::GiveUpRenewal(own) => self.give_up_renewal(*own),
            Action::SendLook(own) => {
                self.forget_wait(*own);
                self.begin_wait(*own);
                if let Role::Standby { looking, .. } = &mut self.catalogs[*own].role {
                    *looking = true;
                }
            }
            Action::Look(own) => {
                if config.rules.wait_from_receipt {
                    self.forget_wait(*own);
                    self.begin_wait(*own);
                }
                let watch = Some((self.store.epoch, self.store.beat));
                self.catalogs[*own].role = Role::Standby {
                    watch,
                    looking: false,
                };
            }
            Action::TakeOver(own) => {
                if let Some((epoch, requires)) = self.requirement(*own) {
                    self.post(*own, epoch, Task::Takeover(requires, 0), Phase::Sent);
                }
            }
            Action::TakeOverClean(own) => {
                let epoch = self.store.epoch;
                self.post(*own, epoch, Task::Takeover(Requires::Clean, 0), Phase::Sent);
            }
            Action::TakeValue(own) => {
                self.catalogs[*own].reading = Some(self.is_stale(self.visible(*own)));
            }
            Action::AnswerValue(own) => {
                if self.catalogs[*own].reading.take() == Some(true) {
                    self.broken.insert(Broken::Stale);
                }
            }
            Action::EndWait(own) => self.serve_file(*own),
            _ => self.take_of_sessions(config, action),
        }
    }

    fn forget_wait(&mut self, own: Index) {
        self.each_lease(|waits| *waits &= !(1 << own));
    }

    fn remove(&mut self, statement: &Statement) {
        if let Some(place) = self.statements.iter().position(|s| s == statement) {
            self.statements.remove(place);
        }
    }

    fn change(&mut self, statement: &Statement, change: impl FnOnce(&mut Statement)) {
        if let Some(found) = self.statements.iter_mut().find(|s| *s == statement) {
            change(found);
        }
    }

    /// The database goes on with a statement. READ COMMITTED: one that waited for a lock reads its
    /// row anew, as if it had come only now.
    fn execute(&mut self, config: &Config, statement: &Statement, cancelled: bool) {
        let rules = &config.rules;
        let holder = statement.from == self.store.holder || !rules.epoch_has_holder;
        let own_epoch = statement.epoch == self.store.epoch && holder;
        let before = self.store.clone();
        let mut epoch = statement.epoch;
        let mut task = statement.task.clone();
        let phase = match (&statement.task, statement.phase) {
            (Task::Renewal(_), Phase::Sent) => {
                let locked = self.statements.iter().any(|s| s.phase == Phase::Locked);
                match own_epoch || !rules.renewal_requires_epoch {
                    true if locked => Phase::Waiting,
                    found => self.beat(found),
                }
            }
            (Task::Renewal(_), Phase::Waiting) => self.beat(true),
            (Task::Takeover(requires, _), Phase::Sent) => {
                let same = statement.epoch == self.store.epoch;
                let found = match requires {
                    Requires::Beat(beat) => {
                        same && (*beat == self.store.beat || !rules.takeover_requires_beat)
                    }
                    Requires::Clean => same && self.store.clean,
                    Requires::Own => own_epoch || !rules.bump_requires_epoch,
                };
                epoch = self.store.epoch;
                match found {
                    true if rules.one_row => self.change_epoch(config, statement.from),
                    true => Phase::Locked,
                    false => Phase::NoRow,
                }
            }
            (Task::Takeover(..), _) => self.change_epoch(config, statement.from),
            (Task::Load(_), _) => {
                if own_epoch || !rules.load_is_fenced {
                    task = Task::Load(self.store.rows.clone());
                    Phase::Done
                } else {
                    Phase::NoRow
                }
            }
            (task @ Task::Trade(..), Phase::Sent) if config.one_flight => match own_epoch {
                true => self.write(config, task),
                false => Phase::NoRow,
            },
            (_, Phase::Sent) => match (own_epoch, rules.fence_is_awaited) {
                (true, true) => Phase::Fenced,
                (true, false) => Phase::Commit,
                (false, true) => Phase::NoRow,
                (false, false) => Phase::Unfenced,
            },
            (task, _) => self.write(config, task),
        };
        let replicated = match statement.task {
            Task::Renewal(_) => rules.renewals_are_synchronous,
            _ => !cancelled,
        };
        let phase = match phase {
            Phase::Done if cancelled => Phase::Warned,
            other => other,
        };
        if cancelled {
            self.faults.cancels = self.faults.cancels.saturating_sub(1);
        }
        if config.synchronous && self.store != before {
            if replicated {
                self.replicated = None;
            } else if self.replicated.is_none() && self.faults.promotions > 0 {
                self.replicated = Some(Box::new(before));
            }
        }
        self.change(statement, |s| {
            s.phase = phase;
            s.epoch = epoch;
            s.task = task;
        });
    }

    fn beat(&mut self, found: bool) -> Phase {
        if !found {
            return Phase::NoRow;
        }
        self.store.beat = FRESH;
        Phase::Done
    }

    fn change_epoch(&mut self, config: &Config, holder: Index) -> Phase {
        self.store.epoch += 1;
        self.store.beat = FRESH;
        self.store.holder = holder;
        self.store.clean &= !config.rules.takeover_clears_clean;
        Phase::Done
    }

    fn write(&mut self, config: &Config, task: &Task) -> Phase {
        match *task {
            Task::Trade(key, place) => {
                let there = self.store.rows.contains(&key);
                let next = usize::from(place);
                // Numbers and order keys are unique.
                if there || next < self.store.rows.len() {
                    return Phase::Mismatch;
                }
                if next > self.store.rows.len() {
                    if config.rules.last_row_is_required {
                        return Phase::Mismatch;
                    }
                    self.broken.insert(Broken::Gap);
                }
                self.store.rows.push(key);
            }
            Task::Lost => self.store.lost = true,
            Task::Clean => self.store.clean = true,
            Task::Renewal(_) | Task::Takeover(..) | Task::Load(_) => {}
        }
        Phase::Done
    }

    fn take_answer(&mut self, config: &Config, statement: &Statement) {
        let own = statement.from;
        match (&statement.task, statement.phase) {
            (Task::Renewal(lease), Phase::Done) => {
                let lease = if config.rules.lease_from_sending {
                    *lease
                } else {
                    0
                };
                self.catalogs[own].lease = Some(lease);
            }
            (Task::Renewal(_), _) => self.find_no_row(config, statement),
            (Task::Takeover(Requires::Own, _), Phase::Done) => {
                self.bumped(own, statement.epoch + 1);
            }
            (Task::Takeover(_, lease), Phase::Done) => {
                let lease = Some(*lease).filter(|_| config.rules.lease_from_sending);
                self.take_epoch(own, statement.epoch + 1, lease.or(Some(0)));
            }
            (Task::Takeover(..), _) => self.stand_by(config, own),
            (Task::Load(rows), Phase::Done) => self.loaded(config, own, rows),
            (Task::Clean, _) => self.crash(config, own),
            (Task::Trade(key, _), Phase::Done) => self.committed(own, *key),
            (Task::Trade(key, _), Phase::Warned) => {
                if config.rules.warning_is_unknown {
                    self.unknown_outcome(config, own);
                } else {
                    self.committed(own, *key);
                }
            }
            (Task::Trade(..), Phase::Mismatch) => {
                self.catalogs[own].batch = None;
                self.suspect(config, own);
            }
            (Task::Lost, Phase::Done) => self.say_lost(own),
            (_, _) => self.stand_by(config, own),
        }
    }

    /// A renewal found no row with its epoch.
    fn find_no_row(&mut self, config: &Config, renewal: &Statement) {
        let own = renewal.from;
        let moved = self.catalogs[own].epoch() != Some(renewal.epoch);
        let moving = self.writes(own).is_some_and(Statement::is_bump);
        let rules = &config.rules;
        if moved && rules.moved_is_not_deposed || moving && rules.moving_is_not_deposed {
            return;
        }
        let still = self.catalogs[own].epoch() == Some(self.store.epoch);
        if (still || moving) && self.store.holder == own {
            self.broken.insert(Broken::DeposedItself);
        }
        self.stand_by(config, own);
    }

    fn take_epoch(&mut self, own: Index, epoch: Epoch, lease: Option<u8>) {
        self.catalogs[own].role = Role::Active {
            epoch,
            since: epoch,
        };
        self.catalogs[own].lease = lease;
        self.post(own, epoch, Task::Load(Vec::new()), Phase::Sent);
    }

    fn bumped(&mut self, own: Index, epoch: Epoch) {
        if let Role::Active { epoch: current, .. } = &mut self.catalogs[own].role {
            *current = epoch;
        }
        self.post(own, epoch, Task::Load(Vec::new()), Phase::Sent);
    }

    fn loaded(&mut self, config: &Config, own: Index, rows: &[Key]) {
        let lost = self.store.lost;
        let catalog = &mut self.catalogs[own];
        let Role::Active { since, .. } = catalog.role else {
            return;
        };
        match &catalog.memory {
            Some(memory) if memory.since == since => {
                if !rows.starts_with(&memory.rows) {
                    catalog.batch = None;
                    return self.suspect(config, own);
                }
                let unchanged = rows.len() == memory.rows.len();
                match &mut catalog.batch {
                    Some(_) if unchanged => catalog.batch = None,
                    Some(batch) => batch.outcome = Outcome::Committed(rows.to_vec()),
                    None => {}
                }
            }
            _ => {
                let rows = rows.to_vec();
                catalog.memory = Some(Memory { rows, since });
            }
        }
        catalog.lost |= lost;
    }

    fn committed(&mut self, own: Index, key: Key) {
        let catalog = &mut self.catalogs[own];
        let (Some(memory), Some(batch)) = (&catalog.memory, &mut catalog.batch) else {
            return;
        };
        let mut rows = memory.rows.clone();
        rows.push(key);
        batch.outcome = Outcome::Committed(rows);
    }

    fn unknown_outcome(&mut self, config: &Config, own: Index) {
        let Some(epoch) = self.catalogs[own].epoch() else {
            return;
        };
        if config.store == StoreKind::Sqlite {
            return;
        }
        if let Some(batch) = &mut self.catalogs[own].batch {
            batch.outcome = Outcome::Unknown;
        }
        if config.rules.bump_after_unknown {
            self.post(own, epoch, Task::Takeover(Requires::Own, 0), Phase::Sent);
        } else {
            self.post(own, epoch, Task::Load(Vec::new()), Phase::Sent);
        }
    }

    /// The database ends a transaction whose client is silent, or whose COMMIT does not come.
    fn end_idle(&mut self, config: &Config, statement: &Statement) {
        self.remove(statement);
        if !statement.attached {
            return;
        }
        let own = statement.from;
        self.end_batch(own);
        self.exit_if_stopping(config, own);
    }

    fn lose_connection(&mut self, config: &Config, own: Index) {
        let Some(statement) = self.writes(own).cloned() else {
            return;
        };
        let sent = may_come(config, &statement);
        if sent {
            self.change(&statement, |s| s.attached = false);
        } else {
            self.remove(&statement);
        }
        let unknown = sent || statement.is_over();
        match statement.task {
            Task::Trade(..) if unknown => self.unknown_outcome(config, own),
            Task::Trade(..) => self.end_batch(own),
            Task::Clean if config.rules.stop_exits => self.crash(config, own),
            Task::Clean => self.catalogs[own].stopping = None,
            Task::Takeover(Requires::Beat(_) | Requires::Clean, lease)
                if !config.rules.unknown_takeover_stands_by =>
            {
                self.take_epoch(own, statement.epoch + 1, Some(lease));
            }
            Task::Lost => {}
            Task::Takeover(..) | Task::Load(_) | Task::Renewal(_) => self.stand_by(config, own),
        }
        self.exit_if_stopping(config, own);
    }

    /// A clean stop goes no further when its connection is lost: the process exits without `clean`.
    fn exit_if_stopping(&mut self, config: &Config, own: Index) {
        if self.catalogs[own].stopping.is_some() {
            self.crash(config, own);
        }
    }

    fn end_batch(&mut self, own: Index) {
        self.catalogs[own].batch = None;
    }

    fn give_up_renewal(&mut self, own: Index) {
        let Some(renewal) = self.renews(own).cloned() else {
            return;
        };
        if self.faults.late_renewals > 0 && !renewal.is_over() {
            self.faults.late_renewals -= 1;
            self.change(&renewal, |s| s.attached = false);
        } else {
            self.remove(&renewal);
        }
    }

    fn begin(&mut self, config: &Config, own: Index, key: Key, place: Option<u8>) {
        let Some(epoch) = self.catalogs[own].epoch() else {
            return;
        };
        let place = place.unwrap_or_else(|| self.place(own));
        let outstanding = self.catalogs[own].sessions.clone();
        self.catalogs[own].batch = Some(Batch {
            outcome: Outcome::Open(key),
            outstanding,
        });
        let phase = if config.rules.batch_is_fenced {
            Phase::Sent
        } else {
            Phase::Unfenced
        };
        self.post(own, epoch, Task::Trade(key, place), phase);
    }

    fn publish(&mut self, own: Index) {
        let catalog = &mut self.catalogs[own];
        let Some(Batch {
            outcome: Outcome::Committed(rows),
            ..
        }) = catalog.batch.take()
        else {
            return;
        };
        if let Some(memory) = &mut catalog.memory {
            memory.rows = rows;
        }
        self.acknowledge(own);
    }

    /// A leader's log, or the journal, contradicts the memory.
    fn suspect(&mut self, config: &Config, own: Index) {
        let Some(epoch) = self.catalogs[own].epoch() else {
            return;
        };
        if config.rules.lost_history_is_written {
            self.post(own, epoch, Task::Lost, Phase::Sent);
        } else {
            self.say_lost(own);
        }
    }

    fn say_lost(&mut self, own: Index) {
        self.catalogs[own].lost = true;
        if !self.rows_lost {
            self.broken.insert(Broken::LostWrongly);
        }
    }

    /// Another one has the epoch, or may have it.
    fn stand_by(&mut self, config: &Config, own: Index) {
        self.detach(config, own);
        let old = std::mem::take(&mut self.catalogs[own]);
        if old.stopping.is_some() {
            return;
        }
        let kept = &mut self.catalogs[own];
        kept.staged = old.staged;
        kept.reading = old.reading;
        if !config.rules.deposed_forgets {
            kept.memory = old.memory;
            kept.sessions = old.sessions;
        }
    }

    /// Nobody waits for the answers any more. The statements may still be executed.
    fn detach(&mut self, config: &Config, own: Index) {
        let late = self.faults.late_renewals > 0;
        let stays = |s: &Statement| may_come(config, s) && (late || !s.is_renewal());
        self.statements
            .retain(|s| s.from != own || !s.attached || stays(s));
        let left = self.statements.iter_mut().filter(|s| s.from == own);
        left.for_each(|s| s.attached = false);
    }

    /// The process ends, and starts again.
    fn crash(&mut self, config: &Config, own: Index) {
        self.detach(config, own);
        self.catalogs[own] = Catalog::default();
        match config.store {
            StoreKind::Sqlite => self.start_with_file(config, own),
            StoreKind::Postgres if config.rules.restart_stands_by => {}
            StoreKind::Postgres => {
                if self.store.holder == own {
                    self.take_epoch(own, self.store.epoch, None);
                }
            }
        }
    }

    /// SQLite: nothing that the earlier run sent comes later. `clean` is read and cleared.
    fn start_with_file(&mut self, config: &Config, own: Index) {
        self.statements.retain(|s| s.from != own);
        let clean = self.store.clean;
        self.store.clean &= !config.rules.start_clears_clean;
        if clean {
            return self.serve_file(own);
        }
        self.catalogs[own].role = Role::Waiting;
        self.forget_wait(own);
        self.begin_wait(own);
    }

    fn serve_file(&mut self, own: Index) {
        let rows = self.store.rows.clone();
        let catalog = &mut self.catalogs[own];
        catalog.role = Role::Active { epoch: 1, since: 1 };
        catalog.memory = Some(Memory { rows, since: 1 });
    }

    fn stop(&mut self, config: &Config, own: Index) {
        self.faults.stops = self.faults.stops.saturating_sub(1);
        let waiting = self.catalogs[own].role == Role::Waiting;
        if self.catalogs[own].epoch().is_some() {
            self.catalogs[own].stopping = Some(Stage::Draining);
            if !config.rules.stop_grants_nothing {
                self.catalogs[own].ending = self.catalogs[own].sessions.clone();
            }
        } else if waiting && !config.rules.no_clean_while_waiting {
            self.store.clean = true;
            self.crash(config, own);
        } else {
            self.crash(config, own);
        }
    }

    fn send_clean(&mut self, config: &Config, own: Index) {
        let Some(epoch) = self.catalogs[own].epoch() else {
            return;
        };
        self.catalogs[own].stopping = Some(Stage::Silent);
        let phase = if config.rules.clean_is_fenced {
            Phase::Sent
        } else {
            Phase::Unfenced
        };
        self.post(own, epoch, Task::Clean, phase);
    }

    /// The database's standby is promoted: what was not replicated is lost, with every connection.
    fn promote(&mut self, config: &Config) {
        self.faults.promotions = self.faults.promotions.saturating_sub(1);
        let Some(store) = self.replicated.take() else {
            return;
        };
        let answered = if config.synchronous {
            &self.acknowledged
        } else {
            &self.store.rows
        };
        self.rows_lost |= !store.rows.starts_with(answered);
        self.store = *store;
        for own in 0..self.catalogs.len() {
            self.lose_connection(config, own);
            self.statements
                .retain(|s| s.from != own || s.attached && s.phase == Phase::Sent);
        }
    }
}

/// Whether a statement may be executed, and change something, after its connection was lost. A
/// transaction whose COMMIT was not sent never does.
fn may_come(config: &Config, statement: &Statement) -> bool {
    let in_one_flight = config.one_flight || !config.rules.fence_is_awaited;
    match statement.phase {
        Phase::Commit | Phase::Unfenced | Phase::Locked => true,
        Phase::Sent => match statement.task {
            Task::Takeover(..) | Task::Renewal(_) => true,
            Task::Trade(..) => in_one_flight,
            Task::Lost | Task::Clean | Task::Load(_) => false,
        },
        _ => false,
    }
}
