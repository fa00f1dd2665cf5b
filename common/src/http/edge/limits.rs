//! The limits of the edge. The number of connections is a setting, since it depends on the machine.
//! All others follow from the API itself, so they are constants.

use crate::http::access::Access;
use crate::settings::addresses::ListenAddress;
use crate::settings::{Positive, Settings};
use crate::timing::{CALLER_IDLE, INTERNAL_BODY_LIMIT_BYTES, PUBLIC_BODY_LIMIT_BYTES};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// However crowded the edge is, an idle connection is left alone for this long: a client between
/// two requests of one task is not what makes it crowded.
const LEAST_IDLE: Duration = Duration::from_secs(1);

/// How the threads of an edge share its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// So many threads, each with connections of its own: handlers never block.
    Apart(usize),
    /// So many threads that serve the same connections: handlers may block while another of them
    /// is free.
    Together(usize),
}

/// How the edge is set up.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Name of the threads.
    pub name: &'static str,
    /// Where to listen; port 0 takes a free one.
    pub listen: ListenAddress,
    /// The threads: as many as there are cores.
    pub threads: Threads,
    /// The limits of clients.
    pub limits: Limits,
    /// The rule that lets callers in.
    pub access: Access,
}

impl EdgeConfig {
    /// Reads the settings. The address and the threads belong to the whole front-end; until the
    /// caller sets them it is one thread on a free port of the loopback interface.
    pub fn read(settings: &mut Settings) -> Self {
        Self::public(Limits::read(settings))
    }

    /// A public listener with one thread on a free port of the loopback interface.
    pub fn public(limits: Limits) -> Self {
        Self {
            name: "public",
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            threads: Threads::Apart(1),
            limits,
            access: Access::Public,
        }
    }

    /// The same with address and threads.
    #[must_use]
    pub fn with(mut self, listen: ListenAddress, threads: usize) -> Self {
        self.listen = listen;
        self.threads = Threads::Apart(threads);
        self
    }
}

/// The limits. Each is there because without it one client could keep others from being served.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; beyond, 503.
    pub connections: usize,
    /// Request line and header fields together; beyond, 431.
    pub head_bytes: usize,
    /// Header fields; beyond, 431.
    pub fields: usize,
    /// The request target; beyond, 414.
    pub target_bytes: usize,
    /// The body; beyond, 413.
    pub body_bytes: usize,
    /// All bodies that are arriving, beyond [`super::budget::FREE_BYTES`] of each; beyond, 503.
    pub body_budget_bytes: usize,
    /// All unread responses, beyond [`super::budget::FREE_OUTPUT_BYTES`] of each
    /// connection; beyond, 503.
    pub output_budget_bytes: usize,
    /// Unread bytes of one connection that the kernel keeps; it takes twice that in memory.
    pub send_buffer_bytes: usize,
    /// From the first byte of a head to its end; beyond, 408.
    pub head_timeout: Duration,
    /// From the end of the head to the end of the body; beyond, 408.
    pub body_timeout: Duration,
    /// How long a connection stays open that has never had a request that was let in.
    pub first_timeout: Duration,
    /// How long a connection without a request stays open, while there is room.
    pub idle_timeout: Duration,
    /// How long a client may leave a response unread.
    pub send_timeout: Duration,
    /// Bytes that are read and thrown away after a last response, so that the client can read it.
    pub drain_bytes: usize,
    /// How long that may take.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self::read(&mut Settings::from_pairs([]))
    }
}

/// Twice the longest name in a path, percent-encoded, and a query.
const TARGET_BYTES: usize = 2_048;
/// Cookies and the fields of proxies fit; Apache and nginx take as much.
const HEAD_BYTES: usize = 8_192;
// The request line beside the target: method, version, blanks and line end.
const _: () = assert!(HEAD_BYTES >= TARGET_BYTES + 64);
/// A browser sends about 20. Each field costs time, so their number is bounded besides their size.
const FIELDS: usize = 100;
/// A thousand bodies of the largest size at once.
const BODY_BUDGET_BYTES: usize = 64 * 1024 * 1024;
// A smaller budget could never hold the largest body.
const _: () = assert!(BODY_BUDGET_BYTES >= PUBLIC_BODY_LIMIT_BYTES);
/// Larger than the largest answer, the table of 100 000 stocks.
const OUTPUT_BUDGET_BYTES: usize = 64 * 1024 * 1024;
/// The kernel would let it grow to megabytes for each slow reader.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Slow mobile lines send a head within a second.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// 64 KiB in this time need 52 kbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// A person between two orders keeps the connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// As long as a body may take in the other direction.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// A close with unread bytes resets the connection, and the client loses the refusal. So a refused
/// request is read on, but not without end.
const DRAIN_BYTES: usize = 1024 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

