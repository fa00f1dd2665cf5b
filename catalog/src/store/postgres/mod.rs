//! The store that several catalogs share: PostgreSQL, which knows how to be replicated.
//!
//! **Fence ▲.** Every transaction that writes, and every load, begins with a `SELECT … FOR KEY
//! SHARE` of the activity row (see [`activity`]) that names the epoch under which its content was
//! decided, and is rolled back where there is none. The trace: a catalog pauses before its batch,
//! another one takes over and trades, the first one wakes and commits numbers that are given. With
//! the fence, a takeover waits for the batches that have it, and a batch that comes later finds
//! another epoch. The fence's answer is awaited before anything else is sent: in one flight with
//! the COMMIT it stops nothing, since a SELECT without rows is no error.
//!
//! **Rows are not lost unseen ▲.** A batch requires that the journal's last row is the one in
//! memory. Where a promoted standby lacks acknowledged rows, the next batch says so
//! ([`StoreError::RowsLost`]), before a number is given twice. The primary keys on number and order
//! key stay as a backstop.
//!
//! **Unknown outcomes ▲.** After a commit whose outcome is unknown the store writes nothing more
//! until it was loaded under a *newer* epoch: what was sent may still be executed, and the next
//! epoch ([`activity::Activity::bump`]) makes sure that it can no longer commit.
//!
//! Round trips of a batch, as the library sends nothing ahead of an answer:
//!
//! | trip | content |
//! |---|---|
//! | 1 | `BEGIN` and the fence |
//! | 2 | the journal's last row, and the recorded verdicts of all keys (one array) |
//! | 3 | rows and quantities (one array a column), with the quantities before as a condition |
//! | + 1 | for each ring that gets refusals |
//! | 4 | `COMMIT`, alone: it is never cancelled, and a warning makes its outcome unknown |
//!
//! A load takes 5, a term, a probe or lost history 3, a page of the journal 1.

pub mod activity;
mod connection;
mod rows;
mod schema;
pub mod transfer;
mod url;

pub use rows::PostgresJournal;
pub use url::PostgresUrl;

use crate::batch::DecidedBatch;
use crate::market::{Holding, Market};
use crate::store::{
    Batch, CLIENT_REFUSALS, FRONTEND_REFUSALS, Recorded, Snapshot, Store, StoreError,
};
use common::chain::{Hash, genesis_hash};
use common::timing::TAIL_CHECK_ROWS;
use common::wire::catalog::TermInfo;
use common::wire::order::{Genesis, Order, Position, ReplicaId, Rows, Verdict};
use connection::Connection;
use postgres::Row;
use postgres::types::ToSql;

/// The writer's connection.
#[derive(Debug)]
pub struct PostgresStore {
    url: PostgresUrl,
    holder: String,
    genesis: Genesis,
    seed: Hash,
    open: Option<Connection>,
    /// Under which epoch the state in memory was loaded; 0 before.
    epoch: u64,
    /// A write of this epoch or an older one may still be executed.
    unknown: Option<u64>,
}

/// Last row, and what is recorded under the keys: `at` is the position of the key in the array.
const LOOK_UP: &str = "
    (SELECT 0::bigint, number, hash, ''::text, 0::smallint, 0::bigint
     FROM orders ORDER BY number DESC LIMIT 1)
    UNION ALL
    SELECT k.at, o.number, NULL, o.name, o.type, o.quantity
    FROM unnest($1::bytea[]) WITH ORDINALITY AS k (key, at) JOIN orders o ON o.key = k.key
    UNION ALL
    SELECT k.at, NULL, NULL, r.name, r.type, r.quantity
    FROM unnest($1::bytea[]) WITH ORDINALITY AS k (key, at) JOIN client_refusals r ON r.key = k.key
    UNION ALL
    SELECT k.at, NULL, NULL, r.name, r.type, r.quantity
    FROM unnest($1::bytea[]) WITH ORDINALITY AS k (key, at)
    JOIN frontend_refusals r ON r.key = k.key";

