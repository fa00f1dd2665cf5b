//! The tables: those of an SQLite file, with the same rows, in a schema of their own; and the
//! activity row. Made, with the genesis, in one transaction under an advisory lock, so that of two
//! catalogs that start at once on an empty database one writes the genesis, once.

use super::connection::{Connection, SCHEMA};
use super::{signed, unsigned};
use crate::store::StoreError;
use common::database::DbError;
use common::wire::money::Price;
use common::wire::order::{ClusterId, Genesis, InitialStock};
use postgres::Client;

/// Version of the tables. A database of a newer one is refused.
pub const FORMAT: i32 = 1;

/// Key of the advisory lock: "bazaar" in ASCII. Advisory locks are per database.
const LOCK: i64 = 0x6261_7a61_6172;

/// `key`, `type` and `hash` as in the files. Stocks and the activity row are updated in place: room
/// on their pages keeps an update off the indexes. No table has a foreign key: each trade would
/// lock its stock's row once more, and names are checked in memory.
const CREATE: &str = "
    CREATE TABLE format (version INTEGER NOT NULL);
    CREATE TABLE cluster (id TEXT NOT NULL);
    CREATE TABLE genesis (
        name TEXT COLLATE \"C\" PRIMARY KEY, price_cents BIGINT NOT NULL, quantity BIGINT NOT NULL
    );
    CREATE TABLE stocks (
        name TEXT COLLATE \"C\" PRIMARY KEY, price_cents BIGINT NOT NULL, quantity BIGINT NOT NULL
    ) WITH (fillfactor = 50);
    CREATE TABLE orders (
        number BIGINT PRIMARY KEY, key BYTEA NOT NULL UNIQUE, name TEXT NOT NULL,
        type SMALLINT NOT NULL, quantity BIGINT NOT NULL, hash BYTEA NOT NULL
    );
    CREATE TABLE client_refusals (
        id BIGINT PRIMARY KEY, key BYTEA NOT NULL UNIQUE,
        name TEXT NOT NULL, type SMALLINT NOT NULL, quantity BIGINT NOT NULL
    );
    CREATE TABLE frontend_refusals (
        id BIGINT PRIMARY KEY, key BYTEA NOT NULL UNIQUE,
        name TEXT NOT NULL, type SMALLINT NOT NULL, quantity BIGINT NOT NULL
    );
    CREATE TABLE leadership (term BIGINT NOT NULL, owner SMALLINT);
    INSERT INTO leadership (term, owner) VALUES (0, NULL);
    CREATE TABLE history_lost (reason TEXT NOT NULL);
    CREATE TABLE write_probe (id INTEGER PRIMARY KEY, content TEXT NOT NULL);
    CREATE TABLE activity (
        one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
        epoch BIGINT NOT NULL UNIQUE, holder TEXT NOT NULL, url TEXT NOT NULL,
        clean BOOLEAN NOT NULL, beat BIGINT NOT NULL
    ) WITH (fillfactor = 50);
";

/// Takes the lock under which tables and genesis are made, until the transaction ends. A starter
/// waits for another one longer than a batch waits for a row.
pub fn lock(client: &mut Client) -> Result<(), StoreError> {
    client.batch_execute(&format!(
        "SET LOCAL lock_timeout = '10s'; SELECT pg_advisory_xact_lock({LOCK})"
    ))?;
    Ok(())
}

/// Looked up as rows, with the snapshot of this statement. `to_regclass` asks a cache of the
/// session, which does not notice tables that another session made while this one waited for the
/// advisory lock (seen: both made them).
const FIND: &str = "SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
                    WHERE nspname = $1 AND relname = 'format'";

