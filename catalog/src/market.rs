//! The effect of an order on a stock, as pure rules.

use common::wire::money::Price;
use common::wire::order::Side;
use std::collections::BTreeMap;

/// Largest quantity of a stock: what JSON readers in every language hold exactly.
pub const MAX_QUANTITY: u64 = (1 << 53) - 1;

/// A stock's price, and how many are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Never changes.
    pub price: Price,
    /// 0 to [`MAX_QUANTITY`].
    pub quantity: u64,
}

/// All stocks by name.
pub type Market = BTreeMap<String, Holding>;

/// The effect of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The order trades.
    Trade {
        /// The quantity that is left afterwards.
        left: u64,
    },
    /// A buy of more than what is left, or a sell beyond [`MAX_QUANTITY`].
    InsufficientQuantity,
}

/// Decides an order against a stock that has `left`. A buy succeeds when it wants at most what is
/// left; a sell adds.
pub fn decide(left: u64, side: Side, quantity: u64) -> Decision {
    // A sell beyond the maximum gets the same refusal: clients know one for a trade that the stock
    // does not allow.
    let after = match side {
        Side::Buy => left.checked_sub(quantity),
        Side::Sell => left
            .checked_add(quantity)
            .filter(|&sum| sum <= MAX_QUANTITY),
    };
    after.map_or(Decision::InsufficientQuantity, |left| Decision::Trade {
        left,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The last one can be bought, one more cannot; a stock never overflows.
    #[test]
    fn edges() {
        assert_eq!(decide(5, Side::Buy, 5), Decision::Trade { left: 0 });
        assert_eq!(decide(5, Side::Buy, 6), Decision::InsufficientQuantity);
        assert_eq!(decide(0, Side::Sell, 1), Decision::Trade { left: 1 });
        assert_eq!(
            decide(MAX_QUANTITY, Side::Sell, 1),
            Decision::InsufficientQuantity
        );
    }

    proptest! {
        /// After any sequence of orders: quantity = start − bought + sold, and never below zero.
        #[test]
        fn conserves(
            start in 0..1_000_u64,
            orders in proptest::collection::vec((any::<bool>(), 1..300_u64), 0..50),
        ) {
            let (mut left, mut balance) = (start, i128::from(start));
            for (buy, quantity) in orders {
                let side = if buy { Side::Buy } else { Side::Sell };
                if let Decision::Trade { left: after } = decide(left, side, quantity) {
                    balance += if buy { -i128::from(quantity) } else { i128::from(quantity) };
                    left = after;
                } else {
                    prop_assert!(buy && quantity > left);
                }
                prop_assert_eq!(i128::from(left), balance);
            }
        }
    }
}
