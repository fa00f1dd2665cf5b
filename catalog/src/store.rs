//! The catalog's file: genesis, stocks, journal, refusals, term. One connection writes, the writer
//! thread's; readers have their own.

use crate::market::{Holding, Market};
use common::chain::{Hash, genesis_hash};
use common::database::{CATALOG_FILE, DbError, genesis, open_writer, orders};
use common::timing::TAIL_CHECK_ROWS;
use common::wire::catalog::TermInfo;
use common::wire::money::Price;
use common::wire::order::{
    Genesis, Order, OrderKey, Position, ReplicaId, Rows, Side, Term, Verdict,
};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use std::path::Path;
use std::time::SystemTime;

/// Refusals kept for clients' keys: the newest so many.
pub const CLIENT_REFUSALS: u64 = 1_000_000;
/// Refusals kept for front-ends' own keys, which only their own retries use.
pub const FRONTEND_REFUSALS: u64 = 100_000;

const CREATE_OWN: &str = "
    CREATE UNIQUE INDEX orders_key ON orders (key);
    CREATE TABLE stocks (
        name TEXT PRIMARY KEY, price_cents INTEGER NOT NULL, quantity INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE leadership (term INTEGER NOT NULL, owner INTEGER) STRICT;
    INSERT INTO leadership (term, owner) VALUES (0, NULL);
    CREATE TABLE history_lost (reason TEXT NOT NULL) STRICT;
    CREATE TABLE client_refusals (
        id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL, type INTEGER NOT NULL, quantity INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE frontend_refusals (
        id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL, type INTEGER NOT NULL, quantity INTEGER NOT NULL
    ) STRICT;
";

/// The open file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    genesis: Genesis,
    seed: Hash,
}

/// The file's state as the writer holds it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The stocks.
    pub market: Market,
    /// Where the journal ends.
    pub position: Position,
    /// The term.
    pub term: TermInfo,
}

impl Store {
    /// Opens the file, or makes it with the genesis that `begin` gives.
    ///
    /// # Errors
    /// [`DbError`]; also when the end of the journal does not fit its chain.
    pub fn open(
        path: &Path,
        begin: impl FnOnce() -> Result<Genesis, String>,
    ) -> Result<Self, DbError> {
        let mut begin = Some(begin);
        let mut begin = || match begin.take() {
            Some(begin) => begin().map_err(DbError::Foreign),
            None => Err(DbError::Damaged("the file has no genesis".into())),
        };
        // In the file before it takes its name: no copy of it, however young, is another bazaar's.
        let mut connection = open_writer(path, CATALOG_FILE, &create_tables(), |new| {
            write_genesis(new, &begin()?)
        })?;
        let genesis = match genesis::read(&connection)? {
            Some(genesis) => genesis,
            // An earlier version died between the tables and the genesis.
            None => {
                let made = begin()?;
                let transaction = connection.transaction()?;
                write_genesis(&transaction, &made)?;
                transaction.commit()?;
                made
            }
        };
        let seed = genesis_hash(&genesis);
        let store = Self {
            connection,
            genesis,
            seed,
        };
        let end = orders::position(&store.connection, seed)?.next();
        let first = end.saturating_sub(TAIL_CHECK_ROWS);
        orders::scan(&store.connection, seed, first, usize::MAX >> 1, |_, _| ())?;
        Ok(store)
    }

    /// The genesis.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Hash of the genesis.
    #[must_use]
    pub fn seed(&self) -> Hash {
        self.seed
    }

