//! The workload client of the lab: it looks stocks up, trades, and reads every order back.
//!
//! | module | one idea |
//! |---|---|
//! | [`api`] | a small typed client of the public API, with raw answers for those who check them |
//! | [`workload`] | clients that look up, trade, and read every order back |
//! | [`stats`] | what the clients saw: times, refusals, retries, mismatches |
//! | [`report`] | the same as a table or as JSON |
//!
//! Threads: one per client of a workload, joined at its end.
//!
//! Not here on purpose: any rule of the bazaar. The workload judges answers only by what the public
//! API promises.

pub mod api;
pub mod report;
pub mod stats;
pub mod workload;
