//! Every message between processes, as a typed struct that refuses fields it does not know. Each
//! has its row in `docs/protocol.md`.

pub mod catalog;
pub mod frontend;
pub mod money;
pub mod order;
pub mod public;
pub mod replica;

use serde::{Deserialize, Serialize};

/// An answer that says no more than that it is one: `{}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}