impl Limits {
    /// The limits of a public listener.
    pub fn read(settings: &mut Settings) -> Self {
        let connections = settings.get::<Positive>(
            "FRONTEND_MAX_CONNECTIONS",
            "10000",
            "public connections at once; beyond, 503",
        );
        Self {
            connections: connections.0,
            head_bytes: HEAD_BYTES,
            fields: FIELDS,
            target_bytes: TARGET_BYTES,
            body_bytes: PUBLIC_BODY_LIMIT_BYTES,
            body_budget_bytes: BODY_BUDGET_BYTES,
            output_budget_bytes: OUTPUT_BUDGET_BYTES,
            send_buffer_bytes: SEND_BUFFER_BYTES,
            head_timeout: HEAD_TIMEOUT,
            body_timeout: BODY_TIMEOUT,
            // A browser opens connections ahead of their first request.
            first_timeout: IDLE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            send_timeout: SEND_TIMEOUT,
            drain_bytes: DRAIN_BYTES,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }

    /// The limits of an internal listener. Its callers are services, which send a request at once
    /// and whole, and keep their connections.
    pub fn internal() -> Self {
        Self {
            connections: INTERNAL_CONNECTIONS,
            head_bytes: 8_192,
            fields: 64,
            target_bytes: 1_024,
            body_bytes: INTERNAL_BODY_LIMIT_BYTES,
            body_budget_bytes: 16 * INTERNAL_BODY_LIMIT_BYTES,
            output_budget_bytes: 16 * INTERNAL_BODY_LIMIT_BYTES,
            // A page of rows goes out in one piece.
            send_buffer_bytes: 1_024 * 1_024,
            head_timeout: Duration::from_secs(2),
            body_timeout: Duration::from_secs(5),
            first_timeout: Duration::from_secs(2),
            // Longer than a caller keeps a connection: none sends into one that is being closed.
            idle_timeout: INTERNAL_IDLE_TIMEOUT,
            send_timeout: Duration::from_secs(5),
            drain_bytes: 1_024 * 1_024,
            drain_timeout: Duration::from_secs(1),
        }
    }

    /// How long an idle connection is kept while `open` connections are: the whole time up to three
    /// quarters of the limit, then less and less, so that those who do ask find room.
    pub fn idle_while(&self, open: usize) -> Duration {
        let crowded_from = self.crowded_from();
        if open <= crowded_from {
            return self.idle_timeout;
        }
        // Linear in the room that is left, so that the time shrinks before the room is gone.
        let room = u32::try_from(self.connections.saturating_sub(open)).unwrap_or(u32::MAX);
        let whole = u32::try_from(self.connections - crowded_from)
            .unwrap_or(u32::MAX)
            .max(1);
        (self.idle_timeout / whole)
            .saturating_mul(room)
            .max(LEAST_IDLE.min(self.idle_timeout))
    }

    /// Subscribers at once: a tenth of the connections, so that they never keep traders out.
    pub fn subscribers(&self) -> usize {
        self.connections.div_ceil(10)
    }

    /// Beyond this many connections the idle time shrinks.
    pub fn crowded_from(&self) -> usize {
        self.connections - self.connections / 4
    }
}

/// Connections to an internal listener at once: each service has a few to each other one.
pub const INTERNAL_CONNECTIONS: usize = 1_024;
/// How long an internal connection may be idle.
pub const INTERNAL_IDLE_TIMEOUT: Duration = Duration::from_secs(330);
const _: () = assert!(INTERNAL_IDLE_TIMEOUT.as_secs() > CALLER_IDLE.as_secs());

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of connections is the only limit that a setting changes.
    #[test]
    fn connections_are_a_setting() {
        let variable = ("FRONTEND_MAX_CONNECTIONS".into(), "12".into());
        let mut settings = Settings::from_pairs([variable]);
        let limits = Limits::read(&mut settings);
        assert_eq!(settings.finish(), Ok(()));
        assert_eq!(
            (limits.connections, Limits::default().connections),
            (12, 10_000)
        );
    }

    /// The idle time shrinks from three quarters on, never grows with the crowd, and keeps its
    /// least.
    #[test]
    fn idle_shrinks_when_crowded() {
        let limits = Limits {
            connections: 1_000,
            ..Limits::default()
        };
        let whole = limits.idle_timeout;
        assert_eq!(limits.idle_while(0), whole);
        assert_eq!(limits.idle_while(750), whole);
        assert_eq!(limits.idle_while(875), whole / 2);
        assert_eq!(limits.idle_while(1_000), LEAST_IDLE);
        assert_eq!(limits.idle_while(2_000), LEAST_IDLE);
        assert!(
            (0..1_100)
                .map(|open| limits.idle_while(open))
                .is_sorted_by(|a, b| a >= b)
        );
        let one = Limits {
            connections: 1,
            idle_timeout: Duration::from_millis(5),
            ..limits
        };
        assert_eq!(one.idle_while(1), Duration::from_millis(5));
    }

    /// Subscribers take a tenth of the connections, and there is always a place for one.
    #[test]
    fn subscribers_take_a_tenth() {
        let of = |connections| Limits {
            connections,
            ..Limits::default()
        };
        assert_eq!(of(10_000).subscribers(), 1_000);
        assert_eq!(of(1).subscribers(), 1);
    }
}
