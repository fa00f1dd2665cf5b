//! Decides the orders of a batch inside its transaction: recorded verdicts first, then the market,
//! then numbers and chain.

use crate::market::{Decision, decide};
use crate::store::{Batch, Snapshot};
use common::chain::row_hash;
use common::database::DbError;
use common::wire::order::{Position, Rows, Submission, Verdict};
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
    /// The quantity that each stock that trades is left with.
    pub quantities: BTreeMap<String, u64>,
}

/// Decides `orders` in their sequence against the state before the batch, and writes what is to be
/// recorded into the transaction.
///
/// # Errors
/// [`DbError`]; the transaction must be dropped then.
pub fn stage<'a>(
    batch: &Batch<'_>,
    before: &Snapshot,
    orders: impl Iterator<Item = &'a Submission>,
) -> Result<Staged, DbError> {
    let (mut verdicts, mut accepted, mut position) = (Vec::new(), Vec::new(), before.position);
    let mut quantities: BTreeMap<String, u64> = BTreeMap::new();
    for Submission { order, .. } in orders {
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
    assert_eq!(rows.end(), position.next(), "numbers are dense");
    Ok(Staged {
        verdicts,
        rows,
        position,
        quantities,
    })
}
