//! The store of one catalog: an SQLite file. One connection writes, the writer thread's; readers
//! have their own.

use crate::batch::DecidedBatch;
use crate::market::{Holding, Market};
use crate::store::{
    Batch, CLIENT_REFUSALS, FRONTEND_REFUSALS, Journal, Recorded, Snapshot, Store, StoreError,
};
use common::chain::{Hash, genesis_hash};
use common::database::{CATALOG_FILE, DbError, genesis, open_reader, open_writer, orders};
use common::timing::TAIL_CHECK_ROWS;
use common::wire::catalog::TermInfo;
use common::wire::money::Price;
use common::wire::order::{Genesis, Order, OrderKey, ReplicaId, Rows, Term, Verdict};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use std::path::Path;
use std::time::SystemTime;

/// The tables that a catalog's file has beside genesis and journal.
///
/// - `orders_key` finds a repeat, and is unique as a backstop: a key that traded twice would fail
///   the transaction.
/// - The refusals' ids rise by one. Only the oldest rows are deleted, so the highest id is never
///   used again, and the ring's end can be computed from it.
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

/// The open file, on the one connection that writes.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    genesis: Genesis,
    seed: Hash,
}

impl SqliteStore {
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
        // The tail only, so that a start takes a moment; the thread `check` reads the whole journal
        // beside the traffic.
        let first = end.saturating_sub(TAIL_CHECK_ROWS);
        orders::scan(&store.connection, seed, first, usize::MAX >> 1, |_, _| ())?;
        Ok(store)
    }
}

impl SqliteStore {
    /// Whether the run before stopped cleanly, and forgets that: read and cleared in one
    /// transaction, before this run grants anything. The caller holds the file's lock.
    ///
    /// The table is made by the first clean stop, so that files of earlier versions need nothing
    /// done.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn take_clean(&mut self) -> Result<bool, StoreError> {
        let transaction = self
            .connection
            // The write lock first, for this and each of the transactions below: a deferred one may
            // fail in its middle when another program has written in between.
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let exists = transaction
            .prepare("SELECT 1 FROM sqlite_schema WHERE name = 'clean_stop'")?
            .exists([])?;
        let was_clean = exists && transaction.execute("DELETE FROM clean_stop", [])? > 0;
        transaction.commit()?;
        Ok(was_clean)
    }
}

impl Store for SqliteStore {
    fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    fn seed(&self) -> Hash {
        self.seed
    }

    fn load(&mut self, epoch: u64) -> Result<Snapshot, StoreError> {
        assert_eq!(epoch, 0, "a file has one catalog, which needs no epoch");
        Ok(read_snapshot(&self.connection, self.seed)?)
    }

    fn rows(&mut self, first: u64, limit: usize) -> Result<Rows, StoreError> {
        Ok(orders::read(&self.connection, self.seed, first, limit)?)
    }

    fn hash_before(&mut self, number: u64) -> Result<Option<Hash>, StoreError> {
        Ok(orders::hash_before(&self.connection, self.seed, number)?)
    }

    fn set_term(&mut self, view: TermInfo) -> Result<(), StoreError> {
        let changed = self.connection.execute(
            // The condition keeps the rule in the file, too, whatever memory believes.
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

    fn history_lost(&mut self) -> Result<Option<String>, StoreError> {
        Ok(self
            .connection
            .query_row("SELECT reason FROM history_lost", [], |row| row.get(0))
            .optional()?)
    }

    fn set_history_lost(&mut self, reason: &str) -> Result<(), StoreError> {
        self.connection
            .execute("INSERT INTO history_lost (reason) VALUES (?)", [reason])?;
        Ok(())
    }

    fn set_clean(&mut self) -> Result<(), StoreError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS clean_stop (id INTEGER PRIMARY KEY CHECK (id = 1)) STRICT;
             INSERT OR IGNORE INTO clean_stop (id) VALUES (1);",
        )?;
        Ok(transaction.commit()?)
    }

    /// The table is made by the first probe, so that files of earlier versions need nothing done.
    fn probe(&mut self, bytes: usize) -> Result<(), StoreError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS write_probe \
             (id INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT",
        )?;
        transaction
            .prepare_cached(
                // Random bytes: the same ones again would leave the page as it is, and write
                // nothing.
                "INSERT OR REPLACE INTO write_probe (id, content) VALUES (1, randomblob(?))",
            )?
            .execute([bytes])?;
        Ok(transaction.commit()?)
    }

    fn begin<'a>(
        &'a mut self,
        _before: &Snapshot,
        orders: &[&Order],
    ) -> Result<Box<dyn Batch + 'a>, StoreError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let recorded = orders
            .iter()
            // In the batch's transaction, so that nothing can be recorded between this look and the
            // decision.
            .map(|order| recorded(&transaction, order))
            .collect::<Result<_, _>>()?;
        Ok(Box::new(SqliteBatch {
            transaction,
            recorded,
        }))
    }
}

