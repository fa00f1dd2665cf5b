//! Cache sessions: trades wait for pushes or leases.

use super::*;

/// A session is granted after its probe; a trade's names are pushed to it before the trade is
/// answered.
#[test]
fn trades_are_pushed_before_they_are_answered() {
    let bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let frontend = FakeFrontend::start();
    assert_eq!(
        frontend.register(&bench, "s1").expect("granted").lease_ms,
        1_000
    );
    assert_eq!(
        status(&frontend.register(&bench, "s1").expect_err("twice")),
        409
    );
    assert_eq!(keep_alive(&bench, "s1").expect("renewed").lease_ms, 1_000);
    assert_eq!(
        status(&keep_alive(&bench, "other").expect_err("unknown")),
        404
    );
    bench
        .trade(term, genesis, vec![order("a", "FishCo", Side::Buy, 1)])
        .expect("trades");
    assert_eq!(
        frontend.pushed_names().last(),
        Some(&vec!["FishCo".to_string()])
    );
    frontend.state.status.store(500, Ordering::SeqCst);
    assert_eq!(
        status(&frontend.register(&bench, "s2").expect_err("no probe")),
        502
    );
}

/// While a push is unanswered, the stock shows its old value and may not be cached, the session is
/// not renewed, and the trade waits; once the lease is over the session is dropped and the trade
/// answered.
#[test]
fn an_unanswered_push_delays_a_trade_by_one_lease() {
    let bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let frontend = FakeFrontend::start();
    frontend.register(&bench, "s1").expect("granted");
    frontend.state.status.store(503, Ordering::SeqCst);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let trade =
            scope.spawn(|| bench.trade(term, genesis, vec![order("a", "FishCo", Side::Buy, 1)]));
        until(|| frontend.pushed_names().len() > 2);
        assert_eq!(bench.quantity("FishCo").expect("serves"), (100, false));
        assert!(
            bench.quantity("BoarCo").expect("serves").1,
            "other stocks are not concerned"
        );
        until(|| keep_alive(&bench, "s1").is_ok_and(|lease| lease.lease_ms == 0));
        let answer = trade.join().expect("joins").expect("trades");
        assert_eq!(answer.verdicts, [Verdict::Accepted(0)]);
    });
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_millis(1_600),
        "{took:?}"
    );
    assert_eq!(bench.quantity("FishCo").expect("serves"), (99, true));
    assert_eq!(status(&keep_alive(&bench, "s1").expect_err("dropped")), 404);
}

/// A session that its front-end ends delays no trade, not even one whose push is unanswered; one
/// that was left while its registration was under way is not granted any more.
#[test]
fn a_session_that_is_left_delays_no_trade() {
    let bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let frontend = FakeFrontend::start();
    frontend.register(&bench, "s1").expect("granted");
    frontend.state.status.store(503, Ordering::SeqCst);
    let leave = |id: &str| {
        let session = SessionId(id.into());
        bench.post::<_, Empty>("/sessions/end", &EndSessionRequest { session })
    };
    let started = Instant::now();
    std::thread::scope(|scope| {
        let trade =
            scope.spawn(|| bench.trade(term, genesis, vec![order("a", "FishCo", Side::Buy, 1)]));
        until(|| frontend.pushed_names().len() > 2);
        leave("s1").expect("ended");
        let answer = trade.join().expect("joins").expect("trades");
        assert_eq!(answer.verdicts, [Verdict::Accepted(0)]);
    });
    let took = started.elapsed();
    assert!(took < Duration::from_millis(900), "{took:?}");
    assert_eq!(status(&keep_alive(&bench, "s1").expect_err("over")), 404);
    frontend.state.status.store(200, Ordering::SeqCst);
    leave("s2").expect("noted");
    let late = frontend.register(&bench, "s2").expect_err("refused");
    assert_eq!(status(&late), 409);
    assert_eq!(
        frontend.register(&bench, "s3").expect("granted").lease_ms,
        1_000
    );
}

/// A catalog whose history is lost ends every cache session by a push, renews none and grants none:
/// no stock is read from a cache beside it. A push that is not acknowledged is repeated.
#[test]
fn lost_history_ends_every_cache_session() {
    let bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let frontends = ["s1", "s2"].map(|id| {
        let frontend = FakeFrontend::start();
        frontend.register(&bench, id).expect("granted");
        (frontend, id)
    });
    frontends[1].0.state.status.store(500, Ordering::SeqCst);
    let beyond = Position {
        last: Some(5),
        ..genesis
    };
    let lost = bench
        .trade(term, beyond, vec![order("a", "FishCo", Side::Buy, 1)])
        .expect_err("refused");
    assert_eq!(status(&lost), 409);
    for (frontend, id) in &frontends {
        let end = EndSessionRequest {
            session: SessionId((*id).into()),
        };
        until(|| frontend.state.ends.lock().contains(&end));
        assert_eq!(status(&keep_alive(&bench, id).expect_err("over")), 404);
    }
    until(|| frontends[1].0.state.ends.lock().len() > 1);
    let refused = frontends[0].0.register(&bench, "s3").expect_err("refused");
    assert_eq!(status(&refused), 503);
    assert!(refused.to_string().contains("catalog rebuild"), "{refused}");
    assert!(
        frontends[0].0.pushed_names().iter().all(Vec::is_empty),
        "nothing traded"
    );
}

/// A quantity that the check finds wrong after the catalog began to serve ends the cache sessions
/// that were granted meanwhile.
#[test]
fn a_wrong_quantity_ends_every_cache_session() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    // Enough pages that the check outlasts a registration.
    let mut end = genesis;
    for batch in 0..120 {
        let orders = (0..500).map(|n| order(&format!("{batch}-{n}"), "FishCo", Side::Sell, 1));
        end = bench
            .trade(term, end, orders.collect())
            .expect("trades")
            .end;
    }
    bench.damage("UPDATE stocks SET quantity = quantity + 1 WHERE name = 'BoarCo'");
    let frontend = FakeFrontend::start();
    // Refused when the check was faster: then there was no session that it could end.
    let granted = frontend.register(&bench, "s1").is_ok();
    until(|| {
        bench
            .quantity("BoarCo")
            .is_err_and(|e| e.to_string().contains("BoarCo"))
    });
    if granted {
        until(|| !frontend.state.ends.lock().is_empty());
    }
    assert_eq!(status(&keep_alive(&bench, "s1").expect_err("over")), 404);
}

/// A front-end that refuses a session's push has no entries under it: the trade does not wait for
/// that lease.
#[test]
fn a_refused_push_ends_the_session() {
    let bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let frontend = FakeFrontend::start();
    frontend.register(&bench, "s1").expect("granted");
    frontend.state.status.store(409, Ordering::SeqCst);
    let started = Instant::now();
    bench
        .trade(term, genesis, vec![order("a", "FishCo", Side::Buy, 1)])
        .expect("trades");
    assert!(
        started.elapsed() < Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(status(&keep_alive(&bench, "s1").expect_err("dropped")), 404);
}