/// Rows and quantities. Counts what it wrote: a stock whose quantity is not the one in memory is
/// not written.
const WRITE: &str = "
    WITH inserted AS (
        INSERT INTO orders (number, key, name, type, quantity, hash)
        SELECT * FROM unnest(
            $1::bigint[], $2::bytea[], $3::text[], $4::smallint[], $5::bigint[], $6::bytea[])
        RETURNING 1
    ), updated AS (
        UPDATE stocks SET quantity = u.after
        FROM unnest($7::text[], $8::bigint[], $9::bigint[]) AS u (name, before, after)
        WHERE stocks.name = u.name AND stocks.quantity = u.before
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM inserted), (SELECT count(*) FROM updated)";

/// Refusals with the next ids; those beyond the ring go. Both parts see the table as it was before.
macro_rules! refuse {
    ($ring:literal) => {
        concat!(
            "WITH newest AS (SELECT coalesce(max(id), 0) AS id FROM ",
            $ring,
            "), trimmed AS (DELETE FROM ",
            $ring,
            " WHERE id <= (SELECT id FROM newest) + cardinality($1::bytea[]) - $5::bigint)
            INSERT INTO ",
            $ring,
            " (id, key, name, type, quantity)
            SELECT newest.id + u.at, u.key, u.name, u.type, u.quantity
            FROM newest, unnest($1::bytea[], $2::text[], $3::smallint[], $4::bigint[])
                WITH ORDINALITY AS u (key, name, type, quantity, at)"
        )
    };
}
const REFUSE_CLIENT: &str = refuse!("client_refusals");
const REFUSE_FRONTEND: &str = refuse!("frontend_refusals");

const STOCKS: &str = "SELECT name, price_cents, quantity FROM stocks";
const TERM: &str = "SELECT term, owner FROM leadership";
const SET_TERM: &str = "UPDATE leadership SET term = $1, owner = $2 WHERE term < $1 RETURNING 1";
const HISTORY_LOST: &str = "SELECT reason FROM history_lost LIMIT 1";
const LOSE_HISTORY: &str = "INSERT INTO history_lost (reason) VALUES ($1)";
const SET_CLEAN: &str = "UPDATE activity SET clean = TRUE";
const PROBE: &str = "
    INSERT INTO write_probe (id, content)
    SELECT 1, string_agg(md5(random()::text), '') FROM generate_series(1, $1::bigint / 32 + 1)
    ON CONFLICT (id) DO UPDATE SET content = excluded.content";

impl PostgresStore {
    /// Connects; makes the tables and the genesis that `begin` gives where there are none. `holder`
    /// is the random id of this run of the process, letters and digits. Nothing can be written
    /// before a [`Store::load`].
    ///
    /// # Errors
    /// [`StoreError`]; also when the end of the journal does not fit its chain.
    pub fn open(
        url: &PostgresUrl,
        holder: &str,
        begin: impl FnOnce() -> Result<Genesis, String>,
    ) -> Result<Self, StoreError> {
        let mut connection = connect(url)?;
        let genesis = schema::open(&mut connection, begin)?;
        let seed = genesis_hash(&genesis);
        let end = rows::position(&mut connection, seed)?.next();
        // The tail only, as with a file; the thread `check` reads the rest after a takeover.
        let first = end.saturating_sub(TAIL_CHECK_ROWS);
        // Bounded: the active catalog writes on meanwhile.
        let tail = usize::try_from(TAIL_CHECK_ROWS).unwrap_or(usize::MAX);
        rows::read(&mut connection, seed, first, tail)?;
        // Now, while it stands by: the first batch after a takeover costs no round trip more.
        connection.prepare(&[LOOK_UP, WRITE, STOCKS, TERM, REFUSE_CLIENT, REFUSE_FRONTEND])?;
        Ok(Self {
            url: url.clone(),
            holder: holder.into(),
            genesis,
            seed,
            open: Some(connection),
            epoch: 0,
            unknown: None,
        })
    }

    /// Taken out, so that a connection that failed is not used again.
    fn take(&mut self) -> Result<Connection, StoreError> {
        match self.open.take().filter(|open| !open.is_closed()) {
            Some(open) => Ok(open),
            None => connect(&self.url),
        }
    }

