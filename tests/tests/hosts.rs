//! The bazaar across hosts: containers with addresses of their own, injured by the engine and the
//! kernel. `make test-hosts` and `make soak-hosts` run these; they need root and a container
//! engine. Without one they say that they are skipped; `BAZAAR_HOSTS_REQUIRED=1` makes them fail.

#![allow(clippy::print_stdout, reason = "for the person who runs the test")]

use std::time::{Duration, Instant};
use tests::faults::judge::Figures;
use tests::harness::seed;
use tests::hosts::engine;
use tests::hosts::run::Run;
use tests::hosts::scenarios::{self, ALL};

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

/// Every fault between hosts loses, doubles and ages nothing. `BAZAAR_HOSTS_ONLY` names scenarios,
/// by a part of their names.
#[test]
#[ignore = "make test-hosts: it builds an image, and takes minutes"]
fn scenarios() {
    if is_skipped() {
        return;
    }
    let seed = seed();
    let only = std::env::var("BAZAAR_HOSTS_ONLY").unwrap_or_default();
    let mut run = Run::start(seed);
    for (name, action) in ALL.iter().filter(|(name, _)| name.contains(&only)) {
        run.scenario(name, *action);
    }
    judged(&run.finish(), seed);
}

/// Random faults until the time is up, a verdict after each round.
#[test]
#[ignore = "make soak-hosts: it takes as long as it is asked to"]
fn soak() {
    if is_skipped() {
        return;
    }
    let minutes = std::env::var("BAZAAR_HOSTS_MINUTES").unwrap_or_else(|_| "20".into());
    let minutes: u64 = minutes.parse().expect("BAZAAR_HOSTS_MINUTES is a number");
    let first = seed();
    let until = Instant::now() + Duration::from_secs(minutes * 60);
    for round in 0.. {
        if Instant::now() >= until {
            break;
        }
        let seed = first.wrapping_add(round);
        let mut run = Run::start(seed);
        for _ in 0..ROUND {
            run.scenario("host-random", scenarios::random);
            if Instant::now() >= until {
                break;
            }
        }
        judged(&run.finish(), seed);
    }
}
