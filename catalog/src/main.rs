//! The `catalog` binary.

use argh::{FromArgs, SubCommands};
use catalog::migrate::migrate;
use catalog::rebuild::{Rebuilt, rebuild, rebuild_on_server};
use catalog::service::Catalog;
use catalog::settings::{CatalogSettings, read_database, read_password};
use catalog::store::Database;
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
    Migrate(Migrate),
}

/// Make the catalog's file or database (CATALOG_DB) anew from a complete order log, after it was
/// lost or cut. Stop all services first. The present file is kept under another name. Recorded
/// refusals are lost: a key that was refused may trade when it is used again.
#[derive(FromArgs)]
#[argh(subcommand, name = "rebuild")]
struct Rebuild {
    /// the longest order log; compare them with 'order verify'
    #[argh(option)]
    from: PathBuf,
}

/// Copy everything that a catalog has from its file into an empty PostgreSQL database, or back into
/// a new file. Stop all catalogs first. Both ends are compared by the chain; the source stays.
#[derive(FromArgs)]
#[argh(subcommand, name = "migrate")]
struct Migrate {
    /// the source: a catalog's file, or postgres://user@host/database
    #[argh(option)]
    from: Database,
    /// the target: postgres://user@host/database, or a new file
    #[argh(option)]
    to: Database,
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
    // A command's own `--help` shows only the variables that it reads.
    let of_command = |command: &str| match command {
        "migrate" => cli::read_settings(read_password).0,
        _ => cli::read_settings(read_database).0,
    };
    service::run(program, &service, of_command, |arguments: Arguments| {
        Some(match arguments.command? {
            Command::Rebuild(Rebuild { from }) => run_rebuild(&from),
            Command::Migrate(Migrate { from, to }) => run_migrate(from, to),
        })
    })
}

fn run_rebuild(from: &Path) -> ExitCode {
    let database = match cli::read_settings(read_database).1 {
        Ok(database) => database,
        Err(mistakes) => return cli::start_failed("catalog rebuild", &mistakes),
    };
    // A rebuild has crash points of its own, for the tests that kill it at each step.
    if let Err(error) = crash::start() {
        return cli::start_failed("catalog rebuild", &error);
    }
    let rebuilt = match &database {
        Database::File(path) => rebuild(from, path),
        Database::Server(url) => rebuild_on_server(from, url),
    };
    match rebuilt {
        Ok(rebuilt) => terminal::report("catalog rebuild", &words(&rebuilt, &database)),
        Err(error) => cli::failed("catalog rebuild", &error),
    }
}

fn run_migrate(from: Database, to: Database) -> ExitCode {
    let password = match cli::read_settings(read_password).1 {
        Ok(password) => password,
        Err(mistakes) => return cli::start_failed("catalog migrate", &mistakes),
    };
    // `PGPASSWORD` keeps it out of the command line, which every user of the machine can list.
    let (from, to) = match password {
        Some(password) => (from.with_password(&password), to.with_password(&password)),
        None => (from, to),
    };
    match migrate(&from, &to) {
        Ok(copied) => terminal::report(
            "catalog migrate",
            &format!(
                "{to}: {} orders, last hash {}, term {}; both ends agree",
                copied.position.next(),
                copied.position.hash,
                copied.term
            ),
        ),
        Err(error) => cli::failed("catalog migrate", &error),
    }
}

fn words(rebuilt: &Rebuilt, database: &Database) -> String {
    let kept_as = rebuilt.kept_as.as_ref().map_or(String::new(), |kept_as| {
        format!("what was there is kept as {kept_as}\n")
    });
    format!(
        "{}: {} orders, last hash {}, term {}\n{kept_as}\
         recorded refusals are lost: a key that was refused may trade when it is used again",
        database,
        rebuilt.position.next(),
        rebuilt.position.hash,
        rebuilt.term
    )
}
