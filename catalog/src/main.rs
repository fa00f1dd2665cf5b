//! The `catalog` binary.

use argh::FromArgs;
use catalog::service::Catalog;
use catalog::settings::CatalogSettings;
use common::{cli, logging, shutdown, threads};
use std::process::ExitCode;

/// The catalog of the stock bazaar: holds the stocks, commits and numbers the trades, keeps the leader's term. Set up by
/// environment variables.
#[derive(FromArgs)]
struct Arguments {
    /// print the version and exit
    #[argh(switch)]
    #[expect(dead_code, reason = "read before the flags are parsed; listed here for --help")]
    version: bool,
}

fn main() -> ExitCode {
    let (variables, settings) = cli::read_settings(CatalogSettings::read);
    let Arguments { .. } = cli::parse("catalog", env!("CARGO_PKG_VERSION"), &variables);
    let settings = match settings {
        Ok(settings) => settings,
        Err(mistakes) => return cli::start_failed("catalog", &mistakes),
    };
    logging::start("catalog", settings.shared.log);
    threads::end_process_on_panic();
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
