//! The whole state, from a file into a database and back: for `catalog migrate`, `catalog rebuild`,
//! and backups. A copy into a database is one transaction, judged before its commit: a failed one
//! leaves nothing.
//!
//! **A copy that replaces takes an epoch ▲.** It requires that `beat` does not move for a lease and
//! a margin, so that no catalog is active; then it raises the epoch as a takeover does, which
//! waits for every fence and bars every older one; the new tables begin with a higher epoch yet.
//! So a catalog that only slept finds itself fenced, in whichever tables it looks.

use super::activity::{Activity, ActivityRow};
use super::connection::{Connection, SCHEMA};
use super::{Columns, PostgresUrl, read_snapshot, rows, schema, signed, unsigned};
use crate::audit::{Audit, audit};
use crate::check::Replay;
use crate::store::StoreError;
use crate::store::sqlite::write_genesis;
use common::chain::genesis_hash;
use common::database::orders;
use common::timing::{LEASE, LEASE_MARGIN, PAGE_ROWS};
use common::wire::order::{Genesis, Order, Position};
use postgres::types::ToSql;
use rusqlite::Connection as File;
use std::time::SystemTime;

const INSERT_ORDERS: &str = "
    INSERT INTO orders (number, key, name, type, quantity, hash)
    SELECT * FROM unnest(
        $1::bigint[], $2::bytea[], $3::text[], $4::smallint[], $5::bigint[], $6::bytea[])";
const SET_STOCK: &str = "UPDATE stocks SET quantity = $2 WHERE name = $1";
const SET_LEADERSHIP: &str = "UPDATE leadership SET term = $1, owner = $2";
/// Of each ring: its name, and the statement that inserts.
const RINGS: [(&str, &str); 2] = [
    (
        "client_refusals",
        "INSERT INTO client_refusals (id, key, name, type, quantity) VALUES ($1, $2, $3, $4, $5)",
    ),
    (
        "frontend_refusals",
        "INSERT INTO frontend_refusals (id, key, name, type, quantity) VALUES ($1, $2, $3, $4, $5)",
    ),
];

/// The tables that a copy has replaced, under their new name.
pub type KeptAs = Option<String>;

/// Copies a good file into a database that has no tables of ours, or, with `replace`, in the place
/// of those: they are kept in a schema of another name.
///
/// # Errors
/// [`StoreError`]: nothing was changed, unless the outcome of the commit is unknown, which the
/// message says.
pub fn import(
    source: &File,
    url: &PostgresUrl,
    replace: bool,
) -> Result<(Audit, KeptAs), StoreError> {
    // First the source: a damaged file changes nothing in the database, and takes no epoch.
    let wanted = audit(source)?;
    let mut connection = Connection::open(url, "bazaar transfer")?;
    let seen = match (schema::exists(connection.client())?, replace) {
        (false, _) => None,
        (true, true) => Some(still(url)?),
        (true, false) => {
            return Err(StoreError::Server(
                "it has a bazaar already: name an empty database ('bazaar restore' has --replace)"
                    .into(),
            ));
        }
    };
    // The file is read between two statements.
    connection
        .client()
        .batch_execute("SET idle_in_transaction_session_timeout = 0; BEGIN")?;
    let copied = copy_in(source, &mut connection, seen.as_ref(), &wanted);
    let kept = match copied {
        Ok(kept) => kept,
        Err(error) => {
            connection.roll_back();
            return Err(error);
        }
    };
    connection.commit().map_err(|error| {
        StoreError::Server(format!(
            "{error}; whether the copy is there is unknown: look with 'bazaar backup'"
        ))
    })?;
    Ok((wanted, kept))
}

/// The activity row, which must not move for as long as a takeover would wait.
fn still(url: &PostgresUrl) -> Result<ActivityRow, StoreError> {
    let mut activity = Activity::new(url.clone(), "transfer".into(), String::new());
    let before = activity.look()?;
    // No condition to wait for: it is the absence of a beat that counts.
    std::thread::sleep(LEASE + LEASE_MARGIN);
    let after = activity.look()?;
    if before == after {
        return Ok(after);
    }
    Err(StoreError::Server(format!(
        "the catalog at {} is active: stop all catalogs first",
        after.url
    )))
}

