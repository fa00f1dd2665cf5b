//! Services that refuse this process's token. A 401 between services is never a passing trouble:
//! two of them were started with different values of `BAZAAR_TOKEN`, and nothing works until
//! somebody knows which. So it is logged when it begins and when it ends, and readiness names it.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A refusal counts for so long: who is called at all is called more often.
const COUNTS_FOR: Duration = Duration::from_secs(2);

/// The services that refuse the token now, by base URL.
#[derive(Debug, Default)]
struct Refusals {
    /// Whether the table has entries: an accepted call must not cost a lock.
    any: AtomicBool,
    newest: Mutex<BTreeMap<String, Instant>>,
}

static REFUSALS: LazyLock<Refusals> = LazyLock::new(Refusals::default);

/// Notes the status of a response to a call to `base`, made with a token or without.
pub(super) fn answered(base: &str, status: u16, with_token: bool) {
    REFUSALS.answered(base, status, with_token, Instant::now());
}

/// The services that refused this process's token lately, as sentences for a person.
pub fn refusals() -> Vec<String> {
    REFUSALS.now(Instant::now())
}

impl Refusals {
    fn answered(&self, base: &str, status: u16, with_token: bool, now: Instant) {
        if status != 401 {
            if self.any.load(Ordering::Relaxed) {
                self.accepted(base);
            }
            return;
        }
        let mut newest = self.newest.lock();
        self.any.store(true, Ordering::Relaxed);
        if newest.insert(base.to_owned(), now).is_none() {
            let why = if with_token {
                "BAZAAR_TOKEN has another value at that service"
            } else {
                "that service has a BAZAAR_TOKEN, and this one has none"
            };
            tracing::error!(
                url = base,
                "calls are refused (401): {why}; set the same for all"
            );
        }
    }

    fn accepted(&self, base: &str) {
        let mut newest = self.newest.lock();
        if newest.remove(base).is_some() {
            tracing::info!(
                url = base,
                "calls are taken again: BAZAAR_TOKEN is the same now"
            );
        }
        self.any.store(!newest.is_empty(), Ordering::Relaxed);
    }

    fn now(&self, now: Instant) -> Vec<String> {
        let newest = self.newest.lock();
        let recent = newest
            .iter()
            .filter(|(_, at)| now.duration_since(**at) < COUNTS_FOR);
        recent
            .map(|(base, _)| {
                format!("the service at {base} has another BAZAAR_TOKEN than this front-end")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refusal is named with the service, until it accepts the token or is not heard of any more.
    #[test]
    fn a_service_that_refuses_the_token_is_named_until_it_accepts() {
        let refusals = Refusals::default();
        let now = Instant::now();
        refusals.answered("http://a:1", 200, true, now);
        assert!(refusals.now(now).is_empty());
        refusals.answered("http://a:1", 401, true, now);
        refusals.answered("http://b:1", 401, false, now);
        refusals.answered("http://c:1", 503, true, now);
        let named = refusals.now(now);
        assert_eq!(named.len(), 2);
        assert!(named[0].contains("http://a:1") && named[0].contains("BAZAAR_TOKEN"));
        refusals.answered("http://a:1", 200, true, now);
        assert_eq!(refusals.now(now).len(), 1);
        assert!(refusals.now(now + COUNTS_FOR).is_empty(), "not heard of");
    }
}
