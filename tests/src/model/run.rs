//! Explores a model to its end, or to the first broken property, and says how much was explored.

use stateright::{Checker, HasDiscoveries, Model};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How much was explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Steps of the longest path that was followed.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
}

/// Threads of one exploration. One: then the search is breadth-first to the letter, and a
/// counterexample is a shortest one.
const THREADS: usize = 1;

/// Explores every state. All `always` properties must hold and all `sometimes` properties be
/// reached.
///
/// # Panics
/// With the counterexample, or the property that was never reached.
pub fn holds<M>(name: &str, model: M) -> Explored
where
    M: Model + Send + Sync + 'static,
    M::State: Debug + Hash + Send + Sync + Clone + PartialEq + 'static,
    M::Action: Debug + Clone + PartialEq,
{
    let start = Instant::now();
    let checker = model
        .checker()
        .threads(THREADS)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let explored = Explored {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: start.elapsed(),
    };
    println!(
        "model {name}: {} states, depth {}, {:.1} s: every property holds",
        explored.states,
        explored.depth,
        explored.took.as_secs_f64()
    );
    checker.assert_properties();
    explored
}

/// Explores until one of the expected properties is broken, and returns the steps of a
/// counterexample without any that it does not need.
///
/// # Panics
/// When none of them is broken.
#[expect(
    clippy::needless_pass_by_value,
    reason = "reads better where models are made in the call"
)]
pub fn breaks<M>(name: &str, model: M, expected: &[&'static str]) -> Vec<M::Action>
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Debug + Hash + Send + Sync + Clone + PartialEq + 'static,
    M::Action: Debug + Clone + PartialEq,
{
    let start = Instant::now();
    let wanted: BTreeSet<&'static str> = expected.iter().copied().collect();
    let until = HasDiscoveries::AnyOf(wanted.clone());
    let checker = model
        .clone()
        .checker()
        .threads(THREADS)
        .finish_when(until)
        .spawn_bfs()
        .join();
    let states = checker.unique_state_count();
    let found = checker
        .discoveries()
        .into_iter()
        .find(|(property, _)| wanted.contains(property));
    let Some((property, path)) = found else {
        panic!("{name}: explored {states} states, and none breaks any of {wanted:?}");
    };
    let steps = shrink(&model, property, path.into_actions());
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "model {name}: '{property}' is broken after {} steps ({states} states, {seconds:.1} s):",
        steps.len()
    );
    for (i, step) in (1..).zip(&steps) {
        println!("  {i:>2}. {step:?}");
    }
    steps
}

/// Leaves out steps without which the property is broken all the same. The checker looks at states
/// in blocks and keeps the last counterexample of a block, which may have steps that have nothing
/// to do with it.
fn shrink<M>(model: &M, property: &'static str, mut steps: Vec<M::Action>) -> Vec<M::Action>
where
    M: Model,
    M::Action: Clone + PartialEq,
{
    let mut i = 0;
    while i < steps.len() {
        let mut fewer = steps.clone();
        fewer.remove(i);
        match replay(model, property, &fewer) {
            Some(needed) => {
                fewer.truncate(needed);
                steps = fewer;
            }
            None => i += 1,
        }
    }
    steps
}

/// How many of these steps break the property; `None` when they do not, or cannot all be taken.
fn replay<M>(model: &M, property: &'static str, steps: &[M::Action]) -> Option<usize>
where
    M: Model,
    M::Action: Clone + PartialEq,
{
    let condition = model.property(property).condition;
    let mut state = model.init_states().pop()?;
    for (taken, step) in steps.iter().enumerate() {
        if !condition(model, &state) {
            return Some(taken);
        }
        let mut offered = Vec::new();
        model.actions(&state, &mut offered);
        state = offered
            .contains(step)
            .then(|| model.next_state(&state, step.clone()))??;
    }
    (!condition(model, &state)).then_some(steps.len())
}
