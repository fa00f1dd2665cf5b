//! Planned restarts under load, and an upgrade: every process in turn, no error, and no order that
//! takes long. Two versions work side by side meanwhile.

#![allow(clippy::print_stdout, reason = "for the person who runs the test")]

use client::api::Api;
use cluster::service::Service::{self, Catalog, Frontend, Order};
use cluster::wait;
use common::http::protocol::TEST_VARIABLE;
use common::wire::catalog::CatalogRole;
use common::wire::order::Side;
use common::wire::public::NewOrder;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tests::harness::{Bazaar, SOON};
use tests::postgres::Server;

/// No order may take longer over a planned restart.
const LONGEST: Duration = Duration::from_millis(300);
/// Restarts of a service until one is that quick.
const TRIES: u32 = 3;
/// Clients at once.
const CLIENTS: usize = 4;
/// Orders between two restarts: the bazaar trades as before.
const BETWEEN: u64 = 60;

/// Clients that sell and read at one front-end, which can be another one from call to call: as
/// behind a proxy that takes a front-end out before it is restarted.
struct Clients {
    at: AtomicUsize,
    stop: AtomicBool,
    orders: AtomicU64,
    errors: Mutex<Vec<String>>,
    /// The longest order since it was asked for.
    longest_us: AtomicU64,
    sold: Mutex<Vec<(u64, NewOrder)>>,
}

impl Clients {
    fn new() -> Self {
        Self {
            at: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            orders: AtomicU64::new(0),
            errors: Mutex::default(),
            longest_us: AtomicU64::new(0),
            sold: Mutex::default(),
        }
    }

    fn run(&self, urls: &[String]) {
        let apis: Vec<Api> = urls
            .iter()
            .map(|url| Api::with_timeout(url, SOON))
            .collect();
        let order = NewOrder {
            name: "FishCo".into(),
            quantity: 1,
            side: Side::Sell,
        };
        while !self.stop.load(Ordering::Relaxed) {
            let api = &apis[self.at.load(Ordering::SeqCst)];
            let began = Instant::now();
            match api.order(&order, None) {
                Ok(number) => {
                    self.sold
                        .lock()
                        .expect("no panic")
                        .push((number, order.clone()));
                }
                Err(error) => self.fail(format!("order: {error}")),
            }
            let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.longest_us.fetch_max(took, Ordering::Relaxed);
            self.orders.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = api.stock("FishCo") {
                self.fail(format!("read: {error}"));
            }
        }
    }

    fn fail(&self, error: String) {
        self.errors.lock().expect("no panic").push(error);
    }

    /// Waits for further orders.
    fn wait_orders(&self) {
        let wanted = self.orders.load(Ordering::Relaxed) + BETWEEN;
        let done = wait::until(SOON, || {
            (self.orders.load(Ordering::Relaxed) >= wanted).then_some(())
        });
        assert!(done.is_some(), "clients stand still: {:?}", self.errors);
    }

    /// Clients go to another front-end, and have left the one before.
    fn move_to(&self, frontend: usize) {
        self.at.store(frontend, Ordering::SeqCst);
        self.wait_orders();
    }

    /// The longest order since the last call.
    fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_us.swap(0, Ordering::Relaxed))
    }
}

/// Restarts a service while clients trade, and returns the longest order.
fn restart(bazaar: &mut Bazaar, clients: &Clients, service: Service) -> Duration {
    if let Frontend(n) = service {
        // The other one of two.
        clients.move_to(usize::from(n % 2));
    }
    clients.wait_orders();
    let _before = clients.longest();
    let leader = bazaar.leader();
    bazaar.cluster.restart(service).expect("restarted");
    if let Frontend(n) = service {
        bazaar
            .cluster
            .wait_ready(usize::from(n) - 1)
            .expect("ready");
    }
    clients.wait_orders();
    if service == Order(leader) {
        assert_ne!(bazaar.leader(), leader, "it handed over");
    }
    if matches!(service, Order(_)) {
        bazaar.wait_level();
    }
    if bazaar.cluster.spec().catalogs().len() > 1 {
        wait_standby(bazaar);
    }
    let longest = clients.longest();
    println!("{service} restarted: the longest order took {longest:?}");
    longest
}

