//! The bounded queues between the listener's workers, which never wait, and the threads that make
//! calls: orders to the leader, queries and pages to the replicas, lookups to the catalog. A full
//! queue refuses at once.

use crate::metrics::QueueMetrics;
use crate::orders::batcher::Batcher;
use common::http::{Responder, Response};
use common::queue::{Queue, QueueReceiver, queue};
use std::sync::Arc;

/// Name and bound of a lane, for its refusals and metrics.
#[derive(Debug, Clone, Copy)]
pub struct QueueKind {
    name: &'static str,
    /// What waits in it, in the plural, for messages.
    what: &'static str,
    bound: usize,
}

/// Orders.
pub const ORDERS: QueueKind = QueueKind {
    name: "orders",
    what: "orders",
    bound: common::timing::ORDER_LANE,
};
/// Queries for orders by number.
pub const QUERIES: QueueKind = QueueKind {
    name: "queries",
    what: "order queries",
    bound: 4_096,
};
/// Pages of orders.
pub const PAGES: QueueKind = QueueKind {
    name: "pages",
    what: "pages of orders",
    bound: 256,
};
/// Reads of stocks that the cache does not answer.
pub const LOOKUPS: QueueKind = QueueKind {
    name: "lookups",
    what: "stock reads",
    bound: 4_096,
};

/// The way into a lane, which refuses when it is full.
pub struct Entrance<T> {
    way_in: WayIn<T>,
    kind: QueueKind,
    metrics: QueueMetrics,
}

enum WayIn<T> {
    Queue(Queue<T>),
    Batcher(Arc<Batcher<T>>),
}

impl<T> WayIn<T> {
    fn put(&self, item: T) -> Result<(), T> {
        match self {
            Self::Queue(lane) => lane.put(item),
            Self::Batcher(gather) => gather.put(item),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Queue(lane) => lane.len(),
            Self::Batcher(gather) => gather.len(),
        }
    }
}

impl<T> Clone for WayIn<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Queue(lane) => Self::Queue(lane.clone()),
            Self::Batcher(gather) => Self::Batcher(Arc::clone(gather)),
        }
    }
}

/// Something that waits in a lane for an answer.
pub trait Waiting {
    /// Gives up the wait for a refusal.
    fn into_responder(self) -> Responder;
}

impl<T: Waiting> Entrance<T> {
    /// A lane of that kind.
    #[must_use]
    pub fn new(kind: QueueKind, metrics: &QueueMetrics) -> (Self, QueueReceiver<T>) {
        let (lane, end) = queue(kind.bound);
        (
            Self {
                way_in: WayIn::Queue(lane),
                kind,
                metrics: metrics.clone(),
            },
            end,
        )
    }

    /// A lane of that kind whose items leave in batches, as [`Batcher`] has it.
    #[must_use]
    pub fn gathering(kind: QueueKind, metrics: &QueueMetrics) -> (Self, Arc<Batcher<T>>) {
        let gather = Arc::new(Batcher::new(kind.bound));
        (
            Self {
                way_in: WayIn::Batcher(Arc::clone(&gather)),
                kind,
                metrics: metrics.clone(),
            },
            gather,
        )
    }

    /// Puts an item in, or refuses it with 503.
    pub fn put(&self, item: T) {
        if let Err(item) = self.way_in.put(item) {
            self.metrics
                .refused
                .with_label_values(&[self.kind.name])
                .inc();
            let message = format!(
                "too many {} wait already; nothing happened: try again in a moment",
                self.kind.what
            );
            item.into_responder().send(unavailable(&message));
        }
    }

    /// What tells how full it is.
    #[must_use]
    pub fn depth(&self) -> Box<dyn Fn() + Send + Sync>
    where
        T: Send + 'static,
    {
        let gauge = self.metrics.depth.with_label_values(&[self.kind.name]);
        let way_in = self.way_in.clone();
        Box::new(move || gauge.set(i64::try_from(way_in.len()).unwrap_or(i64::MAX)))
    }
}

/// Reads how full the lanes are into their gauges.
pub struct Depths(pub Vec<Box<dyn Fn() + Send + Sync>>);

impl Depths {
    /// Reads all.
    pub fn sample(&self) {
        for sample in &self.0 {
            sample();
        }
    }
}

/// A 503: the client may try again.
#[must_use]
pub fn unavailable(message: &str) -> Response {
    Response::error(503, message).with_header("Retry-After", "1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::http::Answer;
    use common::metrics::{HttpMetrics, Metrics};
    use common::wire::public::ErrorBody;
    use parking_lot::Mutex;
    use std::sync::Arc;

    struct Item(Responder);
    impl Waiting for Item {
        fn into_responder(self) -> Responder {
            self.0
        }
    }

    struct Keep(Arc<Mutex<Vec<Response>>>);
    impl Answer for Keep {
        fn answer(self: Box<Self>, response: Response) {
            self.0.lock().push(response);
        }
    }

    /// Beyond its bound a lane refuses at once, with 503, Retry-After and the truth; its depth and
    /// refusals are counted.
    #[test]
    fn a_full_lane_refuses() {
        let metrics = Metrics::new();
        let (http, lanes) = (HttpMetrics::new(&metrics), QueueMetrics::new(&metrics));
        let kind = QueueKind {
            name: "orders",
            what: "orders",
            bound: 2,
        };
        let (entrance, end) = Entrance::new(kind, &lanes);
        let answers = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..3 {
            entrance.put(Item(Responder::new(
                Box::new(Keep(Arc::clone(&answers))),
                Arc::clone(&http),
            )));
        }
        Depths(vec![entrance.depth()]).sample();
        let refused = answers.lock().clone();
        assert_eq!(refused.iter().map(|r| r.status).collect::<Vec<_>>(), [503]);
        assert_eq!(refused[0].headers, [("Retry-After", "1".to_owned())]);
        let body: ErrorBody = serde_json::from_slice(&refused[0].body).expect("the envelope");
        assert!(
            body.error.message.contains("too many orders wait")
                && body.error.message.contains("nothing happened")
        );
        let text = metrics.text();
        assert!(
            text.contains("bazaar_lane_depth{lane=\"orders\"} 2"),
            "{text}"
        );
        assert!(
            text.contains("bazaar_lane_refused_total{lane=\"orders\"} 1"),
            "{text}"
        );
        drop(end);
    }
}
