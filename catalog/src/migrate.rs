//! `catalog migrate`: everything that a catalog has, refusals included, from a file into a database
//! or back. Both ends are read and compared by the chain before the copy counts. The source stays
//! as it is; the target must be empty, and is empty again after a failure.

use crate::audit::{Audit, audit};
use crate::store::Database;
use crate::store::postgres::PostgresUrl;
use crate::store::postgres::transfer::{export, import};
use crate::store::sqlite::create_tables;
use common::database::draft::Draft;
use common::database::look::{look_at, scratch};
use common::database::{CATALOG_FILE, DbError, header};
use std::error::Error;
use std::path::Path;

/// Copies `from` into `to`, of which one is a file and one a database.
///
/// # Errors
/// When a catalog uses one of them, the source is damaged, or the target is not empty; the message
/// names it.
pub fn migrate(from: &Database, to: &Database) -> Result<Audit, Box<dyn Error>> {
    match (from, to) {
        (Database::File(file), Database::Server(url)) => to_server(file, url),
        (Database::Server(url), Database::File(file)) => to_file(url, file),
        _ => Err(format!(
            "--from {from} and --to {to} are of one kind: name a file and a database \
             (postgres://…); a file is copied by 'bazaar backup'"
        )
        .into()),
    }
}

fn to_server(file: &Path, url: &PostgresUrl) -> Result<Audit, Box<dyn Error>> {
    // Before the lock, which makes a file beside it.
    if !file.exists() {
        return Err(format!("{}: there is no such file", file.display()).into());
    }
    // Held to the end: what a catalog trades meanwhile would be missing.
    let _lock = header::lock(file, CATALOG_FILE)?;
    let scratch = scratch()?;
    // A copy where the file does not stand alone: opening it would run a recovery on it.
    let source = look_at(file, CATALOG_FILE, scratch.path());
    let source = source.map_err(|e| format!("{}: {e}", file.display()))?;
    let imported = import(&source, url, false);
    Ok(imported.map_err(|e| format!("{url}: {e}"))?.0)
}

fn to_file(url: &PostgresUrl, file: &Path) -> Result<Audit, Box<dyn Error>> {
    if file.exists() {
        return Err(format!("{} exists already: name a new file", file.display()).into());
    }
    // Before the copy: no catalog may begin with the file while it is made.
    let lock = header::lock(file, CATALOG_FILE)?;
    let written = write_file(url, file);
    if written.is_err() {
        lock.discard();
    }
    written
}

fn write_file(url: &PostgresUrl, file: &Path) -> Result<Audit, Box<dyn Error>> {
    let mut draft = Draft::begin(file, CATALOG_FILE, &create_tables())?;
    let exported = export(url, draft.connection(), true);
    let wanted = exported.map_err(|e| format!("{url}: {e}"))?;
    // Read back and judged under the draft's name. The file takes its own name only when it is
    // good.
    let ready = draft.complete(|written| match audit(written)? {
        found if found == wanted => Ok(()),
        found => Err(DbError::Damaged(format!(
            "wrote {wanted:?}, and read {found:?}"
        ))),
    })?;
    ready.install()?;
    Ok(wanted)
}
