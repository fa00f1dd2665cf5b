//! Messages that the catalog answers.

use crate::chain::Hash;
use crate::wire::money::Price;
use crate::wire::order::{ClusterId, Position, ReplicaId, Rows, Submission, Term, Verdict};
use serde::{Deserialize, Serialize};

/// Answer to `GET /term`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermAnswer {
    /// The current term; 0 before the first claim.
    pub term: Term,
    /// The replica that claimed it; `null` before the first claim.
    pub owner: Option<ReplicaId>,
    /// Id of the bazaar that the catalog's file belongs to.
    pub cluster: ClusterId,
}

impl TermAnswer {
    /// Term and owner alone.
    pub fn term_info(&self) -> TermInfo {
        TermInfo {
            term: self.term,
            owner: self.owner,
        }
    }

    /// The bazaar to which every replica's file must belong; `None` before the first claim. Until
    /// then a log of another bazaar shows that the catalog's file may have been lost, and counts
    /// like any other; afterwards it is merely a wrong file.
    pub fn settled_cluster(&self) -> Option<&ClusterId> {
        (self.term > 0).then_some(&self.cluster)
    }
}

/// The body of every 412: the current term and who holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TermInfo {
    /// The current term; 0 before the first claim.
    pub term: Term,
    /// The replica that claimed it; `null` before the first claim.
    pub owner: Option<ReplicaId>,
}

/// `POST /claim`: a replica asks for the next term.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRequest {
    /// The replica that claims.
    pub replica: ReplicaId,
    /// Id of the bazaar that its log belongs to. Another one than the catalog's: 409.
    pub cluster: ClusterId,
    /// Where its log ends.
    pub position: Position,
    /// The term that the **front-end** read when it judged that there is no leader. A
    /// compare-and-set: granted only while it is the current one.
    pub seen: Term,
    /// Number of the last row of the longest log that the front-end saw. Beyond the journal: 409.
    pub longest: Option<u64>,
}

/// Answer to a claim that was understood. A stale `seen` is a 412 with [`TermInfo`], a log that is
/// no prefix of the journal a 409.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimAnswer {
    /// The term is the replica's; it leads once its log is complete up to `end`.
    Granted {
        /// The new term.
        term: Term,
        /// Where the journal ends.
        end: Position,
    },
    /// Another claim was granted just now: ask again after this many milliseconds.
    Wait {
        /// How long to wait, in milliseconds.
        ms: u64,
    },
}

/// `POST /trades`: the leader's batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TradeRequest {
    /// The leader's term. Not the current one: 412.
    pub term: Term,
    /// Whose log ends at `position`: the leader's, or that of a follower with rows that the leader
    /// does not know.
    pub replica: ReplicaId,
    /// Id of the bazaar that this log belongs to. Another one than the catalog's: 409.
    pub cluster: ClusterId,
    /// The last row that this replica received. Not in the journal: 409.
    pub position: Position,
    /// The orders, in the sequence in which they are to be decided.
    pub orders: Vec<Submission>,
}

/// Answer to a batch: one verdict per order, and every journal row after the leader's last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TradeAnswer<R = Rows> {
    /// One per order, in the same sequence.
    pub verdicts: Vec<Verdict>,
    /// The rows from the leader's last one on, at most [`crate::timing::ANSWER_ROWS`] of them: a
    /// lost answer can never leave a gap at the leader.
    pub rows: R,
    /// Where the journal ends; beyond `rows` when there were too many for one answer.
    pub end: Position,
}

/// `POST /lookup`: the front-end asks for stocks by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupRequest {
    /// Distinct names; `null` for all stocks.
    pub names: Option<Vec<String>>,
}

/// A stock as the catalog sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// Its name.
    pub name: String,
    /// Its price.
    pub price: Price,
    /// How many are left.
    pub quantity: u64,
    /// False while a batch that changes it is under way: the value is still the current one, but
    /// may not be cached.
    pub cacheable: bool,
}

/// Answer to a lookup: the stocks that exist among the names, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupAnswer {
    /// The stocks that exist. A name that is missing here does not.
    pub stocks: Vec<Stock>,
}

/// Id that a front-end chose for its cache session: 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub String);

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// `POST /sessions/register`: a front-end asks for a cache session. Answered after a probe push to
/// `url` was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterRequest {
    /// Chosen at random by the front-end, new for each registration.
    pub session: SessionId,
    /// Base URL of the front-end's internal listener, to which invalidations are pushed.
    pub url: String,
}

/// `POST /sessions/keep-alive`: a front-end renews its lease. 404 when the session is not known
/// (any more).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepAliveRequest {
    /// The session.
    pub session: SessionId,
}

/// Answer to a registration or keep-alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseAnswer {
    /// How long the lease lasts, in milliseconds, counted by the front-end from before it asked. 0:
    /// not renewed, since an invalidation is unanswered for too long; the lease that runs is not
    /// cut.
    pub lease_ms: u64,
}

/// `GET /health` of the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogHealth {
    /// Its state.
    pub state: CatalogState,
    /// Id of the bazaar that its file belongs to.
    pub cluster: ClusterId,
    /// The current term and owner.
    pub term: TermInfo,
    /// Number of the last visible trade.
    pub last: Option<u64>,
    /// Its hash.
    pub hash: Hash,
    /// Cache sessions that hold a lease.
    pub sessions: usize,
    /// Why nothing can be made durable now (its newest write failed, or has not ended for a
    /// second); `null` while it can.
    pub write_fault: Option<String>,
    /// Whether it serves, or stands by for the one that does.
    #[serde(default)]
    pub role: CatalogRole,
    /// The epoch under which it is active, or that it saw last; 0 for a catalog on a file of its
    /// own.
    #[serde(default)]
    pub epoch: u64,
    /// The version of the messages that it speaks, `<major>.<minor>`.
    #[serde(default = "super::first_protocol")]
    pub protocol: String,
    /// The version of its program; empty when it does not say.
    #[serde(default)]
    pub version: String,
}

/// The part of a catalog among those that share one database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CatalogRole {
    /// It serves. A catalog on a file of its own always does.
    // A health without a role is that of a version without standbys.
    #[default]
    Active,
    /// It stands by, and takes over when the active one fails.
    Standby,
}

/// Body of a 421 of a catalog: it is not the active one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotActive {
    /// URL of the active catalog, as far as this one knows. A caller follows it only to a URL of
    /// its own list.
    pub active: Option<String>,
    /// The newest epoch that this catalog saw; 0 before the first.
    pub epoch: u64,
    /// Whether the call may have been carried out: true when the catalog was deposed while a commit
    /// was under way.
    #[serde(default)]
    pub outcome_unknown: bool,
}

/// The state of the catalog: whether it serves stocks and trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CatalogState {
    /// Everything.
    Serving,
    /// Waits until every lease that an earlier run granted has run out.
    StartUpWait,
    /// A new file: serves once a claim shows that no log is ahead of it.
    AwaitingClaim,
    /// A claim or batch showed that this file was lost or cut: trades and stocks are refused until
    /// `catalog rebuild`.
    HistoryLost,
}
