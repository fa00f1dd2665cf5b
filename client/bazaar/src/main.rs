//! `bazaar`: starts all services on this machine, watches them, kills and restarts one of them, and
//! backs them up. In a container it asks a service how it is.
//!
//! | module | one idea |
//! |---|---|
//! | [`launcher`] | `bazaar run`, `kill`, `restart`: a cluster, its logs, its control socket |
//! | [`status`] | `bazaar status`: the cluster on one screen |
//! | [`backup`] | `bazaar backup` and `restore`: one consistent, verified set of files |
//! | [`demo`] | `bazaar demo`: the whole system in half a minute |
//! | [`healthcheck`] | `bazaar healthcheck`: one service asked once, for container engines |
//!
//! Threads: the main thread runs the launcher's loop. The crate [`cluster`] keeps one thread that
//! starts processes, for the life of the program. The thread `control` answers the launcher's
//! control socket. A service writes its log to a file, never to a pipe, so that a slow terminal
//! cannot block a service.
//!
//! Not here on purpose: the launcher restarts nothing by itself. A user who tries a crash wants to
//! see the crash.

mod backup;
mod demo;
mod healthcheck;
mod launcher;
mod status;

use argh::{FromArgs, SubCommands};
use catalog::settings::read_database;
use catalog::store::Database;
use catalog::store::postgres::PostgresUrl;
use cluster::addresses::{Addresses, FrontendAddresses};
use cluster::binaries;
use cluster::service::Service;
use common::cli::{self, Program};
use common::private;
use common::settings::addresses::{ListenAddress, ServiceUrl};
use common::settings::{Settings, Token, Whole};
use common::shutdown::StopSignal;
use common::terminal;
use launcher::{Action, DEFAULT_FOLDER};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Highest first port: all six, and those of seven further catalogs, must be below 32768, where the
/// ports of outgoing connections begin.
const HIGHEST_FIRST_PORT: u64 = 32_755;
/// A first port above the privileged ones.
type FirstPort = Whole<1_024, HIGHEST_FIRST_PORT>;

/// Starts the stock bazaar on this machine: catalog, three replicas of the order service,
/// front-end.
#[derive(FromArgs)]
struct Flags {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Run(Run),
    Kill(Kill),
    Restart(Restart),
    Status(StatusFlags),
    Backup(Backup),
    Restore(Restore),
    Demo(Demo),
    Healthcheck(Healthcheck),
}

/// Starts everything, shows the logs, and stops everything on Ctrl-C, SIGTERM, or the end of the
/// terminal (not under nohup). Exit code 2: the bazaar did not start.
#[derive(FromArgs)]
#[argh(subcommand, name = "run")]
struct Run {
    /// folder of database files and logs (default: run)
    #[argh(option, default = "PathBuf::from(DEFAULT_FOLDER)")]
    dir: PathBuf,
    /// first of six consecutive ports, instead of the documented ones: catalog, replicas 1 to 3,
    /// the front-end's internal listener, and on the sixth the public API
    #[argh(option)]
    ports_from: Option<FirstPort>,
    /// catalogs that share the PostgreSQL database of CATALOG_DB: one is active, the others stand
    /// by on the ports from 7101 on, or after the others of --ports-from (default: 1)
    #[argh(option, default = "Whole(1)")]
    catalogs: Catalogs,
}

/// Catalogs at most.
type Catalogs = Whole<1, 8>;

/// Kills a service of a running bazaar with SIGKILL. Exit code 1: it does not run.
#[derive(FromArgs)]
#[argh(subcommand, name = "kill")]
struct Kill {
    /// catalog (catalog2 of several), order1 to order3 (or 1 to 3), or frontend
    #[argh(positional)]
    service: Service,
    /// folder of the bazaar (default: run)
    #[argh(option, default = "PathBuf::from(DEFAULT_FOLDER)")]
    dir: PathBuf,
}

/// Starts a service of a running bazaar that has died; stops it first where it runs. Exit code 1:
/// it did not start.
#[derive(FromArgs)]
#[argh(subcommand, name = "restart")]
struct Restart {
    /// catalog (catalog2 of several), order1 to order3 (or 1 to 3), or frontend
    #[argh(positional)]
    service: Service,
    /// folder of the bazaar (default: run)
    #[argh(option, default = "PathBuf::from(DEFAULT_FOLDER)")]
    dir: PathBuf,
}

/// Shows services, roles, term, last numbers, lag and cache of a running bazaar. Exit code 1: it
/// cannot trade now, its front-end does not answer, or none runs there.
#[derive(FromArgs)]
#[argh(subcommand, name = "status")]
struct StatusFlags {
    /// again every second, until Ctrl-C
    #[argh(switch)]
    watch: bool,
    /// a front-end elsewhere, such as http://127.0.0.1:8080
    #[argh(option)]
    url: Option<ServiceUrl>,
    /// folder of the bazaar; no other is asked (default: run, and port 8080 where none runs there)
    #[argh(option)]
    dir: Option<PathBuf>,
}

