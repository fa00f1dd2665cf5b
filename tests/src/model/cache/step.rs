//! The next steps, and their effects. A lost or late message is one that is not delivered yet;
//! a pause of a process is that nothing happens there while time goes by.

use super::catalog::{Batch, Session, id};
use super::config::{Config, Index, TICK};
use super::front::{Answer, Asking, Call};
use super::world::World;
use catalog::session_table::KeepAlive;
use common::timing::{LEASE, LEASE_MARGIN};

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Time goes by; the clock of one front-end may lose a little.
    Tick(Option<Index>),
    /// A reader comes that the cache does not answer.
    Arrive(Index),
    /// The lookup queue calls the catalog for all that wait.
    StartCall(Index),
    /// The catalog answers a call.
    Tell(Index, usize),
    /// The answer arrives: all its readers get it, and the fill ends.
    Finish(Index, usize),
    /// A reader takes the entry, before it checks the lease: only with that rule off.
    TakeEntry(Index),
    /// That reader checks the lease and answers.
    CheckLease(Index),
    /// The session's thread asks for a new session.
    Register(Index),
    /// The session's thread renews its lease.
    KeepAlive(Index),
    /// The catalog answers the session's thread.
    Serve(Index),
    /// That answer arrives.
    TakeAnswer(Index),
    /// The session's thread no longer waits for the answer.
    GiveUp(Index),
    /// A request without a waiting caller arrives at the catalog.
    ServeStray(Session, bool),
    /// A trade begins: the stock is marked as changing.
    BeginTrade,
    /// The sessions are listed, and the pushes to them begin.
    ListSessions,
    /// The stock is marked only now: with that rule off.
    MarkLate,
    /// The commit is done.
    Commit,
    /// A push arrives at its front-end.
    Push(Session),
    /// Its acknowledgement arrives.
    Acknowledge(Session),
    /// A session is over, and is dropped.
    Drop(Session),
    /// The trade is shown.
    Show,
    /// The catalog crashes and comes back.
    RestartCatalog,
    /// Its start-up wait ends.
    EndWait,
    /// A front-end crashes and comes back.
    CrashFront(Index),
}

impl World {
    /// The possible next steps.
    pub fn offer(&self, config: &Config, actions: &mut Vec<Action>) {
        if self.ticks < config.ticks {
            actions.push(Action::Tick(None));
            let quick =
                (0..self.fronts.len()).filter(|front| config.skew && !self.fronts[*front].slow);
            actions.extend(quick.map(|front| Action::Tick(Some(front))));
        }
        for front in 0..self.fronts.len() {
            self.offer_reads(config, front, actions);
            self.offer_session(config, front, actions);
            if self.front_crashes < config.front_crashes {
                actions.push(Action::CrashFront(front));
            }
        }
        actions.extend(
            self.strays
                .iter()
                .map(|(session, registers)| Action::ServeStray(*session, *registers)),
        );
        self.offer_catalog(config, actions);
    }

    fn offer_reads(&self, config: &Config, own: Index, actions: &mut Vec<Action>) {
        let front = &self.fronts[own];
        if front.misses < config.misses && self.cached(own).is_none() {
            actions.push(Action::Arrive(own));
        }
        if front.waiting.is_some() && front.calls.len() < config.calls {
            actions.push(Action::StartCall(own));
        }
        for (i, call) in front.calls.iter().enumerate() {
            match call.answer {
                None if self.catalog.serving() => actions.push(Action::Tell(own, i)),
                None => {}
                Some(_) => actions.push(Action::Finish(own, i)),
            }
        }
        if !config.rules.lease_before_entry {
            match front.taken {
                None if front.cache.entry().is_some() => actions.push(Action::TakeEntry(own)),
                None => {}
                Some(_) => actions.push(Action::CheckLease(own)),
            }
        }
    }

    fn offer_session(&self, config: &Config, own: Index, actions: &mut Vec<Action>) {
        let front = &self.fronts[own];
        match front.asking {
            None if front.cache.current.is_none() && front.registrations < config.registrations => {
                actions.push(Action::Register(own));
            }
            None if front.cache.current.is_some() && front.keep_alives < config.keep_alives => {
                actions.push(Action::KeepAlive(own));
            }
            None => {}
            Some(Asking { answer: None, .. }) => {
                actions.extend([Action::Serve(own), Action::GiveUp(own)])
            }
            Some(_) => actions.extend([Action::TakeAnswer(own), Action::GiveUp(own)]),
        }
    }

