//! The `frontend` binary.

use argh::FromArgs;
use common::cli::Program;
use common::service::{self, Service};
use frontend::service::Frontend;
use frontend::settings::FrontendSettings;
use std::process::ExitCode;

/// The front-end of the stock bazaar: the public REST API, the stock cache, the election of the
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

fn main() -> ExitCode {
    let program = Program {
        name: "frontend",
        version: env!("CARGO_PKG_VERSION"),
        commands: &[],
    };
    let service = Service {
        read: |variables| Some(FrontendSettings::read(variables)),
        log: |settings| ("frontend".into(), settings.shared.log),
        start: Frontend::start,
    };
    let no_variables = |_: &str| String::new();
    service::run(program, &service, no_variables, |_: Arguments| None)
}
