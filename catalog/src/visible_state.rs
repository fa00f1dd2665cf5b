//! What the catalog shows: stocks, position, term and state, in memory. Every answer to a reader
//! comes from here, never from SQLite, so a reader sees a batch only once it is durable **and**
//! every cache has let go of what it changes.

use crate::market::Holding;
use crate::store::Snapshot;
use common::wire::catalog::{CatalogState, LookupAnswer, Stock, TermView};
use common::wire::order::Position;
use parking_lot::RwLock;
use std::collections::BTreeSet;

/// The visible state. The writer thread changes it; everyone reads it.
#[derive(Debug)]
pub struct VisibleState {
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    visible: Snapshot,
    /// Stocks that a batch under way changes: readable with their old value, which may not be
    /// cached.
    changing: BTreeSet<String>,
    state: CatalogState,
    /// Why stocks are not served, when history was lost.
    reason: String,
}

/// Why stocks and trades are refused now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotServing {
    /// The state.
    pub state: CatalogState,
    /// In words, with the remedy.
    pub message: String,
}

impl VisibleState {
    /// Shows what the file holds.
    #[must_use]
    pub fn new(visible: Snapshot, state: CatalogState) -> Self {
        Self {
            inner: RwLock::new(Inner {
                visible,
                changing: BTreeSet::new(),
                state,
                reason: String::new(),
            }),
        }
    }

    /// The term.
    #[must_use]
    pub fn term(&self) -> TermView {
        self.inner.read().visible.term
    }

    /// Where the visible journal ends.
    #[must_use]
    pub fn position(&self) -> Position {
        self.inner.read().visible.position
    }

    /// What is served.
    #[must_use]
    pub fn state(&self) -> CatalogState {
        self.inner.read().state
    }

    /// Whether stocks, trades and journal rows may leave.
    ///
    /// # Errors
    /// Why not.
    pub fn serving(&self) -> Result<(), NotServing> {
        let inner = self.inner.read();
        let message = match inner.state {
            CatalogState::Serving => return Ok(()),
            CatalogState::StartUpWait => {
                "the catalog has just started and waits until leases of its earlier run have ended"
            }
            CatalogState::AwaitingClaim => {
                "the catalog's file is new: it serves once an order replica leads"
            }
            CatalogState::HistoryLost => &inner.reason,
        };
        Err(NotServing {
            state: inner.state,
            message: message.into(),
        })
    }

    /// Stocks by name; all of them without names.
    ///
    /// # Errors
    /// Why stocks are not served now.
    pub fn lookup(&self, names: Option<&[String]>) -> Result<LookupAnswer, NotServing> {
        self.serving()?;
        let inner = self.inner.read();
        let stock = |(name, holding): (&String, &Holding)| Stock {
            name: name.clone(),
            price: holding.price,
            quantity: holding.quantity,
            cacheable: !inner.changing.contains(name),
        };
        let market = &inner.visible.market;
        let mut stocks: Vec<Stock> = match names {
            None => market.iter().map(stock).collect(),
            Some(names) => names
                .iter()
                .filter_map(|name| market.get_key_value(name))
                .map(stock)
                .collect(),
        };
        stocks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(LookupAnswer { stocks })
    }

    /// Marks stocks as changing. From here on nobody may cache their old value.
    pub fn mark<'a>(&self, names: impl Iterator<Item = &'a String>) {
        self.inner.write().changing.extend(names.cloned());
    }

    /// Shows a batch: new quantities, new end of the journal, and no stock changing, in one step.
    pub fn publish<'a>(
        &self,
        changed: impl Iterator<Item = (&'a String, u64)>,
        position: Position,
    ) {
        let mut inner = self.inner.write();
        assert!(
            position.next() >= inner.visible.position.next(),
            "the visible journal never gets shorter"
        );
        inner.visible.position = position;
        for (name, quantity) in changed {
            let holding = inner
                .visible
                .market
                .get_mut(name)
                .expect("only known stocks change");
            holding.quantity = quantity;
        }
        inner.changing.clear();
    }

    /// Shows what the file holds, after a commit whose outcome was unknown.
    pub fn reload(&self, snapshot: Snapshot) {
        let mut inner = self.inner.write();
        assert!(
            snapshot.position.next() >= inner.visible.position.next(),
            "visible rows are in the file"
        );
        inner.visible = snapshot;
        inner.changing.clear();
    }

    /// Shows a new term.
    pub fn set_term(&self, term: TermView) {
        self.inner.write().visible.term = term;
    }

    /// Changes what is served. Lost history is final until the file was mended and the catalog
    /// restarted.
    pub fn set_state(&self, state: CatalogState, reason: &str) {
        let mut inner = self.inner.write();
        if inner.state != CatalogState::HistoryLost {
            inner.state = state;
            inner.reason = reason.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Market;
    use common::chain::Hash;
    use common::wire::money::Price;

    fn visible(state: CatalogState) -> VisibleState {
        let holding = Holding {
            price: Price::from_cents(599).expect("a price"),
            quantity: 100,
        };
        let market = Market::from([("BoarCo".into(), holding), ("FishCo".into(), holding)]);
        let position = Position {
            last: None,
            hash: Hash([0; 32]),
        };
        VisibleState::new(
            Snapshot {
                market,
                position,
                term: TermView {
                    term: 0,
                    owner: None,
                },
            },
            state,
        )
    }

    /// While a batch is under way its stocks show their old value, not to be cached; afterwards the
    /// new one.
    #[test]
    fn a_batch_becomes_visible_in_one_step() {
        let p = visible(CatalogState::Serving);
        let fish = [String::from("FishCo"), String::from("Nobody")];
        p.mark(fish[..1].iter());
        let before = p.lookup(Some(&fish)).expect("serves").stocks;
        assert_eq!(
            (before.len(), before[0].quantity, before[0].cacheable),
            (1, 100, false)
        );
        assert!(
            p.lookup(None).expect("serves").stocks[0].cacheable,
            "other stocks are not concerned"
        );
        p.publish(
            [(&fish[0], 93)].into_iter(),
            Position {
                last: Some(0),
                hash: Hash([1; 32]),
            },
        );
        let after = p.lookup(Some(&fish)).expect("serves").stocks;
        assert_eq!(
            (after[0].quantity, after[0].cacheable, p.position().last),
            (93, true, Some(0))
        );
    }

    /// In every state but serving, no stock leaves; lost history is final.
    #[test]
    fn states() {
        for state in [
            CatalogState::StartUpWait,
            CatalogState::AwaitingClaim,
            CatalogState::HistoryLost,
        ] {
            assert_eq!(
                visible(state).lookup(None).expect_err("refused").state,
                state
            );
        }
        let p = visible(CatalogState::AwaitingClaim);
        p.set_state(CatalogState::Serving, "");
        assert!(p.serving().is_ok());
        p.set_state(CatalogState::HistoryLost, "cut");
        p.set_state(CatalogState::Serving, "");
        assert_eq!(p.serving().expect_err("stays").message, "cut");
    }
}
