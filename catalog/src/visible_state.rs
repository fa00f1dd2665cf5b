//! The state that readers see: stocks, position, term, and whether the catalog serves. It is in
//! memory, and every response to a reader comes from it, never from SQLite.
//!
//! **A batch becomes visible once it is durable and every cache has let go of the stocks that it
//! changes.** Suppose readers saw the file: one would get the new quantity while a front-end still
//! answers the old one from its cache, and a reader who asks both would see the stock go back in
//! time.
//!
//! **Where several catalogs share a database, a statement about now leaves only while the lease
//! holds of the tenure from which the value came**, checked under one lock with it. Checked after
//! it, a catalog could take a value, be deposed, take over again, and answer that value under the
//! new lease.

use crate::activity::standing::SharedLease;
use crate::market::Holding;
use crate::store::Snapshot;
use common::wire::catalog::{CatalogState, LookupAnswer, Stock, TermInfo};
use common::wire::order::Position;
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The visible state. The writer changes it; the server's workers and the journal's reader read it.
///
/// Invariants, asserted with their values:
/// - The visible journal never gets shorter, and the term never falls.
/// - A stock changes only while it is marked as changing, so no cache keeps its old value.
#[derive(Debug)]
pub struct VisibleState {
    /// A read-write lock: a batch takes it for the swap alone, and readers do not delay each other.
    inner: RwLock<Inner>,
    /// The lease of the tenure that the values belong to; `None` with a file of its own.
    lease: Option<Arc<SharedLease>>,
}

#[derive(Debug)]
struct Inner {
    visible: Snapshot,
    /// Stocks that the batch under way changes. Readers get their old value, and may not cache it.
    changing: BTreeSet<String>,
    service: Service,
}

/// Whether stocks, trades and journal rows may leave.
#[derive(Debug)]
pub enum Service {
    /// Leases of an earlier run may still be valid, or no log has shown yet that the file is no
    /// older copy.
    StartUpWait,
    /// The file is new, and nothing shows yet that no log is ahead of it.
    AwaitingClaim,
    Serving,
    /// A log shows that history may be lost, and it is being written that it is.
    InDoubt,
    /// The catalog stops. Final: another one may trade.
    Silent,
    /// Final until the file is mended and the catalog restarted. The reason names the remedy.
    HistoryLost(String),
}

/// Why stocks and trades are refused now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotServing {
    pub state: CatalogState,
    /// For a person, with the remedy.
    pub message: String,
}

impl Service {
    fn state(&self) -> CatalogState {
        match self {
            // Neither is a state of its own for callers: it serves nothing for a moment.
            Self::StartUpWait | Self::InDoubt | Self::Silent => CatalogState::StartUpWait,
            Self::AwaitingClaim => CatalogState::AwaitingClaim,
            Self::Serving => CatalogState::Serving,
            Self::HistoryLost(_) => CatalogState::HistoryLost,
        }
    }

    fn refusal(&self) -> Option<&str> {
        match self {
            Self::Serving => None,
            Self::StartUpWait => Some(
                "the catalog has just started: it waits for the end of leases of its earlier run, \
                 or for an order log that fits its file",
            ),
            Self::AwaitingClaim => {
                Some("the catalog's file is new: it serves once an order replica leads")
            }
            Self::InDoubt => Some("the catalog finds out whether its history is lost"),
            Self::Silent => Some("the catalog stops"),
            Self::HistoryLost(reason) => Some(reason),
        }
    }
}

impl VisibleState {
    pub fn new(visible: Snapshot, service: Service, lease: Option<Arc<SharedLease>>) -> Self {
        Self {
            lease,
            inner: RwLock::new(Inner {
                visible,
                changing: BTreeSet::new(),
                service,
            }),
        }
    }

    pub fn term(&self) -> TermInfo {
        self.inner.read().visible.term
    }

    /// The term, as a statement about now.
    ///
    /// # Errors
    /// Why none can be made.
    pub fn term_now(&self) -> Result<TermInfo, NotServing> {
        let inner = self.inner.read();
        self.check_lease(&inner)?;
        Ok(inner.visible.term)
    }

    /// Where the visible journal ends, as a statement about now.
    ///
    /// # Errors
    /// Why none can be made.
    pub fn position_now(&self) -> Result<Position, NotServing> {
        let inner = self.inner.read();
        inner.serving()?;
        self.check_lease(&inner)?;
        Ok(inner.visible.position)
    }

