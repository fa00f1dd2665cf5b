//! Crashes and pauses of replicas: who leads, what clients notice (nothing), and what the files say
//! afterwards.

use client::api::Api;
use client::workload::Outcome;
use cluster::service::Service::{Frontend, Order};
use cluster::wait;
use common::wire::order::Side;
use common::wire::public::ReplicaState;
use common::wire::replica::NotLeader;
use std::time::{Duration, Instant};
use tests::harness::{Bazaar, SOON, assert_clean, wait_steps};

/// Clients noticed nothing: no repeat, no error, no mismatch; and they did trade.
fn assert_unnoticed(outcome: &Outcome) {
    assert_clean(outcome);
    assert!(
        !outcome.noticed_during_orders && !outcome.noticed_in_final_check,
        "{:?}",
        outcome.examples
    );
    assert!(!outcome.acknowledged.is_empty());
}

/// A fresh bazaar is led by 3; then 2 leads, then 1; every living replica gets notice of each
/// leader and term; those that return follow.
#[test]
fn succession() {
    let mut bazaar = Bazaar::start();
    let first = bazaar.wait_led_by(3, &[1, 2, 3]);
    bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    bazaar.cluster.kill(Order(3)).expect("killed");
    let second = bazaar.wait_led_by(2, &[1, 2]);
    bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    bazaar.cluster.kill(Order(2)).expect("killed");
    let third = bazaar.wait_led_by(1, &[1]);
    bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    assert!(
        first < second && second < third,
        "terms rise: {first}, {second}, {third}"
    );
    bazaar.wait_status("two to be down and one to lead", |status| {
        let states: Vec<_> = status
            .replicas
            .iter()
            .map(|replica| replica.state)
            .collect();
        states == [ReplicaState::Leader, ReplicaState::Down, ReplicaState::Down]
    });
    // A higher id that returns does not depose who leads.
    bazaar.cluster.restart(Order(3)).expect("restarted");
    bazaar.cluster.restart(Order(2)).expect("restarted");
    bazaar.wait_level();
    assert_eq!(bazaar.wait_led_by(1, &[1, 2, 3]), third);
    assert_eq!(bazaar.quantity("FishCo"), 97);
    bazaar.close();
}

/// The leader is killed in mid-trade, twice, and brought back each time: clients notice nothing.
#[test]
fn leader_killed_in_mid_trade() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    let outcome = bazaar.trade_while(6, |bazaar, control| {
        for _ in 0..2 {
            wait_steps(control, 100);
            let leader = bazaar.leader();
            bazaar.cluster.kill(Order(leader)).expect("killed");
            bazaar.wait_status("another leader", |s| {
                s.leader.is_some_and(|id| u8::from(id) != leader)
            });
            wait_steps(control, 100);
            bazaar.cluster.restart(Order(leader)).expect("restarted");
            bazaar.wait_level();
        }
    });
    assert_unnoticed(&outcome);
    bazaar.close();
}

/// Two of three replicas die at once, the leader among them: the last one goes on.
#[test]
fn two_killed_at_once() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    let outcome = bazaar.trade_while(4, |bazaar, control| {
        wait_steps(control, 100);
        bazaar.cluster.kill(Order(3)).expect("killed");
        bazaar.cluster.kill(Order(1)).expect("killed");
        bazaar.wait_led_by(2, &[2]);
        wait_steps(control, 100);
        bazaar.cluster.restart(Order(1)).expect("restarted");
        bazaar.cluster.restart(Order(3)).expect("restarted");
        bazaar.wait_level();
        wait_steps(control, 50);
    });
    assert_unnoticed(&outcome);
    bazaar.close();
}

