//! The limits of clients, each with its default, as a setting.

use crate::http::access::Access;
use crate::settings::addresses::ListenAddress;
use crate::settings::{Positive, Settings};
use crate::timing::{CALLER_IDLE, INTERNAL_BODY_LIMIT_BYTES};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// However crowded the edge is, an idle connection is left alone for this long: a client between
/// two requests of one task is not what makes it crowded.
const LEAST_IDLE: Duration = Duration::from_secs(1);

/// How the edge is set up.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Name of the threads.
    pub name: &'static str,
    /// Where to listen; port 0 takes a free one.
    pub listen: ListenAddress,
    /// Threads, each with its own listener and connections: as many as there are cores.
    pub threads: usize,
    /// The limits of clients.
    pub limits: Limits,
    /// The rule that lets callers in.
    pub access: Access,
}

impl EdgeConfig {
    /// Reads the limits. Address and threads belong to the whole front-end: the caller puts them in
    /// place of one thread on a free port of the loopback interface.
    pub fn read(settings: &mut Settings) -> Self {
        Self::public(Limits::read(settings))
    }

    /// A public listener with one thread on a free port of the loopback interface.
    #[must_use]
    pub fn public(limits: Limits) -> Self {
        Self {
            name: "public",
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            threads: 1,
            limits,
            access: Access::Public,
        }
    }

    /// The same with address and threads.
    #[must_use]
    pub fn with(mut self, listen: ListenAddress, threads: usize) -> Self {
        self.listen = listen;
        self.threads = threads;
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

impl Limits {
    /// Reads them.
    pub fn read(settings: &mut Settings) -> Self {
        let mut number =
            |name, default: &str, help| settings.get::<Positive>(name, default, help).0;
        let mut limits = Self {
            connections: number(
                "FRONTEND_MAX_CONNECTIONS",
                "10000",
                "public connections at once; beyond, 503",
            ),
            head_bytes: number(
                "FRONTEND_HEAD_LIMIT_BYTES",
                "8192",
                "largest head of a public request; beyond, 431",
            ),
            fields: number(
                "FRONTEND_FIELD_LIMIT",
                "100",
                "most header fields of a public request; beyond, 431",
            ),
            target_bytes: number(
                "FRONTEND_TARGET_LIMIT_BYTES",
                "2048",
                "longest target of a public request; beyond, 414",
            ),
            body_bytes: number(
                "FRONTEND_BODY_LIMIT_BYTES",
                "65536",
                "largest body of a public request; beyond, 413",
            ),
            body_budget_bytes: number(
                "FRONTEND_BODY_BUDGET_BYTES",
                "67108864",
                "memory for large bodies of public requests, all together; beyond, 503",
            ),
            output_budget_bytes: number(
                "FRONTEND_OUTPUT_BUDGET_BYTES",
                "67108864",
                "memory for large answers that are not read, all together; beyond, 503",
            ),
            send_buffer_bytes: number(
                "FRONTEND_SEND_BUFFER_BYTES",
                "65536",
                "what the kernel keeps of unread answers of one public connection",
            ),
            drain_bytes: number(
                "FRONTEND_DRAIN_LIMIT_BYTES",
                "1048576",
                "how much of a refused request is still read, so that the refusal arrives",
            ),
            head_timeout: Duration::ZERO,
            first_timeout: Duration::ZERO,
            body_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            send_timeout: Duration::ZERO,
            drain_timeout: Duration::ZERO,
        };
        let mut time = |name, default: &str, help| {
            let ms = settings.get::<Positive>(name, default, help).0;
            Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX).min(MOST_MS))
        };
        limits.head_timeout = time(
            "FRONTEND_HEAD_TIMEOUT_MS",
            "5000",
            "time for the head of a public request; then 408",
        );
        limits.body_timeout = time(
            "FRONTEND_BODY_TIMEOUT_MS",
            "10000",
            "time for the body of a public request; then 408",
        );
        limits.idle_timeout = time(
            "FRONTEND_IDLE_TIMEOUT_MS",
            "60000",
            "time that an idle public connection is kept, less when crowded",
        );
        // A browser opens connections ahead of their first request.
        limits.first_timeout = limits.idle_timeout;
        limits.send_timeout = time(
            "FRONTEND_SEND_TIMEOUT_MS",
            "10000",
            "time that a public client may leave an answer unread",
        );
        limits.drain_timeout = time(
            "FRONTEND_DRAIN_TIMEOUT_MS",
            "2000",
            "time that a connection is still read after its last answer",
        );
        limits.check(settings);
        limits
    }

