//! The effects of the actions.

use super::action::Action;
use super::catalog::Verdict;
use super::config::{Config, Index, Key};
use super::replica::{Waiter, id, index};
use super::state::{Broken, Message, Query, State};
use common::wire::catalog::TermInfo;
use common::wire::order::Term;
use order::leading::commit::{Ended, Outcome, Progress};

impl State {
    /// Takes one step.
    pub fn take(&mut self, config: &Config, action: &Action) {
        match action {
            Action::Send { key, to } => self.send(*key, *to),
            Action::AskToLead(to) => self.ask_to_lead(*to),
            Action::Deliver(message) => {
                self.net.retain(|m| m != message);
                self.deliver(config, message);
            }
            Action::DeliverTwice(message) => {
                self.faults.duplicates -= 1;
                self.deliver(config, message);
            }
            Action::GiveUpCall(own) => {
                self.faults.missed_answers = self.faults.missed_answers.saturating_sub(1);
                if let Some(pipeline) = self.replicas[*own].pipeline.as_mut() {
                    pipeline.call = None;
                }
            }
            Action::Write(own) => self.write(*own),
            Action::Replicate { from, to, heard } => self.replicate(config, *from, *to, *heard),
            Action::LoseSync { leader, follower } => self.lose_sync(*leader, *follower),
            Action::Fetch(own) => self.fetch(config, *own),
            Action::ReadTerm(own) => {
                let info = self.catalog.term_info();
                self.replicas[*own].observe_term(info);
            }
            Action::Crash(own) => {
                self.faults.crashes -= 1;
                self.crash(*own);
            }
            Action::LoseFile(own) => {
                self.faults.file_losses -= 1;
                self.crash(*own);
                self.replicas[*own].log.clear();
                self.replicas[*own].lost = true;
            }
            Action::RestartCatalog => {
                self.faults.catalog_restarts -= 1;
                self.catalog.restart();
            }
            Action::EndWait => self.catalog.serving = true,
            Action::Look(replica) => {
                let led = self.replicas[*replica].role.led_term();
                self.query = Some(Query {
                    replica: *replica,
                    led,
                });
            }
            Action::ConfirmMissing => self.confirm_missing(config),
        }
    }

    fn send(&mut self, key: Key, to: Index) {
        if self.clients[usize::from(key)].sent == 0 {
            let from = Self::rows(&self.catalog.journal);
            let accepted = |(other, client): (usize, &super::state::Client)| match client.verdict {
                Some(Verdict::Accepted(_)) => 1 << other,
                _ => 0,
            };
            let after = self.clients.iter().enumerate().map(accepted).sum();
            let client = &mut self.clients[usize::from(key)];
            (client.from, client.after) = (from, after);
        }
        self.clients[usize::from(key)].sent += 1;
        self.post(Message::Order { key, to });
    }

    fn ask_to_lead(&mut self, to: Index) {
        let seen = self.catalog.term_info().term;
        self.replicas[to].claimed = Some(seen);
        let rows = Self::rows(&self.replicas[to].log);
        self.post(Message::Claim {
            from: to,
            seen,
            rows,
        });
    }

    fn deliver(&mut self, config: &Config, message: &Message) {
        match *message {
            Message::Order { key, to } => self.take_order(config, key, to),
            Message::Trade {
                from,
                term,
                rows,
                key,
            } => self.trade(config, from, term, rows, key),
            Message::Traded {
                to,
                term,
                call,
                verdict,
                ref rows,
            } => {
                self.take_answer(config, to, term, call, verdict, rows);
            }
            Message::Claim { from, seen, rows } => self.claim(from, seen, rows),
            Message::Granted { to, term, end } => self.take_grant(config, to, term, end),
            Message::Reply { key, verdict } => self.tell(config, key, verdict),
        }
    }

    /// The leader sends an order to the catalog, with its term and what it received. A replica that
    /// does not lead, or waits for another call, sends the order back or lets it wait; both are the
    /// same as if it had not come yet.
    fn take_order(&mut self, config: &Config, key: Key, to: Index) {
        let Some(pipeline) = self.replicas[to].pipeline.as_mut() else {
            return;
        };
        if pipeline.call.is_some() {
            return self.post(Message::Order { key, to });
        }
        if !pipeline.tracker.has_enough_copies() {
            return;
        }
        if !config.rules.dedupe_at_catalog {
            // A table of the newest row only, as every table that is trimmed is at some time.
            let newest = pipeline
                .received
                .len()
                .checked_sub(1)
                .filter(|last| pipeline.received[*last] == key);
            if let Some(number) = newest {
                let done =
                    pipeline.submit((key, Verdict::Accepted(super::catalog::number(number))));
                return self.answer(to, done);
            }
        }
        let rows = Self::rows(&pipeline.received);
        pipeline.call = Some((key, rows));
        let term = pipeline.term;
        self.post(Message::Trade {
            from: to,
            term,
            rows,
            key,
        });
    }

    fn trade(&mut self, config: &Config, from: Index, term: Term, rows: u8, key: Key) {
        if config.rules.fencing && term != self.catalog.term_info().term {
            return;
        }
        if !self.catalog.serving {
            // Kept until the wait ends, as on its way.
            return self.post(Message::Trade {
                from,
                term,
                rows,
                key,
            });
        }
        if usize::from(rows) > self.catalog.journal.len() {
            self.broken.insert(Broken::HistoryLost);
        }
        let before = self.catalog.journal.len();
        let verdict = self.catalog.trade(config, key);
        if self.catalog.journal.len() > before && term < self.catalog.term_info().term {
            self.broken.insert(Broken::OldTermTraded);
        }
        let first = if config.rules.rows_from_last {
            usize::from(rows)
        } else {
            before
        };
        let rows_sent = self
            .catalog
            .journal
            .get(first..)
            .unwrap_or_default()
            .to_vec();
        self.post(Message::Traded {
            to: from,
            term,
            call: (key, rows),
            verdict,
            rows: rows_sent,
        });
    }

