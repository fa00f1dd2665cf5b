//! The `catalog` binary.

use argh::{FromArgs, SubCommands};
use catalog::rebuild::{Rebuilt, rebuild};
use catalog::service::Catalog;
use catalog::settings::{CatalogSettings, read_database};
use common::cli::{self, Program};
use common::service::{self, Service};
use common::{crash, terminal};
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
    let program = Program {
        name: "catalog",
        version: env!("CARGO_PKG_VERSION"),
        commands: Command::COMMANDS,
    };
    let service = Service {
        read: |variables| Some(CatalogSettings::read(variables)),
        log: |settings| ("catalog".into(), settings.shared.log),
        start: Catalog::start,
    };
    let of_rebuild = |_: &str| cli::read_settings(read_database).0;
    service::run(program, &service, of_rebuild, |arguments: Arguments| {
        let Command::Rebuild(Rebuild { from }) = arguments.command?;
        Some(run_rebuild(&from))
    })
}

fn run_rebuild(from: &Path) -> ExitCode {
    let database = match cli::read_settings(read_database).1 {
        Ok(database) => database,
        Err(mistakes) => return cli::start_failed("catalog rebuild", &mistakes),
    };
    if let Err(error) = crash::start() {
        return cli::start_failed("catalog rebuild", &error);
    }
    let Some(path) = database.file() else {
        let message = format!("CATALOG_DB={database}: a file is needed");
        return cli::failed("catalog rebuild", &message);
    };
    match rebuild(from, path) {
        Ok(rebuilt) => terminal::report("catalog rebuild", &words(&rebuilt, path)),
        Err(error) => cli::failed("catalog rebuild", &error),
    }
}

fn words(rebuilt: &Rebuilt, database: &Path) -> String {
    let kept_as = rebuilt.kept_as.as_ref().map_or(String::new(), |kept_as| {
        format!("the file that was there is kept as {}\n", kept_as.display())
    });
    format!(
        "{}: {} orders, last hash {}, term {}\n{kept_as}\
         recorded refusals are lost: a key that was refused may trade when it is used again",
        database.display(),
        rebuilt.position.next(),
        rebuilt.position.hash,
        rebuilt.term
    )
}
