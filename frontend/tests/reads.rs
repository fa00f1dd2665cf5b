//! Queries and pages at fake replicas: a read that any replica can answer waits for no other read.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use support::client::Answer;
use support::{Bazaar, wait_for};

/// Reads that need a leader which confirms its term.
const BLOCKED: usize = 4;

/// Three orders, and a leader whose calls to the catalog hang.
fn unconfirmed() -> Bazaar {
    let bazaar = Bazaar::ready();
    for _ in 0..3 {
        assert_eq!(bazaar.client.buy("FishCo", 1).status, 200);
    }
    bazaar.replica(3).with(|state| state.confirms = false);
    bazaar
}

/// Sends some such reads, and returns once the front-end has them all: their threads, and how many
/// have been answered.
fn block(bazaar: &Bazaar, path: &str) -> (Vec<JoinHandle<Answer>>, Arc<AtomicUsize>) {
    let answered = Arc::new(AtomicUsize::new(0));
    let blocked = (0..BLOCKED).map(|_| {
        let (client, path, answered) = (bazaar.client, path.to_owned(), Arc::clone(&answered));
        std::thread::spawn(move || {
            let answer = client.get(&path);
            answered.fetch_add(1, Ordering::SeqCst);
            answer
        })
    });
    let blocked = blocked.collect();
    // The call that reads the metrics is in flight as well.
    wait_for("all are in flight", || {
        bazaar.metric("bazaar_http_requests_in_flight") >= (BLOCKED + 1) as f64
    });
    (blocked, answered)
}

/// Lets the leader confirm its term, upon which all must be answered so.
fn unblock(bazaar: &Bazaar, blocked: Vec<JoinHandle<Answer>>, status: u16) {
    bazaar.replica(3).with(|state| state.confirms = true);
    for answer in blocked {
        assert_eq!(answer.join().expect("is answered").status, status);
    }
}

#[test]
fn a_full_page_does_not_wait_behind_last_pages() {
    let bazaar = unconfirmed();
    let (blocked, answered) = block(&bazaar, "/orders?after=2");
    let page = bazaar.client.get("/orders?limit=2");
    assert_eq!(page.body["data"]["next"], 1, "{page:?}");
    assert_eq!(answered.load(Ordering::SeqCst), 0, "it waited for others");
    unblock(&bazaar, blocked, 200);
}

#[test]
fn a_query_for_an_order_does_not_wait_behind_missing_ones() {
    let bazaar = unconfirmed();
    let (blocked, answered) = block(&bazaar, "/orders/99");
    let order = bazaar.client.get("/orders/1");
    assert_eq!(order.body["data"]["number"], 1, "{order:?}");
    assert_eq!(answered.load(Ordering::SeqCst), 0, "it waited for others");
    unblock(&bazaar, blocked, 404);
}
