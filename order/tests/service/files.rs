//! Damaged, lost and cut files, and the commands that look into them.

use super::*;

/// A damaged file is set aside, never deleted, and its log fetched again from another replica.
#[test]
fn a_damaged_file_is_set_aside_and_fetched_again() {
    let bench = Bench::new();
    let damaged = bench.replica(1, 2, NOBODY, &[]);
    let leader = bench.replica(2, 1, &url(&damaged), &[]);
    bench.lead(&url(&leader));
    bench.wait_health(&url(&leader), "in sync", |health| health.in_sync.len() == 1);
    bench
        .order(&url(&leader), &(0..20).map(sell).collect::<Vec<_>>())
        .expect("trades");
    drop(damaged);
    let connection = rusqlite::Connection::open(bench.file(1)).expect("opens");
    connection
        .execute("UPDATE orders SET quantity = 7 WHERE number = 11", [])
        .expect("damages");
    drop(connection);
    let before = summarise(&bench.file(1)).expect_err("damaged").to_string();
    assert!(before.contains("order 11"), "{before}");
    let mended = bench.replica(1, 2, &url(&leader), &[]);
    bench.wait_health(&url(&mended), "complete", |health| health.last == Some(19));
    assert_eq!(bench.set_aside(1), 1);
    bench.assert_equal_logs();
}

/// Damage that shows while the replica runs is found by whoever reads the row; the replica sets the
/// file aside without a restart and fetches it again.
#[test]
fn damage_found_at_run_time() {
    let bench = Bench::new();
    let follower = bench.replica(1, 2, NOBODY, &[]);
    let leader = bench.replica(2, 1, &url(&follower), &[]);
    bench.lead(&url(&leader));
    bench.wait_health(&url(&leader), "in sync", |health| health.in_sync.len() == 1);
    bench
        .order(&url(&leader), &(0..5).map(sell).collect::<Vec<_>>())
        .expect("trades");
    let connection = rusqlite::Connection::open(bench.file(1)).expect("opens");
    connection
        .execute(
            "UPDATE orders SET name = CAST(x'ff' AS TEXT) WHERE number = 3",
            [],
        )
        .expect("damages");
    drop(connection);
    let query = QueryRequest {
        cluster: None,
        numbers: vec![3],
        found_only: true,
    };
    let refused = bench
        .send::<_, QueryAnswers>("POST", &url(&follower), "/orders/query", &query)
        .expect_err("damaged");
    assert_eq!(status(&refused), 503);
    // The damaged file still reports order 4 until the log writer has set it aside.
    bench.wait_health(&url(&follower), "set aside and filled anew", |health| {
        bench.set_aside(1) > 0 && health.last == Some(4) && health.eligible
    });
    assert_eq!(
        bench.query(&url(&follower), &[3]),
        [QueryAnswer::Found(sell(3))]
    );
    bench.wait_health(&url(&leader), "in sync again", |health| {
        health.in_sync.len() == 1
    });
    drop((follower, leader));
    bench.assert_equal_logs();
}

/// A follower that has orders which the leader does not know shows that the catalog's file was
/// lost: the leader asks the catalog about it, which stops serving.
#[test]
fn a_follower_that_is_ahead_exposes_a_cut_catalog() {
    let bench = Bench::new();
    let hanging = Hanging::start();
    let leader = bench.replica(2, 1, &hanging.url(), &[]);
    bench.lead(&url(&leader));
    hanging.answer_at(Position {
        last: Some(500),
        hash: Hash([5; 32]),
    });
    bench.wait_health(&url(&leader), "stepped down", |health| {
        health.leading.is_none()
    });
    let health: CatalogHealth = bench
        .http
        .get(&bench.catalog_url(), "/health", Duration::from_secs(5))
        .expect("health");
    assert_eq!(health.state, CatalogState::HistoryLost);
}

