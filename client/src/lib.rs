//! What stands outside the bazaar: who trades there, who starts it, and who measures it.
//!
//! | module | one idea |
//! |---|---|
//! | [`api`] | a small typed client of the public API, with raw answers for who checks them |
//! | [`workload`] | clients that look up, trade, and read every order back |
//! | [`stats`] | what the clients saw: times, refusals, retries, mismatches |
//! | [`report`] | the same as a table or as JSON |
//! | [`cluster`] | real processes on this machine: started, stopped, killed, paused, restarted |
//! | [`demo`] | half a minute that shows the whole system |
//! | [`eval`] | the evaluation: experiments, CSV files, plots, document |
//! | [`launcher`] | `bazaar run`: a cluster with its logs on the terminal, and a way in for `bazaar kill` and `restart` |
//! | [`status`] | `bazaar status`: the cluster on one screen |
//! | [`wait`] | waiting for a condition with a deadline |
//!
//! Threads: one per client of a workload, joined at its end; one that starts processes, for the
//! life of the program (see [`cluster`] for why); one that listens on the launcher's control
//! socket. A cluster's logs go to files, never through a pipe, so that nobody's slowness here can
//! hold a service up.
//!
//! Not here on purpose: any rule of the bazaar. The workload judges answers only by what the public
//! API promises, and the launcher restarts nothing by itself, since whoever tries a crash wants to
//! see it.

pub mod api;
pub mod cluster;
pub mod demo;
pub mod eval;
pub mod launcher;
pub mod report;
pub mod stats;
pub mod status;
pub mod wait;
pub mod workload;