    /// Begins a transaction that may write.
    fn fenced(&mut self) -> Result<Fenced<'_>, StoreError> {
        // A COMMIT of this epoch may still be on its way. A batch now would be decided without it,
        // and give its numbers again.
        if self.unknown.is_some_and(|unknown| unknown >= self.epoch) {
            return Err(StoreError::UnknownBefore { epoch: self.epoch });
        }
        let epoch = self.epoch;
        self.fenced_by(epoch)
    }

    fn fenced_by(&mut self, epoch: u64) -> Result<Fenced<'_>, StoreError> {
        let mut connection = self.take()?;
        // On an error the connection is dropped here, and the server ends its transaction.
        let held = connection.begin_fenced(epoch, &self.holder)?;
        let fenced = Fenced {
            store: self,
            connection: Some(connection),
        };
        // Dropped without: rolled back.
        if held {
            Ok(fenced)
        } else {
            Err(StoreError::Fenced)
        }
    }

    /// One statement in a transaction of its own; returns its rows.
    fn write(
        &mut self,
        text: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let mut fenced = self.fenced()?;
        let rows = fenced.query(text, parameters)?;
        fenced.commit()?;
        Ok(rows)
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut Connection, Hash) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.take()?;
        let result = read(&mut connection, self.seed)?;
        self.open = Some(connection);
        Ok(result)
    }
}

fn connect(url: &PostgresUrl) -> Result<Connection, StoreError> {
    Connection::open(url, "bazaar catalog")
}

impl Store for PostgresStore {
    fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    fn seed(&self) -> Hash {
        self.seed
    }

    fn load(&mut self, epoch: u64) -> Result<Snapshot, StoreError> {
        // A load under the same epoch could miss a COMMIT that is executed after it.
        if self.unknown.is_some_and(|unknown| unknown >= epoch) {
            return Err(StoreError::UnknownBefore { epoch });
        }
        let seed = self.seed;
        let mut fenced = self.fenced_by(epoch)?;
        // The fence is held meanwhile: a takeover waits for it, so nothing changes between the
        // statements.
        let snapshot = read_snapshot(fenced.connection(), seed)?;
        // It wrote nothing, so that its end cannot be unknown.
        fenced.end();
        // Last: after an error the state in memory is still that of the older epoch, and is written
        // under it or not at all.
        self.epoch = epoch;
        self.unknown = None;
        Ok(snapshot)
    }

    fn rows(&mut self, first: u64, limit: usize) -> Result<Rows, StoreError> {
        self.read(|connection, seed| rows::read(connection, seed, first, limit))
    }

    fn hash_before(&mut self, number: u64) -> Result<Option<Hash>, StoreError> {
        self.read(|connection, seed| rows::hash_before(connection, seed, number))
    }

    fn set_term(&mut self, view: TermInfo) -> Result<(), StoreError> {
        let owner = view.owner.map(|owner| i16::from(u8::from(owner)));
        let changed = self.write(SET_TERM, &[&signed(view.term), &owner])?;
        assert_eq!(
            changed.len(),
            1,
            "terms only rise: the database has {} or a newer one",
            view.term
        );
        Ok(())
    }

    fn history_lost(&mut self) -> Result<Option<String>, StoreError> {
        self.read(|connection, _| {
            let rows = connection.query(HISTORY_LOST, &[])?;
            Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
        })
    }

    fn set_history_lost(&mut self, reason: &str) -> Result<(), StoreError> {
        self.write(LOSE_HISTORY, &[&reason]).map(drop)
    }

    fn set_clean(&mut self) -> Result<(), StoreError> {
        // The fence sees to it that the row is still the own one.
        self.write(SET_CLEAN, &[]).map(drop)
    }

    fn probe(&mut self, bytes: usize) -> Result<(), StoreError> {
        self.write(PROBE, &[&signed(bytes as u64)]).map(drop)
    }

    fn begin<'a>(
        &'a mut self,
        before: &Snapshot,
        orders: &[&Order],
    ) -> Result<Box<dyn Batch + 'a>, StoreError> {
        let seed = self.seed;
        let mut fenced = self.fenced()?;
        let keys: Vec<[u8; 16]> = orders.iter().map(|order| order.key.to_bytes()).collect();
        let keys: Vec<&[u8]> = keys.iter().map(<[u8; 16]>::as_slice).collect();
        let found = fenced.query(LOOK_UP, &[&keys])?;
        let (last, recorded) = looked_up(&found, orders, seed)?;
        // Also where the database has more, which only a write without the fence can be.
        if last != before.position {
            return Err(rows_lost(before.position, last));
        }
        Ok(Box::new(PostgresBatch { fenced, recorded }))
    }
}

