//! Files that are rebuilt, copied, backed up and restored, and files of other programs.

use catalog::audit::audit;
use cluster::service::Service::{self, Catalog, Frontend, Order};
use common::database::draft::check_structure;
use common::database::open_reader;
use common::wire::order::Side;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tests::faults::disks::Mount;
use tests::harness::{Bazaar, wait_steps};
use tests::tool;

const ALL: [Service; 5] = [Catalog, Order(1), Order(2), Order(3), Frontend(1)];

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn database(bazaar: &Bazaar, service: Service) -> PathBuf {
    bazaar.cluster.spec().database(service).expect("it has one")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    common::database::with_suffix(path, suffix)
}

fn stop(bazaar: &mut Bazaar, services: &[Service]) {
    for service in services.iter().rev() {
        bazaar.cluster.stop(*service).expect("stopped");
    }
}

fn start(bazaar: &mut Bazaar, services: &[Service]) {
    for service in services {
        bazaar.cluster.restart(*service).expect("restarted");
    }
    if services.contains(&Frontend(1)) {
        bazaar.cluster.wait_ready(0).expect("ready");
    }
}

/// Trades, and orders that are refused: what is recorded of them lies between the orders' pages.
fn trade(bazaar: &Bazaar, orders: u64) {
    for _ in 0..orders {
        bazaar.trade("FishCo", Side::Sell, 1).expect("trades");
        bazaar
            .trade("BoarCo", Side::Buy, 1_000)
            .expect_err("there are fewer");
    }
}

/// A folder's database files, copied as `cp *.db` does.
fn copy_databases(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "db") {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
}

fn listing(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read(path).expect("read")))
        .collect()
}

fn rebuild(bazaar: &Bazaar, from: u8, database: &Path) -> tool::Ran {
    let log = self::database(bazaar, Order(from));
    tool::run(
        "catalog",
        &["rebuild", "--from", text(&log)],
        &[("CATALOG_DB", text(database))],
    )
}

/// Orders in a catalog file that is sound by itself: it is looked at without what lies beside it.
fn orders_in_catalog(file: &Path) -> u64 {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("catalog.db");
    fs::copy(file, &copy).expect("copied");
    let connection = open_reader(&copy).expect("opens");
    check_structure(&connection).expect("whole");
    audit(&connection).expect("sound").position.next()
}

/// The lost file's `-wal` was recovered into the rebuilt file: its structure was broken, and the
/// term went back.
#[test]
fn a_rebuild_beside_the_wal_of_the_lost_file_is_whole() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    trade(&bazaar, 30);
    stop(&mut bazaar, &ALL);
    start(&mut bazaar, &ALL);
    trade(&bazaar, 20);
    bazaar.wait_level();
    bazaar.cluster.kill(Catalog).expect("killed");
    stop(&mut bazaar, &ALL[1..]);
    let file = database(&bazaar, Catalog);
    fs::remove_file(&file).expect("the file is lost");
    let wal = with_suffix(&file, "-wal");
    assert!(fs::metadata(&wal).expect("its -wal is not").len() > 0);
    let ran = rebuild(&bazaar, 3, &file);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        !wal.exists(),
        "the lost file's -wal lies beside the new one"
    );
    assert!(
        ran.out.contains("catalog.db.replaced-"),
        "the -wal is kept, and that is said: {ran:?}"
    );
    assert_eq!(orders_in_catalog(&file), 50);
    start(&mut bazaar, &ALL);
    trade(&bazaar, 1);
    bazaar.close();
}

/// A rebuild that finds no room says so, and leaves the old file, with its `-wal`, as it was.
#[test]
fn a_rebuild_on_a_full_disk_leaves_the_old_file() {
    let mut bazaar = Bazaar::start();
    trade(&bazaar, 30);
    bazaar.wait_level();
    let disk = bazaar.folder().join("disk");
    let _mount = match Mount::new(&disk) {
        Ok(mount) => mount,
        Err(why) => {
            println!("skipped: this system lets the test mount nothing ({why})");
            return bazaar.close();
        }
    };
    bazaar.cluster.kill(Catalog).expect("killed");
    let there = disk.join("catalog.db");
    for part in ["", "-wal"] {
        let from = with_suffix(&database(&bazaar, Catalog), part);
        let mut bytes = fs::read(from).expect("read");
        // The zeros at the end of a -wal are no rows, and would not fit.
        bytes.truncate(256 << 10);
        fs::write(with_suffix(&there, part), bytes).expect("written");
    }
    let filler = disk.join("filler");
    for left_kib in [0, 8, 40, 80] {
        // All that there is, then some of it back: the draft fails at another step.
        let _ = fs::write(&filler, vec![0; 4 << 20]);
        let full = fs::metadata(&filler).expect("a file").len();
        fs::OpenOptions::new()
            .write(true)
            .open(&filler)
            .and_then(|filler| filler.set_len(full - (left_kib << 10)))
            .expect("shortened");
        // The lock file of the first attempt may stay.
        let before = listing(&disk);
        let ran = rebuild(&bazaar, 3, &there);
        assert_ne!(ran.code, Some(0), "{left_kib} KiB: {ran:?}");
        assert!(
            ran.err.contains("full") || ran.err.contains("No space"),
            "{ran:?}"
        );
        let mut after = listing(&disk);
        after.remove(&with_suffix(&there, ".lock"));
        let mut before = before;
        before.remove(&with_suffix(&there, ".lock"));
        assert!(after == before, "{left_kib} KiB: something was changed");
    }
    fs::remove_file(&filler).expect("removed");
    let ran = rebuild(&bazaar, 3, &there);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(orders_in_catalog(&there), 30);
    start(&mut bazaar, &[Catalog]);
    bazaar.close();
}

