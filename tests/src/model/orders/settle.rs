//! Liveness as a property of each state: a run from it, in which nothing more goes wrong, answers
//! every order that was sent. The run is the model's own steps in a fixed sequence, chosen as the
//! services choose them: whoever can go on does, and a front-end asks the highest replica to lead
//! when none does. stateright's `eventually` would not do, since it ignores runs that end in a
//! circle.

use super::action::Action;
use super::config::{Config, Index, Key, REPLICAS};
use super::replica::id;
use super::state::{Message, State};

/// The part that stays broken while the run lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    /// Nothing.
    Healed,
    /// Every replica but this one is down.
    Alone(Index),
    /// This replica does not reach the catalog. Front-ends and the other replicas reach it.
    CutOff(Index),
}

/// Steps within which a run of a few orders ends.
const PATIENCE: usize = 400;

impl Continuation {
    fn alive(self, replica: Index) -> bool {
        if let Self::Alone(survivor) = self {
            survivor == replica
        } else {
            true
        }
    }

    fn reaches_catalog(self, replica: Index) -> bool {
        self.alive(replica) && self != Self::CutOff(replica)
    }

    /// Whether a message can arrive.
    fn passes(self, message: &Message) -> bool {
        match *message {
            Message::Order { to, .. } => self.alive(to),
            // Messages that the dead sent before may still arrive.
            Message::Trade { from, .. } | Message::Claim { from, .. } => self != Self::CutOff(from),
            Message::Traded { to, .. } | Message::Granted { to, .. } => self.reaches_catalog(to),
            Message::Reply { .. } => true,
        }
    }
}

impl State {
    /// Whether every order that was sent is answered in the end; if none waits, whether one that is
    /// sent now is.
    #[must_use]
    pub fn settles(&self, config: &Config, world: Continuation) -> bool {
        let mut state = self.clone();
        if let Continuation::Alone(survivor) = world {
            for dead in (0..REPLICAS).filter(|replica| *replica != survivor) {
                state.replicas[dead].crash();
            }
        }
        let fresh = (0..)
            .zip(&state.clients)
            .find(|(_, client)| client.sent == 0)
            .map(|(key, _)| key);
        let mut wanted: Vec<Key> = state.outstanding().collect();
        if wanted.is_empty() {
            wanted.extend(fresh);
        }
        let mut passed_over = Vec::new();
        for _ in 0..PATIENCE {
            wanted.retain(|key| state.clients[usize::from(*key)].verdict.is_none());
            if wanted.is_empty() {
                return true;
            }
            state.net.retain(|message| world.passes(message));
            let next = state
                .next_delivery()
                .or_else(|| state.next_work(config, world));
            let Some(next) =
                next.or_else(|| state.next_choice(config, world, &wanted, &mut passed_over))
            else {
                return false;
            };
            state.take(config, &next);
        }
        false
    }

    /// Every message on its way arrives, once the catalog serves.
    fn next_delivery(&self) -> Option<Action> {
        if !self.catalog.serving {
            return Some(Action::EndWait);
        }
        // An order that its leader cannot take yet lets others pass.
        let takes = |message: &&Message| match message {
            Message::Order { to, .. } => self.replicas[*to]
                .pipeline
                .as_ref()
                .is_none_or(|p| p.call.is_none()),
            _ => true,
        };
        self.net
            .iter()
            .find(takes)
            .map(|message| Action::Deliver(message.clone()))
    }

    /// The steps that replicas take by themselves.
    fn next_work(&self, config: &Config, world: Continuation) -> Option<Action> {
        (0..REPLICAS)
            .filter(|own| world.alive(*own))
            .find_map(|own| self.next_work_of(config, own, world))
    }

    fn next_work_of(&self, config: &Config, own: Index, world: Continuation) -> Option<Action> {
        let replica = &self.replicas[own];
        let current = self.catalog.term_info().term;
        let busy = replica.role.claiming().is_some() || replica.pipeline.is_some();
        if busy && replica.role.known().term < current && world.reaches_catalog(own) {
            return Some(Action::ReadTerm(own));
        }
        if replica.role.claiming().is_some() && world.reaches_catalog(own) {
            return Some(Action::Fetch(own));
        }
        let pipeline = replica.pipeline.as_ref()?;
        if pipeline.call.is_some() {
            return Some(Action::GiveUpCall(own));
        }
        if pipeline.received.len() > replica.log.len() {
            return Some(Action::Write(own));
        }
        (0..REPLICAS)
            .filter(|other| *other != own)
            .find_map(|other| {
                let in_sync = pipeline.tracker.in_sync().any(|f| f == id(other));
                let elsewhere = config.misdirected.is_some_and(|(url, _)| url == other);
                if !world.alive(other) || elsewhere && config.rules.identify_followers {
                    return in_sync.then_some(Action::LoseSync {
                        leader: own,
                        follower: other,
                    });
                }
                let behind = self.replicas[other].log.len() < pipeline.received.len();
                let newer = self.replicas[other].role.known().term > pipeline.term;
                let needed =
                    behind || !in_sync && !self.is_ahead(other, own) || self.waits_for(own, other);
                (needed || newer).then_some(Action::Replicate {
                    from: own,
                    to: other,
                    heard: true,
                })
            })
    }

    fn is_ahead(&self, other: Index, leader: Index) -> bool {
        let received = self.replicas[leader]
            .pipeline
            .as_ref()
            .map_or(0, |pipeline| pipeline.received.len());
        self.replicas[other].log.len() > received
    }

    /// When nothing else moves, a front-end sends to the leader, or asks for one.
    fn next_choice(
        &self,
        config: &Config,
        world: Continuation,
        wanted: &[Key],
        passed_over: &mut Vec<Index>,
    ) -> Option<Action> {
        // Only who reaches the catalog says in its health that it leads.
        if let Some(leader) = self
            .leader()
            .filter(|leader| world.reaches_catalog(*leader))
        {
            return Some(Action::Send {
                key: wanted[0],
                to: leader,
            });
        }
        loop {
            let candidate = (0..REPLICAS)
                .rev()
                .find(|c| world.alive(*c) && !passed_over.contains(c))?;
            let cut_off = !world.reaches_catalog(candidate);
            if cut_off
                && self.replicas[candidate].pipeline.is_some()
                && !config.rules.unreachable_leader_refuses
            {
                // It answers that it leads, is adopted, is found not to say so in its health, is
                // asked again: for ever.
                return None;
            }
            if !cut_off {
                return Some(Action::AskToLead(candidate));
            }
            // Its claim fails: the others are asked first from now on.
            passed_over.push(candidate);
        }
    }
}
