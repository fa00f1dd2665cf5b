//! The choice of the leader, and orders and queries on their way to it, over fake replicas.

mod support;

use common::wire::catalog::TermInfo;
use common::wire::replica::{LeadAnswer, LeaderNotice, Unavailable};
use serde_json::json;
use std::time::{Duration, Instant};
use support::client::order;
use support::replica::Manner;
use support::{Bazaar, id, wait_for};

/// A fresh bazaar is led by the highest id, and all the others get a notice.
#[test]
fn the_highest_id_leads_a_fresh_bazaar() {
    let bazaar = Bazaar::ready();
    assert_eq!(bazaar.status()["leader"], 3);
    let notice = Some(LeaderNotice {
        cluster: support::catalog::cluster(),
        term: 1,
        leader: id(3),
    });
    wait_for("the others get a notice", || {
        [1, 2]
            .iter()
            .all(|n| bazaar.replica(*n).with(|state| state.notice.clone()) == notice)
    });
    assert_eq!(bazaar.replica(3).with(|state| state.asked), 1);
}

/// A sitting leader is adopted although a higher id is there, and nobody is asked to lead.
#[test]
fn a_sitting_leader_stays() {
    let bazaar = Bazaar::with(
        |catalog, replicas| {
            catalog.with(|state| {
                state.term = TermInfo {
                    term: 5,
                    owner: Some(id(1)),
                }
            });
            replicas[0].with(|state| state.leading = Some(5));
        },
        &[],
    );
    bazaar.wait_leader(1);
    assert_eq!(
        (
            bazaar.status()["term"].clone(),
            bazaar.replica(3).with(|state| state.asked)
        ),
        (json!(5), 0)
    );
    assert_eq!(bazaar.client.buy("FishCo", 1).status, 200);
    assert_eq!(bazaar.replica(1).batches().len(), 1);
}

/// At its own start a front-end waits for the highest id, but not for ever.
#[test]
fn a_lower_id_leads_when_the_highest_stays_away() {
    let began = Instant::now();
    let bazaar = Bazaar::with(
        |_, replicas| replicas[2].with(|state| state.silent = true),
        &[],
    );
    bazaar.wait_leader(2);
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
    bazaar.replica(3).with(|state| state.silent = false);
    let notice = Some(LeaderNotice {
        cluster: support::catalog::cluster(),
        term: 1,
        leader: id(2),
    });
    wait_for("the replica that comes back gets a notice", || {
        bazaar.replica(3).with(|state| state.notice.clone()) == notice
    });
    assert_eq!(
        (
            bazaar.status()["leader"].clone(),
            bazaar.replica(3).with(|state| state.asked)
        ),
        (json!(2), 0)
    );
}

/// The leader dies with an order in flight that had traded: the next one is sent the same key, and
/// the client sees one order and no error.
#[test]
fn orders_in_flight_go_to_the_next_leader() {
    let mut bazaar = Bazaar::ready();
    bazaar
        .replica(3)
        .with(|state| state.manner = Manner::TradeAndHold);
    let client = bazaar.client;
    let buyer = std::thread::spawn(move || (client.buy("FishCo", 10), Instant::now()));
    wait_for("the leader has it", || {
        bazaar.replica(3).batches().len() == 1
    });
    let killed = Instant::now();
    bazaar.replicas[2].kill();
    let (answer, answered) = buyer.join().expect("is answered");
    assert_eq!(
        (answer.status, &answer.body),
        (200, &json!({ "data": { "transaction_number": 0 } }))
    );
    let took = answered.duration_since(killed);
    assert!(took < Duration::from_millis(500), "{took:?}");
    println!("from the kill to the answer: {took:?}");
    let (first, second) = (bazaar.replica(3).batches(), bazaar.replica(2).batches());
    assert_eq!(first[0].orders[0].order, second[0].orders[0].order);
    assert_eq!(
        bazaar
            .catalog
            .with(|state| (state.journal.len(), state.stocks["FishCo"].quantity)),
        (1, 90)
    );
    assert_eq!(
        (
            bazaar.status()["leader"].clone(),
            bazaar.status()["term"].clone()
        ),
        (json!(2), json!(2))
    );
}

