//! A replica's calls to the catalog.

use common::http::client::{Call, CallError, HttpClient};
use common::timing::{LEADER_TO_CATALOG, PROBE_TIMEOUT};
use common::wire::catalog::{ClaimAnswer, ClaimRequest, TermAnswer, TradeAnswer, TradeRequest};
use common::wire::order::{Genesis, Rows};
use std::time::Duration;

/// The catalog, as a replica calls it. Clones share the connections.
#[derive(Debug, Clone)]
pub struct CatalogClient {
    http: HttpClient,
    base: String,
}

/// Bound of reading a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(1);

impl CatalogClient {
    pub fn new(base: &str, token: Option<&str>) -> Self {
        Self {
            http: HttpClient::new(8, token),
            base: base.into(),
        }
    }

    /// The current term. Answered by the catalog's workers, so that a miss means that it cannot be
    /// reached.
    ///
    /// # Errors
    /// [`CallError`]
    pub fn term(&self) -> Result<TermAnswer, CallError> {
        self.http.get(&self.base, "/term", PROBE_TIMEOUT)
    }

    /// Claims a term.
    ///
    /// # Errors
    /// [`CallError`]; 412 with [`common::wire::catalog::TermInfo`] for a stale one, 409 for a log
    /// that is no prefix of the journal, or is another bazaar's.
    pub fn claim(&self, claim: &ClaimRequest) -> Result<ClaimAnswer, CallError> {
        self.http.call(self.post("/claim"), claim)
    }

    /// Trades a batch.
    ///
    /// # Errors
    /// [`CallError`]; 412 with [`common::wire::catalog::TermInfo`] for an older term.
    pub fn trade(&self, batch: &TradeRequest) -> Result<TradeAnswer, CallError> {
        self.http.call(self.post("/trades"), batch)
    }

    /// A page of the journal after the last row `last`.
    ///
    /// # Errors
    /// [`CallError`]
    pub fn journal(&self, last: Option<u64>) -> Result<Rows, CallError> {
        self.http.get(
            &self.base,
            &format!("/journal{}", after(last)),
            PAGE_TIMEOUT,
        )
    }

    /// The genesis.
    ///
    /// # Errors
    /// [`CallError`]
    pub fn genesis(&self) -> Result<Genesis, CallError> {
        self.http.get(&self.base, "/genesis", PAGE_TIMEOUT)
    }

    fn post(&self, path: &'static str) -> Call<'_> {
        Call {
            method: "POST",
            base: &self.base,
            path,
            timeout: LEADER_TO_CATALOG,
            trace: None,
        }
    }
}

/// The query that asks for rows after `last`.
pub fn after(last: Option<u64>) -> String {
    last.map_or(String::new(), |n| format!("?after={n}"))
}