    /// Whether statements about now may leave; call it under the lock of the value.
    fn check_lease(&self, inner: &Inner) -> Result<(), NotServing> {
        let refused = |message: &str| {
            Err(NotServing {
                state: CatalogState::StartUpWait,
                message: message.into(),
            })
        };
        // The stop ends such statements by itself: a file has no lease, and that of a shared
        // database is renewed until the stop is over.
        if matches!(inner.service, Service::Silent) {
            return refused("the catalog stops");
        }
        match &self.lease {
            Some(lease) if lease.holds_until().is_none() => {
                refused("the catalog has no lease now: it cannot reach its database, or is deposed")
            }
            _ => Ok(()),
        }
    }

    /// Where the visible journal ends.
    pub fn position(&self) -> Position {
        self.inner.read().visible.position
    }

    pub fn state(&self) -> CatalogState {
        self.inner.read().service.state()
    }

    /// Whether stocks, trades and journal rows may leave.
    ///
    /// # Errors
    /// Why not.
    pub fn serving(&self) -> Result<(), NotServing> {
        self.inner.read().serving()
    }

    /// Stocks by name; all of them without names.
    ///
    /// # Errors
    /// Why stocks are not served now.
    pub fn lookup(&self, names: Option<&[String]>) -> Result<LookupAnswer, NotServing> {
        let inner = self.inner.read();
        // Under the lock of the read: between two locks the history could be lost, and a stock
        // leave after every cache was emptied.
        inner.serving()?;
        self.check_lease(&inner)?;
        let stock = |(name, holding): (&String, &Holding)| Stock {
            name: name.clone(),
            price: holding.price,
            quantity: holding.quantity,
            // The old value is still true: the trade that changes it is not answered yet. It may be
            // read, and must not be kept.
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

    /// Marks stocks as changing. From here on no front-end may cache their old value.
    pub fn mark<'a>(&self, names: impl Iterator<Item = &'a String>) {
        // Before the list of sessions is taken. A session that begins between the two gets no push,
        // and reads the mark on whatever it looks up.
        self.inner.write().changing.extend(names.cloned());
    }

    /// Makes a batch visible in one step: new quantities, the new end of the journal, and no stock
    /// changing any more.
    ///
    /// # Panics
    /// When the journal would get shorter, or a stock changes that was not marked.
    pub fn publish<'a>(
        &self,
        changed: impl Iterator<Item = (&'a String, u64)>,
        position: Position,
    ) {
        // One lock for all of it. A reader between two steps would see the new quantity beside a
        // journal that does not have its order.
        let mut inner = self.inner.write();
        inner.advance(position);
        for (name, quantity) in changed {
            assert!(
                inner.changing.contains(name),
                "{name} becomes {quantity} without a mark: a cache may keep its old value"
            );
            let holding = inner
                .visible
                .market
                .get_mut(name)
                .expect("only stocks of the genesis change");
            holding.quantity = quantity;
        }
        // All of them: one batch is under way at a time.
        inner.changing.clear();
    }

    /// Makes visible what the file holds, after a commit whose outcome was unknown.
    ///
    /// # Panics
    /// When a visible row or term is not in the file.
    pub fn reload(&self, snapshot: Snapshot) {
        let mut inner = self.inner.write();
        inner.advance(snapshot.position);
        inner.rise(snapshot.term);
        inner.visible = snapshot;
        // Only here, after a commit of unknown outcome: until the load, a lookup that is cached
        // might keep a value that the commit has changed.
        inner.changing.clear();
    }

    /// Makes a durable term visible.
    ///
    /// # Panics
    /// When it is below the visible one.
    pub fn set_term(&self, term: TermInfo) {
        self.inner.write().rise(term);
    }

    /// Begins to serve, unless the history is lost, or the catalog stops.
    pub fn serve(&self) {
        let mut inner = self.inner.write();
        // The end of a wait must not reopen what was closed for good meanwhile.
        if !matches!(inner.service, Service::HistoryLost(_) | Service::Silent) {
            inner.service = Service::Serving;
        }
    }

    /// Serves nothing until it is known whether the history is lost.
    pub fn doubt(&self) {
        let mut inner = self.inner.write();
        if !matches!(inner.service, Service::HistoryLost(_) | Service::Silent) {
            inner.service = Service::InDoubt;
        }
    }

    /// Says nothing about now any more, for good.
    pub fn silence(&self) {
        self.inner.write().service = Service::Silent;
    }

    /// Whether it says nothing any more.
    pub fn is_silent(&self) -> bool {
        matches!(self.inner.read().service, Service::Silent)
    }

    /// Ends all service. The first reason stays: it names the remedy.
    pub fn lose_history(&self, reason: &str) {
        let mut inner = self.inner.write();
        if !matches!(inner.service, Service::HistoryLost(_) | Service::Silent) {
            inner.service = Service::HistoryLost(reason.into());
        }
    }
}

impl Inner {
    fn serving(&self) -> Result<(), NotServing> {
        match self.service.refusal() {
            None => Ok(()),
            Some(message) => Err(NotServing {
                state: self.service.state(),
                message: message.into(),
            }),
        }
    }

