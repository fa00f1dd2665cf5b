//! The `order` binary: a replica, and the commands that look at its file.

use argh::FromArgs;
use common::{cli, crash, descriptors, logging, shutdown, threads};
use order::log::verify::{dump, verify};
use order::service::Order;
use order::settings::OrderSettings;
use std::io::{BufWriter, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

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
/// canonical copy. Changes nothing. Exits 1 when one is damaged or they differ.
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
    let (variables, settings) = cli::read_settings(OrderSettings::read);
    let arguments: Arguments = cli::parse("order", env!("CARGO_PKG_VERSION"), &variables);
    match arguments.command {
        Some(Command::Verify(Verify { files })) if files.is_empty() => {
            cli::start_failed("order verify", &"name at least one file")
        }
        Some(Command::Verify(Verify { files })) => match verify(&files, &mut stdout().lock()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => cli::start_failed("order verify", &error),
        },
        Some(Command::Dump(Dump { file })) => {
            match dump(&file, &mut BufWriter::new(stdout().lock())) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("order dump: {error}");
                    ExitCode::FAILURE
                }
            }
        }
        None => match settings {
            Ok(Some(settings)) => run(&settings),
            Ok(None) => cli::start_failed("order", &"no settings"),
            Err(mistakes) => cli::start_failed("order", &mistakes),
        },
    }
}

fn run(settings: &OrderSettings) -> ExitCode {
    logging::start(&format!("order-{}", settings.id), settings.shared.log);
    threads::end_process_on_panic();
    descriptors::raise();
    if let Err(error) = crash::start() {
        return cli::start_failed("order", &error);
    }
    let order = match Order::start(settings) {
        Ok(order) => order,
        Err(error) => return cli::start_failed("order", &error),
    };
    match shutdown::wait_for_signal() {
        Ok(signal) => tracing::info!(signal, "stopping"),
        Err(error) => return cli::start_failed("order", &error),
    }
    drop(order);
    tracing::info!("stopped");
    ExitCode::SUCCESS
}
