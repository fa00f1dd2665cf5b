//! `eval`: measures a bazaar into CSV files, and draws plots and a document from them.
//!
//! | module | one idea |
//! |---|---|
//! | [`stages`] | measuring and drawing, which share only the CSV files |
//! | [`plan`] | the experiments, their durations and their sequence |
//! | [`target`] | the measured bazaar: started here, or running elsewhere |
//! | [`worker`] | clients as processes of their own |
//! | [`latency`], [`load`], [`replacement`], [`crashes`] | the experiments |
//! | [`bootstrap`] | figures with confidence intervals |
//! | [`scrape`] | the front-end's counters |
//! | [`tables`] | the CSV files |
//! | [`machine`] | the machine and the build |
//! | [`progress`] | progress and the time left |
//! | [`plots`], [`document`] | drawings and text, from the CSV files alone |
//!
//! Threads: the main thread runs one experiment after the other. A worker process has a second
//! thread, which reads its standard input. A proxy that delays has threads of its own.
//!
//! Not here on purpose: a second workload. A worker is the lab's client of the crate [`client`].

mod bootstrap;
mod crashes;
mod document;
#[cfg(test)]
mod end_to_end;
mod latency;
mod load;
mod machine;
mod plan;
mod plots;
mod progress;
mod replacement;
mod scrape;
mod stages;
mod tables;
mod target;
mod worker;

use argh::{FromArgs, SubCommands};
use common::cli::{self, Program};
use common::settings::addresses::ServiceUrl;
use common::settings::{Settings, Token, Whole};
use plan::Plan;
use stages::{draw, measure};
use std::path::PathBuf;
use std::process::ExitCode;
use target::{Elsewhere, Place};
use worker::Task;

/// Folder of the CSV files and plots.
const FOLDER: &str = "docs/evaluation";
const DOCUMENT: &str = "docs/evaluation.md";

type Seed = Whole<0, { u64::MAX }>;

/// Evaluates the stock bazaar: latency with and without cache, load, distance, crashes.
#[derive(FromArgs)]
struct Flags {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Measure(Measure),
    Draw(Draw),
    Worker(Worker),
}

/// Measures, and writes CSV files. Starts a bazaar of its own unless EVAL_URL names one. Exit code
/// 1: an experiment could not run.
#[derive(FromArgs)]
#[argh(subcommand, name = "measure")]
struct Measure {
    /// folder of the CSV files (default: docs/evaluation)
    #[argh(option, default = "PathBuf::from(FOLDER)")]
    folder: PathBuf,
    /// every experiment once and briefly: the numbers are of no use
    #[argh(switch)]
    quick: bool,
    /// seed of sequences and clients (default: random)
    #[argh(option, default = "Whole(fastrand::u64(..))")]
    seed: Seed,
}

/// Draws plots and writes the document, from CSV files alone. Exit code 1: a file is missing or
/// wrong.
#[derive(FromArgs)]
#[argh(subcommand, name = "draw")]
struct Draw {
    /// folder of the CSV files, and of the plots (default: docs/evaluation)
    #[argh(option, default = "PathBuf::from(FOLDER)")]
    folder: PathBuf,
    /// the document (default: docs/evaluation.md)
    #[argh(option, default = "PathBuf::from(DOCUMENT)")]
    document: PathBuf,
}

/// One client, which the evaluation starts: it trades until a line "check" comes on standard input,
/// and prints its report as JSON.
#[derive(FromArgs)]
#[argh(subcommand, name = "worker")]
struct Worker {
    /// URL of the front-end
    #[argh(option)]
    url: String,
    /// probability of a trade, 0 to 1
    #[argh(option)]
    probability: f64,
    /// seed of stocks, sides and quantities
    #[argh(option)]
    seed: Seed,
}

fn main() -> ExitCode {
    let (variables, place) = cli::read_settings(read_environment);
    let program = Program {
        name: "eval",
        version: env!("CARGO_PKG_VERSION"),
        commands: Command::COMMANDS,
    };
    let flags: Flags = cli::parse(program, |command| match command {
        "" | "measure" => variables.clone(),
        _ => String::new(),
    });
    match flags.command {
        Command::Measure(flags) => match place {
            Ok(place) => finished(flags.run(&place)),
            Err(mistakes) => cli::start_failed("eval", &mistakes),
        },
        Command::Draw(Draw { folder, document }) => finished(draw(&folder, &document)),
        Command::Worker(flags) => finished(worker::work(&flags.into())),
    }
}

fn finished(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::failed("eval", &error),
    }
}

impl Measure {
    fn run(&self, place: &Place) -> Result<(), String> {
        let plan = if self.quick {
            Plan::quick(self.seed.0)
        } else {
            Plan::full(self.seed.0)
        };
        measure(place, &plan, &self.folder)
    }
}

impl From<Worker> for Task {
    fn from(flags: Worker) -> Self {
        Self {
            url: flags.url,
            probability: flags.probability,
            seed: flags.seed.0,
        }
    }
}

/// A bazaar elsewhere, with the commands that may change it.
fn read_environment(settings: &mut Settings) -> Place {
    let url: Option<ServiceUrl> = settings.optional(
        "EVAL_URL",
        "URL of the front-end of a bazaar that runs elsewhere; unset: one is started here",
    );
    let internal: Option<ServiceUrl> = settings.optional(
        "EVAL_INTERNAL",
        "URL of its internal listener: server-side times, replacement",
    );
    let token = Token::read(settings, "token of internal calls there");
    let mut command = |name, help| settings.optional(name, help);
    let elsewhere = Elsewhere {
        url: String::new(),
        internal: internal.map(|url| url.0),
        token: token.map(|token| token.0),
        kill: command(
            "EVAL_KILL",
            "command that kills a replica there; {id} is its id (without it, the id comes last)",
        ),
        restart: command("EVAL_RESTART", "command that brings it back"),
        pause: command("EVAL_PAUSE", "command that pauses a replica there"),
        resume: command("EVAL_RESUME", "command that resumes it"),
        frontend: command(
            "EVAL_FRONTEND",
            "command that restarts the front-end with cache {cache} (on, off) and size {size}",
        ),
        verify: command(
            "EVAL_VERIFY",
            "command that prints 'order verify' of all replicas' files there",
        ),
        dump: command(
            "EVAL_DUMP",
            "command that prints 'order dump' of one of them",
        ),
    };
    url.map_or(Place::Here, |url| {
        Place::Elsewhere(Box::new(Elsewhere {
            url: url.0,
            ..elsewhere
        }))
    })
}
