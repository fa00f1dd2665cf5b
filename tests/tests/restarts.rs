//! State that must survive: restarts of every service, the catalog away for a while, keys across
//! all of it, wrong starts.

use client::api::ApiError;
use client::stats::Kind;
use cluster::service::Service::{self, Catalog, Frontend, Order};
use cluster::wait;
use common::wire::catalog::CatalogHealth;
use common::wire::order::Side;
use std::time::Instant;
use tests::harness::{Bazaar, SOON, assert_clean, wait_steps};
use tests::tool;

fn catalog_health(bazaar: &Bazaar) -> CatalogHealth {
    bazaar
        .cluster
        .internal(Catalog)
        .internal("/health")
        .expect("the catalog answers")
}

/// Every service is stopped and started, one after the other and then all at once: stocks, orders
/// and terms are kept.
#[test]
fn every_service_keeps_its_state() {
    let mut bazaar = Bazaar::start();
    bazaar.trade("FishCo", Side::Buy, 5).expect("trades");
    for service in bazaar.cluster.services() {
        bazaar.cluster.restart(service).expect("restarted");
        bazaar.cluster.wait_ready(0).expect("ready");
        let sold = wait::until(SOON, || bazaar.trade("FishCo", Side::Sell, 1).ok());
        assert!(sold.is_some(), "no trade after {service} was restarted");
    }
    let before = catalog_health(&bazaar);
    assert_eq!(bazaar.quantity("FishCo"), 100);
    let services = bazaar.cluster.services();
    bazaar.cluster.stop_all().expect("all stop");
    for service in services {
        bazaar.cluster.start_service(service).expect("started");
    }
    bazaar.cluster.wait_ready(0).expect("ready");
    let after = catalog_health(&bazaar);
    assert_eq!((after.last, after.hash), (before.last, before.hash));
    assert!(after.term.term >= before.term.term);
    assert_eq!(bazaar.quantity("FishCo"), 100);
    assert_eq!(
        bazaar.api().order_by_number(0).map(|order| order.quantity),
        Ok(5)
    );
    bazaar.close();
}