/// After a stop under load every row is in its file: a copy of `*.db` is a complete backup.
#[test]
fn after_a_stop_under_load_a_copy_of_the_database_files_is_complete() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    let copy = bazaar.folder().join("copy");
    bazaar.trade_while(4, |bazaar, control| {
        wait_steps(control, 200);
        let before = bazaar.trade("FishCo", Side::Sell, 1).expect("trades");
        bazaar.cluster.stop(Order(3)).expect("the leader stops");
        nothing_beside(&database(bazaar, Order(3)));
        copy_databases(&bazaar.folder(), &copy);
        let log = copy.join("order3.db");
        let rows = tool::order("dump", &[&log]).lines().count() as u64 - 1;
        assert!(
            rows > before,
            "order {before} is not among the {rows} orders"
        );
        wait_steps(control, 50);
        bazaar.cluster.stop(Catalog).expect("the catalog stops");
        nothing_beside(&database(bazaar, Catalog));
        fs::copy(database(bazaar, Catalog), copy.join("catalog.db")).expect("copied");
        assert!(orders_in_catalog(&copy.join("catalog.db")) >= rows);
        start(bazaar, &[Catalog, Order(3)]);
        wait_steps(control, 50);
    });
    bazaar.wait_level();
    stop(&mut bazaar, &ALL);
    copy_databases(&bazaar.folder(), &copy);
    let files = [1, 2, 3].map(|id| copy.join(format!("order{id}.db")));
    files.iter().for_each(|file| nothing_beside(file));
    let out = tool::order("verify", &files.each_ref().map(PathBuf::as_path));
    let orders = orders_in_catalog(&copy.join("catalog.db"));
    assert!(out.contains(&format!("orders {orders} ")), "{out}");
    let recorded = bazaar.recorder.orders();
    let last = recorded.iter().map(|order| order.number).max();
    assert!(last.expect("orders") < orders, "orders are missing");
    start(&mut bazaar, &ALL);
    bazaar.close();
}

fn nothing_beside(file: &Path) {
    for part in ["-wal", "-shm", "-journal"] {
        let part = with_suffix(file, part);
        assert!(
            !part.exists(),
            "rows lie beside their file: {}",
            part.display()
        );
    }
}

/// A copy of a running bazaar's files lacks the newest rows. Nothing can bring them back; but each
/// service says at its start that they may be missing.
#[test]
fn a_copy_of_a_running_bazaar_is_called_incomplete_at_its_start() {
    let bazaar = Bazaar::start();
    trade(&bazaar, 5);
    bazaar.wait_level();
    let copy = tempfile::tempdir().expect("a folder");
    copy_databases(&bazaar.folder(), copy.path());
    let file = copy.path().join("order2.db");
    let mut replica = tool::start(
        "order",
        &[],
        &[
            ("ORDER_ID", "2"),
            ("ORDER_DB", text(&file)),
            ("ORDER_LISTEN", "127.0.0.1:0"),
        ],
    );
    replica.wait_for("was copied while a service had it open");
    drop(replica);
    let file = copy.path().join("catalog.db");
    let mut catalog = tool::start(
        "catalog",
        &[],
        &[
            ("CATALOG_DB", text(&file)),
            ("CATALOG_LISTEN", "127.0.0.1:0"),
        ],
    );
    catalog.wait_for("was copied while a service had it open");
    drop(catalog);
    bazaar.close();
}

