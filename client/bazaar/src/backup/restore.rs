//! `bazaar restore`.
//!
//! A restore makes and checks all files before any takes its name. It makes the catalog's file
//! ready last: that is the commit. A crash before it leaves the old catalog, and each restored log
//! fills itself from that catalog's journal. After a crash behind it, each service finishes its own
//! file at its start ([`common::database::draft`]).

use super::{CATALOG, LOG, Manifest, logs_in, read_log};
use crate::launcher::take_folder;
use catalog::audit::audit;
use catalog::store::postgres::PostgresUrl;
use catalog::store::postgres::transfer::{KeptAs, import};
use catalog::store::sqlite::set_fresh_term;
use common::database::aside::PARTS;
use common::database::draft::{Draft, Ready, finish_install, ready_name};
use common::database::{
    CATALOG_FILE, DbError, FileKind, ORDER_LOG, header, open_reader, with_suffix,
};
use common::filelock::FileLock;
use common::wire::order::{Genesis, Position};
use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Replicas of a bazaar, unless its folder has more logs.
const REPLICAS: u8 = 3;

#[derive(Debug)]
pub struct Restored {
    pub manifest: Manifest,
    /// The replaced files, under their new names.
    pub kept: Vec<PathBuf>,
}

/// Restores the backup in `folder` into the bazaar's folder `dir`, the catalog's part into `server`
/// where catalogs share one. It refuses to replace files
/// without `replace`; with it, it keeps them under other names.
///
/// # Errors
/// After an error the bazaar's folder is as before, unless the message says otherwise.
pub fn restore(
    folder: &Path,
    dir: &Path,
    server: Option<&PostgresUrl>,
    replace: bool,
) -> Result<Restored, String> {
    let manifest = Manifest::read(folder)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
    let _alone = take_folder(dir)?;
    let catalog = dir.join(CATALOG);
    let logs: BTreeSet<PathBuf> = (1..=REPLICAS)
        .map(|id| dir.join(format!("order{id}.db")))
        .chain(logs_in(dir))
        .collect();
    if !replace {
        refuse_to_overwrite(logs.iter().chain([&catalog]))?;
    }
    let _locks = lock_all(&catalog, &logs)?;
    // An earlier restore may have crashed in its last steps.
    for file in logs.iter().chain([&catalog]) {
        finish_install(file).map_err(|e| e.to_string())?;
    }
    let mut kept = Vec::new();
    let mut ready = make_ready(folder, &manifest, &catalog, &logs)?;
    if let Some(url) = server {
        // The catalog's file is ready last. On a server its content goes there, in one transaction,
        // which is the commit then.
        let file = ready.pop().ok_or("nothing was made ready")?;
        let sent = send(&catalog, url, replace);
        file.discard().map_err(|e| e.to_string())?;
        match sent {
            Ok(schema) => kept.extend(schema.map(|name| PathBuf::from(format!("schema {name}")))),
            Err(error) => {
                for log in ready {
                    log.discard().map_err(|e| format!("{error}; and {e}"))?;
                }
                return Err(error);
            }
        }
    }
    for file in ready {
        kept.extend(file.install().map_err(|e| {
            format!("{e}; the restore is committed: each service finishes its part when it starts")
        })?);
    }
    Ok(Restored { manifest, kept })
}

/// Copies the catalog's file that is ready into a database.
fn send(catalog: &Path, url: &PostgresUrl, replace: bool) -> Result<KeptAs, String> {
    let named = |e: String| format!("{url}: {e}");
    let source = open_reader(&ready_name(catalog)).map_err(|e| named(e.to_string()))?;
    let sent = import(&source, url, replace).map_err(|e| named(e.to_string()))?;
    Ok(sent.1)
}

fn refuse_to_overwrite<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Result<(), String> {
    let parts = |file: &PathBuf| PARTS.map(|part| with_suffix(file, part));
    let there: Vec<String> = files
        .flat_map(parts)
        .filter(|part| part.exists())
        .map(|part| part.display().to_string())
        .collect();
    if there.is_empty() {
        return Ok(());
    }
    Err(format!(
        "there are files already: {}; with --replace they are kept under other names, \
         and the backup takes their place",
        there.join(", ")
    ))
}

fn lock_all(catalog: &Path, logs: &BTreeSet<PathBuf>) -> Result<Vec<FileLock>, String> {
    let of_kind = |kind: FileKind| move |file: &PathBuf| (file.clone(), kind);
    let mut all: Vec<_> = logs.iter().map(of_kind(ORDER_LOG)).collect();
    all.push((catalog.into(), CATALOG_FILE));
    all.iter()
        .map(|(file, kind)| header::lock(file, *kind).map_err(|e| e.to_string()))
        .collect()
}

/// Makes all files ready, the catalog's last. After an error it discards them.
fn make_ready(
    folder: &Path,
    manifest: &Manifest,
    catalog: &Path,
    logs: &BTreeSet<PathBuf>,
) -> Result<Vec<Ready>, String> {
    let mut ready = Vec::new();
    let mut failed = None;
    for log in logs {
        match ready_log(folder, manifest, log) {
            Ok(file) => ready.push(file),
            Err(error) => {
                failed = Some(format!("{}: {error}", log.display()));
                break;
            }
        }
    }
    if failed.is_none() {
        match ready_catalog(folder, manifest, catalog) {
            Ok(file) => ready.push(file),
            Err(error) => failed = Some(format!("{}: {error}", catalog.display())),
        }
    }
    let Some(error) = failed else {
        return Ok(ready);
    };
    for file in ready {
        file.discard().map_err(|e| format!("{error}; and {e}"))?;
    }
    Err(error)
}

fn ready_log(folder: &Path, manifest: &Manifest, log: &Path) -> Result<Ready, DbError> {
    let draft = Draft::copy_of(&folder.join(LOG), log, ORDER_LOG)?;
    draft.complete(|written| {
        let (genesis, position) = read_log(written)?;
        expect(manifest, &genesis, position)
    })
}

fn ready_catalog(folder: &Path, manifest: &Manifest, catalog: &Path) -> Result<Ready, DbError> {
    let mut draft = Draft::copy_of(&folder.join(CATALOG), catalog, CATALOG_FILE)?;
    // A higher term fences the leaders of terms after the backup, wherever one still runs.
    set_fresh_term(draft.connection())?;
    draft.complete(|written| {
        let found = audit(written)?;
        expect(manifest, &found.genesis, found.position)
    })
}

fn expect(manifest: &Manifest, genesis: &Genesis, position: Position) -> Result<(), DbError> {
    let found = (&genesis.cluster.0, position.next(), position.hash);
    let wanted = (&manifest.cluster, manifest.orders, manifest.last_hash);
    if found == wanted {
        return Ok(());
    }
    Err(DbError::Damaged(format!(
        "the backup's file has cluster, orders and last hash {found:?}, its manifest {wanted:?}"
    )))
}
