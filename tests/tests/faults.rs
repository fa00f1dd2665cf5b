//! A short part of the faults, with a fixed seed: `make faults` runs all of them, `make soak` random ones.

use parking_lot::Mutex;
use tests::faults::judge::Figures;
use tests::faults::{run, short};

/// The seed, unless `BAZAAR_SEED` gives another.
const SEED: u64 = 4;

/// Kills, a paused leader, cut links, lost answers and damaged files lose, double and age nothing.
#[test]
fn short_scenarios() {
    let seed = std::env::var("BAZAAR_SEED").map_or(SEED, |text| text.parse().expect("BAZAAR_SEED is a number"));
    println!("BAZAAR_SEED={seed}");
    let scenarios = short();
    assert!(scenarios.len() >= 4);
    for scenario in scenarios {
        let figures = Mutex::new(Figures::default());
        run::run(&scenario, seed, &figures);
        let figures = figures.into_inner();
        println!("{}: {figures:?}", scenario.name);
        assert!(figures.faults > 0 && figures.acknowledged > 0, "{}: nothing was tested", scenario.name);
        assert_eq!((figures.lost, figures.doubled, figures.stale, figures.other), (0, 0, 0, 0), "{}", scenario.name);
    }
}