/// A backup that is made under load is one consistent set: it is restored, and the bazaar goes on
/// from there with every order of before the backup.
#[test]
fn a_backup_under_load_restores_every_order_of_before_it() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    let (backup, dir) = (bazaar.folder().join("backup"), bazaar.folder());
    let mut before = 0;
    bazaar.trade_while(4, |bazaar, control| {
        wait_steps(control, 300);
        before = bazaar.trade("FishCo", Side::Sell, 1).expect("trades");
        let ran = tool::run(
            "bazaar",
            &["backup", text(&backup), "--dir", text(&dir)],
            &[],
        );
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.out.contains("verified"), "{ran:?}");
        wait_steps(control, 100);
    });
    let names: Vec<PathBuf> = listing(&backup).into_keys().collect();
    let wanted = ["catalog.db", "manifest.json", "order.db"].map(|name| backup.join(name));
    assert_eq!(names, wanted);
    let orders = orders_in_catalog(&backup.join("catalog.db"));
    assert!(orders > before, "order {before} is not in the backup");
    assert!(
        tool::order("verify", &[&backup.join("order.db")]).contains(&format!("orders {orders} ")),
        "log and catalog end at one order"
    );

    let again = tool::run(
        "bazaar",
        &["backup", text(&backup), "--dir", text(&dir)],
        &[],
    );
    assert!(
        again.code == Some(1) && again.err.contains("is not empty"),
        "{again:?}"
    );
    let restore = |to: &Path, more: &[&str]| {
        let arguments = ["restore", text(&backup), "--dir", text(to)];
        tool::run("bazaar", &[&arguments, more].concat(), &[])
    };
    let running = restore(&dir, &["--replace"]);
    assert!(
        running.code == Some(1) && running.err.contains("in use"),
        "a running bazaar is not restored: {running:?}"
    );
    let other = bazaar.folder().join("restored");
    let ran = restore(&other, &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let logs = [1, 2, 3].map(|id| other.join(format!("order{id}.db")));
    let logs = logs.each_ref().map(PathBuf::as_path);
    assert!(tool::order("verify", &logs).contains("\nequal\n"));
    assert_eq!(orders_in_catalog(&other.join("catalog.db")), orders);
    let refused = restore(&other, &[]);
    assert!(
        refused.code == Some(1) && refused.err.contains("--replace"),
        "{refused:?}"
    );
    let replaced = restore(&other, &["--replace"]);
    assert!(
        replaced.code == Some(0) && replaced.out.contains("catalog.db.replaced-"),
        "{replaced:?}"
    );

    // In the place of the bazaar's own files.
    bazaar.wait_level();
    stop(&mut bazaar, &ALL);
    let kept = bazaar.folder().join("kept");
    copy_databases(&bazaar.folder(), &kept);
    let ran = restore(&dir, &["--replace"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    start(&mut bazaar, &ALL);
    bazaar.wait_level();
    let number = bazaar.api().order(
        &common::wire::public::NewOrder {
            name: "FishCo".into(),
            quantity: 1,
            side: Side::Sell,
        },
        None,
    );
    assert_eq!(number, Ok(orders), "numbers go on where the backup ends");
    // The closing checks are about all that was acknowledged, before the backup and after it.
    stop(&mut bazaar, &ALL);
    for name in ["catalog.db", "order1.db", "order2.db", "order3.db"] {
        fs::copy(kept.join(name), dir.join(name)).expect("copied back");
    }
    start(&mut bazaar, &ALL);
    bazaar.close();
}

/// Another process that looks at the files of a running bazaar harms none of its services: SQLite's
/// locks, by which it knows that a file is in use, are held as long as the service runs.
#[test]
fn reading_the_files_of_a_running_bazaar_harms_no_service() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    for round in 0..5 {
        trade(&bazaar, 5);
        bazaar.wait_level();
        let files = [1, 2, 3].map(|id| database(&bazaar, Order(id)));
        let out = tool::order("verify", &files.each_ref().map(PathBuf::as_path));
        assert!(out.contains("\nequal\n"), "{out}");
        let backup = bazaar.folder().join(format!("backup{round}"));
        let arguments =
            ["backup", text(&backup), "--dir", text(&bazaar.folder())].map(str::to_owned);
        let ran = tool::run("bazaar", &arguments.each_ref().map(String::as_str), &[]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let died = bazaar.cluster.died();
        assert!(died.is_empty(), "{died:?}");
    }
    bazaar.close();
}

/// A backup of which a byte was changed, or that was not finished, is not restored.
#[test]
fn a_damaged_backup_is_refused() {
    let bazaar = Bazaar::start();
    trade(&bazaar, 3);
    let folder = tempfile::tempdir().expect("a folder");
    let (backup, to) = (folder.path().join("backup"), folder.path().join("to"));
    let made = tool::run(
        "bazaar",
        &["backup", text(&backup), "--dir", text(&bazaar.folder())],
        &[],
    );
    assert_eq!(made.code, Some(0), "{made:?}");
    let restore = || {
        tool::run(
            "bazaar",
            &["restore", text(&backup), "--dir", text(&to)],
            &[],
        )
    };
    let log = backup.join("order.db");
    let good = fs::read(&log).expect("read");
    let mut bytes = good.clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&log, &bytes).expect("written");
    let ran = restore();
    assert!(
        ran.code == Some(1) && ran.err.contains("order.db"),
        "{ran:?}"
    );
    fs::write(&log, &good).expect("written");
    fs::remove_file(backup.join("manifest.json")).expect("removed");
    let ran = restore();
    assert!(
        ran.code == Some(1) && ran.err.contains("not finished"),
        "{ran:?}"
    );
    assert!(!to.join("catalog.db").exists());
    bazaar.close();
}

/// A file of another program that a setting names by a slip keeps its bytes and its journal mode,
/// and nothing is left beside it.
#[test]
fn a_file_of_another_program_is_refused_by_every_program_and_left_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("other.db");
    let connection = rusqlite::Connection::open(&file).expect("opens");
    connection
        .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1);")
        .expect("written");
    drop(connection);
    let readme = folder.path().join("README.md");
    fs::write(&readme, "words").expect("written");
    let before = listing(folder.path());
    for file in [&file, &readme] {
        let log = text(file);
        let order = tool::run("order", &[], &[("ORDER_ID", "1"), ("ORDER_DB", log)]);
        let catalog = tool::run("catalog", &[], &[("CATALOG_DB", log)]);
        let rebuild = tool::run(
            "catalog",
            &["rebuild", "--from", log],
            &[("CATALOG_DB", log)],
        );
        let verify = tool::run("order", &["verify", log], &[]);
        for (ran, code) in [(order, 2), (catalog, 2), (rebuild, 1), (verify, 1)] {
            assert_eq!(ran.code, Some(code), "{ran:?}");
            let said = format!("{}{}", ran.out, ran.err);
            assert!(said.contains(log) && said.contains("is not a"), "{ran:?}");
        }
    }
    assert!(listing(folder.path()) == before, "something was changed");
}

