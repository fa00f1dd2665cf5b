//! The part of a replica that works while it leads: the way of an order from the front-end's batch
//! to its acknowledgement, and how a replica comes to lead.
//!
//! | module | one idea |
//! |---|---|
//! | [`sequencer`] | takes batches, calls the catalog, hands rows on |
//! | [`pipeline`] | the batches between the catalog's answer and their acknowledgement |
//! | [`commit`] | when a batch is durable everywhere, as pure rules |
//! | [`shortage`] | since when a leader has too few copies |
//! | [`identity`] | whether a follower's answer is the follower's |
//! | [`replication`] | one thread per follower: catch-up and steady state in one loop |
//! | [`takeover`], [`term_keeper`] | how a replica claims a term, and how it notices that it lost it |
//! | [`catalog`] | the calls to the catalog |
//! | [`traces`] | the trace ids of the orders under way |

pub mod catalog;
pub mod commit;
pub mod identity;
pub mod pipeline;
pub mod replication;
pub mod sequencer;
pub mod shortage;
pub mod takeover;
pub mod term_keeper;
pub mod traces;
