//! The lab's experiment: five clients at once, with the cache on and off and p from 0 to 80 %, each
//! setting several times in random sequence. The clients run near the front-end, and then behind a
//! proxy that delays every piece as a distance would.

use super::bootstrap::{RESAMPLES, figures};
use super::plan::Plan;
use super::progress::Progress;
use super::scrape::{Counted, Scrape};
use super::tables::{ALL_CLIENTS, Cache, CacheRow, LatencyRow, ServerRow, round};
use super::target::{CacheSetting, Target};
use super::worker::{self, Run, Task};
use client::stats::Kind;
use cluster::proxy::{Harm, Proxy};
use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// The measurements at one distance.
#[derive(Debug)]
pub struct Measured {
    distance_ms: u64,
    seed: u64,
    settings: BTreeMap<(Cache, u32), Samples>,
}

/// The measurements at one setting, of all rounds.
#[derive(Debug, Default)]
struct Samples {
    /// Times (ns) by kind and client, then by slice of time. Slices count from the machine's boot,
    /// so two rounds never share one.
    times: BTreeMap<(Kind, usize), BTreeMap<u64, Vec<u64>>>,
    counted: Counted,
}

#[derive(Debug)]
pub struct Rows {
    pub latency: Vec<LatencyRow>,
    pub server: Vec<ServerRow>,
    pub cache: Vec<CacheRow>,
}

/// Measures at a distance, 0 for none.
pub fn measure(
    target: &mut Target,
    plan: &Plan,
    distance_ms: u128,
    progress: &mut Progress,
) -> Result<Measured, String> {
    let distance_ms = u64::try_from(distance_ms).map_err(|e| e.to_string())?;
    let trade = if distance_ms == 0 {
        plan.trade
    } else {
        plan.distance_trade
    };
    let proxy = if distance_ms == 0 {
        None
    } else {
        Some(far_away(&target.url(), distance_ms)?)
    };
    let caches = target.caches()?;
    let mut settings: BTreeMap<(Cache, u32), Samples> = BTreeMap::new();
    for round in 1..=plan.rounds {
        for (cache, p) in plan.settings(&caches, round) {
            let away = if distance_ms == 0 {
                String::new()
            } else {
                format!(", {distance_ms} ms away")
            };
            let what = format!(
                "round {round} of {}: cache {cache}, p = {p} %{away}",
                plan.rounds
            );
            progress.step(&what, plan.run_estimate(trade));
            target.set_cache(CacheSetting {
                cache,
                capacity: None,
            })?;
            let task = Task {
                url: proxy.as_ref().map_or_else(|| target.url(), Proxy::url),
                probability: f64::from(p) / 100.0,
                seed: plan.seed.wrapping_add(u64::from(round) * 1_000),
            };
            let (api, internal) = (target.api(), target.internal());
            let before = Scrape::of(&api, internal.as_ref())?;
            let run = worker::run(plan.clients, &task, trade, |time| {
                progress.wait(&what, time)
            })?;
            let counted = before.until_now(&api, internal.as_ref())?;
            settings.entry((cache, p)).or_default().add(&run, &counted);
        }
    }
    Ok(Measured {
        distance_ms,
        seed: plan.seed,
        settings,
    })
}

/// A proxy to the front-end with this round trip.
fn far_away(url: &str, distance_ms: u64) -> Result<Proxy, String> {
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let address: Option<SocketAddr> = host
        .to_socket_addrs()
        .map_err(|e| format!("{host}: {e}"))?
        .next();
    let proxy = Proxy::start(address.ok_or_else(|| format!("{host} has no address"))?);
    let proxy = proxy.map_err(|e| format!("cannot start the delaying proxy: {e}"))?;
    proxy.set(Harm::Delay(Duration::from_micros(distance_ms * 500)));
    Ok(proxy)
}

impl Samples {
    fn add(&mut self, run: &Run, counted: &Counted) {
        for kind in Kind::ALL {
            for client in 0..run.seen.len() {
                self.times
                    .entry((kind, client))
                    .or_default()
                    .extend(run.times(client, kind));
            }
        }
        self.counted.add(counted);
    }
}

