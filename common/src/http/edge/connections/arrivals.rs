//! Connections that come: accepting them, refusing those that are too many, and closing idle ones
//! while it is crowded.

use super::{Connections, token_of};
use crate::http::access::Access;
use crate::http::edge::connection::Connection;
use crate::http::edge::entry::{CoreContext, Entry};
use crate::http::edge::listen::{BACKLOG, is_exhausted};
use crate::http::edge::mailbox::ConnectionId;
use crate::http::edge::refusal::RefusalReason;
use rustix::net::SocketFlags;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Connections accepted before those that are open have their turn.
const ACCEPTS: usize = 64;
/// How long accepting rests when descriptors or memory ran out.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// How often it is logged, over all cores, that they ran out: each core tries 20 times a second.
const EXHAUSTION_EVERY: Duration = Duration::from_secs(60);
/// How often idle connections are looked at while it is crowded.
const CROWD_LOOK: Duration = Duration::from_millis(250);
/// Refused connections, over all cores, that still get a response; beyond, they are closed at once.
const REFUSED_AT_ONCE: usize = 256;
/// Where few connections are allowed, refused ones are at most this part of them (one in eight),
/// since each takes a descriptor too.
const REFUSED_PART: usize = 8;

impl Connections {
    /// Accepts once more, for the kernel may not have reported the newest connections. At most as
    /// many as the backlog holds: clients that go on connecting must not keep the edge from
    /// stopping.
    pub(super) fn accept_the_backlog(&mut self) {
        self.accept_from = Some(self.context.now);
        for _ in 0..usize::from(BACKLOG).div_ceil(ACCEPTS) {
            self.accept();
        }
    }

    /// Accepts connections that wait, if it is time to.
    pub(super) fn accept(&mut self) {
        if self.accept_from.is_none_or(|at| at > self.context.now) {
            return;
        }
        // Collected first: opening a connection needs all of `self`, which a listener borrows here.
        let mut accepted = Vec::new();
        let mut again = None;
        for listener in &self.listeners {
            // The latest time wins: if descriptors ran out, every listener has to rest.
            again = again.max(accept_from(listener, &self.context, &mut accepted));
        }
        self.accept_from = again;
        for (stream, peer) in accepted {
            self.open(stream, peer);
        }
    }

