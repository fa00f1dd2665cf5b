//! Every message between processes, as a typed struct that refuses fields it does not know. Each has its row in
//! `docs/protocol.md`.

pub mod catalog;
pub mod frontend;
pub mod money;
pub mod order;
pub mod public;
pub mod replica;
