//! The order protocol (the essay in `order/src/lib.rs`) as a state machine.
//!
//! | module | one idea |
//! |---|---|
//! | [`config`] | what is explored: orders, budgets of faults, and the rules with their switches |
//! | [`catalog`] | the journal, the recorded refusals, the term |
//! | [`replica`] | a log, a role, and what is on its way at a leader |
//! | [`state`] | all of them with the network and the clients |
//! | [`action`] | what can happen next |
//! | [`step`] | what an action does |
//! | [`judge`] | the allowed responses to a client |
//! | [`properties`] | what must hold in every state, and what must be reached |
//! | [`settle`] | from any state, a run without further faults answers |
//!
//! The pure rules are the code's own: [`::catalog::leadership::Leadership`],
//! [`::catalog::market::decide`], [`::order::role::RoleState`],
//! [`::order::leading::commit::CommitTracker`].

pub mod action;
pub mod catalog;
pub mod config;
pub mod judge;
pub mod properties;
pub mod replica;
pub mod settle;
pub mod state;
pub mod step;

use action::Action;
use config::Config;
use state::State;
use stateright::{Model, Property};

/// The model of the order protocol.
#[derive(Debug, Clone)]
pub struct Orders(pub Config);

impl Model for Orders {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(&self.0)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.offer(&self.0, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        next.take(&self.0, &action);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.0)
    }
}
