//! The version of the messages between services, so that two versions of this program can work
//! together while they are exchanged one process at a time.
//!
//! - Every internal call and every answer to one carries [`HEADER`] with `<major>.<minor>`. One
//!   without it comes from a version that did not send it yet, and counts as 1.0.
//! - A **minor** version adds: a field with a default, a message, an answer to a new message. A
//!   side that does not know a field skips it, so both go on.
//! - A **major** version changes what a message means. A listener refuses a caller of another major
//!   version with 400 before it looks at the route, and a caller refuses such an answer. Both
//!   messages name both versions: an upgrade over it stops all services first.
//!
//! `common/tests/wire` keeps samples of every message, per version, and a test reads all of them.

use std::fmt;
use std::str::FromStr;

/// Name of the header field.
pub const HEADER: &str = "bazaar-protocol";

/// A version of the messages between services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// Another one is refused.
    pub major: u32,
    /// Another one adds or lacks fields.
    pub minor: u32,
}

/// The version that this program speaks.
pub const PROTOCOL: Protocol = Protocol { major: 1, minor: 0 };
/// The same as text, which every message carries.
const TEXT: &str = "1.0";

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('.');
        let parsed = parts.and_then(|(major, minor)| {
            let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
            Some(Self { major, minor })
        });
        parsed.ok_or_else(|| format!("'{text}' is no protocol version: write <major>.<minor>"))
    }
}

/// The value of [`HEADER`] that this process sends.
#[must_use]
pub fn text() -> &'static str {
    next::text().unwrap_or(TEXT)
}

/// The version of this program, as its health shows it.
#[must_use]
pub fn release() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match next::text() {
        Some(_) => format!("{version}-next"),
        None => version.into(),
    }
}

/// The version of the other side, if this process cannot speak with it; text that is no version
/// counts as one.
#[must_use]
pub fn unfit(theirs: Option<&str>) -> Option<&str> {
    // Nearly every message is of the own version.
    // None was sent: that was version 1.0, and all of 1 fit.
    let theirs = theirs.filter(|theirs| *theirs != text())?;
    let major = |text: &str| text.parse::<Protocol>().ok().map(|version| version.major);
    // Text that is no version has no major, which equals none of ours.
    (major(theirs) != major(text())).then_some(theirs)
}

/// Adds the field of the next version to a message, in a test that plays it.
pub(super) fn extend(body: &mut Vec<u8>) {
    if next::text().is_some() {
        next::extend(body);
    }
}

/// A debug build can play another version, so that a test of an upgrade needs no second build: it
/// sends another [`HEADER`], and messages with a field that nobody knows.
#[cfg(debug_assertions)]
mod next {
    use serde_json::Value;
    use std::sync::LazyLock;

    static PLAYED: LazyLock<Option<String>> = LazyLock::new(|| {
        let version = std::env::var(super::TEST_VARIABLE).ok();
        version.filter(|text| !text.is_empty())
    });

    pub fn text() -> Option<&'static str> {
        PLAYED.as_deref()
    }

    /// An object with one key may be a variant of an enum, whose key says which: it stays.
    pub fn extend(body: &mut Vec<u8>) {
        if let Ok(Value::Object(mut message)) = serde_json::from_slice::<Value>(body)
            && message.len() != 1
        {
            message.insert("added_by_the_next_version".into(), Value::Bool(true));
            *body = Value::Object(message).to_string().into_bytes();
        }
    }
}

/// Released binaries play no other version.
#[cfg(not(debug_assertions))]
mod next {
    pub fn text() -> Option<&'static str> {
        None
    }

    pub fn extend(_: &mut Vec<u8>) {}
}

/// Name of the variable with the version that a debug build plays.
pub const TEST_VARIABLE: &str = "BAZAAR_TEST_PROTOCOL";

#[cfg(test)]
mod tests {
    use super::*;

    /// Both constants are the same version, and only another major one does not fit.
    #[test]
    fn another_major_version_does_not_fit() {
        assert_eq!(PROTOCOL.to_string(), TEXT);
        for fits in [None, Some("1.0"), Some("1.1"), Some("1.999")] {
            assert_eq!(unfit(fits), None, "{fits:?}");
        }
        for unfits in ["0.9", "2.0", "10.0", "1", "", "x.y", "1.0.0"] {
            assert_eq!(unfit(Some(unfits)), Some(unfits));
        }
    }
}
