//! `faults`: runs the scenarios one after the other, or random ones until the time is up, and
//! prints a table.

use common::cli::{self, Program};
use common::terminal;
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tests::faults::judge::Figures;
use tests::faults::store::Store;
use tests::faults::{self, Scenario, run, soak};

/// The end of `--help`.
const HELP: &str = "BAZAAR_BIN_DIR: folder of the binaries of the services, if they are elsewhere \
                    than this program";

/// Runs faults against a bazaar under load, and judges what its clients saw.
#[derive(argh::FromArgs)]
struct Arguments {
    /// the seed that every schedule follows from; a random one if left out
    #[argh(option)]
    seed: Option<u64>,
    /// random faults for so many minutes, instead of the scenarios
    #[argh(option)]
    minutes: Option<u64>,
    /// the catalogs' store: file (the default), or postgres, which is started for the run
    #[argh(option, default = "String::from(\"file\")")]
    store: String,
    /// run only scenarios whose names contain one of these
    #[argh(positional)]
    names: Vec<String>,
}

fn main() -> ExitCode {
    let program = Program {
        name: "faults",
        version: env!("CARGO_PKG_VERSION"),
        commands: &[],
    };
    let arguments: Arguments = cli::parse(program, |_| HELP.into());
    let store = match &*arguments.store {
        "file" => Store::File,
        "postgres" => Store::postgres(),
        other => {
            say(&format!("--store {other}: write file or postgres"));
            return ExitCode::from(2);
        }
    };
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    say(&format!("seed {seed}"));
    say(&format!(
        "{:<24} {:>7} {:>8} {:>8} {:>5} {:>8} {:>6} {:>6} {:>12}",
        "scenario",
        "faults",
        "orders",
        "unknown",
        "lost",
        "doubled",
        "stale",
        "other",
        "worst delay"
    ));
    let begun = Instant::now();
    let mut all = Figures::default();
    let mut failed = Vec::new();
    let mut one = |scenario: &Scenario, seed: u64| {
        if !line(scenario, &store, seed, &mut all) {
            failed.push(format!("{} with seed {seed}", scenario.name));
        }
    };
    match arguments.minutes {
        Some(minutes) => {
            let until = begun + Duration::from_secs(minutes * 60);
            for round in 0.. {
                if Instant::now() >= until {
                    break;
                }
                one(&round_of(&store), seed.wrapping_add(round));
            }
        }
        None => {
            let wanted = |name: &str| {
                arguments.names.is_empty() || arguments.names.iter().any(|part| name.contains(part))
            };
            let mut scenarios = faults::all();
            if !arguments.names.is_empty() {
                scenarios.extend(faults::by_name());
            }
            scenarios.retain(|scenario| wanted(scenario.name));
            for scenario in &scenarios {
                match scenario.skipped(&store) {
                    Some(why) => say(&format!("{:<24} skipped: {why}", scenario.name)),
                    None => one(scenario, seed),
                }
            }
        }
    }
    print("all", &all);
    say(&format!("{} s, seed {seed}", begun.elapsed().as_secs()));
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    say(&format!("FAILED: {}", failed.join(", ")));
    ExitCode::FAILURE
}

/// A round of random faults, as this store has it.
fn round_of(store: &Store) -> Scenario {
    match store {
        Store::File => soak::ROUND,
        Store::Postgres(_) | Store::Replicated(_) => soak::SHARED_ROUND,
    }
}

/// A line on standard output. A failed write is no reason to stop: the exit code has the outcome.
fn say(line: &str) {
    let _ = terminal::print(&format!("{line}\n"));
}

/// Runs one and prints its line. False when it failed: what it left, and where, stands on standard
/// error.
fn line(scenario: &Scenario, store: &Store, seed: u64, all: &mut Figures) -> bool {
    let figures = Mutex::new(Figures::default());
    let passed = catch_unwind(AssertUnwindSafe(|| {
        run::run(scenario, store, seed, &figures)
    }))
    .is_ok();
    let figures = figures.into_inner();
    print(scenario.name, &figures);
    for note in &figures.notes {
        say(&format!("  {note}"));
    }
    if !passed {
        say(&format!(
            "  FAILED; again with: --store {} --seed {seed} {}",
            store.name(),
            scenario.name
        ));
    }
    all.add(&figures);
    passed
}

fn print(name: &str, figures: &Figures) {
    say(&format!(
        "{name:<24} {:>7} {:>8} {:>8} {:>5} {:>8} {:>6} {:>6} {:>9} ms",
        figures.faults,
        figures.acknowledged,
        figures.unknown,
        figures.lost,
        figures.doubled,
        figures.stale,
        figures.other,
        figures.worst.as_millis()
    ));
}
