//! A replica over HTTP, with a real catalog in the same process, and a second replica or a fake
//! one.

use catalog::rebuild::rebuild;
use catalog::service::Catalog;
use catalog::settings::CatalogSettings;
use common::chain::{Hash, row_hashes};
use common::http::client::{Call, CallError, HttpClient};
use common::http::tiny::{Access, TinyConfig, TinyServer};
use common::http::{Handler, Request, Responder};
use common::metrics::{HttpMetrics, Metrics};
use common::settings::Settings;
use common::wire::catalog::*;
use common::wire::order::*;
use common::wire::replica::*;
use order::log::verify::{dump, summarise, verify};
use order::service::Order as Replica;
use order::settings::OrderSettings;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An address of this machine at which nobody listens: the port of the "discard" service.
const NOBODY: &str = "http://127.0.0.1:9";

struct Bench {
    folder: TempDir,
    catalog: Catalog,
    http: HttpClient,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let catalog = start_catalog(&folder);
        Self {
            folder,
            catalog,
            http: HttpClient::new(4, None),
        }
    }

    fn file(&self, id: u8) -> PathBuf {
        self.folder.path().join(format!("order{id}.db"))
    }

    fn catalog_url(&self) -> String {
        format!("http://{}", self.catalog.address())
    }

    /// Starts replica `id`, whose only peer is number `peer` at `url`.
    fn replica(&self, id: u8, peer: u8, url: &str, more: &[(&str, &str)]) -> Replica {
        let pairs = [
            ("ORDER_ID", id.to_string()),
            ("ORDER_LISTEN", "127.0.0.1:0".into()),
            ("ORDER_DB", self.file(id).to_string_lossy().into_owned()),
            ("ORDER_REPLICAS", format!("{id}={NOBODY},{peer}={url}")),
            ("CATALOG_URL", self.catalog_url()),
        ];
        let more = more
            .iter()
            .map(|(k, v)| ((*k).to_string(), (*v).to_string()));
        let mut settings =
            Settings::from_pairs(pairs.into_iter().map(|(k, v)| (k.into(), v)).chain(more));
        let read = OrderSettings::read(&mut settings);
        settings.finish().expect("good settings");
        Replica::start(&read.expect("complete settings")).expect("the replica starts")
    }

    fn send<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: &str,
        url: &str,
        path: &str,
        body: &Q,
    ) -> Result<A, CallError> {
        self.http.call(
            Call {
                method,
                base: url,
                path,
                timeout: Duration::from_secs(5),
                trace: None,
            },
            body,
        )
    }

    fn health(&self, url: &str) -> Health {
        self.http
            .get(url, "/health", Duration::from_secs(5))
            .expect("health")
    }

    fn wait_health(&self, url: &str, what: &str, condition: impl Fn(&Health) -> bool) -> Health {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let health = self.health(url);
            if condition(&health) {
                return health;
            }
            assert!(Instant::now() < deadline, "not {what}: {health:?}");
            std::thread::yield_now();
        }
    }

    fn term(&self) -> TermView {
        self.http
            .get(&self.catalog_url(), "/term", Duration::from_secs(5))
            .expect("term")
    }

    /// Asks a replica to lead until it does.
    fn lead(&self, url: &str) -> Term {
        self.wait_health(url, "eligible", |health| health.eligible);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let ask = LeadRequest {
                seen: self.term().term,
                longest: None,
            };
            if let Ok(LeadAnswer::Leading(term)) = self.send("PUT", url, "/leader", &ask) {
                return term;
            }
            assert!(Instant::now() < deadline, "{url} does not lead");
        }
    }

    fn order(&self, url: &str, orders: &[Order]) -> Result<Vec<Verdict>, CallError> {
        let orders = orders
            .iter()
            .map(|order| Submission {
                order: order.clone(),
                trace: "t".into(),
            })
            .collect();
        self.send::<_, OrdersAnswer>("POST", url, "/orders", &OrdersRequest { orders })
            .map(|answer| answer.verdicts)
    }

    fn query(&self, url: &str, numbers: &[u64]) -> Vec<QueryAnswer> {
        let query = QueryRequest {
            numbers: numbers.to_vec(),
            found_only: false,
        };
        self.send::<_, QueryAnswers>("POST", url, "/orders/query", &query)
            .expect("answers")
            .answers
    }
}

fn start_catalog(folder: &TempDir) -> Catalog {
    let file = folder
        .path()
        .join("catalog.db")
        .to_string_lossy()
        .into_owned();
    let mut settings = Settings::from_pairs([
        ("CATALOG_DB".into(), file),
        ("CATALOG_LISTEN".into(), "127.0.0.1:0".into()),
    ]);
    Catalog::start(&CatalogSettings::read(&mut settings)).expect("the catalog starts")
}

fn url(replica: &Replica) -> String {
    format!("http://{}", replica.address())
}

fn sell<K: Display>(key: K) -> Order {
    Order {
        key: OrderKey::from_client(&format!("{key}")),
        name: "FishCo".into(),
        side: Side::Sell,
        quantity: 2,
    }
}

fn status(error: &CallError) -> u16 {
    if let CallError::Status { status, .. } = error {
        *status
    } else {
        panic!("no status: {error}")
    }
}

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
    let told: serde_json::Value = bench
        .send(
            "PUT",
            &follower,
            "/term",
            &LeaderNotice {
                term,
                leader: health.replica,
            },
        )
        .expect("told");
    assert_eq!(told, serde_json::json!({}));
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

