//! Record −1 of every file: the cluster's id and the initial stocks.

use super::DbError;
use crate::wire::money::Price;
use crate::wire::order::{ClusterId, Genesis, InitialStock};
use rusqlite::{Connection, OptionalExtension};

/// The tables.
pub const CREATE: &str = "
    CREATE TABLE cluster (id TEXT NOT NULL) STRICT;
    CREATE TABLE genesis (
        name TEXT PRIMARY KEY, price_cents INTEGER NOT NULL, quantity INTEGER NOT NULL
    ) STRICT;
";

/// Reads it; `None` while the file has none.
///
/// # Errors
/// [`DbError`]
pub fn read(connection: &Connection) -> Result<Option<Genesis>, DbError> {
    let cluster: Option<String> = connection
        .query_row("SELECT id FROM cluster", [], |row| row.get(0))
        .optional()?;
    let Some(cluster) = cluster else {
        return Ok(None);
    };
    let mut statement =
        // In the order in which its hash is made.
        connection.prepare("SELECT name, price_cents, quantity FROM genesis ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut stocks = Vec::new();
    for row in rows {
        let (name, cents, quantity): (String, u64, u64) = row?;
        let price = Price::from_cents(cents)
            // Never written by us: the file is damaged.
            .ok_or_else(|| DbError::Damaged(format!("price of {name}: {cents}")))?;
        stocks.push(InitialStock {
            name,
            price,
            quantity,
        });
    }
    Ok(Some(Genesis {
        cluster: ClusterId(cluster),
        stocks,
    }))
}

/// Writes it into a file that has none, inside the caller's transaction.
///
/// # Errors
/// [`DbError`]
pub fn write(connection: &Connection, genesis: &Genesis) -> Result<(), DbError> {
    connection.execute("INSERT INTO cluster (id) VALUES (?)", [&genesis.cluster.0])?;
    let mut statement =
        connection.prepare("INSERT INTO genesis (name, price_cents, quantity) VALUES (?, ?, ?)")?;
    for stock in &genesis.stocks {
        statement.execute((&stock.name, stock.price.cents(), stock.quantity))?;
    }
    Ok(())
}
