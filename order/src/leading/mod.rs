//! The part of a replica that works while it leads: the way of an order from the front-end's batch
//! to its acknowledgement, and how a replica comes to lead.
//!
//! | module | one idea |
//! |---|---|
//! | `sequencer` | takes batches, calls the catalog, hands rows on |
//! | `pipeline` | the batches between the catalog's answer and their acknowledgement |
//! | `commit` | when a batch is durable everywhere, as pure rules |
//! | `shortage` | since when a leader has too few copies |
//! | `identity` | whether a follower's answer is the follower's |
//! | `replication` | one thread per follower: catch-up and steady state in one loop |
//! | `links` | which thread may send to a follower, as pure rules |
//! | `lone` | a lone batch: one thread sends, appends and reads the answers |
//! | `pace` | how fast a catch-up goes beside traffic |
//! | `takeover`, `term_keeper` | how a replica claims a term, and how it notices that it lost it |
//! | `catalog` | the calls to the catalog |
//! | `traces` | the trace ids of the orders under way |

pub(crate) mod catalog;
pub mod commit;
pub(crate) mod identity;
pub(crate) mod links;
pub(crate) mod lone;
pub(crate) mod pace;
pub(crate) mod pipeline;
pub(crate) mod replication;
pub(crate) mod sequencer;
pub(crate) mod shortage;
pub(crate) mod takeover;
pub(crate) mod term_keeper;
pub(crate) mod traces;
