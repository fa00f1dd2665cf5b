//! Words for people: standard output and standard error, which may be gone or full, and text of
//! others, which may hold what a terminal obeys.
//!
//! `println!` panics when a write fails, so no program here uses it: a lint holds that. In its
//! place:
//!
//! - A reader that has gone (`| head`) has seen what it wanted: the program ends quietly, with the
//!   code that its work has.
//! - Any other failure of standard output is said on standard error. Where the output was the work
//!   itself, the work failed; where it only reports work that was done, that stays done.
//! - A line that standard error does not take is lost: there is no other place for it.
//!
//! Every printed text passes [`escape`] or [`escape_lines`]: control characters move the cursor
//! and change titles, bidirectional ones show a text in another order than it has.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// The text on one line, with every character written out that a terminal obeys or hides.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_where(text, |c| !is_inert(c))
}

/// The same for a text of several lines: line ends and tabs stay.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_where(text, |c| !is_inert(c) && !matches!(c, '\n' | '\t'))
}

/// Whether a character only shows itself.
pub fn is_inert(c: char) -> bool {
    let obeyed = c.is_control()
        // Line and paragraph separators; marks, embeddings, overrides and isolates of direction.
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{206f}')
        // Characters without a width of their own: two texts that look equal may differ in them.
        || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e007f}');
    !obeyed
}

fn escape_where(text: &str, escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    // Nearly every text is inert, and then nothing is copied.
    if !text.contains(&escaped) {
        return Cow::Borrowed(text);
    }
    let mut inert = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if escaped(c) {
            inert.extend(c.escape_default());
        } else {
            inert.push(c);
        }
    }
    Cow::Owned(inert)
}

/// A word as a POSIX shell reads it back: as it is where the shell finds nothing in it, else in
/// single quotes.
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut quoted = String::from("'");
    for c in text.chars() {
        match c {
            // Inside single quotes a POSIX shell sees nothing but the next one.
            '\'' => quoted.push_str(r"'\''"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    Cow::Owned(quoted)
}

/// A string as JSON in which every character shows only itself.
pub fn json_string(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if is_inert(c) => json.push(c),
            c => {
                // As two units where needed: JSON escapes are UTF-16.
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
        }
    }
    json.push('"');
    json
}

/// Writes text to standard output.
///
/// # Errors
/// When it cannot be written: see [`printed`].
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    // Through the lock, so that lines of several threads do not mix.
    out.write_all(escape_lines(text).as_bytes())?;
    out.flush()
}

/// A line on standard error, as far as that takes it.
pub fn complain(text: &str) {
    let line = format!("{}\n", escape_lines(text));
    // There is no other place for it: see the module.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// The exit code of a command whose work is what it prints: `code` where that was written, or its
/// reader wanted no more; failure, with a word on standard error, where it was lost.
pub fn printed(name: &str, outcome: io::Result<()>, code: ExitCode) -> ExitCode {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("{name}: {}", not_written(&error)));
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// Reports on standard output work that was done. It stays done, and the exit code says so, when
/// the words cannot be written: they are said on standard error then.
pub fn report(name: &str, text: &str) -> ExitCode {
    match print(&format!("{text}\n")) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("{name}: {text} ({})", not_written(&error)));
        }
        _ => {}
    }
    ExitCode::SUCCESS
}

fn not_written(error: &io::Error) -> String {
    format!("standard output cannot be written: {error}")
}

/// Standard output for a command that writes much, or bytes for other programs: buffered. On a
/// terminal it escapes as [`print()`] does; into a file or a pipe the bytes go as they are.
///
/// The first error is remembered, so that the caller can tell it from the errors of what it reads.
pub struct Output {
    buffer: io::BufWriter<io::StdoutLock<'static>>,
    escapes: bool,
    failed: Option<io::Error>,
}

impl Output {
    /// Standard output, locked.
    pub fn new() -> Self {
        let out = io::stdout().lock();
        Self {
            // Only a person's terminal obeys characters; a file wants the bytes.
            escapes: out.is_terminal(),
            buffer: io::BufWriter::new(out),
            failed: None,
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// The first error of any write.
    pub fn finish(mut self) -> io::Result<()> {
        let flushed = self.flush();
        self.failed.map_or(flushed, Err)
    }

    fn remember<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome
            // Interrupted writes are repeated by the caller, and are no failure.
            && error.kind() != io::ErrorKind::Interrupted
        {
            let same = error
                .raw_os_error()
                .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            self.failed.get_or_insert(same);
        }
        outcome
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = if self.escapes {
            let text = String::from_utf8_lossy(bytes);
            let written = self.buffer.write_all(escape_lines(&text).as_bytes());
            // All of `bytes` is written in another form: the caller counts its own.
            written.map(|()| bytes.len())
        } else {
            self.buffer.write(bytes)
        };
        self.remember(outcome)
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.buffer.flush();
        self.remember(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing that a terminal obeys is left, and plain text is not touched.
    #[test]
    fn text_of_others_moves_no_cursor_and_turns_no_line_round() {
        for hostile in [
            "\u{1b}]0;title\u{7}",
            "a\rb",
            "\u{9b}2J",
            "a\u{7f}",
            "\u{202e}evil",
            "\u{2066}x\u{2069}",
            "\u{2028}",
            "\u{200b}",
        ] {
            let inert = escape(hostile);
            assert!(inert.chars().all(is_inert), "{inert:?}");
            assert!(escape_lines(hostile).chars().all(is_inert), "{hostile:?}");
        }
        assert_eq!(escape("a\nb\u{1b}[1m"), r"a\nb\u{1b}[1m");
        assert_eq!(escape_lines("a\n\tb\u{1b}"), "a\n\tb\\u{1b}");
        for plain in ["FishCo", "Müller & Söhne", "日本", ""] {
            assert!(matches!(escape(plain), Cow::Borrowed(same) if same == plain));
        }
    }

    /// A shell reads each word back as it was, and runs nothing.
    #[test]
    fn a_shell_reads_a_quoted_word_back() {
        for word in [
            "plain/path.x",
            "",
            "'; touch x; echo '",
            "$(reboot) `reboot` \\ \"",
            "a b\tc",
            "http://[::1]:8080/stocks",
            "~",
            "*",
        ] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", shell_word(word))])
                .output()
                .expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
        assert_eq!(shell_word("run/x"), "run/x");
    }

    /// JSON for a terminal is read back as the same text.
    #[test]
    fn json_shows_only_itself() {
        for text in ["FishCo", "a\"b\\c", "\u{202e}x\n", "\u{e0041}", "ü"] {
            let json = json_string(text);
            assert!(json.chars().all(is_inert), "{json:?}");
            let back: String = serde_json::from_str(&json).expect("JSON");
            assert_eq!(back, text);
        }
    }
}
