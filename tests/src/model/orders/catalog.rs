//! The catalog: its journal, recorded refusals, stocks and term. Commit, publication and answer are
//! one step here, since the model of the cache looks at what lies between; a crash in between is an
//! answer that never arrives.

use super::config::{Config, Key, Rules, STOCKS};
use ::catalog::leadership::{Claim, Leadership};
use ::catalog::market::{Decision, decide};
use common::clock::BootInstant;
use common::wire::catalog::TermInfo;
use common::wire::order::{ReplicaId, Term};

/// The catalog's verdict on an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It traded, under this number.
    Accepted(u8),
    /// Too few were left.
    Refused,
}

/// The catalog's file, and whether it serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Catalog {
    /// The key of each accepted order, by number.
    pub journal: Vec<Key>,
    /// The keys of recorded refusals.
    refused: Vec<Key>,
    /// The quantity left of each stock.
    pub left: [u64; STOCKS],
    /// The term.
    leadership: Leadership,
    /// False in the wait after a start.
    pub serving: bool,
}

/// All claims come long after the last grant: spacing them only delays.
const LATER: BootInstant = BootInstant::from_millis(10_000);

impl Catalog {
    /// A new one, which serves.
    pub fn new(config: &Config) -> Self {
        Self {
            journal: Vec::new(),
            refused: Vec::new(),
            left: config.initial,
            leadership: Leadership::new(TermInfo {
                term: 0,
                owner: None,
            }),
            serving: true,
        }
    }

    /// The current term.
    pub fn term_info(&self) -> TermInfo {
        self.leadership.term_info()
    }

    /// Grants a claim of who saw the current term.
    pub fn claim(&mut self, replica: ReplicaId, seen: Term) -> Option<Term> {
        let Claim::Grant(granted) = self.leadership.judge(replica, seen, LATER) else {
            return None;
        };
        self.leadership.install(granted, BootInstant::BOOT);
        Some(granted.term)
    }

    /// The process ends and starts again: term, journal and refusals are read from the file.
    pub fn restart(&mut self) {
        self.leadership = Leadership::new(self.term_info());
        self.serving = false;
    }

    /// Decides an order and commits.
    pub fn trade(&mut self, config: &Config, key: Key) -> Verdict {
        let Rules {
            dedupe_at_catalog,
            refusals_recorded,
            ..
        } = config.rules;
        if let Some(number) = self.number_of(key).filter(|_| dedupe_at_catalog) {
            return Verdict::Accepted(number);
        }
        if self.refused.contains(&key) {
            return Verdict::Refused;
        }
        let order = config.orders[usize::from(key)];
        match decide(self.left[order.stock], order.side, order.quantity) {
            Decision::Trade { left } => {
                self.left[order.stock] = left;
                self.journal.push(key);
                Verdict::Accepted(number(self.journal.len() - 1))
            }
            Decision::InsufficientQuantity => {
                if refusals_recorded {
                    self.refused.push(key);
                    self.refused.sort_unstable();
                }
                Verdict::Refused
            }
        }
    }

    /// The number of an accepted order.
    pub fn number_of(&self, key: Key) -> Option<u8> {
        self.journal.iter().position(|row| *row == key).map(number)
    }
}

/// A length or index as a number of the model, where there are few.
///
/// # Panics
/// Beyond 255.
pub fn number(index: usize) -> u8 {
    u8::try_from(index).expect("a model has few rows")
}
