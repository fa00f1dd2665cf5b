//! Starts, restarts and clean stops.

use super::*;

/// A catalog that noticed a lost history does not forget it over a restart; neither does one whose
/// file is still without a claim serve stocks then.
#[test]
fn a_restart_does_not_forget() {
    let mut bench = Bench::new();
    bench.restart();
    assert_eq!(
        bench.get::<CatalogHealth>("/health").expect("health").state,
        CatalogState::AwaitingClaim
    );
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let longer = ClaimRequest {
        replica: replica(1),
        cluster: bench.cluster(),
        position: genesis,
        seen: term,
        longest: Some(0),
    };
    let refused = bench
        .post::<_, ClaimAnswer>("/claim", &longer)
        .expect_err("another log is longer");
    assert!(
        status(&refused) == 409 && refused.to_string().contains("catalog rebuild"),
        "{refused}"
    );
    bench.restart();
    assert_eq!(
        bench.get::<CatalogHealth>("/health").expect("health").state,
        CatalogState::HistoryLost
    );
    assert_eq!(status(&bench.quantity("FishCo").expect_err("refused")), 503);
}

/// Trades that wait for the end of the start-up wait are answered, too, when it ends because
/// history was lost.
#[test]
fn parked_trades_are_answered() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    bench.restart_after_crash();
    std::thread::scope(|scope| {
        let trade =
            scope.spawn(|| bench.trade(term, genesis, vec![order("a", "FishCo", Side::Buy, 1)]));
        let ahead = Position {
            last: Some(9),
            hash: genesis.hash,
        };
        assert_eq!(bench.refused_claim(term, ahead), 409);
        assert_eq!(
            status(&trade.join().expect("joins").expect_err("refused")),
            409
        );
    });
}

/// After a crash, terms are read and claims granted at once, but stocks and
/// rows leave only after the wait.
#[test]
fn the_start_up_wait() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let end = bench
        .trade(term, genesis, vec![order("a", "FishCo", Side::Buy, 1)])
        .expect("trades")
        .end;
    bench.restart_after_crash();
    let started = Instant::now();
    assert_eq!(bench.get::<TermAnswer>("/term").expect("term").term, term);
    let (newer, granted_end) = bench.claim(end);
    assert_eq!((newer, granted_end), (term + 1, end));
    let early = bench.quantity("FishCo");
    let rows = bench.get::<Rows>("/journal");
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "still within the wait"
    );
    assert_eq!(status(&early.expect_err("waits")), 503);
    assert_eq!(status(&rows.expect_err("waits")), 503);
    let answer = bench
        .trade(newer, end, vec![order("b", "FishCo", Side::Buy, 1)])
        .expect("held, then traded");
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "not before the leases of the earlier run are over"
    );
    assert_eq!(answer.verdicts, [Verdict::Accepted(1)]);
    assert_eq!(
        bench
            .get::<Rows>("/journal?after=0")
            .expect("serves")
            .orders
            .len(),
        1
    );
}

/// A clean stop ends every session and waits for the acknowledgement. The next start serves as soon
/// as a leader's batch fits its journal, and knows nothing of the stop any more: the start after a
/// crash waits.
#[test]
fn after_a_clean_stop_the_first_batch_that_fits_ends_the_wait() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let frontend = FakeFrontend::start();
    frontend.register(&bench, "s1").expect("granted");
    let trade = vec![order("a", "FishCo", Side::Buy, 1)];
    let end = bench.trade(term, genesis, trade).expect("trades").end;
    let began = Instant::now();
    bench.restart();
    let ended = EndSessionRequest {
        session: SessionId("s1".into()),
    };
    assert_eq!(*frontend.state.ends.lock(), [ended]);
    let refused = bench.quantity("FishCo").expect_err("no log has come yet");
    assert_eq!(status(&refused), 503);
    assert_eq!(status(&keep_alive(&bench, "s1").expect_err("over")), 404);
    bench
        .trade(term, end, vec![order("b", "FishCo", Side::Buy, 1)])
        .expect("trades");
    assert_eq!(bench.quantity("FishCo").expect("serves"), (98, true));
    assert!(began.elapsed() < Duration::from_millis(1_000), "at once");
    let file = bench.folder.path().join("catalog.db");
    let connection = rusqlite::Connection::open(file).expect("opens");
    let clean = "SELECT COUNT(*) FROM clean_stop";
    let rows: u32 = connection
        .query_row(clean, [], |row| row.get(0))
        .expect("reads");
    assert_eq!(rows, 0, "cleared before anything was served");
}

