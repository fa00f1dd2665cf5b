//! The journal's rows. Every read that leaves the database computes the chain again, as with files
//! ([`common::database::orders`]).

use super::connection::Connection;
use super::unsigned;
use super::url::PostgresUrl;
use crate::store::{Journal, StoreError};
use common::chain::{Hash, row_hash};
use common::wire::order::{Order, OrderKey, Position, Rows, Side};
use postgres::Row;

/// The row before the first one comes along: its hash is where the chain goes on.
const PAGE: &str = "SELECT number, key, name, type, quantity, hash FROM orders \
                        WHERE number >= $1 ORDER BY number LIMIT $2";
const POSITION: &str = "SELECT number, hash FROM orders ORDER BY number DESC LIMIT 1";
const HASH: &str = "SELECT hash FROM orders WHERE number = $1";

/// A connection that reads the journal.
#[derive(Debug)]
pub struct PostgresJournal(Connection);

impl PostgresJournal {
    /// Connects.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn open(url: &PostgresUrl) -> Result<Self, StoreError> {
        Ok(Self(Connection::open(url, "bazaar journal")?))
    }
}

impl Journal for PostgresJournal {
    fn rows(&mut self, seed: Hash, first: u64, limit: usize) -> Result<Rows, StoreError> {
        read(&mut self.0, seed, first, limit)
    }
}

/// Where the rows end, after a genesis with hash `seed`.
pub fn position(connection: &mut Connection, seed: Hash) -> Result<Position, StoreError> {
    let rows = connection.query(POSITION, &[])?;
    Ok(match rows.first() {
        None => Position {
            last: None,
            hash: seed,
        },
        Some(row) => Position {
            last: Some(unsigned(row.try_get(0)?)?),
            hash: hash(row.try_get(1)?)?,
        },
    })
}

/// The stored hash of the row before `number`; `seed` for number 0, `None` when there is no such
/// row.
pub fn hash_before(
    connection: &mut Connection,
    seed: Hash,
    number: u64,
) -> Result<Option<Hash>, StoreError> {
    let Some(before) = number.checked_sub(1) else {
        return Ok(Some(seed));
    };
    // A caller may ask for any number. One that cannot be stored is not there.
    let Ok(before) = i64::try_from(before) else {
        return Ok(None);
    };
    let rows = connection.query(HASH, &[&before])?;
    rows.first().map(|row| hash(row.try_get(0)?)).transpose()
}

/// At most `limit` rows from `first` on, each checked against the chain. Beyond the end there are
/// none, and the hash is `seed`, as with files.
pub fn read(
    connection: &mut Connection,
    seed: Hash,
    first: u64,
    limit: usize,
) -> Result<Rows, StoreError> {
    let nothing = Rows {
        first,
        orders: Vec::new(),
        hash: seed,
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let Ok(from) = i64::try_from(first) else {
        return Ok(nothing);
    };
    // The row before the first one comes along in the same round trip: its hash is where the chain
    // goes on. Row 0 continues the genesis.
    let page = if from == 0 {
        connection.query(PAGE, &[&from, &limit])?
    } else {
        // A caller may ask for all there are: one more would be a negative number.
        connection.query(PAGE, &[&(from - 1), &limit.saturating_add(1)])?
    };
    let mut page = page.iter();
    let mut end = seed;
    if from > 0 {
        let Some(before) = page.next() else {
            return Ok(nothing);
        };
        let (number, _, stored) = decode(before)?;
        check_number(first - 1, number)?;
        end = stored;
    }
    let mut rows = Rows {
        hash: end,
        ..nothing
    };
    for row in page {
        let (number, order, stored) = decode(row)?;
        // Before the hash: a gap would else be reported as a damaged row.
        check_number(rows.end(), number)?;
        rows.hash = row_hash(rows.hash, number, &order);
        // The database's own checksums cover pages as they were written, not what a hand or a
        // faulty program wrote into them.
        if rows.hash != stored {
            return Err(StoreError::Damaged(format!(
                "order {number} does not have the hash that its content gives"
            )));
        }
        rows.orders.push(order);
    }
    Ok(rows)
}

fn check_number(expected: u64, number: u64) -> Result<(), StoreError> {
    if number == expected {
        return Ok(());
    }
    Err(StoreError::Damaged(format!(
        "order {expected} is missing, {number} is there"
    )))
}

fn decode(row: &Row) -> Result<(u64, Order, Hash), StoreError> {
    let number = unsigned(row.try_get(0)?)?;
    let damaged = |part: &str| StoreError::Damaged(format!("{part} of order {number}"));
    let key: &[u8] = row.try_get(1)?;
    let key = key.try_into().map_err(|_| damaged("key"))?;
    let order = Order {
        key: OrderKey::from_bytes(key),
        name: row.try_get(2)?,
        side: side(row.try_get(3)?).ok_or_else(|| damaged("type"))?,
        quantity: unsigned(row.try_get(4)?)?,
    };
    Ok((number, order, hash(row.try_get(5)?)?))
}

/// A side as stored.
pub fn side(byte: i16) -> Option<Side> {
    Side::from_byte(u8::try_from(byte).ok()?)
}

/// A hash as stored.
pub fn hash(bytes: &[u8]) -> Result<Hash, StoreError> {
    Hash::from_slice(bytes)
        .ok_or_else(|| StoreError::Damaged(format!("a hash of {} bytes", bytes.len())))
}
