//! Decides the orders of a batch: recorded verdicts first, then the stock, then number and chain.
//! A pure rule: the store reads the recorded verdicts before, and writes the result after.
//!
//! The recorded verdict comes first, even for an order that would be refused now: a repeat gets the
//! verdict of the first attempt, whatever the stock has become since.

use crate::market::{Decision, MAX_QUANTITY, decide};
use crate::store::Snapshot;
use common::chain::{Hash, row_hash};
use common::wire::order::{Order, OrderKey, Position, Rows, Side, Verdict};
use std::collections::{BTreeMap, HashMap};

/// A batch that is decided and not yet committed.
#[derive(Debug)]
pub struct DecidedBatch {
    /// One per order, in the same sequence.
    pub verdicts: Vec<Verdict>,
    /// The new rows; without any, `first` is the number that the next one gets.
    pub rows: Rows,
    /// The hash of each new row.
    pub hashes: Vec<Hash>,
    /// Orders whose refusal is to be recorded, in the sequence of the batch.
    pub refused: Vec<Order>,
    /// Where the journal ends with them.
    pub position: Position,
    /// For each stock that trades, the quantity that is left.
    pub quantities: BTreeMap<String, u64>,
}

impl DecidedBatch {
    /// Whether there is nothing to write: every verdict was recorded before, or names no stock.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.orders.is_empty() && self.refused.is_empty()
    }
}