/// An older copy of the file, whose stop was clean too, shows no stock: the first log that knows
/// more ends its service. (Seen: two stale reads before the first order came.)
#[test]
fn an_older_copy_of_the_file_shows_no_stock() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    bench.restart();
    bench.catalog = None;
    let file = bench.folder.path().join("catalog.db");
    let old = std::fs::read(&file).expect("reads");
    bench.start();
    let trade = vec![order("a", "FishCo", Side::Buy, 1)];
    let end = bench.trade(term, genesis, trade).expect("trades").end;
    bench.catalog = None;
    std::fs::write(&file, old).expect("writes");
    bench.start();
    let read = bench.quantity("FishCo").expect_err("an older copy");
    assert_eq!(status(&read), 503);
    let next = bench.trade(term, end, vec![order("b", "FishCo", Side::Buy, 1)]);
    assert_eq!(status(&next.expect_err("history lost")), 409);
    let state = bench.get::<CatalogHealth>("/health").expect("health").state;
    assert_eq!(state, CatalogState::HistoryLost);
    assert!(bench.quantity("FishCo").is_err());
}

/// The log of a fenced leader ends no wait: it fits an older copy, too.
#[test]
fn a_fenced_leaders_log_confirms_no_file() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    let (old, _) = bench.claim(genesis);
    bench.claim(genesis);
    bench.restart();
    let began = Instant::now();
    let refused = bench.trade(old, genesis, Vec::new());
    assert_eq!(status(&refused.expect_err("fenced")), 412);
    assert!(began.elapsed() >= Duration::from_millis(1_000));
}

/// Without a log the wait ends after a lease and its margin, as after a crash.
#[test]
fn after_a_clean_stop_a_quiet_catalog_serves_after_the_wait() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    bench.claim(genesis);
    let began = Instant::now();
    bench.restart();
    bench.wait_serving();
    assert!(began.elapsed() >= Duration::from_millis(1_050));
    assert_eq!(bench.quantity("FishCo").expect("serves"), (100, true));
}

/// A front-end that does not acknowledge the end of its session is waited for: until its lease and
/// the margin are over it may answer from its cache.
#[test]
fn a_clean_stop_waits_for_a_silent_front_end() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let frontend = FakeFrontend::start();
    frontend.register(&bench, "s1").expect("granted");
    let granted = Instant::now();
    frontend.state.status.store(404, Ordering::SeqCst);
    bench.catalog = None;
    assert!(granted.elapsed() > Duration::from_millis(1_050));
    bench.start();
    let began = Instant::now();
    bench.trade(term, genesis, Vec::new()).expect("fits");
    assert_eq!(bench.quantity("FishCo").expect("serves"), (100, true));
    assert!(began.elapsed() < Duration::from_millis(1_000), "at once");
}

/// A stop within the start-up wait is no clean one: earlier leases may last longer than it.
#[test]
fn a_stop_within_the_start_up_wait_is_no_clean_one() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    bench.restart_after_crash();
    bench.restart();
    let began = Instant::now();
    bench.trade(term, genesis, Vec::new()).expect("fits");
    assert!(began.elapsed() >= Duration::from_millis(1_000));
}

/// Everything that was traded before a stop is there after it.
#[test]
fn state_survives_a_restart() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let orders: Vec<Order> = (0..700)
        .map(|n| order(&n.to_string(), "BoarCo", Side::Sell, 1))
        .collect();
    let answer = bench.trade(term, genesis, orders).expect("trades");
    bench.restart();
    bench.wait_serving();
    assert_eq!(bench.quantity("BoarCo").expect("serves"), (800, true));
    let health: CatalogHealth = bench.get("/health").expect("health");
    assert_eq!(
        (health.last, health.hash, health.term.term),
        (answer.end.last, answer.end.hash, term)
    );
}
