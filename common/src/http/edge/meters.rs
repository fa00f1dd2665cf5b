//! The counters of the edge. Each core counts for itself and adds it to the shared counters now and
//! then, so that the path of a cached read writes no memory that another core writes.

use super::refusal::RefusalReason;
use crate::metrics::{AnswerTally, HttpMetrics, Metrics};
use prometheus::{IntCounter, IntGauge};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long counts may stay with their core: readers of metrics come each second or more rarely.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// Which side of the service an edge serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The public one.
    Public,
    /// An internal one.
    Internal,
}

/// The shared counters of the edge.
#[derive(Debug)]
pub struct EdgeMetrics {
    /// The counters of every server.
    pub http: Arc<HttpMetrics>,
    /// Connections that are open.
    pub connections: IntGauge,
    /// Connections that follow a feed.
    pub subscribers: IntGauge,
    /// Connections accepted.
    pub accepted: IntCounter,
    /// Failures of accept.
    pub accept_errors: IntCounter,
    received_bytes: IntCounter,
    sent_bytes: IntCounter,
    /// By [`RefusalReason`], in its order.
    refusals: Vec<IntCounter>,
}

impl EdgeMetrics {
    /// Registers them. A front-end may have an edge on each side.
    pub fn new(metrics: &Metrics, http: Arc<HttpMetrics>, listener: Listener) -> Self {
        let prefix = match listener {
            Listener::Public => "edge",
            Listener::Internal => "internal_edge",
        };
        let name = |what: &str| format!("{prefix}_{what}");
        let refusals = metrics.counters(
            &name("refusals_total"),
            "Requests that the edge refused by itself and connections that it gave up, by reason.",
            &["reason"],
        );
        Self {
            http,
            connections: metrics.gauge(&name("connections"), "Connections that are open."),
            subscribers: metrics.gauge(
                &name("subscribers"),
                "Connections that follow the live feed.",
            ),
            accepted: metrics.counter(&name("accepted_total"), "Connections accepted."),
            accept_errors: metrics.counter(
                &name("accept_errors_total"),
                "Connections that could not be accepted.",
            ),
            received_bytes: metrics
                .counter(&name("received_bytes_total"), "Bytes that clients sent."),
            sent_bytes: metrics.counter(&name("sent_bytes_total"), "Bytes sent to clients."),
            refusals: RefusalReason::ALL
                .iter()
                .map(|reason| refusals.with_label_values(&[reason.label()]))
                .collect(),
        }
    }

    /// Counts a refusal, and where the client was answered also as a request with this status.
    pub fn refused(&self, reason: RefusalReason) {
        // One of these had no response: it counts as a connection that was given up, and as no
        // request.
        self.refusals[reason as usize].inc();
        if !matches!(
            reason,
            RefusalReason::Overrun
                | RefusalReason::Unread
                | RefusalReason::Idle
                | RefusalReason::Slow
        ) {
            self.http
                .answered("refused", reason.status(), Duration::ZERO);
        }
    }
}

/// The counts of one core.
#[derive(Debug)]
pub struct Meters {
    shared: Arc<EdgeMetrics>,
    /// Cached reads answered inline.
    cached: AnswerTally,
    received_bytes: u64,
    sent_bytes: u64,
    dirty_since: Option<Instant>,
}

impl Meters {
    /// Counts of a core that begins.
    pub fn new(shared: Arc<EdgeMetrics>) -> Self {
        let cached = shared.http.tally("/stocks/{name}", 200);
        Self {
            shared,
            cached,
            received_bytes: 0,
            sent_bytes: 0,
            dirty_since: None,
        }
    }

    /// The shared ones, for counts that are rare, such as connections.
    pub fn shared(&self) -> &EdgeMetrics {
        &self.shared
    }

    /// Counts bytes that came.
    pub fn received(&mut self, bytes: usize, now: Instant) {
        self.received_bytes += bytes as u64;
        self.dirty_since.get_or_insert(now);
    }

    /// Counts bytes that went.
    pub fn sent(&mut self, bytes: usize, now: Instant) {
        self.sent_bytes += bytes as u64;
        self.dirty_since.get_or_insert(now);
    }

    /// Counts cached reads that were answered together, and how long that took.
    pub fn cached(&mut self, count: usize, took: Duration) {
        // One by one: a histogram has no way to record many at once.
        for _ in 0..count {
            self.cached.record(took);
        }
    }

    /// When the counts are to be added to the shared ones.
    pub fn flush_at(&self) -> Option<Instant> {
        self.dirty_since.map(|since| since + FLUSH_EVERY)
    }

    /// Adds them if it is time.
    pub fn flush_if_due(&mut self, now: Instant) {
        if self.flush_at().is_some_and(|at| at <= now) {
            self.flush();
        }
    }

    /// Adds them.
    pub fn flush(&mut self) {
        self.cached.flush();
        self.shared
            .received_bytes
            .inc_by(std::mem::take(&mut self.received_bytes));
        self.shared
            .sent_bytes
            .inc_by(std::mem::take(&mut self.sent_bytes));
        self.dirty_since = None;
    }
}