/// Waits until one of several catalogs is active, and each other one stands by.
fn wait_standby(bazaar: &Bazaar) {
    let catalogs = bazaar.cluster.spec().catalogs();
    let count = |wanted: CatalogRole| {
        let health = catalogs.iter().filter_map(|c| bazaar.catalog_health(*c));
        health.filter(|health| health.role == wanted).count()
    };
    let stands_by = wait::until(SOON, || {
        let roles = (count(CatalogRole::Active), count(CatalogRole::Standby));
        (roles == (1, catalogs.len() - 1)).then_some(())
    });
    assert!(stands_by.is_some(), "a catalog does not stand by");
}

/// A bazaar with two catalogs over one database, and their server. `None` where no PostgreSQL is
/// installed.
fn start_with_two_catalogs() -> Option<(Bazaar, Server)> {
    let server = Server::start()?;
    let database = server.database("bazaar");
    let bazaar = Bazaar::start_with(2, |spec| {
        spec.shared_database = Some(database.clone());
        let next = spec.addresses.next_port();
        spec.addresses = spec.addresses.clone().with_catalogs(2, next);
    });
    wait_standby(&bazaar);
    Some((bazaar, server))
}

/// The catalog that stands by.
fn standby(bazaar: &Bazaar) -> Service {
    let active = bazaar.active_catalog();
    let mut catalogs = bazaar.cluster.spec().catalogs().into_iter();
    catalogs.find(|c| *c != active).expect("there are two")
}

/// Lets clients trade while `meanwhile` restarts services. No call fails.
fn under_load(bazaar: &mut Bazaar, meanwhile: impl FnOnce(&mut Bazaar, &Clients)) {
    let clients = Clients::new();
    let urls = bazaar.cluster.urls();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| clients.run(&urls));
        }
        // Also when `meanwhile` panics: else the scope would wait for ever.
        let ending = StopAtEnd(&clients);
        meanwhile(bazaar, &clients);
        drop(ending);
    });
    let errors = clients.errors.into_inner().expect("no panic");
    assert!(errors.is_empty(), "{errors:?}");
    for (number, order) in clients.sold.into_inner().expect("no panic") {
        bazaar.recorder.note(number, &order, None);
    }
}

struct StopAtEnd<'a>(&'a Clients);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// The choice of a service to restart, made when its turn has come.
type Choose<'a> = &'a dyn Fn(&Bazaar) -> Service;

