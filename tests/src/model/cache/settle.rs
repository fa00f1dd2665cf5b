//! Liveness as a property of each state: a run from it, in which nothing more goes wrong, answers
//! every reader and shows the trade under way; if there is none, one that begins now. The run is
//! the model's own steps in a fixed sequence.

use super::config::{Config, Index};
use super::step::Action;
use super::world::World;

/// The part that stays broken while the run lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    /// Nothing.
    Healed,
    /// Pushes do not arrive at this front-end, whose own requests arrive and are answered.
    Silent(Index),
}

/// Steps within which a run ends: a few leases.
const PATIENCE: usize = 120;

impl World {
    /// Whether the run ends well.
    #[must_use]
    pub fn settles(&self, config: &Config, continuation: Continuation) -> bool {
        let mut world = self.clone();
        let mut traded = false;
        for _ in 0..PATIENCE {
            if world.catalog.batch.is_none() && world.catalog.serving() {
                let waits = world
                    .fronts
                    .iter()
                    .any(|front| front.waiting.is_some() || !front.calls.is_empty());
                if traded && !waits {
                    return true;
                }
                if !traded {
                    traded = true;
                    world.take(config, Action::BeginTrade);
                    continue;
                }
            }
            traded |= world.catalog.batch.is_some();
            let next = world
                .next_reads()
                .or_else(|| world.next_trade(config, continuation));
            match next {
                Some(action) => world.take(config, action),
                None => world.let_time_pass(config, continuation),
            }
        }
        false
    }

    fn next_reads(&self) -> Option<Action> {
        (0..self.fronts.len()).find_map(|own| {
            let front = &self.fronts[own];
            let call = front
                .calls
                .iter()
                .position(|call| call.answer.is_some() || self.catalog.serving());
            match (call, front.waiting) {
                (Some(i), _) if front.calls[i].answer.is_some() => Some(Action::Finish(own, i)),
                (Some(i), _) => Some(Action::Tell(own, i)),
                (None, Some(_)) => Some(Action::StartCall(own)),
                (None, None) => None,
            }
        })
    }

    fn next_trade(&self, config: &Config, continuation: Continuation) -> Option<Action> {
        let catalog = &self.catalog;
        let Some(batch) = &catalog.batch else {
            return catalog
                .waits_until
                .filter(|until| self.now >= *until)
                .map(|_| Action::EndWait);
        };
        if !batch.listed {
            return Some(Action::ListSessions);
        }
        if !catalog.changing {
            return Some(Action::MarkLate);
        }
        if !batch.committed {
            return Some(Action::Commit);
        }
        let mut outstanding = batch.outstanding.iter();
        if batch.outstanding.is_empty() {
            return Some(Action::Show);
        }
        outstanding.find_map(|(session, acknowledged)| match *acknowledged {
            true => Some(Action::Acknowledge(*session)),
            false if continuation != Continuation::Silent(session.0) => {
                Some(Action::Push(*session))
            }
            false => self
                .is_over(config, *session)
                .then_some(Action::Drop(*session)),
        })
    }

    /// Nothing else moves: a front-end that is cut off one way goes on to renew its lease while
    /// time goes by.
    fn let_time_pass(&mut self, config: &Config, continuation: Continuation) {
        if let Continuation::Silent(own) = continuation {
            for action in [
                Action::GiveUp(own),
                Action::KeepAlive(own),
                Action::Serve(own),
                Action::TakeAnswer(own),
            ] {
                if action != Action::KeepAlive(own) || self.fronts[own].cache.current.is_some() {
                    self.take(config, action);
                }
            }
        }
        self.take(config, Action::Tick(None));
    }
}