/// All replicas die; whichever returns alone fills its log from the journal and leads.
#[test]
fn all_killed_one_returns() {
    for survivor in 1..=3 {
        let mut bazaar = Bazaar::start();
        bazaar.wait_led_by(3, &[1, 2, 3]);
        // Behind the others: what it missed must come from the journal.
        bazaar.cluster.kill(Order(survivor)).expect("killed");
        for _ in 0..20 {
            bazaar.leader();
            bazaar.trade("BoarCo", Side::Buy, 1).expect("trades");
        }
        for other in (1..=3).filter(|id| *id != survivor) {
            bazaar.cluster.kill(Order(other)).expect("killed");
        }
        bazaar.cluster.restart(Order(survivor)).expect("restarted");
        bazaar.wait_led_by(survivor, &[survivor]);
        assert_eq!(bazaar.trade("BoarCo", Side::Buy, 1), Ok(20));
        assert_eq!(
            bazaar.api().order_by_number(7).map(|order| order.quantity),
            Ok(1)
        );
        bazaar.close();
    }
}

/// While no replica runs, orders and queries are 503 with Retry-After; the front-end is not ready
/// and says why.
#[test]
fn no_replica_left() {
    let mut bazaar = Bazaar::start();
    bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    for id in 1..=3 {
        bazaar.cluster.kill(Order(id)).expect("killed");
    }
    bazaar.wait_status("no leader", |status| status.leader.is_none());
    let api = bazaar.api();
    let answers = [
        api.get("/readyz"),
        api.get("/orders/0"),
        api.post("/orders", r#"{"name":"FishCo","quantity":1,"type":"buy"}"#),
    ];
    for answer in answers {
        let answer = answer.expect("answered");
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(
            answer
                .error_message()
                .is_ok_and(|message| !message.is_empty()),
            "{answer:?}"
        );
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    assert_eq!(api.get("/livez").map(|answer| answer.status), Ok(200));
    assert_eq!(
        bazaar.quantity("FishCo"),
        99,
        "stocks are read without any replica"
    );
    bazaar.close();
}

/// A follower that hangs costs one wait; once it goes on, it catches up.
#[test]
fn follower_paused() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    bazaar.wait_level();
    bazaar.cluster.pause(Order(1)).expect("paused");
    let first = Instant::now();
    bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    let first = first.elapsed();
    assert!(
        first < Duration::from_secs(2),
        "one wait of at most the replication time-out: {first:?}"
    );
    let rest = Instant::now();
    for _ in 0..20 {
        bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    }
    let rest = rest.elapsed();
    assert!(
        rest < Duration::from_secs(4),
        "later orders do not wait for it: {rest:?} for 20"
    );
    bazaar.wait_status("the pause to show", |status| {
        status.replicas[0].state == ReplicaState::Down
    });
    bazaar.cluster.resume(Order(1)).expect("resumed");
    bazaar.wait_level();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    bazaar.close();
}

/// A leader that hangs is replaced; when it goes on it is fenced: it does not lead, says so, and
/// follows. Clients notice nothing.
#[test]
fn leader_paused_and_fenced() {
    let mut bazaar = Bazaar::start();
    let old = bazaar.wait_led_by(3, &[1, 2, 3]);
    let mut new = 0;
    let outcome = bazaar.trade_while(4, |bazaar, control| {
        wait_steps(control, 100);
        bazaar.cluster.pause(Order(3)).expect("paused");
        new = bazaar.wait_led_by(2, &[1, 2]);
        wait_steps(control, 100);
        bazaar.cluster.resume(Order(3)).expect("resumed");
        assert_eq!(
            bazaar.wait_led_by(2, &[1, 2, 3]),
            new,
            "who leads is not deposed by who returns"
        );
        wait_steps(control, 100);
    });
    assert!(new > old);
    assert_unnoticed(&outcome);
    let health = bazaar.health(3).expect("answers");
    assert_eq!(health.leading, None);
    let order = r#"{"orders":[{"order":{"key":"00000000000100000000000000000002","name":"FishCo",
        "type":"buy","quantity":1},"trace":"t"}]}"#;
    let refused = bazaar
        .cluster
        .internal(Order(3))
        .post("/orders", order)
        .expect("answered");
    assert_eq!(refused.status, 421, "{refused:?}");
    let body: NotLeader = serde_json::from_str(&refused.body).expect("a NotLeader");
    assert!(
        body.leader.map(u8::from) == Some(2) && body.term == new && !body.outcome_unknown,
        "{body:?}"
    );
    bazaar.close();
}

