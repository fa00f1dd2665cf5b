//! The trace ids of the orders that a leader numbered lately, for the log lines of its followers.
//! Rows do not carry them: they are no part of an order. Kept and sent only while lines of single
//! orders are logged at all (`BAZAAR_LOG=debug`).

use common::wire::order::{Rows, Submission, Verdict};
use common::wire::replica::Traced;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tracing::Level;

/// Orders whose trace is kept. A follower further behind logs its rows without a trace.
const KEPT: usize = 10_000;

/// Trace ids by the number of their order.
#[derive(Debug, Default)]
pub struct Traces(Mutex<BTreeMap<u64, String>>);

impl Traces {
    /// Keeps the traces of orders that were just accepted.
    pub fn note<'a>(&self, decided: impl Iterator<Item = (&'a Submission, &'a Verdict)>) {
        if !tracing::enabled!(Level::DEBUG) {
            return;
        }
        let mut kept = self.0.lock();
        for (submission, verdict) in decided {
            if let Verdict::Accepted(number) = verdict {
                kept.insert(*number, submission.trace.clone());
            }
        }
        // A bound, since nothing says when a trace is no longer needed: a follower may be away for
        // days.
        while kept.len() > KEPT {
            kept.pop_first();
        }
    }

    /// The traces of these rows.
    pub fn of(&self, rows: &Rows) -> Vec<Traced> {
        if !tracing::enabled!(Level::DEBUG) {
            return Vec::new();
        }
        let kept = self.0.lock();
        kept.range(rows.first..rows.end())
            .map(|(number, trace)| Traced {
                number: *number,
                trace: trace.clone(),
            })
            .collect()
    }
}