/// Decides `orders` in their sequence against the state before the batch. `recorded` has the
/// verdict of each order whose key was used before this batch.
///
/// # Panics
/// When the result breaks an invariant of the journal: numbers are dense, and each stock's quantity
/// follows from its trades.
#[must_use]
pub fn decide_batch(
    before: &Snapshot,
    orders: &[&Order],
    recorded: &[Option<Verdict>],
) -> DecidedBatch {
    assert_eq!(orders.len(), recorded.len(), "each order is looked up");
    let mut verdicts = Vec::with_capacity(orders.len());
    let (mut accepted, mut hashes, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let mut position = before.position;
    let mut quantities: BTreeMap<String, u64> = BTreeMap::new();
    // This batch's own verdicts, which no store knows yet: a key that comes twice in it trades
    // once. A lone order needs none.
    let mut own: HashMap<OrderKey, (&Order, Verdict)> = HashMap::new();
    for (order, recorded) in orders.iter().copied().zip(recorded) {
        // The store's verdict comes before one of this batch: a client may have it already.
        let earlier = recorded.or_else(|| Some(repeated(own.get(&order.key)?, order)));
        if let Some(earlier) = earlier {
            verdicts.push(earlier);
            continue;
        }
        let Some(holding) = before.market.get(&order.name) else {
            // Not recorded. The set of stocks never changes, so a repeat gets the same verdict, and
            // a client with wrong names cannot push real refusals out of the ring.
            verdicts.push(Verdict::UnknownStock);
            continue;
        };
        let left = quantities
            .get(&order.name)
            .copied()
            // The quantity that this batch has left so far, else the one from before it: two buys
            // of the last piece in one batch must not both succeed.
            .unwrap_or(holding.quantity);
        let verdict = match decide(left, order.side, order.quantity) {
            Decision::InsufficientQuantity => {
                // Recorded like a trade. Else: refused, answer lost, somebody sells, the repeat
                // trades. One request, two answers.
                refused.push(order.clone());
                Verdict::InsufficientQuantity
            }
            Decision::Trade { left } => {
                // The number follows the last accepted one, so a refusal takes none and numbers
                // stay dense.
                let number = position.next();
                // Nothing of the leader's goes into the hash: any leader's repeat gives the same
                // row.
                let hash = row_hash(position.hash, number, order);
                quantities.insert(order.name.clone(), left);
                position = Position {
                    last: Some(number),
                    hash,
                };
                accepted.push(order.clone());
                hashes.push(hash);
                Verdict::Accepted(number)
            }
        };
        // Each entry costs a hash and memory, and a batch of one cannot repeat itself.
        if orders.len() > 1 {
            own.insert(order.key, (order, verdict));
        }
        verdicts.push(verdict);
    }
    let first = before.position.next();
    let rows = Rows {
        first,
        orders: accepted,
        hash: position.hash,
    };
    assert_eq!(
        rows.end(),
        position.next(),
        "numbers are dense: {} rows from {first} on, and the journal's last row is {:?}",
        rows.orders.len(),
        position.last
    );
    for (name, left) in &quantities {
        let start = before.market[name].quantity;
        assert_follows(name, start, &rows.orders, *left);
    }
    DecidedBatch {
        verdicts,
        rows,
        hashes,
        refused,
        position,
        quantities,
    }
}

/// The name under which the suite of both stores calls it.
#[doc(hidden)]
pub use self::decide_batch as stage;

/// The verdict for an order whose key this batch has decided already.
fn repeated((first, verdict): &(&Order, Verdict), order: &Order) -> Verdict {
    let body = |order: &Order| (order.side, order.quantity);
    if first.name == order.name && body(first) == body(order) {
        *verdict
    } else {
        Verdict::KeyReused
    }
}

/// Quantity = before − bought + sold, never below 0 or above the maximum. Summed anew from the
/// rows, in wider numbers: the decisions themselves cannot check each other.
fn assert_follows(name: &str, start: u64, rows: &[Order], left: u64) {
    let (mut bought, mut sold) = (0_i128, 0_i128);
    for order in rows.iter().filter(|order| order.name == *name) {
        match order.side {
            Side::Buy => bought += i128::from(order.quantity),
            Side::Sell => sold += i128::from(order.quantity),
        }
    }
    assert_eq!(
        i128::from(left),
        i128::from(start) - bought + sold,
        "{name} had {start}, {bought} were bought and {sold} sold"
    );
    assert!(
        left <= MAX_QUANTITY,
        "{name} would have {left}, more than {MAX_QUANTITY}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Holding, Market};
    use common::chain::Hash;
    use common::wire::catalog::TermInfo;
    use common::wire::money::Price;

    fn before() -> Snapshot {
        let holding = Holding {
            price: Price::from_cents(599).expect("a price"),
            quantity: 5,
        };
        Snapshot {
            market: Market::from([("FishCo".into(), holding)]),
            position: Position {
                last: None,
                hash: Hash([7; 32]),
            },
            term: TermInfo {
                term: 1,
                owner: None,
            },
        }
    }

    fn buy(key: u64, quantity: u64) -> Order {
        Order {
            key: OrderKey::from_time(key, 0),
            name: "FishCo".into(),
            side: Side::Buy,
            quantity,
        }
    }

    /// One key, one order, also within a batch; a refused key stays refused, and takes no number.
    #[test]
    fn a_key_that_comes_twice_in_a_batch_trades_once() {
        let orders = [
            buy(1, 3),
            buy(1, 3),
            buy(2, 3),
            buy(2, 3),
            buy(1, 2),
            buy(3, 2),
        ];
        let decided = decide_batch(&before(), &orders.each_ref(), &[None; 6]);
        let refused = Verdict::InsufficientQuantity;
        let wanted = [
            Verdict::Accepted(0),
            Verdict::Accepted(0),
            refused,
            refused,
            Verdict::KeyReused,
            Verdict::Accepted(1),
        ];
        assert_eq!(decided.verdicts, wanted);
        assert_eq!((decided.rows.first, decided.rows.end()), (0, 2));
        assert_eq!(decided.hashes.last(), Some(&decided.rows.hash));
        assert_eq!(decided.refused, [buy(2, 3)]);
        assert_eq!(decided.quantities["FishCo"], 0);
    }

    /// A recorded verdict is given again, whatever the stock has become, and writes nothing.
    #[test]
    fn a_recorded_verdict_is_given_again_and_writes_nothing() {
        let orders = [buy(1, 9), buy(2, 1)];
        let recorded = [Verdict::Accepted(4), Verdict::KeyReused];
        let decided = decide_batch(&before(), &orders.each_ref(), &recorded.map(Some));
        assert_eq!(decided.verdicts, recorded);
        assert!(decided.is_empty() && decided.quantities.is_empty());
    }

    #[test]
    #[should_panic(expected = "FishCo had 5, 3 were bought and 0 sold")]
    fn a_quantity_that_does_not_follow_from_its_trades_is_never_committed() {
        assert_follows("FishCo", 5, &[buy(1, 3)], 3);
    }
}
