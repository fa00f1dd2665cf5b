//! `bazaar backup`.

use super::{CATALOG, LOG, Manifest, logs_in, read_log};
use catalog::audit::{Audit, audit};
use catalog::store::postgres::PostgresUrl;
use catalog::store::postgres::transfer::export;
use catalog::store::sqlite::create_tables as create_catalog;
use common::chain::genesis_hash;
use common::database::draft::Draft;
use common::database::look::look_at;
use common::database::{CATALOG_FILE, DbError, ORDER_LOG, genesis, open_reader, orders};
use common::wire::order::{Genesis, Position};
use order::log::store::create_tables;
use rusqlite::Connection;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct Taken {
    pub manifest: Manifest,
    /// Replicas' logs that could not be compared with the backup, each with the reason.
    pub unread: Vec<String>,
}

/// The end of a replica's log before the snapshot.
struct End {
    file: PathBuf,
    genesis: Genesis,
    position: Position,
}

/// Makes a backup of the bazaar in `dir`, which may trade meanwhile; its catalogs' state is on
/// `server` where they share one. `folder` must be new or empty.
/// After an error it removes `folder`.
///
/// # Errors
/// Names the file that could not be read, written or verified.
pub fn take(folder: &Path, dir: &Path, server: Option<&PostgresUrl>) -> Result<Taken, String> {
    let source = dir.join(CATALOG);
    if server.is_none() && !source.exists() {
        return Err(format!(
            "there is no {}: name the folder of a bazaar with --dir",
            source.display()
        ));
    }
    make_folder(folder)?;
    let taken = fill(folder, dir, server);
    if taken.is_err() {
        // The folder was new or empty, so everything in it is of this attempt.
        let _ = fs::remove_dir_all(folder);
    }
    taken
}

fn make_folder(folder: &Path) -> Result<(), String> {
    let named = |e: std::io::Error| format!("cannot make {}: {e}", folder.display());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(named)?;
    if fs::read_dir(folder).map_err(named)?.next().is_some() {
        return Err(format!(
            "{} is not empty: name a new folder for each backup",
            folder.display()
        ));
    }
    Ok(())
}

fn fill(folder: &Path, dir: &Path, server: Option<&PostgresUrl>) -> Result<Taken, String> {
    let scratch = tempfile::TempDir::new_in(folder)
        .map_err(|e| format!("cannot write {}: {e}", folder.display()))?;
    // The ends of the logs before the snapshot: a replica's rows were in the journal first, so a
    // log that is longer than the snapshot shows a catalog that lost rows.
    let (mut ends, mut unread) = (Vec::new(), Vec::new());
    for (file, at) in logs_in(dir).into_iter().zip(0..) {
        let place = scratch.path().join(format!("log{at}"));
        match fs::create_dir(&place)
            .map_err(|e| DbError::File(e.to_string()))
            .and_then(|()| end(&file, &place))
        {
            Ok(Some((genesis, position))) => ends.push(End {
                file,
                genesis,
                position,
            }),
            Ok(None) => unread.push(format!("{} is empty", file.display())),
            Err(error) => unread.push(format!("{}: {error}", file.display())),
        }
        // The copy may be as large as the log, and the disk must hold one at a time only.
        let _ = fs::remove_dir_all(&place);
    }
    let source = dir.join(CATALOG);
    let named = |e: DbError| format!("{}: {e}", source.display());
    let copy = folder.join(CATALOG);
    let draft = match server {
        Some(url) => {
            let draft = Draft::begin(&copy, CATALOG_FILE, &create_catalog());
            let mut draft = draft.map_err(|e| format!("{}: {e}", copy.display()))?;
            let exported = export(url, draft.connection(), false);
            exported.map_err(|e| format!("{url}: {e}"))?;
            draft
        }
        None => {
            let live = look_at(&source, CATALOG_FILE, scratch.path()).map_err(named)?;
            Draft::snapshot_of(&live, &copy, CATALOG_FILE).map_err(named)?
        }
    };
    let mut found = None;
    let ready = draft.complete(|written| {
        found = Some(audit(written)?);
        Ok(())
    });
    ready.and_then(|ready| ready.install()).map_err(named)?;
    let found = found.ok_or("the snapshot was not read")?;
    let journal = open_reader(&copy).map_err(named)?;
    compare(&ends, &journal, &found)?;
    write_log(&folder.join(LOG), &journal, &found)
        .map_err(|e| format!("{}: {e}", folder.join(LOG).display()))?;
    drop((journal, scratch));
    let Audit {
        genesis,
        position,
        term,
    } = found;
    let summary = (genesis.cluster.0, position.next(), position.hash, term);
    let manifest = Manifest::write(folder, summary, [CATALOG, LOG])?;
    Ok(Taken { manifest, unread })
}

fn end(file: &Path, scratch: &Path) -> Result<Option<(Genesis, Position)>, DbError> {
    let log = look_at(file, ORDER_LOG, scratch)?;
    let Some(genesis) = genesis::read(&log)? else {
        return Ok(None);
    };
    let position = orders::position(&log, genesis_hash(&genesis))?;
    Ok(Some((genesis, position)))
}

/// Each log must be a prefix of the journal.
fn compare(ends: &[End], journal: &Connection, found: &Audit) -> Result<(), String> {
    let seed = genesis_hash(&found.genesis);
    for end in ends {
        let there = orders::hash_before(journal, seed, end.position.next());
        let there = there.map_err(|e| e.to_string())?;
        if end.genesis != found.genesis || there != Some(end.position.hash) {
            return Err(format!(
                "{} is no prefix of the catalog's journal: it is of another bazaar, \
                 or the catalog lost rows; \
                 compare the logs with 'order verify' before anything else",
                end.file.display()
            ));
        }
    }
    Ok(())
}

fn write_log(target: &Path, journal: &Connection, found: &Audit) -> Result<(), DbError> {
    let mut draft = Draft::begin(target, ORDER_LOG, &create_tables())?;
    let transaction = draft.connection().transaction()?;
    genesis::write(&transaction, &found.genesis)?;
    let (mut number, mut inserted) = (0, Ok(()));
    let seed = genesis_hash(&found.genesis);
    orders::scan(journal, seed, 0, usize::MAX >> 1, |order, hash| {
        if inserted.is_ok() {
            inserted = orders::insert(&transaction, number, &order, hash);
        }
        number += 1;
    })?;
    inserted?;
    transaction.commit()?;
    let ready = draft.complete(|log| {
        if read_log(log)? == (found.genesis.clone(), found.position) {
            return Ok(());
        }
        Err(DbError::Damaged("it is not what was written".into()))
    })?;
    ready.install().map(drop)
}
