//! The steps that can happen next. A paused process and a late message need no step of their own:
//! theirs do not happen while everything else goes on.

use super::catalog::{Outcome, Role, Session, Stage};
use super::config::{Config, Index, Key, StoreKind};
use super::store::{Phase, Requires, Statement, Task};
use super::world::{Timer, World, length};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A catalog sends a renewal.
    Renew(Index),
    /// It no longer waits for the answer.
    GiveUpRenewal(Index),
    /// The database executes a statement, or the next part of a transaction.
    Execute(Statement),
    /// The database executes a COMMIT that was cancelled while it waited for its replication.
    ExecuteCancelled(Statement),
    /// The database ends a transaction whose client is silent.
    EndIdle(Statement),
    /// The catalog takes the answer.
    TakeAnswer(Statement),
    /// The catalog has the fence, and sends its writes and COMMIT.
    SendCommit(Statement),
    /// The writer thread's connection is lost.
    LoseConnection(Index),
    /// A look is sent: only when the wait counts from here.
    SendLook(Index),
    /// A standby sees epoch and beat.
    Look(Index),
    /// A standby has seen them for long enough, and sends the takeover.
    TakeOver(Index),
    /// A standby sees `clean`, and sends the takeover.
    TakeOverClean(Index),
    /// A catalog decides an order, marks the stock, lists the sessions, sends the fence.
    Begin(Index, Key),
    /// A catalog decides an order: only when it is sent under whichever epoch there is later.
    Stage(Index, Key),
    /// That batch is sent.
    SendStaged(Index),
    /// All sessions have acknowledged or ended: the rows become visible, the verdict is answered.
    Publish(Index),
    /// An order is asked for again: its verdict is answered.
    Repeat(Index),
    /// A leader's log is longer than the journal in memory.
    Suspect(Index),
    /// An invalidation arrives, and its acknowledgement.
    Push(Index, Session),
    /// A session's lease and margin are over: the catalog drops it.
    Drop(Index, Session),
    /// A catalog that stops ends a session, and the front-end's answer arrives.
    End(Index, Session),
    /// A lease is over.
    Expire(Timer),
    /// A catalog crashes and comes back.
    Crash(Index),
    /// From here the database does not wait for its standby.
    FallBehind,
    /// The database's standby is promoted.
    Promote,
    /// A catalog begins to stop.
    Stop(Index),
    /// It falls silent, and sends `clean`.
    SendClean(Index),
    /// A reader takes a value, before its lease is checked: with that rule off.
    TakeValue(Index),
    /// The lease is checked, and the value is answered.
    AnswerValue(Index),
    /// SQLite: the wait after the start is over.
    EndWait(Index),
    /// A front-end registers a session.
    Register(Index, Index),
    /// The catalog grants it, after its probe.
    Grant(Index),
    /// The answer arrives.
    Install(Index),
    /// The front-end no longer waits for it.
    GiveUpRegistration(Index),
    /// A registration that was given up arrives.
    GrantStray(Session, Index),
    /// A front-end renews its session.
    KeepAlive(Index, Index),
    /// The catalog answers.
    AnswerKeepAlive(Index),
    /// That answer arrives.
    TakeKeepAlive(Index),
    /// A catalog answers a fill.
    Fill(Index, Index),
    /// The answer arrives.
    StoreFill(Index),
    /// A reader of a front-end asks a catalog: only where the database loses rows.
    Read(Index, Index),
    /// A front-end stops: it forgets its session, sends the end, and comes back.
    StopFront(Index),
    /// It sends the end first: with that rule off.
    SendEnd(Index),
    /// It forgets after that.
    ForgetLate(Index),
    /// The end of a session arrives from its front-end.
    EndByFront(Session, Index),
    /// A front-end crashes and comes back.
    CrashFront(Index),
}

