//! The cache (`docs/architecture.md`, "The cache") as a state machine: one stock, whose value is
//! the number of trades so far.
//!
//! | module | one idea |
//! |---|---|
//! | [`config`] | what is explored: budgets, and the rules with their switches |
//! | [`catalog`] | visible and durable value, the batch under way, sessions, the start-up wait |
//! | [`front`] | a front-end: its entry, session, lease, calls, readers |
//! | [`world`] | all of them, the messages between, and the clock |
//! | [`step`] | what can happen next, and what it does |
//! | [`properties`] | what must hold in every state, and what must be reached |
//! | [`settle`] | from any state, a run without further faults answers |
//!
//! The leases at the catalog are the code's own [`::catalog::session_table::SessionTable`], with
//! its real durations. The front-end's cache keeps its entries in hash maps, which a state cannot
//! hold; [`front`] has its rules for one stock, and a test drives both with the same random events
//! and compares what they answer.

pub mod catalog;
pub mod config;
pub mod front;
pub mod properties;
pub mod settle;
pub mod step;
pub mod world;

use config::Config;
use stateright::{Model, Property};
use step::Action;
use world::World;

/// The model of the cache.
#[derive(Debug, Clone)]
pub struct Caches(pub Config);

impl Model for Caches {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.0)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.offer(&self.0, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.take(&self.0, action);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.0)
    }
}
