//! The table of chained rows: the catalog's journal and each replica's log. Every read that leaves
//! the file computes the chain again, so that damage which SQLite cannot notice is noticed here.

use super::DbError;
use crate::chain::{Hash, row_hash};
use crate::wire::order::{Order, OrderKey, Position, Rows, Side};
use rusqlite::{Connection, OptionalExtension, Row};

/// The table. Numbers are the row ids, so that rows lie in their order.
pub const CREATE: &str = "
    CREATE TABLE orders (
        number INTEGER PRIMARY KEY,
        key BLOB NOT NULL,
        name TEXT NOT NULL,
        type INTEGER NOT NULL,
        quantity INTEGER NOT NULL,
        hash BLOB NOT NULL
    ) STRICT;
";

/// Adds a row.
///
/// # Errors
/// [`DbError`]
pub fn insert(
    connection: &Connection,
    number: u64,
    order: &Order,
    hash: Hash,
) -> Result<(), DbError> {
    // Cached: parsing the statement would cost more than the insert.
    let mut statement = connection.prepare_cached(
        "INSERT INTO orders (number, key, name, type, quantity, hash) VALUES (?1, ?2, ?3, ?4, ?5, \
         ?6)",
    )?;
    let (key, side, quantity) = (order.key.to_bytes(), order.side.to_byte(), order.quantity);
    statement.execute((number, key, &order.name, side, quantity, hash.0))?;
    Ok(())
}

/// Where the rows end, after a genesis with hash `seed`.
///
/// # Errors
/// [`DbError`]
pub fn position(connection: &Connection, seed: Hash) -> Result<Position, DbError> {
    let last = connection
        // By the primary key, from its end: one row is read.
        .prepare_cached("SELECT number, hash FROM orders ORDER BY number DESC LIMIT 1")?
        .query_row([], |row| {
            Ok((row.get::<_, u64>(0)?, row.get::<_, [u8; 32]>(1)?))
        })
        .optional()?;
    Ok(match last {
        Some((number, hash)) => Position {
            last: Some(number),
            hash: Hash(hash),
        },
        None => Position {
            last: None,
            hash: seed,
        },
    })
}

/// The stored hash of the row before `number`; `seed` for number 0, `None` when there is no such
/// row.
///
/// # Errors
/// [`DbError`]
pub fn hash_before(
    connection: &Connection,
    seed: Hash,
    number: u64,
) -> Result<Option<Hash>, DbError> {
    let Some(before) = number.checked_sub(1) else {
        return Ok(Some(seed));
    };
    // A client may ask for any number. One that SQLite cannot hold is simply not there: an error
    // would look like a fault of the file.
    let Ok(before) = i64::try_from(before) else {
        return Ok(None);
    };
    let hash = connection
        // The stored hash is taken as the start; `scan` checks each row that it returns against it.
        .prepare_cached("SELECT hash FROM orders WHERE number = ?")?
        .query_row([before], |row| row.get::<_, [u8; 32]>(0))
        .optional()?;
    Ok(hash.map(Hash))
}

/// The order with this number, its hash checked against the row before.
///
/// # Errors
/// [`DbError::Damaged`] when the row does not fit the chain.
pub fn get(connection: &Connection, seed: Hash, number: u64) -> Result<Option<Order>, DbError> {
    let rows = read(connection, seed, number, 1)?;
    Ok(rows.orders.into_iter().next())
}

/// At most `limit` rows from `first` on, each checked against the chain.
///
/// # Errors
/// [`DbError::Damaged`] when a row is missing or does not fit.
pub fn read(
    connection: &Connection,
    seed: Hash,
    first: u64,
    limit: usize,
) -> Result<Rows, DbError> {
    let mut orders = Vec::new();
    let hash = scan(connection, seed, first, limit, |order, _| {
        orders.push(order)
    })?;
    Ok(Rows {
        first,
        orders,
        hash,
    })
}

