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

use super::client::{Call, CallError, HttpClient};
use crate::wire::catalog::NotActive;
use parking_lot::{Condvar, Mutex};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Pause between two rounds while no catalog is active. A standby looks each 50 ms, and news of
/// another caller end the pause.
pub const ROUND_PAUSE: Duration = Duration::from_millis(10);

/// Least time for a call, however near the end of all is.
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

/// The way of one call through the catalogs: each at most once.
#[derive(Debug)]
struct Round {
    catalogs: usize,
    next: Option<usize>,
    tried: u64,
}

impl Round {
    fn new(catalogs: usize, preferred: usize) -> Self {
        Self {
            catalogs,
            next: Some(preferred),
            tried: 0,
        }
    }

    /// The catalog to ask now.
    fn take(&mut self) -> Option<usize> {
        let untried = |catalog: &usize| self.tried & (1 << catalog) == 0;
        let named = self.next.take().filter(untried);
        let catalog = named.or_else(|| (0..self.catalogs).find(untried))?;
        self.tried |= 1 << catalog;
        Some(catalog)
    }

    /// A catalog named the active one.
    fn follow(&mut self, active: Option<usize>) {
        self.next = active;
    }
}

/// The gravest error of a round: one whose outcome is unknown, before one that was not sent, before
/// one that was answered.
fn graver(one: Option<CallError>, other: CallError) -> CallError {
    let weight = |error: &CallError| match error {
        _ if error.outcome_unknown() => 2,
        CallError::NotSent(_) => 1,
        _ => 0,
    };
    match one {
        Some(one) if weight(&one) >= weight(&other) => one,
        _ => other,
    }
}

/// The knowledge that all callers of one process share about the catalogs.
#[derive(Debug)]
struct Choice {
    urls: Vec<String>,
    /// The catalog that is asked first.
    preferred: AtomicUsize,
    /// The highest epoch of an answer; 0 before the first.
    epoch: AtomicU64,
    /// Every pool of connections to the catalogs, to end calls. Its lock orders all changes.
    pools: Mutex<Vec<Weak<Pool>>>,
    changed: Condvar,
}

impl Choice {
    /// Notes who answered, and under which epoch. False for an epoch older than one seen before.
    fn answered(&self, catalog: usize, epoch: u64) -> bool {
        let seen = self.epoch.load(Ordering::Acquire);
        if epoch == seen && self.preferred.load(Ordering::Relaxed) == catalog {
            return true;
        }
        if epoch < seen {
            // A catalog without epochs never shows one: a mixed list is none that works.
            return false;
        }
        self.change(catalog, epoch)
    }

    fn change(&self, catalog: usize, epoch: u64) -> bool {
        let mut pools = self.pools.lock();
        let seen = self.epoch.load(Ordering::Acquire);
        if epoch < seen {
            return false;
        }
        self.epoch.store(epoch, Ordering::Release);
        let before = self.preferred.swap(catalog, Ordering::Relaxed);
        if before != catalog {
            tracing::info!(url = self.urls[catalog], epoch, "calls go to this catalog");
        }
        pools.retain(|pool| pool.strong_count() > 0);
        if epoch > seen {
            let all = pools.iter().filter_map(Weak::upgrade);
            all.for_each(|pool| pool.end_calls_except(catalog));
        }
        self.changed.notify_all();
        true
    }

    /// Waits for news of another caller, at most `pause`.
    fn wait(&self, pause: Duration) {
        let mut pools = self.pools.lock();
        self.changed.wait_for(&mut pools, pause);
    }
}

/// Connections to the catalogs: a client for each.
#[derive(Debug)]
struct Pool {
    clients: Vec<Mutex<HttpClient>>,
    connections: usize,
    token: Option<String>,
}

impl Pool {
    fn new(catalogs: usize, connections: usize, token: Option<&str>) -> Self {
        let client = |_| Mutex::new(HttpClient::new(connections, token));
        Self {
            clients: (0..catalogs).map(client).collect(),
            connections,
            token: token.map(Into::into),
        }
    }