/// A leader that hangs loses its lead after two missed heartbeats, and its calls in flight end when
/// the next one is named.
#[test]
fn a_leader_that_hangs_is_replaced() {
    let bazaar = Bazaar::ready();
    bazaar.replica(3).with(|state| state.manner = Manner::Hold);
    let client = bazaar.client;
    let buyer = std::thread::spawn(move || client.buy("FishCo", 10));
    wait_for("the leader has it", || {
        bazaar.replica(3).batches().len() == 1
    });
    let began = Instant::now();
    bazaar.replica(3).with(|state| state.silent = true);
    assert_eq!(buyer.join().expect("is answered").status, 200);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(bazaar.status()["leader"], 2);
}

/// A leader that steps down (421) has its orders held until the next one is chosen.
#[test]
fn a_leader_that_steps_down() {
    let bazaar = Bazaar::ready();
    bazaar
        .replica(3)
        .with(|state| (state.manner, state.eligible) = (Manner::StepDown, false));
    assert_eq!(bazaar.client.buy("FishCo", 10).status, 200);
    assert_eq!(bazaar.status()["leader"], 2);
    assert_eq!(
        bazaar.replica(3).batches()[0].orders[0].order,
        bazaar.replica(2).batches()[0].orders[0].order
    );
}

/// A replica that completes its log is waited for while it grows, then leads.
#[test]
fn a_claimer_is_waited_for() {
    let bazaar = Bazaar::with(
        |_, replicas| replicas[2].with(|state| state.lead_answer = Some(LeadAnswer::Claiming(1))),
        &[],
    );
    wait_for("3 is asked", || {
        bazaar.replica(3).with(|state| state.asked) == 1
    });
    wait_for("it is seen", || {
        bazaar.status()["replicas"][2]["state"] == "claiming"
    });
    assert!(bazaar.status()["leader"].is_null());
    bazaar
        .replica(3)
        .with(|state| (state.claiming, state.leading) = (None, Some(1)));
    bazaar.wait_leader(3);
    assert_eq!(bazaar.replica(3).with(|state| state.asked), 1);
}

/// A front-end whose `seen` came too late judges anew, and adopts who was faster.
#[test]
fn two_front_ends_agree() {
    let bazaar = Bazaar::with(
        |_, replicas| replicas[2].with(|state| state.lead_answer = Some(LeadAnswer::Wait(30))),
        &[],
    );
    wait_for("3 is asked", || {
        bazaar.replica(3).with(|state| state.asked) > 0
    });
    bazaar.catalog.with(|state| {
        state.term = TermInfo {
            term: 4,
            owner: Some(id(1)),
        }
    });
    bazaar.replica(1).with(|state| state.leading = Some(4));
    bazaar.wait_leader(1);
}

/// Orders that wait together travel together.
#[test]
fn orders_are_batched() {
    let bazaar = Bazaar::ready();
    bazaar.replica(3).with(|state| state.manner = Manner::Hold);
    std::thread::scope(|scope| {
        let buy = || assert_eq!(bazaar.client.buy("FishCo", 1).status, 200);
        let busy = frontend::orders::forwarder::FORWARDERS;
        for n in 1..=busy {
            scope.spawn(buy);
            wait_for("a forwarder is busy", || {
                bazaar.replica(3).batches().len() == n
            });
        }
        for _ in 0..10 {
            scope.spawn(buy);
        }
        wait_for("the others wait", || {
            bazaar.metric("bazaar_queue_depth{queue=\"orders\"}") == 10.0
        });
        bazaar.replica(3).with(|state| state.manner = Manner::Trade);
    });
    let largest = bazaar
        .replica(3)
        .batches()
        .iter()
        .map(|batch| batch.orders.len())
        .max();
    assert!(largest >= Some(5), "{largest:?}");
    assert_eq!(
        bazaar.catalog.with(|state| state.stocks["FishCo"].quantity),
        100 - 14
    );
}

