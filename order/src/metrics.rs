//! The metrics of a replica; their help texts say what each of them counts.

use common::metrics::Metrics;
use prometheus::{Histogram, IntCounter, IntGauge, IntGaugeVec};
use std::sync::Arc;

#[derive(Debug)]
pub struct OrderMetrics {
    pub leading: IntGauge,
    pub term: IntGauge,
    pub leaderships: IntCounter,
    pub log_rows: IntGauge,
    pub follower_lag: IntGaugeVec,
    pub followers_lost: IntCounter,
    pub queue_seconds: Histogram,
    pub batch_orders: Histogram,
    pub catalog_seconds: Histogram,
    pub append_seconds: Histogram,
    pub append_rows: Histogram,
    pub replication_seconds: Histogram,
    pub append_failures: IntCounter,
    pub set_aside: IntCounter,
}

impl OrderMetrics {
    pub fn new(m: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            leading: m.gauge("order_leading", "1 while this replica leads, else 0."),
            term: m.gauge("order_term", "The highest known term."),
            leaderships: m.counter(
                "order_leaderships_total",
                "Times that this replica began to lead.",
            ),
            log_rows: m.gauge("order_log_rows", "Orders in the durable log."),
            follower_lag: m.gauges(
                "order_follower_lag_rows",
                "Rows that a follower lacks, seen by the leader.",
                &["follower"],
            ),
            followers_lost: m.counter(
                "order_followers_lost_total",
                "Times that a follower went out of sync.",
            ),
            queue_seconds: m.seconds(
                "order_queue_seconds",
                "Time of a front-end's batch from read to taken by the sequencer.",
            ),
            batch_orders: m.counts("order_batch_orders", "Orders per batch to the catalog."),
            catalog_seconds: m.seconds(
                "order_catalog_seconds",
                "Time of the catalog's call for a batch.",
            ),
            append_seconds: m.seconds(
                "order_append_seconds",
                "Time of an append's transaction, its fsync included.",
            ),
            append_rows: m.counts("order_append_rows", "Rows per append."),
            replication_seconds: m.seconds(
                "order_replication_seconds",
                "Time from rows sent to a follower to its answer.",
            ),
            append_failures: m.counter("order_append_failures_total", "Appends that failed."),
            set_aside: m.counter("order_files_set_aside_total", "Files set aside as damaged."),
        })
    }
}
