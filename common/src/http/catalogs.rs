//! The catalogs of a bazaar, as one process calls them. Several catalogs may share one database;
//! one of them is active, and only that one answers.
//!
//! ```text
//!   call ─► preferred ── answers ─────────────────────────► done, it stays the preferred one
//!               │ refuses, is silent, or says 421 {active}
//!               ▼
//!           the one that the 421 names, if it is of the own list, else the next of the list
//!               │ …each at most once: that is one round
//!               ▼
//!           the gravest of the errors
//! ```
//!
//! - All callers of a process share one choice: what one of them learns, the others use.
//! - A catalog that was active once may still answer, because it was paused or cut off. So answers
//!   carry an **epoch**, the choice keeps the highest, and a [`Says::Now`] of an older epoch counts
//!   as no answer. A fact (a verdict with its rows, a granted claim) is true under any epoch.
//! - When a newer epoch shows, calls in flight to the other catalogs end at once: they wait for one
//!   that is no longer active, which may hang.
//! - A round in which every catalog answered 421 ends with that 421: nobody is away, one of them is
//!   about to take over, so the caller asks again soon and counts no miss. A dead process answers
//!   nothing, but its machine refuses the connection: [`Unanswered`] says when that is all.
//!
//! With one catalog a call is one call: no lock is taken, nothing is allocated.

mod choice;
mod round;

use super::client::{Call, CallError, HttpClient};
use crate::wire::catalog::NotActive;
use choice::{Choice, Pool};
use parking_lot::{Condvar, Mutex};
use round::{Round, graver};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Pause between two rounds while no catalog is active. A standby looks each 50 ms, and news of
/// another caller end the pause.
pub const ROUND_PAUSE: Duration = Duration::from_millis(10);

/// Least time for a call, however near the end of its whole time is.
const CALL_LEAST: Duration = Duration::from_millis(50);

/// The subject of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// The state of this moment (a term, stocks, a lease, that nothing follows): worth nothing from
    /// a catalog that is no longer active.
    Now,
    /// A fact that stays true for ever.
    Fact,
}

/// The end of a round without an answer.
#[derive(Debug)]
pub struct Unanswered {
    /// The gravest error of the round.
    pub error: CallError,
    /// Whether one that stands by answered, and each of the others did too or took no connection,
    /// as where a process has died: then one takes over within a lease and its margin.
    pub takeover_expected: bool,
}

impl From<CallError> for Unanswered {
    fn from(error: CallError) -> Self {
        Self {
            error,
            takeover_expected: false,
        }
    }
}

/// The catalogs with connections to them. Clones share both.
#[derive(Debug, Clone)]
pub struct Catalogs {
    choice: Arc<Choice>,
    pool: Arc<Pool>,
    /// The client of a lone catalog, which nothing ever replaces.
    lone: Option<HttpClient>,
}

impl Catalogs {
    /// The catalogs at these URLs, the first one preferred. Up to `connections` idle ones are kept
    /// to each; `token` is shown to all.
    ///
    /// # Panics
    /// Without a URL, or with more than 64: the settings allow neither.
    #[must_use]
    pub fn new(urls: &[String], connections: usize, token: Option<&str>) -> Self {
        // A round notes in a `u64` whom it has asked.
        assert!((1..=64).contains(&urls.len()), "{} catalogs", urls.len());
        let choice = Arc::new(Choice {
            urls: urls.to_vec(),
            preferred: AtomicUsize::new(0),
            epoch: AtomicU64::new(0),
            pools: Mutex::default(),
            changed: Condvar::new(),
        });
        Self::over(choice, connections, token)
    }

    fn over(choice: Arc<Choice>, connections: usize, token: Option<&str>) -> Self {
        let pool = Arc::new(Pool::new(choice.urls.len(), connections, token));
        choice.pools.lock().push(Arc::downgrade(&pool));
        // Cloned out once, so that a call with one catalog takes no lock: its client is never
        // replaced.
        let lone = (choice.urls.len() == 1).then(|| pool.clients[0].lock().clone());
        Self { choice, pool, lone }
    }

    /// The same catalogs and choice with connections of its own, which [`Catalogs::abort`] of the
    /// other does not end.
    #[must_use]
    pub fn with_own_connections(&self, connections: usize) -> Self {
        let token = self.pool.token.as_deref();
        Self::over(Arc::clone(&self.choice), connections, token)
    }

    /// Their URLs, in the order of the setting.
    #[must_use]
    pub fn urls(&self) -> &[String] {
        &self.choice.urls
    }

    /// Whether another one may take over when one fails.
    #[must_use]
    pub fn are_several(&self) -> bool {
        self.lone.is_none()
    }

