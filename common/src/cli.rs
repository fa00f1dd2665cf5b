//! Command lines: argh for the flags, with what it lacks: `--version`, `-h`, a `--help` that ends
//! with the table of variables, the list of commands after a wrong one, arguments that are no text.

use crate::settings::{Settings, SettingsError};
use crate::terminal;
use argh::{CommandInfo, TopLevelCommand};
use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::process::ExitCode;

/// Exit code of a start that failed: wrong setting, port taken, file in use.
pub const EXIT_START: u8 = 2;

/// A program, as its command line shows it.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its commands: `COMMANDS` of [`argh::SubCommands`].
    pub commands: &'a [&'a CommandInfo],
}

/// Why a command line leads to nothing that can be run.
#[derive(Debug, PartialEq, Eq)]
enum Early {
    /// This was asked for.
    Print(String),
    /// This is wrong.
    Wrong(String),
}

/// Parses the command line. `--help` prints the flags and what `variables` gives for the command
/// that it is asked of (`""` for the program itself); `--version` the version. Both end the
/// process, as a wrong flag does.
pub fn parse<T: TopLevelCommand>(program: Program<'_>, variables: impl Fn(&str) -> String) -> T {
    let arguments = std::env::args_os().skip(1).collect();
    parse_from(program, arguments, variables).unwrap_or_else(|early| match early {
        Early::Print(text) => match terminal::print(&text) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                terminal::complain(&format!("{}: cannot print: {error}", program.name));
                std::process::exit(1);
            }
            // A reader that has gone has seen what it wanted: that is a success.
            _ => std::process::exit(0),
        },
        Early::Wrong(text) => {
            terminal::complain(&text);
            // The code of a wrong start, so that a script tells a wrong flag from a failed run.
            std::process::exit(i32::from(EXIT_START));
        }
    })
}

fn parse_from<T: TopLevelCommand>(
    program: Program<'_>,
    arguments: Vec<OsString>,
    variables: impl Fn(&str) -> String,
) -> Result<T, Early> {
    let name = program.name;
    let arguments = texts(arguments).map_err(|wrong| Early::Wrong(format!("{name}: {wrong}")))?;
    // Behind `--` everything is a name.
    let flags = arguments.iter().take_while(|a| *a != "--");
    // Before argh, which takes it for an unknown flag.
    if flags.clone().any(|a| a == "--version" || a == "-V") {
        return Err(Early::Print(format!("{name} {}\n", program.version)));
    }
    let count = flags.count();
    let texts: Vec<&str> = arguments
        .iter()
        .enumerate()
        .map(|(at, text)| match text.as_str() {
            // argh knows `--help` alone.
            "-h" if at < count => "--help",
            text => text,
        })
        .collect();
    let word = texts
        .iter()
        .find(|text| !text.starts_with('-'))
        .filter(|word| **word != "help");
    let command = word.filter(|word| program.commands.iter().any(|known| known.name == **word));
    T::from_args(&[name], &texts).map_err(|early| {
        let output = early.output.trim_end();
        if early.status.is_ok() {
            // As argh prints it, so that the added form stands in its line.
            let output = output.replace("--help, help      ", "-h, --help, help  ");
            let variables = variables(command.unwrap_or(&""));
            return Early::Print(format!("{output}\n{variables}"));
        }
        // argh lists no commands when one is misspelt.
        if let (Some(word), None, false) = (word, command, program.commands.is_empty()) {
            let known: Vec<&str> = program.commands.iter().map(|known| known.name).collect();
            return Early::Wrong(format!(
                "{name}: there is no command '{word}': write one of {}\n'{name} --help' describes \
                 each.",
                known.join(", ")
            ));
        }
        let whose = command.map_or(name.to_owned(), |command| format!("{name} {command}"));
        Early::Wrong(format!("{output}\n'{whose} --help' lists what there is."))
    })
}

