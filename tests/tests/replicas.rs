//! How many replicas there may be, which of them count, and who leads when a leader cannot reach
//! the others.

use cluster::service::Service::{Catalog, Order};
use cluster::wait;
use common::wire::catalog::{CatalogHealth, CatalogState};
use common::wire::order::Side;
use common::wire::public::ReplicaState;
use std::fs;
use tests::harness::{Bazaar, SOON};

/// A bazaar of so many replicas trades, is led by the highest id, and by the next one when that
/// dies; the only replica of one leads again when it is back. Acknowledged orders stay.
fn trades_through_a_failover(replicas: u8) {
    let mut bazaar = Bazaar::start_sized(replicas, 1, |_| {});
    let all: Vec<u8> = (1..=replicas).collect();
    bazaar.wait_led_by(replicas, &all);
    bazaar.wait_level();
    assert_eq!(bazaar.trade("FishCo", Side::Buy, 1), Ok(0));
    bazaar.cluster.kill(Order(replicas)).expect("killed");
    if replicas == 1 {
        bazaar.cluster.restart(Order(1)).expect("restarted");
    }
    assert_eq!(bazaar.trade("FishCo", Side::Buy, 1), Ok(1));
    assert_eq!(bazaar.leader(), (replicas - 1).max(1));
    bazaar.close();
}

/// Goal: `ORDER_REPLICAS` with a single replica is a bazaar, too.
#[test]
fn one_replica() {
    trades_through_a_failover(1);
}

/// Goal: the same with two.
#[test]
fn two_replicas() {
    trades_through_a_failover(2);
}

/// Goal: the same with five, three of whose logs must have an order.
#[test]
fn five_replicas() {
    trades_through_a_failover(5);
}

/// Goal: the same with seven.
#[test]
fn seven_replicas() {
    trades_through_a_failover(7);
}

/// A replica with another bazaar's longer file is shown as such, and stops no service: orders trade
/// while it runs, after it is gone, and after a restart of the catalog. With its file moved away it
/// fetches this bazaar's log.
#[test]
fn a_foreign_file_stops_no_bazaar() {
    let other = Bazaar::start_sized(1, 1, |_| {});
    for _ in 0..30 {
        other.trade("FishCo", Side::Sell, 1).expect("trades");
    }
    let foreign = other.cluster.spec().database(Order(1)).expect("a file");

    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    bazaar.cluster.stop(Order(1)).expect("stopped");
    let file = bazaar.cluster.spec().database(Order(1)).expect("a file");
    for ending in ["", "-wal", "-shm"] {
        let _gone = fs::remove_file(format!("{}{ending}", file.display()));
    }
    let connection = rusqlite::Connection::open(&foreign).expect("opens");
    connection
        .execute("VACUUM INTO ?", [file.to_str().expect("UTF-8")])
        .expect("copied");
    drop(connection);
    bazaar.cluster.restart(Order(1)).expect("started");
    let status = bazaar.wait_status("the foreign file to show", |status| {
        status.replicas[0].state == ReplicaState::Foreign
    });
    assert_eq!(status.replicas[0].last, None, "its numbers are not ours");
    bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    assert_eq!(bazaar.quantity("FishCo"), 98);
    let found = bazaar.api().get("/orders/20").expect("answered");
    assert_eq!(found.status, 404, "another bazaar's order is not shown");

    // The others fail over beside it.
    bazaar.cluster.kill(Order(3)).expect("killed");
    bazaar.wait_led_by(2, &[2]);
    bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    bazaar.cluster.restart(Order(3)).expect("restarted");

    bazaar.cluster.kill(Order(1)).expect("killed");
    bazaar.cluster.restart(Catalog).expect("restarted");
    bazaar.cluster.wait_ready(0).expect("ready");
    bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    let health: CatalogHealth = bazaar
        .cluster
        .internal(Catalog)
        .internal("/health")
        .expect("health");
    assert_eq!(health.state, CatalogState::Serving);

    for ending in ["", "-wal", "-shm"] {
        let _gone = fs::rename(
            format!("{}{ending}", file.display()),
            format!("{}.other{ending}", file.display()),
        );
    }
    bazaar.cluster.restart(Order(1)).expect("started");
    bazaar.close();
    other.close();
}

/// With `ORDER_MIN_COPIES=2` a leader that reaches no follower is relieved by a replica that does:
/// orders are acknowledged, on two copies, while it is cut off.
#[test]
fn a_leader_that_reaches_no_follower_is_relieved() {
    let bazaar = Bazaar::start_with(1, |spec| {
        // Ports without a listener: the other ways, to and from the catalog and the front-end,
        // are whole.
        let nobody = "1=http://127.0.0.1:9,2=http://127.0.0.1:9,3=http://127.0.0.1:9";
        spec.set("ORDER_MIN_COPIES", "2")
            .set_for(Order(3), "ORDER_REPLICAS", nobody);
    });
    let relieved = bazaar.wait_status("another leader", |status| {
        status.leader.is_some_and(|id| u8::from(id) != 3)
    });
    assert_eq!(relieved.leader.map(u8::from), Some(2));
    let api = bazaar.api();
    let traded = wait::until(SOON, || {
        bazaar
            .trade_at(&api, "FishCo", Side::Buy, 1, Some("first"))
            .ok()
    });
    assert!(traded.is_some(), "orders are taken");
    for _ in 0..20 {
        bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    }
    let leader = bazaar.health(2).expect("answers");
    assert!(
        leader.copies.is_some_and(|copies| copies.suffice()),
        "{leader:?}"
    );
    assert_eq!(bazaar.api().get("/readyz").map(|a| a.status), Ok(200));
    bazaar.close();
}
