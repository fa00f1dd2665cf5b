//! Tests of the whole evaluation, with the real binaries: it runs, and its files agree with each
//! other.

use crate::plots;
use crate::tables::{Cache, Measured};
use client::stats::Kind;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tests::tool;

/// Under a minute on a machine that does nothing else.
const LONG: Duration = Duration::from_secs(300);

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs `eval draw` on the folder `evaluation` in this folder. Returns the document.
fn draw(folder: &Path) -> String {
    let (data, document) = (folder.join("evaluation"), folder.join("evaluation.md"));
    let flags = ["--folder", text(&data), "--document", text(&document)];
    let drawn = tool::run("eval", &[&["draw"], &flags[..]].concat(), &[]);
    assert_eq!(drawn.code, Some(0), "{}", drawn.err);
    fs::read_to_string(&document).expect("a document")
}

/// `make eval-quick`, with the binaries of the tests: every experiment leaves its rows, and drawing
/// leaves every plot and a text without gaps.
#[test]
fn a_quick_evaluation_leaves_all_rows_plots_and_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("evaluation");
    let ran = tool::start(
        "eval",
        &["measure", "--quick", "--seed", "7", "--folder", text(&data)],
        &[],
    )
    .wait_within(LONG);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.err.contains("left  crash 2 of 2"),
        "without a terminal each step has a line: {}",
        ran.err
    );
    let written = draw(folder.path());

    let measured = Measured::read(&data).expect("every file is there");
    for (cache, p) in [
        (Cache::On, 0),
        (Cache::On, 60),
        (Cache::Off, 0),
        (Cache::Off, 60),
    ] {
        for distance_ms in [0, 10] {
            let lookups = measured
                .of_all(distance_ms, cache, p, Kind::Lookup)
                .expect("lookups");
            assert!(
                lookups.mean_low <= lookups.mean_ms && lookups.mean_ms <= lookups.mean_high,
                "{lookups:?}"
            );
            assert!(
                lookups.mean_ms >= if distance_ms == 0 { 0.0 } else { 10.0 },
                "the proxy delays: {lookups:?}"
            );
            assert_eq!(
                measured
                    .of_all(distance_ms, cache, p, Kind::Order)
                    .is_some(),
                p > 0,
                "orders at p = {p}"
            );
        }
        let cached = measured
            .cache
            .iter()
            .find(|row| (row.distance_ms, row.cache, row.p) == (0, cache, p));
        let hits = cached.expect("a row of the cache").hits;
        assert_eq!(
            hits > 0,
            cache == Cache::On,
            "hits with the cache {cache} at p = {p}"
        );
    }
    let clients = measured
        .latency
        .iter()
        .filter(|row| (row.distance_ms, row.cache, row.p) == (0, Cache::On, 0));
    assert_eq!(clients.count(), 6, "five clients, and all together");
    assert!(
        measured
            .server
            .iter()
            .any(|row| row.request == Kind::Order && row.mean_ms > 0.0)
    );
    assert!(
        measured
            .replacement
            .iter()
            .all(|row| row.cached.split_whitespace().count() <= row.capacity)
    );
    assert_eq!(measured.crashes.len(), 2);
    for crash in &measured.crashes {
        assert_eq!(
            (crash.lost, crash.doubled, crash.files_equal),
            (0, 0, Some(true)),
            "{crash:?}"
        );
        assert!(crash.acknowledged > 0 && crash.gap_ms > 0.0, "{crash:?}");
    }

    assert!(
        !written.contains("Not measured") && !written.contains("NaN"),
        "{written}"
    );
    assert!(written.contains("](evaluation/latency.svg)"), "{written}");
    for (name, svg) in plots::draw(&measured).expect("drawn") {
        assert!(
            fs::read_to_string(data.join(name)).is_ok_and(|written| written == svg),
            "{name} differs"
        );
        assert!(
            written.contains(&format!("](evaluation/{name})")),
            "{name} is not shown"
        );
    }
}

/// A bazaar elsewhere without commands is measured as it is, and the document names the skipped
/// experiments.
#[test]
fn a_bazaar_elsewhere_is_measured_as_far_as_commands_allow() {
    let bazaar = tests::harness::Bazaar::start();
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("evaluation");
    let url = bazaar.cluster.url(0);
    let ran = tool::start(
        "eval",
        &["measure", "--quick", "--folder", text(&data)],
        &[("EVAL_URL", &url)],
    );
    let ran = ran.wait_within(LONG);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let written = draw(folder.path());
    let measured = Measured::read(&data).expect("every file is there");
    assert!(measured.cache.iter().all(|row| row.cache == Cache::On) && measured.crashes.is_empty());
    // A sentence may have line ends in it.
    let written: Vec<&str> = written.split_whitespace().collect();
    let written = written.join(" ");
    for said in [
        "The bazaar ran elsewhere",
        "Only one setting of the cache",
        "no commands to kill a replica",
        "could not be reached",
    ] {
        assert!(written.contains(said), "'{said}' is missing:\n{written}");
    }
    bazaar.close();
}
