//! Metrics in Prometheus text format 0.0.4, with the prefix `bazaar_`, base units, and `_total` on
//! counters.

use crate::process_metrics::ProcessMetrics;
use crate::queue::Queue;
use parking_lot::{Condvar, Mutex};
use prometheus::core::{Collector, Metric};
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The metrics of one service.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    samplers: Arc<Mutex<Vec<Sampler>>>,
}

/// Reads something into its gauge.
type Sampler = Box<dyn Fn() + Send + Sync>;

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Bucket bounds for durations, in seconds: 50 µs to 5 s.
const SECONDS: [f64; 16] = [
    5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];
/// Bucket bounds for counts: 1 to 4 096.
const COUNTS: [f64; 13] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 2_048.0, 4_096.0,
];

impl Metrics {
    /// The gauges of every process: see [`ProcessMetrics`].
    ///
    /// # Panics
    /// Never: the prefix is valid.
    pub fn new() -> Self {
        let registry =
            Registry::new_custom(Some("bazaar".into()), None).expect("the prefix is valid");
        let metrics = Self {
            registry,
            samplers: Arc::default(),
        };
        let process = ProcessMetrics::new(&metrics);
        metrics.sample(move || process.read());
        metrics
    }

    /// Calls this whenever the metrics are read, for gauges of what nobody counts as it changes.
    pub fn sample(&self, sampler: impl Fn() + Send + Sync + 'static) {
        self.samplers.lock().push(Box::new(sampler));
    }

    /// The text for `GET /metrics`.
    pub fn text(&self) -> String {
        // Before the registry is gathered. Under the lock, so that two readers take turns and no
        // sampler adds a difference twice.
        self.samplers.lock().iter().for_each(|sample| sample());
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            // A reader of metrics must not bring a service down.
            .unwrap_or_else(|e| format!("# error: {e}\n"))
    }

    /// Content type of [`Metrics::text`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4";

    fn register<C: Collector + Clone + 'static>(&self, metric: prometheus::Result<C>) -> C {
        // Both are fixed in the code: an error is a mistake that the first start shows.
        let metric = metric.expect("metric names and labels are valid");
        self.registry
            .register(Box::new(metric.clone()))
            .expect("each metric is registered once");
        metric
    }

    /// A counter; its name ends in `_total`.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    /// A counter with a fraction, such as seconds; its name ends in `_total`.
    pub fn fraction_counter(&self, name: &str, help: &str) -> Counter {
        self.register(Counter::new(name, help))
    }

    /// Counters by labels of few values.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A whole-numbered gauge.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    /// Gauges by labels of few values.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A gauge with a fraction, such as seconds.
    pub fn fraction(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::new(name, help))
    }

    /// A histogram of seconds.
    pub fn seconds(&self, name: &str, help: &str) -> Histogram {
        self.register(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(SECONDS.to_vec()),
        ))
    }

    /// Histograms of seconds, by labels of few values.
    pub fn seconds_by(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.register(HistogramVec::new(
            HistogramOpts::new(name, help).buckets(SECONDS.to_vec()),
            labels,
        ))
    }

    /// A histogram of counts, such as batch sizes.
    pub fn counts(&self, name: &str, help: &str) -> Histogram {
        self.register(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(COUNTS.to_vec()),
        ))
    }
}

/// How full the queues of a service are, and how often they refused.
#[derive(Debug, Clone)]
pub struct QueueGauges {
    metrics: Metrics,
    depth: IntGaugeVec,
    refused: IntCounterVec,
}

impl QueueGauges {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            metrics: metrics.clone(),
            depth: metrics.gauges("queue_depth", "Requests that wait in a queue.", &["queue"]),
            refused: metrics.counters(
                "queue_refused_total",
                "Requests refused since their queue was full.",
                &["queue"],
            ),
        }
    }

    /// Shows a queue under this name.
    pub fn watch<T: Send + 'static>(&self, name: &str, queue: &Queue<T>) {
        // Cloned: the queue lives as long as the metrics do, and a sampler reads its length only.
        let queue = queue.clone();
        self.watch_len(name, move || queue.len());
    }

    /// Shows under this name a queue that is as long as `len` returns.
    pub fn watch_len(&self, name: &str, len: impl Fn() -> usize + Send + Sync + 'static) {
        let gauge = self.depth.with_label_values(&[name]);
        // Also while nothing was refused: an alert needs the zero to see the rise.
        self.refused.with_label_values(&[name]);
        self.metrics
            .sample(move || gauge.set(i64::try_from(len()).unwrap_or(i64::MAX)));
    }

    /// Counts a refusal.
    pub fn refused(&self, name: &str) {
        self.refused.with_label_values(&[name]).inc();
    }
}

/// The counters of every server.
#[derive(Debug)]
pub struct HttpMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    /// Requests read and not yet answered.
    pub in_flight: InFlight,
    /// Requests that could neither be answered nor dropped safely (see [`crate::http::tiny`]).
    pub forgotten: IntCounter,
}

