//! The replica's log: a hash-chained copy of the catalog's journal in one SQLite file.
//!
//! | module | one idea |
//! |---|---|
//! | [`store`] | the file |
//! | [`writer`] | the one thread that appends, one fsync a batch |
//! | [`reader`] | the threads that read orders and pages |
//! | [`cache`] | the newest rows in memory |
//! | [`check`] | reads old rows once after a start |
//! | [`verify`] | `order verify` and `order dump` |

pub mod cache;
pub mod check;
pub mod genesis;
pub mod reader;
pub mod store;
pub mod verify;
pub mod writer;
