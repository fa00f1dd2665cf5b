//! The whole system: the clock, the catalog, the front-ends.

use super::catalog::{Catalog, Session};
use super::config::{Config, Index, SKEW, START};
use super::front::Front;
use common::clock::BootInstant;

/// A state of the system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The catalog's clock.
    pub now: BootInstant,
    /// Ticks so far.
    pub ticks: u8,
    /// The catalog.
    pub catalog: Catalog,
    /// The front-ends.
    pub fronts: Vec<Front>,
    /// Requests of session threads that no longer wait for an answer, and may still arrive: the
    /// session, and whether it registers.
    pub strays: Vec<(Session, bool)>,
    /// Crashes of the catalog so far.
    pub restarts: u8,
    /// Crashes of front-ends so far.
    pub front_crashes: u8,
    /// A reader got a value that was no longer shown when it came.
    pub stale: bool,
}

impl World {
    /// Before anything happened.
    pub fn new(config: &Config) -> Self {
        Self {
            now: START,
            ticks: 0,
            catalog: Catalog::new(),
            fronts: vec![Front::new(); config.fronts],
            strays: Vec::new(),
            restarts: 0,
            front_crashes: 0,
            stale: false,
        }
    }

    /// The time by a front-end's clock.
    pub fn clock(&self, front: Index) -> BootInstant {
        if self.fronts[front].slow {
            self.now - SKEW
        } else {
            self.now
        }
    }

    /// The value that a front-end would answer from its cache now.
    pub fn cached(&self, front: Index) -> Option<u8> {
        self.fronts[front].cache.get(self.clock(front))
    }
}
