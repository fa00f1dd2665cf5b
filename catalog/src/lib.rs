//! The catalog: the one place where a trade commits.
//!
//! It owns the stocks, the trade journal with the order numbers, the recorded refusals, the
//! leader's term, and the cache sessions.
//!
//! ```text
//!                                       ┌────── pusher (per session) ──► front-ends' /invalidate
//!  http workers ──► writer queue ─► writer ──► SQLite (WAL, one fsync per batch)
//!       │                              └──────► visible ◄──── http workers: /term /lookup /health
//!       ├──► journal queue ─► journal reader (own connection)
//!       └──► registrar (probe push, then a session)      session-keeper (drops silent ones)
//!  check: reads the whole journal once after a start
//! ```
//!
//! With a shared database instead of a file, all of this belongs to a tenure: it begins with a
//! takeover and ends when another catalog takes over.
//!
//! ```text
//!  activity ──► activity row (own connection): renews the lease, or looks and takes over
//!     └──► tenure: loads, begins; ends what a deposed catalog had
//! ```
//!
//! Invariants:
//! - Numbers are dense, in commit order, and a number's content never changes.
//! - An order key has one verdict for ever (within the rings of refusals).
//! - A batch of a term that is not the current one changes nothing.
//! - A value in `visible_state::VisibleState` is durable, and no cache with a live lease holds an
//!   older one.
//! - Of several catalogs, one at most says anything about now, and none that was deposed writes.
//! - No stock's quantity is below 0 or above [`market::MAX_QUANTITY`].
//!
//! On purpose it does not choose the leader (front-ends do), replicate itself (PostgreSQL does), or
//! keep sessions over a restart (it waits their leases out, or ends them before it stops).

pub mod activity;
mod api;
pub mod audit;
pub mod batch;
mod beginning;
mod check;
pub mod leadership;
pub mod market;
mod metrics;
pub mod migrate;
mod push_round;
pub mod rebuild;
pub mod service;
pub mod session_table;
mod sessions;
pub mod settings;
mod shared;
mod stock_name;
mod stocks;
pub mod store;
mod tenure;
mod visible_state;
mod write_health;
mod writer;