/// A follower appends what continues its log, tells where a gap begins, and refuses what
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
                rows,
                traces: vec![],
            },
        )
    };
    let at = |n: usize| LogPosition {
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
            rows,
            traces: vec![],
        },
    );
    assert_eq!(status(&contradiction.expect_err("refused")), 422);
    assert_eq!(append(3, 5, 6).expect("a newer term"), at(5));
    assert_eq!(
        append(2, 6, 7)
            .expect_err("an older one")
            .refusal::<TermView>(412)
            .expect("the view")
            .term,
        3
    );
    assert_eq!(bench.health(&replica).last, Some(5));
}

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
    let leader = bench.replica(
        2,
        1,
        &hanging.url(),
        &[("ORDER_REPLICATION_TIMEOUT_MS", "300")],
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
        first >= Duration::from_millis(250) && first < Duration::from_millis(700),
        "{first:?}"
    );
    let second = timed(1);
    assert!(second < Duration::from_millis(250), "{second:?}");
    assert!(bench.health(&url(&leader)).in_sync.is_empty());
}

/// A fake follower: answers where its log ends, and never answers rows.
struct Hanging {
    server: TinyServer,
    state: Arc<HangingState>,
}

#[derive(Default)]
struct HangingState {
    position: Mutex<Option<Position>>,
    held: Mutex<Vec<Responder>>,
}

struct HangingHandler(Arc<HangingState>);

impl Handler for HangingHandler {
    fn handle(&self, request: Request, responder: Responder) {
        let position = *self.0.position.lock();
        match (request.json::<AppendRequest>(), position) {
            (Ok(append), Some(position)) if append.rows.orders.is_empty() => {
                responder.send(common::http::Response::json(
                    200,
                    &LogPosition {
                        position: Some(position),
                    },
                ));
            }
            (Ok(_), Some(_)) => self.0.held.lock().push(responder),
            _ => responder.send(common::http::Response::error(404, "nothing here")),
        }
    }
}

impl Hanging {
    fn start() -> Self {
        let state = Arc::new(HangingState::default());
        let config = TinyConfig {
            name: "hanging",
            listen: "127.0.0.1:0".parse().expect("an address"),
            workers: 1,
            body_limit_bytes: 65_536,
            access: Access::Public,
        };
        let handler = Arc::new(HangingHandler(Arc::clone(&state)));
        let server =
            TinyServer::start(config, handler, HttpMetrics::new(&Metrics::new())).expect("starts");
        Self { server, state }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    fn answer_at(&self, position: Position) {
        *self.state.position.lock() = Some(position);
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.state.held.lock().clear();
    }
}

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
    let names = std::fs::read_dir(bench.folder.path())
        .expect("lists")
        .map(|e| e.expect("an entry").file_name());
    assert_eq!(
        names
            .filter(|n| n.to_string_lossy().starts_with("order1.db.damaged-"))
            .count(),
        1
    );
    assert_eq!(
        summarise(&bench.file(1)).expect("reads"),
        summarise(&bench.file(2)).expect("reads")
    );
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
        numbers: vec![3],
        found_only: true,
    };
    let refused = bench
        .send::<_, QueryAnswers>("POST", &url(&follower), "/orders/query", &query)
        .expect_err("damaged");
    assert_eq!(status(&refused), 503);
    bench.wait_health(&url(&follower), "empty or filled anew", |health| {
        health.last == Some(4) && health.eligible
    });
    assert_eq!(
        bench.query(&url(&follower), &[3]),
        [QueryAnswer::Found(sell(3))]
    );
    bench.wait_health(&url(&leader), "in sync again", |health| {
        health.in_sync.len() == 1
    });
    drop((follower, leader));
    assert_eq!(
        summarise(&bench.file(1)).expect("reads"),
        summarise(&bench.file(2)).expect("reads")
    );
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

/// A replica that was told to stop does not take the leadership again while it finishes.
#[test]
fn a_stopping_replica_is_no_candidate() {
    let metrics = order::metrics::OrderMetrics::new(&Metrics::new());
    let id = ReplicaId::try_from(1).expect("an id");
    let replica = order::replica::Replica::new(id, vec![], 1, metrics);
    let end = Position {
        last: None,
        hash: Hash([0; 32]),
    };
    replica.written(Some(end), None, true);
    assert!(replica.begin_claim(1) && replica.lead(1, end) && replica.leading_openly() == Some(1));
    replica.retire();
    assert!(replica.begin_claim(2) && !replica.lead(2, end));
    assert_eq!(
        (
            replica.leading(),
            replica.candidacy(),
            replica.health().eligible
        ),
        (None, None, false)
    );
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
    assert!(
        verify(&[crashed.clone(), bench.file(1)], &mut out).expect("prints"),
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
    assert!(
        !verify(&[bench.file(1), bench.file(3)], &mut out).expect("prints"),
        "a shorter log is not equal"
    );
    assert!(String::from_utf8_lossy(&out).contains("NOT EQUAL"));
    assert!(
        !verify(&[bench.folder.path().join("catalog.db")], &mut Vec::new()).expect("prints"),
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
    let ask = LeadRequest {
        seen: bench.term().term,
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
    assert!(rebuilt.kept_as.is_some_and(|kept| kept.exists()));
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
