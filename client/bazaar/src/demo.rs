//! `bazaar demo`: half a minute that shows the whole system to a newcomer. Clients trade, the
//! leader is killed and another one paused, both come back, and at the end every order is there and
//! the three files are equal. Every figure that it prints is one that it has just seen.

mod picture;
mod record;
mod script;

pub use script::Shown;

use common::terminal;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::path::Path;

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Heading,
    Plain,
    Command,
    Good,
    Bad,
}

/// A line of the demonstration.
#[derive(Debug, Clone)]
struct Line {
    tone: Tone,
    text: String,
}

/// Standard output, and what was written to it.
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

    fn say(&mut self, tone: Tone, text: &str) {
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
        // A terminal that has gone away must not end it in the middle: its processes are stopped in
        // any case. The end says so.
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

/// Shows it; with `record`, keeps it as a document with pictures beside it. The second value says
/// whether standard output took it.
///
/// # Errors
/// When the bazaar does not start, or the document cannot be written.
pub fn run(record: Option<&Path>) -> Result<(Shown, io::Result<()>), String> {
    let mut screen = Screen::new();
    let shown = script::show(&mut screen)?;
    if let Some(document) = record {
        record::write(document, &screen.lines, &shown)?;
    }
    Ok((shown, screen.written))
}