/// Makes a backup: one consistent, verified set of files, while the bazaar trades or when it is
/// stopped. A copy by cp of a running bazaar is none. Exit code 1: it could not be made.
#[derive(FromArgs)]
#[argh(subcommand, name = "backup")]
struct Backup {
    /// folder of the backup; new or empty
    #[argh(positional)]
    folder: PathBuf,
    /// folder of the bazaar (default: run)
    #[argh(option, default = "PathBuf::from(DEFAULT_FOLDER)")]
    dir: PathBuf,
}

/// Restores a backup, all replicas' files included. The bazaar must be stopped. Orders after the
/// backup are gone then. Exit code 1: it could not be restored.
#[derive(FromArgs)]
#[argh(subcommand, name = "restore")]
struct Restore {
    /// folder of the backup
    #[argh(positional)]
    folder: PathBuf,
    /// folder of the bazaar (default: run)
    #[argh(option, default = "PathBuf::from(DEFAULT_FOLDER)")]
    dir: PathBuf,
    /// keep the files that are there under other names; without it they are refused
    #[argh(switch)]
    replace: bool,
}

/// Shows the whole system in half a minute, with a bazaar of its own. Exit code 1: an order or a
/// file differs, or a request was not answered.
#[derive(FromArgs)]
#[argh(subcommand, name = "demo")]
struct Demo {
    /// writes the output to this document, with pictures in a folder beside it
    #[argh(option)]
    record: Option<PathBuf>,
}

/// Asks a service once how it is, for the health check of a container. Exit code 0: it answered
/// 200; 1: it did not, and one line says why.
#[derive(FromArgs)]
#[argh(subcommand, name = "healthcheck")]
struct Healthcheck {
    /// address of the answer, such as http://127.0.0.1:7100/livez or http://127.0.0.1:8080/readyz;
    /// without a path: /livez
    #[argh(positional)]
    url: healthcheck::HealthUrl,
}

fn main() -> ExitCode {
    let (variables, settings) = cli::read_settings(read_environment);
    let (of_demo, _) = cli::read_settings(read_binaries);
    let program = Program {
        name: "bazaar",
        version: env!("CARGO_PKG_VERSION"),
        commands: Command::COMMANDS,
    };
    let flags: Flags = cli::parse(program, |command| match command {
        "" | "run" => variables.clone(),
        "demo" => of_demo.clone(),
        "backup" | "restore" => cli::read_settings(read_database).0,
        _ => String::new(),
    });
    match flags.command {
        Command::Run(run) => {
            let outcome = settings
                .map_err(|e| e.to_string())
                .and_then(|environment| start(run, environment));
            outcome.map_or_else(
                |error| cli::start_failed("bazaar", &error),
                |()| ExitCode::SUCCESS,
            )
        }
        Command::Kill(Kill { service, dir }) => report(launcher::ask(&dir, Action::Kill, service)),
        Command::Restart(Restart { service, dir }) => {
            report(launcher::ask(&dir, Action::Restart, service))
        }
        Command::Status(StatusFlags { watch, url, dir }) => {
            show_status(watch, url.map(|url| url.0).as_deref(), dir.as_deref())
        }
        Command::Backup(Backup { folder, dir }) => {
            with_server(|server| make_backup(&folder, &dir, server))
        }
        Command::Restore(Restore {
            folder,
            dir,
            replace,
        }) => with_server(|server| restore_backup(&folder, &dir, server, replace)),
        Command::Demo(Demo { record }) => match demo::run(record.as_deref()) {
            Ok((shown, written)) => {
                let code = ExitCode::from(u8::from(!shown.is_well()));
                terminal::printed("bazaar demo", written, code)
            }
            Err(error) => report(Err(error)),
        },
        Command::Healthcheck(Healthcheck { url }) => report(healthcheck::ask(&url)),
    }
}

struct Environment {
    addresses: Addresses,
    /// The front-end's public listener, as the user wrote it.
    public: ListenAddress,
    token: Option<Token>,
    /// CATALOG_DB, where it is a database that catalogs share.
    shared_database: Option<String>,
}

/// The services inherit their variables. The launcher reads those with the address of a listener
/// too. One variable cannot hold the addresses of three replicas, so the replicas keep the
/// documented ones.
fn read_environment(settings: &mut Settings) -> Environment {
    let documented = Addresses::documented();
    let frontend = documented.frontends[0];
    let mut listen =
        |name, default: &str, help| -> ListenAddress { settings.get(name, default, help) };
    let public = listen(
        "FRONTEND_LISTEN",
        &localhost(frontend.public.port()),
        "where the front-end listens for clients",
    );
    let addresses = Addresses {
        catalog: listen(
            "CATALOG_LISTEN",
            &documented.catalog.to_string(),
            "where the catalog listens",
        )
        .one(),
        other_catalogs: Vec::new(),
        orders: documented.orders,
        frontends: vec![FrontendAddresses {
            public: public.one(),
            internal: listen(
                "FRONTEND_INTERNAL_LISTEN",
                &frontend.internal.to_string(),
                "where the front-end listens for services",
            )
            .one(),
        }],
    };
    let token = Token::read(settings, "token of internal calls; unset: a random one");
    let database: Option<String> = settings.optional(
        "CATALOG_DB",
        "postgres://… of the catalogs; else the catalog has a file in the folder",
    );
    read_binaries(settings);
    Environment {
        addresses,
        public,
        token,
        shared_database: database.filter(|text| is_shared(text)),
    }
}

