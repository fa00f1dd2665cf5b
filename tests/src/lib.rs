//! System tests: real processes on free ports, real files, real signals. This library is what they
//! share; the tests are in `tests/`.
//!
//! | module | one idea |
//! |---|---|
//! | [`browser`] | a real browser, for the page |
//! | [`faults`] | scenarios that injure a bazaar under load, and the judgement of their histories |
//! | [`contract`] | the description of the public API, which every answer to a test must fit |
//! | [`hosts`] | the bazaar in containers, as hosts that are cut off from each other |
//! | [`harness`] | a bazaar for one test, in a folder that stays when the test fails |
//! | [`closing`] | what must hold at the end of every test, whatever happened in it |
//! | [`model`] | the design as two state machines, explored by a model checker |
//! | [`history`] | what clients saw, and two checkers of it |
//! | [`hostile`] | callers without the token, who do what a service never would |
//! | [`postgres`] | a PostgreSQL server for one test, with a standby where one is needed |
//! | [`recorder`] | the orders that were acknowledged |
//! | [`tool`] | runs a binary to its end, with a deadline |
//!
//! No test sleeps for a fixed time: it waits for a condition with a deadline. Random tests print
//! their seed and take it from `BAZAAR_SEED`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "for the reader of a failed test"
)]

pub mod browser;
pub mod closing;
pub mod contract;
pub mod faults;
pub mod harness;
pub mod history;
pub mod hostile;
pub mod hosts;
pub mod model;
pub mod postgres;
pub mod recorder;
pub mod tool;
