//! The bazaar across hosts: each service in a container with an address of its own, faults by the
//! engine and the kernel, and the same judgement of the history as in [`crate::faults`].
//!
//! | module | one idea |
//! |---|---|
//! | [`engine`] | the engine's command line, and the image of the project's Dockerfile |
//! | [`host`] | names of hosts, and the layouts: one catalog, or two with PostgreSQL |
//! | [`bazaar`] | the hosts of a run: networks, addresses, files, logs, their end |
//! | `container` | what the engine does to a host: killed, frozen, replaced, disconnected |
//! | `health` | who leads, who is active, who died, and waits until all is well |
//! | [`links`] | cuts, loss, delay, duplication and slowness between two hosts |
//! | [`run`] | that bazaar under load, its faults and figures, and the verdict at the end |
//! | [`scenarios`] | the schedules |
//!
//! One bazaar of each layout lives through all its scenarios: what one of them breaks, the next
//! ones find.

pub mod bazaar;
mod container;
pub mod engine;
mod health;
pub mod host;
pub mod links;
pub mod run;
pub mod scenarios;
