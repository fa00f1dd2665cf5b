//! Two catalogs over one PostgreSQL: one is active, the other takes over when it is killed,
//! stopped, paused or cut off from the database. Clients trade over each change.

use cluster::addresses::PortBlock;
use cluster::proxy::{Harm, Proxy};
use cluster::service::Service::{Catalog, Order};
use cluster::{Cluster, Spec, wait};
use common::wire::catalog::{CatalogHealth, CatalogRole, NotActive, TermAnswer};
use common::wire::order::Genesis;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::closing::parse_dump;
use tests::harness::{SOON, seed};
use tests::history::load::{Load, Options};
use tests::history::{Answer, Call, History, check};
use tests::postgres::Server;
use tests::tool;

/// Orders that clients must get acknowledged after each change.
const ORDERS: u64 = 40;

/// A bazaar with two catalogs; the first one reaches the database over a proxy.
struct Two {
    /// The first catalog, replicas, front-ends; and the second catalog alone.
    clusters: [Cluster; 2],
    proxy: Proxy,
    _postgres: Server,
    _ports: PortBlock,
    folder: TempDir,
}

impl Two {
    /// `None` where no PostgreSQL is installed.
    fn start() -> Option<Self> {
        let postgres = Server::start()?;
        let direct = postgres.database("bazaar");
        let address = direct.split(['@', '/']).nth(3).expect("a host and port");
        let proxy = Proxy::for_bytes(address.parse().expect("an address")).expect("a proxy");
        let over_the_proxy = direct.replace(address, &proxy.address().to_string());
        let ports = PortBlock::take().expect("free ports");
        let folder = tempfile::tempdir().expect("a folder");
        let mut first = Spec::new(folder.path(), ports.addresses(3, 2));
        let mut second = first.clone();
        second.folder = folder.path().join("second");
        fs::create_dir(&second.folder).expect("a folder");
        let last = ports.ports().last().expect("a block has ports");
        second.addresses.catalog.set_port(last);
        let urls = [&first, &second]
            .map(|spec| spec.internal_url(Catalog))
            .join(",");
        let databases = [over_the_proxy, direct];
        for (spec, database) in [&mut first, &mut second].into_iter().zip(databases) {
            for service in spec.services() {
                spec.set_for(service, "CATALOG_URL", &urls);
            }
            spec.set_for(Catalog, "CATALOG_DB", &database);
        }
        let mut alone = Cluster::prepare(second).expect("a folder for logs");
        let first = Cluster::start(first).unwrap_or_else(|e| panic!("{e}"));
        alone.restart(Catalog).unwrap_or_else(|e| panic!("{e}"));
        Some(Self {
            clusters: [first, alone],
            proxy,
            _postgres: postgres,
            _ports: ports,
            folder,
        })
    }

    fn health(&self, catalog: usize) -> Option<CatalogHealth> {
        self.clusters[catalog]
            .internal(Catalog)
            .internal("/health")
            .ok()
    }

    /// Waits until a catalog is active under a later epoch; returns it with its epoch.
    fn wait_active(&self, after: u64) -> (usize, u64) {
        let active = |n: usize| {
            let health = self.health(n)?;
            let is_active = health.role == CatalogRole::Active && health.epoch > after;
            is_active.then_some((n, health.epoch))
        };
        let found = wait::until(SOON, || active(0).or_else(|| active(1)));
        found.unwrap_or_else(|| {
            let folder = self.folder.path().display();
            panic!("no catalog is active under an epoch above {after}: {folder}")
        })
    }

    /// Starts clients.
    fn trade(&self) -> Load {
        let options = Options {
            urls: self.clusters[0].urls(),
            clients: 4,
            faithful: 0,
            seed: seed(),
        };
        let load = Load::start(&options, &Arc::new(History::default()));
        wait_orders(&load);
        load
    }

    /// Ends the clients, stops everything and judges what they saw. Returns the longest order.
    fn finish(mut self, load: Load) -> Duration {
        wait_orders(&load);
        let history = Arc::clone(load.history());
        load.finish();
        let (active, _) = self.wait_active(0);
        let genesis: Genesis = self.clusters[active]
            .internal(Catalog)
            .internal("/genesis")
            .expect("the genesis");
        let last = self.health(active).expect("answers").last;
        let file = self.clusters[0].spec().database(Order(1)).expect("a file");
        let rows = wait::until(SOON, || {
            let rows = parse_dump(&tool::order("dump", &[&file]));
            (rows.len() as u64 == last.map_or(0, |n| n + 1)).then_some(rows)
        });
        let rows = rows.expect("the replica's log is complete");
        for cluster in &mut self.clusters {
            cluster.stop_all().unwrap_or_else(|e| panic!("{e}"));
        }
        let events = history.events();
        let violations = check::history(&genesis, &rows, &events);
        if !violations.is_empty() {
            let folder = self.folder.keep();
            panic!(
                "{} violations, {:?}; {}",
                violations.len(),
                violations[0],
                folder.display()
            );
        }
        let orders = events
            .iter()
            .filter(|event| matches!(event.call, Call::Order { .. }));
        let failed = orders
            .clone()
            .filter(|event| matches!(event.answer, Answer::Unknown | Answer::Nothing))
            .count();
        assert_eq!(
            failed, 0,
            "clients repeat an order until they know its outcome"
        );
        let longest = orders.map(|event| event.end_us - event.start_us).max();
        Duration::from_micros(longest.unwrap_or(0))
    }
}

