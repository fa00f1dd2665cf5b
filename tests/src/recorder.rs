//! The orders that were acknowledged to the clients of a test. Each must be there at its end.

use client::workload::Outcome;
use common::wire::public::NewOrder;
use parking_lot::Mutex;

/// An acknowledged order.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its number.
    pub number: u64,
    /// The order.
    pub order: NewOrder,
    /// The Idempotency-Key that it was sent with, if any.
    pub key: Option<String>,
}

/// Collects acknowledged orders, from any thread.
#[derive(Debug, Default)]
pub struct Recorder {
    orders: Mutex<Vec<Recorded>>,
}

impl Recorder {
    /// Notes one.
    pub fn note(&self, number: u64, order: &NewOrder, key: Option<&str>) {
        self.orders.lock().push(Recorded {
            number,
            order: order.clone(),
            key: key.map(Into::into),
        });
    }

    /// Notes all of a workload.
    pub fn note_all(&self, outcome: &Outcome) {
        for acknowledged in &outcome.acknowledged {
            self.note(
                acknowledged.number,
                &acknowledged.order,
                Some(&acknowledged.key),
            );
        }
    }

    /// The orders so far. A repeat of an order under its key is one order: it is listed once.
    ///
    /// # Panics
    /// When a number was given to two orders, or two numbers to one key.
    pub fn orders(&self) -> Vec<Recorded> {
        let mut orders = self.orders.lock().clone();
        orders.sort_by_key(|order| order.number);
        orders.dedup_by(|b, a| {
            let repeat = a.number == b.number;
            assert!(
                !repeat || (a.key.is_some() && a.key == b.key && a.order == b.order),
                "one number twice: {a:?}, {b:?}"
            );
            repeat
        });
        let mut keys: Vec<_> = orders
            .iter()
            .filter_map(|order| order.key.as_deref())
            .collect();
        keys.sort_unstable();
        for pair in keys.windows(2) {
            assert_ne!(pair[0], pair[1], "one key traded twice");
        }
        orders
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::wire::order::Side;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// The checker itself notices a number given twice and a key that traded twice, and takes a
    /// repeat for what it is.
    #[test]
    fn notices_broken_histories() {
        let order = NewOrder {
            name: "FishCo".into(),
            quantity: 1,
            side: Side::Buy,
        };
        let orders = |notes: &[(u64, Option<&str>)]| {
            let recorder = Recorder::default();
            for (number, key) in notes {
                recorder.note(*number, &order, *key);
            }
            catch_unwind(AssertUnwindSafe(|| recorder.orders().len())).ok()
        };
        assert_eq!(
            orders(&[(1, Some("a")), (0, None), (1, Some("a"))]),
            Some(2)
        );
        assert_eq!(orders(&[(0, None), (0, None)]), None);
        assert_eq!(orders(&[(0, Some("a")), (0, Some("b"))]), None);
        assert_eq!(orders(&[(0, Some("a")), (1, Some("a"))]), None);
    }
}
