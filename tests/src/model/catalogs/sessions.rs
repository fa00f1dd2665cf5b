//! The effects of the steps between front-ends and catalogs.

use super::action::Action;
use super::catalog::Session;
use super::config::{Config, Index};
use super::front::{Answer, Call};
use super::world::{Broken, World};

impl World {
    /// Takes one step of a front-end, or of a catalog with its sessions.
    pub(super) fn take_of_sessions(&mut self, config: &Config, action: &Action) {
        match *action {
            Action::Push(own, session) => {
                // A session that the front-end does not know is refused, which ends it.
                if self.fronts[session.0].knows(session) {
                    self.fronts[session.0].entry = None;
                    self.fronts[session.0].fill = None;
                    self.catalogs[own].settle(session);
                } else {
                    self.catalogs[own].forget_session(session);
                }
            }
            Action::Drop(own, session) => self.catalogs[own].forget_session(session),
            Action::End(own, session) => {
                if !config.old_fronts {
                    self.end_by_catalog(config, session);
                }
                self.catalogs[own].forget_session(session);
            }
            Action::Register(own, to) => {
                let session = self.fresh_session(config, own);
                self.fronts[own].registrations = self.fronts[own].registrations.saturating_sub(1);
                self.fronts[own].pending = Some(Call {
                    session,
                    to,
                    lease: Some(0),
                    answer: None,
                });
            }
            Action::Grant(own) => self.grant(config, own),
            Action::Install(own) => self.install(own),
            Action::GiveUpRegistration(own) => {
                let call = self.fronts[own].pending.take();
                let late = call.filter(|c| !config.rules.new_session_ids && c.answer.is_none());
                if let Some(call) = late {
                    self.strays.push((call.session, call.to));
                    self.strays.sort_unstable();
                    self.strays.dedup();
                }
            }
            Action::GrantStray(session, to) => {
                self.strays.retain(|stray| *stray != (session, to));
                self.add_session(to, session);
            }
            Action::KeepAlive(own, to) => {
                if let Some(session) = self.fronts[own].session {
                    self.fronts[own].keep_alive = Some(Call {
                        session,
                        to,
                        lease: Some(0),
                        answer: None,
                    });
                }
            }
            Action::AnswerKeepAlive(own) => self.answer_keep_alive(config, own),
            Action::TakeKeepAlive(own) => self.take_keep_alive(own),
            _ => self.take_of_front(config, action),
        }
    }

    fn take_of_front(&mut self, config: &Config, action: &Action) {
        match *action {
            Action::Fill(own, from) => self.fronts[own].fill = Some(self.visible(from)),
            Action::StoreFill(own) => {
                let front = &mut self.fronts[own];
                front.entry = front.fill.take();
            }
            Action::Read(own, from) => self.read(config, own, from),
            Action::StopFront(own) => {
                self.faults.front_stops = self.faults.front_stops.saturating_sub(1);
                self.post_ends(own);
                let pending = self.fronts[own].pending.take();
                self.fronts[own].forget();
                if !config.rules.forgets_pending {
                    self.fronts[own].pending = pending;
                }
            }
            Action::SendEnd(own) => {
                self.faults.front_stops = self.faults.front_stops.saturating_sub(1);
                self.post_ends(own);
                self.fronts[own].stopping = true;
            }
            Action::ForgetLate(own) => self.fronts[own].restart(),
            Action::EndByFront(session, to) => {
                self.ends.retain(|end| *end != (session, to));
                self.catalogs[to].forget_session(session);
            }
            Action::CrashFront(own) => {
                self.faults.front_crashes = self.faults.front_crashes.saturating_sub(1);
                self.fronts[own].restart();
            }
            ref other => unreachable!("taken elsewhere: {other:?}"),
        }
    }

    /// The end of a session arrives at its front-end, which takes it like "unknown session".
    fn end_by_catalog(&mut self, config: &Config, session: Session) {
        let front = &mut self.fronts[session.0];
        if front.session == Some(session) {
            front.forget();
        }
        if front.is_pending(session) && config.rules.end_counts_for_pending {
            front.pending = None;
        }
    }

    fn post_ends(&mut self, own: Index) {
        let front = &self.fronts[own];
        let pending = front.pending.map(|call| call.session);
        for session in front.session.into_iter().chain(pending) {
            for (to, catalog) in self.catalogs.iter().enumerate() {
                if catalog.sessions.contains(&session) {
                    self.ends.push((session, to));
                }
            }
        }
        self.ends.sort_unstable();
        self.ends.dedup();
    }

    fn add_session(&mut self, catalog: Index, session: Session) {
        let sessions = &mut self.catalogs[catalog].sessions;
        if let Err(place) = sessions.binary_search(&session) {
            sessions.insert(place, session);
        }
    }

    /// A lease that the catalog grants ends with its own.
    fn cap(&self, config: &Config, catalog: Index, call: &mut Call) {
        let own = self.catalogs[catalog].lease;
        if let (true, Some(lease), Some(own)) =
            (config.rules.sessions_are_capped, &mut call.lease, own)
        {
            *lease |= own;
        }
        call.answer = Some(Answer::Granted);
    }

    fn grant(&mut self, config: &Config, own: Index) {
        if let Some(mut call) = self.fronts[own].pending {
            self.add_session(call.to, call.session);
            self.cap(config, call.to, &mut call);
            self.fronts[own].pending = Some(call);
        }
    }

    fn install(&mut self, own: Index) {
        let front = &mut self.fronts[own];
        if let Some(call) = front.pending.take() {
            front.forget();
            front.session = Some(call.session);
            front.lease = call.lease;
        }
    }

    fn answer_keep_alive(&mut self, config: &Config, own: Index) {
        let Some(mut call) = self.fronts[own].keep_alive else {
            return;
        };
        if self.catalogs[call.to].sessions.contains(&call.session) {
            self.cap(config, call.to, &mut call);
        } else {
            call.answer = Some(Answer::Unknown);
        }
        self.fronts[own].keep_alive = Some(call);
    }

    fn take_keep_alive(&mut self, own: Index) {
        let front = &mut self.fronts[own];
        let Some(call) = front.keep_alive.take() else {
            return;
        };
        if front.session != Some(call.session) {
            return;
        }
        if call.answer == Some(Answer::Unknown) {
            front.forget();
        } else if call.lease.is_some() {
            front.lease = call.lease;
        }
    }

    fn read(&mut self, config: &Config, own: Index, from: Index) {
        let value = self.visible(from);
        let Some(epoch) = self.catalogs[from].epoch() else {
            return;
        };
        let front = &mut self.fronts[own];
        if epoch < front.seen.0 && config.rules.older_epochs_are_refused {
            return;
        }
        if value < front.seen.1 && epoch < front.seen.0 {
            self.broken.insert(Broken::WentBack);
        }
        front.seen = (epoch.max(front.seen.0), value.max(front.seen.1));
    }
}
