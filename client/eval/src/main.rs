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

/// Where CSV files and plots are kept.
const FOLDER: &str = "docs/evaluation";
/// Where the text is.
const DOCUMENT: &str = "docs/evaluation.md";

/// What random choices are drawn from.
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
/// 1: it could not be measured.
#[derive(FromArgs)]
#[argh(subcommand, name = "measure")]
struct Measure {
    /// folder of the CSV files (default: docs/evaluation)
    #[argh(option, default = "PathBuf::from(FOLDER)")]
    folder: PathBuf,
    /// everything once and briefly: no figures of use
    #[argh(switch)]
    quick: bool,
    /// what sequences and clients are drawn from (default: random)
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

/// One client, for the evaluation itself: it trades until standard input says "check", and prints
/// what it saw as JSON.
#[derive(FromArgs)]
#[argh(subcommand, name = "worker")]
struct Worker {
    /// URL of the front-end
    #[argh(option)]
    url: String,
    /// probability of a trade, 0 to 1
    #[argh(option)]
    probability: f64,
    /// what is drawn from
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
    let outcome = match flags.command {
        Command::Measure(Measure {
            folder,
            quick,
            seed: Whole(seed),
        }) => match place {
            Ok(place) => measure(
                &place,
                &if quick {
                    Plan::quick(seed)
                } else {
                    Plan::full(seed)
                },
                &folder,
            ),
            Err(mistakes) => return cli::start_failed("eval", &mistakes),
        },
        Command::Draw(Draw { folder, document }) => draw(&folder, &document),
        Command::Worker(Worker {
            url,
            probability,
            seed: Whole(seed),
        }) => worker::work(&Task {
            url,
            probability,
            seed,
        }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::failed("eval", &error),
    }
}

/// A bazaar elsewhere, and what may be done to it.
fn read_environment(settings: &mut Settings) -> Place {
    let url: Option<ServiceUrl> = settings.optional(
        "EVAL_URL",
        "URL of the front-end of a bazaar that runs elsewhere; unset: one is started here",
    );
    let internal: Option<ServiceUrl> = settings.optional(
        "EVAL_INTERNAL",
        "URL of its internal listener: server-side times, replacement",
    );
    let token: Option<Token> =
        settings.optional("BAZAAR_TOKEN", "secret that internal calls there must show");
    let mut command = |name, help| settings.optional(name, help);
    let elsewhere = Elsewhere {
        url: String::new(),
        internal: internal.map(|url| url.0),
        token: token.map(|token| token.0),
        kill: command(
            "EVAL_KILL",
            "command that kills a replica there; {id} is its id (else that comes last)",
        ),
        restart: command("EVAL_RESTART", "command that brings it back"),
        pause: command("EVAL_PAUSE", "command that pauses a replica there"),
        resume: command("EVAL_RESUME", "command that lets it go on"),
        frontend: command(
            "EVAL_FRONTEND",
            "command that starts the front-end anew with cache {cache} (on, off) and size {size}",
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
