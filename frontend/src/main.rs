//! The front-end's process.

use argh::FromArgs;
use common::cli::{self, Program};
use common::{crash, descriptors, logging, private, shutdown, threads};
use frontend::service::Frontend;
use frontend::settings::FrontendSettings;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (variables, settings) = cli::read_settings(FrontendSettings::read);
    let program = Program {
        name: "frontend",
        version: env!("CARGO_PKG_VERSION"),
        commands: &[],
    };
    let _: Arguments = cli::parse(program, |_| variables.clone());
    let settings = match settings {
        Ok(settings) => settings,
        Err(mistakes) => return cli::start_failed("frontend", &mistakes),
    };
    private::umask();
    logging::start("frontend", settings.shared.log);
    threads::end_process_on_panic();
    descriptors::raise();
    if let Err(error) = crash::start() {
        return cli::start_failed("frontend", &error);
    }
    let frontend = match Frontend::start(&settings) {
        Ok(frontend) => frontend,
        Err(error) => return cli::start_failed("frontend", &error),
    };
    tracing::info!(
        listen = %frontend.address(), internal = %frontend.internal_address(), catalog = settings.catalog_url,
        "the front-end is up"
    );
    match shutdown::wait_for_signal() {
        Ok(signal) => tracing::info!(signal, "stopping: finishing what is in flight"),
        Err(error) => return cli::start_failed("frontend", &error),
    }
    drop(frontend);
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

/// The front-end of the stock bazaar: the public REST API, the stock cache, the choice of the
/// leader. It is set up by environment variables.
#[derive(FromArgs)]
struct Arguments {
    /// print the version and exit
    #[argh(switch)]
    #[expect(
        dead_code,
        reason = "read before the flags are parsed; listed here for --help"
    )]
    version: bool,
}
