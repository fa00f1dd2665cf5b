//! The replica's log: a hash-chained copy of the catalog's journal in one SQLite file.
//!
//! | module | one idea |
//! |---|---|
//! | `store` | the file |
//! | `writer` | the one thread that appends, one fsync a batch |
//! | `reader` | the threads that read orders and pages |
//! | `cache` | the newest rows in memory |
//! | `genesis` | gets the genesis for an empty file |
//! | `catch_up` | fetches missed rows from the other replicas |
//! | `check` | reads old rows once after a start |
//! | `verify` | `order verify` and `order dump` |

pub(crate) mod cache;
pub(crate) mod catch_up;
pub(crate) mod check;
pub(crate) mod genesis;
pub(crate) mod reader;
pub mod store;
pub mod verify;
pub(crate) mod writer;
