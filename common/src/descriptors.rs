//! The process's limit of open files. Connections and files share it: a listener that took all of
//! it would keep the service from its own database and from the other services. So every service
//! raises the limit as far as the system lets it, and a listener bounds its connections below it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that no listener may have: database files, logs, calls to other services.
const RESERVE: usize = 1_024;
/// Where the limit is low, the reserve is this part of it.
const RESERVE_PART: usize = 4;

/// A listener's share of the descriptors beside the reserve. A front-end has one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// The public listener: three quarters.
    Public,
    /// An internal listener: a quarter.
    Internal,
}

/// Raises the limit to the hard one, and logs what the process has from here on.
pub fn raise() {
    let before = getrlimit(Resource::Nofile);
    // The soft limit is 1 024 on many systems, and protects programs that use select(2), which none
    // here does.
    if before.current != before.maximum {
        let raised = Rlimit {
            current: before.maximum,
            ..before
        };
        // Not fatal: connections are bounded by whatever the limit is.
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    tracing::info!(
        open_files = limit(),
        was = before.current,
        "limit of open files"
    );
}

/// How many files the process may have open; no limit is a very large one.
pub fn limit() -> usize {
    let current = getrlimit(Resource::Nofile).current;
    // `None` is no limit.
    current.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// How many of `wanted` connections a listener may have, each of which takes `each` descriptors.
pub fn connections_within(share: Share, wanted: usize, each: usize) -> usize {
    let allowed = within(limit(), share, wanted, each);
    if allowed < wanted {
        tracing::warn!(
            connections = allowed,
            wanted,
            open_files = limit(),
            "the limit of open files allows fewer connections: raise it (ulimit -n, LimitNOFILE=)"
        );
    }
    allowed
}

fn within(limit: usize, share: Share, wanted: usize, each: usize) -> usize {
    // Where the limit is low a fixed reserve would leave nothing for connections.
    let quarter = (limit - RESERVE.min(limit / RESERVE_PART)) / 4;
    let part = match share {
        Share::Public => quarter * 3,
        Share::Internal => quarter,
    };
    // At least one, so that a service answers its health whatever the limit is.
    wanted.min(part / each).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both listeners of a front-end at their limits leave the reserve free.
    #[test]
    fn connections_leave_the_reserve_free() {
        for limit in [64, 400, 1_024, 4_096, 65_536, usize::MAX] {
            let public = within(limit, Share::Public, 10_000, 1);
            let internal = 2 * within(limit, Share::Internal, 1_024, 2);
            let reserve = RESERVE.min(limit / RESERVE_PART);
            assert!(
                public + internal <= limit - reserve,
                "limit {limit}: {public} and {internal}"
            );
        }
        assert_eq!(within(usize::MAX, Share::Public, 10_000, 1), 10_000);
        assert_eq!(within(400, Share::Internal, 1_024, 2), 37);
        assert_eq!(within(1, Share::Public, 10_000, 1), 1, "never none");
    }
}
