//! Decides the orders of a batch inside its transaction: recorded verdicts first, then the stock,
//! then number and chain.
//!
//! The journal is asked first, even for an order that would be refused now: a repeat gets the
//! verdict of the first attempt, whatever the stock has become since.

use crate::market::{Decision, MAX_QUANTITY, decide};
use crate::store::{Batch, Snapshot};
use common::chain::row_hash;
use common::database::DbError;
use common::wire::order::{Order, Position, Rows, Side, Submission, Verdict};
use std::collections::BTreeMap;

/// A batch that is decided and not yet committed.
#[derive(Debug)]
pub struct Staged {
    /// One per order, in the same sequence.
    pub verdicts: Vec<Verdict>,
    /// The new rows; without any, `first` is the number that the next one gets.
    pub rows: Rows,
    /// Where the journal ends with them.
    pub position: Position,
    /// For each stock that trades, the quantity that is left.
    pub quantities: BTreeMap<String, u64>,
}

/// Decides `orders` in their sequence against the state before the batch, and writes what is to be
/// recorded into the transaction.
///
/// # Errors
/// [`DbError`]; the transaction must be dropped then.
///
/// # Panics
/// When the result breaks an invariant of the journal: numbers are dense, and each stock's quantity
/// follows from its trades.
pub fn stage<'a>(
    batch: &Batch<'_>,
    before: &Snapshot,
    orders: impl Iterator<Item = &'a Submission>,
) -> Result<Staged, DbError> {
    let (mut verdicts, mut accepted, mut position) = (Vec::new(), Vec::new(), before.position);
    let mut quantities: BTreeMap<String, u64> = BTreeMap::new();
    for Submission { order, .. } in orders {
        // Read inside the transaction, which sees this batch's own orders: a key that comes twice
        // in it trades once.
        if let Some(recorded) = batch.recorded(order)? {
            verdicts.push(recorded);
            continue;
        }
        let Some(holding) = before.market.get(&order.name) else {
            verdicts.push(Verdict::UnknownStock);
            continue;
        };
        let left = quantities
            .get(&order.name)
            .copied()
            .unwrap_or(holding.quantity);
        match decide(left, order.side, order.quantity) {
            Decision::InsufficientQuantity => {
                batch.refuse(order)?;
                verdicts.push(Verdict::InsufficientQuantity);
            }
            Decision::Trade { left } => {
                let number = position.next();
                let hash = row_hash(position.hash, number, order);
                batch.accept(number, order, hash)?;
                quantities.insert(order.name.clone(), left);
                position = Position {
                    last: Some(number),
                    hash,
                };
                accepted.push(order.clone());
                verdicts.push(Verdict::Accepted(number));
            }
        }
    }
    for (name, quantity) in &quantities {
        batch.set_quantity(name, *quantity)?;
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
    Ok(Staged {
        verdicts,
        rows,
        position,
        quantities,
    })
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
    use crate::store::Store;
    use common::wire::money::Price;
    use common::wire::order::{ClusterId, Genesis, InitialStock, OrderKey};

    fn genesis() -> Result<Genesis, String> {
        let stock = InitialStock {
            name: "FishCo".into(),
            price: Price::from_cents(599).ok_or("a price")?,
            quantity: 5,
        };
        Ok(Genesis {
            cluster: ClusterId("ab".repeat(16)),
            stocks: vec![stock],
        })
    }

    fn buy(key: u64, quantity: u64) -> Submission {
        let order = Order {
            key: OrderKey::from_time(key, 0),
            name: "FishCo".into(),
            side: Side::Buy,
            quantity,
        };
        Submission {
            order,
            trace: String::new(),
        }
    }

    /// One key, one order, also within a batch; a refused key stays refused, and takes no number.
    #[test]
    fn a_key_that_comes_twice_in_a_batch_trades_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("catalog.db");
        let mut store = Store::open(&file, genesis).expect("opens");
        let before = store.snapshot().expect("reads");
        let orders = [
            buy(1, 3),
            buy(1, 3),
            buy(2, 3),
            buy(2, 3),
            buy(1, 2),
            buy(3, 2),
        ];
        let batch = store.begin().expect("begins");
        let staged = stage(&batch, &before, orders.iter()).expect("decides");
        let refused = Verdict::InsufficientQuantity;
        let wanted = [
            Verdict::Accepted(0),
            Verdict::Accepted(0),
            refused,
            refused,
            Verdict::KeyReused,
            Verdict::Accepted(1),
        ];
        assert_eq!(staged.verdicts, wanted);
        assert_eq!((staged.rows.first, staged.rows.end()), (0, 2));
        assert_eq!(staged.quantities["FishCo"], 0);
    }

    #[test]
    #[should_panic(expected = "FishCo had 5, 3 were bought and 0 sold")]
    fn a_quantity_that_does_not_follow_from_its_trades_is_never_committed() {
        assert_follows("FishCo", 5, &[buy(1, 3).order], 3);
    }
}
