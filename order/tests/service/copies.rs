//! Copies: too few of them, and a follower that hangs.

use super::*;

/// With too few replicas in sync for ORDER_MIN_COPIES, orders are refused before anything happens.
#[test]
fn too_few_copies_refuse_orders() {
    let bench = Bench::new();
    let alone = bench.replica(1, 2, NOBODY, &[("ORDER_MIN_COPIES", "2")]);
    bench.lead(&url(&alone));
    let refusal = bench
        .order(&url(&alone), &[sell(0)])
        .expect_err("refused")
        .refusal::<Unavailable>(503);
    assert!(!refusal.expect("says why").outcome_unknown);
    assert_eq!(bench.query(&url(&alone), &[0]), [QueryAnswer::NotFound]);
}

/// A follower that stops answering delays the orders under way by one replication time-out, and
/// later ones not at all.
#[test]
fn a_hanging_follower_delays_once() {
    let hanging = Hanging::start();
    let bench = Bench::new();
    // Long, so that a slow moment of the machine is not taken for it.
    let leader = bench.replica(
        2,
        1,
        &hanging.url(),
        &[("ORDER_REPLICATION_TIMEOUT_MS", "1000")],
    );
    bench.lead(&url(&leader));
    let genesis: Genesis = bench
        .http
        .get(&bench.catalog_url(), "/genesis", Duration::from_secs(5))
        .expect("genesis");
    hanging.answer_at(Position {
        last: None,
        hash: common::chain::genesis_hash(&genesis),
    });
    bench.wait_health(&url(&leader), "in sync", |health| health.in_sync.len() == 1);
    let timed = |key: u32| {
        let start = Instant::now();
        bench
            .order(&url(&leader), &[sell(key)])
            .expect("acknowledged without it");
        start.elapsed()
    };
    let first = timed(0);
    assert!(
        first >= Duration::from_millis(900) && first < Duration::from_millis(1_900),
        "{first:?}"
    );
    let second = timed(1);
    assert!(second < Duration::from_millis(900), "{second:?}");
    assert!(bench.health(&url(&leader)).in_sync.is_empty());
}

/// A follower in sync gets the rest of its rows at once: every order waits for them, and a pause
/// that leaves time for orders would be theirs.
#[test]
fn a_follower_in_sync_is_sent_its_rows_without_pauses() {
    let late = Duration::from_millis(100);
    let follower = Hanging::start();
    let bench = Bench::new();
    let replica = || {
        let more = [("ORDER_REPLICATION_TIMEOUT_MS", "1000")];
        bench.replica(2, 1, &follower.url(), &more)
    };
    let leader = replica();
    bench.lead(&url(&leader));
    for batch in 0..5 {
        let orders: Vec<Order> = (0..500).map(|n| sell(format!("{batch}-{n}"))).collect();
        bench.order(&url(&leader), &orders).expect("alone");
    }
    drop(leader);
    // Its next leadership has none of these rows in memory: it sends them from its file, in pages.
    let leader = replica();
    bench.lead(&url(&leader));
    let genesis: Genesis = bench
        .http
        .get(&bench.catalog_url(), "/genesis", Duration::from_secs(5))
        .expect("genesis");
    *follower.state.appends_in.lock() = Some(late);
    follower.answer_at(Position {
        last: None,
        hash: common::chain::genesis_hash(&genesis),
    });
    let (mut longest, deadline) = (Duration::ZERO, Instant::now() + Duration::from_secs(20));
    for key in 0.. {
        let start = Instant::now();
        bench
            .order(&url(&leader), &[sell(key)])
            .expect("acknowledged");
        longest = longest.max(start.elapsed());
        let health = bench.health(&url(&leader));
        let at = follower.state.position.lock().expect("it answers");
        if health.in_sync.len() == 1 && at.last == health.last {
            break;
        }
        assert!(Instant::now() < deadline, "not in sync: {health:?}");
    }
    // Its last page and the order's own row, one after the other; a pause is six times as long as
    // a page.
    assert!(longest < 5 * late, "{longest:?}");
}

/// With too few copies a leader refuses orders before the catalog hears of them, with the reason:
/// front-ends hold them during the grace, and answer them afterwards.
#[test]
fn too_few_copies_are_said_before_the_catalog_is_asked() {
    let bench = Bench::new();
    let leader = bench.replica(2, 1, NOBODY, &[("ORDER_MIN_COPIES", "2")]);
    bench.lead(&url(&leader));
    assert_eq!(
        bench.health(&url(&leader)).copies,
        Some(Copies {
            present: 1,
            wanted: 2
        })
    );
    let refusal = || {
        let refused = bench
            .order(&url(&leader), &[sell(0)])
            .expect_err("too few copies");
        refused.refusal::<Unavailable>(503).expect("says why")
    };
    assert!(refusal().retry, "a follower may come");
    let deadline = Instant::now() + Duration::from_secs(10);
    let last = loop {
        let said = refusal();
        if !said.retry {
            break said;
        }
        assert!(Instant::now() < deadline, "the grace ends");
    };
    assert!(!last.outcome_unknown);
    assert!(
        last.message
            .contains("1 of the 2 copies that ORDER_MIN_COPIES asks for"),
        "{}",
        last.message
    );
    assert_eq!(bench.health(&url(&leader)).last, None, "nothing traded");
    // A follower that comes is a second copy.
    let follower = bench.replica(1, 2, NOBODY, &[]);
    drop(leader);
    let leader = bench.replica(2, 1, &url(&follower), &[("ORDER_MIN_COPIES", "2")]);
    bench.lead(&url(&leader));
    bench.wait_health(&url(&leader), "in sync", |health| {
        health.copies.is_some_and(Copies::suffice)
    });
    bench.order(&url(&leader), &[sell(0)]).expect("trades");
}