    /// The highest epoch that was seen; 0 for a catalog on a file of its own.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.choice.epoch.load(Ordering::Acquire)
    }

    /// Notes that the catalog of this index is active, as its health says.
    pub fn note_active(&self, catalog: usize, epoch: u64) {
        // A lone catalog has no epochs to compare.
        if self.are_several() {
            let _newest = self.choice.answered(catalog, epoch);
        }
    }

    /// Ends every call in flight; these connections are of no more use.
    pub fn abort(&self) {
        self.pool
            .clients
            .iter()
            .for_each(|client| client.lock().abort());
    }

    /// Reads with GET, in one round.
    ///
    /// # Errors
    /// [`CallError`], the gravest of the round.
    pub fn get<A: DeserializeOwned>(
        &self,
        says: Says,
        path: &str,
        timeout: Duration,
    ) -> Result<A, CallError> {
        self.round(says, |client, url| client.get_dated(url, path, timeout))
    }

    /// As [`Catalogs::get`]; an error says more.
    ///
    /// # Errors
    /// [`Unanswered`]
    pub fn try_get<A: DeserializeOwned>(
        &self,
        says: Says,
        path: &str,
        timeout: Duration,
    ) -> Result<A, Unanswered> {
        self.try_round(says, |client, url| client.get_dated(url, path, timeout))
    }

    /// Sends `body` with POST, in one round.
    ///
    /// # Errors
    /// [`CallError`], the gravest of the round.
    pub fn post<Q: Serialize, A: DeserializeOwned>(
        &self,
        says: Says,
        path: &str,
        timeout: Duration,
        body: &Q,
    ) -> Result<A, CallError> {
        self.round(says, |client, url| {
            client.call_dated(post(url, path, timeout), body)
        })
    }

    /// As [`Catalogs::post`], and again until `total` is over while no catalog is active: one takes
    /// over meanwhile. The body must be one that may be repeated. A lone catalog is asked once: its
    /// caller knows how long to wait for a restart.
    ///
    /// # Errors
    /// [`CallError`], the gravest of all rounds.
    pub fn post_until<Q: Serialize, A: DeserializeOwned>(
        &self,
        says: Says,
        path: &str,
        total: Duration,
        body: &Q,
    ) -> Result<A, CallError> {
        self.until(says, total, |client, url, left| {
            client.call_dated(post(url, path, left), body)
        })
    }

    /// As [`Catalogs::get`], and again until `total` is over while no catalog is active.
    ///
    /// # Errors
    /// [`CallError`], the gravest of all rounds.
    pub fn get_until<A: DeserializeOwned>(
        &self,
        says: Says,
        path: &str,
        total: Duration,
    ) -> Result<A, CallError> {
        self.until(says, total, |client, url, left| {
            client.get_dated(url, path, left)
        })
    }

    fn until<A>(
        &self,
        says: Says,
        total: Duration,
        mut call: impl FnMut(&HttpClient, &str, Duration) -> Result<(A, Option<u64>), CallError>,
    ) -> Result<A, CallError> {
        let began = Instant::now();
        let mut gravest = None;
        loop {
            let left = || total.saturating_sub(began.elapsed()).max(CALL_LEAST);
            let error = match self.round(says, |client, url| call(client, url, left())) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Only where somebody may take over meanwhile. A lone catalog's caller knows how long
            // to wait for a restart.
            let passes = self.are_several() && leads_on(&error);
            let error = if passes {
                graver(gravest, error)
            } else {
                // The active catalog's refusal. Its status counts, such as that of a fence, and an
                // earlier attempt may have been carried out all the same.
                error.after(gravest.as_ref())
            };
            // Not begun when the pause alone would use up the time.
            if !passes || began.elapsed() + ROUND_PAUSE >= total {
                return Err(error);
            }
            gravest = Some(error);
            // Ended early by another caller's news: its answer shows who is active.
            self.choice.wait(ROUND_PAUSE);
        }
    }

    /// Makes one call with the preferred catalog, and with the others if that is away or not
    /// active.
    ///
    /// # Errors
    /// [`CallError`], the gravest of the round; a 421 with [`NotActive`] only when every catalog
    /// answered so.
    pub fn round<A>(
        &self,
        says: Says,
        call: impl FnMut(&HttpClient, &str) -> Result<(A, Option<u64>), CallError>,
    ) -> Result<A, CallError> {
        self.try_round(says, call)
            .map_err(|unanswered| unanswered.error)
    }

    fn try_round<A>(
        &self,
        says: Says,
        mut call: impl FnMut(&HttpClient, &str) -> Result<(A, Option<u64>), CallError>,
    ) -> Result<A, Unanswered> {
        // One catalog: no lock, no allocation, and no round.
        if let Some(client) = &self.lone {
            let answered = call(client, &self.choice.urls[0]);
            return self.judge(says, 0, answered).map_err(Unanswered::from);
        }
        let preferred = self.choice.preferred.load(Ordering::Relaxed);
        let mut round = Round::new(self.choice.urls.len(), preferred);
        let mut gravest = None;
        let mut standby = None;
        let mut all_refuse = true;
        while let Some(catalog) = round.take() {
            // Cloned out of its lock: the call may take seconds, and another caller's news must be
            // able to end it by putting a new client in its place.
            let client = self.pool.clients[catalog].lock().clone();
            let answered = call(&client, &self.choice.urls[catalog]);
            let error = match self.judge(says, catalog, answered) {
                Ok(answer) => return Ok(answer),
                Err(error) if leads_on(&error) => error,
                // A refusal ends the round. It says nothing about the catalogs that were asked
                // before it: one that is silent may have committed.
                Err(error) => return Err(error.after(gravest.as_ref()).into()),
            };
            // Noted over the whole round: one silent catalog is enough to make it unknown whether
            // somebody takes over.
            all_refuse &= matches!(error, CallError::NotSent(_)) || error.no_catalog_is_active();
            if let Some(NotActive { active, .. }) = error.refusal(421) {
                // The first that stands by: it answers, so the next round begins there.
                standby = standby.or(Some(catalog));
                let urls = &self.choice.urls;
                // Only to a URL of the own list: a catalog may not send its callers to a stranger.
                round.follow(active.and_then(|url| urls.iter().position(|own| *own == url)));
            }
            gravest = Some(graver(gravest, error));
        }
        // `Round::take` yields at least one.
        let gravest = gravest.expect("a round asks at least one catalog");
        // A silent one costs a time-out: the next round begins with one that answers, and learns
        // from it who is active.
        if let Some(standby) = standby.filter(|_| !gravest.no_catalog_is_active()) {
            // Only if nobody has learned something better since this round began.
            let _ = self.choice.preferred.compare_exchange(
                preferred,
                standby,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        Err(Unanswered {
            error: gravest,
            takeover_expected: standby.is_some() && all_refuse,
        })
    }

    /// Judges an answer by its epoch.
    fn judge<A>(
        &self,
        says: Says,
        catalog: usize,
        answered: Result<(A, Option<u64>), CallError>,
    ) -> Result<A, CallError> {
        let (epoch, is_of_now) = match &answered {
            // Facts are true under any epoch, so only statements about now are judged by it.
            Ok((_, epoch)) => (epoch.unwrap_or(0), says == Says::Now),
            // A refusal is always about now. That it is not active every catalog may say.
            Err(CallError::Status {
                epoch: Some(epoch), ..
            }) if !is_inactive(&answered) => (*epoch, true),
            Err(_) => return answered.map(|(answer, _)| answer).map_err(deposed),
        };
        // Noted in any case: a fact of a newer epoch is news of it, too.
        if !self.choice.answered(catalog, epoch) && is_of_now {
            return Err(CallError::NoAnswer(format!(
                "{} answered under epoch {}, and epoch {} was seen before: it is no longer active",
                self.choice.urls[catalog],
                epoch,
                self.epoch(),
            )));
        }
        answered.map(|(answer, _)| answer)
    }
}

fn post<'a>(base: &'a str, path: &'a str, timeout: Duration) -> Call<'a> {
    Call {
        method: "POST",
        base,
        path,
        timeout,
        trace: None,
    }
}

fn is_inactive<A>(answered: &Result<A, CallError>) -> bool {
    answered
        .as_ref()
        .is_err_and(CallError::no_catalog_is_active)
}

/// A catalog that was deposed while the call's commit was under way does not know its outcome.
fn deposed(error: CallError) -> CallError {
    match error.refusal::<NotActive>(421) {
        Some(refusal) if refusal.outcome_unknown => {
            // Taken for no answer, whose outcome is unknown: the caller repeats under the same
            // keys, and finds out.
            CallError::NoAnswer("the catalog was deposed while a commit was under way".into())
        }
        _ => error,
    }
}

/// Whether another catalog is asked after this error.
fn leads_on(error: &CallError) -> bool {
    match error {
        // Refused or silent: another one may be active.
        CallError::NotSent(_) | CallError::NoAnswer(_) => true,
        CallError::Status { .. } => error.no_catalog_is_active(),
        // Another one would misfit as well: the programs differ.
        CallError::Misfit(_) => false,
    }
}

#[cfg(test)]
mod tests;
