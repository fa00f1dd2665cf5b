//! The CSV files. Each file has one type of row. Times are milliseconds with four decimals.

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
    /// The front-end answers reads from the cache where it can.
    On,
    /// Every read goes to the catalog.
    Off,
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if *self == Self::On { "on" } else { "off" })
    }
}

/// Name of all clients together, in a column that otherwise holds a client's number.
pub const ALL_CLIENTS: &str = "all";

/// Times of one kind of request at one setting, of one client or all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyRow {
    /// Emulated round trip between clients and front-end.
    pub distance_ms: u64,
    pub cache: Cache,
    /// Probability of a trade, in per cent.
    pub p: u32,
    /// The client, from 1; or [`ALL_CLIENTS`].
    pub client: String,
    pub request: Kind,
    pub count: usize,
    pub mean_ms: f64,
    pub mean_low: f64,
    pub mean_high: f64,
    pub p50_ms: f64,
    pub p50_low: f64,
    pub p50_high: f64,
    pub p95_ms: f64,
    pub p95_low: f64,
    pub p95_high: f64,
    pub p99_ms: f64,
    pub p99_low: f64,
    pub p99_high: f64,
    pub max_ms: f64,
    pub max_low: f64,
    /// The slowest request itself: a resampled maximum can never exceed the measured one.
    pub max_high: f64,
}

impl LatencyRow {
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

/// The front-end's own time for one kind of request: from the end of the request to its response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerRow {
    /// Emulated round trip between clients and front-end.
    pub distance_ms: u64,
    pub cache: Cache,
    /// Probability of a trade, in per cent.
    pub p: u32,
    pub request: Kind,
    /// Requests, warm-up included.
    pub count: u64,
    pub mean_ms: f64,
}

/// Hits and misses at one setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheRow {
    /// Emulated round trip between clients and front-end.
    pub distance_ms: u64,
    pub cache: Cache,
    /// Probability of a trade, in per cent.
    pub p: u32,
    pub hits: u64,
    pub misses: u64,
    /// Share of hits in all reads, 0 to 1.
    pub hit_ratio: f64,
}

/// Throughput and times with one number of clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRow {
    pub cache: Cache,
    pub clients: usize,
    pub request: Kind,
    pub count: usize,
    /// Requests a second: lookups and orders while all clients traded, queries while all read back.
    pub per_second: f64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// One step of the replacement experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplacementRow {
    pub step: u32,
    /// Most stocks that the cache can hold.
    pub capacity: usize,
    /// `lookup` or `order`.
    pub request: String,
    pub name: String,
    /// Whether the cache answered.
    pub hit: bool,
    /// Content of the cache after the request: the most recently used stock first, separated by
    /// spaces.
    pub cached: String,
}

/// One round of the crash experiments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrashRow {
    /// The round, from 1.
    pub round: u32,
    /// `kill leader`, `kill follower`, `kill leader and follower`, `kill two followers` or `pause
    /// leader`.
    pub fault: String,
    /// The clients' work at that time: `orders` or `final check`.
    pub during: String,
    /// Ids of the replicas, separated by spaces.
    pub replicas: String,
    pub leader_before: u8,
    pub leader_after: u8,
    /// Longest time around or after the fault in which no client got an answer to an order; in the
    /// final check, to a query.
    pub gap_ms: f64,
    /// Longest such time in the same round before the fault.
    pub usual_gap_ms: f64,
    /// Slowest lookup whose answer came after the fault began; the next two count alike.
    pub slowest_lookup_ms: f64,
    pub slowest_order_ms: f64,
    pub slowest_query_ms: f64,
    pub retries: u64,
    pub unanswered: u64,
    pub unexpected: u64,
    pub noticed_during_orders: u32,
    pub noticed_in_final_check: u32,
    pub acknowledged: usize,
    /// Acknowledged orders that are missing or differ.
    pub lost: usize,
    /// Keys that traded twice, and numbers that two orders share.
    pub doubled: usize,
    /// Whether all replicas had the same file at the end. Empty: not known, as in the next two.
    pub files_equal: Option<bool>,
    pub orders_in_files: Option<u64>,
    /// SHA-256 of the first canonical copy; of all, where they are equal.
    pub sha256: Option<String>,
    /// From the start of a killed replica, or the end of a pause, until the replica follows with
    /// every order. Of two replicas: the longer time.
    pub catch_up_ms: f64,
}

/// The slowest request of a kind that ended in a slice of time, while replicas crashed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimelineRow {
    /// Begin of the slice since the start of the experiment, without the pauses between rounds.
    pub at_ms: u64,
    pub request: Kind,
    pub count: u64,
    pub slowest_ms: f64,
}

/// A fault or its end, on the clock of [`TimelineRow`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRow {
    pub at_ms: u64,
    pub round: u32,
    /// `killed`, `restarted`, `paused`, `resumed`, `caught up`.
    pub event: String,
    /// Ids of the replicas, separated by spaces.
    pub replicas: String,
    /// Whether one of these replicas was the leader.
    pub leader: bool,
}

/// A fact about the run: machine, build or plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    pub name: String,
    pub value: String,
}

impl Fact {
    pub fn new(name: &str, value: &str) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

macro_rules! files {
    ($($row:ty = $file:literal),* $(,)?) => {
        $(impl Row for $row { const FILE: &'static str = $file; })*
    };
}
files! {
    LatencyRow = "latency.csv",
    ServerRow = "server.csv",
    CacheRow = "cache.csv",
    LoadRow = "load.csv",
    ReplacementRow = "replacement.csv",
    CrashRow = "crashes.csv",
    TimelineRow = "timeline.csv",
    EventRow = "events.csv",
    Fact = "facts.csv",
}

/// Everything that was measured.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub latency: Vec<LatencyRow>,
    pub server: Vec<ServerRow>,
    pub cache: Vec<CacheRow>,
    pub load: Vec<LoadRow>,
    pub replacement: Vec<ReplacementRow>,
    pub crashes: Vec<CrashRow>,
    pub timeline: Vec<TimelineRow>,
    pub events: Vec<EventRow>,
    pub facts: Vec<Fact>,
}

impl Measured {
    /// Reads all files of a folder.
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
    pub fn fact(&self, name: &str) -> &str {
        self.facts
            .iter()
            .find(|fact| fact.name == name)
            .map_or("", |fact| &fact.value)
    }

    /// The emulated distance; 0 where none was measured.
    pub fn far_ms(&self) -> u64 {
        self.cache
            .iter()
            .map(|row| row.distance_ms)
            .max()
            .unwrap_or(0)
    }

    /// Times of all clients together.
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
pub fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of row reads back as it was written, with the empty cells of unknown values; the
    /// error for a missing file names it.
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