/// `VACUUM` and `ANALYZE` change a file and no order: the logs stay equal, the files do not.
#[test]
fn verify_compares_orders_and_tells_of_files_apart() {
    let mut bazaar = Bazaar::start();
    trade(&bazaar, 5);
    bazaar.wait_level();
    stop(&mut bazaar, &ALL);
    let files = [1, 2, 3].map(|id| database(&bazaar, Order(id)));
    let verify = || {
        let files = files.each_ref().map(PathBuf::as_path);
        tool::order("verify", &files)
    };
    assert!(
        verify().contains("copies: equal byte for byte\nequal\n"),
        "{}",
        verify()
    );
    for (file, statement) in files.iter().zip(["VACUUM", "ANALYZE"]) {
        let connection = rusqlite::Connection::open(file).expect("opens");
        connection.execute_batch(statement).expect("done");
        drop(connection);
        assert!(
            verify().contains("as after VACUUM or ANALYZE\nequal\n"),
            "{statement}: {}",
            verify()
        );
    }
    start(&mut bazaar, &ALL);
    bazaar.close();
}

/// `order verify` of a bazaar that trades is no alarm: a copy that is behind is called that, and
/// has an exit code of its own.
#[test]
fn verify_of_a_log_that_is_behind_says_prefix() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    trade(&bazaar, 3);
    bazaar.wait_level();
    bazaar.cluster.stop(Order(1)).expect("stopped");
    trade(&bazaar, 2);
    let [behind, ahead] = [1, 3].map(|id| database(&bazaar, Order(id)));
    let ran = tool::run("order", &["verify", text(&ahead), text(&behind)], &[]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(
        ran.out.contains("has the first 3 of the 5 orders") && !ran.out.contains("NOT EQUAL"),
        "{ran:?}"
    );
    start(&mut bazaar, &[Order(1)]);
    bazaar.close();
}

/// Where no copy can be made, `TMPDIR` is to blame, and no log is called unreadable.
#[test]
fn verify_blames_tmpdir_for_what_is_its_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("order1.db");
    let mut replica = tool::start(
        "order",
        &[],
        &[
            ("ORDER_ID", "1"),
            ("ORDER_DB", text(&file)),
            ("ORDER_LISTEN", "127.0.0.1:0"),
        ],
    );
    replica.wait_for("listening");
    drop(replica);
    let gone = folder.path().join("gone");
    let ran = tool::run(
        "order",
        &["verify", text(&file)],
        &[("TMPDIR", text(&gone))],
    );
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.err.contains(&format!("TMPDIR={}", gone.display())) && !ran.out.contains("READABLE"),
        "{ran:?}"
    );
}