    fn take_answer(
        &mut self,
        config: &Config,
        to: Index,
        term: Term,
        call: (Key, u8),
        verdict: Verdict,
        rows: &[Key],
    ) {
        let Some(pipeline) = self.replicas[to].pipeline.as_mut() else {
            return;
        };
        if pipeline.term != term || pipeline.call != Some(call) {
            return;
        }
        pipeline.call = None;
        pipeline.received.extend(rows);
        if !config.rules.durable_before_answer {
            self.post(Message::Reply {
                key: call.0,
                verdict,
            });
            return self.acknowledge(to, verdict);
        }
        let done = pipeline.submit((call.0, verdict));
        self.answer(to, done);
    }

    fn claim(&mut self, from: Index, seen: Term, rows: u8) {
        if usize::from(rows) > self.catalog.journal.len() {
            self.broken.insert(Broken::HistoryLost);
        }
        if let Some(term) = self.catalog.claim(id(from), seen) {
            let end = Self::rows(&self.catalog.journal);
            self.post(Message::Granted {
                to: from,
                term,
                end,
            });
        }
    }

    fn take_grant(&mut self, config: &Config, to: Index, term: Term, end: u8) {
        let replica = &mut self.replicas[to];
        if replica.claimed != Some(term - 1) {
            return;
        }
        replica.claimed = None;
        match replica.role.begin_claim(term, id(to)) {
            Ok(Some(_)) => replica.pipeline = None,
            Ok(None) => {}
            // It has heard of a newer term.
            Err(_) => return,
        }
        replica.wanted = end;
        replica.try_lead(to, config.min_copies, config.rules.complete_before_leading);
    }

    fn fetch(&mut self, config: &Config, own: Index) {
        let journal = &self.catalog.journal;
        let replica = &mut self.replicas[own];
        if journal.len() > replica.log.len() {
            replica.log = journal.clone();
        }
        replica.try_lead(own, config.min_copies, config.rules.complete_before_leading);
    }

    fn write(&mut self, own: Index) {
        let replica = &mut self.replicas[own];
        let Some(pipeline) = replica.pipeline.as_mut() else {
            return;
        };
        replica.log.clone_from(&pipeline.received);
        let done = pipeline.tracker.local_durable(replica.log.len() as u64);
        self.answer(own, done);
    }

    fn replicate(&mut self, config: &Config, from: Index, named: Index, heard: bool) {
        let Some(leader) = &self.replicas[from].pipeline else {
            return;
        };
        let to = match config.misdirected {
            // Its answer has another id than the settings name.
            Some((url, _)) if url == named && config.rules.identify_followers => return,
            Some((url, other)) if url == named => other,
            _ => named,
        };
        let (term, received) = (leader.term, leader.received.clone());
        let known = self.replicas[to].role.known();
        if known.term > term {
            if heard {
                self.replicas[from].observe_term(known);
            }
            return;
        }
        let follower = &mut self.replicas[to];
        follower.observe_term(TermInfo {
            term,
            owner: Some(id(from)),
        });
        let both = follower.log.len().min(received.len());
        if follower.log[..both] != received[..both] {
            self.broken.insert(Broken::Contradiction);
            return;
        }
        if received.len() > follower.log.len() {
            follower.log.clone_from(&received);
        }
        let progress = Progress {
            rows: follower.log.len() as u64,
            enough: received.len() as u64,
        };
        if let (true, Some(leader)) = (heard, self.replicas[from].pipeline.as_mut()) {
            let done = leader.tracker.follower_durable(id(named), progress);
            self.answer(from, done);
        }
    }

    fn lose_sync(&mut self, leader: Index, follower: Index) {
        self.faults.missed_followers = self.faults.missed_followers.saturating_sub(1);
        if let Some(pipeline) = self.replicas[leader].pipeline.as_mut() {
            let (_, done) = pipeline.tracker.follower_lost(id(follower));
            self.answer(leader, done);
        }
    }

    fn crash(&mut self, own: Index) {
        self.replicas[own].crash();
        if self.query.is_some_and(|query| query.replica == own) {
            self.query = None;
        }
    }

    /// Answers whose rows are durable. Too few copies leave the outcome unknown.
    fn answer(&mut self, leader: Index, done: Ended<Waiter>) {
        for ((key, verdict), outcome) in done {
            if outcome == Outcome::Durable {
                self.post(Message::Reply { key, verdict });
                self.acknowledge(leader, verdict);
            }
        }
    }

    fn acknowledge(&mut self, leader: Index, verdict: Verdict) {
        let Verdict::Accepted(number) = verdict else {
            return;
        };
        self.acknowledged |= 1 << number;
        let Some(pipeline) = &self.replicas[leader].pipeline else {
            return;
        };
        let durable = |replica: Index| {
            let replica = &self.replicas[replica];
            replica.lost || replica.log.len() > usize::from(number)
        };
        if !(durable(leader)
            && pipeline
                .tracker
                .in_sync()
                .all(|follower| durable(index(follower))))
        {
            self.broken.insert(Broken::AcknowledgedTooEarly);
        }
    }
}