impl World {
    /// The possible next steps.
    pub fn offer(&self, config: &Config, actions: &mut Vec<Action>) {
        for statement in &self.statements {
            self.offer_statement(config, statement, actions);
        }
        for own in 0..self.catalogs.len() {
            if config.store == StoreKind::Postgres {
                self.offer_activity(config, own, actions);
            }
            self.offer_batch(config, own, actions);
            self.offer_stop(config, own, actions);
            self.offer_readers(config, own, actions);
            if self.faults.crashes > 0 {
                actions.push(Action::Crash(own));
            }
            let lost = self.faults.lost_connections > 0 && self.writes(own).is_some();
            if lost {
                actions.push(Action::LoseConnection(own));
            }
        }
        for own in 0..self.fronts.len() {
            self.offer_front(config, own, actions);
        }
        actions.extend(self.ends.iter().map(|(s, to)| Action::EndByFront(*s, *to)));
        actions.extend(
            self.strays
                .iter()
                .filter(|(session, to)| self.grants(config, *to, *session))
                .map(|(session, to)| Action::GrantStray(*session, *to)),
        );
        if self.faults.promotions > 0 {
            if self.replicated.is_some() {
                actions.push(Action::Promote);
            } else if !config.synchronous {
                actions.push(Action::FallBehind);
            }
        }
    }

    fn offer_statement(&self, config: &Config, statement: &Statement, actions: &mut Vec<Action>) {
        if self.can_execute(config, statement) {
            actions.push(Action::Execute(statement.clone()));
            let commits = statement.phase == Phase::Commit
                || config.one_flight && statement.phase == Phase::Sent;
            let cancelled = commits && self.faults.cancels > 0;
            if cancelled && matches!(statement.task, Task::Trade(..)) {
                actions.push(Action::ExecuteCancelled(statement.clone()));
            }
        }
        if statement.is_over() {
            actions.push(Action::TakeAnswer(statement.clone()));
        }
        if statement.phase == Phase::Fenced {
            actions.push(Action::SendCommit(statement.clone()));
        }
        let ends = config.rules.idle_transactions_end && config.store == StoreKind::Postgres;
        // One whose client still waits is as one whose connection was lost before.
        let silent = statement.phase == Phase::Fenced || !statement.attached;
        if ends && silent && statement.holds_lock() {
            actions.push(Action::EndIdle(statement.clone()));
        }
    }

    /// Whether the database can go on with a statement: no lock stands in its way.
    #[must_use]
    pub fn can_execute(&self, config: &Config, statement: &Statement) -> bool {
        let locked = || self.statements.iter().any(|s| s.phase == Phase::Locked);
        match (statement.phase, &statement.task) {
            (Phase::Sent, Task::Takeover(..)) => {
                let fenced = self.statements.iter().any(Statement::holds_lock);
                !(locked() || fenced && config.rules.takeover_waits_for_fences)
            }
            // It begins, and waits for the lock if there is one.
            (Phase::Sent, Task::Renewal(_)) => true,
            (Phase::Sent | Phase::Waiting, _) => !locked(),
            (Phase::Locked | Phase::Commit | Phase::Unfenced, _) => true,
            _ => false,
        }
    }

    fn offer_activity(&self, config: &Config, own: Index, actions: &mut Vec<Action>) {
        let catalog = &self.catalogs[own];
        if self.renews(own).is_some() {
            actions.push(Action::GiveUpRenewal(own));
        } else if config.renewals && catalog.epoch().is_some() {
            actions.push(Action::Renew(own));
        }
        if catalog.lease.is_some() {
            actions.push(Action::Expire(Timer::Catalog(own)));
        }
        let Role::Standby { watch, looking } = catalog.role else {
            return;
        };
        if self.writes(own).is_some() {
            return;
        }
        let seen = (self.store.epoch, self.store.beat);
        if watch != Some(seen) {
            if config.rules.wait_from_receipt || looking {
                actions.push(Action::Look(own));
            } else {
                actions.push(Action::SendLook(own));
            }
        }
        if self.store.epoch >= config.epochs {
            return;
        }
        if self.store.clean {
            actions.push(Action::TakeOverClean(own));
        }
        if watch.is_some() && (!config.rules.takeover_waits || self.waited(own)) {
            actions.push(Action::TakeOver(own));
        }
    }

