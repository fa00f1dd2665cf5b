//! A connection to PostgreSQL: how it is set up, and what its errors mean.
//!
//! ▲ **No lock outlives a pause.** Suppose a catalog is stopped (SIGSTOP, a suspended machine)
//! inside a transaction: its share lock on the activity row would hold every takeover up for as
//! long as it sleeps. So each connection sets four time-outs, and the server ends the transaction.
//!
//! ▲ **A COMMIT is never cancelled.** PostgreSQL cannot take a local commit back, so a cancelled
//! wait for the synchronous standby ends in success *with a warning*, for what is not replicated.
//! No statement time-out is set, and a warning at a commit is an unknown outcome.

use super::url::PostgresUrl;
use crate::store::StoreError;
use common::http::names;
use postgres::config::Host;
use postgres::error::{Severity, SqlState};
use postgres::types::ToSql;
use postgres::{Client, Config, Row, SimpleQueryMessage, Statement};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The schema of all tables.
pub const SCHEMA: &str = "bazaar";

/// The settings of every connection, in milliseconds where they are times.
///
/// - The four time-outs of the rule above. `lock_timeout` is longer than the idle one: a takeover
///   that waits for a paused catalog's lock gets it when the server has ended that transaction.
/// - `synchronous_commit`: a database or role may have it off, which would acknowledge trades that
///   a crash takes back.
/// - The plans: batches look rows up by key. A plan made while the journal was empty would read it
///   whole, and the statistics that mend it come a minute later.
const SETTINGS: [(&str, &str); 11] = [
    ("search_path", SCHEMA),
    ("idle_in_transaction_session_timeout", "500"),
    ("lock_timeout", "1000"),
    ("client_connection_check_interval", "250"),
    ("tcp_user_timeout", "1000"),
    ("synchronous_commit", "on"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// An open connection, with the statements that were prepared on it.
pub struct Connection {
    client: Client,
    prepared: HashMap<&'static str, Statement>,
    /// Warnings of the server so far.
    warnings: Arc<AtomicU64>,
}

impl Connection {
    /// Connects to the host that takes writes.
    pub fn open(url: &PostgresUrl, name: &str) -> Result<Self, StoreError> {
        let mut config = url.config.clone();
        let own = SETTINGS.map(|(setting, value)| format!("-c {setting}={value}"));
        let given = config.get_options().unwrap_or_default();
        // Ours last: of two values of one setting the later one counts, and a URL must not switch
        // off what safety rests on.
        let options = format!("{given} {}", own.join(" "));
        let warnings = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&warnings);
        config
            .options(options.trim())
            .application_name(name)
            .notice_callback(move |notice| {
                // Counted, since the library returns no warnings with an answer, and one at a
                // COMMIT says that it is not replicated.
                if notice.parsed_severity() == Some(Severity::Warning) {
                    tracing::warn!(
                        code = notice.code().code(),
                        "database: {}",
                        notice.message()
                    );
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        let client = connect(&config, url).map_err(|error| {
            let message = format!("cannot connect to {url}: {}", describe(&error));
            StoreError::Server(message)
        })?;
        Ok(Self {
            client,
            prepared: HashMap::new(),
            warnings,
        })
    }

    /// Whether it is of no more use.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The client, for what is not repeated.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Runs a statement, which is prepared at its first use: one round trip, and one more then.
    /// Returns only when the server is ready again: an autocommit is over by then. The count of
    /// rows comes earlier, before the commit, and proves nothing.
    pub fn query(
        &mut self,
        text: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, postgres::Error> {
        let statement = match self.prepared.get(text) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.client.prepare(text)?;
                self.prepared.insert(text, statement.clone());
                statement
            }
        };
        self.client.query(&statement, parameters)
    }

    /// Prepares statements before they are needed.
    pub fn prepare(&mut self, texts: &[&'static str]) -> Result<(), postgres::Error> {
        for text in texts {
            let statement = self.client.prepare(text)?;
            self.prepared.insert(text, statement);
        }
        Ok(())
    }

    /// Begins a transaction with the fence (see [`super::activity`]), in one round trip. Returns
    /// whether the epoch is still `holder`'s; the transaction must be rolled back if not.
    pub fn begin_fenced(&mut self, epoch: u64, holder: &str) -> Result<bool, postgres::Error> {
        // The text goes into the statement: the simple protocol has no parameters, and it alone
        // takes two statements in one flight.
        assert!(
            holder.bytes().all(|b| b.is_ascii_alphanumeric()),
            "a holder is made of letters and digits: {holder}"
        );
        // READ COMMITTED: each later statement sees what was committed when it began, so also what
        // a transaction wrote for which the fence had to wait. A snapshot of the whole transaction
        // would be older than the fence.
        let text = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT 1 FROM activity WHERE epoch = {epoch} \
             AND holder = '{holder}' FOR KEY SHARE"
        );
        let messages = self.client.simple_query(&text)?;
        Ok(messages
            .iter()
            .any(|message| matches!(message, SimpleQueryMessage::Row(_))))
    }

    /// Commits, in a flight of its own.
    ///
    /// # Errors
    /// Why the outcome is unknown.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        let before = self.warnings();
        // No time-out: giving up would cancel nothing on the server, and a cancelled COMMIT reports
        // success for what is not replicated.
        let messages = self.client.simple_query("COMMIT");
        messages.map_err(StoreError::from)?;
        self.check_warnings(before)
    }

    /// How many warnings the server has sent.
    pub fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::SeqCst)
    }

    /// Checks that a commit brought no warning.
    ///
    /// # Errors
    /// It did: it may not be replicated.
    pub fn check_warnings(&self, before: u64) -> Result<(), StoreError> {
        if self.warnings() == before {
            return Ok(());
        }
        Err(StoreError::Server(
            "the database committed with a warning: it may not be replicated".into(),
        ))
    }

    /// Takes everything of the open transaction back. An error shows at the next call.
    pub fn roll_back(&mut self) {
        if !self.is_closed() {
            let _ = self.client.simple_query("ROLLBACK");
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// Connects to the first host that takes writes.
///
/// The addresses are those that the process knows ([`names`]): a name server that is silent must
/// not keep a catalog from a database that has not moved. The library would ask it each time, and
/// wait for it without a bound.
fn connect(config: &Config, url: &PostgresUrl) -> Result<Client, postgres::Error> {
    let names = names::shared();
    let hosts = || {
        config.get_hosts().iter().filter_map(|host| match host {
            Host::Tcp(name) => Some(name),
            Host::Unix(_) => None,
        })
    };
    let known: Result<Vec<_>, _> = hosts().map(|name| names.addresses(name)).collect();
    let known = known.unwrap_or_default();
    // A socket file, addresses in the URL, or a name that is not known yet: the library's affair.
    if known.len() != config.get_hosts().len() || !config.get_hostaddrs().is_empty() {
        return config.connect(url.tls.clone());
    }
    // It takes one address for each host, so further ones have their turn in further rounds.
    let rounds = known.iter().map(Vec::len).max().unwrap_or(1);
    let mut outcome = try_round(config, url, &known, 0);
    for round in 1..rounds {
        let Err(earlier) = outcome else { break };
        outcome = try_round(config, url, &known, round).map_err(|later| {
            // The words of a server that answered say more than a refusal at another address of the
            // same name, as at both addresses of `localhost`.
            if is_unreached(&later) { earlier } else { later }
        });
    }
    if outcome.is_err() {
        // The database may have moved: the next try looks.
        hosts().for_each(|name| names.suspect(name));
    }
    outcome
}

/// Whether no server answered.
fn is_unreached(error: &postgres::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    let kind = cause.map(io::Error::kind);
    // Not every io::Error: a failed TLS handshake is one, too.
    kind.is_some_and(|kind| {
        matches!(
            kind,
            ErrorKind::ConnectionRefused
                | ErrorKind::TimedOut
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::AddrNotAvailable
        )
    })
}

fn try_round(
    config: &Config,
    url: &PostgresUrl,
    known: &[Vec<IpAddr>],
    round: usize,
) -> Result<Client, postgres::Error> {
    let mut config = config.clone();
    for addresses in known {
        config.hostaddr(addresses[round % addresses.len()]);
    }
    config.connect(url.tls.clone())
}

/// The server's words, with its code; or the library's, with their causes.
pub fn describe(error: &postgres::Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        let detail = refusal
            .detail()
            .map_or(String::new(), |d| format!(" ({d})"));
        return format!("{}{detail} [{}]", refusal.message(), refusal.code().code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl From<postgres::Error> for StoreError {
    fn from(error: postgres::Error) -> Self {
        // Only these are the content's fault. All others may pass, and must not end service for
        // good.
        let damage = [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED];
        match error.code() {
            Some(code) if damage.contains(code) => Self::Damaged(describe(&error)),
            _ => Self::Server(describe(&error)),
        }
    }
}