    fn offer_catalog(&self, config: &Config, actions: &mut Vec<Action>) {
        let catalog = &self.catalog;
        match &catalog.batch {
            None if catalog.serving() && catalog.durable < config.trades => {
                actions.push(Action::BeginTrade)
            }
            None => {}
            Some(batch) if !batch.listed => actions.push(Action::ListSessions),
            Some(_) if !catalog.changing => actions.push(Action::MarkLate),
            Some(batch) => {
                if !batch.committed {
                    actions.push(Action::Commit);
                } else if batch.outstanding.is_empty() || !config.rules.acknowledged_before_shown {
                    actions.push(Action::Show);
                }
            }
        }
        for (session, acknowledged) in catalog.batch.iter().flat_map(|batch| &batch.outstanding) {
            let action = if *acknowledged {
                Action::Acknowledge
            } else {
                Action::Push
            };
            actions.push(action(*session));
        }
        actions.extend(
            self.sessions()
                .filter(|session| self.is_over(config, *session))
                .map(Action::Drop),
        );
        if self.restarts < config.restarts {
            actions.push(Action::RestartCatalog);
        }
        if catalog.waits_until.is_some_and(|until| self.now >= until) {
            actions.push(Action::EndWait);
        }
    }

    /// The sessions that the catalog knows.
    fn sessions(&self) -> impl Iterator<Item = Session> {
        let chosen = self
            .fronts
            .iter()
            .enumerate()
            .flat_map(|(own, front)| (1..=front.registrations).map(move |n| (own, n)));
        chosen.filter(|session| self.catalog.table.over_at(&id(*session)).is_some())
    }

    /// Whether the catalog may drop a session.
    pub fn is_over(&self, config: &Config, session: Session) -> bool {
        let margin = if config.rules.margin {
            std::time::Duration::ZERO
        } else {
            LEASE_MARGIN
        };
        self.catalog
            .table
            .over_at(&id(session))
            .is_some_and(|over| self.now >= over - margin)
    }

    /// Takes one step.
    pub fn take(&mut self, config: &Config, action: Action) {
        match action {
            Action::Tick(slows) => {
                self.now = self.now + TICK;
                self.ticks = self.ticks.saturating_add(1);
                if let Some(front) = slows {
                    self.fronts[front].slow = true;
                }
            }
            Action::Arrive(own) => self.arrive(config, own),
            Action::StartCall(own) => {
                let front = &mut self.fronts[own];
                let Some(floor) = front.waiting.take() else {
                    return;
                };
                let fill = front.cache.begin_fill();
                front.calls.push(Call {
                    floor,
                    fill,
                    answer: None,
                });
            }
            Action::Tell(own, i) => {
                let cacheable = !self.catalog.changing || !config.rules.marked_is_not_cached;
                self.fronts[own].calls[i].answer = Some((self.catalog.shown, cacheable));
            }
            Action::Finish(own, i) => self.finish(own, i),
            Action::TakeEntry(own) => {
                let shown = self.catalog.shown;
                self.fronts[own].taken = self.fronts[own].cache.entry().map(|entry| (entry, shown));
            }
            Action::CheckLease(own) => {
                let clock = self.clock(own);
                let front = &mut self.fronts[own];
                let Some((entry, shown)) = front.taken.take() else {
                    return;
                };
                self.stale |= front.cache.leased(clock) && entry < shown;
            }
            Action::CrashFront(own) => {
                self.front_crashes += 1;
                self.give_up(own);
                self.fronts[own].crash();
            }
            _ => self.take_of_sessions(config, action),
        }
        for front in &mut self.fronts {
            if front.calls.is_empty() {
                front.cache.reset_counts();
            }
        }
    }

    fn arrive(&mut self, config: &Config, own: Index) {
        let shown = self.catalog.shown;
        let front = &mut self.fronts[own];
        front.misses += 1;
        match front.calls.last_mut() {
            Some(call) if !config.rules.joiners_wait => call.floor = shown,
            _ => front.waiting = Some(shown),
        }
    }

    fn finish(&mut self, own: Index, i: usize) {
        let front = &mut self.fronts[own];
        let Call {
            floor,
            fill,
            answer,
        } = front.calls.remove(i);
        let Some((value, cacheable)) = answer else {
            return;
        };
        // A reader accepts the value that was visible when it came, or a later one.
        self.stale |= value < floor;
        front
            .cache
            .finish_fill(fill, Some(value).filter(|_| cacheable));
    }

    fn take_of_sessions(&mut self, config: &Config, action: Action) {
        match action {
            Action::Register(own) => {
                let asked = self.clock(own);
                let front = &mut self.fronts[own];
                front.registrations += 1;
                let session = (own, front.registrations);
                front.cache.begin_session(session);
                front.asking = Some(Asking {
                    session,
                    registers: true,
                    asked,
                    answer: None,
                });
            }
            Action::KeepAlive(own) => {
                let asked = self.clock(own);
                let front = &mut self.fronts[own];
                let Some(session) = front.cache.current else {
                    return;
                };
                front.keep_alives = front.keep_alives.saturating_add(1);
                front.asking = Some(Asking {
                    session,
                    registers: false,
                    asked,
                    answer: None,
                });
            }
            Action::Serve(own) => {
                let Some(asking) = self.fronts[own].asking else {
                    return;
                };
                let answer = self.serve(config, asking.session, asking.registers);
                if let Some(asking) = self.fronts[own].asking.as_mut() {
                    asking.answer = Some(answer);
                }
            }
            Action::TakeAnswer(own) => self.take_answer(config, own),
            Action::GiveUp(own) => self.give_up(own),
            Action::ServeStray(session, registers) => {
                self.strays.retain(|stray| *stray != (session, registers));
                let _unheard = self.serve(config, session, registers);
            }
            _ => self.take_of_catalog(config, action),
        }
    }

