//! The order in which one call asks the catalogs, and the error with which it ends.

use crate::http::client::CallError;

/// The way of one call through the catalogs: each at most once.
#[derive(Debug)]
pub(super) struct Round {
    catalogs: usize,
    next: Option<usize>,
    tried: u64,
}

impl Round {
    pub(super) fn new(catalogs: usize, preferred: usize) -> Self {
        Self {
            catalogs,
            next: Some(preferred),
            tried: 0,
        }
    }

    /// The catalog to ask now.
    pub(super) fn take(&mut self) -> Option<usize> {
        let untried = |catalog: &usize| self.tried & (1 << catalog) == 0;
        // Once each: two catalogs that name each other would otherwise be asked in turn for ever.
        let named = self.next.take().filter(untried);
        // In the order of the setting, so that all callers look in the same order.
        let catalog = named.or_else(|| (0..self.catalogs).find(untried))?;
        self.tried |= 1 << catalog;
        Some(catalog)
    }

    /// A catalog named the active one.
    pub(super) fn follow(&mut self, active: Option<usize>) {
        self.next = active;
    }
}

/// The gravest error of a round: one whose outcome is unknown, before one that was not sent, before
/// one that was answered.
pub(super) fn graver(one: Option<CallError>, other: CallError) -> CallError {
    let weight = |error: &CallError| match error {
        _ if error.outcome_unknown() => 2,
        CallError::NotSent(_) => 1,
        _ => 0,
    };
    match one {
        // The earlier of two equal ones: it is of the catalog that was preferred.
        Some(one) if weight(&one) >= weight(&other) => one,
        _ => other,
    }
}
