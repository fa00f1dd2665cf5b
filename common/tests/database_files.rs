//! Database files: looked at before they are changed, complete before they take their names, moved
//! with what belongs to them, and alone after a clean stop.

use common::database::close::close_cleanly;
use common::database::draft::Draft;
use common::database::header::{Found, identify, lock};
use common::database::{CATALOG_FILE, DbError, ORDER_LOG, open_reader, open_writer, with_suffix};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const CREATE: &str = "CREATE TABLE t (x INTEGER NOT NULL) STRICT;";

fn open(path: &Path) -> Result<Connection, DbError> {
    open_writer(path, ORDER_LOG, CREATE, |_| Ok(()))
}

fn insert(connection: &Connection, x: i64) {
    connection
        .execute("INSERT INTO t (x) VALUES (?)", [x])
        .expect("inserts");
}

fn sum(path: &Path) -> i64 {
    let connection = open_reader(path).expect("opens");
    connection
        .query_row("SELECT coalesce(sum(x), 0) FROM t", [], |row| row.get(0))
        .expect("reads")
}

/// Every file of a folder, with its bytes.
fn listing(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read(path).expect("read")))
        .collect()
}

/// A file as a killed service leaves it: rows 1 in the file, 2 in its `-wal`.
fn killed(folder: &Path) -> PathBuf {
    let (live, file) = (folder.join("live.db"), folder.join("killed.db"));
    let connection = open(&live).expect("opens");
    insert(&connection, 1);
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .expect("moves");
    insert(&connection, 2);
    for part in ["", "-wal"] {
        fs::copy(with_suffix(&live, part), with_suffix(&file, part)).expect("copied");
    }
    file
}

/// A complete file that has not taken its name yet.
fn made_ready(target: &Path) {
    let mut draft = Draft::begin(target, ORDER_LOG, CREATE).expect("begins");
    insert(draft.connection(), 40);
    // Not installed: the process has died.
    let _ = draft.complete(|_| Ok(())).expect("complete");
}

/// A file that a setting names by a slip keeps its bytes, and nothing is left beside it: neither
/// SQLite's files nor a lock.
#[test]
fn a_file_of_another_program_is_refused_and_left_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let in_folder = |name: &str| folder.path().join(name);
    let rollback = Connection::open(in_folder("rollback.db")).expect("opens");
    rollback.execute_batch(CREATE).expect("creates");
    drop(rollback);
    let wal = in_folder("wal.db");
    let connection = Connection::open(&wal).expect("opens");
    connection
        .execute_batch("PRAGMA journal_mode = wal; CREATE TABLE other (x);")
        .expect("creates");
    let catalog = in_folder("catalog.db");
    drop(open_writer(&catalog, CATALOG_FILE, CREATE, |_| Ok(())).expect("opens"));
    fs::write(in_folder("README.md"), "words").expect("written");
    fs::write(in_folder("long.txt"), "words ".repeat(1_000)).expect("written");
    let before = listing(folder.path());
    for name in [
        "rollback.db",
        "wal.db",
        "catalog.db",
        "README.md",
        "long.txt",
    ] {
        let file = in_folder(name);
        let error = open(&file).expect_err(name);
        assert!(matches!(error, DbError::Foreign(_)), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
        lock(&file, ORDER_LOG).expect_err(name);
    }
    assert!(listing(folder.path()) == before, "something was changed");
}

/// A folder, too, is no file of ours; and one of a newer version is refused before it is changed.
#[test]
fn a_folder_and_a_newer_version_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = open(folder.path()).expect_err("a folder").to_string();
    assert!(error.contains("is not an order log"), "{error}");
    let file = folder.path().join("newer.db");
    drop(open(&file).expect("opens"));
    close_cleanly(&file).expect("closes");
    let connection = Connection::open(&file).expect("opens");
    connection
        .pragma_update(None, "user_version", 99)
        .expect("updates");
    drop(connection);
    let before = listing(folder.path());
    let error = open(&file).expect_err("newer").to_string();
    assert!(error.contains("version 99"), "{error}");
    assert!(listing(folder.path()) == before, "something was changed");
}

/// A file of ours whose first bytes are damaged, or that was cut within them, is damaged, not
/// somebody else's: a replica sets it aside.
#[test]
fn a_damaged_header_is_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("order.db");
    drop(open(&file).expect("opens"));
    close_cleanly(&file).expect("closes");
    let good = fs::read(&file).expect("read");
    for at in 0..18 {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(&file, &bytes).expect("written");
        let opened = open(&file);
        assert!(
            opened.as_ref().is_ok() || opened.as_ref().is_err_and(DbError::is_damage),
            "{at}: {opened:?}"
        );
        drop(opened);
        let _ = fs::remove_file(with_suffix(&file, "-wal"));
    }
    fs::write(&file, &good[..40]).expect("written");
    assert!(open(&file).expect_err("cut").is_damage());
}

