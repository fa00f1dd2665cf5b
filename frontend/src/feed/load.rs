//! The load of a second, from counters that only grow.
//!
//! Percentiles come from the buckets of the histograms, evenly spread within the bucket that they
//! fall into, as Prometheus's `histogram_quantile` has it: right to the width of a bucket.

use common::metrics::HttpMetrics;
use serde::Serialize;

/// Routes of the trading API, under their names in the metrics; others, such as this feed, are not
/// load.
const ROUTES: [&str; 4] = ["/stocks/{name}", "/stocks", "/orders", "/orders/{number}"];
const LOOKUPS: usize = 0;
const ORDERS: usize = 2;

/// Bounds in seconds, with how many were below each.
type Durations = Vec<(f64, u64)>;

/// The load of a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Its end, in milliseconds since 1970.
    pub at_ms: u64,
    /// Requests of the trading API, per second.
    pub requests_per_s: f64,
    /// Share of stock reads that the cache answered; `null` without reads.
    pub hit_ratio: Option<f64>,
    /// Reads of one stock.
    pub lookups: Latency,
    /// Orders.
    pub orders: Latency,
    /// Those who watch.
    pub viewers: usize,
}

/// How long requests took.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Requests per second.
    pub per_s: f64,
    /// The median in milliseconds; `null` without requests.
    pub p50_ms: Option<f64>,
    /// 99 of 100 took at most so many milliseconds.
    pub p99_ms: Option<f64>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    routes: [Durations; ROUTES.len()],
    hits: u64,
    misses: u64,
}

impl Counts {
    /// Reads them.
    pub fn read(http: &HttpMetrics, hits: u64, misses: u64) -> Self {
        Self {
            routes: ROUTES.map(|route| http.durations(route)),
            hits,
            misses,
        }
    }

    /// The load in the `seconds` since `before`.
    pub fn since(&self, before: &Self, seconds: f64) -> Sample {
        let durations: Vec<Durations> = self
            .routes
            .iter()
            .zip(&before.routes)
            .map(|(now, before)| less(now, before))
            .collect();
        let total: u64 = durations.iter().map(count).sum();
        // They only grow, and both are of this process.
        let (hits, misses) = (self.hits - before.hits, self.misses - before.misses);
        Sample {
            requests_per_s: total as f64 / seconds,
            // Without reads there is no ratio: 0 would look like a cache that fails.
            hit_ratio: (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64),
            lookups: latency(&durations[LOOKUPS], seconds),
            orders: latency(&durations[ORDERS], seconds),
            ..Sample::default()
        }
    }
}

fn less(now: &Durations, before: &Durations) -> Durations {
    let earlier = |bound: f64| {
        before
            .iter()
            // Equal bit by bit: both bounds are the same constant of the histogram.
            .find(|(b, _)| *b == bound)
            .map_or(0, |(_, count)| *count)
    };
    now.iter()
        .map(|&(bound, count)| (bound, count.saturating_sub(earlier(bound))))
        .collect()
}

fn count(durations: &Durations) -> u64 {
    // Buckets are cumulative, so the last holds all.
    durations.last().map_or(0, |(_, count)| *count)
}

fn latency(durations: &Durations, seconds: f64) -> Latency {
    Latency {
        per_s: count(durations) as f64 / seconds,
        p50_ms: quantile(durations, 0.5).map(|s| s * 1_000.0),
        p99_ms: quantile(durations, 0.99).map(|s| s * 1_000.0),
    }
}

/// The value below which this share of all lies; `None` when there are none. Beyond the last finite
/// bound it is that bound.
fn quantile(durations: &Durations, share: f64) -> Option<f64> {
    let rank = share * count(durations) as f64;
    let (mut lower, mut below) = (0.0, 0);
    for &(bound, cumulative) in durations {
        // The first bucket that reaches the rank; an empty one before it cannot hold it.
        if cumulative > 0 && cumulative as f64 >= rank {
            let within = (rank - below as f64) / (cumulative - below) as f64;
            return Some(if bound.is_finite() {
                lower + (bound - lower) * within
            } else {
                // Beyond the last finite bound nothing is known but that it was passed.
                lower
            });
        }
        (lower, below) = (bound, cumulative);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::metrics::Metrics;
    use std::time::Duration;

    /// Percentiles lie in the bucket of their rank, and at the last bound when they are beyond it.
    #[test]
    fn quantiles() {
        let of = |counts: [u64; 3]| {
            vec![
                (0.1, counts[0]),
                (0.2, counts[1]),
                (f64::INFINITY, counts[2]),
            ]
        };
        assert_eq!(quantile(&of([0, 0, 0]), 0.5), None);
        assert_eq!(quantile(&of([10, 10, 10]), 0.5), Some(0.05));
        assert!(quantile(&of([0, 100, 100]), 0.99).is_some_and(|q| (q - 0.199).abs() < 1e-9));
        assert_eq!(quantile(&of([0, 0, 5]), 0.5), Some(0.2));
        assert!(quantile(&of([50, 100, 100]), 0.5).is_some_and(|q| (q - 0.1).abs() < 1e-9));
    }

    /// Only what happened in between counts, and only the trading API.
    #[test]
    fn differences() {
        let http = HttpMetrics::new(&Metrics::new());
        http.answered("/orders", 200, Duration::from_secs(3));
        let before = Counts::read(&http, 10, 5);
        for _ in 0..4 {
            http.answered("/orders", 200, Duration::from_micros(1_500));
            http.answered("/events", 200, Duration::ZERO);
        }
        let sample = Counts::read(&http, 13, 6).since(&before, 2.0);
        assert_eq!((sample.requests_per_s, sample.hit_ratio), (2.0, Some(0.75)));
        assert_eq!(
            (sample.orders.per_s, sample.lookups.clone()),
            (2.0, Latency::default())
        );
        assert!(
            sample
                .orders
                .p99_ms
                .is_some_and(|ms| (1.0..=2.0).contains(&ms)),
            "{sample:?}"
        );
        let idle = before.since(&before, 1.0);
        assert_eq!(idle, Sample::default());
    }
}