/// The two parts of [`LOOK_UP`].
fn looked_up(
    found: &[Row],
    orders: &[&Order],
    seed: Hash,
) -> Result<(Position, Vec<Option<Verdict>>), StoreError> {
    let mut last = Position {
        last: None,
        hash: seed,
    };
    let mut recorded = vec![None; orders.len()];
    for row in found {
        let at: i64 = row.try_get(0)?;
        let number = row.try_get::<_, Option<i64>>(1)?;
        let number = number.map(unsigned).transpose()?;
        let Some(at) = usize::try_from(at).ok().and_then(|at| at.checked_sub(1)) else {
            last = Position {
                last: number,
                hash: rows::hash(row.try_get(2)?)?,
            };
            continue;
        };
        let side: i16 = row.try_get(4)?;
        let order = Recorded {
            number,
            name: row.try_get(3)?,
            side: u8::try_from(side).unwrap_or(u8::MAX),
            quantity: unsigned(row.try_get(5)?)?,
        };
        recorded[at] = Some(order.verdict(orders[at]));
    }
    Ok((last, recorded))
}

fn rows_lost(memory: Position, database: Position) -> StoreError {
    let shown = |p: Position| {
        p.last
            .map_or("none".into(), |n| format!("{n} ({})", p.hash))
    };
    StoreError::RowsLost(format!(
        "the database's last order is {}, the one that was committed is {}: rows were lost or \
         changed, as by the failover to a standby that did not replicate synchronously",
        shown(database),
        shown(memory)
    ))
}

/// A transaction that holds the fence. Dropped before it ends, it is rolled back.
#[derive(Debug)]
struct Fenced<'a> {
    store: &'a mut PostgresStore,
    connection: Option<Connection>,
}

impl Fenced<'_> {
    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("open until it ends")
    }

    fn query(
        &mut self,
        text: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        Ok(self.connection().query(text, parameters)?)
    }

    fn commit(mut self) -> Result<(), StoreError> {
        let mut connection = self.connection.take().expect("open until it ends");
        // In a flight of its own, after the answers to all statements: nothing before it can fail
        // unseen.
        let committed = connection.commit();
        match &committed {
            Ok(()) => self.store.open = Some(connection),
            // The connection is dropped with its transaction; the server may still commit it.
            Err(_) => self.store.unknown = Some(self.store.epoch),
        }
        committed
    }

    /// Ends it without a commit.
    fn end(self) {}
}

impl Drop for Fenced<'_> {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            // Kept open for the next transaction: a refused batch should cost no new connection.
            connection.roll_back();
            self.store.open = Some(connection);
        }
    }
}

/// The transaction of a batch.
struct PostgresBatch<'a> {
    fenced: Fenced<'a>,
    recorded: Vec<Option<Verdict>>,
}

impl Batch for PostgresBatch<'_> {
    fn recorded(&self) -> &[Option<Verdict>] {
        &self.recorded
    }

    fn write(&mut self, before: &Snapshot, decided: &DecidedBatch) -> Result<(), StoreError> {
        // Refusals alone need no statement on rows and stocks: one round trip less.
        if !decided.rows.orders.is_empty() {
            self.write_rows(before, decided)?;
        }
        let (clients, frontends): (Vec<&Order>, Vec<&Order>) = decided
            .refused
            .iter()
            .partition(|order| order.key.is_client());
        self.refuse(REFUSE_CLIENT, &clients, CLIENT_REFUSALS)?;
        self.refuse(REFUSE_FRONTEND, &frontends, FRONTEND_REFUSALS)
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.fenced.commit()
    }
}

