//! A fake catalog: stocks, the term, one cache session, and an order book that its fake replicas
//! trade with.

use super::server::{Call, FakeServer, Reply};
use common::chain::Hash;
use common::wire::catalog::{
    CatalogHealth, CatalogRole, CatalogState, KeepAliveRequest, LeaseAnswer, LookupAnswer,
    LookupRequest, NotActive, RegisterRequest, SessionId, Stock, TermAnswer, TermInfo,
};
use common::wire::frontend::{EndSessionRequest, InvalidateRequest};
use common::wire::money::Price;
use common::wire::order::{ClusterId, Order, OrderKey, Side, Verdict};
use parking_lot::{Condvar, Mutex};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub type Shared = Arc<(Mutex<State>, Condvar)>;

/// Its knowledge and behaviour.
pub struct State {
    pub stocks: BTreeMap<String, Stock>,
    pub term: TermInfo,
    pub journal: Vec<Order>,
    pub verdicts: HashMap<OrderKey, (Verdict, Order)>,
    pub session: Option<RegisterRequest>,
    pub registrations: usize,
    pub lease_ms: u64,
    /// The names that each lookup asked for, in the order in which they came.
    pub lookups: Vec<Option<Vec<String>>>,
    /// Lookups read their answer, then wait until this is false.
    pub hold_lookups: bool,
    /// Sessions that their front-end ended.
    pub ended: Vec<SessionId>,
    /// It stands by, and names the active one if it knows that.
    pub standby: Option<Option<String>>,
    /// Under which it answers; 0: it has a file of its own.
    pub epoch: u64,
    /// All calls fail with 503.
    pub away: bool,
    /// Why it says that it can write nothing.
    pub write_fault: Option<String>,
}

impl State {
    /// Decides an order as the real one does.
    pub fn trade(&mut self, order: &Order) -> Verdict {
        if let Some((verdict, recorded)) = self.verdicts.get(&order.key) {
            return if recorded == order {
                *verdict
            } else {
                Verdict::KeyReused
            };
        }
        let Some(stock) = self.stocks.get_mut(&order.name) else {
            return Verdict::UnknownStock;
        };
        let verdict = match order.side {
            Side::Buy if stock.quantity < order.quantity => Verdict::InsufficientQuantity,
            side => {
                match side {
                    Side::Buy => stock.quantity -= order.quantity,
                    Side::Sell => stock.quantity += order.quantity,
                }
                self.journal.push(order.clone());
                Verdict::Accepted(self.journal.len() as u64 - 1)
            }
        };
        self.verdicts.insert(order.key, (verdict, order.clone()));
        verdict
    }
}

pub struct FakeCatalog {
    server: FakeServer,
    state: Shared,
}

impl FakeCatalog {
    pub fn start() -> Self {
        let stock = |name: &str, cents, quantity| {
            let price = Price::from_cents(cents).expect("in range");
            (
                name.to_owned(),
                Stock {
                    name: name.into(),
                    price,
                    quantity,
                    cacheable: true,
                },
            )
        };
        let state = Arc::new((
            Mutex::new(State {
                stocks: BTreeMap::from([stock("FishCo", 1_599, 100), stock("BoarCo", 250, 7)]),
                term: TermInfo {
                    term: 0,
                    owner: None,
                },
                journal: Vec::new(),
                verdicts: HashMap::new(),
                session: None,
                registrations: 0,
                lease_ms: 1_000,
                lookups: Vec::new(),
                hold_lookups: false,
                ended: Vec::new(),
                standby: None,
                epoch: 0,
                away: false,
                write_fault: None,
            }),
            Condvar::new(),
        ));
        let server = FakeServer::start({
            let state = Arc::clone(&state);
            move |call| answer(&state, &call)
        });
        Self { server, state }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn state(&self) -> Shared {
        Arc::clone(&self.state)
    }

    /// Reads or changes what it knows.
    pub fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let changed = change(&mut self.state.0.lock());
        self.state.1.notify_all();
        changed
    }

    pub fn kill(&mut self) {
        self.server.kill();
    }

    pub fn lookups(&self) -> usize {
        self.with(|state| state.lookups.len())
    }

    /// An invalidation for the session that it knows.
    pub fn push(&self, names: &[&str]) -> InvalidateRequest {
        let session = self
            .with(|state| state.session.clone())
            .expect("is registered")
            .session;
        InvalidateRequest {
            session,
            names: names.iter().map(|n| (*n).into()).collect(),
        }
    }
}

/// The fake bazaar.
pub fn cluster() -> ClusterId {
    ClusterId("ab".repeat(16))
}

fn answer(shared: &Shared, call: &Call) -> Reply {
    let (epoch, standby) = {
        let state = shared.0.lock();
        (state.epoch, state.standby.clone())
    };
    if let (Some(active), false) = (standby, call.path == "/health") {
        let outcome_unknown = false;
        return Reply::status(
            421,
            &NotActive {
                active,
                epoch,
                outcome_unknown,
            },
        );
    }
    match answer_active(shared, call) {
        Reply::Json(status, body) if epoch > 0 => Reply::Dated(epoch, status, body),
        reply => reply,
    }
}

fn answer_active(shared: &Shared, call: &Call) -> Reply {
    let mut state = shared.0.lock();
    if state.away {
        return Reply::status(
            503,
            &json!({ "error": { "code": 503, "message": "starting" } }),
        );
    }
    match (call.method.as_str(), call.path.as_str()) {
        ("GET", "/health") => Reply::ok(&CatalogHealth {
            state: CatalogState::Serving,
            cluster: cluster(),
            term: state.term,
            last: None,
            hash: Hash([0; 32]),
            sessions: usize::from(state.session.is_some()),
            write_fault: state.write_fault.clone(),
            role: match state.standby {
                Some(_) => CatalogRole::Standby,
                None => CatalogRole::Active,
            },
            epoch: state.epoch,
            protocol: "1.0".into(),
            version: String::new(),
        }),
        ("GET", "/term") => Reply::ok(&TermAnswer {
            term: state.term.term,
            owner: state.term.owner,
            cluster: cluster(),
        }),
        ("POST", "/lookup") => {
            let request: LookupRequest = call.json();
            let wanted = |name: &String| {
                request
                    .names
                    .as_ref()
                    .is_none_or(|names| names.contains(name))
            };
            let stocks = state
                .stocks
                .values()
                .filter(|stock| wanted(&stock.name))
                .cloned()
                .collect();
            state.lookups.push(request.names);
            shared.1.notify_all();
            shared.1.wait_while(&mut state, |state| state.hold_lookups);
            Reply::ok(&LookupAnswer { stocks })
        }
        ("POST", "/sessions/register") => {
            state.session = Some(call.json());
            state.registrations += 1;
            Reply::ok(&LeaseAnswer {
                lease_ms: state.lease_ms,
            })
        }
        ("POST", "/sessions/keep-alive") => {
            let request: KeepAliveRequest = call.json();
            if state
                .session
                .as_ref()
                .is_some_and(|known| known.session == request.session)
            {
                Reply::ok(&LeaseAnswer {
                    lease_ms: state.lease_ms,
                })
            } else {
                Reply::status(
                    404,
                    &json!({ "error": { "code": 404, "message": "unknown session" } }),
                )
            }
        }
        ("POST", "/sessions/end") => {
            let EndSessionRequest { session } = call.json();
            state.session.take_if(|known| known.session == session);
            state.ended.push(session);
            Reply::ok(&json!({}))
        }
        (method, path) => panic!("the catalog has no {method} {path}"),
    }
}
