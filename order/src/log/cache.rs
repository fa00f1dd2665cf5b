//! The newest rows of a leader in memory, as pure rules: a follower in sync costs no read of the
//! file.

use common::wire::order::Rows;
use std::collections::VecDeque;
use std::sync::Arc;

/// Rows kept at most, beyond the newest run. A follower further behind is served from the file.
const KEPT: u64 = 16_384;

/// Consecutive runs of rows.
#[derive(Debug)]
pub struct LogCache {
    runs: VecDeque<Arc<Rows>>,
    end: u64,
}

impl LogCache {
    /// An empty cache; the next row is number `next`.
    pub fn new(next: u64) -> Self {
        Self {
            runs: VecDeque::new(),
            end: next,
        }
    }

    /// Number of the first row kept, or of the next one while none is.
    pub fn first(&self) -> u64 {
        self.runs.front().map_or(self.end, |run| run.first)
    }

    /// Adds a run that came from the catalog, and drops the oldest ones beyond `KEPT` rows.
    ///
    /// # Panics
    /// When it does not continue the others.
    pub fn push(&mut self, run: Arc<Rows>) {
        assert_eq!(
            run.first, self.end,
            "runs are consecutive: the next row is {}",
            self.end
        );
        self.end = run.end();
        self.runs.push_back(run);
        // By the second run: a run goes only if those after it still hold `KEPT` rows. The newest
        // one stays whatever its size, since its followers have not got it.
        while self.runs.len() > 1 && self.end - self.runs[1].first >= KEPT {
            self.runs.pop_front();
        }
    }

    /// Rows from `next` on: whole runs, at least one, as many as are `limit` rows or fewer
    /// together. `None` when there is nothing from `next` on.
    ///
    /// # Panics
    /// When `next` is before [`LogCache::first`].
    pub fn from(&self, next: u64, limit: usize) -> Option<Arc<Rows>> {
        assert!(
            next >= self.first(),
            "row {next} is no longer in memory, which begins at {}",
            self.first()
        );
        // Runs are sorted and without gaps, so a binary search finds the first one that ends after
        // `next`.
        let start = self.runs.partition_point(|run| run.end() <= next);
        if let (Some(only), None) = (
            self.runs.get(start).filter(|run| run.first == next),
            self.runs.get(start + 1),
        ) {
            // A follower that keeps up: nothing is copied.
            return Some(Arc::clone(only));
        }
        let mut rows: Option<Rows> = None;
        for run in self.runs.range(start..) {
            let skip = usize::try_from(next.saturating_sub(run.first)).unwrap_or(usize::MAX);
            let rows = rows.get_or_insert_with(|| Rows {
                first: next,
                orders: Vec::new(),
                hash: run.hash,
            });
            // At least one run, whatever its size. Cutting a run would need the hash of a row
            // inside it, and a run has only that of its end.
            if !rows.orders.is_empty() && rows.orders.len() + run.orders.len() > limit {
                break;
            }
            rows.orders.extend(run.orders.iter().skip(skip).cloned());
            rows.hash = run.hash;
        }
        rows.map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::chain::Hash;
    use common::wire::order::{Order, OrderKey, Side};

    fn run(first: u64, len: u64) -> Arc<Rows> {
        let order = |n| Order {
            key: OrderKey::from_time(n, 0),
            name: "F".into(),
            side: Side::Buy,
            quantity: n + 1,
        };
        let end = u8::try_from((first + len) % 251).expect("small");
        Arc::new(Rows {
            first,
            orders: (first..first + len).map(order).collect(),
            hash: Hash([end; 32]),
        })
    }

    /// Any row kept can be asked for; whole runs come, in order, with the hash of their end.
    #[test]
    fn runs_in_order() {
        let mut cache = LogCache::new(5);
        assert_eq!((cache.first(), cache.from(5, 10)), (5, None));
        for (first, len) in [(5, 3), (8, 1), (9, 4)] {
            cache.push(run(first, len));
        }
        let rows = cache.from(6, 6).expect("rows");
        assert_eq!((rows.first, rows.end(), rows.hash), (6, 9, Hash([9; 32])));
        assert!(rows.orders.iter().map(|o| o.quantity).eq(7..=9));
        assert_eq!(cache.from(5, 100).expect("rows").end(), 13);
        assert_eq!(cache.from(13, 100), None);
    }

    /// Old runs go, the newest stay.
    #[test]
    fn bounded() {
        let mut cache = LogCache::new(0);
        for i in 0..100 {
            cache.push(run(i * 1_000, 1_000));
        }
        assert!(100_000 - cache.first() >= KEPT && 100_000 - cache.first() < KEPT + 1_000);
    }
}
