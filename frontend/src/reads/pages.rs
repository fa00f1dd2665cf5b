//! Pages of consecutive orders, oldest first. Threads of their own, so that a client that reads the
//! whole log never delays queries for one order.

use super::replicas::{Asked, ReplicaRead, Rest};
use crate::intake::{LEADER_PAGES, QueueKind, Waiting};
use common::http::client::{Call, CallError};
use common::http::{IMMUTABLE, Responder, Response};
use common::wire::public::{OrderInfo, OrdersPage};
use common::wire::replica::{PageAnswer, PageCall, PageEnd, PageRequest};
use std::time::Instant;

/// Threads of step 1. One: pages are read in bulk, while people wait for queries for one order,
/// which have threads and a queue of their own.
pub const THREADS: usize = 1;

/// A page that is waited for.
pub struct PendingPage {
    pub page: PageRequest,
    /// Until when it may wait.
    pub deadline: Instant,
    pub responder: Responder,
}

impl Waiting for PendingPage {
    fn into_responder(self) -> Responder {
        self.responder
    }
}

impl ReplicaRead for PendingPage {
    const THREAD: &'static str = "page";
    const LEADER_QUEUE: QueueKind = LEADER_PAGES;
    const BATCH: usize = 1;
    const UNANSWERED: &'static str =
        "no leader of the order service could tell whether more orders follow";

    fn deadline(&self) -> Instant {
        self.deadline
    }

    /// A call for each, until one fails: the others would fail as slowly.
    fn ask(pages: Vec<Self>, replica: &Asked<'_>) -> Rest<Self> {
        let (mut reads, mut well) = (Vec::new(), true);
        for pending in pages {
            // The replica failed at the page before; the next one is asked for all that are left.
            if !well {
                reads.push(pending);
                continue;
            }
            let page = PageRequest {
                found_only: replica.found_only,
                ..pending.page
            };
            let answer = call(page, replica).inspect_err(
                |error| tracing::debug!(replica = %replica.id, %error, "page not answered"),
            );
            // A replica that answers that it does not lead did answer; for the caller that is as
            // bad as silence, and counts the same.
            well = answer
                .as_ref()
                .is_ok_and(|answer| answer.end != PageEnd::NotLeader);
            match answer.ok().and_then(|answer| complete(page, answer)) {
                Some(response) => pending.responder.send(response),
                None => reads.push(pending),
            }
        }
        Rest { reads, well }
    }
}

fn call(page: PageRequest, replica: &Asked<'_>) -> Result<PageAnswer, CallError> {
    let call = Call {
        method: "POST",
        base: replica.url,
        path: "/orders/page",
        timeout: replica.timeout,
        trace: None,
    };
    // The bazaar goes along: a replica with a file of another one finds nothing.
    let answer: PageAnswer = replica.client.call(
        call,
        &PageCall {
            cluster: replica.cluster.clone(),
            page,
        },
    )?;
    let orders = answer.orders.len();
    // More orders follow a full page only.
    if orders > page.limit || (answer.end == PageEnd::More && orders < page.limit) {
        return Err(CallError::Misfit(format!(
            "{orders} orders, asked for {}",
            page.limit
        )));
    }
    Ok(answer)
}

/// The answer to the client, where this replica knows it. Only a leader that was asked to confirm
/// its term may say that nothing follows.
fn complete(page: PageRequest, answer: PageAnswer) -> Option<Response> {
    let more = match answer.end {
        // True from any replica: no row is ever put in between or changed.
        PageEnd::More => true,
        // A statement about now, so only from the leader that was asked to confirm its term.
        PageEnd::Last if !page.found_only => false,
        // Left to another replica, or to the next round.
        PageEnd::Last | PageEnd::NotLeader | PageEnd::Unconfirmed => return None,
    };
    // The orders first: without any, the next of the largest number is never asked for, which would
    // overflow.
    let numbered = answer.orders.into_iter().zip(page.first..);
    let orders: Vec<OrderInfo> = numbered
        .map(|(order, number)| OrderInfo {
            number,
            name: order.name,
            side: order.side,
            quantity: order.quantity,
        })
        .collect();
    let next = orders.last().map(|order| order.number).filter(|_| more);
    let response = Response::data(OrdersPage { orders, next });
    // Only a page that others follow can never change, so only that one may be kept by caches.
    Some(if more {
        response.with_header("Cache-Control", IMMUTABLE)
    } else {
        response
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::wire::order::{Order, OrderKey, Side};

    fn answer(orders: u64, end: PageEnd) -> PageAnswer {
        let order = |n| Order {
            key: OrderKey::from_time(n, 0),
            name: "FishCo".into(),
            side: Side::Buy,
            quantity: 1,
        };
        PageAnswer {
            orders: (0..orders).map(order).collect(),
            end,
        }
    }

    fn completed(first: u64, answer: PageAnswer, leads: bool) -> Option<(String, bool)> {
        let page = PageRequest {
            first,
            limit: 2,
            found_only: !leads,
        };
        let response = complete(page, answer)?;
        let immutable = response.headers.iter().any(|(_, value)| value == IMMUTABLE);
        let page: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        let numbers: Vec<_> = page["data"]["orders"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|o| &o["number"])
            .collect();
        Some((
            format!("{numbers:?} {}", page["data"]["next"]).replace("Number", ""),
            immutable,
        ))
    }

    /// A page that more orders follow is an answer from any replica, and immutable. That a page is
    /// the last one is an answer from a leader only.
    #[test]
    fn only_a_leader_says_that_nothing_follows() {
        let full = Some(("[(5), (6)] 6".into(), true));
        assert_eq!(completed(5, answer(2, PageEnd::More), true), full);
        assert_eq!(completed(5, answer(2, PageEnd::More), false), full);
        assert_eq!(
            completed(5, answer(1, PageEnd::Last), true),
            Some(("[(5)] null".into(), false))
        );
        for first in [0, u64::MAX] {
            assert_eq!(
                completed(first, answer(0, PageEnd::Last), true),
                Some(("[] null".into(), false))
            );
        }
        for end in [PageEnd::Last, PageEnd::NotLeader, PageEnd::Unconfirmed] {
            assert_eq!(completed(5, answer(1, end), false), None);
        }
        assert_eq!(completed(5, answer(1, PageEnd::Unconfirmed), true), None);
    }
}
