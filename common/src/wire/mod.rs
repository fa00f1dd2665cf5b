//! Every message between processes, as a typed struct. Each has its row in `docs/protocol.md`.
//!
//! Messages between services skip fields that they do not know, and a field that a later version
//! added has a default: two versions work side by side ([`crate::http::protocol`]). The messages
//! of clients to the public API ([`public`]) must have known fields only: there a wrong name is a
//! mistake that the client should see. `common/tests/wire.rs` holds every message to its samples.

pub mod catalog;
pub mod frontend;
pub mod money;
pub mod order;
pub mod public;
pub mod replica;

use serde::{Deserialize, Serialize};

/// An answer that says no more than that it is one: `{}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// A health that names no version comes from a program that had the first one.
fn first_protocol() -> String {
    "1.0".into()
}
