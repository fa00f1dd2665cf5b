//! The catalog alone, over HTTP, with a fake front-end where one is needed.

mod history;
mod sessions;
mod starts;
mod trading;

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

    /// The status with which a claim of replica 1 is refused.
    fn refused_claim(&self, seen: Term, position: Position) -> u16 {
        let claim = ClaimRequest {
            replica: replica(1),
            cluster: self.cluster(),
            position,
            seen,
            longest: None,
        };
        let refused = self.post::<_, ClaimAnswer>("/claim", &claim);
        status(&refused.expect_err("refused"))
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