/// Whether the database has the tables, of a version that this program knows.
///
/// # Errors
/// [`StoreError`]; also when the tables are of a newer version.
pub fn exists(client: &mut Client) -> Result<bool, StoreError> {
    if client.query_opt(FIND, &[&SCHEMA])?.is_none() {
        return Ok(false);
    }
    let version: i32 = client
        .query_one("SELECT max(version) FROM bazaar.format", &[])?
        .try_get(0)?;
    // An older format is read as it is: so far there is only one.
    if version <= FORMAT {
        return Ok(true);
    }
    Err(StoreError::File(DbError::Foreign(format!(
        "the database has format {version}, this program knows {FORMAT}: it was written by a newer \
         version; update this program"
    ))))
}

/// Makes the tables, inside the caller's transaction. `activity`: whether the first catalog must
/// wait, as caches with values of another database may still be valid.
pub fn create(client: &mut Client, epoch: u64, clean: bool) -> Result<(), StoreError> {
    client.batch_execute(&format!(
        "CREATE SCHEMA IF NOT EXISTS {SCHEMA}; {CREATE}
         INSERT INTO format VALUES ({FORMAT});
         INSERT INTO activity (epoch, holder, url, clean, beat)
         VALUES ({epoch}, '', '', {clean}, 0)"
    ))?;
    Ok(())
}

/// Makes the tables and the genesis where there are none; returns the genesis that the database
/// has.
pub fn open(
    connection: &mut Connection,
    begin: impl FnOnce() -> Result<Genesis, String>,
) -> Result<Genesis, StoreError> {
    // The usual start needs no lock.
    if exists(connection.client())? {
        return read_genesis(connection.client());
    }
    // One transaction for tables and genesis: another starter sees both or neither.
    connection.client().batch_execute("BEGIN")?;
    let made = make(connection.client(), begin);
    match &made {
        Ok(_) => connection.commit()?,
        Err(_) => connection.roll_back(),
    }
    made
}

fn make(
    client: &mut Client,
    begin: impl FnOnce() -> Result<Genesis, String>,
) -> Result<Genesis, StoreError> {
    lock(client)?;
    // Another one may have made them meanwhile.
    if exists(client)? {
        return read_genesis(client);
    }
    let genesis = begin().map_err(|why| StoreError::File(DbError::Foreign(why)))?;
    // Nothing was ever active on it, so nobody need be waited for.
    create(client, 0, true)?;
    write_genesis(client, &genesis)?;
    Ok(genesis)
}

/// Reads record −1.
pub fn read_genesis(client: &mut Client) -> Result<Genesis, StoreError> {
    let cluster = client.query_opt("SELECT id FROM cluster", &[])?;
    let cluster =
        cluster.ok_or_else(|| StoreError::Damaged("the database has no genesis".into()))?;
    let mut stocks = Vec::new();
    let select = "SELECT name, price_cents, quantity FROM genesis ORDER BY name";
    for row in client.query(select, &[])? {
        stocks.push(InitialStock {
            name: row.try_get(0)?,
            price: price(unsigned(row.try_get(1)?)?)?,
            quantity: unsigned(row.try_get(2)?)?,
        });
    }
    Ok(Genesis {
        cluster: ClusterId(cluster.try_get(0)?),
        stocks,
    })
}

/// Writes record −1 and its stocks into new tables, inside the caller's transaction.
pub fn write_genesis(client: &mut Client, genesis: &Genesis) -> Result<(), StoreError> {
    client.execute(
        "INSERT INTO cluster (id) VALUES ($1)",
        &[&genesis.cluster.0],
    )?;
    // The initial stocks twice: the genesis never changes and seeds the chain, the stocks are
    // traded.
    for table in ["genesis", "stocks"] {
        let insert = client.prepare(&format!(
            "INSERT INTO {table} (name, price_cents, quantity) VALUES ($1, $2, $3)"
        ))?;
        for stock in &genesis.stocks {
            let (cents, quantity) = (signed(stock.price.cents()), signed(stock.quantity));
            client.execute(&insert, &[&stock.name, &cents, &quantity])?;
        }
    }
    Ok(())
}

/// A price as stored.
pub fn price(cents: u64) -> Result<Price, StoreError> {
    Price::from_cents(cents).ok_or_else(|| StoreError::Damaged(format!("a price of {cents} cents")))
}