fn copy_in(
    source: &File,
    connection: &mut Connection,
    seen: Option<&ActivityRow>,
    wanted: &Audit,
) -> Result<KeptAs, StoreError> {
    // The lock of a catalog's start: two writers must not make the tables at once.
    schema::lock(connection.client())?;
    let mut kept = None;
    let mut epoch = 0;
    if let Some(seen) = seen {
        epoch = fence_off(connection, seen)? + 1;
        kept = Some(set_aside(connection)?);
    } else if schema::exists(connection.client())? {
        return Err(StoreError::Server(
            "another program made tables in the database meanwhile".into(),
        ));
    }
    // Not clean: caches may hold values of what the file or the old tables had.
    schema::create(connection.client(), epoch, false)?;
    schema::write_genesis(connection.client(), &wanted.genesis)?;
    copy_orders_in(source, connection, &wanted.genesis)?;
    let mut stocks = source.prepare("SELECT name, quantity FROM stocks")?;
    let mut found = stocks.query([])?;
    while let Some(stock) = found.next()? {
        let (name, quantity): (String, i64) = (stock.get(0)?, stock.get(1)?);
        connection.query(SET_STOCK, &[&name, &quantity])?;
    }
    for (table, insert) in RINGS {
        let select = format!("SELECT id, key, name, type, quantity FROM {table}");
        let mut refusals = source.prepare(&select)?;
        let mut found = refusals.query([])?;
        while let Some(row) = found.next()? {
            let (id, key, name): (i64, Vec<u8>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (side, quantity): (i16, i64) = (row.get(3)?, row.get(4)?);
            // With their ids: a ring goes on where it was.
            let values: [&(dyn ToSql + Sync); 5] = [&id, &key, &name, &side, &quantity];
            connection.query(insert, &values)?;
        }
    }
    let (term, owner): (i64, Option<i16>) =
        source.query_row("SELECT term, owner FROM leadership", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    connection.query(SET_LEADERSHIP, &[&term, &owner])?;
    // Before the commit, inside the transaction that wrote: a copy that is not equal never becomes
    // visible.
    let found = judge(connection, &wanted.genesis)?;
    if found == *wanted {
        return Ok(kept);
    }
    Err(StoreError::Damaged(format!(
        "wrote {wanted:?}, and read {found:?}"
    )))
}

/// Raises the epoch that was seen, and returns the new one. Waits for every fence.
fn fence_off(connection: &mut Connection, seen: &ActivityRow) -> Result<u64, StoreError> {
    let text = "UPDATE activity SET epoch = epoch + 1, beat = beat + 1, holder = '', clean = FALSE \
                WHERE epoch = $1 AND beat = $2 RETURNING epoch";
    let rows = connection.query(text, &[&signed(seen.epoch), &signed(seen.beat)])?;
    match rows.first() {
        Some(row) => unsigned(row.try_get(0)?),
        None => Err(StoreError::Server(
            "a catalog became active meanwhile: stop all catalogs first".into(),
        )),
    }
}

/// Gives the schema another name, and returns that.
fn set_aside(connection: &mut Connection) -> Result<String, StoreError> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let name = format!(
        "{SCHEMA}_replaced_{}",
        since.unwrap_or_default().as_millis()
    );
    let rename = format!("ALTER SCHEMA {SCHEMA} RENAME TO {name}");
    connection.client().batch_execute(&rename)?;
    Ok(name)
}

fn copy_orders_in(
    source: &File,
    connection: &mut Connection,
    genesis: &Genesis,
) -> Result<(), StoreError> {
    let (mut page, mut hashes, mut first) = (Vec::new(), Vec::new(), 0);
    let mut sent = Ok(());
    // A page in one statement: a round trip a row would take minutes for a million rows.
    let mut send = |page: &mut Vec<Order>, hashes: &mut Vec<[u8; 32]>| {
        let columns = Columns::of(&page.iter().collect::<Vec<_>>());
        let numbers: Vec<i64> = (first..first + page.len() as u64).map(signed).collect();
        let own: Vec<&[u8]> = hashes.iter().map(<[u8; 32]>::as_slice).collect();
        let (keys, names) = (columns.keys(), &columns.names);
        let values: [&(dyn ToSql + Sync); 6] = [
            &numbers,
            &keys,
            names,
            &columns.sides,
            &columns.quantities,
            &own,
        ];
        connection.query(INSERT_ORDERS, &values)?;
        first += page.len() as u64;
        page.clear();
        hashes.clear();
        Ok::<(), StoreError>(())
    };
    let seed = genesis_hash(genesis);
    orders::scan(source, seed, 0, usize::MAX >> 1, |order, hash| {
        page.push(order);
        hashes.push(hash.0);
        // The scan cannot be stopped from inside. After a failure the rest is read and not sent.
        if page.len() == PAGE_ROWS && sent.is_ok() {
            sent = send(&mut page, &mut hashes);
        }
    })?;
    sent?;
    send(&mut page, &mut hashes)
}

/// Reads everything back, and trades it again.
fn judge(connection: &mut Connection, genesis: &Genesis) -> Result<Audit, StoreError> {
    let seed = genesis_hash(genesis);
    let mut replay = Replay::new(genesis);
    let (mut next, mut hash) = (0, seed);
    loop {
        let page = rows::read(connection, seed, next, PAGE_ROWS)?;
        if page.orders.is_empty() {
            break;
        }
        page.orders.iter().for_each(|order| replay.trade(order));
        (next, hash) = (page.end(), page.hash);
    }
    let snapshot = read_snapshot(connection, seed)?;
    let end = Position {
        last: next.checked_sub(1),
        hash,
    };
    if snapshot.position != end {
        return Err(StoreError::Damaged(
            "the journal goes on behind its last row".into(),
        ));
    }
    match replay.finish(&snapshot) {
        Some(wrong) => Err(StoreError::Damaged(wrong)),
        None => Ok(Audit {
            genesis: schema::read_genesis(connection.client())?,
            position: snapshot.position,
            term: snapshot.term.term,
        }),
    }
}

/// Copies a database, as it is at one moment, into a draft that has the tables of a catalog's file
/// and nothing in them. With `stopped` it refuses while a catalog is active, as what that one
/// trades later would be missing.
///
/// # Errors
/// [`StoreError`]
pub fn export(url: &PostgresUrl, target: &mut File, stopped: bool) -> Result<Audit, StoreError> {
    let mut connection = Connection::open(url, "bazaar transfer")?;
    if !schema::exists(connection.client())? {
        let message = "it has no bazaar: name the database of one";
        return Err(StoreError::Server(message.into()));
    }
    if stopped {
        still(url)?;
    }
    // One snapshot for all statements: a catalog may trade meanwhile.
    connection.client().batch_execute(
        "SET idle_in_transaction_session_timeout = 0; \
         BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    )?;
    let genesis = schema::read_genesis(connection.client())?;
    let seed = genesis_hash(&genesis);
    let lost = connection.query(super::HISTORY_LOST, &[])?;
    // Such a history must not be carried on as a good one.
    if let Some(row) = lost.first() {
        return Err(StoreError::Damaged(row.try_get(0)?));
    }
    let written = target.transaction()?;
    write_genesis(&written, &genesis)?;
    let mut next = 0;
    loop {
        let page = rows::read(&mut connection, seed, next, PAGE_ROWS)?;
        if page.orders.is_empty() {
            break;
        }
        // The page has only the hash of its end; the chain gives those in between, from the row
        // before.
        let before = rows::hash_before(&mut connection, seed, next)?;
        let before = before.ok_or_else(|| StoreError::Damaged(format!("order {next}")))?;
        let hashes = common::chain::row_hashes(before, next, &page.orders);
        for ((number, order), hash) in (next..).zip(&page.orders).zip(hashes) {
            orders::insert(&written, number, order, hash)?;
        }
        next = page.end();
    }
    let snapshot = read_snapshot(&mut connection, seed)?;
    for (name, holding) in &snapshot.market {
        written.execute(
            "UPDATE stocks SET quantity = ?2 WHERE name = ?1",
            (name, holding.quantity),
        )?;
    }
    for (table, _) in RINGS {
        let select = format!("SELECT id, key, name, type, quantity FROM {table}");
        let insert = format!(
            "INSERT INTO {table} (id, key, name, type, quantity) VALUES (?1, ?2, ?3, ?4, ?5)"
        );
        let mut insert = written.prepare(&insert)?;
        for row in connection.client().query(&select, &[])? {
            let (id, key, name): (i64, Vec<u8>, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let (side, quantity): (i16, i64) = (row.try_get(3)?, row.try_get(4)?);
            insert.execute((id, key, name, side, quantity))?;
        }
    }
    let owner = snapshot.term.owner.map(u8::from);
    let term = snapshot.term.term;
    written.execute("UPDATE leadership SET term = ?1, owner = ?2", (term, owner))?;
    written.commit()?;
    // It only read: nothing to commit.
    connection.roll_back();
    Ok(Audit {
        genesis,
        position: snapshot.position,
        term,
    })
}