/// `verify` and `dump` change nothing in a stopped replica's folder, see what is only in its
/// `-wal`, and tell damaged and different files.
#[test]
fn verify_and_dump() {
    let bench = Bench::new();
    let replica = bench.replica(1, 2, NOBODY, &[]);
    bench.lead(&url(&replica));
    bench
        .order(&url(&replica), &[sell(0), sell(1)])
        .expect("trades");
    // As a crash leaves it: the file with its -wal, copied while it is in use.
    let crashed = bench.folder.path().join("crashed.db");
    for suffix in ["", "-wal"] {
        let from = format!("{}{suffix}", bench.file(1).display());
        std::fs::copy(from, format!("{}{suffix}", crashed.display())).expect("copies");
    }
    let listing = || {
        let entries = std::fs::read_dir(bench.folder.path())
            .expect("lists")
            .map(|e| e.expect("an entry"));
        let mut list: Vec<_> = entries
            .map(|e| (e.file_name(), std::fs::read(e.path()).expect("reads")))
            .collect();
        list.sort();
        list
    };
    drop(replica);
    let before = listing();
    let mut out = Vec::new();
    assert_eq!(
        verify(&[crashed.clone(), bench.file(1)], &mut out).expect("prints"),
        Comparison::Equal,
        "{}",
        String::from_utf8_lossy(&out)
    );
    let mut csv = Vec::new();
    dump(&crashed, &mut csv).expect("dumps");
    assert!(listing() == before, "looking changes nothing");
    let csv = String::from_utf8(csv).expect("text");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(
        (lines.len(), lines[0]),
        (3, "number,key,name,type,quantity,hash")
    );
    assert!(
        lines[2].starts_with("1,") && lines[2].contains(",FishCo,sell,2,"),
        "{}",
        lines[2]
    );
    let other = bench.replica(3, 2, NOBODY, &[]);
    bench.wait_health(&url(&other), "founded", |health| health.eligible);
    let mut out = Vec::new();
    assert_eq!(
        verify(&[bench.file(1), bench.file(3)], &mut out).expect("prints"),
        Comparison::Prefixes,
        "a shorter log is behind"
    );
    let out = String::from_utf8_lossy(&out).into_owned();
    assert!(
        out.contains("has the first 0 of the 2 orders") && !out.contains("NOT EQUAL"),
        "{out}"
    );
    assert_eq!(
        verify(&[bench.folder.path().join("catalog.db")], &mut Vec::new()).expect("prints"),
        Comparison::Different,
        "no order log"
    );
}

/// A catalog whose file is lost refuses to give numbers again; rebuilt from a log it goes on where
/// it was, in a term above all others.
#[test]
fn a_lost_catalog_is_rebuilt_from_a_log() {
    let bench = Bench::new();
    let replica = bench.replica(1, 2, NOBODY, &[]);
    let term = bench.lead(&url(&replica));
    bench
        .order(&url(&replica), &[sell(0), sell(1), sell(2)])
        .expect("trades");
    drop(replica);
    let Bench {
        folder,
        catalog,
        http,
    } = bench;
    drop(catalog);
    let database = folder.path().join("catalog.db");
    std::fs::remove_file(&database).expect("removes");
    let bench = Bench {
        catalog: start_catalog(&folder),
        folder,
        http,
    };
    let replica = bench.replica(1, 2, NOBODY, &[]);
    let term_now = bench.term();
    let ask = LeadRequest {
        cluster: term_now.cluster,
        seen: term_now.term,
        longest: None,
    };
    let refused = bench
        .send::<_, LeadAnswer>("PUT", &url(&replica), "/leader", &ask)
        .expect_err("refused");
    assert_eq!(status(&refused), 409, "{refused}");
    assert!(refused.to_string().contains("catalog rebuild"), "{refused}");
    drop(replica);
    let Bench {
        folder,
        catalog,
        http,
    } = bench;
    let in_use = rebuild(&folder.path().join("order1.db"), &database)
        .expect_err("the catalog runs")
        .to_string();
    assert!(in_use.contains("in use"), "{in_use}");
    drop(catalog);
    let rebuilt = rebuild(&folder.path().join("order1.db"), &database).expect("rebuilds");
    assert_eq!(rebuilt.position.last, Some(2));
    assert!(
        rebuilt
            .kept_as
            .is_some_and(|kept| std::path::Path::new(&kept).exists())
    );
    let bench = Bench {
        catalog: start_catalog(&folder),
        folder,
        http,
    };
    let replica = bench.replica(1, 2, NOBODY, &[]);
    assert!(bench.lead(&url(&replica)) > rebuilt.term && rebuilt.term > term);
    let verdicts = bench
        .order(&url(&replica), &[sell(1), sell(3)])
        .expect("trades");
    assert_eq!(verdicts, [Verdict::Accepted(1), Verdict::Accepted(3)]);
    let lookup = LookupRequest {
        names: Some(vec!["FishCo".into()]),
    };
    let stocks: LookupAnswer = bench
        .send("POST", &bench.catalog_url(), "/lookup", &lookup)
        .expect("serves");
    assert_eq!(stocks.stocks[0].quantity, 108);
    bench.wait_health(&url(&replica), "durable", |health| health.last == Some(3));
}
