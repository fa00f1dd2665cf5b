//! `client`: trades at a bazaar, checks every order, and prints how long answers took.

use argh::FromArgs;
use client::report::Report;
use client::workload::{self, Control, Options};
use common::cli::{self, Program};
use common::settings::addresses::ServiceUrl;
use common::settings::{Positive, Remedy, Settings, SettingsError, Whole};
use common::shutdown::StopSignal;
use common::terminal;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::ffi::OsStr;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Trades at a bazaar: looks a random stock up, trades with the given probability, and reads every
/// order back at the end. Ctrl-C, or half a minute without any answer, ends it early. Exit code 0:
/// every order read back equal; 1: an order differs, a request was not answered, or it ended early;
/// 2: a setting is wrong, or no bazaar answers.
#[derive(FromArgs)]
struct Flags {
    /// URL of the front-end, http://host:port
    #[argh(option, short = 'u')]
    url: Option<String>,
    /// probability that a trade follows a lookup, 0 to 1
    #[argh(option, short = 'p')]
    probability: Option<String>,
    /// lookups of each client
    #[argh(option, short = 'n')]
    iterations: Option<String>,
    /// seed of stocks, sides and quantities (never of keys)
    #[argh(option, short = 's')]
    seed: Option<String>,
    /// clients at once, each with its own connection
    #[argh(option, short = 'c')]
    clients: Option<String>,
    /// prints one line of JSON instead of a table
    #[argh(switch)]
    json: bool,
}

fn main() -> ExitCode {
    // --help shows the variables, and it comes before the flags are known. So the environment is
    // read twice: here for the table, and below without the variables that a flag replaces.
    let (variables, _) = cli::read_settings(read_environment);
    let program = Program {
        name: "client",
        version: env!("CARGO_PKG_VERSION"),
        commands: &[],
    };
    let flags: Flags = cli::parse(program, |_| variables.clone());
    let options = match read_options(&flags) {
        Ok(options) => options,
        Err(mistakes) => return cli::start_failed("client", &mistakes),
    };
    let outcome = match run(&options) {
        Ok(outcome) => outcome,
        Err(error) => return cli::start_failed("client", &error),
    };
    let report = Report::new(&options, &outcome);
    let text = if flags.json {
        report.json() + "\n"
    } else {
        report.table()
    };
    // The code says whether all went well, also where the table could not be read by anybody.
    let code = ExitCode::from(u8::from(!report.clean));
    terminal::printed("client", terminal::print(&text), code)
}

/// How often the bar moves, and the threads look for a signal or the end.
const STEP: Duration = Duration::from_millis(50);
/// How long after a signal requests in flight may still be answered.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Probability(f64);

impl FromStr for Probability {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .ok()
            .filter(|p| (0.0..=1.0).contains(p))
            .map(Self)
            .ok_or("write a number from 0 to 1, such as 0.6")
    }
}

type Iterations = Whole<1, { u64::MAX }>;
type Seed = Whole<0, { u64::MAX }>;

struct Environment {
    url: ServiceUrl,
    probability: Probability,
    iterations: Iterations,
    clients: Positive,
    seed: Option<Seed>,
}

fn read_environment(settings: &mut Settings) -> Environment {
    Environment {
        url: settings.get(
            "CLIENT_URL",
            "http://127.0.0.1:8080",
            "URL of the front-end",
        ),
        probability: settings.get(
            "CLIENT_PROBABILITY",
            "0.6",
            "probability that a trade follows a lookup, 0 to 1",
        ),
        iterations: settings.get("CLIENT_ITERATIONS", "200", "lookups of each client"),
        clients: settings.get(
            "CLIENT_CLIENTS",
            "1",
            "clients at once, each with its own connection",
        ),
        seed: settings.optional(
            "CLIENT_SEED",
            "seed of stocks, sides and quantities; unset: random",
        ),
    }
}

