//! The workload client of the lab: it looks stocks up, trades, and reads every order back.
//!
//! | module | one idea |
//! |---|---|
//! | [`api`] | a small typed client of the public API; it also returns raw responses |
//! | [`workload`] | clients that look up, trade, and read every order back |
//! | [`stats`] | times, refusals, retries and mismatches of the clients |
//! | [`report`] | these statistics as a table or as JSON |
//!
//! Threads: one for each client of a workload, joined at its end.
//!
//! Not here on purpose: any rule of the bazaar. The workload checks responses only against the
//! promises of the public API.

pub mod api;
pub mod report;
pub mod stats;
pub mod workload;