/// Without a leader, the response to an order that was never sent says that nothing happened. The
/// one to an order that may have traded says that its outcome is unknown, and depends on its key.
#[test]
fn responses_without_a_leader() {
    let mut bazaar = Bazaar::ready();
    bazaar
        .replica(3)
        .with(|state| state.manner = Manner::TradeAndHold);
    let client = bazaar.client;
    let key = [("Idempotency-Key", "k-1")];
    let with_key = std::thread::spawn(move || {
        client.send("POST", "/orders", &key, &order("buy", "FishCo", 1))
    });
    let without = std::thread::spawn(move || client.buy("FishCo", 2));
    wait_for("the leader has both", || {
        bazaar
            .replica(3)
            .batches()
            .iter()
            .map(|b| b.orders.len())
            .sum::<usize>()
            == 2
    });
    bazaar
        .replicas
        .iter_mut()
        .for_each(support::replica::FakeReplica::kill);
    wait_for("there is no leader", || bazaar.status()["leader"].is_null());
    let began = Instant::now();
    let never_sent = bazaar.client.buy("FishCo", 3);
    assert!(
        (4..6).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    let (with_key, without) = (
        with_key.join().expect("answered"),
        without.join().expect("answered"),
    );
    for answer in [&with_key, &without, &never_sent] {
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("1"))
        );
    }
    let unknown = "outcome unknown, retry with the same Idempotency-Key";
    assert!(
        never_sent.message().contains("nothing happened"),
        "{never_sent:?}"
    );
    assert!(with_key.message().ends_with(unknown), "{with_key:?}");
    assert!(
        without.message().contains(unknown) && without.message().contains("had none"),
        "{without:?}"
    );
}

/// The leader's reason why it cannot take a batch reaches the client, when a retry is of no use.
#[test]
fn a_refusal_of_the_leader_is_passed_on() {
    let bazaar = Bazaar::ready();
    let refuse = |outcome_unknown| {
        let unavailable = Unavailable {
            message: "too few replicas are in sync".into(),
            outcome_unknown,
            retry: false,
        };
        bazaar
            .replica(3)
            .with(|state| state.manner = Manner::Refuse(unavailable));
        bazaar.client.buy("FishCo", 1)
    };
    let answer = refuse(false);
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .message()
            .starts_with("too few replicas are in sync; nothing happened"),
        "{answer:?}"
    );
    assert!(refuse(true).message().contains("outcome unknown"));
    // One that says that a retry helps is tried again, by the front-end itself.
    let again = Unavailable {
        message: "stepping down".into(),
        outcome_unknown: true,
        retry: true,
    };
    bazaar
        .replica(3)
        .with(|state| state.manner = Manner::Refuse(again));
    let client = bazaar.client;
    let buyer = std::thread::spawn(move || client.buy("FishCo", 1));
    let so_far = bazaar.replica(3).batches().len();
    wait_for("it is tried again", || {
        bazaar.replica(3).batches().len() > so_far + 1
    });
    bazaar.replica(3).with(|state| state.manner = Manner::Trade);
    assert_eq!(buyer.join().expect("is answered").status, 200);
}

/// While there is no leader, a replica that has the order answers at once; what none has is a 503,
/// never a 404.
#[test]
fn queries_without_a_leader() {
    let mut bazaar = Bazaar::ready();
    assert_eq!(bazaar.client.buy("FishCo", 5).status, 200);
    for n in [1, 2] {
        bazaar
            .replica(n)
            .with(|state| (state.last, state.eligible) = (Some(0), false));
    }
    bazaar.replicas[2].kill();
    wait_for("there is no leader", || bazaar.status()["leader"].is_null());
    let began = Instant::now();
    let found = bazaar.client.get("/orders/0");
    assert_eq!(
        found.body["data"],
        json!({ "number": 0, "name": "FishCo", "type": "buy", "quantity": 5 })
    );
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    let missing = bazaar.client.get("/orders/1");
    assert_eq!(
        (missing.status, missing.header("retry-after")),
        (503, Some("1"))
    );
    assert!(
        missing
            .message()
            .contains("could tell whether this order exists"),
        "{missing:?}"
    );
}

/// A stop answers what is in flight, and is done in time.
#[test]
fn a_stop_is_quick() {
    let bazaar = Bazaar::ready();
    let Bazaar {
        frontend,
        client,
        replicas,
        catalog,
    } = bazaar;
    replicas[2].with(|state| state.manner = Manner::Hold);
    let buyer = std::thread::spawn(move || client.buy("FishCo", 10));
    wait_for("the leader has it", || replicas[2].batches().len() == 1);
    let began = Instant::now();
    drop(frontend);
    assert!(
        began.elapsed() < Duration::from_millis(5_500),
        "{:?}",
        began.elapsed()
    );
    let answer = buyer.join().expect("is answered");
    assert_eq!(answer.status, 503);
    assert!(answer.message().contains("outcome unknown"), "{answer:?}");
    drop(catalog);
}
