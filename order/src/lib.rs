//! A replica of the order service: a copy of the catalog's journal, and, while it leads, the way of
//! every order to the catalog.
//!
//! It owns one SQLite file, and its role.
//!
//! ```text
//!              POST /orders                       POST /trades
//!  front-end ─────────────► order queue ► sequencer ──────────► catalog (decides, numbers, commits)
//!                                            │ rows
//!                              ┌─────────────┴──────────────┐
//!                              ▼                            ▼
//!                         log writer                 replication-<id>, one per other replica
//!                    (one fsync per batch)              POST /log ──► its log writer
//!                              └─────────────┬──────────────┘
//!                                            ▼
//!                       commit tracker: durable here and at every follower in sync ► answer
//!
//!  reader-<n>: orders by number, pages      takeover: claims a term, completes the log, leads
//!  term-keeper: reads the term each 100 ms  check: reads old rows once after a start
//! ```
//!
//! Invariants:
//! - The log is a prefix of the journal, with a valid hash chain; a row is never overwritten.
//! - It leads a term only after the catalog granted it and its log was complete up to the journal's
//!   end at the grant.
//! - It acknowledges an order only when it is durable at the catalog, here and at every follower in
//!   sync.
//!
//! On purpose it does not recognise repeats (the catalog does), number orders, or choose who leads
//! (front-ends do).

pub mod api;
pub mod leading;
pub mod log;
pub mod metrics;
pub mod queries;
pub mod replica;
pub mod role;
pub mod service;
pub mod settings;
