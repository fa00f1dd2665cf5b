//! `eval`: measures a bazaar into CSV files, and draws plots and a document from them.

use argh::FromArgs;
use client::eval::plan::Plan;
use client::eval::target::{Elsewhere, Place};
use client::eval::worker::{self, Task};
use client::eval::{draw, measure};
use common::cli;
use common::settings::{ServiceUrl, Settings, Token};
use std::path::PathBuf;
use std::process::ExitCode;

/// Where CSV files and plots are kept.
const FOLDER: &str = "docs/evaluation";
/// Where the text is.
const DOCUMENT: &str = "docs/evaluation.md";

/// Evaluates the stock bazaar: latency with and without cache, load, distance, crashes.
#[derive(FromArgs)]
struct Flags {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one value, and argh knows no boxes")]
enum Command {
    Measure(Measure),
    Draw(Draw),
    Worker(Worker),
}

/// Measures, and writes CSV files. Starts a bazaar of its own unless --url names one. In commands {id} stands for a replica's id. Exit code
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
    #[argh(option, default = "fastrand::u64(..)")]
    seed: u64,
    /// URL of the front-end of a bazaar that runs elsewhere
    #[argh(option)]
    url: Option<ServiceUrl>,
    /// URL of its internal listener, where it can be reached: server-side times, replacement
    #[argh(option)]
    internal: Option<ServiceUrl>,
    /// command that kills a replica there: crash experiments
    #[argh(option)]
    kill: Option<String>,
    /// command that brings it back
    #[argh(option)]
    restart: Option<String>,
    /// command that pauses a replica there
    #[argh(option)]
    pause: Option<String>,
    /// command that lets it go on
    #[argh(option)]
    resume: Option<String>,
    /// command that starts the front-end there anew with FRONTEND_CACHE={cache} and FRONTEND_CACHE_SIZE={size}
    #[argh(option)]
    frontend: Option<String>,
    /// command that prints 'order verify' of all replicas' files there
    #[argh(option)]
    verify: Option<String>,
    /// command that prints 'order dump' of one of them
    #[argh(option)]
    dump: Option<String>,
}

/// Draws plots and writes the document, from CSV files alone. Exit code 1: a file is missing or wrong.
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

/// One client, for the evaluation itself: it trades until standard input says "check", and prints what it saw as JSON.
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
    seed: u64,
}

fn main() -> ExitCode {
    let (variables, token) = cli::read_settings(read_environment);
    let flags: Flags = cli::parse("eval", env!("CARGO_PKG_VERSION"), &variables);
    let outcome = match flags.command {
        Command::Measure(flags) => match token {
            Ok(token) => measure(&place(&flags, token), &plan(&flags), &flags.folder),
            Err(mistakes) => return cli::start_failed("eval", &mistakes),
        },
        Command::Draw(Draw { folder, document }) => draw(&folder, &document),
        Command::Worker(Worker { url, probability, seed }) => worker::work(&Task { url, probability, seed }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("eval: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read_environment(settings: &mut Settings) -> Option<Token> {
    settings.optional("BAZAAR_TOKEN", "secret that internal calls elsewhere must show")
}

fn plan(flags: &Measure) -> Plan {
    if flags.quick { Plan::quick(flags.seed) } else { Plan::full(flags.seed) }
}

fn place(flags: &Measure, token: Option<Token>) -> Place {
    let Some(url) = &flags.url else { return Place::Here };
    Place::Elsewhere(Box::new(Elsewhere {
        url: url.0.clone(),
        internal: flags.internal.as_ref().map(|url| url.0.clone()),
        token: token.map(|token| token.0),
        kill: flags.kill.clone(),
        restart: flags.restart.clone(),
        pause: flags.pause.clone(),
        resume: flags.resume.clone(),
        frontend: flags.frontend.clone(),
        verify: flags.verify.clone(),
        dump: flags.dump.clone(),
    }))
}