impl PostgresBatch<'_> {
    fn write_rows(&mut self, before: &Snapshot, decided: &DecidedBatch) -> Result<(), StoreError> {
        let rows = &decided.rows;
        let columns = Columns::of(&rows.orders.iter().collect::<Vec<_>>());
        let numbers: Vec<i64> = (rows.first..rows.end()).map(signed).collect();
        let hashes: Vec<&[u8]> = decided
            .hashes
            .iter()
            .map(|hash| hash.0.as_slice())
            .collect();
        let names: Vec<&str> = decided.quantities.keys().map(String::as_str).collect();
        // The quantities before are a condition of the statement: they show at the first trade that
        // the table is not what memory holds.
        let held = |name: &&str| signed(before.market[*name].quantity);
        let before: Vec<i64> = names.iter().map(held).collect();
        let after: Vec<i64> = decided.quantities.values().copied().map(signed).collect();
        let written = self.fenced.query(
            WRITE,
            &[
                &numbers,
                &columns.keys(),
                &columns.names,
                &columns.sides,
                &columns.quantities,
                &hashes,
                &names,
                &before,
                &after,
            ],
        )?;
        let counts: (i64, i64) = match written.first() {
            Some(row) => (row.try_get(0)?, row.try_get(1)?),
            None => (0, 0),
        };
        // Before the commit, so that a difference takes nothing along.
        if counts == (numbers.len() as i64, names.len() as i64) {
            return Ok(());
        }
        Err(StoreError::Damaged(format!(
            "{} rows and {} stocks were to be written, {} and {} were: the stocks of the database \
             are not what its trades left",
            numbers.len(),
            names.len(),
            counts.0,
            counts.1
        )))
    }

    /// Records refusals in a ring, so that a repeat is refused too.
    fn refuse(
        &mut self,
        statement: &'static str,
        refused: &[&Order],
        ring: u64,
    ) -> Result<(), StoreError> {
        if refused.is_empty() {
            return Ok(());
        }
        let columns = Columns::of(refused);
        let (sides, quantities) = (&columns.sides, &columns.quantities);
        self.fenced.query(
            statement,
            &[
                &columns.keys(),
                &columns.names,
                sides,
                quantities,
                &signed(ring),
            ],
        )?;
        Ok(())
    }
}

/// Orders as one array a column.
struct Columns<'a> {
    keys: Vec<[u8; 16]>,
    names: Vec<&'a str>,
    sides: Vec<i16>,
    quantities: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(orders: &[&'a Order]) -> Self {
        Self {
            keys: orders.iter().map(|order| order.key.to_bytes()).collect(),
            names: orders.iter().map(|order| order.name.as_str()).collect(),
            sides: orders
                .iter()
                .map(|order| i16::from(order.side.to_byte()))
                .collect(),
            quantities: orders.iter().map(|order| signed(order.quantity)).collect(),
        }
    }

    fn keys(&self) -> Vec<&[u8]> {
        self.keys.iter().map(<[u8; 16]>::as_slice).collect()
    }
}

/// Reads what the writer holds in memory; the caller's fence keeps it still.
fn read_snapshot(connection: &mut Connection, seed: Hash) -> Result<Snapshot, StoreError> {
    let mut market = Market::new();
    for row in connection.query(STOCKS, &[])? {
        let holding = Holding {
            price: schema::price(unsigned(row.try_get(1)?)?)?,
            quantity: unsigned(row.try_get(2)?)?,
        };
        market.insert(row.try_get(0)?, holding);
    }
    let position = rows::position(connection, seed)?;
    let rows = connection.query(TERM, &[])?;
    let row = rows
        .first()
        .ok_or_else(|| StoreError::Damaged("the database has no term".into()))?;
    let owner: Option<i16> = row.try_get(1)?;
    let owner = owner
        .map(|id| {
            u8::try_from(id)
                .map_err(|e| e.to_string())
                .and_then(ReplicaId::try_from)
        })
        .transpose()
        .map_err(StoreError::Damaged)?;
    let term = TermInfo {
        term: unsigned(row.try_get(0)?)?,
        owner,
    };
    Ok(Snapshot {
        market,
        position,
        term,
    })
}

/// A number as PostgreSQL stores it. All of ours are far below 2⁶³; one beyond would fail a
/// condition of the statement, never become another number.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> Result<u64, StoreError> {
    u64::try_from(n).map_err(|_| StoreError::Damaged(format!("a negative number, {n}")))
}
