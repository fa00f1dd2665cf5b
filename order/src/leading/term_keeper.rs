//! The term keeper: reads the catalog's term every 100 ms. A leader that cannot reach the catalog
//! does not say that it leads; one that reads a newer term steps down.
//!
//! Without it a leader that is cut off from the catalog would look healthy to every front-end, and
//! each order would run into its time-out. The catalog's workers answer this read, never its
//! writer, so a long commit is not taken for an unreachable catalog.
//!
//! Where several catalogs share a database, one takes over when the active one fails or stops. The
//! keeper then reads again soon, so that the leader goes on as soon as the next one answers. A read
//! that every catalog answered with "not active" is no miss, and misses count at most once per
//! [`TERM_READ`]: reading more often must not make a leader step down sooner.
//!
//! The machine of a catalog that died refuses the connection. While another one stands by, such a
//! read is no miss either, for as long as a takeover takes: an election would fail as long, and
//! cost time after it. A catalog that is silent may be cut off from this leader alone: that counts.

use crate::leading::catalog::CatalogClient;
use crate::replica::Replica;
use common::http::catalogs::Unanswered;
use common::shutdown::Shutdown;
use common::timing::{LEASE, MISSES, TERM_READ};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause after a read that no active catalog answered, where another one may take over.
const SOON: Duration = Duration::from_millis(20);
/// A catalog that stands by takes over within a lease and its margin, and then loads.
const TAKEOVER: Duration = Duration::from_millis(LEASE.as_millis() as u64 + 400);

/// Counts the reads in a row that were missed.
#[derive(Debug, Default)]
struct Misses {
    count: u32,
    last: Option<Instant>,
    /// The first read in a row after which a takeover was to be expected.
    takeover_since: Option<Instant>,
}

impl Misses {
    /// The catalogs were reached.
    fn reached(&mut self) {
        *self = Self::default();
    }

    /// A takeover is to be expected. Returns whether it is not overdue.
    fn awaits_takeover(&mut self, now: Instant) -> bool {
        let since = *self.takeover_since.get_or_insert(now);
        now.duration_since(since) < TAKEOVER
    }

    /// A read was missed. Returns whether there are too many.
    fn missed(&mut self, now: Instant) -> bool {
        let spaced = |last| now.duration_since(last) >= TERM_READ;
        if self.last.is_none_or(spaced) {
            self.count += 1;
            self.last = Some(now);
        }
        self.count >= MISSES
    }
}

/// Works until the service stops.
pub fn keep_term(replica: &Arc<Replica>, catalog: &CatalogClient, stop: &Shutdown) {
    let mut misses = Misses::default();
    let mut pause = TERM_READ;
    while !stop.wait(pause) {
        pause = TERM_READ;
        // Before the call: the answer judges the leadership that stood when it was asked for.
        let led = replica.led_term();
        match catalog.term() {
            Ok(answer) => {
                misses.reached();
                replica.note_catalog(&answer);
                let info = answer.term_info();
                match (replica.observe_term(info), led) {
                    // The catalog granted this term and now has an older one: its file was
                    // replaced. The next claim shows whether rows are missing too.
                    (Err(known), Some(term)) if known.term == term => {
                        tracing::error!(
                            term,
                            read = info.term,
                            "the catalog has an older term than it granted: its file was replaced"
                        );
                        replica.step_down(term, "the catalog's term went backwards");
                    }
                    // Another thread may have learned of a newer term since this one was read.
                    (_, Some(term)) => replica.catalog_answers(term, true),
                    (_, None) => {}
                }
            }
            Err(Unanswered {
                error,
                takeover_expected,
            }) => {
                if catalog.are_several() {
                    pause = SOON;
                }
                tracing::debug!(%error, "the term could not be read");
                if error.no_catalog_is_active() {
                    misses.reached();
                    continue;
                }
                if takeover_expected && misses.awaits_takeover(Instant::now()) {
                    continue;
                }
                // One miss may be a lost packet. Two in a row make front-ends look elsewhere.
                if let (true, Some(term)) = (misses.missed(Instant::now()), led) {
                    replica.catalog_answers(term, false);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two misses are too many, however often the term is read in between; a read that reached the
    /// catalogs begins anew.
    #[test]
    fn misses_count_once_per_interval() {
        let (mut misses, start) = (Misses::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for ms in [0, 20, 40, 99] {
            assert!(!misses.missed(at(ms)), "{ms}");
        }
        assert!(misses.missed(at(100)));
        misses.reached();
        assert!(!misses.missed(at(110)));
        assert!(misses.missed(at(300)));
    }

    /// A leader waits for a takeover as long as one takes, and no longer: further reads count then.
    #[test]
    fn a_takeover_is_waited_for_within_a_bound() {
        let (mut misses, start) = (Misses::default(), Instant::now());
        assert!(misses.awaits_takeover(start));
        assert!(misses.awaits_takeover(start + TAKEOVER / 2));
        assert!(!misses.awaits_takeover(start + TAKEOVER));
        misses.reached();
        assert!(misses.awaits_takeover(start + TAKEOVER));
    }
}