/// Arguments as text.
fn texts(arguments: Vec<OsString>) -> Result<Vec<String>, String> {
    let text = |(at, argument): (usize, OsString)| {
        argument.into_string().map_err(|argument| {
            format!(
                "argument {} is not UTF-8: {argument:?}; write it in UTF-8, and a path without \
                 such a name",
                at + 1
            )
        })
    };
    arguments.into_iter().enumerate().map(text).collect()
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

/// Ends a start that failed: the message to standard error, and the exit code, which is the same
/// where the message cannot be written.
#[must_use]
pub fn start_failed(name: &str, error: &dyn Display) -> ExitCode {
    terminal::complain(&format!("{name}: cannot start: {error}"));
    ExitCode::from(EXIT_START)
}

/// Ends a command that failed: the message to standard error, and the exit code.
pub fn failed(name: &str, error: &dyn Display) -> ExitCode {
    terminal::complain(&format!("{name}: {error}"));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use argh::{FromArgs, SubCommands};
    use std::os::unix::ffi::OsStringExt;

    /// A program.
    #[derive(FromArgs, Debug)]
    struct Flags {
        #[argh(subcommand)]
        command: Command,
    }

    #[derive(FromArgs, Debug)]
    #[argh(subcommand)]
    enum Command {
        Go(Go),
        Stay(Stay),
    }

    /// Goes.
    #[derive(FromArgs, Debug)]
    #[argh(subcommand, name = "go")]
    struct Go {
        /// where to
        #[argh(positional)]
        places: Vec<String>,
    }

    /// Stays.
    #[derive(FromArgs, Debug)]
    #[argh(subcommand, name = "stay")]
    struct Stay {}

    fn parsed(arguments: &[&str]) -> Result<Flags, Early> {
        let program = Program {
            name: "walk",
            version: "7",
            commands: Command::COMMANDS,
        };
        let arguments = arguments.iter().map(Into::into).collect();
        parse_from(program, arguments, |command| format!("reads [{command}]"))
    }

    fn printed(arguments: &[&str]) -> String {
        match parsed(arguments) {
            Err(Early::Print(text)) => text,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    fn wrong(arguments: &[&str]) -> String {
        match parsed(arguments) {
            Err(Early::Wrong(text)) => text,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    /// `-h` is `--help`, of the program and of each command, which shows only its own variables;
    /// behind `--` it is a name.
    #[test]
    fn h_is_help_and_a_command_shows_its_own_variables() {
        assert!(printed(&["-h"]).ends_with("reads []"));
        assert_eq!(printed(&["-h"]), printed(&["--help"]));
        assert_eq!(printed(&["go", "-h"]), printed(&["go", "--help"]));
        assert!(printed(&["go", "-h"]).ends_with("reads [go]"));
        assert!(printed(&["go", "-h"]).contains("-h, --help, help  "));
        let flags = parsed(&["go", "--", "-h", "--version"]).expect("names");
        let Command::Go(Go { places }) = flags.command else {
            panic!("{flags:?}");
        };
        assert_eq!(places, ["-h", "--version"]);
        assert_eq!(printed(&["stay", "--version"]), "walk 7\n");
        assert!(matches!(
            parsed(&["stay"]).expect("a command").command,
            Command::Stay(Stay {})
        ));
    }

    /// A wrong command gets the list of those that exist; a wrong flag of a command its help.
    #[test]
    fn an_unknown_command_gets_the_list_of_those_that_exist() {
        let text = wrong(&["sit"]);
        assert!(
            text.contains("no command 'sit'") && text.contains("go, stay"),
            "{text}"
        );
        assert!(wrong(&["stay", "--long"]).contains("'walk stay --help'"));
    }

    /// An argument that is no text is named by its place.
    #[test]
    fn an_argument_that_is_no_text_is_a_mistake() {
        let arguments = vec!["go".into(), OsString::from_vec(b"M\xfcller".to_vec())];
        let text = texts(arguments).expect_err("no text");
        assert!(
            text.contains("argument 2") && text.contains(r"M\xFCller"),
            "{text}"
        );
    }
}
