//! Settings from environment variables. Every variable is read through [`Settings`], which keeps
//! what `--help` shows and collects all mistakes, so that one start reports them together.

pub mod addresses;
mod shared;
mod token;
mod values;

pub use shared::Shared;
pub use token::{TOKEN, TOKEN_FILE, Token};
pub use values::{Positive, ServerKind, Switch, Whole};

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

/// Reads variables, remembers each, and collects mistakes.
#[derive(Debug)]
pub struct Settings {
    environment: BTreeMap<OsString, OsString>,
    read: Vec<Variable>,
    mistakes: Vec<String>,
}

#[derive(Debug)]
struct Variable {
    name: &'static str,
    default: String,
    help: &'static str,
    set_to: Option<String>,
}

/// All mistakes of one start; each names its variable, the value and the remedy.
#[derive(Debug, PartialEq, Eq)]
pub struct SettingsError(pub Vec<String>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} wrong:",
            if self.0.len() == 1 {
                "a setting is"
            } else {
                "settings are"
            }
        )?;
        self.0
            .iter()
            .try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for SettingsError {}

/// Why a value is refused: what to write instead. The errors of the standard library ("invalid
/// digit found in string") are none, so that a variable cannot be read as a bare number.
pub trait Remedy {
    /// The words behind `NAME=value: `.
    fn remedy(self) -> String;
}

impl Remedy for String {
    fn remedy(self) -> String {
        self
    }
}

impl Remedy for &'static str {
    fn remedy(self) -> String {
        self.into()
    }
}

impl Remedy for Infallible {
    fn remedy(self) -> String {
        match self {}
    }
}

impl Settings {
    /// Reads the process's environment. Only what is read from it need be text: other programs'
    /// variables may hold anything.
    pub fn from_environment() -> Self {
        Self::from_os_pairs(std::env::vars_os())
    }