impl Measured {
    /// Computes the rows with their intervals.
    pub fn rows(&self) -> Rows {
        let mut rows = Rows {
            latency: Vec::new(),
            server: Vec::new(),
            cache: Vec::new(),
        };
        for ((cache, p), samples) in &self.settings {
            let at = (self.distance_ms, *cache, *p);
            let (distance_ms, cache, p) = at;
            for kind in Kind::ALL {
                let slices = |of: Option<usize>| -> Vec<Vec<u64>> {
                    let mut slices: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
                    for (_, times) in samples
                        .times
                        .iter()
                        .filter(|((k, c), _)| *k == kind && of.is_none_or(|of| of == *c))
                    {
                        for (slice, times) in times {
                            slices.entry(*slice).or_default().extend(times);
                        }
                    }
                    slices.into_values().collect()
                };
                let mut push = |client: &str, of| {
                    let figures = figures(&slices(of), RESAMPLES, self.seed);
                    rows.latency
                        .extend(figures.map(|figures| LatencyRow::new(at, client, kind, &figures)));
                };
                push(ALL_CLIENTS, None);
                let clients = samples.times.keys().filter(|(k, _)| *k == kind).count();
                for client in 0..clients {
                    push(&(client + 1).to_string(), Some(client));
                }
                let (count, seconds) = samples.counted.answered[kind as usize];
                if count > 0.0 {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a count"
                    )]
                    let row = ServerRow {
                        distance_ms,
                        cache,
                        p,
                        request: kind,
                        count: count as u64,
                        mean_ms: round(seconds / count * 1e3),
                    };
                    rows.server.push(row);
                }
            }
            let (hits, misses) = (samples.counted.hits, samples.counted.misses);
            #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 reads")]
            let hit_ratio = round(hits as f64 / (hits + misses).max(1) as f64);
            rows.cache.push(CacheRow {
                distance_ms,
                cache,
                p,
                hits,
                misses,
                hit_ratio,
            });
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::{Sample, WorkerReport};

    /// There are rows of every client and of all together, for each kind with requests; requests
    /// outside of the common time do not count.
    #[test]
    fn rows() {
        let sample = |kind, began_us, took_ns| Sample {
            kind,
            began_us,
            took_ns,
        };
        let seen = |offset: u64| WorkerReport {
            samples: vec![
                sample(Kind::Lookup, 5, 9),
                sample(Kind::Lookup, 100 + offset, 2_000_000),
                sample(Kind::OrderQuery, 900, 1_000_000),
            ],
            ..WorkerReport::default()
        };
        let run = Run {
            seen: vec![seen(0), seen(1)],
            from_us: 50,
            to_us: 200,
        };
        let mut samples = Samples::default();
        let counted = Counted {
            answered: [(4.0, 0.002), (0.0, 0.0), (0.0, 0.0)],
            hits: 3,
            misses: 1,
        };
        samples.add(&run, &counted);
        let measured = Measured {
            distance_ms: 0,
            seed: 1,
            settings: [((Cache::On, 20), samples)].into(),
        };
        let rows = measured.rows();
        let of = |client: &str, kind| {
            let row = rows
                .latency
                .iter()
                .find(|row| row.client == client && row.request == kind)
                .expect("a row");
            (row.count, row.p50_ms)
        };
        assert_eq!(of(ALL_CLIENTS, Kind::Lookup), (2, 2.0));
        assert_eq!(of("2", Kind::Lookup), (1, 2.0));
        assert_eq!(of(ALL_CLIENTS, Kind::OrderQuery), (2, 1.0));
        assert_eq!(rows.latency.len(), 6, "no orders, no rows of orders");
        assert_eq!(
            (
                rows.server.len(),
                rows.server[0].mean_ms,
                rows.cache[0].hit_ratio
            ),
            (1, 0.5, 0.75)
        );
    }
}
