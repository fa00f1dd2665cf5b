//! Mean and quantiles of many times, with 95 % bootstrap intervals.
//!
//! The bootstrap draws slices of time, each with all requests that began in it, and not single
//! requests. Requests of one moment are slow together (a checkpoint, another program on the core),
//! so intervals from single draws would be too narrow (Künsch, "The Jackknife and the Bootstrap for
//! General Stationary Observations", Annals of Statistics, 1989).

/// Length of a slice, in milliseconds.
pub const SLICE_MS: u64 = 100;
/// Number of bootstrap samples.
pub const RESAMPLES: usize = 1_000;

/// A value with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    pub count: usize,
    pub mean: Estimate,
    /// Quantiles 50, 95, 99 and 100 %.
    pub quantiles: [Estimate; 4],
}

/// The quantiles that are computed; the last is the longest time.
const QUANTILES: [f64; 4] = [0.50, 0.95, 0.99, 1.0];

/// Figures of the times (ns) of some blocks. The bootstrap draws whole blocks. None without times.
pub fn figures(blocks: &[Vec<u64>], resamples: usize, seed: u64) -> Option<Figures> {
    let blocks: Vec<&[u64]> = blocks
        .iter()
        .map(Vec::as_slice)
        .filter(|times| !times.is_empty())
        .collect();
    let mut sorted: Vec<(u64, usize)> = Vec::new();
    for (block, times) in blocks.iter().enumerate() {
        sorted.extend(times.iter().map(|time| (*time, block)));
    }
    if sorted.is_empty() {
        return None;
    }
    sorted.sort_unstable();
    let sums: Vec<f64> = blocks
        .iter()
        .map(|times| times.iter().map(|time| ms(*time)).sum())
        .collect();
    let mut weights = vec![1_u32; blocks.len()];
    let measured = weighted(&sorted, &blocks, &sums, &weights);

    let mut rng = fastrand::Rng::with_seed(seed);
    let mut drawn: [Vec<f64>; 5] = Default::default();
    for _ in 0..resamples {
        weights.fill(0);
        for _ in 0..blocks.len() {
            weights[rng.usize(..blocks.len())] += 1;
        }
        for (all, value) in drawn
            .iter_mut()
            .zip(weighted(&sorted, &blocks, &sums, &weights))
        {
            all.push(value);
        }
    }
    let mut estimates = measured.into_iter().zip(&mut drawn).map(|(value, drawn)| {
        drawn.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            drawn
                .get(index(drawn.len(), share))
                .copied()
                .unwrap_or(value)
        };
        Estimate {
            value,
            low: at(0.025),
            high: at(0.975),
        }
    });
    let mut next = || estimates.next().expect("five figures");
    Some(Figures {
        count: sorted.len(),
        mean: next(),
        quantiles: [next(), next(), next(), next()],
    })
}

/// Mean and quantiles, where each block counts as often as its weight. At least one weight is
/// positive.
fn weighted(sorted: &[(u64, usize)], blocks: &[&[u64]], sums: &[f64], weights: &[u32]) -> [f64; 5] {
    // One pass over times that were sorted once: sorting each sample again would take minutes.
    let total: u64 = blocks
        .iter()
        .zip(weights)
        .map(|(block, weight)| block.len() as u64 * u64::from(*weight))
        .sum();
    assert!(total > 0, "no times in {} blocks", blocks.len());
    let sum: f64 = sums
        .iter()
        .zip(weights)
        .map(|(sum, weight)| sum * f64::from(*weight))
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 requests")]
    let mut figures = [sum / total as f64, 0.0, 0.0, 0.0, 0.0];
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share"
    )]
    let mut wanted = QUANTILES
        .iter()
        .map(|share| (share * total as f64).ceil() as u64)
        .zip(&mut figures[1..])
        .peekable();
    let mut seen = 0;
    for (time, block) in sorted {
        seen += u64::from(weights[*block]);
        while let Some((_, figure)) = wanted.next_if(|(rank, _)| seen >= *rank) {
            *figure = ms(*time);
        }
    }
    figures
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share"
)]
fn index(length: usize, share: f64) -> usize {
    ((length as f64 * share) as usize).min(length.saturating_sub(1))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "requests take less than 2^53 ns"
)]
fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn blocks(times: &[u64]) -> Vec<Vec<u64>> {
        times.chunks(20).map(<[u64]>::to_vec).collect()
    }

    /// The figures of known times are exact and lie within their intervals.
    #[test]
    fn known_times() {
        let times: Vec<u64> = (1..=1_000).map(|i| i * 7_919 % 1_000 * MS + MS).collect();
        let figures = figures(&blocks(&times), 200, 1).expect("there are times");
        assert_eq!((figures.count, figures.mean.value), (1_000, 500.5));
        assert_eq!(
            figures.quantiles.map(|q| q.value),
            [500.0, 950.0, 990.0, 1_000.0]
        );
        for estimate in [figures.mean].iter().chain(&figures.quantiles) {
            assert!(
                estimate.low <= estimate.value && estimate.value <= estimate.high,
                "{estimate:?}"
            );
        }
        assert!(
            figures.mean.low > 450.0 && figures.mean.low < 500.0,
            "{figures:?}"
        );
        assert_eq!(super::figures(&[Vec::new()], 10, 1), None);
    }

    /// The 95 % interval of a mean covers the true mean in about 95 of 100 cases.
    #[test]
    fn coverage() {
        let mut rng = fastrand::Rng::with_seed(5);
        let covered = (0..200).filter(|seed| {
            let times: Vec<u64> = (0..2_000).map(|_| rng.u64(0..=2 * MS)).collect();
            let mean = figures(&blocks(&times), 200, *seed)
                .expect("there are times")
                .mean;
            mean.low <= 1.0 && 1.0 <= mean.high
        });
        let covered = covered.count();
        assert!((170..=200).contains(&covered), "{covered} of 200");
    }

    /// Times that are slow together give a wider interval than the same times mixed.
    #[test]
    fn dependence_widens() {
        let slow_together: Vec<u64> = (0..2_000)
            .map(|i| if i / 200 % 2 == 0 { MS } else { 3 * MS })
            .collect();
        let mixed: Vec<u64> = (0..2_000)
            .map(|i| if i % 2 == 0 { MS } else { 3 * MS })
            .collect();
        let width = |times: &[u64]| {
            let mean = figures(&blocks(times), 300, 1)
                .expect("there are times")
                .mean;
            mean.high - mean.low
        };
        assert!(width(&slow_together) > 3.0 * width(&mixed));
    }
}
