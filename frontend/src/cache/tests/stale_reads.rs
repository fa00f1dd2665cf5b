//! Reads are never stale, whatever the order of events between a front-end and the catalog.

use super::super::*;
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
struct Bazaar {
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

impl Bazaar {
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
    /// A read never gives a value that is not the catalog's own at that moment, in any order of
    /// trades, calls, answers, registrations and restarts.
    #[test]
    fn reads_are_never_stale(
        capacity in 1_usize..4,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut bazaar = Bazaar {
            cache: Cache::new(capacity),
            now: 0,
            values: [0; 3],
            known: None,
            sessions: 0,
            registered: None,
            calls: std::collections::VecDeque::new(),
        };
        for step in &steps {
            bazaar.take(step)?;
        }
    }
}
