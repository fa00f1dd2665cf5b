//! Explores the interleavings of a few threads together with a clock. For tests only.
//!
//! [Shuttle](https://docs.rs/shuttle) runs the threads of a scenario one at a time and chooses at
//! each lock and each wake-up who goes on, thousands of times, each time differently. It has no
//! clock: its condition variables never time out. The faults that are looked for here need one,
//! since they are lost or misplaced wake-ups: a thread sleeps for ever, or sleeps for a later
//! moment although its deadline has moved. So this crate adds virtual time to it:
//!
//! - Time moves when all threads sleep: straight to the earliest deadline among them. A thread that
//!   sleeps too long therefore oversleeps in every run, whatever the machine does meanwhile.
//! - If all threads sleep and none has a deadline, a wake-up was lost, and the run panics.
//! - Now and then time also moves a little while a thread reads the clock, so that deadlines pass
//!   in the middle of everything.
//!
//! [`Mutex`], [`Condvar`], [`Parker`] and [`now`] have the shape of parking_lot, crossbeam and std.
//! A module names its locks in a `sync` module that is these in its unit tests, and the real ones
//! otherwise: the code that is explored is the code that runs.

mod sync;
mod world;

pub use sync::{Condvar, Mutex, MutexGuard, Parker, Unparker, WaitTimeoutResult};
pub use world::{JoinHandle, now, random, sleep, spawn, when_all_sleep};

/// Runs of each kind of scheduler, by default. A scenario of five threads takes a second or two.
const RUNS: usize = 1_000;
/// Forced switches in one run of the second scheduler: most such faults need two or three.
const SWITCHES: usize = 3;

/// Runs a scenario `RUNS` times with random interleavings, and as often with few, but adversarial
/// switches (PCT, Burckhardt et al., ASPLOS 2010). A run that panics prints the schedule that
/// repeats it.
pub fn explore(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(move || world::run(scenario), RUNS);
    shuttle::check_pct(move || world::run(scenario), RUNS, SWITCHES);
}