    /// Reads what the writer holds in memory.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn snapshot(&self) -> Result<Snapshot, DbError> {
        read_snapshot(&self.connection, self.seed)
    }

    /// Rows of the journal from `first` on.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn rows(&self, first: u64, limit: usize) -> Result<Rows, DbError> {
        orders::read(&self.connection, self.seed, first, limit)
    }

    /// The hash of the row before `number`; `None` beyond the journal.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn hash_before(&self, number: u64) -> Result<Option<Hash>, DbError> {
        orders::hash_before(&self.connection, self.seed, number)
    }

    /// Makes a term durable.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn set_term(&mut self, view: TermInfo) -> Result<(), DbError> {
        let changed = self.connection.execute(
            "UPDATE leadership SET term = ?1, owner = ?2 WHERE term < ?1",
            (view.term, view.owner.map(u8::from)),
        )?;
        assert_eq!(
            changed, 1,
            "terms only rise: the file has {} or a newer one",
            view.term
        );
        Ok(())
    }

    /// Why the file's history counts as lost, where an earlier run found that out.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn history_lost(&self) -> Result<Option<String>, DbError> {
        Ok(self
            .connection
            .query_row("SELECT reason FROM history_lost", [], |row| row.get(0))
            .optional()?)
    }

    /// Remembers that the history is lost, so that a restart does not forget it.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn set_history_lost(&self, reason: &str) -> Result<(), DbError> {
        self.connection
            .execute("INSERT INTO history_lost (reason) VALUES (?)", [reason])?;
        Ok(())
    }

    /// Makes this many random bytes durable, in place of those of the probe before: shows whether
    /// the file can be written, and changes nothing else. The table is made by the first probe, so
    /// that files of earlier versions need nothing done.
    ///
    /// # Errors
    /// [`DbError`]: it cannot.
    pub fn probe(&mut self, bytes: usize) -> Result<(), DbError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS write_probe \
             (id INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT",
        )?;
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO write_probe (id, content) VALUES (1, randomblob(?))",
            )?
            .execute([bytes])?;
        Ok(transaction.commit()?)
    }

    /// Begins the transaction of a batch.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn begin(&mut self) -> Result<Batch<'_>, DbError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changes_before = transaction.total_changes();
        Ok(Batch {
            transaction,
            changes_before,
        })
    }
}

/// The statements that make the tables.
#[must_use]
pub fn create_tables() -> String {
    format!("{}{}{CREATE_OWN}", genesis::CREATE, orders::CREATE)
}

/// Reads what the writer holds in memory; `seed` is the hash of the genesis.
///
/// # Errors
/// [`DbError`]
pub fn read_snapshot(connection: &Connection, seed: Hash) -> Result<Snapshot, DbError> {
    let mut statement =
        connection.prepare_cached("SELECT name, price_cents, quantity FROM stocks")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut market = Market::new();
    for row in rows {
        let (name, cents, quantity): (String, u64, u64) = row?;
        let price = Price::from_cents(cents)
            .ok_or_else(|| DbError::Damaged(format!("price of {name}: {cents}")))?;
        market.insert(name, Holding { price, quantity });
    }
    let (term, owner) = connection.query_row("SELECT term, owner FROM leadership", [], |row| {
        Ok((row.get(0)?, row.get::<_, Option<u8>>(1)?))
    })?;
    let owner = owner
        .map(ReplicaId::try_from)
        .transpose()
        .map_err(DbError::Damaged)?;
    let position = orders::position(connection, seed)?;
    Ok(Snapshot {
        market,
        position,
        term: TermInfo { term, owner },
    })
}

/// Gives a file that was rebuilt or restored a term above every one that any replica has seen,
/// which no file has. The milliseconds since 1970 are: terms rise by one for each change of
/// leader, with at least 200 ms between two, from 0 or from earlier such milliseconds.
///
/// # Errors
/// [`DbError`]
pub fn set_fresh_term(connection: &Connection) -> Result<Term, DbError> {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let term = Term::try_from(since.as_millis()).unwrap_or(Term::MAX >> 1);
    connection.execute("UPDATE leadership SET term = ?1, owner = NULL", [term])?;
    Ok(term)
}

/// Writes a genesis and its stocks into a file that has none, inside the caller's transaction.
///
/// # Errors
/// [`DbError`]
pub fn write_genesis(connection: &Connection, made: &Genesis) -> Result<(), DbError> {
    genesis::write(connection, made)?;
    let mut insert =
        connection.prepare("INSERT INTO stocks (name, price_cents, quantity) VALUES (?, ?, ?)")?;
    for stock in &made.stocks {
        insert.execute((&stock.name, stock.price.cents(), stock.quantity))?;
    }
    Ok(())
}

