//! The bounds of the search: budgets, and the rules with their switches.

use common::clock::BootInstant;
use common::timing::LEASE_MARGIN;
use std::time::Duration;

/// Index of a front-end.
pub type Index = usize;
/// How many trades there were; the value of the stock.
pub type Value = u8;
/// Half a lease: the clock moves by this much. Finer steps reach nothing else, since what is
/// compared are ends of leases, of margins, and whether a push is overdue.
pub const TICK: Duration = Duration::from_millis(500);
/// The time that a front-end's clock may lose against the catalog's while a lease lasts: just less
/// than the margin.
pub const SKEW: Duration = LEASE_MARGIN.saturating_sub(Duration::from_millis(1));
/// When the model begins.
pub const START: BootInstant = BootInstant::from_millis(10_000);

/// The rules that have a switch; all of them on is the design.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A reader gets the answer of a call that was sent after it came. Off: it joins a call under
    /// way.
    pub joiners_wait: bool,
    /// A registration's reply empties the cache and voids fills. Off: both stay.
    pub registration_empties: bool,
    /// An invalidation voids fills in flight.
    pub fills_are_voided: bool,
    /// A started catalog waits until the leases of its earlier run are over.
    pub wait_after_start: bool,
    /// A batch is shown after each session's acknowledgement or end.
    pub acknowledged_before_shown: bool,
    /// The lease is checked before the entry is taken. Off: the entry first, the lease a moment
    /// later.
    pub lease_before_entry: bool,
    /// The stock is marked as changing before the sessions are listed. Off: after.
    pub mark_before_list: bool,
    /// A stock that is marked as changing is not cached.
    pub marked_is_not_cached: bool,
    /// The catalog gives a session up a margin after its lease's end. Off: at its end.
    pub margin: bool,
    /// The front-end counts its lease from before it asked. Off: from the answer.
    pub lease_from_asking: bool,
    /// A session that leaves a push unanswered is not renewed.
    pub silent_is_not_renewed: bool,
    /// An invalidation for an unknown session is refused, and ends it at the catalog; one for the
    /// pending session is taken.
    pub pending_counts: bool,
}

impl Rules {
    /// The design.
    pub const DESIGN: Self = Self {
        joiners_wait: true,
        registration_empties: true,
        fills_are_voided: true,
        wait_after_start: true,
        acknowledged_before_shown: true,
        lease_before_entry: true,
        mark_before_list: true,
        marked_is_not_cached: true,
        margin: true,
        lease_from_asking: true,
        silent_is_not_renewed: true,
        pending_counts: true,
    };
}

/// One search: budgets and rules.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many front-ends.
    pub fronts: usize,
    /// Trades at most.
    pub trades: Value,
    /// Readers that the cache does not answer, of each front-end, at most.
    pub misses: u8,
    /// Calls of a front-end to the catalog at the same time, at most.
    pub calls: usize,
    /// Registrations of a front-end at most.
    pub registrations: u8,
    /// Keep-alives of a front-end at most.
    pub keep_alives: u8,
    /// Ticks at most.
    pub ticks: u8,
    /// Crashes of the catalog at most.
    pub restarts: u8,
    /// Crashes of front-ends at most.
    pub front_crashes: u8,
    /// Whether a front-end's clock may lose [`SKEW`].
    pub skew: bool,
    /// The rules.
    pub rules: Rules,
    /// The states that must be reached, by the names of [`super::properties`].
    pub reached: Vec<&'static str>,
}