impl HttpMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            requests: metrics.counters(
                "http_requests_total",
                "Requests answered, by route and status.",
                &["route", "status"],
            ),
            seconds: metrics.seconds_by(
                "http_request_seconds",
                "Time from a request read to its answer.",
                &["route"],
            ),
            in_flight: InFlight::new(metrics.gauge(
                "http_requests_in_flight",
                "Requests read and not yet answered.",
            )),
            forgotten: metrics.counter(
                "http_requests_forgotten_total",
                "Requests given up with their connection.",
            ),
        })
    }

    /// Counts a response.
    pub fn answered(&self, route: &'static str, status: u16, took: Duration) {
        // Without a `to_string`: this is on the path of every request.
        let mut digits = [0; 3];
        for (digit, place) in digits.iter_mut().zip([100, 10, 1]) {
            *digit = b'0' + u8::try_from(status / place % 10).unwrap_or(0);
        }
        let status = std::str::from_utf8(&digits).unwrap_or("000");
        self.requests.with_label_values(&[route, status]).inc();
        self.seconds
            .with_label_values(&[route])
            .observe(took.as_secs_f64());
    }

    /// How many answers of a route took at most how many seconds, by bucket, since the start. The
    /// last bound is infinite.
    pub fn durations(&self, route: &'static str) -> Vec<(f64, u64)> {
        let histogram = self.seconds.with_label_values(&[route]).metric();
        let histogram = histogram.get_histogram();
        let bounded = histogram
            .get_bucket()
            .iter()
            .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
        bounded
            .chain([(f64::INFINITY, histogram.get_sample_count())])
            .collect()
    }

    /// A thread's own count of responses with one route and status, for paths on which looking the
    /// labels up would show.
    pub fn tally(&self, route: &'static str, status: u16) -> AnswerTally {
        AnswerTally {
            requests: self
                .requests
                .with_label_values(&[route, &status.to_string()])
                .local(),
            seconds: self.seconds.with_label_values(&[route]).local(),
        }
    }

    /// Waits until no request is in flight, at most `timeout`.
    pub fn wait_idle(&self, timeout: Duration) {
        self.in_flight.wait_zero(timeout);
    }
}

/// Answers with one route and status, counted by one thread and added to the shared counters when
/// it says so.
#[derive(Debug)]
pub struct AnswerTally {
    // Local: added up by one thread without touching memory that others write.
    requests: LocalIntCounter,
    seconds: LocalHistogram,
}

impl AnswerTally {
    /// Counts a response.
    pub fn record(&mut self, took: Duration) {
        self.requests.inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Adds what was counted since the last time.
    pub fn flush(&mut self) {
        self.requests.flush();
        self.seconds.flush();
    }
}

/// A count that can be waited on.
#[derive(Debug)]
pub struct InFlight {
    gauge: IntGauge,
    waiting: Mutex<()>,
    zero: Condvar,
}

impl InFlight {
    fn new(gauge: IntGauge) -> Self {
        Self {
            gauge,
            waiting: Mutex::new(()),
            zero: Condvar::new(),
        }
    }

    /// One more.
    pub fn inc(&self) {
        self.gauge.inc();
    }

    /// One less.
    pub fn dec(&self) {
        self.gauge.dec();
        // Without the lock: a waiter that misses this wake-up looks again within 10 ms.
        if self.gauge.get() == 0 {
            self.zero.notify_all();
        }
    }

    /// How many.
    pub fn get(&self) -> i64 {
        self.gauge.get()
    }

    fn wait_zero(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut waiting = self.waiting.lock();
        while self.gauge.get() > 0 && Instant::now() < deadline {
            // Short steps: the count is not under this lock, so that the path of a request takes
            // none.
            self.zero.wait_for(&mut waiting, Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text has the prefix, and counts by route and status.
    #[test]
    fn text_format() {
        let metrics = Metrics::new();
        let http = HttpMetrics::new(&metrics);
        http.answered("/stocks/{name}", 404, Duration::from_millis(3));
        let text = metrics.text();
        assert!(
            text.contains("bazaar_http_requests_total{route=\"/stocks/{name}\",status=\"404\"} 1"),
            "{text}"
        );
        assert!(
            text.contains(
                "bazaar_http_request_seconds_bucket{route=\"/stocks/{name}\",le=\"0.005\"} 1"
            ),
            "{text}"
        );
    }

    /// Durations are counted up to each bound, and in all.
    #[test]
    fn durations_by_bound() {
        let http = HttpMetrics::new(&Metrics::new());
        for ms in [3, 3, 30_000] {
            http.answered("/a", 200, Duration::from_millis(ms));
        }
        let durations = http.durations("/a");
        assert_eq!(
            durations.iter().find(|(bound, _)| *bound == 2e-3),
            Some(&(2e-3, 0))
        );
        assert_eq!(
            durations.iter().find(|(bound, _)| *bound == 5e-3),
            Some(&(5e-3, 2))
        );
        assert_eq!(durations.last(), Some(&(f64::INFINITY, 3)));
    }

    /// A queue shows how much waits in it when it is asked, and its refusals from the first.
    #[test]
    fn queues_are_read_when_asked() {
        let metrics = Metrics::new();
        let gauges = QueueGauges::new(&metrics);
        let (queue, _receiver) = crate::queue::queue(3);
        gauges.watch("work", &queue);
        queue.put(1).expect("room");
        let text = metrics.text();
        assert!(
            text.contains("bazaar_queue_depth{queue=\"work\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("bazaar_queue_refused_total{queue=\"work\"} 0"),
            "{text}"
        );
        gauges.refused("work");
        assert!(
            metrics
                .text()
                .contains("bazaar_queue_refused_total{queue=\"work\"} 1")
        );
    }

    /// The tally of a thread shows once it is flushed.
    #[test]
    fn tallies() {
        let metrics = Metrics::new();
        let mut tally = HttpMetrics::new(&metrics).tally("/a", 200);
        tally.record(Duration::from_millis(3));
        tally.record(Duration::from_millis(3));
        assert!(
            metrics
                .text()
                .contains("bazaar_http_requests_total{route=\"/a\",status=\"200\"} 0")
        );
        tally.flush();
        let text = metrics.text();
        assert!(
            text.contains("bazaar_http_requests_total{route=\"/a\",status=\"200\"} 2"),
            "{text}"
        );
        assert!(
            text.contains("bazaar_http_request_seconds_count{route=\"/a\"} 2"),
            "{text}"
        );
    }
}
