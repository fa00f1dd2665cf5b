//! A short part of the faults, with a fixed seed: `make faults` runs all of them, `make soak`
//! random ones.

#![allow(clippy::print_stdout, reason = "for the person who runs the test")]

use parking_lot::Mutex;
use std::fs;
use std::path::{Path, PathBuf};
use tests::faults::judge::Figures;
use tests::faults::store::Store;
use tests::faults::{Scenario, run, short};

/// The seed, unless `BAZAAR_SEED` gives another.
const SEED: u64 = 4;

/// Kills, a paused leader, lost answers and damaged files lose, double and age nothing.
#[test]
fn short_scenarios() {
    let scenarios = short();
    assert!(scenarios.len() >= 4);
    run_all(&scenarios);
}

/// The same with the edge behind all internal listeners, where it differs: connections that are
/// lost with a process, and calls whose answers are.
#[test]
fn short_scenarios_with_the_edge() {
    let names = ["kill-each", "lose-answers"];
    let scenarios: Vec<Scenario> = short()
        .into_iter()
        .filter(|scenario| names.contains(&scenario.name))
        .map(Scenario::with_edge)
        .collect();
    assert_eq!(scenarios.len(), names.len());
    run_all(&scenarios);
}

fn run_all(scenarios: &[Scenario]) {
    let seed = std::env::var("BAZAAR_SEED")
        .map_or(SEED, |text| text.parse().expect("BAZAAR_SEED is a number"));
    println!("BAZAAR_SEED={seed}");
    for scenario in scenarios {
        let figures = Mutex::new(Figures::default());
        run::run(scenario, &Store::File, seed, &figures);
        let figures = figures.into_inner();
        println!("{}: {figures:?}", scenario.name);
        assert!(
            figures.faults > 0 && figures.acknowledged > 0,
            "{}: nothing was tested",
            scenario.name
        );
        assert_eq!(
            (figures.lost, figures.doubled, figures.stale, figures.other),
            (0, 0, 0, 0),
            "{}",
            scenario.name
        );
    }
}

/// A wall clock that jumps changes nothing: it is read for names, for the Date header and for the
/// beginning of a key only. Code that reads it elsewhere has to say here why a jump does no harm.
#[test]
fn wall_clock_is_read_where_jumps_do_no_harm() {
    let mut allowed = [
        // The term of a rebuilt or restored catalog must be above every earlier one: milliseconds
        // since 1970 are.
        "catalog/src/store/sqlite.rs",
        // The name under which a schema that was replaced is kept.
        "catalog/src/store/postgres/transfer.rs",
        // The name under which a damaged file is kept.
        "common/src/database/aside.rs",
        // The start time among the metrics, as Prometheus wants it.
        "common/src/process_metrics.rs",
        // The beginning of a front-end's order key: it orders the index, random bits keep keys
        // apart.
        "frontend/src/api/mod.rs",
        "common/src/http/edge/date.rs",
        // The time beside the page's news of the cluster.
        "frontend/src/feed/mod.rs",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a workspace");
    let mut files = Vec::new();
    for service in ["common", "catalog", "order", "frontend"] {
        collect(&root.join(service).join("src"), &mut files);
    }
    assert!(files.len() > 50, "the sources are there");
    let reads = |path: &PathBuf| {
        fs::read_to_string(path)
            .expect("a source is read")
            .contains("SystemTime::now()")
    };
    files.retain(reads);
    let mut names: Vec<_> = files
        .iter()
        .map(|path| {
            path.strip_prefix(root)
                .expect("beneath it")
                .display()
                .to_string()
        })
        .collect();
    names.sort();
    allowed.sort_unstable();
    assert_eq!(names, allowed);
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}
