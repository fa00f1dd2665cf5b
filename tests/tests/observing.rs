//! The operators' view: metrics that Prometheus takes, one order's way through all logs, and no
//! secret anywhere.

use cluster::service::Service;
use cluster::wait;
use common::wire::order::Side;
use common::wire::public::NewOrder;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use tests::harness::{Bazaar, SOON};

/// The metrics of every service, after some work and a change of leader.
fn metrics_of_a_used_bazaar() -> BTreeMap<String, String> {
    let mut bazaar = Bazaar::start();
    for _ in 0..3 {
        bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
        assert!(bazaar.quantity("FishCo") < 100);
    }
    assert_eq!(bazaar.api().get("/nothing").expect("answers").status, 404);
    bazaar.cluster.kill(Service::Order(3)).expect("it runs");
    bazaar.wait_led_by(2, &[]);
    bazaar.trade("FishCo", Side::Sell, 1).expect("trades");
    bazaar
        .cluster
        .start_service(Service::Order(3))
        .expect("starts");
    bazaar.wait_level();
    let read = |service: Service| {
        bazaar
            .cluster
            .internal(service)
            .get("/metrics")
            .expect("answers")
            .body
    };
    let all = bazaar
        .cluster
        .services()
        .into_iter()
        .map(|service| (service.to_string(), read(service)))
        .collect();
    bazaar.close();
    all
}

/// Prometheus takes the metrics of every service: by our own reading of its rules, and by `promtool
/// check metrics` where that is installed.
#[test]
fn prometheus_takes_the_metrics() {
    let all = metrics_of_a_used_bazaar();
    let promtool = Command::new("promtool")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !promtool {
        let missing = "promtool is not installed (sudo apt install prometheus): only our own \
                       checks of the metrics were made";
        // Not by a macro: what those print is shown of failed tests only.
        let _ = writeln!(io::stderr(), "SKIPPED: {missing}");
    }
    for (service, text) in &all {
        check(service, text);
        if promtool {
            let mut child = Command::new("promtool")
                .args(["check", "metrics"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("starts");
            child
                .stdin
                .take()
                .expect("piped")
                .write_all(text.as_bytes())
                .expect("takes all");
            let output = child.wait_with_output().expect("ends");
            let said = [output.stdout, output.stderr].concat();
            assert!(
                output.status.success() && said.is_empty(),
                "{service}: {}",
                String::from_utf8_lossy(&said)
            );
        }
    }
}

/// Help and type for each metric, `_total` on counters and on nothing else, base units, and few
/// values of each label.
fn check(service: &str, text: &str) {
    let (mut helped, mut types) = (BTreeSet::new(), BTreeMap::new());
    let mut series: BTreeMap<&str, usize> = BTreeMap::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped.insert(help.split(' ').next().unwrap_or_default());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("name and type");
            assert!(
                types.insert(name, kind).is_none(),
                "{service}: {name} comes twice"
            );
        } else {
            let (name, _) = line.split_once(['{', ' ']).expect("name and value");
            *series.entry(name).or_default() += 1;
        }
    }
    assert!(types.len() > 20, "{service}: {text}");
    for (name, kind) in types {
        assert!(
            name.starts_with("bazaar_") && helped.contains(name),
            "{service}: {name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            kind == "counter",
            "{service}: {name} is a {kind}"
        );
        for unit in [
            "_ms",
            "_us",
            "_millis",
            "_milliseconds",
            "_kb",
            "_percent",
            "_minutes",
        ] {
            assert!(
                !name.contains(unit),
                "{service}: {name} is not in a base unit"
            );
        }
    }
    for (name, series) in series {
        // Histograms have a series for each of their buckets.
        let most = if name.ends_with("_bucket") { 400 } else { 60 };
        assert!(series <= most, "{service}: {name} has {series} series");
    }
}

