//! Several catalogs over one database (`docs/high-availability.md`) as a state machine: which of
//! them is active, what each writes and says, and the leases of front-ends.
//!
//! | module | one idea |
//! |---|---|
//! | [`config`] | what is explored: orders, budgets of faults, and the rules with their switches |
//! | [`store`] | the database: rows, the activity row, statements on their way, locks |
//! | [`catalog`] | a catalog process: role, lease, stocks in memory, batch, sessions, clean stop |
//! | [`front`] | a front-end: one stock's cache, its session, calls on their way |
//! | [`world`] | all of them, and the state that no answer distinguishes |
//! | [`action`] | what can happen next |
//! | [`step`] | what it does at the database and at the catalogs |
//! | [`sessions`] | what it does between front-ends and catalogs |
//! | [`properties`] | what must hold in every state, and what must be reached |
//! | [`settle`] | from any state, a run without further faults trades |
//!
//! # Time
//!
//! There is no clock. A lease that was counted from an event E, and a wait of lease + margin that
//! was counted from an event F, agree on one thing whatever the speed of processes, network and
//! clocks (within the margin's drift): *if E happened before F, the lease is over when the wait
//! is*. So each lease that runs carries a bit for each catalog's wait that began after it did. A
//! lease may end at any moment. A wait ends at any moment at which no running lease has its bit.
//! Every real run, with any durations, is one of the model's: nothing else is assumed of time.
//!
//! A session's lease that is capped by its catalog's lease gets that lease's bits too, since it
//! ends before both. "The lease and margin of a session are over" at a catalog means that no lease
//! that this catalog granted for it runs, as the catalog counts from the receipt of a request that
//! the front-end sent after it began to count.
//!
//! # Statements
//!
//! A statement is executed at any time after it was sent, or never; with a lost connection too. A
//! statement that waits for a row's lock is one that is not executed yet: READ COMMITTED reads the
//! row anew after the wait. (With epoch and beat in two rows that is not so: see the rule
//! `one_row`.) A fence holds its lock until COMMIT or until the database ends its transaction.
//!
//! # Orders and reads
//!
//! An order's place in the journal stands for its verdict: a refusal is recorded by the same
//! transaction, and a granted claim is. A reader is not in the state. Instead each state must be
//! such that no cache and no catalog that would answer now has a value older than what was
//! acknowledged.

pub mod action;
pub mod catalog;
pub mod config;
pub mod front;
pub mod properties;
pub mod sessions;
pub mod settle;
pub mod step;
pub mod store;
pub mod world;

use action::Action;
use config::Config;
use stateright::{Model, Property};
use world::World;

/// The model of several catalogs.
#[derive(Debug, Clone)]
pub struct Catalogs(pub Config);

impl Model for Catalogs {
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
        next.take(&self.0, &action);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.0)
    }
}
