//! A fake replica of the order service: it claims, leads and trades with the fake catalog's state,
//! or misbehaves on demand.

use super::catalog::{Shared, cluster};
use super::server::{Call, FakeServer, Reply};
use common::wire::catalog::TermInfo;
use common::wire::order::{ClusterId, ReplicaId, Term};
use common::wire::replica::{
    Copies, Health, LeadAnswer, LeadRequest, LeaderNotice, NotLeader, OrdersAnswer, OrdersRequest,
    PageAnswer, PageCall, PageEnd, PageRequest, QueryAnswer, QueryAnswers, QueryRequest,
    Unavailable,
};
use parking_lot::{Condvar, Mutex};
use serde_json::json;
use std::sync::Arc;

/// How it treats a batch of orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// Trades and answers.
    Trade,
    /// Trades, then holds the answer back.
    TradeAndHold,
    /// Holds the call without trading.
    Hold,
    /// Says that it does not lead; it does so in its health, too.
    StepDown,
    /// Says that it cannot now.
    Refuse(Unavailable),
}

pub struct State {
    pub leading: Option<Term>,
    pub claiming: Option<Term>,
    pub eligible: bool,
    pub last: Option<u64>,
    pub cluster: Option<ClusterId>,
    /// Under which id it answers, when not its own.
    pub answers_as: Option<ReplicaId>,
    pub copies: Option<Copies>,
    pub manner: Manner,
    /// Whether it answers nothing at all, and closes every connection.
    pub silent: bool,
    /// Whether a leader's calls to the catalog are answered; else reads that need one hang.
    pub confirms: bool,
    /// Every batch that came.
    pub batches: Vec<OrdersRequest>,
    /// The last notice that it got of a leader.
    pub notice: Option<LeaderNotice>,
    /// How often it was asked to lead.
    pub asked: usize,
    /// The answer to that instead of a claim.
    pub lead_answer: Option<LeadAnswer>,
}

type Own = Arc<(Mutex<State>, Condvar)>;

pub struct FakeReplica {
    server: FakeServer,
    state: Own,
}

impl FakeReplica {
    pub fn start(id: ReplicaId, catalog: Shared) -> Self {
        let state = Arc::new((
            Mutex::new(State {
                leading: None,
                claiming: None,
                eligible: true,
                last: None,
                cluster: Some(cluster()),
                answers_as: None,
                copies: None,
                manner: Manner::Trade,
                silent: false,
                confirms: true,
                batches: Vec::new(),
                notice: None,
                asked: 0,
                lead_answer: None,
            }),
            Condvar::new(),
        ));
        let server = FakeServer::start({
            let state = Arc::clone(&state);
            move |call| answer(id, &state, &catalog, &call)
        });
        Self { server, state }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Reads or changes it.
    pub fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let changed = change(&mut self.state.0.lock());
        self.state.1.notify_all();
        changed
    }

    pub fn batches(&self) -> Vec<OrdersRequest> {
        self.with(|state| state.batches.clone())
    }

    pub fn kill(&mut self) {
        self.server.kill();
    }
}

