//! A replica over HTTP, with a real catalog in the same process, and a second replica or a fake
//! one.

use catalog::rebuild::rebuild;
use catalog::service::Catalog;
use catalog::settings::CatalogSettings;
use common::chain::{Hash, row_hashes};
use common::http::access::Access;
use common::http::client::{Call, CallError, HttpClient};
use common::http::tiny::{TinyConfig, TinyServer};
use common::http::{Handler, Request, Responder};
use common::metrics::{HttpMetrics, Metrics};
use common::settings::Settings;
use common::wire::Empty;
use common::wire::catalog::*;
use common::wire::order::*;
use common::wire::replica::*;
use order::log::verify::{Comparison, dump, summarise, verify};
use order::service::Order as Replica;
use order::settings::OrderSettings;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

    /// How many files of a replica were set aside, its `-wal` and `-shm` counted.
    fn set_aside(&self, id: u8) -> usize {
        let begin = format!("order{id}.db.damaged-");
        std::fs::read_dir(self.folder.path())
            .expect("lists")
            .map(|entry| entry.expect("an entry").file_name())
            .filter(|name| name.to_string_lossy().starts_with(&begin))
            .count()
    }

    fn catalog_url(&self) -> String {
        format!("http://{}", self.catalog.address())
    }

    /// Starts replica `id`, whose only peer is number `peer` at `url`; without one when that is its
    /// own number.
    fn replica(&self, id: u8, peer: u8, url: &str, more: &[(&str, &str)]) -> Replica {
        let replicas = if id == peer {
            format!("{id}={url}")
        } else {
            format!("{id}={NOBODY},{peer}={url}")
        };
        let pairs = [
            ("ORDER_ID", id.to_string()),
            ("ORDER_LISTEN", "127.0.0.1:0".into()),
            ("ORDER_DB", self.file(id).to_string_lossy().into_owned()),
            ("ORDER_REPLICAS", replicas),
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

    fn cluster(&self) -> ClusterId {
        self.term().cluster
    }

    fn catalog_state(&self) -> CatalogState {
        let health: CatalogHealth = self
            .http
            .get(&self.catalog_url(), "/health", Duration::from_secs(5))
            .expect("health");
        health.state
    }

    fn term(&self) -> TermAnswer {
        self.http
            .get(&self.catalog_url(), "/term", Duration::from_secs(5))
            .expect("term")
    }

    /// Asks a replica to lead until it does.
    fn lead(&self, url: &str) -> Term {
        self.wait_health(url, "eligible", |health| health.eligible);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let term = self.term();
            let ask = LeadRequest {
                cluster: term.cluster,
                seen: term.term,
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

    /// The files of replicas 1 and 2 end with the same order.
    fn assert_equal_logs(&self) {
        let [one, other] = [1, 2].map(|id| summarise(&self.file(id)).expect("reads"));
        assert_eq!(one, other);
    }

    fn query(&self, url: &str, numbers: &[u64]) -> Vec<QueryAnswer> {
        let query = QueryRequest {
            cluster: None,
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
    error
        .status()
        .unwrap_or_else(|| panic!("no status: {error}"))
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
    /// Under which id it answers; 1, when not said.
    answers_as: Mutex<Option<ReplicaId>>,
    cluster: Mutex<Option<ClusterId>>,
    /// How often it was asked.
    asked: AtomicUsize,
    held: Mutex<Vec<Responder>>,
}

struct HangingHandler(Arc<HangingState>);

impl Handler for HangingHandler {
    fn handle(&self, request: Request, responder: Responder) {
        let position = *self.0.position.lock();
        let one = ReplicaId::try_from(1).expect("an id");
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        match (request.json::<AppendRequest>(), position) {
            (Ok(append), Some(position)) if append.rows.orders.is_empty() => {
                responder.send(common::http::Response::json(
                    200,
                    &LogPosition {
                        replica: self.0.answers_as.lock().unwrap_or(one),
                        cluster: self.0.cluster.lock().clone(),
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
