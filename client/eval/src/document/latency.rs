//! Latency with and without the cache, near and far.

use super::words::{Comparison, compare, list, mean, ms};
use crate::tables::{Cache, LatencyRow, Measured};
use client::stats::Kind;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Probabilities that were measured at a distance, in per cent.
fn percents(measured: &Measured, distance_ms: u64) -> BTreeSet<u32> {
    measured
        .cache
        .iter()
        .filter(|row| row.distance_ms == distance_ms)
        .map(|row| row.p)
        .collect()
}

fn has_both(measured: &Measured) -> bool {
    [Cache::On, Cache::Off]
        .into_iter()
        .all(|cache| measured.cache.iter().any(|row| row.cache == cache))
}

/// The table of all clients together.
fn table(measured: &Measured, distance_ms: u64) -> String {
    let mut text = String::from(
        "| cache | p | lookup: mean | p50 | p95 | p99 | order: mean | p50 | p95 | p99 \
         | order query: mean | p50 | p95 | p99 |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for cache in [Cache::On, Cache::Off] {
        for p in percents(measured, distance_ms) {
            let cells = Kind::ALL.map(|kind| match measured.of_all(distance_ms, cache, p, kind) {
                Some(row) => format!(
                    "{} | {} | {} | {}",
                    mean(row),
                    ms(row.p50_ms),
                    ms(row.p95_ms),
                    ms(row.p99_ms)
                ),
                None => "– | – | – | –".into(),
            });
            if cells.iter().any(|cell| !cell.starts_with('–')) {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "| {cache} | {p} % | {} |", cells.join(" | "));
            }
        }
    }
    text
}

pub fn near(measured: &Measured, folder: &str) -> String {
    if measured.latency.is_empty() {
        return "## Latency with and without the cache\n\nNot measured.\n".into();
    }
    let only = if has_both(measured) {
        String::new()
    } else {
        "Only one setting of the cache was measured: there was no command to set it \
         (`FRONTEND=`).\n\n"
            .into()
    };
    let server = if measured.server.is_empty() {
        "The front-end's own time was not measured: its internal listener could not be reached.\n"
            .into()
    } else {
        format!(
            "### The front-end's own time\n\n\
             The front-end measures the time from the end of a request to its response. It \
             contains no network, but it contains the warm-up.\n\n{}\n{}\n\
             ![mean time in the front-end by p]({folder}/server.svg)\n\n\
             ![hit ratio by p]({folder}/hit-ratio.svg)\n",
            server_table(measured),
            server_words(measured)
        )
    };
    format!(
        "## Latency with and without the cache\n\n{only}\
         The table holds milliseconds of all clients together, and the interval of each mean. \
         [`latency.csv`]({folder}/latency.csv) has each client, the maxima and all intervals; the \
         [appendix](#appendix) has the means by client.\n\n\
         {}\n\
         ![mean latency by p, cache on beside off]({folder}/latency.svg)\n\n\
         ![p99 by p, cache on beside off]({folder}/latency-p99.svg)\n\n{}\n{server}",
        table(measured, 0),
        seen(measured, 0),
    )
}

fn server_table(measured: &Measured) -> String {
    let mut text = String::from(
        "| cache | p | lookup | order | order query | hit ratio |\n|---|---|---|---|---|---|\n",
    );
    for row in measured.cache.iter().filter(|row| row.distance_ms == 0) {
        let cells = Kind::ALL
            .map(|kind| server_ms(measured, row.cache, row.p, kind).map_or("–".into(), ms));
        let hits = if row.cache == Cache::On {
            format!("{:.1} %", row.hit_ratio * 100.0)
        } else {
            "–".into()
        };
        let _ = writeln!(
            text,
            "| {} | {} % | {} | {hits} |",
            row.cache,
            row.p,
            cells.join(" | ")
        );
    }
    text
}

fn server_ms(measured: &Measured, cache: Cache, p: u32, kind: Kind) -> Option<f64> {
    let fits = |row: &&crate::tables::ServerRow| {
        (row.distance_ms, row.cache, row.p, row.request) == (0, cache, p, kind)
    };
    measured.server.iter().find(fits).map(|row| row.mean_ms)
}

fn server_words(measured: &Measured) -> String {
    let factors: Vec<String> = percents(measured, 0)
        .into_iter()
        .filter_map(|p| {
            let [on, off] =
                [Cache::On, Cache::Off].map(|cache| server_ms(measured, cache, p, Kind::Lookup));
            Some(format!("{:.1} at p = {p} %", off? / on?))
        })
        .collect();
    if factors.is_empty() {
        return String::new();
    }
    format!(
        "In the front-end, a lookup without the cache takes longer than one with it by these \
         factors: {}.\n",
        list(&factors)
    )
}

