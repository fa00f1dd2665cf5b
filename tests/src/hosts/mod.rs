//! The bazaar across hosts: each service in a container with an address of its own, faults by the
//! engine and the kernel, and the same judgement of the history as in [`crate::faults`].
//!
//! | module | one idea |
//! |---|---|
//! | [`engine`] | the engine's command line, and the image of the project's Dockerfile |
//! | [`bazaar`] | the services as containers on two networks: killed, frozen, recreated, removed |
//! | [`links`] | cuts, loss, delay, duplication and slowness between two hosts |
//! | [`run`] | that bazaar under load, its faults and figures, and the verdict at the end |
//! | [`scenarios`] | the schedules |
//!
//! One bazaar lives through all scenarios of a run: what one of them breaks, the next ones find.

pub mod bazaar;
pub mod engine;
pub mod links;
pub mod run;
pub mod scenarios;