/// The leader is paused again and again for less than it takes to replace it, and for more:
/// quantities stay right.
#[test]
fn leader_stutters() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    let outcome = bazaar.trade_while(4, |bazaar, control| {
        for ms in [20, 120, 250, 400, 700] {
            let leader = bazaar.leader();
            bazaar.cluster.pause(Order(leader)).expect("paused");
            // The length of the pause is the fault itself: nothing is waited for.
            wait::until(Duration::from_millis(ms), || None::<()>);
            bazaar.cluster.resume(Order(leader)).expect("resumed");
            wait_steps(control, 50);
        }
    });
    assert_unnoticed(&outcome);
    bazaar.close();
}

/// With `ORDER_MIN_COPIES=2` a lone replica refuses orders before anything happened, and takes them
/// again once another is back.
#[test]
fn min_copies() {
    let mut bazaar = Bazaar::start_with(1, |spec| {
        spec.set("ORDER_MIN_COPIES", "2");
    });
    bazaar.wait_led_by(3, &[1, 2, 3]);
    bazaar.wait_level();
    assert_eq!(bazaar.trade("FishCo", Side::Buy, 1), Ok(0));
    bazaar.cluster.kill(Order(1)).expect("killed");
    assert_eq!(bazaar.trade("FishCo", Side::Buy, 1), Ok(1));
    bazaar.cluster.kill(Order(2)).expect("killed");
    let order = || {
        let began = Instant::now();
        let answer = bazaar
            .api()
            .post("/orders", r#"{"name":"BoarCo","quantity":1,"type":"buy"}"#)
            .expect("answered");
        assert_eq!(answer.status, 503, "{answer:?}");
        (answer.error_message().expect("a reason"), began.elapsed())
    };
    // The first may have traded. It is held for as long as a follower may come back, not for the
    // whole time of an order.
    let (message, took) = order();
    assert!(took < Duration::from_secs(4), "{took:?}: {message}");
    // Those that come later are refused at once, with the reason.
    let refused = wait::until(SOON, || {
        let (message, took) = order();
        (message.contains("nothing happened") && took < Duration::from_millis(500))
            .then_some(message)
    });
    let message = refused.expect("a lone leader says that nothing happened, at once");
    let reason = "1 of the 2 copies that ORDER_MIN_COPIES asks for";
    assert!(message.contains(reason), "{message}");
    let ready = bazaar.api().get("/readyz").expect("answered");
    assert_eq!(ready.status, 503);
    assert!(ready.error_message().is_ok_and(|m| m.contains(reason)));
    bazaar.cluster.restart(Order(2)).expect("restarted");
    let api = bazaar.api();
    let again = wait::until(SOON, || {
        bazaar
            .trade_at(&api, "FishCo", Side::Buy, 1, Some("again"))
            .ok()
    });
    assert!(again.is_some(), "orders are taken again");
    bazaar.close();
}

/// A front-end dies and returns: it adopts who leads instead of deposing it.
#[test]
fn front_end_adopts_the_leader() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    bazaar.cluster.kill(Order(3)).expect("killed");
    let term = bazaar.wait_led_by(2, &[1, 2]);
    bazaar.cluster.restart(Order(3)).expect("restarted");
    bazaar.wait_level();
    bazaar.cluster.kill(Frontend(1)).expect("killed");
    bazaar.cluster.restart(Frontend(1)).expect("restarted");
    bazaar.cluster.wait_ready(0).expect("ready");
    assert_eq!(bazaar.wait_led_by(2, &[1, 2, 3]), term);
    let api = Api::new(&bazaar.cluster.url(0));
    bazaar
        .trade_at(&api, "FishCo", Side::Buy, 1, None)
        .expect("trades");
    bazaar.close();
}
