//! The metrics of the catalog; their help texts say what each of them counts.

use common::metrics::Metrics;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use std::sync::Arc;

#[derive(Debug)]
pub struct CatalogMetrics {
    pub verdicts: IntCounterVec,
    pub batch_orders: Histogram,
    pub queue_seconds: Histogram,
    pub commit_seconds: Histogram,
    pub invalidation_seconds: Histogram,
    pub batch_seconds: Histogram,
    pub commit_failures: IntCounter,
    pub term: IntGauge,
    pub claims_granted: IntCounter,
    pub fenced: IntCounter,
    pub sessions: IntGauge,
    pub sessions_lost: IntCounter,
    pub pushes_repeated: IntCounter,
    pub journal_rows: IntGauge,
    pub active: IntGauge,
    pub epoch: IntGauge,
    pub takeovers: IntCounter,
    pub renewals_failed: IntCounter,
}

impl CatalogMetrics {
    pub fn new(m: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            verdicts: m.counters(
                "catalog_orders_total",
                "Orders decided, by verdict.",
                &["verdict"],
            ),
            batch_orders: m.counts("catalog_batch_orders", "Orders per transaction."),
            queue_seconds: m.seconds(
                "catalog_queue_seconds",
                "Time of a leader's batch from read to taken by the writer.",
            ),
            commit_seconds: m.seconds(
                "catalog_commit_seconds",
                "Time of a commit, its fsync included.",
            ),
            invalidation_seconds: m.seconds(
                "catalog_invalidation_seconds",
                "Time from the first push of a batch to the last acknowledgement; overlaps the \
                    commit.",
            ),
            batch_seconds: m.seconds(
                "catalog_batch_seconds",
                "Time of a batch from taken to answered.",
            ),
            commit_failures: m.counter("catalog_commit_failures_total", "Commits that failed."),
            term: m.gauge("catalog_term", "The current term."),
            claims_granted: m.counter(
                "catalog_claims_granted_total",
                "Claims of the leadership granted.",
            ),
            fenced: m.counter(
                "catalog_fenced_total",
                "Trades and claims of an older term that were refused.",
            ),
            sessions: m.gauge("catalog_cache_sessions", "Cache sessions of front-ends."),
            sessions_lost: m.counter(
                "catalog_cache_sessions_lost_total",
                "Sessions dropped because their lease ran out.",
            ),
            pushes_repeated: m.counter(
                "catalog_pushes_repeated_total",
                "Invalidations that had to be pushed again.",
            ),
            journal_rows: m.gauge("catalog_journal_rows", "Trades in the journal."),
            active: m.gauge(
                "catalog_active",
                "1 while this catalog serves, 0 while it stands by for another one.",
            ),
            epoch: m.gauge(
                "catalog_epoch",
                "Epoch under which it is active, or that it saw last; 0 with a file of its own.",
            ),
            takeovers: m.counter(
                "catalog_takeovers_total",
                "Times that this catalog took over from another one, or from none.",
            ),
            renewals_failed: m.counter(
                "catalog_renewals_failed_total",
                "Renewals of the lease without an answer in time, or that the writer did not \
                    deserve.",
            ),
        })
    }
}
