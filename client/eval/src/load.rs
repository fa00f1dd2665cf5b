//! The load experiment: throughput and times with more and more clients.

use super::bootstrap::figures;
use super::plan::Plan;
use super::progress::Progress;
use super::tables::{LoadRow, round};
use super::target::{CacheSetting, Target};
use super::worker::{self, Run, Task};
use client::stats::Kind;

/// Measures with each number of clients.
pub fn measure(
    target: &mut Target,
    plan: &Plan,
    progress: &mut Progress,
) -> Result<Vec<LoadRow>, String> {
    let mut rows = Vec::new();
    for cache in target.caches()? {
        for clients in plan.loads.iter().copied() {
            let what = format!("cache {cache}, clients at once: {clients}");
            progress.step(&what, plan.run_estimate(plan.load_trade));
            target.set_cache(CacheSetting {
                cache,
                capacity: None,
            })?;
            let probability = f64::from(plan.usual_percent) / 100.0;
            let task = Task {
                url: target.url(),
                probability,
                seed: plan.seed,
            };
            let run = worker::run(clients, &task, plan.load_trade, |time| {
                progress.wait(&what, time)
            })?;
            for request in Kind::ALL {
                let times: Vec<Vec<u64>> = (0..clients)
                    .flat_map(|client| run.times(client, request).into_values())
                    .collect();
                let Some(figures) = figures(&times, 0, 0) else {
                    continue;
                };
                rows.push(LoadRow {
                    cache,
                    clients,
                    request,
                    count: figures.count,
                    per_second: rate(&run, request),
                    mean_ms: round(figures.mean.value),
                    p50_ms: round(figures.quantiles[0].value),
                    p99_ms: round(figures.quantiles[2].value),
                });
            }
        }
    }
    Ok(rows)
}

/// Successes a second: lookups and orders while all clients traded, queries while all read back.
fn rate(run: &Run, kind: Kind) -> f64 {
    let queries = |seen: &worker::WorkerReport| {
        let mut of = seen
            .samples
            .iter()
            .filter(|sample| sample.kind == Kind::OrderQuery);
        let first = of.next()?;
        Some((first.began_us, of.next_back().unwrap_or(first).began_us))
    };
    let (from, to) = if kind == Kind::OrderQuery {
        let spans: Vec<(u64, u64)> = run.seen.iter().filter_map(queries).collect();
        (
            spans.iter().map(|s| s.0).max().unwrap_or(0),
            spans.iter().map(|s| s.1).min().unwrap_or(0),
        )
    } else {
        (run.from_us, run.to_us)
    };
    if from >= to {
        return 0.0;
    }
    let samples = run.seen.iter().flat_map(|seen| &seen.samples);
    let count = samples
        .filter(|sample| sample.kind == kind && (from..to).contains(&sample.began_us))
        .count();
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts and times are far below 2^53"
    )]
    let per_second = count as f64 / ((to - from) as f64 / 1e6);
    (per_second * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::{Sample, WorkerReport};

    /// Lookups count while all trade, queries while all read back.
    #[test]
    fn rates() {
        let sample = |kind, began_us| Sample {
            kind,
            began_us,
            took_ns: 1_000_000,
        };
        let lookups = (0..10).map(|i| sample(Kind::Lookup, i * 100_000));
        let queries = |from: u64| (0..10).map(move |i| sample(Kind::OrderQuery, from + i * 10_000));
        let seen = |from| WorkerReport {
            samples: lookups.clone().chain(queries(from)).collect(),
            ..WorkerReport::default()
        };
        let run = Run {
            seen: vec![seen(2_000_000), seen(2_050_000)],
            from_us: 500_000,
            to_us: 1_000_000,
        };
        assert_eq!(rate(&run, Kind::Lookup), 20.0, "five each in half a second");
        assert_eq!(
            rate(&run, Kind::OrderQuery),
            200.0,
            "from 2.05 s to 2.09 s four each"
        );
        assert_eq!(rate(&run, Kind::Order), 0.0);
    }
}
