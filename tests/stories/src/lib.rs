//! Golden scripts (crate `goldenscript`) as tests. Each file of a folder tells one case of a state
//! machine: commands above a line `---`, and below it what the machine did.
//! `UPDATE_GOLDENFILES=1 cargo test …` writes the results anew: read the difference before you keep
//! it.

#![forbid(unsafe_code)]

pub use goldenscript::{Argument, ArgumentConsumer, Command, Context, Runner, run};

use std::error::Error;
use std::str::FromStr;

/// Why a command of a script failed.
pub type Failure = Box<dyn Error>;

/// Parses a word of a script.
///
/// # Errors
/// The word is no such value.
pub fn parse<T: FromStr>(word: &str) -> Result<T, Failure> {
    word.parse()
        .map_err(|_| format!("'{word}' is no {}", std::any::type_name::<T>()).into())
}

/// The next word of a command.
///
/// # Errors
/// There is none: the command lacks its `meaning`.
pub fn word<'a>(words: &mut ArgumentConsumer<'a>, meaning: &str) -> Result<&'a str, Failure> {
    words
        .next_pos()
        .ok_or_else(|| format!("{meaning} is missing").into())
}

/// The value of `key=value`, if the command has it.
///
/// # Errors
/// The value is no such value.
pub fn key<T: FromStr>(words: &mut ArgumentConsumer<'_>, key: &str) -> Result<Option<T>, Failure> {
    words.take_key(key).map(parse).transpose()
}

/// Makes a test of each named script in a folder of the crate, with a runner of its own, and one
/// test that every script in the folder is named.
#[macro_export]
macro_rules! stories {
    ($folder:literal, $runner:expr, $($name:ident)*) => {
        const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder);

        $(
            #[test]
            fn $name() {
                let path = format!("{SCRIPTS}/{}", stringify!($name));
                $crate::run(&mut $runner, path).expect("the script runs");
            }
        )*

        /// A script that no test names would never run.
        #[test]
        fn every_script_is_run() {
            let files = std::fs::read_dir(SCRIPTS).expect("the folder of scripts");
            let names = files.map(|file| file.expect("a file").file_name());
            let mut names: Vec<_> = names.map(|name| name.into_string().expect("UTF-8")).collect();
            let mut run = vec![$(stringify!($name).to_owned()),*];
            names.sort();
            run.sort();
            assert_eq!(names, run);
        }
    };
}