/// The transaction of a batch; rolled back unless committed. After an error it must be dropped:
/// SQLite may have rolled it back already.
#[derive(Debug)]
pub struct Batch<'a> {
    transaction: Transaction<'a>,
    changes_before: u64,
}

impl Batch<'_> {
    /// The recorded verdict of an order key, for the order that wants to use it now.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn recorded(&self, order: &Order) -> Result<Option<Verdict>, DbError> {
        let accepted = self
            .transaction
            .prepare_cached("SELECT number, name, type, quantity FROM orders WHERE key = ?")?
            .query_row([order.key.to_bytes()], |row| {
                Ok((row.get(0)?, same_body(row, order)?))
            })
            .optional()?;
        if let Some((number, same)) = accepted {
            return Ok(Some(if same {
                Verdict::Accepted(number)
            } else {
                Verdict::KeyReused
            }));
        }
        let refused = self
            .transaction
            .prepare_cached(Ring::of(order.key).select)?
            .query_row([order.key.to_bytes()], |row| same_body(row, order))
            .optional()?;
        Ok(refused.map(|same| {
            if same {
                Verdict::InsufficientQuantity
            } else {
                Verdict::KeyReused
            }
        }))
    }

    /// Writes an accepted order.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn accept(&self, number: u64, order: &Order, hash: Hash) -> Result<(), DbError> {
        orders::insert(&self.transaction, number, order, hash)
    }

    /// Records a refusal, so that a repeat is refused too, and drops those beyond the ring.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn refuse(&self, order: &Order) -> Result<(), DbError> {
        let ring = Ring::of(order.key);
        let (key, side) = (order.key.to_bytes(), order.side.to_byte());
        self.transaction.prepare_cached(ring.insert)?.execute((
            key,
            &order.name,
            side,
            order.quantity,
        ))?;
        let newest = self.transaction.last_insert_rowid().unsigned_abs();
        if let Some(last) = newest.checked_sub(ring.size) {
            self.transaction
                .prepare_cached(ring.trim)?
                .execute([last])?;
        }
        Ok(())
    }

    /// Sets the quantity that a stock has after the batch.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn set_quantity(&self, name: &str, quantity: u64) -> Result<(), DbError> {
        let mut update = self
            .transaction
            .prepare_cached("UPDATE stocks SET quantity = ?2 WHERE name = ?1")?;
        let changed = update.execute((name, quantity))?;
        assert_eq!(changed, 1, "stock {name} is in the file");
        Ok(())
    }

    /// Whether there is anything to commit.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.transaction.total_changes() > self.changes_before
    }

    /// Makes the batch durable.
    ///
    /// # Errors
    /// [`DbError`]: the outcome is unknown then, and memory must be read again from the file.
    pub fn commit(self) -> Result<(), DbError> {
        Ok(self.transaction.commit()?)
    }
}

fn same_body(row: &rusqlite::Row<'_>, order: &Order) -> rusqlite::Result<bool> {
    let (name, side, quantity): (String, u8, u64) =
        (row.get("name")?, row.get("type")?, row.get("quantity")?);
    Ok(name == order.name
        && Side::from_byte(side) == Some(order.side)
        && quantity == order.quantity)
}

/// The statements of one ring of refusals.
struct Ring {
    size: u64,
    select: &'static str,
    insert: &'static str,
    trim: &'static str,
}

impl Ring {
    fn of(key: OrderKey) -> Self {
        if key.is_client() {
            Self {
                size: CLIENT_REFUSALS,
                select: "SELECT name, type, quantity FROM client_refusals WHERE key = ?",
                insert: "INSERT INTO client_refusals (key, name, type, quantity) \
                         VALUES (?, ?, ?, ?)",
                trim: "DELETE FROM client_refusals WHERE id <= ?",
            }
        } else {
            Self {
                size: FRONTEND_REFUSALS,
                select: "SELECT name, type, quantity FROM frontend_refusals WHERE key = ?",
                insert: "INSERT INTO frontend_refusals (key, name, type, quantity) \
                         VALUES (?, ?, ?, ?)",
                trim: "DELETE FROM frontend_refusals WHERE id <= ?",
            }
        }
    }
}