/// Compares each kind of request with the cache and without it, as far as the intervals allow.
fn seen(measured: &Measured, distance_ms: u64) -> String {
    if !has_both(measured) {
        return String::new();
    }
    let lines: String = Kind::ALL
        .into_iter()
        .filter_map(|kind| {
            let compared: Vec<(u32, Comparison)> = percents(measured, distance_ms)
                .into_iter()
                .filter_map(|p| {
                    Some((
                        p,
                        compare(
                            measured.of_all(distance_ms, Cache::On, p, kind)?,
                            measured.of_all(distance_ms, Cache::Off, p, kind)?,
                        ),
                    ))
                })
                .collect();
            let of = |chosen: &dyn Fn(Comparison) -> Option<String>| -> Vec<String> {
                compared
                    .iter()
                    .filter_map(|(p, comparison)| {
                        Some(format!("p = {p} %{}", chosen(*comparison)?))
                    })
                    .collect()
            };
            let faster = of(&|c| {
                if let Comparison::Faster(factor) = c {
                    Some(format!(" ({factor:.2} times)"))
                } else {
                    None
                }
            });
            let slower = of(&|c| {
                if let Comparison::Slower(factor) = c {
                    Some(format!(" ({factor:.2} times)"))
                } else {
                    None
                }
            });
            let open = of(&|c| (c == Comparison::Open).then(String::new));
            let mut parts = Vec::new();
            if !faster.is_empty() {
                parts.push(format!("faster at {}", list(&faster)));
            }
            if !slower.is_empty() {
                parts.push(format!("**slower** at {}", list(&slower)));
            }
            if !open.is_empty() {
                parts.push(format!(
                    "the intervals show no difference at {}",
                    list(&open)
                ));
            }
            (!parts.is_empty()).then(|| format!("- **{}**: {}.\n", kind.label(), parts.join("; ")))
        })
        .collect();
    format!("With the cache, by kind of request:\n\n{lines}")
}

/// Estimates how much of a client's time the cache saves.
pub fn benefit(measured: &Measured) -> String {
    if !has_both(measured) {
        return "## The benefit of the cache\n\nNot known: it was not measured on and off.\n"
            .into();
    }
    let mut text = String::from(
        "## The benefit of the cache\n\n\
         An iteration of a client is one lookup and, with probability p, an order. The table \
         computes its time from the means above, and counts only the time that the lookup saves. \
         The comparison above shows whether orders differ.\n\n\
         | p | hit ratio | a lookup saves (ms) | iteration, cache on (ms) | off (ms) \
         | saved by the lookup |\n\
         |---|---|---|---|---|---|\n",
    );
    let mut saved = Vec::new();
    for p in percents(measured, 0) {
        let iteration = |cache| {
            let lookup = measured.of_all(0, cache, p, Kind::Lookup)?.mean_ms;
            let order = measured
                .of_all(0, cache, p, Kind::Order)
                .map_or(0.0, |row| row.mean_ms);
            Some((lookup, lookup + f64::from(p) / 100.0 * order))
        };
        let (Some(on), Some(off)) = (iteration(Cache::On), iteration(Cache::Off)) else {
            continue;
        };
        let hits = measured
            .cache
            .iter()
            .find(|row| (row.distance_ms, row.cache, row.p) == (0, Cache::On, p));
        let share = (off.0 - on.0) / off.1 * 100.0;
        saved.push((p, share));
        let _ = writeln!(
            text,
            "| {p} % | {:.1} % | {:.3} | {} | {} | {share:.1} % |",
            hits.map_or(0.0, |row| row.hit_ratio * 100.0),
            off.0 - on.0,
            ms(on.1),
            ms(off.1)
        );
    }
    let (Some(first), Some(last)) = (saved.first(), saved.last()) else {
        return text;
    };
    let trend = |(p, share): &(u32, f64)| match *share {
        share if share.abs() < 0.5 => format!("no visible time at p = {p} %"),
        share if share > 0.0 => format!("{share:.0} % of the time at p = {p} %"),
        share => format!("**minus** {:.0} % of the time at p = {p} %", -share),
    };
    let _ = write!(
        text,
        "\nThe cache saves {} and {}.",
        trend(first),
        trend(last)
    );
    let hits = |p: u32| {
        measured
            .cache
            .iter()
            .find(|row| (row.distance_ms, row.cache, row.p) == (0, Cache::On, p))
    };
    if let (Some(few), Some(many)) = (hits(first.0), hits(last.0)) {
        let (few, many) = (few.hit_ratio * 100.0, many.hit_ratio * 100.0);
        if few > many {
            let _ = write!(
                text,
                " Each trade removes its stock from the cache, so more trades mean fewer hits \
                 ({few:.0} % and {many:.0} % of the lookups)."
            );
        }
    }
    let order = measured
        .of_all(0, Cache::On, last.0, Kind::Order)
        .zip(measured.of_all(0, Cache::On, last.0, Kind::Lookup));
    if let Some((order, lookup)) = order {
        let orders = f64::from(last.0) / 100.0 * order.mean_ms;
        let _ = write!(
            text,
            " At p = {} %, the order takes {:.0} % of an iteration's time, and no cache shortens \
             it.",
            last.0,
            orders / (orders + lookup.mean_ms) * 100.0
        );
    }
    text.push('\n');
    text
}

