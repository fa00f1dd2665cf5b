//! Lost history, damage, and files that cannot be written.

use super::*;

/// A log that is ahead of the journal, or differs from it, shows that the file was lost: no trade,
/// no claim, no stock any more.
#[test]
fn lost_history_is_noticed() {
    for last in [None, Some(5)] {
        let bench = Bench::new();
        let genesis = bench.genesis_position();
        let (term, _) = bench.claim(genesis);
        let other = Position {
            last,
            hash: common::chain::Hash([9; 32]),
        };
        assert_eq!(bench.refused_claim(term, other), 409);
        let trade = bench
            .trade(term, genesis, vec![order("a", "FishCo", Side::Buy, 1)])
            .expect_err("refused");
        assert_eq!(status(&trade), 409);
        let lookup = bench.quantity("FishCo").expect_err("refused");
        assert!(lookup.to_string().contains("catalog rebuild"), "{lookup}");
    }
}

/// Before the first grant a log of another bazaar shows that the catalog's file may have been lost;
/// afterwards its claim is refused, and nothing else changes.
#[test]
fn a_foreign_log_counts_before_the_first_grant_only() {
    for led in [false, true] {
        let bench = Bench::new();
        let genesis = bench.genesis_position();
        if led {
            bench.claim(genesis);
        }
        let claim = ClaimRequest {
            replica: replica(1),
            cluster: ClusterId("cd".repeat(16)),
            position: Position {
                last: Some(19),
                hash: common::chain::Hash([9; 32]),
            },
            seen: u64::from(led),
            longest: Some(19),
        };
        let refused = bench
            .post::<_, ClaimAnswer>("/claim", &claim)
            .expect_err("refused");
        assert_eq!(status(&refused), 409);
        for part in ["replica 1", "last order 19", &"cd".repeat(16)] {
            assert!(refused.to_string().contains(part), "{refused}");
        }
        assert_eq!(
            refused.to_string().contains("catalog rebuild"),
            !led,
            "{refused}"
        );
        let state = bench.get::<CatalogHealth>("/health").expect("health").state;
        let expected = if led {
            CatalogState::Serving
        } else {
            CatalogState::HistoryLost
        };
        assert_eq!(state, expected);
    }
}

/// A trade that was changed in the file is found at the start, a quantity by the check after it,
/// before stocks are served again.
#[test]
fn damage_is_found_after_a_start() {
    let trade_and_damage = |damage: &str| {
        let mut bench = Bench::new();
        let genesis = bench.genesis_position();
        let (term, _) = bench.claim(genesis);
        let orders: Vec<Order> = (0..3)
            .map(|n| order(&n.to_string(), "FishCo", Side::Buy, 1))
            .collect();
        bench.trade(term, genesis, orders).expect("trades");
        bench.catalog = None;
        let connection =
            rusqlite::Connection::open(bench.folder.path().join("catalog.db")).expect("opens");
        connection.execute(damage, []).expect("damages");
        // Else it serves at once, and the check comes later.
        let crash = connection.execute("DELETE FROM clean_stop", []);
        crash.expect("as if it had crashed");
        bench
    };
    let bench = trade_and_damage("UPDATE orders SET quantity = 2 WHERE number = 0");
    let error = bench.try_start().expect_err("damaged").to_string();
    assert!(error.contains("order 0"), "{error}");
    let mut bench = trade_and_damage("UPDATE stocks SET quantity = 77 WHERE name = 'FishCo'");
    bench.start();
    until(|| {
        bench.get::<CatalogHealth>("/health").expect("health").state == CatalogState::HistoryLost
    });
    let refused = bench.quantity("FishCo").expect_err("refused").to_string();
    assert!(
        refused.contains("77 of FishCo, its trades leave 97"),
        "{refused}"
    );
}

/// A file in use is refused at start, with its name.
#[test]
fn a_file_in_use_is_refused() {
    let bench = Bench::new();
    let file = bench
        .folder
        .path()
        .join("catalog.db")
        .to_string_lossy()
        .into_owned();
    let mut settings = Settings::from_pairs([
        ("CATALOG_DB".into(), file),
        ("CATALOG_LISTEN".into(), "127.0.0.1:0".into()),
    ]);
    let read = CatalogSettings::read(&mut settings);
    let error = Catalog::start(&read).expect_err("in use").to_string();
    assert!(
        error.contains("catalog.db") && error.contains("in use"),
        "{error}"
    );
}

/// While another program holds the lock of its file, the catalog says that it can write nothing,
/// whether or not an order comes; once the lock is gone it finds that out by itself. An order that
/// changes nothing does not pass for a write that succeeded.
#[test]
fn a_file_that_cannot_be_written_is_said_without_an_order() {
    let bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let fault = || {
        let health: CatalogHealth = bench.get("/health").expect("the workers answer");
        health.write_fault
    };
    assert_eq!(fault(), None);
    let other = rusqlite::Connection::open(bench.folder.path().join("catalog.db")).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("is locked");
    until(|| fault().is_some_and(|why| why.contains("has not ended for")));
    other.execute_batch("ROLLBACK").expect("is free");
    until(|| fault().is_none());
    let answer = bench
        .trade(term, genesis, vec![order("a", "FishCo", Side::Buy, 1)])
        .expect("trades");
    assert_eq!(answer.verdicts, [Verdict::Accepted(0)]);
}

/// After a commit that failed the catalog says so until a write succeeds: not a commit without
/// anything to write, which proves nothing.
#[test]
fn a_commit_without_changes_proves_nothing() {
    let bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let other = rusqlite::Connection::open(bench.folder.path().join("catalog.db")).expect("opens");
    // Every write from here on fails at once, reads go on.
    other
        .execute_batch(
            "CREATE TRIGGER no_order BEFORE INSERT ON orders
                 BEGIN SELECT RAISE(FAIL, 'no room'); END;
             CREATE TABLE IF NOT EXISTS write_probe
                 (id INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT;
             CREATE TRIGGER no_probe BEFORE INSERT ON write_probe
                 BEGIN SELECT RAISE(FAIL, 'no room'); END;",
        )
        .expect("made");
    let fails = bench.trade(term, genesis, vec![order("a", "FishCo", Side::Buy, 1)]);
    assert_eq!(status(&fails.expect_err("no room")), 503);
    let fault = || {
        let health: CatalogHealth = bench.get("/health").expect("the workers answer");
        health.write_fault
    };
    assert!(fault().is_some_and(|why| why.contains("no room")));
    let unknown = bench
        .trade(term, genesis, vec![order("b", "Nobody", Side::Buy, 1)])
        .expect("is decided");
    assert_eq!(unknown.verdicts, [Verdict::UnknownStock]);
    assert!(fault().is_some_and(|why| why.contains("no room")));
    other
        .execute_batch("DROP TRIGGER no_order; DROP TRIGGER no_probe;")
        .expect("gone");
    until(|| fault().is_none());
}
