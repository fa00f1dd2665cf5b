//! The life of a service's process, from the command line to the exit code.
//!
//! The order of the steps matters:
//!
//! 1. The umask comes first: no file that a later step makes may be readable by others.
//! 2. Settings are read before the command line is, because `--help` shows them.
//! 3. Their mistakes go to standard error, all at once, before logging starts.
//! 4. The main thread waits for a signal after everything was started. Dropping the service then
//!    stops its threads, and "stopped" is logged when all of them have ended.

use crate::cli::{self, Program};
use crate::logging::{self, LogSettings};
use crate::settings::Settings;
use crate::{crash, descriptors, private, shutdown, threads};
use argh::TopLevelCommand;
use std::io;
use std::process::ExitCode;

/// The steps in which services differ. `S` is the settings; dropping a `T` stops the service.
pub struct Service<S, T> {
    /// Reads the settings. `None` where a required one is missing, which is recorded as a mistake.
    pub read: fn(&mut Settings) -> Option<S>,
    /// The service's name in log lines (`order-3`), and what is logged.
    pub log: fn(&S) -> (String, LogSettings),
    /// Starts all threads and listens. An error names the setting at fault and the remedy.
    pub start: fn(&S) -> io::Result<T>,
}

/// Runs a program whose command line is `A`. If `arguments` hold a command, `command` runs it and
/// returns its exit code. Otherwise the service runs until a signal comes. `variables` returns the
/// settings that a command reads, for the command's `--help`.
pub fn run<A: TopLevelCommand, S, T>(
    program: Program<'_>,
    service: &Service<S, T>,
    variables: impl Fn(&str) -> String,
    command: impl FnOnce(A) -> Option<ExitCode>,
) -> ExitCode {
    private::umask();
    let (all_variables, settings) = cli::read_settings(service.read);
    let arguments = cli::parse(program, |command| match command {
        "" => all_variables.clone(),
        command => variables(command),
    });
    // A command runs without the service's settings: `rebuild` must work where the service cannot
    // start.
    if let Some(code) = command(arguments) {
        return code;
    }
    let settings = match settings {
        // `Settings::finish` reports what was missing.
        Ok(settings) => settings.expect("settings without a mistake are complete"),
        Err(mistakes) => return cli::start_failed(program.name, &mistakes),
    };
    // Logging starts only now: its level and format are settings.
    let (name, log) = (service.log)(&settings);
    logging::start(&name, log);
    // Before the first thread of the service.
    threads::end_process_on_panic();
    // Before listeners ask how many connections they may have.
    descriptors::raise();
    if let Err(error) = crash::start() {
        return cli::start_failed(program.name, &error);
    }
    let running = match (service.start)(&settings) {
        Ok(running) => running,
        Err(error) => return cli::start_failed(program.name, &error),
    };
    match shutdown::wait_for_signal() {
        Ok(signal) => tracing::info!(signal, "stopping"),
        Err(error) => return cli::start_failed(program.name, &error),
    }
    // The threads are joined here, in the order that the service documents.
    drop(running);
    tracing::info!("stopped");
    ExitCode::SUCCESS
}