/// Gives each of at most `limit` rows from `first` on to `visit`, with its hash, each checked
/// against the chain. Returns the last hash.
///
/// # Errors
/// [`DbError::Damaged`] when a row is missing or does not fit.
pub fn scan(
    connection: &Connection,
    seed: Hash,
    first: u64,
    limit: usize,
    mut visit: impl FnMut(Order, Hash),
) -> Result<Hash, DbError> {
    let Some(mut hash) = hash_before(connection, seed, first)? else {
        // Beyond the end there are no rows and no hash to start from. Callers ask from a position
        // that they know, and judge by the count of rows.
        return Ok(seed);
    };
    let mut statement = connection.prepare_cached(
        "SELECT number, key, name, type, quantity, hash FROM orders WHERE number >= ?1 ORDER BY \
         number LIMIT ?2",
    )?;
    let mut rows = statement.query((first, limit as u64))?;
    let mut expected = first;
    // Counted rather than taken from the rows, so that a gap shows.
    while let Some(row) = rows.next()? {
        let (number, order, stored) = decode(row)?;
        // A row that was lost is damage: numbers are dense.
        if number != expected {
            return Err(DbError::Damaged(format!(
                "order {expected} is missing, {number} is there"
            )));
        }
        hash = row_hash(hash, number, &order);
        // Computed from the content as it was read: a bit that flipped in either shows.
        if hash != stored {
            return Err(DbError::Damaged(format!(
                "order {number} does not have the hash that its content gives"
            )));
        }
        // Only after it was checked: a caller must not send a row that turns out damaged.
        visit(order, hash);
        expected += 1;
    }
    Ok(hash)
}

fn decode(row: &Row<'_>) -> Result<(u64, Order, Hash), DbError> {
    let number: u64 = row.get(0)?;
    // We write 0 and 1 only.
    let side = Side::from_byte(row.get(3)?)
        .ok_or_else(|| DbError::Damaged(format!("type of order {number}")))?;
    let order = Order {
        key: OrderKey::from_bytes(row.get(1)?),
        name: row.get(2)?,
        side,
        quantity: row.get(4)?,
    };
    Ok((number, order, Hash(row.get(5)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::row_hashes;

    fn filled(n: u64) -> (Connection, Hash) {
        let connection = Connection::open_in_memory().expect("opens");
        connection.execute_batch(CREATE).expect("creates");
        let seed = Hash([1; 32]);
        let orders: Vec<Order> = (0..n)
            .map(|i| Order {
                key: OrderKey::from_time(i, 0),
                name: "FishCo".into(),
                side: Side::Buy,
                quantity: i + 1,
            })
            .collect();
        for ((number, order), hash) in (0..).zip(&orders).zip(row_hashes(seed, 0, &orders)) {
            insert(&connection, number, order, hash).expect("inserts");
        }
        (connection, seed)
    }

    /// Rows read back in pages with the hashes that they were written with.
    #[test]
    fn pages() {
        let (connection, seed) = filled(5);
        let page = read(&connection, seed, 2, 2).expect("reads");
        assert_eq!(
            (
                page.first,
                page.orders.len(),
                page.orders[0].quantity,
                page.end()
            ),
            (2, 2, 3, 4)
        );
        assert_eq!(
            Some(page.hash),
            hash_before(&connection, seed, 4).expect("reads")
        );
        assert_eq!(position(&connection, seed).expect("reads").last, Some(4));
        assert!(
            read(&connection, seed, 5, 9)
                .expect("reads")
                .orders
                .is_empty()
        );
        for beyond in [9, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
            assert!(
                get(&connection, seed, beyond).expect("reads").is_none(),
                "{beyond}"
            );
        }
    }

    /// A read notices each kind of damage to a row.
    #[test]
    fn damage_is_noticed() {
        for damage in [
            "UPDATE orders SET quantity = 99 WHERE number = 2",
            "UPDATE orders SET name = 'BoarCo' WHERE number = 2",
            "UPDATE orders SET name = CAST(x'ff' AS TEXT) WHERE number = 2",
            "UPDATE orders SET type = 1 WHERE number = 2",
            "UPDATE orders SET type = 7 WHERE number = 2",
            "UPDATE orders SET key = x'00' WHERE number = 2",
            "UPDATE orders SET hash = zeroblob(32) WHERE number = 2",
            "DELETE FROM orders WHERE number = 2",
            "UPDATE orders SET number = 9 WHERE number = 2",
        ] {
            let (connection, seed) = filled(5);
            connection.execute_batch(damage).expect("damages");
            assert!(
                read(&connection, seed, 0, 100)
                    .expect_err(damage)
                    .is_damage()
            );
        }
    }
}
