//! Which thread may send rows to a follower, as pure rules.
//!
//! A follower has one thread of its own, `replication-<id>`, which catches it up and judges
//! whatever goes wrong. While that thread has nothing to send, it *offers* the follower's
//! connection. A thread that takes a lone batch through the catalog may then *borrow* it: it sends
//! the batch's rows and reads the follower's answer itself, since it has to wait for that anyway.
//! So a lone order wakes no thread here.
//!
//! At any time one thread at most sends to a follower. Two would send the same rows, or later ones
//! first, and a follower that met a gap would be asked anew.
//!
//! The follower's thread can *recall* a loan that lasts too long: the borrower may hang at its own
//! disk. From then on nothing that the borrower reports counts. The trace that this prevents: the
//! borrower reads "9 rows", and hangs; the follower's thread goes on and learns of 12; the report
//! of 9 would say that the follower lost rows.

use common::wire::order::ReplicaId;
use std::collections::BTreeMap;
use std::time::Instant;

/// The connections of a leader's followers. `C` is a connection.
#[derive(Debug)]
pub struct Links<C> {
    by_follower: BTreeMap<ReplicaId, State<C>>,
    /// Loans so far. The number tells a recalled loan of a follower from a later one of the same
    /// follower.
    loans: u64,
}

/// A follower's place in the log, and a connection to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Link<C> {
    /// The row that the follower needs next.
    pub next: u64,
    /// When it answered last.
    pub answered: Instant,
    /// A connection for the borrower; `None` when it cannot be had.
    pub connection: Option<C>,
}

#[derive(Debug)]
enum State<C> {
    Offered(Link<C>),
    Lent { loan: u64, since: Instant },
}

/// A borrowed connection; at most one for each follower.
#[derive(Debug)]
pub struct Loan<C> {
    pub follower: ReplicaId,
    pub connection: C,
    number: u64,
}

/// The state of a follower's link, for its own thread.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<C> {
    /// It is this thread's again.
    Link(Link<C>),
    /// It is lent since then.
    Lent(Instant),
    /// There is none: the follower must be asked where its log ends.
    Nothing,
}

impl<C> Default for Links<C> {
    fn default() -> Self {
        Self {
            by_follower: BTreeMap::new(),
            loans: 0,
        }
    }
}

impl<C> Links<C> {
    /// The follower's thread has nothing to send: others may, until it takes the link back.
    ///
    /// # Panics
    /// When the link is lent: its thread does not have it then.
    pub fn offer(&mut self, follower: ReplicaId, link: Link<C>) {
        let before = self.by_follower.insert(follower, State::Offered(link));
        assert!(
            !matches!(before, Some(State::Lent { .. })),
            "the link of follower {follower} is offered while it is lent"
        );
    }

    /// The follower's thread takes its link back, unless it is lent.
    pub fn take(&mut self, follower: ReplicaId) -> Taken<C> {
        match self.by_follower.remove(&follower) {
            Some(State::Offered(link)) => Taken::Link(link),
            Some(lent @ State::Lent { since, .. }) => {
                // Put back: only the borrower, or a recall, ends a loan.
                self.by_follower.insert(follower, lent);
                Taken::Lent(since)
            }
            None => Taken::Nothing,
        }
    }

    /// Ends a loan: the borrower's report will not count.
    pub fn recall(&mut self, follower: ReplicaId) {
        if matches!(self.by_follower.get(&follower), Some(State::Lent { .. })) {
            self.by_follower.remove(&follower);
        }
    }

    /// Lends the connection of every follower that needs row `next` next and whose link is offered
    /// with a connection.
    pub fn lend(&mut self, next: u64, now: Instant) -> Vec<Loan<C>> {
        let mut lent = Vec::new();
        for (follower, state) in &mut self.by_follower {
            let State::Offered(link) = state else {
                continue;
            };
            // A follower that lacks earlier rows would refuse these with a gap, and be asked anew.
            if link.next != next {
                continue;
            }
            // Without a connection the link stays offered: connecting takes a round trip at least,
            // and the follower's thread has time for it.
            if let Some(connection) = link.connection.take() {
                // Never reset within a leadership. A borrower may come back long after its recall,
                // when the link is lent again, and must not pass for the new borrower.
                self.loans += 1;
                let number = self.loans;
                *state = State::Lent {
                    loan: number,
                    since: now,
                };
                lent.push(Loan {
                    follower: *follower,
                    connection,
                    number,
                });
            }
        }
        lent
    }

    /// Whether the loan was not recalled.
    pub fn is_current(&self, loan: &Loan<C>) -> bool {
        matches!(
            self.by_follower.get(&loan.follower),
            Some(State::Lent { loan: number, .. }) if *number == loan.number
        )
    }

    /// Gives a link back: the follower needs row `next`. Ignored when the loan was recalled.
    pub fn give_back(&mut self, loan: Loan<C>, next: u64, now: Instant) {
        if self.is_current(&loan) {
            let link = Link {
                next,
                answered: now,
                connection: Some(loan.connection),
            };
            self.by_follower.insert(loan.follower, State::Offered(link));
        }
    }

    /// Ends a loan whose connection failed: the follower's thread asks it anew. Ignored when the
    /// loan was recalled.
    pub fn give_up(&mut self, loan: &Loan<C>) {
        if self.is_current(loan) {
            self.by_follower.remove(&loan.follower);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ReplicaId {
        ReplicaId::try_from(n).expect("an id")
    }

    fn link(next: u64, connection: Option<&'static str>) -> Link<&'static str> {
        Link {
            next,
            answered: Instant::now(),
            connection,
        }
    }

    /// A loan ends where it began, at the follower's new position.
    #[test]
    fn an_offered_link_is_lent_and_comes_back() {
        let (mut links, now) = (Links::default(), Instant::now());
        links.offer(id(1), link(7, Some("one")));
        let mut lent = links.lend(7, now);
        assert_eq!((lent.len(), lent[0].connection), (1, "one"));
        assert!(links.lend(7, now).is_empty(), "lent once");
        assert_eq!(links.take(id(1)), Taken::Lent(now));
        links.give_back(lent.remove(0), 8, now);
        let Taken::Link(back) = links.take(id(1)) else {
            panic!("it came back");
        };
        assert_eq!((back.next, back.connection), (8, Some("one")));
        assert_eq!(links.take(id(1)), Taken::Nothing);
    }

    /// A follower that needs other rows, or has no connection, is left to its thread.
    #[test]
    fn only_followers_that_need_these_rows_are_lent() {
        let mut links = Links::default();
        links.offer(id(1), link(6, Some("behind")));
        links.offer(id(2), link(7, None));
        assert!(links.lend(7, Instant::now()).is_empty());
        assert!(matches!(links.take(id(1)), Taken::Link(_)));
        assert!(matches!(links.take(id(2)), Taken::Link(_)));
    }

    /// After a recall the borrower's report does not count, not even when the link was lent again.
    #[test]
    fn a_recalled_loan_does_not_count() {
        let (mut links, now) = (Links::default(), Instant::now());
        links.offer(id(1), link(7, Some("old")));
        let old = links.lend(7, now).remove(0);
        links.recall(id(1));
        assert_eq!(links.take(id(1)), Taken::Nothing, "ask the follower");
        links.offer(id(1), link(12, Some("new")));
        let new = links.lend(12, now).remove(0);
        assert!(!links.is_current(&old) && links.is_current(&new));
        links.give_up(&old);
        links.give_back(old, 9, now);
        assert_eq!(links.take(id(1)), Taken::Lent(now));
        links.give_up(&new);
        assert_eq!(links.take(id(1)), Taken::Nothing);
    }
}
