//! The counters of a front-end, beside those of its servers.

use crate::api::status::StatusReport;
use crate::cache::shared::SharedCache;
use common::metrics::Metrics;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};
use std::sync::Arc;

/// Everything about the cache.
#[derive(Debug, Clone)]
pub struct CacheMetrics {
    /// Reads answered from the cache.
    pub(crate) hits: IntCounter,
    /// Reads that went to the catalog.
    pub(crate) misses: IntCounter,
    pub(crate) fills: IntCounter,
    /// Stocks not stored, since they may have changed while the answer travelled.
    pub(crate) fills_voided: IntCounter,
    pub(crate) invalidations: IntCounter,
    /// Sessions that the catalog no longer knew.
    pub(crate) lease_losses: IntCounter,
}

impl CacheMetrics {
    /// Registers the counters of one cache.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            hits: metrics.counter("cache_hits_total", "Stock reads answered from the cache."),
            misses: metrics.counter(
                "cache_misses_total",
                "Stock reads that went to the catalog.",
            ),
            fills: metrics.counter("cache_fills_total", "Stocks stored in the cache."),
            fills_voided: metrics.counter(
                "cache_fills_voided_total",
                "Stocks not stored, since they may have changed on the way.",
            ),
            invalidations: metrics.counter(
                "cache_invalidations_total",
                "Stocks that the catalog invalidated.",
            ),
            lease_losses: metrics.counter(
                "cache_lease_losses_total",
                "Cache sessions that ended at the catalog.",
            ),
        }
    }
}

/// Shows how much is in the cache, and whether it may be used.
pub(crate) fn watch_cache(metrics: &Metrics, cache: &Arc<SharedCache>) {
    let entries = metrics.gauge("cache_entries", "Stocks in the cache.");
    let leased = metrics.gauge(
        "cache_leased",
        "1 while the cache holds a lease: without one every read goes to the catalog.",
    );
    let cache = Arc::clone(cache);
    // Sampled when somebody reads the metrics, rather than set at each change: the cache's path
    // stays free of it.
    metrics.sample(move || {
        let status = cache.status();
        entries.set(i64::try_from(status.entries).unwrap_or(i64::MAX));
        leased.set(status.leased.into());
    });
}

/// Shows whether this front-end can trade, as `GET /readyz` does.
pub(crate) fn watch_ready(metrics: &Metrics, report: StatusReport) {
    let ready = metrics.gauge(
        "ready",
        "1 while this front-end can trade, as GET /readyz shows.",
    );
    // From the same source as `GET /readyz`, so that an alert and a load balancer agree.
    metrics.sample(move || ready.set(report.not_ready().is_none().into()));
}

/// Counts clients' orders by outcome.
#[derive(Debug, Clone)]
pub(crate) struct OrderOutcomes(IntCounterVec);

/// The outcome of a client's order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OrderOutcome {
    /// It traded.
    Accepted,
    /// It was decided, and not for it: too little is left, no such stock, a key used before.
    Refused,
    /// It was answered with 503.
    Failed,
}

impl OrderOutcome {
    fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl OrderOutcomes {
    fn new(metrics: &Metrics) -> Self {
        let counters = metrics.counters(
            "orders_total",
            "Orders of clients that were answered, by outcome: accepted, refused (409, 404, 422), \
             failed (503).",
            &["outcome"],
        );
        // All of them from the start: an alert sees a counter rise from 0, but not one that begins
        // with 1.
        for outcome in [
            OrderOutcome::Accepted,
            OrderOutcome::Refused,
            OrderOutcome::Failed,
        ] {
            counters.with_label_values(&[outcome.label()]);
        }
        Self(counters)
    }

    /// Counts one.
    pub fn count(&self, outcome: OrderOutcome) {
        self.0.with_label_values(&[outcome.label()]).inc();
    }
}

/// Everything about the calls behind the queues, and the leader.
#[derive(Debug, Clone)]
pub(crate) struct QueueMetrics {
    pub outcomes: OrderOutcomes,
    /// Orders in each call to the leader.
    pub order_batch: Histogram,
    pub query_batch: Histogram,
    /// Readers answered by each call to the catalog.
    pub lookup_batch: Histogram,
    /// Where the time of an order goes, by stage.
    pub order_stage: HistogramVec,
    pub leader_changes: IntCounter,
    pub term: IntGauge,
}

impl QueueMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            outcomes: OrderOutcomes::new(metrics),
            order_batch: metrics.counts("order_batch_size", "Orders in one call to the leader."),
            query_batch: metrics.counts("query_batch_size", "Order queries in one call."),
            lookup_batch: metrics.counts(
                "lookup_batch_size",
                "Stock reads answered by one call to the catalog.",
            ),
            order_stage: metrics.seconds_by(
                "order_stage_seconds",
                "Time of an order by stage: queue (until its batch is taken), leader (until one is \
                 known), forward (the call), answer (of the whole batch).",
                &["stage"],
            ),
            leader_changes: metrics
                .counter("leader_changes_total", "Leaders adopted by this front-end."),
            term: metrics.gauge(
                "leader_term",
                "Term of the leader that this front-end adopted last.",
            ),
        }
    }
}