/// The catalog is killed and returns: order queries go on, orders get an honest response, and a
/// repeat with the same key trades once.
#[test]
fn catalog_killed_and_back() {
    let mut bazaar = Bazaar::start();
    bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    bazaar.wait_level();
    bazaar.cluster.kill(Catalog).expect("killed");
    let api = bazaar.api();
    assert_eq!(
        api.order_by_number(0).map(|order| order.quantity),
        Ok(1),
        "order queries need no catalog"
    );
    let started = Instant::now();
    let refused = bazaar
        .trade_at(&api, "FishCo", Side::Buy, 2, Some("patient"))
        .expect_err("no catalog");
    assert!(
        matches!(
            refused,
            ApiError::Refused {
                status: 503,
                retry_after: Some(_),
                ..
            }
        ),
        "{refused}"
    );
    assert!(
        started.elapsed().as_secs_f64() < 7.0,
        "{:?}",
        started.elapsed()
    );
    for path in ["/stocks", "/readyz", "/stocks/MenhirCo"] {
        let answer = api.get(path).expect("answered");
        assert!(
            answer.status == 503 && answer.error_message().is_ok(),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(api.order_by_number(0).map(|order| order.quantity), Ok(1));
    bazaar.cluster.restart(Catalog).expect("restarted");
    let number = wait::until(SOON, || {
        bazaar
            .trade_at(&api, "FishCo", Side::Buy, 2, Some("patient"))
            .ok()
    });
    assert_eq!(number, Some(1));
    assert_eq!(bazaar.quantity("FishCo"), 97);
    bazaar.close();
}

/// The catalog is stopped and started while clients trade. No client sees an error, and no order
/// takes as long as the wait for leases that follows a crash.
#[test]
fn a_clean_restart_of_the_catalog_is_no_failure() {
    let mut bazaar = Bazaar::start();
    let outcome = bazaar.trade_while(4, |bazaar, control| {
        for _ in 0..3 {
            wait_steps(control, 100);
            bazaar.cluster.restart(Catalog).expect("restarted");
        }
        wait_steps(control, 100);
    });
    assert_clean(&outcome);
    assert!(!outcome.noticed_during_orders, "{:?}", outcome.examples);
    let orders = outcome.stats.of(Kind::Order).summary();
    println!("restarts of the catalog: {orders:?}");
    assert!(orders.max_ms < 1_000.0, "{orders:?}");
    bazaar.close();
}

/// The catalog is killed in mid-trade and returns: whatever clients had to repeat traded once.
#[test]
fn catalog_killed_in_mid_trade() {
    let mut bazaar = Bazaar::start();
    let outcome = bazaar.trade_while(6, |bazaar, control| {
        for _ in 0..2 {
            wait_steps(control, 100);
            bazaar.cluster.kill(Catalog).expect("killed");
            bazaar.cluster.restart(Catalog).expect("restarted");
        }
        wait_steps(control, 100);
    });
    assert_clean(&outcome);
    bazaar.close();
}

/// A front-end is killed in mid-trade and returns: its clients reconnect and repeat with their
/// keys.
#[test]
fn front_end_killed_in_mid_trade() {
    let mut bazaar = Bazaar::start_with(2, |_| {});
    let outcome = bazaar.trade_while(6, |bazaar, control| {
        wait_steps(control, 100);
        bazaar.cluster.kill(Frontend(1)).expect("killed");
        bazaar.cluster.restart(Frontend(1)).expect("restarted");
        bazaar.cluster.wait_ready(0).expect("ready");
        wait_steps(control, 200);
    });
    assert_clean(&outcome);
    bazaar.close();
}

/// A key has one answer for ever: across a kill of the leader, and of everything.
#[test]
fn keys_survive_everything() {
    let mut bazaar = Bazaar::start();
    let buy = |bazaar: &Bazaar, quantity, key| {
        let api = bazaar.api();
        wait::until(SOON, || {
            match bazaar.trade_at(&api, "FishCo", Side::Buy, quantity, Some(key)) {
                Err(error) if error.is_retryable() => None,
                answer => Some(answer.map_err(|error| error.status())),
            }
        })
    };
    let check = |bazaar: &Bazaar| {
        assert_eq!(buy(bazaar, 60, "kept"), Some(Ok(0)));
        assert_eq!(buy(bazaar, 61, "kept"), Some(Err(Some(422))));
        assert_eq!(buy(bazaar, 50, "refused"), Some(Err(Some(409))));
        assert_eq!(buy(bazaar, 51, "refused"), Some(Err(Some(422))));
    };
    check(&bazaar);
    bazaar.trade("FishCo", Side::Sell, 60).expect("trades");
    check(&bazaar);
    let leader = bazaar.leader();
    bazaar.cluster.kill(Order(leader)).expect("killed");
    check(&bazaar);
    for service in bazaar.cluster.services() {
        if bazaar.cluster.pid(service).is_some() {
            bazaar.cluster.kill(service).expect("killed");
        }
    }
    for service in bazaar.cluster.services() {
        bazaar.cluster.start_service(service).expect("started");
    }
    bazaar.cluster.wait_ready(0).expect("ready");
    check(&bazaar);
    assert_eq!(bazaar.quantity("FishCo"), 100);
    bazaar.close();
}

/// A file that another process has open is refused at start, with its name, by catalog and replica.
#[test]
fn file_in_use() {
    let bazaar = Bazaar::start();
    for service in [Catalog, Order(2)] {
        let mut variables = bazaar.cluster.spec().environment(service);
        // Elsewhere than the one that runs, so that only the file is in the way.
        variables.insert("CATALOG_LISTEN".into(), "127.0.0.1:0".into());
        variables.insert("ORDER_LISTEN".into(), "127.0.0.1:0".into());
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let ran = tool::run(service.binary(), &[], &variables);
        let file = bazaar.cluster.spec().database(service).expect("it has one");
        let said = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, Some(2), "{said}");
        assert!(
            said.contains(file.to_str().expect("UTF-8")) && said.contains("in use"),
            "{said}"
        );
    }
    bazaar.close();
}

/// All wrong settings of a start are reported together, with exit code 2; a port in use is named.
#[test]
fn wrong_starts() {
    let bazaar = Bazaar::start();
    let cases: [(&str, &[(&str, &str)]); 3] = [
        (
            "catalog",
            &[
                ("CATALOG_LISTEN", "nowhere"),
                ("BAZAAR_LOG", "loud"),
                ("BAZAAR_THREADS", "0"),
            ],
        ),
        (
            "order",
            &[
                ("ORDER_ID", "x"),
                ("ORDER_MIN_COPIES", "9"),
                ("CATALOG_URL", "ftp://x"),
            ],
        ),
        (
            "frontend",
            &[
                ("FRONTEND_CACHE", "maybe"),
                ("FRONTEND_CACHE_SIZE", "0"),
                ("ORDER_REPLICAS", "1=x"),
            ],
        ),
    ];
    for (binary, variables) in cases {
        let ran = tool::run(binary, &[], variables);
        assert_eq!(ran.code, Some(2), "{binary}: {}", ran.err);
        for (name, value) in variables {
            assert!(
                ran.err.contains(name) && ran.err.contains(value),
                "{binary} does not name {name}: {}",
                ran.err
            );
        }
    }
    let spec = bazaar.cluster.spec();
    let folder = tempfile::tempdir().expect("a folder");
    for service in bazaar.cluster.services() {
        let mut variables = spec.environment(service);
        let elsewhere = folder
            .path()
            .join(format!("{service}.db"))
            .display()
            .to_string();
        variables.insert("CATALOG_DB".into(), elsewhere.clone());
        variables.insert("ORDER_DB".into(), elsewhere);
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let ran = tool::run(service.binary(), &[], &variables);
        let said = format!("{}{}", ran.out, ran.err);
        let port = port_of(spec, service);
        assert_eq!(ran.code, Some(2), "{service}: {said}");
        assert!(
            said.contains(&port),
            "{service} does not name {port}: {said}"
        );
    }
    bazaar.close();
}

fn port_of(spec: &cluster::Spec, service: Service) -> String {
    let url = spec.internal_url(service);
    let internal = url.rsplit(':').next().unwrap_or_default().to_owned();
    match service {
        // Either listener may be the first that is refused.
        Frontend(_) => internal[..internal.len() - 1].to_owned(),
        _ => internal,
    }
}
