//! Replicas and files that do not belong to this bazaar.

use super::*;

/// A replica that answers in a follower's place with another id, or with another bazaar's file, is
/// never in sync and never a copy, and its longer log stops nobody: the leader goes on, and the
/// catalog serves.
#[test]
fn a_stranger_in_a_followers_place_counts_for_nothing() {
    let bench = Bench::new();
    let hanging = Hanging::start();
    let leader = bench.replica(2, 1, &hanging.url(), &[]);
    let term = bench.lead(&url(&leader));
    let ahead = Position {
        last: Some(500),
        hash: Hash([5; 32]),
    };
    let genesis: Genesis = bench
        .http
        .get(&bench.catalog_url(), "/genesis", Duration::from_secs(5))
        .expect("genesis");
    let level = Position {
        last: None,
        hash: common::chain::genesis_hash(&genesis),
    };
    let other = ReplicaId::try_from(3).expect("an id");
    let theirs = ClusterId("cd".repeat(16));
    for (id, cluster, position) in [
        (Some(other), None, level),
        (Some(other), Some(bench.cluster()), ahead),
        (None, Some(theirs), ahead),
    ] {
        *hanging.state.answers_as.lock() = id;
        *hanging.state.cluster.lock() = cluster;
        hanging.answer_at(position);
        let asked = hanging.state.asked.load(Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(10);
        while hanging.state.asked.load(Ordering::SeqCst) < asked + 2 {
            assert!(Instant::now() < deadline, "the leader asks again");
            std::thread::yield_now();
        }
        let health = bench.health(&url(&leader));
        assert_eq!((health.leading, health.in_sync), (Some(term), vec![]));
        assert_eq!(
            health.copies,
            Some(Copies {
                present: 1,
                wanted: 1
            })
        );
        assert_eq!(bench.catalog_state(), CatalogState::Serving);
    }
    bench.order(&url(&leader), &[sell(0)]).expect("trades");
    // The follower itself, at last.
    *hanging.state.answers_as.lock() = None;
    *hanging.state.cluster.lock() = Some(bench.cluster());
    let end = bench.health(&url(&leader)).last;
    let rows: Rows = bench
        .http
        .get(&bench.catalog_url(), "/journal", Duration::from_secs(5))
        .expect("rows");
    hanging.answer_at(Position {
        last: end,
        hash: rows.hash,
    });
    bench.wait_health(&url(&leader), "in sync", |health| health.in_sync.len() == 1);
}

/// A URL that is given twice is one copy: with three wanted, the leader refuses while the other
/// replica is missing.
#[test]
fn a_url_given_twice_is_one_copy() {
    let bench = Bench::new();
    let first = bench.replica(1, 3, NOBODY, &[]);
    let replicas = format!("1={0},2={0},3={NOBODY}", url(&first));
    let more = [
        ("ORDER_REPLICAS", replicas.as_str()),
        ("ORDER_MIN_COPIES", "3"),
    ];
    let leader = bench.replica(3, 1, NOBODY, &more);
    bench.lead(&url(&leader));
    let health = bench.wait_health(&url(&leader), "in sync", |h| !h.in_sync.is_empty());
    assert_eq!(
        health
            .in_sync
            .iter()
            .map(|id| u8::from(*id))
            .collect::<Vec<_>>(),
        [1]
    );
    let refused = bench
        .order(&url(&leader), &[sell(0)])
        .expect_err("two copies");
    let refusal = refused.refusal::<Unavailable>(503).expect("says why");
    assert!(
        refusal.message.contains("2 of the 3 copies"),
        "{}",
        refusal.message
    );
    assert_eq!(bench.health(&url(&leader)).last, None, "nothing traded");
}

/// A replica with another bazaar's file neither leads nor follows beside a catalog that was led,
/// and returns nothing of that bazaar's orders; terms of another bazaar depose nobody here. None of
/// it stops the catalog.
#[test]
fn another_bazaars_file_stops_nobody() {
    let theirs = Bench::new();
    let their_leader = theirs.replica(1, 2, NOBODY, &[]);
    theirs.lead(&url(&their_leader));
    let orders: Vec<Order> = (0..30).map(sell).collect();
    theirs.order(&url(&their_leader), &orders).expect("trades");
    drop(their_leader);

    let ours = Bench::new();
    std::fs::copy(theirs.file(1), ours.file(1)).expect("copied");
    let before = summarise(&ours.file(1)).expect("reads");
    let founder = ours.replica(2, 3, NOBODY, &[]);
    let term = ours.lead(&url(&founder));
    drop(founder);
    let foreign = ours.replica(1, 2, NOBODY, &[]);
    let leader = ours.replica(2, 1, &url(&foreign), &[]);
    let term = ours.lead(&url(&leader)).max(term);
    ours.wait_health(&url(&foreign), "no candidate", |health| !health.eligible);
    assert_eq!(ours.health(&url(&foreign)).cluster, Some(theirs.cluster()));
    for cluster in [ours.cluster(), theirs.cluster()] {
        let ask = LeadRequest {
            cluster,
            seen: term,
            longest: None,
        };
        let refused = ours
            .send::<_, LeadAnswer>("PUT", &url(&foreign), "/leader", &ask)
            .expect_err("refused");
        assert_eq!(status(&refused), 503, "{refused}");
    }
    // Another bazaar's services may send these by a slip.
    let notice = LeaderNotice {
        cluster: theirs.cluster(),
        term: term + 50,
        leader: ReplicaId::try_from(3).expect("an id"),
    };
    let refused = ours
        .send::<_, Empty>("PUT", &url(&leader), "/term", &notice)
        .expect_err("refused");
    assert_eq!(status(&refused), 409);
    let end = Position {
        last: Some(29),
        hash: before.last_hash.expect("it has orders"),
    };
    let claim = ClaimRequest {
        replica: notice.leader,
        cluster: theirs.cluster(),
        position: end,
        seen: term,
        longest: None,
    };
    let refused = ours
        .send::<_, ClaimAnswer>("POST", &ours.catalog_url(), "/claim", &claim)
        .expect_err("refused");
    assert_eq!(status(&refused), 409);
    assert!(refused.to_string().contains("another") || refused.to_string().contains("belongs to"));
    let trade = TradeRequest {
        term,
        replica: notice.leader,
        cluster: theirs.cluster(),
        position: end,
        orders: vec![],
    };
    let refused = ours
        .send::<_, TradeAnswer>("POST", &ours.catalog_url(), "/trades", &trade)
        .expect_err("refused");
    assert_eq!(status(&refused), 409);

    assert_eq!(ours.catalog_state(), CatalogState::Serving);
    ours.order(&url(&leader), &[sell("ours")]).expect("trades");
    let health = ours.health(&url(&leader));
    assert_eq!((health.leading, health.in_sync), (Some(term), vec![]));
    let query = QueryRequest {
        cluster: Some(ours.cluster()),
        numbers: vec![7],
        found_only: false,
    };
    let answers: QueryAnswers = ours
        .send("POST", &url(&foreign), "/orders/query", &query)
        .expect("answers");
    assert_eq!(answers.answers, [QueryAnswer::NotLeader]);
    drop(foreign);
    assert_eq!(
        summarise(&ours.file(1)).expect("reads"),
        before,
        "unchanged"
    );
}

/// An empty file beside a replica with another bazaar's file gets this bazaar's genesis.
#[test]
fn a_foreign_genesis_does_not_spread() {
    let theirs = Bench::new();
    let foreign = theirs.replica(1, 2, NOBODY, &[]);
    theirs.lead(&url(&foreign));
    let ours = Bench::new();
    let founder = ours.replica(3, 2, NOBODY, &[]);
    ours.lead(&url(&founder));
    let fresh = ours.replica(2, 1, &url(&foreign), &[]);
    let health = ours.wait_health(&url(&fresh), "eligible", |health| health.eligible);
    assert_eq!(health.cluster, Some(ours.cluster()));
}
