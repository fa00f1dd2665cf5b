//! Verdicts, terms and routes.

use super::*;

/// A new bazaar serves stocks once a claim was granted, and never before.
#[test]
fn a_new_file_waits_for_a_claim() {
    let bench = Bench::new();
    assert_eq!(status(&bench.quantity("FishCo").expect_err("waits")), 503);
    assert_eq!(
        bench.get::<CatalogHealth>("/health").expect("health").state,
        CatalogState::AwaitingClaim
    );
    let (term, end) = bench.claim(bench.genesis_position());
    assert_eq!((term, end.last), (1, None));
    let all: LookupAnswer = bench
        .post("/lookup", &LookupRequest { names: None })
        .expect("serves");
    assert_eq!(all.stocks.len(), 14);
    assert!(
        all.stocks
            .iter()
            .all(|stock| stock.quantity == 100 && stock.cacheable)
    );
    let none: LookupAnswer = bench
        .post(
            "/lookup",
            &LookupRequest {
                names: Some(vec!["Nobody".into()]),
            },
        )
        .expect("serves");
    assert!(none.stocks.is_empty());
}

/// Each order gets its verdict; numbers are dense; a repeat gets the recorded verdict, also after a
/// restart; another body under its key is refused.
#[test]
fn verdicts_are_recorded() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let first = vec![
        order("buy", "FishCo", Side::Buy, 60),
        order("too-much", "FishCo", Side::Buy, 41),
        order("sell", "FishCo", Side::Sell, 5),
        order("nobody", "Nobody", Side::Buy, 1),
        order("buy", "FishCo", Side::Buy, 60),
        order("buy", "FishCo", Side::Buy, 61),
        order("too-much", "FishCo", Side::Buy, 40),
    ];
    let expected = [
        Verdict::Accepted(0),
        Verdict::InsufficientQuantity,
        Verdict::Accepted(1),
        Verdict::UnknownStock,
        Verdict::Accepted(0),
        Verdict::KeyReused,
        Verdict::KeyReused,
    ];
    let answer = bench.trade(term, genesis, first.clone()).expect("trades");
    assert_eq!(answer.verdicts, expected);
    assert_eq!(
        (answer.rows.first, answer.rows.orders.len(), answer.end.last),
        (0, 2, Some(1))
    );
    assert_eq!(bench.quantity("FishCo").expect("serves"), (45, true));
    bench.restart_after_crash();
    let (term, _) = bench.claim(genesis);
    let again = bench
        .trade(term, genesis, first)
        .expect("the batch waits for the end of the start-up wait");
    assert_eq!(
        again.verdicts, expected,
        "the refusal too, although 45 are left now"
    );
    assert_eq!(
        again.rows.orders.len(),
        2,
        "every row after the leader's last one comes again"
    );
    assert_eq!(bench.quantity("FishCo").expect("serves"), (45, true));
}

/// A batch or claim of an older term is refused with the current one, and changes nothing.
#[test]
fn older_terms_are_fenced() {
    let bench = Bench::new();
    let genesis = bench.genesis_position();
    let (old, _) = bench.claim(genesis);
    let (new, _) = bench.claim(genesis);
    assert!(new > old);
    let refused = bench
        .trade(old, genesis, vec![order("a", "FishCo", Side::Buy, 1)])
        .expect_err("fenced");
    assert_eq!(
        refused.refusal::<TermInfo>(412),
        Some(TermInfo {
            term: new,
            owner: Some(replica(3))
        })
    );
    let stale = ClaimRequest {
        replica: replica(1),
        cluster: bench.cluster(),
        position: genesis,
        seen: old,
        longest: None,
    };
    let refused = bench
        .post::<_, ClaimAnswer>("/claim", &stale)
        .expect_err("stale");
    assert_eq!(
        refused.refusal::<TermInfo>(412).expect("the view").term,
        new
    );
    assert_eq!(bench.quantity("FishCo").expect("serves").0, 100);
}

/// Without the token nothing but /livez and /metrics is answered, whatever the path; with it,
/// unknown paths and methods are named in the refusal.
#[test]
fn access_and_routes() {
    let bench = Bench::new();
    let stranger = HttpClient::new(1, None);
    let ask = |http: &HttpClient, path: &str| {
        http.get::<serde_json::Value>(&bench.base(), path, Duration::from_secs(5))
            .map_err(|e| match e {
                CallError::Status { status, .. } => status,
                CallError::Misfit(_) => 200,
                other => panic!("{other}"),
            })
    };
    for path in ["/term", "/nowhere", "/trades"] {
        assert_eq!(ask(&stranger, path).expect_err("refused"), 401, "{path}");
    }
    assert!(ask(&stranger, "/livez").is_ok());
    assert_eq!(ask(&stranger, "/metrics").expect_err("is text"), 200);
    assert_eq!(ask(&bench.http, "/nowhere").expect_err("unknown"), 404);
    assert_eq!(ask(&bench.http, "/trades").expect_err("method"), 405);
    assert_eq!(
        ask(&bench.http, "/journal?after=x").expect_err("query"),
        400
    );
    let wrong: Result<TradeAnswer, CallError> =
        bench.post("/trades", &serde_json::json!({"term": 1, "extra": 2}));
    assert_eq!(status(&wrong.expect_err("does not fit")), 400);
}
