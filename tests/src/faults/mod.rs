//! Scenarios that injure a bazaar while clients trade at it, each with a seed that its schedule
//! follows from.
//!
//! | module | one idea |
//! |---|---|
//! | [`run`] | a bazaar under load, what can be done to it, and when it counts as healthy |
//! | [`judge`] | what must hold at the end of a run, and its line in the table |
//! | [`network`] | proxies on every way between two services |
//! | [`processes`] | kills, pauses, stops, restarts |
//! | [`takeovers`] | what goes wrong while something else is being mended |
//! | [`links`] | cuts, delays, resets, lost answers, repeats |
//! | [`crashes`] | death at each crash point |
//! | [`store`] | where the catalogs keep their state |
//! | [`catalogs`] | two catalogs over one PostgreSQL |
//! | [`files`] | files deleted, damaged, cut, exchanged |
//! | [`disks`] | disks that are full, refuse writes or are read-only |
//! | [`soak`] | random faults until the time is up |

pub mod catalogs;
pub mod crashes;
pub mod disks;
pub mod files;
pub mod judge;
pub mod links;
pub mod network;
pub mod processes;
pub mod run;
pub mod soak;
pub mod store;
pub mod takeovers;

use cluster::Spec;
use run::Run;
use store::Store;

/// The stores that a scenario is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// One catalog, on a file or on PostgreSQL.
    AnyStore,
    /// A catalog's file.
    File,
    /// Two catalogs over one PostgreSQL.
    TwoCatalogs,
}

/// A schedule of faults.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name, in the table and on the command line.
    pub name: &'static str,
    /// Whether there is a proxy on every way between two services.
    pub network: bool,
    /// Whether the edge is behind all internal listeners, instead of what the environment names.
    pub edge: bool,
    /// Whether each client keeps to one front-end.
    pub faithful: bool,
    /// The stores that it is about.
    pub about: About,
    /// Whether the database has a synchronous standby of its own.
    pub replicated: bool,
    /// Settings of its own.
    pub set: fn(&mut Spec),
    /// Its action.
    pub run: fn(&mut Run),
}

impl Scenario {
    /// A scenario with the usual settings.
    pub const fn new(name: &'static str, run: fn(&mut Run)) -> Self {
        Self {
            name,
            network: false,
            edge: false,
            faithful: false,
            about: About::AnyStore,
            replicated: false,
            set: |_| (),
            run,
        }
    }

    /// The same with the edge behind all internal listeners.
    #[must_use]
    pub const fn with_edge(self) -> Self {
        Self { edge: true, ..self }
    }

    /// The same on a catalog's file only.
    #[must_use]
    pub const fn with_file(self) -> Self {
        Self {
            about: About::File,
            ..self
        }
    }

    /// The same with two catalogs over one PostgreSQL.
    #[must_use]
    pub const fn with_two_catalogs(self) -> Self {
        Self {
            about: About::TwoCatalogs,
            ..self
        }
    }

    /// The same with a synchronous standby of the database.
    #[must_use]
    pub const fn with_replication(self) -> Self {
        Self {
            replicated: true,
            ..self
        }
    }

    /// Why it does not run with this store.
    #[must_use]
    pub fn skipped(&self, store: &Store) -> Option<&'static str> {
        match (self.about, store) {
            (About::File, Store::Postgres(_) | Store::Replicated(_)) => {
                Some("it is about the catalog's file")
            }
            (About::TwoCatalogs, Store::File) => {
                Some("two catalogs share a PostgreSQL: STORE=postgres")
            }
            _ => None,
        }
    }

    /// The same with proxies.
    #[must_use]
    pub const fn with_network(self) -> Self {
        Self {
            network: true,
            ..self
        }
    }
}

/// All scenarios, in the sequence in which they run.
pub fn all() -> Vec<Scenario> {
    [
        processes::SCENARIOS,
        takeovers::SCENARIOS,
        links::SCENARIOS,
        crashes::SCENARIOS,
        files::SCENARIOS,
        disks::SCENARIOS,
        catalogs::SCENARIOS,
        catalogs::CRASHES,
    ]
    .concat()
}

/// Those that only run by their name: they measure, and take minutes.
pub fn by_name() -> Vec<Scenario> {
    catalogs::MEASUREMENTS.to_vec()
}

/// The scenarios that `make test` runs too: a minute at most.
pub fn short() -> Vec<Scenario> {
    let names = ["kill-each", "pause-leader", "lose-answers", "file-damaged"];
    all()
        .into_iter()
        .filter(|scenario| names.contains(&scenario.name))
        .collect()
}
