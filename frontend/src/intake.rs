//! The bounded queues between the threads of the public listener, which never wait, and the threads
//! that make calls: orders to the leader, queries and pages to the replicas, lookups to the
//! catalog. A full queue refuses at once.

use common::http::{Responder, Response};
use common::metrics::QueueGauges;

/// Name and bound of a queue, for its refusals and metrics.
#[derive(Debug, Clone, Copy)]
pub struct QueueKind {
    /// In metrics.
    pub name: &'static str,
    /// Its items, in the plural, for messages.
    pub items: &'static str,
    /// How many may wait.
    pub bound: usize,
}

/// Orders.
pub const ORDERS: QueueKind = QueueKind {
    name: "orders",
    items: "orders",
    // Beyond it clients hear at once that they should come back, while their order has certainly
    // not traded, instead of waiting for a deadline that it will miss.
    bound: common::timing::ORDER_QUEUE,
};
/// Queries for orders by number.
pub const QUERIES: QueueKind = QueueKind {
    name: "queries",
    items: "order queries",
    // Numbers only, and one call takes a full batch of them.
    bound: 4_096,
};
/// Pages of orders.
pub const PAGES: QueueKind = QueueKind {
    name: "pages",
    items: "pages of orders",
    // Each is a call of its own, and one thread makes them one after the other: fewer may wait.
    bound: 256,
};
/// Queries that only a leader can answer.
pub const LEADER_QUERIES: QueueKind = QueueKind {
    // The second step has a queue of its own: in the same one, reads that every replica can answer
    // would wait behind those that need a leader.
    name: "queries-leader",
    ..QUERIES
};
/// Pages that only a leader can answer.
pub const LEADER_PAGES: QueueKind = QueueKind {
    name: "pages-leader",
    ..PAGES
};
/// Reads of stocks that the cache does not answer.
pub const LOOKUPS: QueueKind = QueueKind {
    name: "lookups",
    items: "stock reads",
    // While the catalog is away readers wait here for up to `READ_TOTAL`; a few calls answer all of
    // them when it is back.
    bound: 4_096,
};

/// Something that waits in a queue for an answer.
pub trait Waiting {
    /// Gives up the wait for a refusal.
    fn into_responder(self) -> Responder;
}

/// Answers 503 where a queue had no room. The result is that of the queue's `put`.
pub fn refuse_if_full<T: Waiting>(put: Result<(), T>, kind: &QueueKind, gauges: &QueueGauges) {
    // An item that comes back out of `put` was never seen by a thread, which is why the message may
    // say that nothing happened.
    if let Err(item) = put {
        gauges.refused(kind.name);
        let message = format!(
            "too many {} wait already; nothing happened: try again in a moment",
            kind.items
        );
        item.into_responder().send(unavailable(&message));
    }
}

/// A 503: the client may try again.
pub fn unavailable(message: &str) -> Response {
    // Whole seconds (RFC 9110): a full queue and a failover are mostly over within one.
    Response::error(503, message).with_header("Retry-After", "1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::http::ResponseSink;
    use common::metrics::{HttpMetrics, Metrics};
    use common::queue::queue;
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
    impl ResponseSink for Keep {
        fn send(self: Box<Self>, response: Response) {
            self.0.lock().push(response);
        }
    }

    /// Beyond its bound a queue refuses at once, with 503, Retry-After and the truth; its refusals
    /// are counted.
    #[test]
    fn a_full_queue_refuses() {
        let metrics = Metrics::new();
        let (http, gauges) = (HttpMetrics::new(&metrics), QueueGauges::new(&metrics));
        let (sender, _receiver) = queue(2);
        let answers = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..3 {
            let answer = Box::new(Keep(Arc::clone(&answers)));
            let put = sender.put(Item(Responder::new(answer, Arc::clone(&http))));
            refuse_if_full(put, &ORDERS, &gauges);
        }
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
            text.contains("bazaar_queue_refused_total{queue=\"orders\"} 1"),
            "{text}"
        );
    }
}
