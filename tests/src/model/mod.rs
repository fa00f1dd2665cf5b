//! The design as three state machines, explored by a model checker (stateright): every interleaving
//! within the bounds of a configuration.
//!
//! | module | one idea |
//! |---|---|
//! | [`orders`] | the order protocol: catalog, three replicas, repeated orders, a lossy network |
//! | [`cache`] | the stock cache: leases, fills, registrations, invalidations, restarts |
//! | [`catalogs`] | several catalogs over one database: takeovers, fences, clean stops |
//! | [`run`] | explores a model and says how much was explored |
//!
//! All state spaces are finite, because whatever could go on for ever (attempts, terms, faults,
//! time) has a budget in the configuration; they are explored to their end, so that the counts do
//! not depend on threads or luck. `docs/model.md` lists the omissions, and why.

pub mod cache;
pub mod catalogs;
pub mod orders;
pub mod run;
