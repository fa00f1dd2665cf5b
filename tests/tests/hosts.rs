//! The bazaar across hosts: containers with addresses of their own, injured by the engine and the
//! kernel. `make test-hosts` and `make soak-hosts` run these; they need root and a container
//! engine. Without one they say that they are skipped; `BAZAAR_HOSTS_REQUIRED=1` makes them fail.

#![allow(clippy::print_stdout, reason = "for the person who runs the test")]

use std::time::{Duration, Instant};
use tests::faults::judge::Figures;
use tests::harness::seed;
use tests::hosts::engine::{self, Image};
use tests::hosts::host::Layout;
use tests::hosts::run::Run;
use tests::hosts::scenarios::{self, random};

/// Random faults between two verdicts: a history stays short enough to be judged at once.
const ROUND: u32 = 40;

fn is_skipped() -> bool {
    let Some(why) = engine::missing() else {
        return false;
    };
    let required = std::env::var_os("BAZAAR_HOSTS_REQUIRED").is_some();
    assert!(!required, "the tests across hosts are required: {why}");
    println!("skipped: the tests across hosts: {why}");
    true
}

fn judged(figures: &Figures, seed: u64) {
    println!(
        "faults {}, orders {}, unknown {}, lost {}, doubled {}, stale {}, other {}, seed {seed}",
        figures.faults,
        figures.acknowledged,
        figures.unknown,
        figures.lost,
        figures.doubled,
        figures.stale,
        figures.other
    );
    assert!(
        figures.faults > 0 && figures.acknowledged > 0,
        "nothing was tested"
    );
    let found = (figures.lost, figures.doubled, figures.stale, figures.other);
    assert_eq!(found, (0, 0, 0, 0));
}

/// Every fault between hosts loses, doubles and ages nothing, with one catalog and with two over a
/// PostgreSQL. `BAZAAR_HOSTS_ONLY` names scenarios by parts of their names, with commas between.
#[test]
#[ignore = "make test-hosts: it builds an image, and takes minutes"]
fn scenarios() {
    if is_skipped() {
        return;
    }
    let seed = seed();
    let only = std::env::var("BAZAAR_HOSTS_ONLY").unwrap_or_default();
    let is_wanted = |name: &str| only.split(',').any(|part| name.contains(part.trim()));
    let image = Image::of_this_run();
    let mut ran = false;
    for layout in [Layout::OneCatalog, Layout::TwoCatalogs] {
        let all = scenarios::of(layout).iter();
        let wanted: Vec<_> = all.filter(|(name, _)| is_wanted(name)).collect();
        if wanted.is_empty() {
            continue;
        }
        ran = true;
        let mut run = Run::start(layout, &image, seed);
        for (name, action) in wanted {
            run.scenario(name, *action);
        }
        let start = Instant::now();
        judged(&run.finish(), seed);
        println!("judged in {} s", start.elapsed().as_secs());
    }
    assert!(ran, "no scenario has a name like '{only}'");
}

/// Random faults until the time is up, a verdict after each round. The layouts take turns.
#[test]
#[ignore = "make soak-hosts: it takes as long as it is asked to"]
fn soak() {
    if is_skipped() {
        return;
    }
    let minutes = std::env::var("BAZAAR_HOSTS_MINUTES").unwrap_or_else(|_| "20".into());
    let minutes: u64 = minutes.parse().expect("BAZAAR_HOSTS_MINUTES is a number");
    let first = seed();
    let image = Image::of_this_run();
    let until = Instant::now() + Duration::from_secs(minutes * 60);
    for round in 0.. {
        if Instant::now() >= until {
            break;
        }
        let seed = first.wrapping_add(round);
        let layout = if round % 2 == 0 {
            Layout::OneCatalog
        } else {
            Layout::TwoCatalogs
        };
        let mut run = Run::start(layout, &image, seed);
        for _ in 0..ROUND {
            run.scenario("host-random", random::random);
            if Instant::now() >= until {
                break;
            }
        }
        judged(&run.finish(), seed);
    }
}
