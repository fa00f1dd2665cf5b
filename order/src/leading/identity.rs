//! Whether the replica that answered is the follower that was meant, as pure rules.
//!
//! A URL may be given twice in `ORDER_REPLICAS`, lead to another replica, or to one of another
//! bazaar. A follower's file may be another bazaar's. Such an answer says nothing about the
//! follower's log. If it counted, one copy would pass for two, and its longer log would make the
//! catalog believe that its own file was cut.

use common::wire::order::{ClusterId, ReplicaId};
use common::wire::replica::LogPosition;
use std::fmt;

/// Whose answer it is instead of the follower's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// Another replica answers under the follower's URL.
    Replica(ReplicaId),
    /// The follower's file belongs to this other bazaar.
    Bazaar(ClusterId),
}

/// Checks that an answer is the follower's.
///
/// # Errors
/// Whose it is instead. It counts for nothing.
pub fn identify(
    follower: ReplicaId,
    bazaar: &ClusterId,
    answer: &LogPosition,
) -> Result<(), Mismatch> {
    // The id first: the bazaar of another replica's file says nothing about this follower.
    if answer.replica != follower {
        return Err(Mismatch::Replica(answer.replica));
    }
    match &answer.cluster {
        // An empty file names no bazaar. It is this follower's all the same, and about to be
        // filled.
        Some(other) if other != bazaar => Err(Mismatch::Bazaar(other.clone())),
        _ => Ok(()),
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replica(id) => write!(
                f,
                "replica {id} answers under its URL: correct ORDER_REPLICAS"
            ),
            Self::Bazaar(cluster) => write!(
                f,
                "its file belongs to another bazaar, {cluster}: give it its own file, \
                 or move that one away and it fetches this log"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ReplicaId {
        ReplicaId::try_from(n).expect("an id")
    }

    fn bazaar(name: &str) -> ClusterId {
        ClusterId(name.into())
    }

    /// An answer counts only from the replica that was meant, with a file of this bazaar or an
    /// empty one; the id is looked at first, since another replica's file says nothing of this one.
    #[test]
    fn only_the_follower_that_was_meant_counts() {
        let seen = |replica, cluster: Option<&str>| {
            let answer = LogPosition {
                replica: id(replica),
                cluster: cluster.map(bazaar),
                position: None,
            };
            identify(id(2), &bazaar("ours"), &answer)
        };
        assert_eq!(seen(2, Some("ours")), Ok(()));
        assert_eq!(seen(2, None), Ok(()));
        assert_eq!(
            seen(2, Some("theirs")),
            Err(Mismatch::Bazaar(bazaar("theirs")))
        );
        for cluster in [Some("ours"), Some("theirs"), None] {
            assert_eq!(seen(1, cluster), Err(Mismatch::Replica(id(1))));
        }
    }
}