/// The first experiment again, with an emulated distance.
pub fn far(measured: &Measured, folder: &str) -> String {
    let far = measured.far_ms();
    if far == 0 {
        return "## At a distance\n\nNot measured.\n".into();
    }
    let share = |p: u32| -> Option<(u32, f64)> {
        let row = |cache| measured.of_all(far, cache, p, Kind::Lookup);
        let (on, off): (&LatencyRow, &LatencyRow) = (row(Cache::On)?, row(Cache::Off)?);
        Some((p, (off.mean_ms - on.mean_ms) / off.mean_ms * 100.0))
    };
    let shares: Vec<(u32, f64)> = percents(measured, far)
        .into_iter()
        .filter_map(share)
        .collect();
    let saved: Vec<String> = shares
        .iter()
        .map(|(p, share)| format!("{share:.1} % at p = {p} %"))
        .collect();
    let why = if shares.iter().all(|(_, share)| share.abs() < 20.0) {
        " The network dominates, as it does between a home and EC2. The table of the \
         front-end's own time shows the difference without it."
    } else {
        ""
    };
    let more = if measured.fact("place") == "elsewhere" {
        " more"
    } else {
        ""
    };
    let words = if saved.is_empty() {
        String::new()
    } else {
        format!(
            "\nAt this distance the cache saves these parts of a lookup's time: {}.{why}\n",
            list(&saved)
        )
    };
    format!(
        "## At a distance\n\n\
         The same experiment with a round trip of {far} ms{more} between clients and front-end: a \
         TCP proxy delays each piece by {} ms in each direction. A client sends an order in two \
         pieces, head and body, and the proxy delays one after the other. So an order's time here \
         contains half a round trip that a network would not add.\n\n\
         {}\n![mean latency by p at a distance]({folder}/latency-far.svg)\n\n{}{words}",
        ms(f64::from(u32::try_from(far).unwrap_or(u32::MAX)) / 2.0)
            .trim_end_matches('0')
            .trim_end_matches('.'),
        table(measured, far),
        seen(measured, far),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::{Estimate, Figures};
    use crate::tables::{ALL_CLIENTS, CacheRow};

    fn row(cache: Cache, mean: f64) -> LatencyRow {
        let near = |value: f64| Estimate {
            value,
            low: value * 0.9,
            high: value * 1.1,
        };
        let figures = Figures {
            count: 9,
            mean: near(mean),
            quantiles: [near(mean); 4],
        };
        LatencyRow::new((0, cache, 20), ALL_CLIENTS, Kind::Lookup, &figures)
    }

    fn measured(on: f64, off: f64) -> Measured {
        let cache = |cache| CacheRow {
            distance_ms: 0,
            cache,
            p: 20,
            hits: 3,
            misses: 1,
            hit_ratio: 0.75,
        };
        Measured {
            latency: vec![row(Cache::On, on), row(Cache::Off, off)],
            cache: vec![cache(Cache::On), cache(Cache::Off)],
            ..Measured::default()
        }
    }

    /// The conclusions follow the numbers, also where the cache is slower or the intervals overlap.
    #[test]
    fn judged_by_figures() {
        let faster = near(&measured(0.5, 1.0), "f");
        assert!(
            faster.contains("**lookup**: faster at p = 20 % (2.00 times)"),
            "{faster}"
        );
        let slower = near(&measured(3.0, 1.0), "f");
        assert!(
            slower.contains("**slower** at p = 20 % (3.00 times)"),
            "{slower}"
        );
        let open = near(&measured(1.0, 1.05), "f");
        assert!(
            open.contains("the intervals show no difference at p = 20 %"),
            "{open}"
        );
        assert!(benefit(&measured(0.5, 1.0)).contains("50 % of the time"));
        assert!(benefit(&measured(1.5, 1.0)).contains("**minus** 50 % of the time"));
        assert!(benefit(&Measured::default()).contains("Not known"));
    }
}
