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
//! | [`files`] | files deleted, damaged, cut, exchanged |
//! | [`disks`] | disks that are full, refuse writes or are read-only |
//! | [`soak`] | random faults until the time is up |

pub mod crashes;
pub mod disks;
pub mod files;
pub mod judge;
pub mod links;
pub mod network;
pub mod processes;
pub mod run;
pub mod soak;
pub mod takeovers;

use cluster::Spec;
use run::Run;

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
            set: |_| (),
            run,
        }
    }

    /// The same with the edge behind all internal listeners.
    #[must_use]
    pub const fn with_edge(self) -> Self {
        Self { edge: true, ..self }
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
    ]
    .concat()
}

/// The scenarios that `make test` runs too: a minute at most.
pub fn short() -> Vec<Scenario> {
    let names = ["kill-each", "pause-leader", "lose-answers", "file-damaged"];
    all()
        .into_iter()
        .filter(|scenario| names.contains(&scenario.name))
        .collect()
}