/// From the moment at which a new file has its name, a copy of it alone shows what it is: its
/// tables and what it began with are not in the `-wal`.
#[test]
fn a_new_file_is_complete_when_it_takes_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, copy) = (folder.path().join("new.db"), folder.path().join("copy.db"));
    let begin = |new: &rusqlite::Transaction<'_>| {
        insert(new, 7);
        Ok(())
    };
    let connection = open_writer(&file, ORDER_LOG, CREATE, begin).expect("opens");
    insert(&connection, 1);
    fs::copy(&file, &copy).expect("copied");
    assert_eq!(
        identify(&copy, ORDER_LOG).expect("ours"),
        Found::Ours { open: true },
        "a copy of an open file shows that it is one"
    );
    drop(open(&copy).expect("opens"));
    assert_eq!(sum(&copy), 7);
}

/// SQLite would recover the frames of a `-wal` that is left of a lost file into the new one.
#[test]
fn an_orphaned_wal_is_set_aside_and_not_recovered() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = killed(folder.path());
    let wal = fs::read(with_suffix(&file, "-wal")).expect("read");
    fs::remove_file(&file).expect("removed");
    drop(open(&file).expect("opens"));
    assert_eq!(sum(&file), 0);
    let kept = listing(folder.path());
    let kept = kept.iter().find(|(path, bytes)| {
        path.to_string_lossy().contains("killed.db.replaced-") && **bytes == wal
    });
    assert!(kept.is_some(), "the -wal is kept");
}

/// Wherever a process dies between the renames by which a new file takes the place of an old one,
/// the next start finds the new one, without the old one's `-wal`, and the old one is whole under
/// one name.
#[test]
fn an_install_that_died_is_finished_by_the_next_start() {
    for moved in 0..=2 {
        let folder = tempfile::tempdir().expect("a folder");
        let file = killed(folder.path());
        made_ready(&file);
        let made = fs::metadata(with_suffix(&file, ".ready")).and_then(|made| made.modified());
        let since = made.map(|at| at.duration_since(SystemTime::UNIX_EPOCH));
        let ms = since.expect("a time").expect("after 1970").as_millis();
        let kept = with_suffix(&file, &format!(".replaced-{ms}"));
        for part in ["", "-wal"].into_iter().take(moved) {
            fs::rename(with_suffix(&file, part), with_suffix(&kept, part)).expect("moved");
        }
        drop(open(&file).expect("opens"));
        assert_eq!(sum(&file), 40, "{moved} parts were moved");
        assert_eq!(sum(&kept), 3, "{moved} parts were moved");
        assert!(!with_suffix(&file, ".ready").exists());
    }
}

/// Before it is complete, a draft changes nothing; what is left of it is removed by the next one.
#[test]
fn a_draft_that_fails_leaves_the_old_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = killed(folder.path());
    let before = listing(folder.path());
    fs::write(with_suffix(&file, ".draft"), "half").expect("written");
    let draft = Draft::begin(&file, ORDER_LOG, CREATE).expect("begins");
    let refused = draft.complete(|_| Err(DbError::Damaged("not as wanted".into())));
    assert!(refused.expect_err("refused").is_damage());
    assert!(listing(folder.path()) == before, "something was changed");
    drop(open(&file).expect("opens"));
    assert_eq!(sum(&file), 3);
}

/// After a clean stop every row is in the file, although a reader closed last, and nothing lies
/// beside it.
#[test]
fn a_file_that_was_closed_cleanly_stands_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("order.db");
    let writer = open(&file).expect("opens");
    let reader = open_reader(&file).expect("opens");
    for x in 1..=100 {
        insert(&writer, x);
    }
    assert_eq!(sum(&file), 5_050);
    drop(writer);
    drop(reader);
    close_cleanly(&file).expect("closes");
    let names: Vec<PathBuf> = listing(folder.path()).into_keys().collect();
    assert_eq!(names, std::slice::from_ref(&file));
    assert_eq!(
        identify(&file, ORDER_LOG).expect("ours"),
        Found::Ours { open: false }
    );
    assert_eq!(sum(&file), 5_050);
    close_cleanly(&file).expect("harmless to repeat");
    close_cleanly(&folder.path().join("none.db")).expect("nothing to do");
}

/// A reader of another process that is in the middle of a read, such as a backup, is waited for and
/// then named; no row is lost.
#[test]
fn a_reader_that_stays_is_an_error_and_no_loss() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("order.db");
    let writer = open(&file).expect("opens");
    insert(&writer, 1);
    let reader = open_reader(&file).expect("opens");
    reader
        .execute_batch("BEGIN; SELECT * FROM t")
        .expect("reads");
    insert(&writer, 2);
    drop(writer);
    let error = close_cleanly(&file).expect_err("read").to_string();
    assert!(error.contains("another process reads"), "{error}");
    assert_eq!(sum(&file), 3);
    drop(reader);
    close_cleanly(&file).expect("closes");
    assert_eq!(sum(&file), 3);
}
