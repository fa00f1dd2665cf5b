//! The cache's rules, one by one, and against a model under random interleavings.

use super::*;
use proptest::prelude::*;

fn session(name: &str) -> SessionId {
    SessionId(name.into())
}

fn body(text: &str) -> Arc<[u8]> {
    Arc::from(text.as_bytes())
}

fn at(ms: u64) -> BootInstant {
    BootInstant::from_millis(ms)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).into()).collect()
}

/// A cache with session `s` and a lease until 1 000.
fn leased() -> Cache {
    let mut cache = Cache::new(8);
    cache.begin_session(session("s"));
    assert!(cache.install_session(&session("s"), at(1_000)));
    cache
}

fn fill(cache: &mut Cache, name: &str, text: &str) {
    let fill = cache.begin_fill(name);
    assert_eq!(cache.finish_fill(&fill, Some(body(text))), FillEnd::Stored);
}

/// An entry is read while the lease runs, and not from the moment on at which it ends; a renewal
/// brings it back.
#[test]
fn reads_end_with_the_lease() {
    let mut cache = leased();
    fill(&mut cache, "a", "1");
    assert_eq!(cache.get("a", at(999)), Some(body("1")));
    assert_eq!(cache.get("a", at(1_000)), None);
    cache.renew(&session("s"), at(1_500));
    cache.renew(&session("s"), at(1_200));
    cache.renew(&session("other"), at(9_000));
    assert_eq!(cache.get("a", at(1_499)), Some(body("1")));
    assert_eq!(cache.get("a", at(1_500)), None);
}

/// An invalidation removes the entry and voids the fills of its name in flight, not those of others
/// and not later ones.
#[test]
fn invalidations_void_fills_in_flight() {
    let mut cache = leased();
    fill(&mut cache, "a", "old");
    let (of_a, of_b) = (cache.begin_fill("a"), cache.begin_fill("b"));
    assert!(cache.invalidate(&session("s"), &names(&["a", "never seen"])));
    assert_eq!(cache.get("a", at(0)), None);
    let later = cache.begin_fill("a");
    assert_eq!(cache.finish_fill(&of_a, Some(body("old"))), FillEnd::Voided);
    assert_eq!(cache.finish_fill(&of_b, Some(body("b"))), FillEnd::Stored);
    assert_eq!(
        cache.finish_fill(&later, Some(body("new"))),
        FillEnd::Stored
    );
    assert_eq!(cache.get("a", at(0)), Some(body("new")));
    assert!(cache.in_flight.is_empty());
}

/// Answers that may not be cached are not stored; without a session none is.
#[test]
fn only_what_may_be_cached_is() {
    let mut cache = leased();
    let fill = cache.begin_fill("a");
    assert_eq!(cache.finish_fill(&fill, None), FillEnd::Nothing);
    let mut cache = Cache::new(8);
    let fill = cache.begin_fill("a");
    assert_eq!(cache.finish_fill(&fill, Some(body("1"))), FillEnd::Nothing);
    assert_eq!((cache.entries(), cache.get("a", at(0))), (0, None));
}

/// Invalidations are taken for the current and for the pending session, and refused for every other
/// one.
#[test]
fn invalidations_of_other_sessions_are_refused() {
    let mut cache = leased();
    fill(&mut cache, "a", "1");
    assert!(!cache.invalidate(&session("other"), &names(&["a"])));
    assert_eq!(cache.get("a", at(0)), Some(body("1")));
    cache.begin_session(session("next"));
    let flying = cache.begin_fill("a");
    assert!(cache.invalidate(&session("next"), &names(&["a"])));
    assert_eq!(
        (
            cache.get("a", at(0)),
            cache.finish_fill(&flying, Some(body("1")))
        ),
        (None, FillEnd::Voided)
    );
    assert!(
        cache.invalidate(&session("s"), &[]),
        "the current one is still known"
    );
    assert!(cache.install_session(&session("next"), at(2_000)));
    assert!(!cache.invalidate(&session("s"), &[]), "it was replaced");
}

/// A session that the catalog ends leaves nothing behind, fills in flight included. A pending one
/// too: the reply to its registration installs nothing when it comes after the end.
#[test]
fn an_ended_session_leaves_nothing_behind() {
    let mut cache = leased();
    fill(&mut cache, "a", "1");
    let flying = cache.begin_fill("b");
    assert!(!cache.end(&session("other")));
    assert!(cache.end(&session("s")) && !cache.end(&session("s")));
    cache.renew(&session("s"), at(9_000));
    assert_eq!((cache.entries(), cache.leased(at(0))), (0, false));
    assert_eq!(cache.finish_fill(&flying, Some(body("1"))), FillEnd::Voided);

    cache.begin_session(session("next"));
    assert!(cache.end(&session("next")));
    assert!(!cache.install_session(&session("next"), at(2_000)));
    assert!(!cache.leased(at(0)));
}