    /// The limits of an internal listener. Its callers are services, which send a request at once
    /// and whole, and keep their connections.
    #[must_use]
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
    #[must_use]
    pub fn idle_while(&self, open: usize) -> Duration {
        let crowded_from = self.crowded_from();
        if open <= crowded_from {
            return self.idle_timeout;
        }
        let room = u32::try_from(self.connections.saturating_sub(open)).unwrap_or(u32::MAX);
        let whole = u32::try_from(self.connections - crowded_from)
            .unwrap_or(u32::MAX)
            .max(1);
        (self.idle_timeout / whole)
            .saturating_mul(room)
            .max(LEAST_IDLE.min(self.idle_timeout))
    }

    /// Subscribers at once: a tenth of the connections, so that they never keep traders out.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.connections.div_ceil(10)
    }

    /// Beyond this many connections the idle time shrinks.
    #[must_use]
    pub fn crowded_from(&self) -> usize {
        self.connections - self.connections / 4
    }

    fn check(&self, settings: &mut Settings) {
        // A request line beside the target: method, version, blanks and line end.
        if self.head_bytes < self.target_bytes.saturating_add(64) {
            settings.mistake(format!(
                "FRONTEND_HEAD_LIMIT_BYTES={}: it must be at least 64 more than FRONTEND_TARGET_LIMIT_BYTES={}",
                self.head_bytes, self.target_bytes
            ));
        }
        if self.body_budget_bytes < self.body_bytes {
            settings.mistake(format!(
                "FRONTEND_BODY_BUDGET_BYTES={}: it must be at least FRONTEND_BODY_LIMIT_BYTES={}, or the largest body could never come",
                self.body_budget_bytes, self.body_bytes
            ));
        }
    }
}

/// Connections to an internal listener at once: each service has a few to each other one.
pub const INTERNAL_CONNECTIONS: usize = 1_024;
/// How long an internal connection may be idle.
pub const INTERNAL_IDLE_TIMEOUT: Duration = Duration::from_secs(330);
const _: () = assert!(INTERNAL_IDLE_TIMEOUT.as_secs() > CALLER_IDLE.as_secs());

/// A day: longer times would only overflow sums.
const MOST_MS: u64 = 24 * 60 * 60 * 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults are those of the README, and agree with each other.
    #[test]
    fn defaults() {
        let mut settings = Settings::from_pairs([]);
        let limits = Limits::read(&mut settings);
        assert_eq!(settings.finish(), Ok(()));
        assert_eq!(
            (limits.connections, limits.head_bytes, limits.fields),
            (10_000, 8_192, 100)
        );
        assert_eq!(limits.body_bytes, crate::timing::PUBLIC_BODY_LIMIT_BYTES);
        assert_eq!(limits.head_timeout, Duration::from_secs(5));
    }

    /// With a head limit below the target limit, 414 could never come: refused at start.
    #[test]
    fn head_must_hold_the_target() {
        let mut settings =
            Settings::from_pairs([("FRONTEND_HEAD_LIMIT_BYTES".into(), "2000".into())]);
        let _ = Limits::read(&mut settings);
        let mistakes = settings.finish().expect_err("they contradict each other").0;
        assert!(
            mistakes.len() == 1 && mistakes[0].contains("FRONTEND_TARGET_LIMIT_BYTES"),
            "{mistakes:?}"
        );
    }

    /// A budget below one body would refuse for ever what the limit promises: refused at start.
    #[test]
    fn budget_must_hold_a_body() {
        let mut settings =
            Settings::from_pairs([("FRONTEND_BODY_BUDGET_BYTES".into(), "65535".into())]);
        let _ = Limits::read(&mut settings);
        let mistakes = settings.finish().expect_err("they contradict each other").0;
        assert!(
            mistakes.len() == 1 && mistakes[0].contains("FRONTEND_BODY_LIMIT_BYTES"),
            "{mistakes:?}"
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
}
