//! Services that this process cannot work with: they refuse its token, or speak another major
//! version of the protocol. Neither is ever a passing trouble: services were started with different
//! values of `BAZAAR_TOKEN`, or with programs that do not fit, and nothing works until somebody
//! knows which. So it is logged when it begins and when it ends, and readiness names it.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A mismatch counts for so long: a service that is called at all is called more often.
const COUNTS_FOR: Duration = Duration::from_secs(2);

/// Why a service and this process do not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// It refuses the token of this process, or its having none.
    Token {
        /// Whether this process showed one.
        shown: bool,
    },
    /// It speaks this version of the protocol.
    Protocol(String),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { .. } => f.write_str("has another BAZAAR_TOKEN than this front-end"),
            Self::Protocol(theirs) => {
                let ours = super::protocol::text();
                write!(
                    f,
                    "speaks protocol {theirs}, this front-end protocol {ours}"
                )
            }
        }
    }
}

impl Mismatch {
    fn log(&self, url: &str) {
        match self {
            Self::Token { shown } => {
                let why = if *shown {
                    "BAZAAR_TOKEN has another value at that service"
                } else {
                    "that service has a BAZAAR_TOKEN, and this one has none"
                };
                tracing::error!(url, "calls are refused (401): {why}; set the same for all");
            }
            Self::Protocol(theirs) => {
                let ours = super::protocol::text();
                tracing::error!(
                    url,
                    theirs,
                    ours,
                    "calls are refused: that service speaks another major version of the \
                     protocol; stop all services and start them with one version of the program"
                );
            }
        }
    }
}

/// The services that do not fit now, by base URL.
#[derive(Debug, Default)]
struct Mismatches {
    /// Whether the table has entries: a call that fits, which is nearly every one, must not cost a
    /// lock.
    any: AtomicBool,
    newest: Mutex<BTreeMap<String, (Mismatch, Instant)>>,
}

static MISMATCHES: LazyLock<Mismatches> = LazyLock::new(Mismatches::default);

/// Notes whether a response to a call to `base` fits.
pub(super) fn answered(base: &str, mismatch: Option<Mismatch>) {
    MISMATCHES.answered(base, mismatch, Instant::now());
}

/// The services that do not fit this process, lately, as sentences for a person.
pub fn reasons() -> Vec<String> {
    MISMATCHES.now(Instant::now())
}

impl Mismatches {
    fn answered(&self, base: &str, mismatch: Option<Mismatch>, now: Instant) {
        let Some(mismatch) = mismatch else {
            // A stale look does no harm: the next call to that service looks again.
            if self.any.load(Ordering::Relaxed) {
                self.fits(base);
            }
            return;
        };
        let mut newest = self.newest.lock();
        // Under the lock, so that it agrees with the table whenever that is free.
        self.any.store(true, Ordering::Relaxed);
        let before = newest.insert(base.to_owned(), (mismatch.clone(), now));
        // Once for each service and kind, not for each call.
        if before.is_none_or(|(before, _)| before != mismatch) {
            mismatch.log(base);
        }
    }

    fn fits(&self, base: &str) {
        let mut newest = self.newest.lock();
        if let Some((mismatch, _)) = newest.remove(base) {
            let what = match mismatch {
                Mismatch::Token { .. } => "BAZAAR_TOKEN is the same now",
                Mismatch::Protocol(_) => "it speaks this program's protocol now",
            };
            tracing::info!(url = base, "calls are taken again: {what}");
        }
        // The last one: calls cost no lock from here on.
        self.any.store(!newest.is_empty(), Ordering::Relaxed);
    }

    fn now(&self, now: Instant) -> Vec<String> {
        let newest = self.newest.lock();
        let recent = newest
            .iter()
            // A service that is gone is not called any more, and names no reason.
            .filter(|(_, (_, at))| now.duration_since(*at) < COUNTS_FOR);
        recent
            .map(|(base, (mismatch, _))| format!("the service at {base} {mismatch}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that does not fit is named with the reason, until it fits or is not heard of any
    /// more.
    #[test]
    fn a_service_that_does_not_fit_is_named_until_it_fits() {
        let mismatches = Mismatches::default();
        let now = Instant::now();
        let noted = |base: &str, mismatch| mismatches.answered(base, mismatch, now);
        noted("http://a:1", None);
        assert!(mismatches.now(now).is_empty());
        noted("http://a:1", Some(Mismatch::Token { shown: true }));
        noted("http://b:1", Some(Mismatch::Protocol("2.0".into())));
        noted("http://c:1", None);
        let named = mismatches.now(now);
        assert_eq!(named.len(), 2);
        assert!(named[0].contains("http://a:1") && named[0].contains("BAZAAR_TOKEN"));
        assert!(named[1].contains("protocol 2.0") && named[1].contains("protocol 1.0"));
        noted("http://a:1", None);
        assert_eq!(mismatches.now(now).len(), 1);
        assert!(mismatches.now(now + COUNTS_FOR).is_empty(), "not heard of");
    }
}
