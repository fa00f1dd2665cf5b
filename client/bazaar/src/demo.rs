//! `bazaar demo` shows the whole system to a newcomer in half a minute. Clients trade, the demo
//! kills the leader, pauses the next one and brings both back. At the end it checks that every
//! order is there and the three files are equal. It measures every number that it prints.

mod picture;
mod record;
mod script;

pub use script::Shown;

use common::terminal;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Heading,
    Plain,
    Command,
    Good,
    Bad,
}

#[derive(Debug, Clone)]
struct Line {
    tone: Tone,
    text: String,
}

/// Standard output, and a record of its lines.
#[derive(Debug)]
struct Screen {
    colour: bool,
    lines: Vec<Line>,
    /// The first error of standard output.
    written: io::Result<()>,
}

impl Screen {
    fn new() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour: io::stdout().is_terminal() && !unwanted,
            lines: Vec::new(),
            written: Ok(()),
        }
    }

    fn line(&mut self, tone: Tone, text: &str) {
        let text = &*terminal::escape_lines(text);
        let code = match tone {
            Tone::Heading => "\x1b[1m",
            Tone::Plain => "",
            Tone::Command => "\x1b[36m",
            Tone::Good => "\x1b[32m",
            Tone::Bad => "\x1b[31m",
        };
        let painted = if self.colour && !code.is_empty() {
            format!("{code}{text}\x1b[0m")
        } else {
            text.to_owned()
        };
        let mut out = io::stdout().lock();
        // Keep the first error and go on: the demo must stop its processes in any case, and the
        // exit code reports the error at the end.
        let written = writeln!(out, "{painted}").and_then(|()| out.flush());
        self.written = mem::replace(&mut self.written, Ok(())).and(written);
        self.lines.extend(text.lines().map(|line| Line {
            tone,
            text: line.into(),
        }));
        if text.is_empty() {
            self.lines.push(Line {
                tone,
                text: String::new(),
            });
        }
    }
}

/// Runs the demo. With `record` it writes a document with pictures beside it. The second value is
/// the first error of standard output.
pub fn run(record: Option<&Path>) -> Result<(Shown, io::Result<()>), String> {
    let mut screen = Screen::new();
    let shown = script::show(&mut screen)?;
    if let Some(document) = record {
        record::write(document, &screen.lines, &shown)?;
    }
    Ok((shown, screen.written))
}