    fn offer_batch(&self, config: &Config, own: Index, actions: &mut Vec<Action>) {
        let catalog = &self.catalogs[own];
        if self.takes_batch(own) {
            let memory = catalog.memory.as_ref().map_or(&[][..], |m| &m.rows);
            let begin = if config.rules.fence_of_the_decision {
                Action::Begin
            } else {
                Action::Stage
            };
            if catalog.staged.is_none() {
                let keys = (0..config.keys).filter(|key| !memory.contains(key));
                actions.extend(keys.map(|key| begin(own, key)));
            } else {
                actions.push(Action::SendStaged(own));
            }
            if self.acknowledged.len() > memory.len() {
                actions.push(Action::Suspect(own));
            }
        }
        if let Some(batch) = &catalog.batch {
            let pushed = batch.outstanding.iter();
            actions.extend(pushed.map(|session| Action::Push(own, *session)));
            if matches!(batch.outcome, Outcome::Committed(_)) && batch.outstanding.is_empty() {
                actions.push(Action::Publish(own));
            }
        }
        if catalog.memory.is_some() && catalog.epoch().is_some() && self.repeats(own) {
            actions.push(Action::Repeat(own));
        }
        let over = |session: &&Session| !self.fronts[session.0].leased(**session);
        let over = catalog.sessions.iter().filter(over);
        actions.extend(over.map(|session| Action::Drop(own, *session)));
        if catalog.role == Role::Waiting && self.waited(own) {
            actions.push(Action::EndWait(own));
        }
    }

    /// Whether a batch can begin.
    #[must_use]
    pub fn takes_batch(&self, own: Index) -> bool {
        let catalog = &self.catalogs[own];
        let idle = catalog.batch.is_none() && catalog.stopping.is_none() && !catalog.lost;
        idle && catalog.epoch().is_some() && catalog.memory.is_some() && self.writes(own).is_none()
    }

    /// Whether the verdicts in memory say more, or other things, than was answered.
    fn repeats(&self, own: Index) -> bool {
        let rows = self.catalogs[own]
            .memory
            .as_ref()
            .map_or(&[][..], |m| &m.rows);
        rows.len() > self.acknowledged.len() || !self.acknowledged.starts_with(rows)
    }

    fn offer_stop(&self, config: &Config, own: Index, actions: &mut Vec<Action>) {
        let catalog = &self.catalogs[own];
        match catalog.stopping {
            None if self.faults.stops > 0 => actions.push(Action::Stop(own)),
            Some(Stage::Draining) => {
                // An older front-end's 404 counts for nothing. That of one that was started since
                // then is a true answer: it has no such session.
                let counts = |session: &&Session| {
                    let older = config.old_fronts && self.fronts[session.0].knows(**session);
                    !older || !config.rules.only_its_answer_counts
                };
                let answering = catalog.sessions.iter().filter(counts);
                actions.extend(answering.map(|session| Action::End(own, *session)));
                // If it grants sessions while it stops: those that it knew when it began.
                let left =
                    |session| config.rules.stop_grants_nothing || catalog.ending.contains(session);
                let ended = !catalog.sessions.iter().any(left) || !config.rules.stop_ends_sessions;
                if ended && catalog.batch.is_none() && self.writes(own).is_none() {
                    actions.push(Action::SendClean(own));
                }
            }
            _ => {}
        }
    }

    fn offer_readers(&self, config: &Config, own: Index, actions: &mut Vec<Action>) {
        if config.rules.lease_of_the_values_epoch {
            return;
        }
        match self.catalogs[own].reading {
            None if self.speaks(config, own) => actions.push(Action::TakeValue(own)),
            Some(_) if self.leased(config, own) => actions.push(Action::AnswerValue(own)),
            _ => {}
        }
    }

