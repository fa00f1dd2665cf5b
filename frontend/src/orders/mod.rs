//! Orders on their way to the leader: the `batcher` decides when a batch leaves, the
//! [`forwarder`] sends it and answers its clients.

pub(crate) mod batcher;
pub(crate) mod evidence;
pub mod forwarder;