    /// The catalog answers a registration, after its probe push, or a keep-alive.
    fn serve(&mut self, config: &Config, session: Session, registers: bool) -> Answer {
        let now = self.now;
        if registers {
            let cache = &self.fronts[session.0].cache;
            let probed = cache.pending == Some(session) || cache.current == Some(session);
            let granted = probed && self.catalog.table.grant(id(session), now);
            return if granted {
                Answer::Granted
            } else {
                Answer::Unknown
            };
        }
        if !config.rules.silent_is_not_renewed && self.catalog.table.over_at(&id(session)).is_some()
        {
            self.catalog.table.push_answered(&id(session));
        }
        match self.catalog.table.keep_alive(&id(session), now) {
            KeepAlive::Renewed => Answer::Granted,
            KeepAlive::NotRenewed => Answer::NotRenewed,
            KeepAlive::Unknown => Answer::Unknown,
        }
    }

    fn take_answer(&mut self, config: &Config, own: Index) {
        let clock = self.clock(own);
        let front = &mut self.fronts[own];
        let Some(Asking {
            session,
            registers,
            asked,
            answer: Some(answer),
        }) = front.asking.take()
        else {
            return;
        };
        let lease_end = if config.rules.lease_from_asking {
            asked
        } else {
            clock
        } + LEASE;
        match (answer, registers) {
            (Answer::Granted, true) => front.cache.install_session(&config.rules, lease_end),
            (Answer::Granted, false) => front.cache.renew(session, lease_end),
            (Answer::Unknown, false) => front.cache.lose(session),
            (Answer::NotRenewed, _) | (Answer::Unknown, true) => {}
        }
    }

    /// A request that was not answered may arrive later.
    fn give_up(&mut self, own: Index) {
        if let Some(Asking {
            session,
            registers,
            answer: None,
            ..
        }) = self.fronts[own].asking.take()
        {
            self.strays.push((session, registers));
            self.strays.sort_unstable();
            self.strays.dedup();
        }
    }

    fn take_of_catalog(&mut self, config: &Config, action: Action) {
        let now = self.now;
        let known: Vec<Session> = self.sessions().collect();
        let catalog = &mut self.catalog;
        match action {
            Action::BeginTrade => {
                catalog.batch = Some(Batch::default());
                catalog.changing = config.rules.mark_before_list;
            }
            Action::ListSessions => {
                known
                    .iter()
                    .for_each(|session| catalog.table.push_begun(&id(*session), now));
                let Some(batch) = catalog.batch.as_mut() else {
                    return;
                };
                batch.listed = true;
                batch.outstanding = known.into_iter().map(|session| (session, false)).collect();
            }
            Action::MarkLate => catalog.changing = true,
            Action::Commit => {
                let Some(batch) = catalog.batch.as_mut() else {
                    return;
                };
                batch.committed = true;
                catalog.durable += 1;
            }
            Action::Push(session) => self.push(config, session),
            Action::Acknowledge(session) => {
                catalog.table.push_answered(&id(session));
                catalog.settle(session);
            }
            Action::Drop(session) => {
                catalog.table.remove(&id(session));
                catalog.settle(session);
            }
            Action::Show => {
                catalog.shown = catalog.durable;
                catalog.changing = false;
                catalog.batch = None;
            }
            Action::RestartCatalog => {
                self.restarts += 1;
                catalog.restart(
                    config
                        .rules
                        .wait_after_start
                        .then(|| now + LEASE + LEASE_MARGIN),
                );
            }
            Action::EndWait => {
                catalog.waits_until = None;
                catalog.shown = catalog.durable;
            }
            other => unreachable!("taken elsewhere: {other:?}"),
        }
    }

    /// A push arrives. One for a session that the front-end does not use is refused, which ends
    /// that session at once.
    fn push(&mut self, config: &Config, session: Session) {
        if self.fronts[session.0]
            .cache
            .invalidate(&config.rules, session)
        {
            let outstanding = self
                .catalog
                .batch
                .iter_mut()
                .flat_map(|batch| &mut batch.outstanding);
            outstanding
                .filter(|(other, _)| *other == session)
                .for_each(|(_, acknowledged)| *acknowledged = true);
        } else {
            self.catalog.table.remove(&id(session));
            self.catalog.settle(session);
        }
    }
}