    /// Ends the calls in flight to all other catalogs. A client that was ended is of no more use,
    /// so that another one takes its place first.
    fn end_calls_except(&self, catalog: usize) {
        for (other, client) in self.clients.iter().enumerate() {
            if other != catalog {
                let new = HttpClient::new(self.connections, self.token.as_deref());
                let old = std::mem::replace(&mut *client.lock(), new);
                old.abort();
            }
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
            let passes = self.are_several() && leads_on(&error);
            let error = graver(gravest, error);
            if !passes || began.elapsed() + ROUND_PAUSE >= total {
                return Err(error);
            }
            gravest = Some(error);
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
            let client = self.pool.clients[catalog].lock().clone();
            let answered = call(&client, &self.choice.urls[catalog]);
            let error = match self.judge(says, catalog, answered) {
                Err(error) if leads_on(&error) => error,
                ended => return ended.map_err(Unanswered::from),
            };
            all_refuse &= matches!(error, CallError::NotSent(_)) || error.no_catalog_is_active();
            if let Some(NotActive { active, .. }) = error.refusal(421) {
                standby = standby.or(Some(catalog));
                let urls = &self.choice.urls;
                round.follow(active.and_then(|url| urls.iter().position(|own| *own == url)));
            }
            gravest = Some(graver(gravest, error));
        }
        let gravest = gravest.expect("a round asks at least one catalog");
        // A silent one costs a time-out: the next round begins with one that answers, and learns
        // from it who is active.
        if let Some(standby) = standby.filter(|_| !gravest.no_catalog_is_active()) {
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
            Ok((_, epoch)) => (epoch.unwrap_or(0), says == Says::Now),
            // A refusal is always about now. That it is not active every catalog may say.
            Err(CallError::Status {
                epoch: Some(epoch), ..
            }) if !is_inactive(&answered) => (*epoch, true),
            Err(_) => return answered.map(|(answer, _)| answer).map_err(deposed),
        };
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
            CallError::NoAnswer("the catalog was deposed while a commit was under way".into())
        }
        _ => error,
    }
}

