//! The `catalog` binary.

use argh::FromArgs;
use catalog::rebuild::{Rebuilt, rebuild};
use catalog::service::Catalog;
use catalog::settings::CatalogSettings;
use common::{cli, crash, descriptors, logging, shutdown, threads};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The catalog of the stock bazaar: holds the stocks, commits and numbers the trades, keeps the
/// leader's term. Set up by environment variables.
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
    Rebuild(Rebuild),
}

/// Make the catalog's file (CATALOG_DB) anew from a complete order log, after it was lost or cut.
/// Stop all services first. A file that is there is kept under another name. Recorded refusals are
/// lost: a key that was refused may trade when it is used again.
#[derive(FromArgs)]
#[argh(subcommand, name = "rebuild")]
struct Rebuild {
    /// the longest order log; compare them with 'order verify'
    #[argh(option)]
    from: PathBuf,
}

fn main() -> ExitCode {
    let (variables, settings) = cli::read_settings(CatalogSettings::read);
    let arguments: Arguments = cli::parse("catalog", env!("CARGO_PKG_VERSION"), &variables);
    let settings = match settings {
        Ok(settings) => settings,
        Err(mistakes) => return cli::start_failed("catalog", &mistakes),
    };
    if let Some(Command::Rebuild(Rebuild { from })) = arguments.command {
        return match rebuild(&from, &settings.database) {
            Ok(rebuilt) => {
                report(&rebuilt, &settings.database);
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("catalog rebuild: {error}");
                ExitCode::FAILURE
            }
        };
    }
    logging::start("catalog", settings.shared.log);
    threads::end_process_on_panic();
    descriptors::raise();
    if let Err(error) = crash::start() {
        return cli::start_failed("catalog", &error);
    }
    let catalog = match Catalog::start(&settings) {
        Ok(catalog) => catalog,
        Err(error) => return cli::start_failed("catalog", &error),
    };
    match shutdown::wait_for_signal() {
        Ok(signal) => tracing::info!(signal, "stopping"),
        Err(error) => return cli::start_failed("catalog", &error),
    }
    drop(catalog);
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

fn report(rebuilt: &Rebuilt, database: &Path) {
    println!(
        "{}: {} orders, last hash {}, term {}",
        database.display(),
        rebuilt.position.next(),
        rebuilt.position.hash,
        rebuilt.term
    );
    if let Some(kept_as) = &rebuilt.kept_as {
        println!("the file that was there is kept as {}", kept_as.display());
    }
    println!("recorded refusals are lost: a key that was refused may trade when it is used again");
}
