//! The bearer token of internal calls: from `BAZAAR_TOKEN`, or from the file that
//! `BAZAAR_TOKEN_FILE` names.
//!
//! A variable shows in `/proc` and in the description of a container to everybody who may look
//! there. A file has permissions, and container engines hand secrets over as files.

use super::Settings;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The variable that holds the token.
pub const TOKEN: &str = "BAZAAR_TOKEN";
/// The variable that names the file.
pub const TOKEN_FILE: &str = "BAZAAR_TOKEN_FILE";
/// Bytes of the file at most: the longest token, and the end of its line.
const LONGEST_BYTES: u64 = 257;
/// The remedy for a wrong content.
const CONTENT: &str = "write one line of 8 to 255 visible ASCII characters into it";

/// A bearer token: 8 to 255 visible ASCII characters, so that it fits a header. Its text is never
/// printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl Token {
    /// Reads the token. `help` says what it is for. Two sources are a mistake, even of one value:
    /// they differ after the next change of one of them.
    pub fn read(settings: &mut Settings, help: &'static str) -> Option<Self> {
        let given = settings.optional(TOKEN, help);
        let file: Option<PathBuf> =
            settings.optional(TOKEN_FILE, "file whose only line is that secret");
        let Some(file) = file else { return given };
        // Set at all, even wrongly: which of the two counts would depend on the order of reading.
        if settings.is_set(TOKEN) {
            settings.mistake(format!(
                "{TOKEN}=(not shown) and {TOKEN_FILE}={} are both set: unset one of them",
                file.display()
            ));
            return None;
        }
        match from_file(&file) {
            Ok(token) => Some(token),
            Err(why) => {
                settings.mistake(format!("{TOKEN_FILE}={}: {why}", file.display()));
                None
            }
        }
    }
}

/// The token in a file. No error has any of the file's content.
fn from_file(path: &Path) -> Result<Token, String> {
    const HOW: &str = "name a file that this user can read";
    let failed = |error: std::io::Error| format!("it cannot be read ({error}): {HOW}");
    // A pipe that nobody writes to would hold up the start for ever, a folder has no content.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("it is no regular file: {HOW}"));
    }
    let mut content = Vec::new();
    File::open(path)
        // One byte more than fits: a file that is too long fails below rather than be cut.
        .and_then(|file| file.take(LONGEST_BYTES + 1).read_to_end(&mut content))
        .map_err(failed)?;
    let text = String::from_utf8(content).map_err(|_| format!("it is no text: {CONTENT}"))?;
    // An editor ends a file with a line end, which is not meant; blanks inside are.
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(format!("it is empty: {CONTENT}"));
    }
    line.parse()
        .map_err(|_| format!("its content is no token: {CONTENT}"))
}

impl std::str::FromStr for Token {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (8..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits {
            Ok(Self(text.into()))
        } else {
            Err("write 8 to 255 visible ASCII characters")
        }
    }
}

impl std::fmt::Debug for Token {
    // A derived `Debug` would print the secret with the settings.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<String>, String> {
        let pairs = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let mut settings = Settings::from_pairs(pairs);
        let token = Token::read(&mut settings, "secret");
        let table = settings.table();
        assert!(!table.contains("a-good-token"), "{table}");
        let finished = settings.finish().map_err(|e| e.to_string());
        finished.map(|()| token.map(|token| token.0))
    }

    /// A token comes from the variable or from the file, with or without the end of its line.
    #[test]
    fn a_token_comes_from_a_variable_or_from_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let name = path.to_str().expect("UTF-8");
        assert_eq!(read(&[]), Ok(None));
        let token = Ok(Some("a-good-token".to_owned()));
        assert_eq!(read(&[(TOKEN, "a-good-token"), (TOKEN_FILE, "")]), token);
        for content in ["a-good-token", "a-good-token\n", "a-good-token\r\n"] {
            fs::write(&path, content).expect("written");
            assert_eq!(read(&[(TOKEN_FILE, name)]), token, "{content:?}");
        }
        let longest = "x".repeat(255);
        fs::write(&path, format!("{longest}\r\n")).expect("written");
        assert_eq!(read(&[(TOKEN_FILE, name)]), Ok(Some(longest)));
    }

    /// A mistake names variable, path and remedy, and shows none of the content.
    #[test]
    fn a_wrong_token_file_is_named_and_its_content_is_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let name = path.to_str().expect("UTF-8");
        let mistake = |pairs: &[(&str, &str)]| {
            let mistake = read(pairs).expect_err("a mistake");
            assert!(
                mistake.contains(TOKEN_FILE) && mistake.contains(name),
                "{mistake}"
            );
            assert!(!mistake.contains("s3cret"), "{mistake}");
            mistake
        };
        let missing = mistake(&[(TOKEN_FILE, name)]);
        assert!(missing.contains("No such file") && missing.contains("can read"));
        fs::create_dir(&path).expect("a folder");
        assert!(mistake(&[(TOKEN_FILE, name)]).contains("no regular file"));
        fs::remove_dir(&path).expect("removed");
        for (content, why) in [
            (&b""[..], "it is empty"),
            (b"\n", "it is empty"),
            (b"s3cret", "no token"),
            (b"a-s3cret in words", "no token"),
            (b"a-s3cret-token\nand another line\n", "no token"),
            (b"a-s3cret-token\n\n", "no token"),
            (&[b'x'; 300], "no token"),
            (b"s3cret-\xff-token", "no text"),
        ] {
            fs::write(&path, content).expect("written");
            let error = mistake(&[(TOKEN_FILE, name)]);
            assert!(error.contains(why) && error.contains("one line"), "{error}");
        }
        fs::write(&path, "a-good-token").expect("written");
        let both = mistake(&[(TOKEN_FILE, name), (TOKEN, "a-s3cret-token")]);
        assert!(both.contains("unset one of them"), "{both}");
    }
}