fn answer(id: ReplicaId, own: &Own, catalog: &Shared, call: &Call) -> Reply {
    let mut state = own.0.lock();
    if state.silent {
        return Reply::Hang;
    }
    match (call.method.as_str(), call.path.as_str()) {
        ("GET", "/health") => Reply::ok(&health(state.answers_as.unwrap_or(id), &state)),
        ("PUT", "/term") => {
            state.notice = Some(call.json());
            Reply::ok(&json!({}))
        }
        ("PUT", "/leader") => lead(id, &mut state, catalog, &call.json::<LeadRequest>()),
        ("POST", "/orders") => {
            let request: OrdersRequest = call.json();
            state.batches.push(request.clone());
            own.1.notify_all();
            let manner = state.manner.clone();
            match manner {
                Manner::Trade => Reply::ok(&trade(catalog, &request)),
                Manner::TradeAndHold | Manner::Hold => {
                    if manner == Manner::TradeAndHold {
                        trade(catalog, &request);
                    }
                    own.1.wait_while(&mut state, |state| state.manner == manner);
                    Reply::Hang
                }
                Manner::StepDown => {
                    state.leading = None;
                    Reply::status(
                        421,
                        &NotLeader {
                            term: 0,
                            leader: None,
                            outcome_unknown: false,
                        },
                    )
                }
                Manner::Refuse(unavailable) => Reply::status(503, &unavailable),
            }
        }
        ("POST", "/orders/query") => {
            let QueryRequest {
                numbers,
                found_only,
                ..
            } = call.json();
            let found_all = |state: &State| {
                let journal = &catalog.0.lock().journal;
                let has = |number| {
                    state.leading.is_some() || state.last.is_some_and(|last| number <= last)
                };
                let rows = journal.len() as u64;
                numbers.iter().all(|n| *n < rows && has(*n))
            };
            if !found_only && !found_all(&state) {
                own.1.wait_while(&mut state, |state| {
                    state.leading.is_some() && !state.confirms
                });
            }
            let journal = &catalog.0.lock().journal;
            let has = |number: u64| {
                state.leading.is_some() || state.last.is_some_and(|last| number <= last)
            };
            let find =
                |number: &u64| match journal.get(usize::try_from(*number).unwrap_or(usize::MAX)) {
                    Some(order) if has(*number) => QueryAnswer::Found(order.clone()),
                    _ if state.leading.is_some() && found_only => QueryAnswer::Unconfirmed,
                    _ if state.leading.is_some() => QueryAnswer::NotFound,
                    _ => QueryAnswer::NotLeader,
                };
            Reply::ok(&QueryAnswers {
                answers: numbers.iter().map(find).collect(),
            })
        }
        ("POST", "/orders/page") => {
            let PageCall { page, .. } = call.json();
            let PageRequest {
                first,
                limit,
                found_only,
            } = page;
            let more = |state: &State| {
                let known = if state.leading.is_some() {
                    catalog.0.lock().journal.len() as u64
                } else {
                    state.last.map_or(0, |last| last + 1)
                };
                first.saturating_add(limit as u64) < known
            };
            if !found_only && !more(&state) {
                own.1.wait_while(&mut state, |state| {
                    state.leading.is_some() && !state.confirms
                });
            }
            let journal = &catalog.0.lock().journal;
            let known = if state.leading.is_some() {
                u64::MAX
            } else {
                state.last.map_or(0, |last| last + 1)
            };
            let rows = journal
                .iter()
                .take(usize::try_from(known).unwrap_or(usize::MAX));
            let orders: Vec<_> = rows
                .skip(usize::try_from(first).unwrap_or(usize::MAX))
                .take(limit + 1)
                .cloned()
                .collect();
            let end = match (orders.len() > limit, state.leading) {
                (true, _) => PageEnd::More,
                (false, Some(_)) if found_only => PageEnd::Unconfirmed,
                (false, Some(_)) => PageEnd::Last,
                (false, None) => PageEnd::NotLeader,
            };
            Reply::ok(&PageAnswer {
                orders: orders.into_iter().take(limit).collect(),
                end,
            })
        }
        (method, path) => panic!("a replica has no {method} {path}"),
    }
}

fn trade(catalog: &Shared, request: &OrdersRequest) -> OrdersAnswer {
    let mut catalog = catalog.0.lock();
    OrdersAnswer {
        verdicts: request
            .orders
            .iter()
            .map(|submission| catalog.trade(&submission.order))
            .collect(),
    }
}

fn lead(id: ReplicaId, state: &mut State, catalog: &Shared, request: &LeadRequest) -> Reply {
    state.asked += 1;
    if let Some(answer) = state.lead_answer {
        if let LeadAnswer::Claiming(term) = answer {
            catalog.0.lock().term = TermInfo {
                term,
                owner: Some(id),
            };
            state.claiming = Some(term);
        }
        return Reply::ok(&answer);
    }
    let mut catalog = catalog.0.lock();
    if request.seen != catalog.term.term {
        return Reply::status(412, &catalog.term);
    }
    catalog.term = TermInfo {
        term: request.seen + 1,
        owner: Some(id),
    };
    state.leading = Some(catalog.term.term);
    Reply::ok(&LeadAnswer::Leading(catalog.term.term))
}

fn health(id: ReplicaId, state: &State) -> Health {
    Health {
        replica: id,
        leading: state.leading,
        claiming: state.claiming,
        eligible: state.eligible,
        catching_up: false,
        last: state.last,
        cluster: state.cluster.clone(),
        term: state
            .notice
            .as_ref()
            .map_or(0, |notice| notice.term)
            .max(state.leading.unwrap_or(0)),
        leader: state.notice.as_ref().map(|notice| notice.leader),
        in_sync: Vec::new(),
        copies: state.copies,
        protocol: "1.0".into(),
        version: String::new(),
    }
}
