//! The CSV files. One type of row per file; times in milliseconds, with four decimals.

use crate::bootstrap::{Estimate, Figures};
use client::stats::Kind;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// A row of one of the files.
pub trait Row: Serialize + DeserializeOwned {
    /// Name of its file.
    const FILE: &'static str;
}

/// Whether the cache was on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// Reads are answered from it where they can be.
    On,
    /// Every read goes to the catalog.
    Off,
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if *self == Self::On { "on" } else { "off" })
    }
}

/// The name of all clients together, where others are numbers.
pub const ALL_CLIENTS: &str = "all";

/// Times of one kind of request at one setting, of one client or all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyRow {
    /// Emulated round trip between clients and front-end.
    pub distance_ms: u64,
    /// The cache.
    pub cache: Cache,
    /// Probability of a trade, in per cent.
    pub p: u32,
    /// The client, from 1; or [`ALL_CLIENTS`].
    pub client: String,
    /// The kind.
    pub request: Kind,
    /// How many.
    pub count: usize,
    /// Mean, and its interval.
    pub mean_ms: f64,
    /// Lower end.
    pub mean_low: f64,
    /// Upper end.
    pub mean_high: f64,
    /// Half took at most this.
    pub p50_ms: f64,
    /// Lower end.
    pub p50_low: f64,
    /// Upper end.
    pub p50_high: f64,
    /// 95 of 100 took at most this.
    pub p95_ms: f64,
    /// Lower end.
    pub p95_low: f64,
    /// Upper end.
    pub p95_high: f64,
    /// 99 of 100 took at most this.
    pub p99_ms: f64,
    /// Lower end.
    pub p99_low: f64,
    /// Upper end.
    pub p99_high: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Lower end.
    pub max_low: f64,
    /// Upper end: the slowest itself, which says nothing of slower ones that did not happen to be
    /// seen.
    pub max_high: f64,
}

impl LatencyRow {
    /// Fills the figures in.
    #[must_use]
    pub fn new(at: (u64, Cache, u32), client: &str, request: Kind, figures: &Figures) -> Self {
        let (distance_ms, cache, p) = at;
        let parts = |e: &Estimate| [round(e.value), round(e.low), round(e.high)];
        let [mean_ms, mean_low, mean_high] = parts(&figures.mean);
        let [p50, p95, p99, max] = &figures.quantiles;
        let [p50_ms, p50_low, p50_high] = parts(p50);
        let [p95_ms, p95_low, p95_high] = parts(p95);
        let [p99_ms, p99_low, p99_high] = parts(p99);
        let [max_ms, max_low, max_high] = parts(max);
        Self {
            distance_ms,
            cache,
            p,
            client: client.into(),
            request,
            count: figures.count,
            mean_ms,
            mean_low,
            mean_high,
            p50_ms,
            p50_low,
            p50_high,
            p95_ms,
            p95_low,
            p95_high,
            p99_ms,
            p99_low,
            p99_high,
            max_ms,
            max_low,
            max_high,
        }
    }
}

/// The front-end's own time for one kind of request: from the request read to its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerRow {
    /// Emulated round trip between clients and front-end.
    pub distance_ms: u64,
    /// The cache.
    pub cache: Cache,
    /// Probability of a trade, in per cent.
    pub p: u32,
    /// The kind.
    pub request: Kind,
    /// How many, warm-up included.
    pub count: u64,
    /// Their mean.
    pub mean_ms: f64,
}

/// What the cache did at one setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheRow {
    /// Emulated round trip between clients and front-end.
    pub distance_ms: u64,
    /// The cache.
    pub cache: Cache,
    /// Probability of a trade, in per cent.
    pub p: u32,
    /// Reads answered from it.
    pub hits: u64,
    /// Reads that went to the catalog.
    pub misses: u64,
    /// Hits of all reads, 0 to 1.
    pub hit_ratio: f64,
}

/// Throughput and times with so many clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRow {
    /// The cache.
    pub cache: Cache,
    /// Clients at once.
    pub clients: usize,
    /// The kind.
    pub request: Kind,
    /// How many.
    pub count: usize,
    /// How many a second: lookups and orders while all traded, queries while all read back.
    pub per_second: f64,
    /// Mean.
    pub mean_ms: f64,
    /// Half took at most this.
    pub p50_ms: f64,
    /// 99 of 100 took at most this.
    pub p99_ms: f64,
}