/// Restarts each in turn. No order takes long: a machine that is busy with something else may hold
/// one up, but not at each try.
fn restart_in_turn(bazaar: &mut Bazaar, services: &[Choose<'_>]) {
    bazaar.wait_led_by(3, &[1, 2, 3]);
    under_load(bazaar, |bazaar, clients| {
        for choose in services {
            let quick = (0..TRIES).any(|_| {
                let service = choose(bazaar);
                restart(bazaar, clients, service) < LONGEST
            });
            assert!(quick, "{TRIES} restarts took {LONGEST:?} and more");
        }
    });
}

fn follower(bazaar: &Bazaar) -> Service {
    let leader = bazaar.leader();
    Order((1..=3).find(|id| *id != leader).expect("two follow"))
}

fn leader(bazaar: &Bazaar) -> Service {
    Order(bazaar.leader())
}

/// The catalog on its file, front-ends, a follower and the leader are restarted in turn: no error,
/// and no order that takes long.
#[test]
fn planned_restarts_go_unnoticed() {
    let mut bazaar = Bazaar::start_with(2, |_| {});
    let services: [Choose<'_>; 5] = [
        &|_| Catalog,
        &|_| Frontend(2),
        &|_| Frontend(1),
        &follower,
        &leader,
    ];
    restart_in_turn(&mut bazaar, &services);
    bazaar.close();
}

/// The same with two catalogs over one database, and all their processes: the one that stands by,
/// and twice the active one, so that each of them hands over to the other.
#[test]
fn planned_restarts_of_all_processes_go_unnoticed_where_a_catalog_stands_by() {
    let Some((mut bazaar, _server)) = start_with_two_catalogs() else {
        return;
    };
    let services: [Choose<'_>; 7] = [
        &standby,
        &Bazaar::active_catalog,
        &Bazaar::active_catalog,
        &|_| Frontend(2),
        &|_| Frontend(1),
        &follower,
        &leader,
    ];
    restart_in_turn(&mut bazaar, &services);
    bazaar.close();
}

/// Upgrades a bazaar while it trades, one process after the other in the order of
/// docs/operations.md, from the catalogs on that are named. The next version speaks protocol 1.1,
/// and each of its messages has a field that the version before does not know.
fn upgrade(bazaar: &mut Bazaar, catalogs: &[Service]) {
    bazaar.wait_led_by(3, &[1, 2, 3]);
    under_load(bazaar, |bazaar, clients| {
        let leader = bazaar.leader();
        let followers = (1..=3).filter(|id| *id != leader).map(Order);
        let last = [Order(leader), Frontend(2), Frontend(1)];
        for service in catalogs.iter().copied().chain(followers).chain(last) {
            bazaar
                .cluster
                .spec_mut()
                .set_for(service, TEST_VARIABLE, "1.1");
            restart(bazaar, clients, service);
        }
    });
    let next = format!("{}-next", env!("CARGO_PKG_VERSION"));
    for catalog in catalogs {
        let health = bazaar.catalog_health(*catalog).expect("answers");
        assert_eq!((&*health.protocol, &health.version), ("1.1", &next));
    }
    for id in bazaar.replicas() {
        let health = bazaar.health(id).expect("answers");
        assert_eq!((&*health.protocol, &health.version), ("1.1", &next));
    }
}

/// A bazaar is upgraded under load: no call fails.
#[test]
fn an_upgrade_goes_unnoticed() {
    let mut bazaar = Bazaar::start_with(2, |_| {});
    upgrade(&mut bazaar, &[Catalog]);
    bazaar.close();
}

/// The same with two catalogs: first the one that stands by, then the active one.
#[test]
fn an_upgrade_goes_unnoticed_where_a_catalog_stands_by() {
    let Some((mut bazaar, _server)) = start_with_two_catalogs() else {
        return;
    };
    let catalogs = [standby(&bazaar), bazaar.active_catalog()];
    upgrade(&mut bazaar, &catalogs);
    bazaar.close();
}

/// A process of another major version is refused by the others, and says so: its front-end is not
/// ready, and names both versions.
#[test]
fn another_major_version_is_refused_by_name() {
    let mut bazaar = Bazaar::start_with(2, |_| {});
    bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    let spec = bazaar.cluster.spec_mut();
    spec.set_for(Frontend(2), TEST_VARIABLE, "2.0");
    bazaar.cluster.restart(Frontend(2)).expect("restarted");
    let api = Api::new(&bazaar.cluster.url(1));
    let said = wait::until(SOON, || {
        let answer = api.get("/readyz").ok()?;
        let named = answer.body.contains("protocol 1.0") && answer.body.contains("2.0");
        (answer.status == 503 && named).then_some(())
    });
    assert!(said.is_some(), "{:?}", api.get("/readyz"));
    bazaar
        .trade("FishCo", Side::Buy, 1)
        .expect("the others trade on");
    bazaar
        .cluster
        .spec_mut()
        .set_for(Frontend(2), TEST_VARIABLE, "");
    bazaar.cluster.restart(Frontend(2)).expect("restarted");
    bazaar.close();
}
