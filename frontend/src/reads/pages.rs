//! The page lane: consecutive orders, oldest first. A page that more orders follow is immutable,
//! and true from every replica; that nothing follows only a leader may say. A lane of its own, so
//! that whoever reads the whole log never delays queries for one order.

use crate::intake::{Waiting, unavailable};
use crate::leader::cell::{LeaderCell, WaitFor};
use crate::leader::health_table::Views;
use crate::leader::monitor::Reports;
use common::http::client::{Call, CallError, HttpClient};
use common::http::{IMMUTABLE, Responder, Response};
use common::queue::QueueReceiver;
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::PROBE_TIMEOUT;
use common::wire::order::ReplicaId;
use common::wire::public::{OrderView, OrdersPage};
use common::wire::replica::{PageAnswer, PageEnd, PageRequest};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Threads that ask.
pub const THREADS: usize = 1;
/// Bound of a call to the leader, which may have to confirm its term at the catalog.
const LEADER_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Bound of a call to another replica, which only reads its own file.
const OTHER_TIMEOUT: Duration = PROBE_TIMEOUT;
/// Pause before all are asked again, unless there is news of the leader.
const BACK_OFF: Duration = Duration::from_millis(50);

/// A page that is waited for.
pub struct PendingPage {
    /// Which.
    pub page: PageRequest,
    /// Until when it may wait.
    pub deadline: Instant,
    /// For the answer.
    pub responder: Responder,
}

impl Waiting for PendingPage {
    fn into_responder(self) -> Responder {
        self.responder
    }
}

/// What the thread has.
#[derive(Clone)]
pub struct PageLane {
    /// The lane's end.
    pub end: QueueReceiver<PendingPage>,
    /// Where the leader is named.
    pub cell: Arc<LeaderCell>,
    /// Where failed calls are reported.
    pub reports: Reports,
    /// All replicas.
    pub replicas: BTreeMap<ReplicaId, String>,
    /// Who is down is not asked.
    pub views: Arc<Views>,
    /// Connections to replicas that do not lead.
    pub client: HttpClient,
    /// The service's stop.
    pub stop: Shutdown,
}

impl PageLane {
    /// Starts the threads. The service's stop ends them, once the lane is empty.
    #[must_use]
    pub fn start(self) -> Vec<Thread> {
        let asker = |i| {
            let lane = self.clone();
            Thread::spawn(&format!("page-{i}"), move || lane.run())
        };
        (0..THREADS).map(asker).collect()
    }

    fn run(&self) {
        while let Some(pages) = self.end.take_batch(1, &self.stop) {
            for PendingPage {
                page,
                deadline,
                responder,
            } in pages
            {
                responder.send(self.read(page, deadline));
            }
        }
    }

    /// Asks until someone knows, or the time is up.
    fn read(&self, page: PageRequest, deadline: Instant) -> Response {
        loop {
            let known = self.cell.view();
            if let Some(leader) = &known.leader {
                let answer = ask(&leader.client, &leader.url, page, LEADER_TIMEOUT);
                if answer
                    .as_ref()
                    .map_or(true, |answer| answer.end == PageEnd::NotLeader)
                {
                    self.reports.failed(leader.term);
                }
                if let Some(response) = complete(page, answer, leader.id, true) {
                    return response;
                }
            }
            for (id, replica) in self.views.replicas() {
                let asked = known.leader.as_ref().is_some_and(|leader| leader.id == id);
                if replica.is_some() && !asked {
                    let answer = ask(&self.client, &self.replicas[&id], page, OTHER_TIMEOUT);
                    if let Some(response) = complete(page, answer, id, false) {
                        return response;
                    }
                }
            }
            if self.cell.is_closed() {
                return unavailable("this front-end is stopping; try again");
            }
            if Instant::now() >= deadline {
                return unavailable(
                    "no leader of the order service could tell whether more orders follow; try again",
                );
            }
            self.cell.wait_news(
                known.news,
                WaitFor::Change,
                deadline.min(Instant::now() + BACK_OFF),
            );
        }
    }
}

fn ask(
    client: &HttpClient,
    url: &str,
    page: PageRequest,
    timeout: Duration,
) -> Result<PageAnswer, CallError> {
    let call = Call {
        method: "POST",
        base: url,
        path: "/orders/page",
        timeout,
        trace: None,
    };
    let answer: PageAnswer = client.call(call, &page)?;
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

/// The answer to the client, where this replica knows it.
fn complete(
    page: PageRequest,
    answer: Result<PageAnswer, CallError>,
    replica: ReplicaId,
    leads: bool,
) -> Option<Response> {
    let answer = answer
        .inspect_err(|error| tracing::debug!(replica = %replica, %error, "page not answered"))
        .ok()?;
    let more = match answer.end {
        PageEnd::More => true,
        PageEnd::Last if leads => false,
        PageEnd::Last | PageEnd::NotLeader | PageEnd::Unavailable => return None,
    };
    // The orders first: without any, the next of the largest number is never asked for, which would
    // overflow.
    let numbered = answer.orders.into_iter().zip(page.first..);
    let orders: Vec<OrderView> = numbered
        .map(|(order, number)| OrderView {
            number,
            name: order.name,
            side: order.side,
            quantity: order.quantity,
        })
        .collect();
    let next = orders.last().map(|order| order.number).filter(|_| more);
    let response = Response::data(OrdersPage { orders, next });
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

    fn answer(orders: u64, end: PageEnd) -> Result<PageAnswer, CallError> {
        let order = |n| Order {
            key: OrderKey::from_time(n, 0),
            name: "FishCo".into(),
            side: Side::Buy,
            quantity: 1,
        };
        Ok(PageAnswer {
            orders: (0..orders).map(order).collect(),
            end,
        })
    }

    fn told(
        first: u64,
        answer: Result<PageAnswer, CallError>,
        leads: bool,
    ) -> Option<(String, bool)> {
        let id = ReplicaId::try_from(1).expect("an id");
        let response = complete(PageRequest { first, limit: 2 }, answer, id, leads)?;
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

    /// Any replica may tell a page that more orders follow, and it is immutable; only a leader that
    /// a page is the last one.
    #[test]
    fn who_may_tell_what() {
        let full = Some(("[(5), (6)] 6".into(), true));
        assert_eq!(told(5, answer(2, PageEnd::More), true), full);
        assert_eq!(told(5, answer(2, PageEnd::More), false), full);
        assert_eq!(
            told(5, answer(1, PageEnd::Last), true),
            Some(("[(5)] null".into(), false))
        );
        for first in [0, u64::MAX] {
            assert_eq!(
                told(first, answer(0, PageEnd::Last), true),
                Some(("[] null".into(), false))
            );
        }
        for end in [PageEnd::Last, PageEnd::NotLeader, PageEnd::Unavailable] {
            assert_eq!(told(5, answer(1, end), false), None);
        }
        assert_eq!(told(5, answer(1, PageEnd::Unavailable), true), None);
        assert_eq!(
            told(5, Err(CallError::NotSent("refused".into())), true),
            None
        );
    }
}