    fn open(&mut self, stream: TcpStream, peer: SocketAddr) {
        let shared = Arc::clone(&self.context.shared);
        shared.metrics.accepted.inc();
        let mut refused =
            // Counted first and taken back if it was too many: two cores that look at once must not
            // both take the last place.
            shared.open.fetch_add(1, Ordering::Relaxed) >= shared.config.limits.connections;
        if refused && self.displace() {
            refused = false;
        }
        if refused {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            // Few of them, since each takes a descriptor and a place for as long as its client
            // takes to read.
            let most = shared.config.limits.connections.div_ceil(REFUSED_PART);
            if shared.refused.fetch_add(1, Ordering::Relaxed) >= most.min(REFUSED_AT_ONCE) {
                shared.refused.fetch_sub(1, Ordering::Relaxed);
                return shared.metrics.refused(RefusalReason::Overrun);
            }
        }
        shared.metrics.connections.inc();
        self.numbers += 1;
        let (slot, number) = (self.entries.vacant_key(), self.numbers);
        // Before the connection is served: bytes that came already are then reported, too.
        let registered = self.poller.watch_connection(&stream, token_of(slot));
        let connection = if refused {
            self.context
                .step(ConnectionId { slot, number }, peer, |context, _| {
                    Connection::refused(RefusalReason::Crowded, context)
                })
        } else {
            Connection::new(self.context.now)
        };
        let inserted = self.entries.insert(Entry {
            stream,
            peer,
            number,
            connection,
            readable: false,
            ended: false,
            timer: None,
            refused,
            listed: false,
        });
        // The token was given to the kernel above: under another slot, its events would go to a
        // stranger.
        assert_eq!(inserted, slot, "the token names another connection");
        match registered {
            Ok(()) => self.serve(slot),
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be watched");
                self.close(slot);
            }
        }
    }

    /// Makes room at an internal listener: closes the oldest connection of which no request was
    /// let in yet. Services send theirs at once. So a silent connection is a stranger's, and must
    /// not keep a service out.
    fn displace(&mut self) -> bool {
        if matches!(self.context.shared.config.access, Access::Public) {
            // At the public listener a silent client is as good as any other: the crowd's shorter
            // idle time makes room there.
            return false;
        }
        let waits = |entry: &Entry| !entry.refused && !entry.connection.is_admitted();
        let strangers = self.entries.iter().filter(|(_, entry)| waits(entry));
        let strangers = strangers.map(|(slot, entry)| (entry.number, slot));
        // The oldest first: a service that has just connected sends its request in a moment.
        let Some((number, slot)) = strangers.min() else {
            return false;
        };
        if let Some(entry) = self.entries.get_mut(slot) {
            self.context
                .step(ConnectionId { slot, number }, entry.peer, |context, _| {
                    entry.connection.give_up(RefusalReason::Idle, context)
                });
        }
        self.close(slot);
        true
    }

    /// Whether idle connections have to go for others.
    pub(super) fn is_crowded(&self) -> bool {
        let shared = &self.context.shared;
        shared.open.load(Ordering::Relaxed) > shared.config.limits.crowded_from()
    }

    /// Closes connections that are idle for longer than the crowd allows.
    pub(super) fn look_at_crowd(&mut self) {
        if !self.is_crowded() || self.context.now < self.crowd_look {
            return;
        }
        // Not at each pass: a look walks through all connections.
        self.crowd_look = self.context.now + CROWD_LOOK;
        for slot in self.slots() {
            let shared = &self.context.shared;
            // Computed anew for each: every connection that was closed made room.
            let allowed = shared
                .config
                .limits
                .idle_while(shared.open.load(Ordering::Relaxed));
            let Some(entry) = self.entries.get_mut(slot) else {
                continue;
            };
            if entry
                .connection
                .idle_since()
                .is_some_and(|since| self.context.now >= since + allowed)
            {
                let to = ConnectionId {
                    slot,
                    number: entry.number,
                };
                self.context.step(to, entry.peer, |context, _| {
                    entry.connection.give_up(RefusalReason::Idle, context)
                });
                self.close(slot);
            }
        }
    }
}

/// Accepts up to [`ACCEPTS`] connections of one listener. Returns when to accept again; `None` once
/// nobody waits there.
fn accept_from(
    listener: &TcpListener,
    core: &CoreContext,
    accepted: &mut Vec<(TcpStream, SocketAddr)>,
) -> Option<Instant> {
    for _ in 0..ACCEPTS {
        match accept(listener) {
            Ok(connection) => accepted.push(connection),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => {
                core.meters.shared().accept_errors.inc();
                // Accepting again at once would only fail again, and spin.
                if is_exhausted(&error) {
                    let mut logged = core.shared.exhaustion_logged.lock();
                    if is_due(*logged, core.now) {
                        *logged = Some(core.now);
                        tracing::warn!(
                            %error,
                            "connections cannot be accepted for the moment"
                        );
                    }
                    return Some(core.now + ACCEPT_REST);
                }
                // This connection was gone before it was accepted; the next one is not concerned.
                tracing::debug!(%error, "a connection was not accepted");
            }
        }
    }
    // As many as one turn takes: there may be more, and those that are open come first.
    Some(core.now)
}

/// One connection that waits at the listener; never waits for one.
fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    let peer = peer.ok_or_else(|| io::Error::other("a caller without an address"))?;
    Ok((socket.into(), peer))
}

/// Whether a line that was logged at `last` is due again.
fn is_due(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| now.saturating_duration_since(last) >= EXHAUSTION_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cores that try 20 times a second log one line a minute.
    #[test]
    fn running_out_of_descriptors_is_logged_once_a_minute() {
        let (start, mut last, mut lines) = (Instant::now(), None, 0);
        for tries in 0..20 * 150 {
            let now = start + ACCEPT_REST * tries;
            if is_due(last, now) {
                (last, lines) = (Some(now), lines + 1);
            }
        }
        assert_eq!(lines, 3, "in two and a half minutes");
    }
}
