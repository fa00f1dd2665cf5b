//! Statistics of each kind of request. A time is as long as a client waits for an answer, retries
//! included.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Kinds of requests that a workload makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `GET /stocks/<name>`.
    Lookup,
    /// `POST /orders`.
    Order,
    /// `GET /orders/<number>`.
    OrderQuery,
}

impl Kind {
    /// All kinds, in the sequence of every table.
    pub const ALL: [Self; 3] = [Self::Lookup, Self::Order, Self::OrderQuery];

    /// The name in tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Order => "order",
            Self::OrderQuery => "order query",
        }
    }
}

/// Longest time of the histogram; longer times count as this one.
const LONGEST: Duration = Duration::from_secs(300);

/// Times and counts of one kind of request.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Times of successes, in nanoseconds, with three significant digits.
    times: Histogram<u64>,
    /// Refusals that the API promises (409): too few are left.
    pub refused: u64,
    /// Repeated attempts, after no answer or a 503.
    pub retries: u64,
    /// Requests without an answer until their deadline.
    pub unanswered: u64,
    /// Responses that the API does not promise: another shape or status.
    pub unexpected: u64,
}

impl Default for Figures {
    fn default() -> Self {
        let longest = u64::try_from(LONGEST.as_nanos()).expect("300 s in ns fit 64 bits");
        // From a microsecond on: no request over a socket is faster.
        let times = Histogram::new_with_bounds(1_000, longest, 3).expect("the bounds are valid");
        Self {
            times,
            refused: 0,
            retries: 0,
            unanswered: 0,
            unexpected: 0,
        }
    }
}

impl Figures {
    /// Counts a success.
    pub fn record(&mut self, took: Duration) {
        self.times.saturating_record(
            // Saturating: a time beyond the bounds would be an error, and be missing.
            u64::try_from(took.min(LONGEST).as_nanos()).expect("300 s in ns fit 64 bits"),
        );
    }

    /// Adds another client's figures.
    ///
    /// # Panics
    /// Never: all histograms have the same bounds.
    pub fn merge(&mut self, other: &Self) {
        self.times.add(&other.times).expect("same bounds");
        self.refused += other.refused;
        self.retries += other.retries;
        self.unanswered += other.unanswered;
        self.unexpected += other.unexpected;
    }

    /// Whether a client noticed a failure: it had to repeat, gave up, or got an unexpected
    /// response.
    pub fn failure_noticed(&self) -> bool {
        // A refusal is none: the API promises it.
        self.retries + self.unanswered + self.unexpected > 0
    }

    /// Count, mean and quantiles of the times.
    pub fn summary(&self) -> Summary {
        #[expect(
            clippy::cast_precision_loss,
            reason = "at most 300 s in ns, far below 2^53"
        )]
        let ms = |ns: u64| ns as f64 / 1e6;
        let at = |quantile: f64| ms(self.times.value_at_quantile(quantile));
        Summary {
            count: self.times.len(),
            mean_ms: self.times.mean() / 1e6,
            p50_ms: at(0.50),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: ms(self.times.max()),
        }
    }
}

/// Times in brief, in milliseconds; all 0 when there was no success.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Successes.
    pub count: u64,
    /// Their mean time.
    pub mean_ms: f64,
    /// Half took at most this.
    pub p50_ms: f64,
    /// 95 of 100 took at most this.
    pub p95_ms: f64,
    /// 99 of 100 took at most this.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// Figures of every kind.
#[derive(Debug, Clone, Default)]
pub struct Stats([Figures; 3]);

impl Stats {
    /// The figures of one kind.
    pub fn of(&self, kind: Kind) -> &Figures {
        &self.0[kind as usize]
    }

    /// The figures of one kind, to count another request.
    pub fn of_mut(&mut self, kind: Kind) -> &mut Figures {
        &mut self.0[kind as usize]
    }

    /// Adds another client's figures.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            mine.merge(theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quantiles of known times are exact within the histogram's three digits, also after a merge.
    #[test]
    fn quantiles() {
        let (mut all, mut one) = (Stats::default(), Stats::default());
        for ms in 1..=50 {
            all.of_mut(Kind::Order).record(Duration::from_millis(ms));
            one.of_mut(Kind::Order)
                .record(Duration::from_millis(50 + ms));
        }
        one.of_mut(Kind::Order).retries = 1;
        all.merge(&one);
        let order = all.of(Kind::Order).summary();
        let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() < 0.002;
        assert_eq!(order.count, 100);
        assert!(
            near(order.p50_ms, 50.0) && near(order.p95_ms, 95.0) && near(order.p99_ms, 99.0),
            "{order:?}"
        );
        assert!(
            near(order.mean_ms, 50.5) && near(order.max_ms, 100.0),
            "{order:?}"
        );
        assert!(all.of(Kind::Order).failure_noticed() && !all.of(Kind::Lookup).failure_noticed());
        assert_eq!(all.of(Kind::Lookup).summary().max_ms, 0.0);
    }
}