    /// Reads the given pairs instead.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let pairs = pairs.into_iter();
        Self::from_os_pairs(pairs.map(|(name, value)| (name.into(), value.into())))
    }

    /// Reads the given pairs, which need not be text.
    pub fn from_os_pairs(pairs: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        // The whole environment is taken once: a later change of it by other code changes nothing.
        Self {
            environment: pairs.into_iter().collect(),
            read: Vec::new(),
            mistakes: Vec::new(),
        }
    }

    /// The variable's value, or `default` where it is unset or empty. A value that does not parse
    /// is a mistake, and the default stands in for it until [`Settings::finish`] reports it.
    ///
    /// # Panics
    /// When the default does not parse, which is a mistake of ours.
    pub fn get<T>(&mut self, name: &'static str, default: &str, help: &'static str) -> T
    where
        T: FromStr,
        T::Err: Remedy,
    {
        let given = self.note(name, default, help);
        // A wrong value does not end the reading: all mistakes of one start are reported together.
        let parsed = given.and_then(|value| self.parse(name, &value));
        parsed.unwrap_or_else(|| {
            default
                .parse()
                // A default that does not parse would be found by the first start of any kind.
                .unwrap_or_else(|e: T::Err| panic!("default of {name}: {}", e.remedy()))
        })
    }

    /// The variable's value; `None` where it is unset, empty or (a mistake) wrong.
    pub fn optional<T>(&mut self, name: &'static str, help: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: Remedy,
    {
        let given = self.note(name, "", help);
        given.and_then(|value| self.parse(name, &value))
    }

    /// As [`Settings::optional`], but unset is a mistake too: after [`Settings::finish`] succeeded
    /// there is a value.
    pub fn required<T>(&mut self, name: &'static str, help: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: Remedy,
    {
        let mistakes = self.mistakes.len();
        let given = self.note(name, "required", help);
        // A value that is not UTF-8 was reported already.
        if given.is_none() && self.mistakes.len() == mistakes {
            self.mistakes.push(format!("{name} is not set: {help}"));
        }
        given.and_then(|value| self.parse(name, &value))
    }

    /// Whether a variable has a value, right or wrong.
    fn is_set(&self, name: &str) -> bool {
        let value = self.environment.get(OsStr::new(name));
        // Empty counts as unset: that is how a script or a unit file takes a variable back.
        value.is_some_and(|value| !value.is_empty())
    }

    /// Adds a mistake that shows only when values are seen together.
    pub fn mistake(&mut self, text: String) {
        self.mistakes.push(text);
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn finish(self) -> Result<(), SettingsError> {
        if self.mistakes.is_empty() {
            Ok(())
        } else {
            Err(SettingsError(self.mistakes))
        }
    }

    /// The table of variables for `--help`: name, what it is, default, and the current value where
    /// one is set. A secret's value is not shown.
    pub fn table(&self) -> String {
        let mut text = String::from("Environment variables:\n");
        for v in &self.read {
            let now = match &v.set_to {
                // Secrets are only said to be set.
                Some(value) => match shown(v.name, value) {
                    NOT_SHOWN => ", now set".into(),
                    value => format!(", now {value}"),
                },
                None => String::new(),
            };
            let default = if v.default.is_empty() {
                "unset"
            } else {
                &v.default
            };
            text += &format!("  {}\n      {} [default: {default}{now}]\n", v.name, v.help);
        }
        text
    }

    fn note(&mut self, name: &'static str, default: &str, help: &'static str) -> Option<String> {
        let set_to = self
            .environment
            .get(OsStr::new(name))
            .filter(|v| !v.is_empty())
            .cloned();
        self.read.push(Variable {
            name,
            default: default.into(),
            help,
            set_to: set_to.as_ref().map(|v| v.to_string_lossy().into_owned()),
        });
        match set_to?.into_string() {
            Ok(text) => Some(text),
            Err(value) => {
                let value = format!("{value:?}");
                let shown = shown(name, &value);
                self.mistakes.push(format!(
                    "{name}={shown}: it is not UTF-8: write it in UTF-8, and a path without such a \
                     name"
                ));
                None
            }
        }
    }

    fn parse<T>(&mut self, name: &str, value: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Remedy,
    {
        match value.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let shown = shown(name, value);
                self.mistakes
                    .push(format!("{name}={shown}: {}", error.remedy()));
                None
            }
        }
    }
}

const NOT_SHOWN: &str = "(not shown)";

/// A value for people: never a secret. The URL of a database may hold a password; where in it
/// cannot be said of one that does not parse, so nothing of it is shown.
fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    // The name of a secret's file is none: `BAZAAR_TOKEN_FILE` is shown.
    let secret = ["TOKEN", "PASSWORD"]
        .iter()
        .any(|word| name.ends_with(word));
    if secret || value.contains("postgres") && value.contains("://") {
        NOT_SHOWN
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::addresses::ListenAddress;
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings::from_pairs(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())))
    }

    /// All mistakes are reported together, with variable, value and remedy; a token's value never.
    #[test]
    fn reports_all_mistakes_at_once() {
        let mut s = settings(&[
            ("LISTEN", "nowhere"),
            ("SIZE", "0"),
            ("BAZAAR_TOKEN", "s3cret"),
            ("ON", "maybe"),
        ]);
        let listen: ListenAddress = s.get("LISTEN", "127.0.0.1:1", "where");
        let size: Positive = s.get("SIZE", "5", "how many");
        assert_eq!((listen.port(), size.0), (1, 5), "defaults stand in");
        assert!(s.optional::<Token>("BAZAAR_TOKEN", "secret").is_none());
        assert_eq!(s.get::<Switch>("ON", "on", "switch"), Switch(true));
        assert!(s.required::<String>("MISSING", "name one").is_none());
        let SettingsError(mistakes) = s.finish().expect_err("five mistakes");
        assert_eq!(mistakes.len(), 5, "{mistakes:?}");
        assert!(mistakes[0].starts_with("LISTEN=nowhere: "));
        assert!(mistakes[2].contains("(not shown)") && !mistakes[2].contains("s3cret"));
        assert!(mistakes[4].contains("MISSING is not set"));
    }

    /// Unset and empty variables take their default; the table shows what is set, but no secret.
    #[test]
    fn defaults_and_table() {
        let mut s = settings(&[("A", ""), ("B", "7"), ("MY_TOKEN", "longenough")]);
        assert_eq!(s.get::<Positive>("A", "3", "first").0, 3);
        assert_eq!(s.get::<Positive>("B", "3", "second").0, 7);
        assert!(s.optional::<Token>("MY_TOKEN", "third").is_some());
        let table = s.table();
        assert!(table.contains("second [default: 3, now 7]") && table.contains("now set"));
        assert!(!table.contains("longenough"));
        assert_eq!(s.finish(), Ok(()));
    }

    /// A variable that is not text is a mistake where it is read, and nothing to anybody else; a
    /// secret is not shown then either.
    #[test]
    fn only_variables_that_are_read_need_be_text() {
        use std::os::unix::ffi::OsStringExt;
        let latin1 = || OsString::from_vec(b"M\xfcller".to_vec());
        let names = ["NAME", "A_DB", "B_TOKEN", "C_ID"];
        let pairs = || {
            let named = names.map(|name| (OsString::from(name), latin1()));
            named.into_iter().chain([(latin1(), latin1())])
        };
        let mut s = Settings::from_os_pairs(pairs());
        assert_eq!(s.get::<String>("A_DB", "a.db", "file"), "a.db");
        assert_eq!(s.optional::<Token>("B_TOKEN", "secret"), None);
        assert_eq!(s.required::<Positive>("C_ID", "id"), None);
        let SettingsError(mistakes) = s.finish().expect_err("three mistakes");
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        assert!(mistakes[0].starts_with(r#"A_DB="M\xFCller": it is not UTF-8"#));
        assert!(
            mistakes[1].starts_with("B_TOKEN=(not shown)"),
            "{mistakes:?}"
        );
        let mut s = Settings::from_os_pairs(pairs());
        assert_eq!(s.get::<Positive>("D", "3", "number").0, 3);
        assert_eq!(s.finish(), Ok(()));
    }
}