    fn offer_front(&self, config: &Config, own: Index, actions: &mut Vec<Action>) {
        let front = &self.fronts[own];
        let catalogs = 0..self.catalogs.len();
        if let Some(call) = front.pending {
            if call.answer.is_some() {
                actions.push(Action::Install(own));
            } else if self.grants(config, call.to, call.session) {
                actions.push(Action::Grant(own));
            }
            actions.push(Action::GiveUpRegistration(own));
        } else if front.registrations > 0 && front.lease.is_none() {
            let asked = catalogs.clone().filter(|to| self.speaks(config, *to));
            actions.extend(asked.map(|to| Action::Register(own, to)));
        }
        if let Some(call) = front.keep_alive {
            if call.answer.is_some() {
                actions.push(Action::TakeKeepAlive(own));
            } else if self.says_of_sessions(config, call.to) {
                actions.push(Action::AnswerKeepAlive(own));
            }
        } else if front.session.is_some() && config.keep_alives {
            let asked = catalogs.clone().filter(|to| self.speaks(config, *to));
            actions.extend(asked.map(|to| Action::KeepAlive(own, to)));
        }
        let leases = [
            (front.lease, Timer::Session(own)),
            (
                front.pending.and_then(|c| c.lease),
                Timer::Registration(own),
            ),
            (
                front.keep_alive.and_then(|c| c.lease),
                Timer::KeepAlive(own),
            ),
        ];
        let running = leases.iter().filter(|(lease, _)| lease.is_some());
        actions.extend(running.map(|(_, timer)| Action::Expire(*timer)));
        if front.fill.is_some() {
            actions.push(Action::StoreFill(own));
        } else if front.entry.is_none() && front.session.is_some() {
            let asked = catalogs
                .clone()
                .filter(|to| self.answers(config, *to) && !self.marked(config, *to));
            actions.extend(asked.map(|to| Action::Fill(own, to)));
        }
        if !config.synchronous {
            let asked = catalogs.filter(|to| self.answers(config, *to));
            actions.extend(asked.map(|to| Action::Read(own, to)));
        }
        if front.stopping {
            actions.push(Action::ForgetLate(own));
        } else if self.faults.front_stops > 0
            && (front.session.is_some() || front.pending.is_some())
        {
            actions.push(if config.rules.forgets_before_end {
                Action::StopFront(own)
            } else {
                Action::SendEnd(own)
            });
        }
        if self.faults.front_crashes > 0 {
            actions.push(Action::CrashFront(own));
        }
    }

    /// Whether a catalog makes statements about sessions.
    #[must_use]
    pub fn says_of_sessions(&self, config: &Config, catalog: Index) -> bool {
        let own = &self.catalogs[catalog];
        let waiting = own.role == Role::Waiting && !own.lost;
        let stops = own.stopping.is_some() && config.rules.stop_grants_nothing;
        !stops && (self.speaks(config, catalog) || waiting) && self.leased(config, catalog)
    }

    /// Whether a catalog grants a session: its probe finds it.
    #[must_use]
    pub fn grants(&self, config: &Config, catalog: Index, session: Session) -> bool {
        self.says_of_sessions(config, catalog) && self.fronts[session.0].knows(session)
    }

    /// The takeover that a standby sends.
    #[must_use]
    pub fn requirement(&self, own: Index) -> Option<(u8, Requires)> {
        match self.catalogs[own].role {
            Role::Standby {
                watch: Some((epoch, beat)),
                ..
            } => Some((epoch, Requires::Beat(beat))),
            _ => None,
        }
    }

    /// The place of the next row.
    #[must_use]
    pub fn place(&self, own: Index) -> u8 {
        let memory = self.catalogs[own].memory.as_ref();
        memory.map_or(0, |memory| length(&memory.rows))
    }
}
