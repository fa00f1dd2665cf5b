//! The check after a start: reads the whole journal once, page by page, beside everything else.
//! Each row must fit the chain, and the quantities of the stocks must be those that the trades
//! leave of the genesis; nothing else would notice a flipped bit there.

use crate::market::{Decision, decide};
use crate::store::{JournalReader, Snapshot, StoreError};
use common::shutdown::Shutdown;
use common::timing::{CHECK_PAUSE, PAGE_ROWS};
use common::wire::order::{Genesis, Order};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Pause after a read that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Checks the journal as it was at the start. Returns what is wrong with it; `None` when nothing
/// is, or the service stops.
pub fn check(
    mut journal: JournalReader,
    genesis: &Genesis,
    at_start: &Snapshot,
    stop: &Shutdown,
) -> Option<String> {
    let mut replay = Replay::new(genesis);
    let end = at_start.position.next();
    // Up to the start's end only: later rows were decided by this run on the state that is compared
    // below.
    while replay.next < end {
        let begun = Instant::now();
        match replay.page(&mut journal, end) {
            // Trades go first: the replicas of this machine may check their logs at the same time.
            Ok(()) if stop.wait(CHECK_PAUSE * begun.elapsed()) => return None,
            Ok(()) => {}
            Err(error) if error.is_damage() => {
                return Some(format!("the catalog's journal is damaged: {error}"));
            }
            Err(error) => {
                tracing::warn!(%error, "the journal could not be read: trying again");
                if stop.wait(RETRY) {
                    return None;
                }
            }
        }
    }
    // Compared with the state at the start, not with the present one, which has moved on.
    let wrong = replay.finish(at_start);
    if wrong.is_none() {
        tracing::info!(
            orders = end,
            "the journal is checked, and the stocks follow from it"
        );
    }
    wrong
}

/// The trades so far, done again.
pub(crate) struct Replay {
    left: BTreeMap<String, u64>,
    next: u64,
    wrong: Option<String>,
}

impl Replay {
    pub(crate) fn new(genesis: &Genesis) -> Self {
        let left = genesis
            .stocks
            .iter()
            .map(|stock| (stock.name.clone(), stock.quantity))
            .collect();
        Self {
            left,
            next: 0,
            wrong: None,
        }
    }

    fn page(&mut self, journal: &mut JournalReader, end: u64) -> Result<(), StoreError> {
        let limit = usize::try_from(end - self.next)
            .unwrap_or(PAGE_ROWS)
            .min(PAGE_ROWS);
        let page = journal.rows(self.next, limit)?;
        // Below the end there must be rows; an empty page would repeat this for ever.
        if page.orders.is_empty() {
            return Err(StoreError::Damaged(format!(
                "order {} is missing",
                self.next
            )));
        }
        for order in &page.orders {
            self.trade(order);
        }
        Ok(())
    }

    pub(crate) fn trade(&mut self, order: &Order) {
        let left = self
            .left
            .get(&order.name)
            .map(|left| decide(*left, order.side, order.quantity));
        match left {
            Some(Decision::Trade { left }) => drop(self.left.insert(order.name.clone(), left)),
            _ => {
                let what = format!("order {} cannot have traded", self.next);
                // The first one: those after it may follow from it.
                self.wrong.get_or_insert(what);
            }
        }
        self.next += 1;
    }

    /// The first trade that was wrong, or the difference in the stocks.
    pub(crate) fn finish(mut self, at_start: &Snapshot) -> Option<String> {
        self.wrong.take().or_else(|| self.compare(at_start))
    }

    fn compare(&self, at_start: &Snapshot) -> Option<String> {
        let stored = at_start
            .market
            .iter()
            .map(|(name, holding)| (name, holding.quantity));
        if stored.eq(self.left.iter().map(|(name, left)| (name, *left))) {
            return None;
        }
        let differs = at_start
            .market
            .iter()
            .find(|(name, holding)| self.left.get(*name) != Some(&holding.quantity));
        Some(match differs {
            Some((name, holding)) => {
                let left = self
                    .left
                    .get(name)
                    .map_or("no such stock".into(), u64::to_string);
                format!(
                    "the file has {} of {name}, its trades leave {left}",
                    holding.quantity
                )
            }
            None => "the file has other stocks than its genesis".into(),
        })
    }
}