/// One step of the replacement experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplacementRow {
    /// The step, from 1.
    pub step: u32,
    /// What the cache holds at most.
    pub capacity: usize,
    /// `lookup` or `order`.
    pub request: String,
    /// Which stock.
    pub name: String,
    /// Whether the cache answered.
    pub hit: bool,
    /// What it held afterwards, the most recently used first, separated by spaces.
    pub cached: String,
}

/// One round of the crash experiments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrashRow {
    /// The round, from 1.
    pub round: u32,
    /// What was done: `kill leader`, `kill follower`, `kill leader and follower`, `kill two
    /// followers`, `pause leader`.
    pub fault: String,
    /// What the clients did at that time: `orders` or `final check`.
    pub during: String,
    /// Ids of the replicas, separated by spaces.
    pub replicas: String,
    /// Leader before.
    pub leader_before: u8,
    /// Leader after.
    pub leader_after: u8,
    /// Longest time around or after the fault in which no client had an answer to an order; in the
    /// final check: to a query.
    pub gap_ms: f64,
    /// Longest such time in the same round before the fault.
    pub usual_gap_ms: f64,
    /// Slowest lookup that was answered after the fault began.
    pub slowest_lookup_ms: f64,
    /// Slowest order.
    pub slowest_order_ms: f64,
    /// Slowest order query.
    pub slowest_query_ms: f64,
    /// Attempts that clients repeated.
    pub retries: u64,
    /// Requests that clients gave up.
    pub unanswered: u64,
    /// Wrong answers.
    pub unexpected: u64,
    /// Clients that noticed a failure during orders.
    pub noticed_during_orders: u32,
    /// Clients that noticed a failure in the final check.
    pub noticed_in_final_check: u32,
    /// Orders acknowledged.
    pub acknowledged: usize,
    /// Acknowledged orders that are missing or another order.
    pub lost: usize,
    /// Keys that traded twice, and numbers given twice.
    pub doubled: usize,
    /// Whether all replicas had the same file at the end; empty: not known.
    pub files_equal: Option<bool>,
    /// Orders in the files; empty: not known.
    pub orders_in_files: Option<u64>,
    /// SHA-256 of the canonical copies, the first one where they differ; empty: not known.
    pub sha256: Option<String>,
    /// From the start of a killed replica (a paused one: from when it may go on) until it follows
    /// with every order; the longest, of two.
    pub catch_up_ms: f64,
}

/// The slowest request of a kind that ended in a slice of time, while replicas crashed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimelineRow {
    /// Where the slice begins, from the start of the experiment, pauses between rounds left out.
    pub at_ms: u64,
    /// The kind.
    pub request: Kind,
    /// How many ended in it.
    pub count: u64,
    /// The slowest.
    pub slowest_ms: f64,
}

/// What was done to replicas, on the clock of [`TimelineRow`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRow {
    /// When.
    pub at_ms: u64,
    /// The round.
    pub round: u32,
    /// `killed`, `restarted`, `paused`, `resumed`, `caught up`.
    pub event: String,
    /// Ids of the replicas, separated by spaces.
    pub replicas: String,
    /// Whether one of them led.
    pub leader: bool,
}

/// A fact about the run: what it was measured on, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Fact {
    /// A fact.
    #[must_use]
    pub fn new(name: &str, value: &str) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

