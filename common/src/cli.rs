//! Command lines: argh for the flags, with what it lacks: `--version`, and a `--help` that ends
//! with the table of variables.

use crate::settings::{Settings, SettingsError};
use argh::TopLevelCommand;
use std::fmt::Display;
use std::process::ExitCode;

/// Exit code of a start that failed: wrong setting, port taken, file in use.
pub const EXIT_START: u8 = 2;

/// Parses the command line. `--help` prints the flags and `variables`; `--version` the version.
/// Both end the process, as a wrong flag does.
#[must_use]
pub fn parse<T: TopLevelCommand>(name: &str, version: &str, variables: &str) -> T {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--version" || a == "-V") {
        println!("{name} {version}");
        std::process::exit(0);
    }
    let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
    T::from_args(&[name], &texts).unwrap_or_else(|early| {
        if early.status.is_ok() {
            println!("{}\n{variables}", early.output.trim_end());
            std::process::exit(0);
        }
        eprintln!(
            "{}\n'{name} --help' lists what there is.",
            early.output.trim_end()
        );
        std::process::exit(i32::from(EXIT_START));
    })
}

/// Reads settings with `read`. Gives them together with the table of variables for `--help`.
///
/// # Errors
/// All mistakes of the environment.
pub fn read_settings<S>(
    read: impl FnOnce(&mut Settings) -> S,
) -> (String, Result<S, SettingsError>) {
    let mut settings = Settings::from_environment();
    let value = read(&mut settings);
    (settings.table(), settings.finish().map(|()| value))
}

/// Ends a start that failed: the message to standard error, and the exit code.
#[must_use]
pub fn start_failed(name: &str, error: &dyn Display) -> ExitCode {
    eprintln!("{name}: cannot start: {error}");
    ExitCode::from(EXIT_START)
}
