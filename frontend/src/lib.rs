//! The front-end of the stock bazaar: the public REST API, the stock cache, and the election of
//! the leader.
//!
//! It owns nothing that must survive: stocks belong to the catalog, orders to the catalog and the
//! order service. Any number of front-ends may run.
//!
//! ```text
//!  clients ─> public server ─cached read──────────────> cache <─invalidations─ internal server
//!                │   (its workers never wait)             ^ │                           ^
//!                ├─ orders ──> forwarders ×4 ─────batch──>│ │ leader (LeaderCell)    catalog
//!                ├─ queries ─> query ×2 ──────────batch──>│ │ leader, else other replicas
//!                │               └─> query-leader ×1 ────>│ │ leader, once it confirms its term
//!                ├─ pages ───> page ×1 ───────────────────│ │ leader, else other replicas
//!                │               └─> page-leader ×1 ─────>│ │ leader, once it confirms its term
//!                └─ lookups ─> lookup ×3 ─────────batch──>│ │ catalog
//!                                                  fills ─┘ └─ lease: session thread ─> catalog
//!  probers (one a replica) ─> monitor ─> LeaderCell      probe-catalog ─> HealthTable ─> status
//!  election thread ──────────────┘       status, counters, stocks ─> feed ─> viewers at /events
//! ```
//!
//! | module | one idea |
//! |---|---|
//! | [`api`] | the public paths, their checks and errors |
//! | [`cache`] | reads without a call, as pure rules; [`cache::shared`] puts the lock around them |
//! | `cache::session` | the cache's lease |
//! | `internal` | the internal listener |
//! | `leader` | who leads: the election's rules, probers, monitor |
//! | `intake` | the bounded queues between the listener's workers and the threads that call |
//! | [`orders`] | batches of orders on their way to the leader |
//! | [`reads`] | lookups, queries and pages on their way |
//! | `page`, `feed` | the page at `GET /`, and the live feed that it watches, `GET /events` |
//! | [`settings`], [`metrics`], [`service`] | variables, counters, and all of it together |
//!
//! Invariants: a cached value is never older than a trade that was acknowledged; an order is sent
//! under one key however often it is sent; a response says "nothing happened" only when no attempt
//! can have happened; a sitting leader is deposed only when it
//! has too few copies.
//!
//! On purpose it keeps no order, decides no trade, and repairs nothing at the other services.

pub mod api;
pub mod cache;
mod feed;
mod intake;
mod internal;
mod leader;
pub mod metrics;
pub mod orders;
mod page;
pub mod reads;
pub mod service;
pub mod settings;
