//! The catalog alone, over HTTP, with a fake front-end where one is needed.

use catalog::service::Catalog;
use catalog::settings::CatalogSettings;
use common::http::access::Access;
use common::http::client::{Call, CallError, HttpClient};
use common::http::tiny::{TinyConfig, TinyServer};
use common::http::{Handler, Request, Responder, Response};
use common::metrics::{HttpMetrics, Metrics};
use common::settings::Settings;
use common::wire::Empty;
use common::wire::catalog::*;
use common::wire::frontend::{EndSessionRequest, InvalidateRequest};
use common::wire::order::*;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TOKEN: &str = "a-token-of-the-test";

struct Bench {
    folder: TempDir,
    catalog: Option<Catalog>,
    http: HttpClient,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bench = Self {
            folder,
            catalog: None,
            http: HttpClient::new(4, Some(TOKEN)),
        };
        bench.start();
        bench
    }

    fn start(&mut self) {
        self.catalog = Some(self.try_start().expect("starts"));
    }

    fn try_start(&self) -> std::io::Result<Catalog> {
        let file = self
            .folder
            .path()
            .join("catalog.db")
            .to_string_lossy()
            .into_owned();
        let pairs = [
            ("CATALOG_LISTEN", "127.0.0.1:0"),
            ("CATALOG_DB", &file),
            ("BAZAAR_TOKEN", TOKEN),
        ];
        let mut settings =
            Settings::from_pairs(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        let read = CatalogSettings::read(&mut settings);
        settings.finish().expect("good settings");
        Catalog::start(&read)
    }

    fn restart(&mut self) {
        self.catalog = None;
        self.start();
    }

    /// Starts the catalog again, as if it had crashed: nothing says that it stopped cleanly.
    fn restart_after_crash(&mut self) {
        self.damage("DELETE FROM clean_stop");
    }

    /// Stops the catalog, changes its file, and starts it again.
    fn damage(&mut self, statement: &str) {
        self.catalog = None;
        let connection =
            rusqlite::Connection::open(self.folder.path().join("catalog.db")).expect("opens");
        connection.execute(statement, []).expect("damages");
        drop(connection);
        self.start();
    }

    fn base(&self) -> String {
        format!("http://{}", self.catalog.as_ref().expect("runs").address())
    }

    fn post<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &Q,
    ) -> Result<A, CallError> {
        let timeout = Duration::from_secs(5);
        self.http.call(
            Call {
                method: "POST",
                base: &self.base(),
                path,
                timeout,
                trace: None,
            },
            body,
        )
    }

    fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, CallError> {
        self.http.get(&self.base(), path, Duration::from_secs(5))
    }

    fn genesis_position(&self) -> Position {
        let genesis: Genesis = self.get("/genesis").expect("genesis");
        Position {
            last: None,
            hash: common::chain::genesis_hash(&genesis),
        }
    }

    /// Claims as replica 3, waiting out the spacing of claims.
    fn cluster(&self) -> ClusterId {
        self.get::<TermAnswer>("/term").expect("term").cluster
    }

    fn claim(&self, position: Position) -> (Term, Position) {
        let seen = self.get::<TermAnswer>("/term").expect("term").term;
        let claim = ClaimRequest {
            replica: replica(3),
            cluster: self.cluster(),
            position,
            seen,
            longest: None,
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match self.post("/claim", &claim).expect("a claim is answered") {
                ClaimAnswer::Granted { term, end } => return (term, end),
                ClaimAnswer::Wait { ms } => assert!(ms <= 200 && Instant::now() < deadline),
            }
        }
    }

    fn trade(
        &self,
        term: Term,
        position: Position,
        orders: Vec<Order>,
    ) -> Result<TradeAnswer, CallError> {
        let orders = orders
            .into_iter()
            .map(|order| Submission {
                order,
                trace: "t".into(),
            })
            .collect();
        self.post(
            "/trades",
            &TradeRequest {
                term,
                replica: replica(3),
                cluster: self.cluster(),
                position,
                orders,
            },
        )
    }

    fn quantity(&self, name: &str) -> Result<(u64, bool), CallError> {
        let answer: LookupAnswer = self.post(
            "/lookup",
            &LookupRequest {
                names: Some(vec![name.into()]),
            },
        )?;
        Ok((answer.stocks[0].quantity, answer.stocks[0].cacheable))
    }

    fn wait_serving(&self) {
        until(|| self.quantity("FishCo").is_ok());
    }
}

fn replica(id: u8) -> ReplicaId {
    ReplicaId::try_from(id).expect("an id")
}

fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "the condition did not come true");
        std::thread::yield_now();
    }
}

fn order(key: &str, name: &str, side: Side, quantity: u64) -> Order {
    Order {
        key: OrderKey::from_client(key),
        name: name.into(),
        side,
        quantity,
    }
}

fn status(error: &CallError) -> u16 {
    error
        .status()
        .unwrap_or_else(|| panic!("no status: {error}"))
}

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
        let claim = ClaimRequest {
            replica: replica(1),
            cluster: bench.cluster(),
            position: other,
            seen: term,
            longest: None,
        };
        assert_eq!(
            status(
                &bench
                    .post::<_, ClaimAnswer>("/claim", &claim)
                    .expect_err("refused")
            ),
            409
        );
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
        let claim = ClaimRequest {
            replica: replica(1),
            cluster: bench.cluster(),
            position: ahead,
            seen: term,
            longest: None,
        };
        assert_eq!(
            status(
                &bench
                    .post::<_, ClaimAnswer>("/claim", &claim)
                    .expect_err("refused")
            ),
            409
        );
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

