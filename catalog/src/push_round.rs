//! The pushes of one batch, and the wait for them.
//!
//! The writer waits until each session has acknowledged its push or is over. An acknowledgement is
//! made under the lock and wakes it. The end of a session wakes nobody: its moment is known, so the
//! writer sleeps no longer than until the first one. A renewal moves that moment later only, upon
//! which the writer looks once in vain. Code that ends a session earlier has to settle its push.

use common::timing::LEASE;
use common::wire::catalog::SessionId;
use std::collections::BTreeSet;
use std::time::Duration;

/// The lock and the wait; this module's tests explore them in virtual time.
#[cfg(test)]
use explore as sync;
#[cfg(not(test))]
use parking_lot as sync;
use sync::{Condvar, Mutex};

/// The least sleep: a session that is over by less than a clock's step is looked at again.
const LEAST: Duration = Duration::from_millis(1);

/// The pushes of one batch, until each is acknowledged or its session is over.
#[derive(Debug)]
pub struct PushRound {
    outstanding: Mutex<BTreeSet<SessionId>>,
    changed: Condvar,
}

impl PushRound {
    /// A round of pushes to these sessions.
    pub fn new(sessions: BTreeSet<SessionId>) -> Self {
        Self {
            outstanding: Mutex::new(sessions),
            changed: Condvar::new(),
        }
    }

    /// The push was acknowledged, or the session has ended.
    pub fn settle(&self, session: &SessionId) {
        // A session may be settled twice, by its acknowledgement and by its end. Only the first is
        // news.
        if self.outstanding.lock().remove(session) {
            self.changed.notify_all();
        }
    }

    /// Waits for all. `lasts` returns how long a session still lasts, and `None` when it is over.
    /// It may take a lock that a caller of [`PushRound::settle`] holds.
    pub fn wait(&self, lasts: impl Fn(&SessionId) -> Option<Duration>) {
        loop {
            // Asked without the lock. A front-end that stops ends its session and settles its push
            // under the lock of the session table, which `lasts` takes as well: with this lock held
            // here, the two would wait for each other for ever, and all trades with them.
            let asked: Vec<SessionId> = self.outstanding.lock().iter().cloned().collect();
            let mut next = LEASE;
            let over: Vec<&SessionId> = asked
                .iter()
                .filter(|session| {
                    let left = lasts(session);
                    // Sessions that are over no longer count for the length of the sleep.
                    next = next.min(left.unwrap_or(next));
                    left.is_none()
                })
                .collect();
            let mut outstanding = self.outstanding.lock();
            for session in over {
                outstanding.remove(session);
            }
            // Those that were settled meanwhile are seen here. Later acknowledgements need this
            // lock, which only the wait releases: none can fall between the test and the sleep.
            if outstanding.is_empty() {
                return;
            }
            self.changed.wait_for(&mut outstanding, next.max(LEAST));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use explore::{explore, now, random, sleep, spawn};
    use std::sync::Arc;

    /// The wait ends with the last acknowledgement or the end of a session that gives none, in
    /// whatever sequence they come.
    #[test]
    fn the_wait_ends_with_the_last_push() {
        explore(|| {
            let ids: Vec<SessionId> = (0..3).map(|n| SessionId(format!("session-{n}"))).collect();
            let round = Arc::new(PushRound::new(ids.iter().cloned().collect()));
            let began = now();
            let (silent, over_at) = (ids[0].clone(), began + Duration::from_millis(random(50)));
            let pushers: Vec<_> = ids[1..]
                .iter()
                .map(|id| {
                    let (id, round) = (id.clone(), Arc::clone(&round));
                    spawn(move || {
                        sleep(Duration::from_millis(random(50)));
                        round.settle(&id);
                    })
                })
                .collect();
            round.wait(|id| {
                let end = if *id == silent {
                    over_at
                } else {
                    began + LEASE
                };
                let left = end.saturating_duration_since(now());
                (!left.is_zero()).then_some(left)
            });
            let took = now().duration_since(began);
            assert!(took < LEASE / 2, "overslept: {took:?}");
            pushers.into_iter().for_each(explore::JoinHandle::join);
        });
    }

    /// A session may be settled under the lock that tells how long it lasts.
    #[test]
    fn a_session_that_leaves_stops_no_wait() {
        explore(|| {
            let id = SessionId("leaves".into());
            let round = Arc::new(PushRound::new(BTreeSet::from([id.clone()])));
            let table = Arc::new(Mutex::new(true));
            let leaves = spawn({
                let (round, table) = (Arc::clone(&round), Arc::clone(&table));
                move || {
                    sleep(Duration::from_millis(random(2)));
                    let mut lasts = table.lock();
                    *lasts = false;
                    round.settle(&id);
                }
            });
            round.wait(|_| table.lock().then_some(LEASE));
            leaves.join();
        });
    }
}
