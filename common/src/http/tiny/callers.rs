//! The callers connected to a tiny_http listener, and the rule whose connection is to be ended.
//! Pure: the time is a parameter, and what is connected comes from [`super::watch`].
//!
//! A connection counts as a stranger's until a request of it was let in. Services send theirs at
//! once, so a stranger has little time, and its connection goes first when there are too many.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// From the connection to the first request that is let in.
const FIRST: Duration = Duration::from_secs(2);
/// From a head to the end of its body.
const BODY: Duration = Duration::from_secs(5);
/// How long an answered stranger keeps its connection: to read the response, and to send a body
/// that is thrown away.
const LINGER: Duration = Duration::from_millis(500);
/// However crowded it is: a service whose last request is younger than any of its time-outs may
/// still wait for the response.
const LEAST_IDLE: Duration = Duration::from_secs(6);

/// One connection.
#[derive(Debug, Clone)]
struct Caller {
    /// When it was first seen, and last used.
    since: Instant,
    used: Instant,
    /// The acceptor that its requests come through, once one of them was let in.
    acceptor: Option<u64>,
    /// Since when a body is read.
    body: Option<Instant>,
    /// A stranger's request waits to be answered.
    pending: bool,
    /// When the connection is to be ended.
    ends: Option<Instant>,
}

impl Caller {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            used: now,
            acceptor: None,
            body: None,
            pending: false,
            ends: None,
        }
    }

    fn is_over(&self, now: Instant, idle: Duration) -> bool {
        self.ends.is_some_and(|at| at <= now)
            || self.body.is_some_and(|since| since + BODY <= now)
            // Three bounds: a connection that is to end, a body that does not come, and silence. A
            // service that reads a body is not silent.
            || match self.acceptor {
                None => self.since + FIRST <= now,
                Some(_) => self.body.is_none() && self.used + idle <= now,
            }
    }
}

/// All connections that were seen.
#[derive(Debug, Default)]
pub struct Callers {
    all: HashMap<SocketAddr, Caller>,
    /// See [`Callers::newest`].
    newest: Option<Instant>,
}

impl Callers {
    fn caller(&mut self, peer: SocketAddr, now: Instant) -> &mut Caller {
        self.all.entry(peer).or_insert_with(|| Caller::new(now))
    }

    /// When a connection had its first request last. (Not when it was seen first: the keeper would
    /// see the connections that it opens itself for this, and never end.)
    pub fn newest(&self) -> Option<Instant> {
        self.newest
    }

    /// A request was let in; with `body`, the rest of it is read from the socket now.
    pub fn let_in(&mut self, peer: SocketAddr, acceptor: u64, body: bool, now: Instant) {
        let caller = self.caller(peer, now);
        caller.used = now;
        caller.body = body.then_some(now);
        // Its first request: from here on the connection counts as a service's.
        if caller.acceptor.replace(acceptor).is_none() {
            self.newest = Some(now);
        }
    }

    /// A body was read, or could not be.
    pub fn body_ended(&mut self, peer: SocketAddr) {
        if let Some(caller) = self.all.get_mut(&peer) {
            caller.body = None;
        }
    }

    /// A request of a stranger came. False when an earlier one still waits: it is not answered, and
    /// its connection ends. Answers of a connection are in order, so the thread that wrote this one
    /// would wait for the other.
    pub fn stranger(&mut self, peer: SocketAddr, now: Instant) -> bool {
        let caller = self.caller(peer, now);
        let waits = std::mem::replace(&mut caller.pending, true);
        // Ended at once: its answers are in order, so this one would hold the thread that writes it
        // until the other is read.
        if waits {
            caller.ends = Some(now);
        }
        self.newest = Some(now);
        !waits
    }

    /// The stranger is being answered. A refused one has its connection for a moment longer.
    pub fn answered(&mut self, peer: SocketAddr, refused: bool, now: Instant) {
        let caller = self.caller(peer, now);
        caller.pending = false;
        if refused {
            // Not anew at each refusal: a stranger that goes on asking would keep its connection.
            caller.ends.get_or_insert(now + LINGER);
        }
    }

    /// Takes the connections that a look found; it began at `looked`.
    pub fn seen(&mut self, peers: &HashSet<SocketAddr>, looked: Instant) {
        for peer in peers {
            self.caller(*peer, looked);
        }
        // One that came after the look began may not be among them.
        // Gone from the kernel, so gone from here, unless the look began before the connection did.
        self.all
            .retain(|peer, caller| caller.since >= looked || peers.contains(peer));
    }

