//! Who leads: the rules of the election, and the threads that carry them out.
//!
//! | module | one idea |
//! |---|---|
//! | [`election`] | the election, as pure rules |
//! | [`monitor`] | the one thread that decides |
//! | [`prober`], [`catalog_prober`] | the threads that ask each replica, and the catalog, how they are |
//! | [`election_calls`] | the thread that makes the two calls of an election |
//! | [`health_table`] | the newest answers of all of them, for the status |
//! | [`cell`] | the leader as the senders of orders and queries see it |

pub mod catalog_prober;
pub mod cell;
pub mod election;
pub mod election_calls;
pub mod health_table;
pub mod monitor;
pub mod prober;
