//! Death at each crash point. The binaries must have them compiled in (`make faults` does that);
//! else a run says that it skips.

use super::Scenario;
use super::run::Run;
use crate::harness::SOON;
use crate::tool;
use cluster::service::Service::{self, Catalog, Frontend, Order};
use cluster::wait;
use common::crash;
use std::sync::OnceLock;

/// A scenario per point: the names in the table are those of the points.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new(crash::POINTS[0], |run| crash_at(run, crash::POINTS[0])),
    Scenario::new(crash::POINTS[1], |run| crash_at(run, crash::POINTS[1])),
    Scenario::new(crash::POINTS[2], |run| crash_at(run, crash::POINTS[2])),
    Scenario::new(crash::POINTS[3], |run| crash_at(run, crash::POINTS[3])),
    Scenario::new(crash::POINTS[4], |run| crash_at(run, crash::POINTS[4])),
    Scenario::new(crash::POINTS[5], |run| crash_at(run, crash::POINTS[5])),
    Scenario::new(crash::POINTS[6], |run| crash_at(run, crash::POINTS[6])),
    Scenario::new(crash::POINTS[7], |run| crash_at(run, crash::POINTS[7])),
    Scenario::new(crash::POINTS[8], |run| crash_at(run, crash::POINTS[8])),
];

const _: () = assert!(SCENARIOS.len() == crash::POINTS.len());

/// Deaths per point.
const TIMES: u32 = 3;

/// A service dies at the point, is brought back, and so again.
fn crash_at(run: &mut Run, point: &'static str) {
    if !compiled_in() {
        run.note("skipped: the binaries were built without crash points".into());
        return;
    }
    for _ in 0..TIMES {
        let service = who(run, point);
        let nth = run.rng.u64(3..30);
        run.bazaar
            .cluster
            .spec_mut()
            .set_for(service, crash::VARIABLE, &format!("{point}:{nth}"));
        run.stop(service);
        run.start(service);
        if point.starts_with("leader") {
            let_lead(run, service, point);
        }
        run.wait_death(service);
        run.bazaar
            .cluster
            .spec_mut()
            .set_for(service, crash::VARIABLE, "");
        run.healthy();
    }
}

/// The process that is to die.
fn who(run: &mut Run, point: &str) -> Service {
    match point.split('-').next() {
        Some("catalog") => Catalog,
        Some("frontend") => Frontend(run.rng.u8(1..=2)),
        _ => Order(run.follower()),
    }
}

/// A replica that returns does not lead; it does once the others are gone. They stay away until it
/// has died, but for one where the point needs a follower in sync.
fn let_lead(run: &mut Run, service: Service, point: &str) {
    run.bazaar
        .cluster
        .wait_live(service)
        .unwrap_or_else(|error| panic!("{error}"));
    let others: Vec<Service> = [1, 2, 3]
        .map(Order)
        .into_iter()
        .filter(|other| *other != service)
        .collect();
    for other in &others {
        run.kill(*other);
    }
    if point == "leader-after-follower" {
        let leads = wait::until(SOON, || {
            let leader = run.status()?.leader?;
            (Order(leader.into()) == service).then_some(())
        });
        assert!(leads.is_some(), "{service} does not take over");
        run.start(others[0]);
    }
}

/// Whether the binaries have crash points: one that has refuses a name that is none in other words
/// than one that has not.
pub(super) fn compiled_in() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("catalog.db");
        let settings = [
            (crash::VARIABLE, "nowhere"),
            ("CATALOG_DB", database.to_str().expect("UTF-8")),
            ("CATALOG_LISTEN", "127.0.0.1:0"),
        ];
        let ran = tool::run("catalog", &[], &settings);
        assert_eq!(
            ran.code,
            Some(2),
            "a crash point that is none is refused: {ran:?}"
        );
        !format!("{}{}", ran.out, ran.err).contains("built without")
    })
}