fn wait_orders(load: &Load) {
    let wanted = load.acknowledged() + ORDERS;
    let traded = wait::until(SOON * 2, || (load.acknowledged() >= wanted).then_some(()));
    assert!(
        traded.is_some(),
        "{} of {wanted} orders",
        load.acknowledged()
    );
}

/// A catalog that is killed is replaced after its lease, one that is stopped at once; no order is
/// lost, doubled or read too early. The killed one comes back and stands by.
#[test]
fn a_standby_takes_over_after_a_crash_and_after_a_clean_stop() {
    let Some(mut two) = Two::start() else { return };
    let load = two.trade();
    for clean in [false, true, false, true] {
        let (active, epoch) = two.wait_active(0);
        let began = Instant::now();
        let catalog = &mut two.clusters[active];
        if clean {
            catalog.stop(Catalog).expect("stops");
        } else {
            catalog.kill(Catalog).expect("killed");
        }
        let (next, _) = two.wait_active(epoch);
        let took = began.elapsed();
        println!("clean {clean}: the other catalog is active after {took:?}");
        assert_ne!(next, active);
        let limit = Duration::from_millis(if clean { 1_000 } else { 3_000 });
        assert!(took < limit, "clean {clean}: {took:?}");
        wait_orders(&load);
        two.clusters[active].restart(Catalog).expect("restarts");
    }
    println!("longest order: {:?}", two.finish(load));
}

/// A catalog that is paused is replaced. When it goes on, it answers nothing of its old state, and
/// then names the active one.
#[test]
fn a_paused_catalog_says_nothing_stale() {
    let Some(mut two) = Two::start() else { return };
    let load = two.trade();
    let (paused, epoch) = two.wait_active(0);
    two.clusters[paused].pause(Catalog).expect("pauses");
    let (active, newer) = two.wait_active(epoch);
    assert_ne!(active, paused);
    wait_orders(&load);
    two.clusters[paused].resume(Catalog).expect("resumes");
    let url = two.clusters[active].spec().internal_url(Catalog);
    let old = two.clusters[paused].internal(Catalog);
    let named = wait::until(SOON, || {
        let answer = old.get("/term").ok()?;
        let epoch = answer
            .header("bazaar-epoch")
            .and_then(|n| n.parse::<u64>().ok());
        // On a busy machine it may have taken over again: then with a newer state.
        let is_stale = answer.status == 200 && epoch <= Some(newer);
        assert!(!is_stale, "a deposed catalog answered {answer:?}");
        if answer.status != 421 {
            return None;
        }
        let body: NotActive = serde_json::from_str(&answer.body).expect("a 421 has this body");
        (body.active.as_deref() == Some(&*url) && body.epoch >= newer).then_some(())
    });
    assert!(named.is_some(), "it does not name the active one");
    let health = two.health(paused).expect("health is always answered");
    assert_eq!(health.role, CatalogRole::Standby);
    two.finish(load);
}

/// A catalog that loses answers of the database moves to the next epoch and goes on: neither its
/// sessions nor its part are lost. One that is cut off for longer is replaced, and stands by.
#[test]
fn a_catalog_moves_on_when_answers_are_lost_and_stands_by_when_cut_off() {
    let Some(mut two) = Two::start() else { return };
    let load = two.trade();
    // The first one is the active one: it is the only one whose link can be injured.
    let (mut active, mut epoch) = two.wait_active(0);
    if active == 1 {
        two.clusters[1].stop(Catalog).expect("stops");
        (active, epoch) = two.wait_active(epoch);
        two.clusters[1].restart(Catalog).expect("restarts");
    }
    assert_eq!(active, 0);
    two.proxy.set(Harm::LoseAnswers(40));
    let (_, moved) = two.wait_active(epoch);
    two.proxy.set(Harm::None);
    println!("epoch {epoch}, then {moved}");
    wait_orders(&load);
    let (active, epoch) = two.wait_active(0);
    let harm = if active == 0 {
        Harm::CutBoth
    } else {
        Harm::None
    };
    two.proxy.set(harm);
    if active == 0 {
        let (next, _) = two.wait_active(epoch);
        assert_eq!(next, 1);
    }
    wait_orders(&load);
    two.proxy.set(Harm::None);
    let stands_by = wait::until(SOON, || {
        let health = two.health(0)?;
        (health.role == CatalogRole::Standby).then_some(())
    });
    assert!(stands_by.is_some(), "the one that was cut off stands by");
    two.finish(load);
}

/// The standby refuses what only the active catalog may answer, and names it. The active one
/// answers with its epoch.
#[test]
fn a_standby_refuses_and_names_the_active_one() {
    let Some(two) = Two::start() else { return };
    let (active, epoch) = two.wait_active(0);
    let standby = two.clusters[1 - active].internal(Catalog);
    let url = two.clusters[active].spec().internal_url(Catalog);
    let named = wait::until(SOON, || {
        let answer = standby.get("/term").ok()?;
        assert_eq!(answer.status, 421, "{answer:?}");
        let body: NotActive = serde_json::from_str(&answer.body).expect("a 421 has this body");
        (body.active.as_deref() == Some(&*url)).then_some(body)
    });
    assert_eq!(named.expect("it finds out who is active").epoch, epoch);
    let answer = two.clusters[active]
        .internal(Catalog)
        .get("/term")
        .expect("answers");
    assert_eq!(answer.header("bazaar-epoch"), Some(&*epoch.to_string()));
    assert!(serde_json::from_str::<TermAnswer>(&answer.body).is_ok());
}
