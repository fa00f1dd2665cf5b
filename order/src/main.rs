//! The `order` binary: a replica, and the commands that look at its file.

use argh::{FromArgs, SubCommands};
use common::cli::{self, Program};
use common::service::{self, Service};
use common::terminal::{self, Output};
use order::log::verify::{Comparison, VerifyError, dump, verify};
use order::service::Order;
use order::settings::OrderSettings;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code of `order verify` for logs of which each is a prefix of the longest.
const EXIT_PREFIX: u8 = 3;

/// A replica of the order service of the stock bazaar. Without a command it runs the replica, set
/// up by environment variables.
#[derive(FromArgs)]
struct Arguments {
    /// print the version and exit
    #[argh(switch)]
    #[expect(
        dead_code,
        reason = "read before the flags are parsed; listed here for --help"
    )]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Verify(Verify),
    Dump(Dump),
}

/// Check order logs and print of each the number of orders, the last hash and the SHA-256 of its
/// canonical copy. Changes nothing. Exits 1 when one is damaged or they contradict each other, 3
/// when each is a prefix of the longest, as in a bazaar that trades.
#[derive(FromArgs)]
#[argh(subcommand, name = "verify")]
struct Verify {
    /// the files
    #[argh(positional)]
    files: Vec<PathBuf>,
}

/// Print an order log as CSV. Changes nothing.
#[derive(FromArgs)]
#[argh(subcommand, name = "dump")]
struct Dump {
    /// the file
    #[argh(positional)]
    file: PathBuf,
}

fn main() -> ExitCode {
    let program = Program {
        name: "order",
        version: env!("CARGO_PKG_VERSION"),
        commands: Command::COMMANDS,
    };
    let service = Service {
        read: OrderSettings::read,
        log: |settings| (format!("order-{}", settings.id), settings.shared.log),
        start: Order::start,
    };
    let no_variables = |_: &str| String::new();
    service::run(program, &service, no_variables, |arguments: Arguments| {
        Some(match arguments.command? {
            Command::Verify(Verify { files }) => run_verify(&files),
            Command::Dump(Dump { file }) => run_dump(&file),
        })
    })
}

fn run_verify(files: &[PathBuf]) -> ExitCode {
    if files.is_empty() {
        return cli::start_failed("order verify", &"name at least one file");
    }
    // Written at the end: the verdict is the exit code, also where a reader has gone before.
    let mut text = Vec::new();
    match verify(files, &mut text) {
        Ok(comparison) => {
            let written = terminal::print(&String::from_utf8_lossy(&text));
            let code = match comparison {
                Comparison::Equal => ExitCode::SUCCESS,
                Comparison::Different => ExitCode::FAILURE,
                Comparison::Prefixes => ExitCode::from(EXIT_PREFIX),
            };
            terminal::printed("order verify", written, code)
        }
        Err(VerifyError::Output(error)) => cli::start_failed("order verify", &error),
        Err(VerifyError::Scratch(error)) => cli::start_failed("order verify", &error),
    }
}

fn run_dump(file: &Path) -> ExitCode {
    let mut out = Output::new();
    let dumped = dump(file, &mut out);
    match (out.finish(), dumped) {
        // Only with a good output: else the dump's error is the output's, and `printed` takes a
        // reader that has seen enough (`head`) for no error.
        (Ok(()), Err(error)) => cli::failed("order dump", &error),
        (written, _) => terminal::printed("order dump", written, ExitCode::SUCCESS),
    }
}