/// A fake front-end: answers pushes with a status that the test sets, and remembers them.
struct FakeFrontend {
    server: TinyServer,
    state: Arc<FakeState>,
}

struct FakeState {
    status: AtomicU16,
    pushes: Mutex<Vec<InvalidateRequest>>,
    ends: Mutex<Vec<EndSessionRequest>>,
}

struct FakeHandler(Arc<FakeState>);

impl Handler for FakeHandler {
    fn handle(&self, request: Request, responder: Responder) {
        match request.path.as_str() {
            "/invalidate" => {
                let push = request.json().expect("an invalidation");
                self.0.pushes.lock().push(push);
            }
            "/sessions/end" => {
                let end = request.json().expect("an end");
                self.0.ends.lock().push(end);
            }
            path => panic!("a front-end has no {path}"),
        }
        let status = self.0.status.load(Ordering::SeqCst);
        responder.send(Response::text(status, "application/json", "{}"));
    }
}

impl FakeFrontend {
    fn start() -> Self {
        let state = Arc::new(FakeState {
            status: AtomicU16::new(200),
            pushes: Mutex::default(),
            ends: Mutex::default(),
        });
        let config = TinyConfig {
            name: "fake",
            listen: "127.0.0.1:0".parse().expect("an address"),
            workers: 1,
            body_limit_bytes: 4_096,
            access: Access::internal(Some(TOKEN)),
        };
        let handler = Arc::new(FakeHandler(Arc::clone(&state)));
        let server =
            TinyServer::start(config, handler, HttpMetrics::new(&Metrics::new())).expect("starts");
        Self { server, state }
    }

    fn register(&self, bench: &Bench, id: &str) -> Result<LeaseAnswer, CallError> {
        let url = format!("http://{}", self.server.address());
        bench.post(
            "/sessions/register",
            &RegisterRequest {
                session: SessionId(id.into()),
                url,
            },
        )
    }

    fn pushed_names(&self) -> Vec<Vec<String>> {
        self.state
            .pushes
            .lock()
            .iter()
            .map(|push| push.names.clone())
            .collect()
    }
}

fn keep_alive(bench: &Bench, id: &str) -> Result<LeaseAnswer, CallError> {
    bench.post(
        "/sessions/keep-alive",
        &KeepAliveRequest {
            session: SessionId(id.into()),
        },
    )
}

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

/// A clean stop ends every session and waits for the acknowledgement. The next start serves at
/// once, and knows nothing of the stop any more: a crash after it is waited for.
#[test]
fn after_a_clean_stop_the_next_start_serves_at_once() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    let (term, _) = bench.claim(genesis);
    let frontend = FakeFrontend::start();
    frontend.register(&bench, "s1").expect("granted");
    let trade = vec![order("a", "FishCo", Side::Buy, 1)];
    let end = bench.trade(term, genesis, trade).expect("trades").end;
    let began = Instant::now();
    bench.restart();
    let took = began.elapsed();
    let ended = EndSessionRequest {
        session: SessionId("s1".into()),
    };
    assert_eq!(*frontend.state.ends.lock(), [ended]);
    assert_eq!(bench.quantity("FishCo").expect("serves"), (99, true));
    println!("restart after a clean stop: {took:?}");
    assert_eq!(status(&keep_alive(&bench, "s1").expect_err("over")), 404);
    bench
        .trade(term, end, vec![order("b", "FishCo", Side::Buy, 1)])
        .expect("trades");
    let file = bench.folder.path().join("catalog.db");
    let connection = rusqlite::Connection::open(file).expect("opens");
    let clean = "SELECT COUNT(*) FROM clean_stop";
    let rows: u32 = connection
        .query_row(clean, [], |row| row.get(0))
        .expect("reads");
    assert_eq!(rows, 0, "cleared before anything was served");
}

/// A front-end that does not acknowledge the end of its session is waited for: until its lease and
/// the margin are over it may answer from its cache.
#[test]
fn a_clean_stop_waits_for_a_silent_front_end() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    bench.claim(genesis);
    let frontend = FakeFrontend::start();
    frontend.register(&bench, "s1").expect("granted");
    let granted = Instant::now();
    frontend.state.status.store(404, Ordering::SeqCst);
    bench.catalog = None;
    assert!(granted.elapsed() > Duration::from_millis(1_050));
    bench.start();
    assert_eq!(bench.quantity("FishCo").expect("serves"), (100, true));
}

/// A stop within the start-up wait is no clean one: earlier leases may last longer than it.
#[test]
fn a_stop_within_the_start_up_wait_is_no_clean_one() {
    let mut bench = Bench::new();
    let genesis = bench.genesis_position();
    bench.claim(genesis);
    bench.restart_after_crash();
    bench.restart();
    let state = bench.get::<CatalogHealth>("/health").expect("health").state;
    assert_eq!(state, CatalogState::StartUpWait);
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
