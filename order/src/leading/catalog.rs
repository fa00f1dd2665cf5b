//! A replica's calls to the catalog, or to the active one among several.

use common::http::catalogs::{Catalogs, Says, Unanswered};
use common::http::client::CallError;
use common::timing::{LEADER_TO_CATALOG, PROBE_TIMEOUT};
use common::wire::catalog::{ClaimAnswer, ClaimRequest, TermAnswer, TradeAnswer, TradeRequest};
use common::wire::order::{Genesis, Rows};
use std::time::Duration;

/// The catalog, as a replica calls it. Clones share the connections.
#[derive(Debug, Clone)]
pub struct CatalogClient {
    catalogs: Catalogs,
}

/// Bound of reading a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(1);

impl CatalogClient {
    pub fn new(urls: &[String], token: Option<&str>) -> Self {
        Self {
            // Eight idle connections: sequencer, term keeper, takeover, confirmer, genesis and the
            // replication threads may each have a call under way.
            catalogs: Catalogs::new(urls, 8, token),
        }
    }

    /// Whether another one may take over when one fails.
    pub fn are_several(&self) -> bool {
        self.catalogs.are_several()
    }

    /// The current term. Answered by the catalog's workers, so that a miss means that it cannot be
    /// reached. A 421 says that every catalog answers and none is active: that is no miss.
    ///
    /// # Errors
    /// [`Unanswered`]
    pub fn term(&self) -> Result<TermAnswer, Unanswered> {
        self.catalogs.try_get(Says::Now, "/term", PROBE_TIMEOUT)
    }

    /// Claims the term after the one that the front-end has seen.
    ///
    /// # Errors
    /// [`CallError`]; 412 with [`common::wire::catalog::TermInfo`] for a stale one, 409 for a log
    /// that is no prefix of the journal, or is another bazaar's.
    pub fn claim(&self, claim: &ClaimRequest) -> Result<ClaimAnswer, CallError> {
        // A repeat finds a newer term: the grant is a compare-and-set.
        self.catalogs
            .post(Says::Fact, "/claim", LEADER_TO_CATALOG, claim)
    }

    /// Trades a batch. While another catalog takes over, the batch goes round with the same order
    /// keys: one that traded already gets its verdicts again.
    ///
    /// # Errors
    /// [`CallError`]; 412 with [`common::wire::catalog::TermInfo`] for an older term.
    pub fn trade(&self, batch: &TradeRequest) -> Result<TradeAnswer, CallError> {
        self.catalogs
            .post_until(Says::Fact, "/trades", LEADER_TO_CATALOG, batch)
    }

    /// A page of the journal after the last row `last`.
    ///
    /// # Errors
    /// [`CallError`]
    pub fn journal(&self, last: Option<u64>) -> Result<Rows, CallError> {
        // Now: an empty page says that no row follows.
        let path = format!("/journal{}", after(last));
        self.catalogs.get_until(Says::Now, &path, PAGE_TIMEOUT)
    }

    /// The genesis with which the catalog's journal begins.
    ///
    /// # Errors
    /// [`CallError`]
    pub fn genesis(&self) -> Result<Genesis, CallError> {
        self.catalogs.get(Says::Fact, "/genesis", PAGE_TIMEOUT)
    }
}

/// The query that asks for rows after `last`.
pub fn after(last: Option<u64>) -> String {
    last.map_or(String::new(), |n| format!("?after={n}"))
}