/// Whether several catalogs can use it.
fn is_shared(database: &str) -> bool {
    database.starts_with("postgres://") || database.starts_with("postgresql://")
}

/// A name, so that the front-end listens on both loopback addresses: some clients resolve
/// `localhost` to ::1 only.
fn localhost(port: u16) -> String {
    format!("localhost:{port}")
}

fn read_binaries(settings: &mut Settings) {
    let _: Option<String> = settings.optional(
        binaries::VARIABLE,
        "folder of the services' binaries; unset: that of this program. \
         The services inherit all their other variables",
    );
}

fn start(run: Run, environment: Environment) -> Result<(), String> {
    let Whole(catalogs) = run.catalogs;
    let catalogs = u8::try_from(catalogs).expect("Catalogs bounds it");
    if catalogs > 1 && environment.shared_database.is_none() {
        return Err(format!(
            "--catalogs {catalogs}: several catalogs share a PostgreSQL database, and CATALOG_DB \
             names none; a file belongs to one catalog. Set \
             CATALOG_DB=postgres://user@host/database, or leave --catalogs away"
        ));
    }
    let (addresses, public) = match run.ports_from {
        None => {
            let addresses = environment.addresses;
            let second = addresses.catalog.port().saturating_add(1);
            (
                addresses.with_catalogs(catalogs, second),
                environment.public,
            )
        }
        Some(Whole(first)) => {
            let first = u16::try_from(first).expect("FirstPort bounds it");
            let addresses = Addresses::consecutive(first, 3, 1);
            let public = localhost(addresses.frontends[0].public.port());
            let next = addresses.next_port();
            (addresses.with_catalogs(catalogs, next), public.parse()?)
        }
    };
    launcher::run(launcher::Options {
        folder: run.dir,
        addresses,
        public,
        shared_database: environment.shared_database,
        token: environment.token.map(|token| token.0),
    })
}

fn show_status(watch: bool, url: Option<&str>, dir: Option<&Path>) -> ExitCode {
    let target = match (url, dir) {
        (Some(url), _) => status::Target::Url(url),
        (None, Some(dir)) => status::Target::Folder(dir),
        (None, None) => status::Target::Usual(Path::new(DEFAULT_FOLDER)),
    };
    let outcome = if watch {
        StopSignal::listen()
            .and_then(|stop| status::watch(target, &stop))
            .map(|()| true)
    } else {
        status::show(target)
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The reader (`| head`, for example) wanted no more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => terminal::printed("bazaar status", Err(error), ExitCode::FAILURE),
    }
}

fn make_backup(folder: &Path, dir: &Path, server: Option<&PostgresUrl>) -> Result<String, String> {
    // A backup holds all orders: only its owner may read it.
    private::umask();
    let taken =
        backup::take(folder, dir, server).map_err(|e| format!("no backup was made: {e}"))?;
    let mut message = String::new();
    for unread in taken.unread {
        message += &format!("not compared with the backup: {unread}\n");
    }
    let (orders, hash) = (taken.manifest.orders, taken.manifest.last_hash);
    Ok(format!(
        "{message}{}: orders {orders} last_hash {hash}; verified",
        folder.display()
    ))
}

fn restore_backup(
    folder: &Path,
    dir: &Path,
    server: Option<&PostgresUrl>,
    replace: bool,
) -> Result<String, String> {
    private::umask();
    let restored = backup::restore(folder, dir, server, replace)
        .map_err(|e| format!("{} was not restored: {e}", folder.display()))?;
    let mut message = String::new();
    for kept in restored.kept {
        message += &format!("the old file is kept as {}\n", kept.display());
    }
    let (orders, hash) = (restored.manifest.orders, restored.manifest.last_hash);
    Ok(format!(
        "{message}{}: orders {orders} last_hash {hash}; restored for the catalog and all replicas",
        dir.display()
    ))
}

/// Runs it with the database of `CATALOG_DB`, where that is a server.
fn with_server(run: impl FnOnce(Option<&PostgresUrl>) -> Result<String, String>) -> ExitCode {
    let database = cli::read_settings(read_database).1;
    report(database.map_err(|e| e.to_string()).and_then(|database| {
        run(match &database {
            Database::Server(url) => Some(url),
            // The folder's file.
            Database::File(_) => None,
        })
    }))
}

fn report(outcome: Result<String, String>) -> ExitCode {
    match outcome {
        Ok(message) => terminal::report("bazaar", &message),
        Err(message) => cli::failed("bazaar", &message),
    }
}
