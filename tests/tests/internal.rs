//! The internal listeners: who may call, and what is open to all.

use client::api::Api;
use cluster::service::Service;
use common::wire::order::Side;
use tests::harness::Bazaar;

/// Without the token, and with a wrong one, every call is a 401, before routing: also for paths
/// that do not exist. `/livez` and `/metrics` are open.
#[test]
fn token() {
    let bazaar = Bazaar::start();
    bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    for service in bazaar.cluster.services() {
        let url = bazaar.cluster.spec().internal_url(service);
        for api in [Api::new(&url), Api::new(&url).with_token("not-the-token")] {
            for path in [
                "/health",
                "/nothing",
                "/",
                "/genesis",
                "/journal",
                "/log",
                "/invalidate",
            ] {
                let answer = api.get(path).expect("answered");
                assert_eq!(answer.status, 401, "{service} {path}: {answer:?}");
                assert!(answer.error_message().is_ok(), "{answer:?}");
            }
            let answer = api.post("/orders", "{").expect("answered");
            assert_eq!(answer.status, 401, "{service}: {answer:?}");
            let alive = api.get("/livez").expect("answered");
            assert_eq!(
                (alive.status, alive.body.as_str()),
                (200, r#"{"data":"alive"}"#),
                "{service}"
            );
            let metrics = api.get("/metrics").expect("answered");
            assert_eq!(metrics.status, 200, "{service}");
            assert!(
                metrics
                    .header("content-type")
                    .is_some_and(|kind| kind.starts_with("text/plain")),
                "{service}"
            );
            assert!(
                metrics.body.contains("bazaar_http_requests_total"),
                "{service}: {}",
                metrics.body
            );
        }
        let known = bazaar.cluster.internal(service);
        assert_eq!(
            known.get("/nothing").map(|answer| answer.status),
            Ok(404),
            "{service}"
        );
    }
    bazaar.close();
}

/// The front-end's metrics count hits and misses of the cache without labels.
#[test]
fn cache_metrics() {
    let bazaar = Bazaar::start();
    bazaar.wait_status("a lease", |status| status.cache.leased);
    for _ in 0..5 {
        assert_eq!(bazaar.quantity("FishCo"), 100);
    }
    let metrics = bazaar
        .cluster
        .internal(Service::Frontend(1))
        .get("/metrics")
        .expect("answered")
        .body;
    let value = |name: &str| {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("no {name} in {metrics}"))
    };
    assert!(
        value("bazaar_cache_hits_total") >= 4.0 && value("bazaar_cache_misses_total") >= 1.0,
        "{metrics}"
    );
    bazaar.close();
}

/// Public paths are not on internal listeners, nor internal ones on the public listener.
#[test]
fn listeners_are_apart() {
    let bazaar = Bazaar::start();
    for path in ["/invalidate", "/metrics", "/health", "/term", "/log"] {
        let answer = bazaar.api().get(path).expect("answered");
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    let internal = bazaar.cluster.internal(Service::Frontend(1));
    assert_eq!(
        internal.get("/stocks/FishCo").map(|answer| answer.status),
        Ok(404)
    );
    bazaar.close();
}
