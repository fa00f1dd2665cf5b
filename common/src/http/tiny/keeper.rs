//! The thread that keeps a tiny_http listener going: frees connections that tiny_http forgot, ends
//! those whose time is over, starts an acceptor in place of one that ended, and logs once a minute
//! what was given up.

use super::Shared;
use super::acceptor::Acceptor;
use super::watch::Watch;
use crate::http::access::own_address;
use crate::http::edge::limits::INTERNAL_IDLE_TIMEOUT;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it looks whether anything is to be done.
const TICK: Duration = Duration::from_millis(20);
/// How often it looks at all connections, where nothing asks for it sooner.
const LOOK: Duration = Duration::from_millis(250);
/// How long connections that tiny_http forgot are to be expected after one was opened.
const UNSTICK_FOR: Duration = Duration::from_secs(1);
/// From an acceptor to the next, so that want of descriptors does not become a busy loop.
const PAUSE: Duration = Duration::from_millis(100);
/// After this time an acceptor that was replaced has no connection left without a first request:
/// strangers are ended sooner.
const REPLACED_FOR: Duration = Duration::from_secs(5);
/// The next look comes early once this many more descriptors are in use than at the last one.
const MORE: usize = 16;
const LOG: Duration = Duration::from_secs(60);

/// The state of the thread.
pub struct Keeper {
    shared: Arc<Shared>,
    address: SocketAddr,
    watch: Option<Watch>,
    /// Descriptors in use at the last look.
    used: usize,
    looked: Instant,
    replaced: Instant,
    /// Acceptors that were replaced, and when.
    earlier: Vec<(Instant, Arc<Acceptor>)>,
    logged: Instant,
    forgotten: u64,
    ended: usize,
}

impl Keeper {
    /// A keeper of a listener that serves at this address.
    pub fn new(shared: Arc<Shared>, address: SocketAddr) -> Self {
        let watch = Watch::new(address).inspect_err(|error| {
            tracing::warn!(
                %error, listen = %address,
                "connections of tiny_http cannot be watched here, so strangers may hold as many as \
                 they like: set BAZAAR_INTERNAL_SERVER=edge"
            );
        });
        let now = Instant::now();
        Self {
            shared,
            address,
            watch: watch.ok(),
            used: 0,
            looked: now,
            replaced: now,
            earlier: Vec::new(),
            logged: now,
            forgotten: 0,
            ended: 0,
        }
    }

    /// Works until the server stops.
    pub fn run(mut self) {
        // The stop ends the wait; the rest of the work is bounded.
        while !self.shared.stop.wait(TICK) {
            let now = Instant::now();
            self.unstick(now);
            if self.is_time_to_look(now) {
                self.look(now);
            }
            self.replace_acceptor(now);
            self.log(now);
        }
        // Their workers, too: an acceptor that was replaced still serves its connections.
        for (_, acceptor) in self.earlier {
            acceptor.retire();
        }
    }

    /// A burst of connections can leave some unserved until another one closes: this one does.
    fn unstick(&self, now: Instant) {
        // Trap: tiny_http compares idle threads with 0 and forgets queued connections. One that
        // closes lets it look at its queue again.
        let newest = self.shared.callers.lock().newest();
        if newest.is_some_and(|newest| now < newest + UNSTICK_FOR) {
            drop(TcpStream::connect_timeout(&own_address(self.address), TICK));
        }
    }

    fn is_time_to_look(&self, now: Instant) -> bool {
        // Cheap, so that it can be asked each tick: a whole look takes three calls for each
        // descriptor.
        let more = |watch: &Watch| {
            watch
                .lowest_free()
                .is_none_or(|free| free >= self.used + MORE)
        };
        now >= self.looked + LOOK || self.watch.as_ref().is_some_and(more)
    }

    fn look(&mut self, now: Instant) {
        self.looked = now;
        let shared = &self.shared;
        let Some(watch) = &mut self.watch else {
            // Without a view nothing can be ended; only the table must not grow for ever.
            return shared.callers.lock().forget(now, INTERNAL_IDLE_TIMEOUT);
        };
        let ended = watch.look(|peers| {
            // One lock for both: the decision is about the connections that were just seen.
            let mut callers = shared.callers.lock();
            callers.seen(peers, now);
            callers.over(now, shared.connections, INTERNAL_IDLE_TIMEOUT)
        });
        match ended {
            Ok(ended) => self.ended += ended,
            Err(error) => tracing::debug!(%error, "no look at the connections"),
        }
        self.used = watch.lowest_free().unwrap_or(self.used);
    }

    fn replace_acceptor(&mut self, now: Instant) {
        let current = self.shared.acceptor.lock().clone();
        // Not at once: where descriptors are wanting the next one would end as soon.
        if let Some(current) = current.filter(|a| a.has_ended() && now >= self.replaced + PAUSE) {
            self.replaced = now;
            match Acceptor::start(current.number + 1, &self.shared.listener, &self.shared) {
                Ok(next) => {
                    tracing::warn!(listen = %self.address, "accepting was begun anew");
                    *self.shared.acceptor.lock() = Some(next);
                    self.earlier.push((now, current));
                }
                Err(error) => {
                    tracing::debug!(%error, "accepting cannot be begun anew yet");
                }
            }
        }
        let shared = &self.shared;
        self.earlier.retain(|(since, acceptor)| {
            let used = now < *since + REPLACED_FOR
                || shared.callers.lock().uses(acceptor.number)
                // Without a view of the connections nobody knows.
                || (self.watch.is_none() && now < *since + INTERNAL_IDLE_TIMEOUT);
            if !used {
                acceptor.retire();
            }
            used
        });
    }

    fn log(&mut self, now: Instant) {
        // A minute together, so that a flood of strangers does not become a flood of lines.
        if now < self.logged + LOG {
            return;
        }
        self.logged = now;
        let forgotten = self.shared.metrics.forgotten.get();
        let (new, ended) = (forgotten - self.forgotten, std::mem::take(&mut self.ended));
        self.forgotten = forgotten;
        if new > 0 {
            tracing::error!(
                requests = new, in_all = forgotten, listen = %self.address,
                "requests were given up for good, each with a thread and two descriptors: set \
                 BAZAAR_INTERNAL_SERVER=edge where strangers call"
            );
        }
        if ended > 0 {
            tracing::info!(
                connections = ended, listen = %self.address,
                "connections were ended: strange, idle or too many"
            );
        }
    }
}