macro_rules! files {
    ($($row:ty = $file:literal),* $(,)?) => { $(impl Row for $row { const FILE: &'static str = $file; })* };
}
files! {
    LatencyRow = "latency.csv", ServerRow = "server.csv", CacheRow = "cache.csv", LoadRow = "load.csv",
    ReplacementRow = "replacement.csv", CrashRow = "crashes.csv", TimelineRow = "timeline.csv",
    EventRow = "events.csv", Fact = "facts.csv",
}

/// Everything that was measured.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Times as clients saw them.
    pub latency: Vec<LatencyRow>,
    /// Times in the front-end.
    pub server: Vec<ServerRow>,
    /// The cache.
    pub cache: Vec<CacheRow>,
    /// More and more clients.
    pub load: Vec<LoadRow>,
    /// A cache that is too small.
    pub replacement: Vec<ReplacementRow>,
    /// Crashes.
    pub crashes: Vec<CrashRow>,
    /// What clients saw while replicas crashed.
    pub timeline: Vec<TimelineRow>,
    /// When.
    pub events: Vec<EventRow>,
    /// What it was measured on, and how.
    pub facts: Vec<Fact>,
}

impl Measured {
    /// Reads all files of a folder.
    ///
    /// # Errors
    /// Which file cannot be read, and why.
    pub fn read(folder: &Path) -> Result<Self, String> {
        Ok(Self {
            latency: read(folder)?,
            server: read(folder)?,
            cache: read(folder)?,
            load: read(folder)?,
            replacement: read(folder)?,
            crashes: read(folder)?,
            timeline: read(folder)?,
            events: read(folder)?,
            facts: read(folder)?,
        })
    }

    /// A fact by its name; empty when it is not known.
    #[must_use]
    pub fn fact(&self, name: &str) -> &str {
        self.facts
            .iter()
            .find(|fact| fact.name == name)
            .map_or("", |fact| &fact.value)
    }

    /// The emulated distance that was measured; 0 where there was none.
    #[must_use]
    pub fn far_ms(&self) -> u64 {
        self.cache
            .iter()
            .map(|row| row.distance_ms)
            .max()
            .unwrap_or(0)
    }

    /// Times of all clients together.
    #[must_use]
    pub fn of_all(
        &self,
        distance_ms: u64,
        cache: Cache,
        p: u32,
        request: Kind,
    ) -> Option<&LatencyRow> {
        self.latency.iter().find(|row| {
            row.client == ALL_CLIENTS
                && (row.distance_ms, row.cache, row.p, row.request)
                    == (distance_ms, cache, p, request)
        })
    }
}

/// Writes a file.
///
/// # Errors
/// Which, and why.
pub fn write<R: Row>(folder: &Path, rows: &[R]) -> Result<(), String> {
    let path = folder.join(R::FILE);
    let explain = |e: csv::Error| format!("cannot write {}: {e}", path.display());
    let mut writer = csv::Writer::from_path(&path).map_err(explain)?;
    rows.iter()
        .try_for_each(|row| writer.serialize(row))
        .map_err(explain)?;
    writer.flush().map_err(|e| explain(e.into()))
}

fn read<R: Row>(folder: &Path) -> Result<Vec<R>, String> {
    let path = folder.join(R::FILE);
    let explain = |e: csv::Error| format!("cannot read {}: {e}", path.display());
    csv::Reader::from_path(&path)
        .map_err(explain)?
        .deserialize()
        .collect::<Result<_, _>>()
        .map_err(explain)
}

/// Four decimals: a tenth of a microsecond in milliseconds.
#[must_use]
pub fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of row reads back as it was written, the empty cells of what is not known too; a
    /// file that is not there is named.
    #[test]
    fn round_trip() {
        let folder = tempfile::tempdir().expect("a folder");
        let estimate = |value| Estimate {
            value,
            low: value / 2.0,
            high: value * 2.0,
        };
        let figures = Figures {
            count: 3,
            mean: estimate(1.0),
            quantiles: [1.0, 2.0, 3.0, 4.00004].map(estimate),
        };
        let row = LatencyRow::new(
            (10, Cache::Off, 40),
            ALL_CLIENTS,
            Kind::OrderQuery,
            &figures,
        );
        assert_eq!((row.max_ms, row.p99_low), (4.0, 1.5), "{row:?}");
        write(folder.path(), std::slice::from_ref(&row)).expect("written");
        assert_eq!(read::<LatencyRow>(folder.path()), Ok(vec![row]));
        let crash = CrashRow {
            round: 1,
            fault: "kill leader".into(),
            during: "orders".into(),
            replicas: "3".into(),
            leader_before: 3,
            leader_after: 2,
            gap_ms: 12.5,
            usual_gap_ms: 3.0,
            slowest_lookup_ms: 1.0,
            slowest_order_ms: 14.0,
            slowest_query_ms: 1.0,
            retries: 0,
            unanswered: 0,
            unexpected: 0,
            noticed_during_orders: 0,
            noticed_in_final_check: 0,
            acknowledged: 9,
            lost: 0,
            doubled: 0,
            files_equal: None,
            orders_in_files: Some(9),
            sha256: None,
            catch_up_ms: 80.0,
        };
        write(folder.path(), std::slice::from_ref(&crash)).expect("written");
        assert_eq!(read::<CrashRow>(folder.path()), Ok(vec![crash]));
        let missing = read::<Fact>(folder.path()).expect_err("not there");
        assert!(missing.contains("facts.csv"), "{missing}");
    }
}
