//! A replica leads: it completes its log first, trades, and replicates to its followers.

use super::*;

/// A leader trades, its follower has every acknowledged order, and only the leader says that there
/// is no such order.
#[test]
fn leads_and_replicates() {
    let bench = Bench::new();
    let follower = bench.replica(1, 2, NOBODY, &[]);
    let leader = bench.replica(2, 1, &url(&follower), &[]);
    let (follower, leader) = (url(&follower), url(&leader));
    let refused = bench
        .order(&leader, &[sell(0)])
        .expect_err("does not lead yet");
    assert!(
        !refused
            .refusal::<NotLeader>(421)
            .expect("says so")
            .outcome_unknown
    );
    let term = bench.lead(&leader);
    assert_eq!(
        bench.lead(&leader),
        term,
        "a leader that is asked again claims nothing"
    );
    bench.wait_health(&leader, "in sync", |health| health.in_sync.len() == 1);
    let verdicts = bench
        .order(&leader, &[sell(0), sell(1), sell(0)])
        .expect("trades");
    assert_eq!(
        verdicts,
        [
            Verdict::Accepted(0),
            Verdict::Accepted(1),
            Verdict::Accepted(0)
        ]
    );
    assert_eq!(
        bench.health(&follower).last,
        Some(1),
        "durable at the follower in sync before the answer"
    );
    assert_eq!(
        bench.query(&leader, &[1, 2]),
        [QueryAnswer::Found(sell(1)), QueryAnswer::NotFound]
    );
    assert_eq!(
        bench.query(&follower, &[0, 2]),
        [QueryAnswer::Found(sell(0)), QueryAnswer::NotLeader]
    );
    let health = bench.health(&leader);
    assert_eq!(
        (health.leading, health.last, health.term),
        (Some(term), Some(1), term)
    );
    let noted: serde_json::Value = bench
        .send(
            "PUT",
            &follower,
            "/term",
            &LeaderNotice {
                cluster: bench.cluster(),
                term,
                leader: health.replica,
            },
        )
        .expect("noted");
    assert_eq!(noted, serde_json::json!({}));
    assert_eq!(bench.health(&follower).leader, Some(health.replica));
    let files = [bench.file(1), bench.file(2)];
    assert_eq!(
        summarise(&files[0]).expect("reads").sha256,
        summarise(&files[1]).expect("reads").sha256
    );
}

/// A replica that is asked to lead completes its log from the journal first.
#[test]
fn completes_its_log_before_it_leads() {
    let bench = Bench::new();
    let first = bench.replica(1, 2, NOBODY, &[]);
    bench.lead(&url(&first));
    let orders: Vec<Order> = (0..2_500).map(sell).collect();
    for chunk in orders.chunks(500) {
        bench.order(&url(&first), chunk).expect("trades");
    }
    let second = bench.replica(2, 1, NOBODY, &[]);
    let term = bench.lead(&url(&second));
    assert_eq!(bench.health(&url(&second)).last, Some(2_499));
    assert_eq!(
        bench.query(&url(&second), &[2_499]),
        [QueryAnswer::Found(sell(2_499))]
    );
    // The first one is fenced: its next batch is refused, or its term keeper has read the newer
    // term.
    let refused = bench
        .order(&url(&first), &[sell("late")])
        .expect_err("fenced");
    assert_eq!(status(&refused), 421);
    bench.wait_health(&url(&first), "deposed", |health| {
        health.leading.is_none() && health.term == term
    });
    assert_eq!(
        bench.query(&url(&second), &[2_500]),
        [QueryAnswer::NotFound],
        "the refused batch did not trade"
    );
}

/// A follower appends what continues its log, says where a gap begins, and refuses what
/// contradicts it.
#[test]
fn appends_of_a_leader() {
    let bench = Bench::new();
    let replica = bench.replica(1, 2, NOBODY, &[]);
    let replica = url(&replica);
    bench.wait_health(&replica, "founded", |health| health.eligible);
    let genesis: Genesis = bench
        .http
        .get(&bench.catalog_url(), "/genesis", Duration::from_secs(5))
        .expect("genesis");
    let seed = common::chain::genesis_hash(&genesis);
    let orders: Vec<Order> = (0..9).map(sell).collect();
    let hashes: Vec<Hash> = row_hashes(seed, 0, &orders).collect();
    let leader = ReplicaId::try_from(2).expect("an id");
    let append = |term, first: usize, end: usize| {
        let rows = Rows {
            first: first as u64,
            orders: orders[first..end].to_vec(),
            hash: hashes[end - 1],
        };
        bench.send::<_, LogPosition>(
            "POST",
            &replica,
            "/log",
            &AppendRequest {
                term,
                leader,
                cluster: bench.cluster(),
                rows,
                traces: vec![],
            },
        )
    };
    let at = |n: usize| LogPosition {
        replica: ReplicaId::try_from(1).expect("an id"),
        cluster: Some(bench.cluster()),
        position: Some(Position {
            last: Some(n as u64),
            hash: hashes[n],
        }),
    };
    assert_eq!(append(1, 0, 3).expect("fits"), at(2));
    assert_eq!(append(1, 1, 5).expect("overlaps"), at(4));
    assert_eq!(
        append(1, 6, 8)
            .expect_err("gap")
            .refusal::<LogPosition>(409),
        Some(at(4))
    );
    let mut wrong = orders[4].clone();
    wrong.quantity += 1;
    let hash = row_hashes(hashes[3], 4, &[wrong.clone()])
        .last()
        .expect("a row");
    let rows = Rows {
        first: 4,
        orders: vec![wrong],
        hash,
    };
    let contradiction = bench.send::<_, LogPosition>(
        "POST",
        &replica,
        "/log",
        &AppendRequest {
            term: 1,
            leader,
            cluster: bench.cluster(),
            rows,
            traces: vec![],
        },
    );
    assert_eq!(status(&contradiction.expect_err("refused")), 422);
    assert_eq!(append(3, 5, 6).expect("a newer term"), at(5));
    assert_eq!(
        append(2, 6, 7)
            .expect_err("an older one")
            .refusal::<TermInfo>(412)
            .expect("the view")
            .term,
        3
    );
    assert_eq!(bench.health(&replica).last, Some(5));
}

/// A bazaar of one replica: it writes its own genesis, leads and trades.
#[test]
fn one_replica_alone_works() {
    let bench = Bench::new();
    let only = bench.replica(1, 1, NOBODY, &[]);
    bench.lead(&url(&only));
    assert_eq!(
        bench.order(&url(&only), &[sell(0)]).expect("trades"),
        [Verdict::Accepted(0)]
    );
    let health = bench.health(&url(&only));
    assert_eq!((health.last, health.catching_up), (Some(0), false));
}