/// A new session, and the loss of one, leave nothing of the old one behind, fills in flight
/// included.
#[test]
fn sessions_share_nothing() {
    let mut cache = leased();
    fill(&mut cache, "a", "1");
    let flying = cache.begin_fill("b");
    cache.begin_session(session("next"));
    assert_eq!(
        cache.get("a", at(0)),
        Some(body("1")),
        "the old one serves until the reply"
    );
    assert!(cache.install_session(&session("next"), at(2_000)));
    assert_eq!(
        (
            cache.get("a", at(0)),
            cache.finish_fill(&flying, Some(body("1")))
        ),
        (None, FillEnd::Voided)
    );

    fill(&mut cache, "a", "2");
    let flying = cache.begin_fill("b");
    cache.lose(&session("s"));
    assert_eq!(cache.get("a", at(0)), Some(body("2")), "not this one");
    cache.lose(&session("next"));
    assert!(!cache.leased(at(0)) && cache.entries() == 0);
    assert_eq!(cache.finish_fill(&flying, Some(body("1"))), FillEnd::Voided);
    cache.renew(&session("next"), at(9_000));
    assert!(
        !cache.leased(at(0)),
        "a late renewal does not bring it back"
    );
}

/// The events between a front-end and a catalog, in any order.
#[derive(Debug, Clone)]
enum Step {
    /// The catalog changes a stock: pushes to the session that it knows, and waits for the lease to
    /// end if that is refused.
    Trade(usize),
    /// A call for a stock reaches the catalog, which reads its value, and goes on travelling.
    Ask(usize),
    /// The answer to the oldest call on its way arrives.
    Answered,
    /// A registration is sent and reaches the catalog; the reply travels.
    Register,
    /// That reply arrives.
    Registered,
    /// A keep-alive goes forth and back.
    KeepAlive,
    /// The catalog restarts, and forgets its session, after every lease has ended.
    Restart,
    /// The catalog ends the session that it knows.
    End,
    /// Time goes by.
    Wait(u64),
    /// A client reads a stock.
    Read(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_usize..3).prop_map(Step::Trade),
        4 => (0_usize..3).prop_map(Step::Ask),
        4 => Just(Step::Answered),
        1 => Just(Step::Register),
        2 => Just(Step::Registered),
        2 => Just(Step::KeepAlive),
        1 => Just(Step::Restart),
        1 => Just(Step::End),
        2 => (1_u64..400).prop_map(Step::Wait),
        6 => (0_usize..3).prop_map(Step::Read),
    ]
}

/// The catalog's side of the lease, and the network between.
struct World {
    cache: Cache,
    now: u64,
    values: [u32; 3],
    /// The session that the catalog knows, and when its lease ends there.
    known: Option<(SessionId, u64)>,
    sessions: u32,
    registered: Option<(SessionId, u64)>,
    calls: std::collections::VecDeque<(Fill, u32)>,
}

const LEASE_MS: u64 = 500;

impl World {
    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Trade(stock) => {
                if let Some((session, lease_end)) = self.known.clone()
                    && !self.cache.invalidate(&session, &[format!("s{stock}")])
                {
                    self.now = self.now.max(lease_end);
                    self.known = None;
                }
                self.values[stock] += 1;
            }
            Step::Ask(stock) => {
                let fill = self.cache.begin_fill(&format!("s{stock}"));
                self.calls.push_back((fill, self.values[stock]));
            }
            Step::Answered => {
                if let Some((fill, value)) = self.calls.pop_front() {
                    self.cache
                        .finish_fill(&fill, Some(body(&value.to_string())));
                }
            }
            Step::Register => {
                self.sessions += 1;
                let session = session(&self.sessions.to_string());
                self.cache.begin_session(session.clone());
                // The catalog knows one session of this front-end: an older one is not pushed to
                // any more, its lease has ended.
                if let Some((_, lease_end)) = self.known.take() {
                    self.now = self.now.max(lease_end);
                }
                self.known = Some((session.clone(), self.now + LEASE_MS));
                self.registered = Some((session, self.now + LEASE_MS));
            }
            Step::Registered => {
                if let Some((session, lease_end)) = self.registered.take() {
                    let ended = self.cache.pending.is_none();
                    let installed = self.cache.install_session(&session, at(lease_end));
                    prop_assert_ne!(installed, ended);
                }
            }
            Step::KeepAlive => {
                let Some(current) = self.cache.current.clone() else {
                    return Ok(());
                };
                match &mut self.known {
                    Some((session, lease_end)) if *session == current => {
                        *lease_end = self.now + LEASE_MS;
                        self.cache.renew(&current, at(self.now + LEASE_MS));
                    }
                    _ => self.cache.lose(&current),
                }
            }
            Step::Restart => {
                if let Some((_, lease_end)) = self.known.take() {
                    self.now = self.now.max(lease_end);
                }
            }
            // The catalog serves nothing any more: whatever is read from here on is wrong.
            Step::End => {
                if let Some((session, _)) = self.known.take() {
                    prop_assert!(self.cache.end(&session));
                }
            }
            Step::Wait(ms) => self.now += ms,
            Step::Read(stock) => {
                if let Some(read) = self.cache.get(&format!("s{stock}"), at(self.now)) {
                    prop_assert_eq!(
                        read,
                        body(&self.values[stock].to_string()),
                        "stock {} at {}",
                        stock,
                        self.now
                    );
                }
            }
        }
        Ok(())
    }
}

proptest! {
    /// Whatever the order of trades, calls, answers, registrations and restarts: a read never gives
    /// a value that is not the catalog's own at that moment.
    #[test]
    fn reads_are_never_stale(
        capacity in 1_usize..4,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World {
            cache: Cache::new(capacity),
            now: 0,
            values: [0; 3],
            known: None,
            sessions: 0,
            registered: None,
            calls: std::collections::VecDeque::new(),
        };
        for step in &steps {
            world.take(step)?;
        }
    }
}