/// Whether another catalog is asked after this error.
fn leads_on(error: &CallError) -> bool {
    match error {
        CallError::NotSent(_) | CallError::NoAnswer(_) => true,
        CallError::Status { .. } => error.no_catalog_is_active(),
        CallError::Misfit(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "http://a:7100";
    const B: &str = "http://b:7100";
    const C: &str = "http://c:7100";

    fn catalogs(urls: &[&str]) -> Catalogs {
        let urls: Vec<String> = urls.iter().map(|url| (*url).into()).collect();
        Catalogs::new(&urls, 1, None)
    }

    type Answer = Result<(u8, Option<u64>), CallError>;

    fn ok(epoch: u64) -> Answer {
        Ok((7, Some(epoch)))
    }

    fn silent() -> Answer {
        Err(CallError::NoAnswer("silent".into()))
    }

    fn refused() -> Answer {
        Err(CallError::NotSent("refused".into()))
    }

    fn status(status: u16, epoch: u64) -> Answer {
        Err(CallError::Status {
            status,
            body: b"{}".to_vec(),
            epoch: Some(epoch),
        })
    }

    fn standby(active: Option<&str>) -> Answer {
        let body = NotActive {
            active: active.map(Into::into),
            epoch: 1,
            outcome_unknown: false,
        };
        Err(CallError::Status {
            status: 421,
            body: serde_json::to_vec(&body).expect("serialises"),
            epoch: None,
        })
    }

    /// One round with these answers; returns who was asked, and the end.
    fn round(
        catalogs: &Catalogs,
        says: Says,
        mut answer: impl FnMut(&str) -> Answer,
    ) -> (Vec<String>, Result<u8, CallError>) {
        let mut asked = Vec::new();
        let ended = catalogs.round(says, |_, url| {
            asked.push(url.into());
            answer(url)
        });
        (asked, ended)
    }

    /// The preferred one alone is asked as long as it answers, also when it refuses.
    #[test]
    fn the_preferred_one_is_asked_first() {
        let all = catalogs(&[A, B]);
        for answer in [|| ok(1), || status(503, 1), || status(404, 1)] {
            let (asked, _) = round(&all, Says::Now, |_| answer());
            assert_eq!(asked, [A]);
        }
    }

    /// A catalog that is away or not active leads to the others, each once; the one that answers is
    /// kept to.
    #[test]
    fn the_others_follow_and_the_one_that_answers_is_kept_to() {
        for away in [silent, refused, || standby(None)] {
            let all = catalogs(&[A, B, C]);
            let answer = |url: &str| if url == C { ok(2) } else { away() };
            let (asked, ended) = round(&all, Says::Now, answer);
            assert_eq!(asked, [A, B, C]);
            assert!(ended.is_ok());
            let (asked, _) = round(&all, Says::Now, answer);
            assert_eq!(asked, [C]);
        }
    }

    /// A 421 is followed to a URL of the own list only, and never back to one that was asked.
    #[test]
    fn a_named_one_is_followed_within_the_list() {
        let all = catalogs(&[A, B, C]);
        let (asked, _) = round(&all, Says::Now, |url| match url {
            A => standby(Some(C)),
            _ => standby(Some(A)),
        });
        assert_eq!(asked, [A, C, B]);
        let all = catalogs(&[A, B]);
        let (asked, ended) = round(&all, Says::Now, |_| standby(Some("http://elsewhere:1")));
        assert_eq!(asked, [A, B]);
        assert!(ended.expect_err("nobody").no_catalog_is_active());
    }

    /// The error of a round is the gravest: an unknown outcome is never forgotten, and "none is
    /// active" is said only if every catalog answered.
    #[test]
    fn the_gravest_error_ends_a_round() {
        let ended = |a: fn() -> Answer, b: fn() -> Answer| {
            let all = catalogs(&[A, B]);
            let answer = |url: &str| if url == A { a() } else { b() };
            round(&all, Says::Fact, answer).1.expect_err("nobody")
        };
        for (a, b) in [
            (silent as fn() -> Answer, refused as fn() -> Answer),
            (refused, silent),
            (silent, || standby(None)),
            (|| standby(None), silent),
        ] {
            assert!(ended(a, b).outcome_unknown());
        }
        let error = ended(|| standby(None), refused);
        assert!(!error.outcome_unknown() && !error.no_catalog_is_active());
        assert!(ended(|| standby(None), || standby(None)).no_catalog_is_active());
        let deposed = || {
            let body = br#"{"active":null,"epoch":3,"outcome_unknown":true}"#.to_vec();
            Err(CallError::Status {
                status: 421,
                body,
                epoch: None,
            })
        };
        assert!(ended(deposed, || standby(None)).outcome_unknown());
    }

    /// A takeover is expected where one stands by and no other one is merely silent: it may be cut
    /// off from this caller alone.
    #[test]
    fn a_takeover_is_expected_where_the_others_are_dead() {
        let expected = |a: fn() -> Answer, b: fn() -> Answer| {
            let all = catalogs(&[A, B]);
            let answer = |url: &str| if url == A { a() } else { b() };
            let ended = all.try_round(Says::Now, |_, url| answer(url));
            ended.expect_err("nobody").takeover_expected
        };
        let stands_by: fn() -> Answer = || standby(Some(A));
        assert!(expected(refused, stands_by) && expected(stands_by, stands_by));
        assert!(!expected(silent, stands_by) && !expected(refused, refused));
        assert!(!expected(|| status(503, 1), stands_by));
    }

    /// A statement about now of an older epoch is no answer; a fact is one under any epoch.
    #[test]
    fn an_older_epoch_says_nothing_about_now() {
        let all = catalogs(&[A, B]);
        assert!(round(&all, Says::Now, |_| ok(3)).1.is_ok());
        for old in [|| ok(2), || status(412, 2), || Ok((7, None))] {
            let (asked, ended) = round(&all, Says::Now, |_| old());
            assert_eq!(asked, [A, B]);
            assert!(ended.expect_err("older").to_string().contains("epoch 3"));
        }
        assert!(round(&all, Says::Fact, |_| ok(2)).1.is_ok());
        assert_eq!(all.epoch(), 3, "the highest is kept");
        assert!(round(&all, Says::Now, |_| ok(4)).1.is_ok());
    }

    /// After a silent one the next round begins with one that answers, which names the active one.
    #[test]
    fn a_silent_one_is_not_asked_first_again() {
        let all = catalogs(&[A, B]);
        let answer = |url: &str| if url == A { silent() } else { standby(Some(A)) };
        let (asked, _) = round(&all, Says::Now, answer);
        assert_eq!(asked, [A, B]);
        let (asked, _) = round(&all, Says::Now, answer);
        assert_eq!(asked, [B, A]);
    }

    /// While none is active a call goes round again; a lone catalog is asked once.
    #[test]
    fn rounds_repeat_until_one_is_active() {
        let all = catalogs(&[A, B]);
        let mut calls = 0;
        let total = Duration::from_secs(60);
        let ended = all.until(Says::Fact, total, |_, url, left| {
            assert!(left <= total);
            calls += 1;
            match (calls, url) {
                (1, _) => silent(),
                (6.., B) => ok(2),
                _ => standby(None),
            }
        });
        assert!(ended.is_ok() && (6..=7).contains(&calls), "{calls}");
        let mut calls = 0;
        let short = all.until(Says::Fact, Duration::ZERO, |_, _, _| {
            calls += 1;
            if calls == 1 { silent() } else { standby(None) }
        });
        assert!(short.expect_err("nobody").outcome_unknown());
        let mut calls = 0;
        let ended = catalogs(&[A]).until(Says::Fact, total, |_, _, _| {
            calls += 1;
            refused()
        });
        assert!(ended.is_err() && calls == 1);
    }

    /// A newer epoch ends the calls that wait for another catalog, on every pool.
    #[test]
    fn a_newer_epoch_ends_calls_to_the_deposed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let hangs = format!("http://{}", listener.local_addr().expect("an address"));
        let all = catalogs(&[&hangs, B]);
        let own = all.with_own_connections(1);
        let waits = std::thread::spawn(move || {
            let mut asked = 0;
            let ended = own.round(Says::Fact, |client, url| {
                asked += 1;
                if asked == 1 {
                    client.get_dated::<u8>(url, "/", Duration::from_secs(60))
                } else {
                    ok(5)
                }
            });
            (asked, ended.is_ok())
        });
        // The call is under way: its connection and head have arrived.
        let (stream, _) = listener.accept().expect("a call");
        assert!(stream.peek(&mut [0; 1]).expect("a head") > 0);
        let began = Instant::now();
        all.note_active(1, 5);
        assert_eq!(waits.join().expect("ends"), (2, true));
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
