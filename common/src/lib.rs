//! The parts that the services of the bazaar share. No business rule lives here: only their
//! messages ([`wire`], [`chain`]), the ways in and out ([`http`]), and what could have been in the
//! standard library.
//!
//! | module | one idea |
//! |---|---|
//! | [`wire`] | every message that crosses a process border, as a typed struct |
//! | [`chain`] | the hash chain over the journal and its copies |
//! | [`http`] | requests, responses, routes; the edge and the tiny_http server; the ureq client |
//! | [`queue`] | bounded queues between threads |
//! | [`stage`] | state with one owner at a time behind a queue |
//! | [`settings`], [`cli`] | environment variables; command lines: all mistakes reported at once |
//! | [`terminal`] | standard output and error that may be gone; text of others made inert |
//! | [`timing`] | intervals and time-outs that several services share, in an asserted order |
//! | [`clock`] | a monotonic clock that counts suspended time |
//! | [`crash`] | places at which fault tests let a service die |
//! | [`service`] | a service's process from its command line to its exit code |
//! | [`threads`], [`shutdown`] | named threads joined on drop; signals; the stop of a service |
//! | [`logging`] | one line per event |
//! | [`metrics`], [`process_metrics`] | Prometheus text; the process's own use of its machine |
//! | [`database`] | SQLite files: how they are opened, and the two tables that every file has |
//! | [`descriptors`] | the limit of open files, and what listeners may have of it |
//! | [`filelock`] | one process per database file |
//! | [`private`], [`secret`] | files that are their owner's alone; what nobody may guess |
//! | [`port_owner`] | who has the port or file that a start needs, for its message |

pub mod chain;
pub mod cli;
pub mod clock;
pub mod crash;
pub mod database;
pub mod descriptors;
pub mod filelock;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod port_owner;
pub mod private;
pub mod process_metrics;
pub mod queue;
pub mod secret;
pub mod service;
pub mod settings;
pub mod shutdown;
pub mod stage;
pub mod terminal;
pub mod threads;
pub mod timing;
pub mod wire;

/// The allocator of every program of the bazaar: it gives freed memory back to the system. glibc's
/// raises its own thresholds when large blocks are freed, and then keeps them for good: 130 MB
/// after strangers had sent large bodies to an internal listener, with 9 MB in use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