    /// Whether a connection of that acceptor is there. One of which no request was let in may be
    /// any acceptor's.
    pub fn uses(&self, acceptor: u64) -> bool {
        self.all.values().any(|c| c.acceptor == Some(acceptor))
    }

    /// Whose connections are to be ended: those whose time is over, and those beyond three quarters
    /// of `limit`, strangers first, the oldest of them first.
    pub fn over(&self, now: Instant, limit: usize, idle: Duration) -> HashSet<SocketAddr> {
        let is_over =
            |(peer, caller): (&SocketAddr, &Caller)| caller.is_over(now, idle).then_some(*peer);
        let mut over: HashSet<SocketAddr> = self.all.iter().filter_map(is_over).collect();
        let room = limit - limit / 4;
        // Those that go anyway make room first.
        let beyond = (self.all.len() - over.len()).saturating_sub(room);
        if beyond > 0 {
            let mut rest: Vec<(bool, Instant, SocketAddr)> = self
                .all
                .iter()
                .filter(|(peer, _)| !over.contains(peer))
                // A service may still wait for the answer to its last request.
                .filter(|(_, c)| c.acceptor.is_none() || c.used + LEAST_IDLE <= now)
                .map(|(peer, c)| (c.acceptor.is_some(), c.used, *peer))
                .collect();
            // Strangers first, the longest unused of them first.
            rest.sort_unstable_by_key(|(ours, used, _)| (*ours, *used));
            over.extend(rest.iter().take(beyond).map(|(_, _, peer)| *peer));
        }
        over
    }

    /// Without a view of the connections: forgets those that have not called for `idle`.
    pub fn forget(&mut self, now: Instant, idle: Duration) {
        self.all.retain(|_, caller| now < caller.used + idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(330);

    fn peer(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn peers(ports: std::ops::Range<u16>) -> HashSet<SocketAddr> {
        ports.map(peer).collect()
    }

    fn after(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    /// A stranger has two seconds, a body five, a service its idle time.
    #[test]
    fn time_is_over() {
        let (mut callers, now) = (Callers::default(), Instant::now());
        callers.seen(&peers(1..4), now);
        callers.let_in(peer(2), 0, false, now);
        callers.let_in(peer(3), 0, true, now);
        let over = |callers: &Callers, ms| callers.over(after(now, ms), 100, IDLE);
        assert_eq!(over(&callers, 1_999), peers(0..0));
        assert_eq!(over(&callers, 2_000), peers(1..2));
        assert_eq!(over(&callers, 5_000), [peer(1), peer(3)].into());
        callers.body_ended(peer(3));
        assert_eq!(over(&callers, 5_000), peers(1..2));
        assert_eq!(over(&callers, 330_000), peers(1..4));
    }

    /// In a crowd strangers go first, the oldest of them first; a service that may wait for an
    /// answer never does.
    #[test]
    fn strangers_make_room() {
        let (mut callers, now) = (Callers::default(), Instant::now());
        callers.seen(&peers(1..21), now);
        (1..4).for_each(|port| callers.let_in(peer(port), 0, false, now));
        let later = after(now, 100);
        callers.seen(&peers(1..101), later);
        let over = callers.over(later, 100, IDLE);
        assert_eq!(over.len(), 25, "down to three quarters");
        assert!(peers(4..21).is_subset(&over), "the oldest strangers");
        assert!(over.is_disjoint(&peers(1..4)), "no service");
    }

    /// Of several requests that a stranger sends at once the first is answered; its connection
    /// ends.
    #[test]
    fn strangers_wait_for_their_answer() {
        let (mut callers, now) = (Callers::default(), Instant::now());
        assert!(callers.stranger(peer(1), now));
        callers.answered(peer(1), true, now);
        assert!(callers.over(now, 100, IDLE).is_empty());
        assert_eq!(callers.over(now + LINGER, 100, IDLE), peers(1..2));
        assert!(callers.stranger(peer(2), now));
        assert!(!callers.stranger(peer(2), now));
        assert_eq!(callers.over(now, 100, IDLE), peers(2..3));
    }

    /// A connection that is gone is forgotten, but not one that came during the look.
    #[test]
    fn gone_connections_are_forgotten() {
        let (mut callers, now) = (Callers::default(), Instant::now());
        callers.let_in(peer(1), 7, false, now);
        let looked = after(now, 10);
        callers.let_in(peer(2), 8, false, after(now, 11));
        callers.seen(&peers(3..4), looked);
        assert!(!callers.uses(7) && callers.uses(8));
        assert_eq!(callers.all.len(), 2);
    }
}