/// A connection that reads the file's journal.
#[derive(Debug)]
pub struct SqliteJournal(Connection);

impl SqliteJournal {
    /// Opens the file for reading.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn open(path: &Path) -> Result<Self, DbError> {
        Ok(Self(open_reader(path)?))
    }
}

impl Journal for SqliteJournal {
    fn rows(&mut self, seed: Hash, first: u64, limit: usize) -> Result<Rows, StoreError> {
        Ok(orders::read(&self.0, seed, first, limit)?)
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
/// It also forgets that the file's run stopped cleanly: a later one, whose file this replaces, may
/// have granted cache sessions since.
///
/// # Errors
/// [`DbError`]
pub fn set_fresh_term(connection: &Connection) -> Result<Term, DbError> {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let term = Term::try_from(since.as_millis()).unwrap_or(Term::MAX >> 1);
    connection.execute_batch("DROP TABLE IF EXISTS clean_stop")?;
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

#[derive(Debug)]
struct SqliteBatch<'a> {
    transaction: Transaction<'a>,
    recorded: Vec<Option<Verdict>>,
}

impl Batch for SqliteBatch<'_> {
    fn recorded(&self) -> &[Option<Verdict>] {
        &self.recorded
    }

    fn write(&mut self, _before: &Snapshot, decided: &DecidedBatch) -> Result<(), StoreError> {
        let first = decided.rows.first;
        for ((number, order), hash) in (first..).zip(&decided.rows.orders).zip(&decided.hashes) {
            orders::insert(&self.transaction, number, order, *hash)?;
        }
        for order in &decided.refused {
            self.refuse(order)?;
        }
        for (name, quantity) in &decided.quantities {
            let mut update = self
                .transaction
                .prepare_cached("UPDATE stocks SET quantity = ?2 WHERE name = ?1")?;
            let changed = update.execute((name, quantity))?;
            // Before the commit: a row without its stock's change must never become durable.
            assert_eq!(changed, 1, "stock {name} is in the file");
        }
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        Ok(self.transaction.commit()?)
    }
}

impl SqliteBatch<'_> {
    /// Records a refusal, so that a repeat is refused too, and drops those beyond the ring.
    fn refuse(&self, order: &Order) -> Result<(), DbError> {
        let ring = Ring::of(order.key);
        let (key, side) = (order.key.to_bytes(), order.side.to_byte());
        self.transaction.prepare_cached(ring.insert)?.execute((
            key,
            &order.name,
            side,
            order.quantity,
        ))?;
        let newest = self.transaction.last_insert_rowid().unsigned_abs();
        // Trimmed with each refusal, so that a batch never has many to delete.
        if let Some(last) = newest.checked_sub(ring.size) {
            self.transaction
                .prepare_cached(ring.trim)?
                .execute([last])?;
        }
        Ok(())
    }
}

/// The recorded verdict of an order's key, for the order that wants to use it now.
fn recorded(connection: &Connection, order: &Order) -> Result<Option<Verdict>, DbError> {
    let key = order.key.to_bytes();
    let accepted = connection
        .prepare_cached("SELECT number, name, type, quantity FROM orders WHERE key = ?")?
        .query_row([key], |row| {
            Ok(Recorded {
                number: Some(row.get(0)?),
                name: row.get(1)?,
                side: row.get(2)?,
                quantity: row.get(3)?,
            })
        })
        .optional()?;
    // In the journal, so in no ring: a key has one verdict.
    if let Some(accepted) = accepted {
        return Ok(Some(accepted.verdict(order)));
    }
    let refused = connection
        .prepare_cached(Ring::of(order.key).select)?
        .query_row([key], |row| {
            Ok(Recorded {
                number: None,
                name: row.get(0)?,
                side: row.get(1)?,
                quantity: row.get(2)?,
            })
        })
        .optional()?;
    Ok(refused.map(|refused| refused.verdict(order)))
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
        // Two rings, so that a flood of front-ends' own refused orders cannot push out what clients
        // may still repeat.
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