    fn advance(&mut self, position: Position) {
        let before = self.visible.position;
        assert!(
            position.next() >= before.next(),
            "the visible journal never gets shorter: its last row is {:?}, the next one {:?}",
            before.last,
            position.last
        );
        assert!(
            position.next() > before.next() || position.hash == before.hash,
            "row {:?} never changes: its hash was {}, and would be {}",
            before.last,
            before.hash,
            position.hash
        );
        self.visible.position = position;
    }

    fn rise(&mut self, term: TermInfo) {
        let before = self.visible.term.term;
        assert!(
            term.term >= before,
            "the visible term only rises: {} after {before}",
            term.term
        );
        self.visible.term = term;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Market;
    use common::chain::Hash;
    use common::wire::money::Price;

    fn at(last: Option<u64>, hash: u8) -> Position {
        Position {
            last,
            hash: Hash([hash; 32]),
        }
    }

    fn snapshot() -> Snapshot {
        let holding = Holding {
            price: Price::from_cents(599).expect("a price"),
            quantity: 100,
        };
        Snapshot {
            market: Market::from([("BoarCo".into(), holding), ("FishCo".into(), holding)]),
            position: at(None, 0),
            term: TermInfo {
                term: 3,
                owner: None,
            },
        }
    }

    fn serving() -> VisibleState {
        VisibleState::new(snapshot(), Service::Serving, None)
    }

    /// While a batch is under way its stocks have their old value, not to be cached; afterwards the
    /// new one.
    #[test]
    fn a_batch_becomes_visible_in_one_step() {
        let state = serving();
        let fish = [String::from("FishCo"), String::from("Nobody")];
        state.mark(fish[..1].iter());
        let before = state.lookup(Some(&fish)).expect("serves").stocks;
        assert_eq!(before.len(), 1);
        assert_eq!((before[0].quantity, before[0].cacheable), (100, false));
        let all = state.lookup(None).expect("serves").stocks;
        assert!(all[0].cacheable, "other stocks are not concerned");
        state.publish([(&fish[0], 93)].into_iter(), at(Some(0), 1));
        let after = state.lookup(Some(&fish)).expect("serves").stocks;
        assert_eq!((after[0].quantity, after[0].cacheable), (93, true));
        assert_eq!(state.position().last, Some(0));
    }

    /// In every state but serving, no stock leaves; lost history is final.
    #[test]
    fn stocks_leave_only_while_it_serves() {
        for (service, state) in [
            (Service::StartUpWait, CatalogState::StartUpWait),
            (Service::AwaitingClaim, CatalogState::AwaitingClaim),
            (
                Service::HistoryLost("cut".into()),
                CatalogState::HistoryLost,
            ),
        ] {
            let visible = VisibleState::new(snapshot(), service, None);
            assert_eq!(visible.lookup(None).expect_err("refused").state, state);
        }
        let visible = VisibleState::new(snapshot(), Service::AwaitingClaim, None);
        visible.serve();
        assert!(visible.serving().is_ok());
        visible.lose_history("cut");
        visible.serve();
        visible.lose_history("cut again");
        assert_eq!(visible.serving().expect_err("stays").message, "cut");
    }

    #[test]
    #[should_panic(expected = "never gets shorter: its last row is Some(1), the next one Some(0)")]
    fn the_visible_journal_never_gets_shorter() {
        let state = serving();
        state.publish([].into_iter(), at(Some(1), 1));
        state.publish([].into_iter(), at(Some(0), 2));
    }

    #[test]
    #[should_panic(expected = "row Some(1) never changes")]
    fn a_visible_row_never_changes() {
        let state = serving();
        state.publish([].into_iter(), at(Some(1), 1));
        state.publish([].into_iter(), at(Some(1), 2));
    }

    #[test]
    #[should_panic(expected = "FishCo becomes 93 without a mark")]
    fn a_stock_changes_only_while_it_is_marked() {
        serving().publish([(&"FishCo".into(), 93)].into_iter(), at(Some(0), 1));
    }

    #[test]
    #[should_panic(expected = "the visible term only rises: 2 after 3")]
    fn the_visible_term_never_falls() {
        serving().set_term(TermInfo {
            term: 2,
            owner: None,
        });
    }
}