/// With `BAZAAR_LOG=debug` the trace id of one order is in the lines of all five processes, so that
/// one grep shows its way; as JSON each line has the id as a field.
#[test]
fn one_order_in_all_logs() {
    for format in ["text", "json"] {
        let bazaar = Bazaar::start_with(1, |spec| {
            spec.set("BAZAAR_LOG", "debug");
            spec.set("BAZAAR_LOG_FORMAT", format);
        });
        // So that the followers are in sync, and get their rows from the leader.
        bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
        bazaar.wait_level();
        let trace = "follow-me-42";
        let body = br#"{"name":"FishCo","quantity":2,"type":"buy"}"#;
        let answer = bazaar
            .api()
            .send("POST", "/orders", &[("X-Request-Id", trace)], Some(body))
            .expect("answered");
        assert_eq!(
            (answer.status, answer.header("x-request-id")),
            (200, Some(trace)),
            "{answer:?}"
        );
        bazaar.recorder.note(
            1,
            &NewOrder {
                name: "FishCo".into(),
                quantity: 2,
                side: Side::Buy,
            },
            None,
        );
        let services = bazaar.cluster.services();
        assert_eq!(services.len(), 5);
        for service in services {
            let log = bazaar.cluster.log_path(service);
            let line = wait::until(SOON, || {
                let text = fs::read_to_string(&log).unwrap_or_default();
                text.lines()
                    .find(|line| line.contains(trace))
                    .map(ToOwned::to_owned)
            });
            let line = line.unwrap_or_else(|| panic!("{service} does not log {trace}"));
            if format == "json" {
                let line: serde_json::Value =
                    serde_json::from_str(&line).expect("each line is JSON");
                assert_eq!(line["trace"], trace, "{service}: {line}");
                assert!(
                    line["time"].is_string()
                        && line["level"] == "DEBUG"
                        && line["message"].is_string(),
                    "{line}"
                );
            } else {
                assert!(
                    line.contains(&format!("trace={trace}")),
                    "{service}: {line}"
                );
            }
        }
        bazaar.close();
    }
}

/// Neither the token nor an Idempotency-Key is in any log, at any level, whatever goes wrong.
#[test]
fn no_secret_is_logged() {
    let (token, key) = (
        "the-token-that-nobody-may-see",
        "the-key-that-nobody-may-see",
    );
    let mut bazaar = Bazaar::start_with(1, |spec| {
        spec.token = Some(token.into());
        spec.set("BAZAAR_LOG", "trace");
    });
    bazaar
        .trade_at(&bazaar.api(), "FishCo", Side::Buy, 1, Some(key))
        .expect("trades");
    let other = br#"{"name":"FishCo","quantity":2,"type":"buy"}"#;
    let reused = bazaar
        .api()
        .send("POST", "/orders", &[("Idempotency-Key", key)], Some(other))
        .expect("answered");
    assert_eq!(reused.status, 422, "{reused:?}");
    for service in bazaar.cluster.services() {
        let url = bazaar.cluster.spec().internal_url(service);
        let nearly = format!("{token}-not");
        let refused = client::api::Api::new(&url)
            .with_token(&nearly)
            .get("/health")
            .expect("answered");
        assert_eq!(refused.status, 401, "{service}");
    }
    bazaar.cluster.kill(Service::Order(3)).expect("it runs");
    bazaar.wait_led_by(2, &[]);
    bazaar
        .cluster
        .restart(Service::Catalog)
        .expect("comes back");
    bazaar.wait_status("the catalog", |status| status.catalog.state.is_some());
    bazaar
        .cluster
        .start_service(Service::Order(3))
        .expect("starts");
    bazaar.trade("FishCo", Side::Sell, 1).expect("trades");
    let logs: Vec<_> = bazaar
        .cluster
        .services()
        .into_iter()
        .map(|service| bazaar.cluster.log_path(service))
        .collect();
    for log in logs {
        let text = fs::read_to_string(&log).expect("a log");
        assert!(text.lines().count() > 3, "{} has lines", log.display());
        for secret in [token, key] {
            assert!(!text.contains(secret), "{secret} is in {}", log.display());
        }
    }
    bazaar.close();
}
