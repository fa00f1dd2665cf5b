//! A replica over HTTP, with a real catalog in the same process, and a second replica or a fake
//! one.

mod copies;
mod files;
mod leading;
mod strangers;

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
use common::timing::INTERNAL_BODY_LIMIT_BYTES;
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

/// A fake follower: answers where its log ends, and answers no rows, or late.
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
    /// After how long it answers rows; never, when not said.
    appends_in: Mutex<Option<Duration>>,
    /// How often it was asked.
    asked: AtomicUsize,
    held: Mutex<Vec<Responder>>,
}

struct HangingHandler(Arc<HangingState>);

impl Handler for HangingHandler {
    fn handle(&self, request: Request, responder: Responder) {
        let position = *self.0.position.lock();
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        match (request.json::<AppendRequest>(), position) {
            (Ok(append), Some(position)) if append.rows.orders.is_empty() => {
                self.0.answer(position, responder);
            }
            (Ok(AppendRequest { rows, .. }), Some(_)) => {
                let appends_in = *self.0.appends_in.lock();
                let Some(late) = appends_in else {
                    return self.0.held.lock().push(responder);
                };
                // A slow disk.
                let _ = crossbeam::channel::after(late).recv();
                let position = Position {
                    last: rows.end().checked_sub(1),
                    hash: rows.hash,
                };
                *self.0.position.lock() = Some(position);
                self.0.answer(position, responder);
            }
            _ => responder.send(common::http::Response::error(404, "nothing here")),
        }
    }
}

impl HangingState {
    fn answer(&self, position: Position, responder: Responder) {
        let one = ReplicaId::try_from(1).expect("an id");
        let answer = LogPosition {
            replica: self.answers_as.lock().unwrap_or(one),
            cluster: self.cluster.lock().clone(),
            position: Some(position),
        };
        responder.send(common::http::Response::json(200, &answer));
    }
}

impl Hanging {
    fn start() -> Self {
        let state = Arc::new(HangingState::default());
        let config = TinyConfig {
            name: "hanging",
            listen: "127.0.0.1:0".parse().expect("an address"),
            workers: 1,
            body_limit_bytes: INTERNAL_BODY_LIMIT_BYTES,
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