/// Flags override the environment. An error names the mistakes of both, but not those of a variable
/// that a flag replaces.
fn read_options(flags: &Flags) -> Result<Options, SettingsError> {
    let replaced = [
        ("CLIENT_URL", &flags.url),
        ("CLIENT_PROBABILITY", &flags.probability),
        ("CLIENT_ITERATIONS", &flags.iterations),
        ("CLIENT_CLIENTS", &flags.clients),
        ("CLIENT_SEED", &flags.seed),
    ];
    let is_replaced = |name: &OsStr| {
        replaced
            .iter()
            .any(|(n, flag)| *n == name && flag.is_some())
    };
    let mut settings =
        // A variable that a flag replaces is not read at all: a mistake in it does not matter.
        Settings::from_os_pairs(std::env::vars_os().filter(|(name, _)| !is_replaced(name)));
    let mut options = read_environment(&mut settings);
    flag(&mut settings, "--url", flags.url.as_ref(), |url| {
        options.url = url
    });
    flag(
        &mut settings,
        "--probability",
        flags.probability.as_ref(),
        |p| options.probability = p,
    );
    flag(
        &mut settings,
        "--iterations",
        flags.iterations.as_ref(),
        |n| options.iterations = n,
    );
    flag(&mut settings, "--clients", flags.clients.as_ref(), |n| {
        options.clients = n
    });
    flag(&mut settings, "--seed", flags.seed.as_ref(), |seed| {
        options.seed = Some(seed)
    });
    settings.finish()?;
    let defaults = Options::new(&options.url.0);
    Ok(Options {
        probability: options.probability.0,
        iterations: options.iterations.0,
        clients: options.clients.0,
        seed: options.seed.map_or(defaults.seed, |seed| seed.0),
        // A person waits: without any answer for half a minute the run ends, rather than try each
        // order for as long.
        stop_when_silent: true,
        ..defaults
    })
}

fn flag<T: FromStr>(settings: &mut Settings, name: &str, text: Option<&String>, set: impl FnOnce(T))
where
    T::Err: Remedy,
{
    let Some(text) = text else { return };
    match text.parse() {
        Ok(value) => set(value),
        Err(error) => settings.mistake(format!("{name} {text}: {}", error.remedy())),
    }
}

/// Runs the workload, with a bar on standard error where that is a terminal.
fn run(options: &Options) -> Result<workload::Outcome, String> {
    let stop = StopSignal::listen().map_err(|e| format!("cannot listen to signals: {e}"))?;
    let (control, ended) = (Control::default(), AtomicBool::new(false));
    // Scoped, so that both threads end before the report is printed.
    thread::scope(|scope| {
        scope.spawn(|| end_at_signal(&stop, &control, &ended));
        if std::io::stderr().is_terminal() {
            scope.spawn(|| show_progress(options, &control, &ended));
        }
        let outcome = workload::run(options, &control);
        ended.store(true, Ordering::Relaxed);
        outcome
    })
}

/// Ends the run at the first signal. The next one ends the program, as [`StopSignal`] does.
fn end_at_signal(stop: &StopSignal, control: &Control, ended: &AtomicBool) {
    let is_ended = || ended.load(Ordering::Relaxed);
    while !is_ended() {
        if let Some(signal) = stop.received() {
            control.end(&format!("{signal} came"));
            let began = Instant::now();
            // Requests in flight may still be answered; what is open after that has an unknown
            // outcome.
            while !is_ended() && began.elapsed() < LAST_ANSWERS {
                thread::sleep(STEP);
            }
            control.cut();
            return;
        }
        thread::sleep(STEP);
    }
}

fn show_progress(options: &Options, control: &Control, ended: &AtomicBool) {
    let lookups = options.iterations.saturating_mul(options.clients as u64);
    let bar = ProgressBar::with_draw_target(Some(lookups), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:40} {percent:>3} %  {pos}/{len}  {elapsed} + {eta}  {msg}",
    ) {
        bar.set_style(style);
    }
    while !ended.load(Ordering::Relaxed) {
        // Each acknowledged order is read back later: one more step.
        // The length grows while the run goes on, so the bar can fall back a little.
        bar.set_length(lookups.saturating_add(control.acknowledged()));
        bar.set_position(control.done());
        bar.set_message(if control.done() < lookups {
            "trading"
        } else {
            "reading back"
        });
        thread::sleep(STEP);
    }
    bar.finish_and_clear();
}
