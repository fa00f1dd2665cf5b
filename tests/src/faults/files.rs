//! Files that are deleted, damaged, cut, old, or another cluster's.

use super::Scenario;
use super::run::Run;
use crate::harness::SOON;
use crate::tool;
use cluster::service::Service::{self, Catalog, Order};
use cluster::wait;
use common::crash;
use common::wire::catalog::CatalogState;
use common::wire::public::ReplicaState;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new("file-deleted", file_deleted),
    Scenario::new("file-damaged", file_damaged),
    Scenario::new("file-truncated", file_truncated),
    Scenario::new("wal-damaged", wal_damaged),
    Scenario::new("catalog-file-cut", catalog_file_cut).with_file(),
    Scenario::new("catalog-file-damaged", catalog_file_damaged).with_file(),
    Scenario::new("catalog-wal-damaged", catalog_wal_damaged).with_file(),
    Scenario::new("another-cluster", another_cluster),
    Scenario::new("another-program", another_program),
    Scenario::new("rebuild-dies", rebuild_dies).with_file(),
];

/// Places in a file that are damaged, one after the other.
const OFFSETS: u64 = 10;
/// Bytes of SQLite's header before those that say whose file it is. A file of someone else is
/// refused, loudly, and not set aside: it may be a slip in a setting.
const HEADER: u64 = 60;
/// The first of those.
const APPLICATION: u64 = 68;

pub(super) fn database(run: &Run, service: Service) -> PathBuf {
    run.bazaar
        .cluster
        .spec()
        .database(service)
        .expect("it has a file")
}

/// A place to damage: in the header first, then in each part.
fn offset(run: &mut Run, step: u64, length: u64) -> u64 {
    if step == 0 {
        run.rng.u64(..HEADER)
    } else {
        length * step / OFFSETS + run.rng.u64(..length / OFFSETS)
    }
}

/// A database file and what SQLite keeps beside it.
fn parts(database: &Path) -> Vec<PathBuf> {
    let part = |ending| {
        let mut path = database.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    };
    ["", "-wal", "-shm"]
        .map(part)
        .into_iter()
        .filter(|part| part.exists())
        .collect()
}

fn remove(database: &Path) {
    for part in parts(database) {
        fs::remove_file(part).expect("removed");
    }
}

/// Each replica's file is deleted, with and without what belongs to it, and once all three but one.
fn file_deleted(run: &mut Run) {
    for id in [1, 2, 3] {
        run.stop(Order(id));
        remove(&database(run, Order(id)));
        run.revive(Order(id));
        run.healthy();
    }
    for id in [1, 2] {
        run.kill(Order(id));
        // The file alone: its -wal, left behind, belongs to nothing.
        fs::remove_file(database(run, Order(id))).expect("removed");
    }
    run.progress(20);
    run.revive(Order(1));
    run.revive(Order(2));
}

/// One bit is flipped, at places all over a replica's file.
fn file_damaged(run: &mut Run) {
    at_many_places(run, flip);
}

/// A replica's file ends early, at places all over it.
fn file_truncated(run: &mut Run) {
    at_many_places(run, |file, at| {
        File::options()
            .write(true)
            .open(file)
            .and_then(|file| file.set_len(at))
            .expect("cut");
    });
}

/// The length of a -wal without the zeros that it is filled with.
fn written(wal: &Path) -> u64 {
    let bytes = fs::read(wal).expect("read");
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last as u64 + 1)
}

fn flip(file: &Path, at: u64) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(file)
        .expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("written");
}

/// Stops a replica, damages its file at one place, and starts it: it comes level again, by whatever
/// means, each time.
fn at_many_places(run: &mut Run, damage: fn(&Path, u64)) {
    run.progress(200);
    for step in 0..OFFSETS {
        let replica = Order(1 + run.rng.u8(..3));
        run.stop(replica);
        let file = database(run, replica);
        // Into the file what is beside it, so that the damage hits rows.
        tool::checkpoint(&file);
        let length = fs::metadata(&file).expect("a file").len();
        let at = offset(run, step, length);
        damage(&file, at);
        run.revive(replica);
        run.progress(5);
    }
    run.healthy();
}

/// A killed replica leaves a -wal: bits of it are flipped, it is cut, it is removed.
fn wal_damaged(run: &mut Run) {
    for step in 0..OFFSETS {
        let replica = Order(1 + run.rng.u8(..3));
        run.progress(30);
        run.kill(replica);
        let wal = parts(&database(run, replica))
            .into_iter()
            .find(|part| part.to_string_lossy().ends_with("-wal"));
        let length = wal.as_deref().map_or(0, written);
        if let Some(wal) = wal.filter(|_| length > 0) {
            let at = run.rng.u64(..length);
            match step % 3 {
                0 => flip(&wal, at),
                1 => File::options()
                    .write(true)
                    .open(&wal)
                    .and_then(|file| file.set_len(at))
                    .expect("cut"),
                _ => fs::remove_file(&wal).expect("removed"),
            }
        }
        run.revive(replica);
    }
    run.healthy();
}

/// The catalog finds an old copy of its file, shorter than the logs: no trade until `catalog
/// rebuild`, which mends it.
fn catalog_file_cut(run: &mut Run) {
    run.stop(Catalog);
    let file = database(run, Catalog);
    tool::checkpoint(&file);
    let old = run.bazaar.folder().join("catalog-old.db");
    fs::copy(&file, &old).expect("copied");
    run.revive(Catalog);
    run.healthy();
    run.progress(100);
    run.stop(Catalog);
    remove(&file);
    fs::copy(&old, &file).expect("copied back");
    run.fault();
    run.revive(Catalog);
    let noticed = wait::until(SOON, || {
        run.status()
            .filter(|s| s.catalog.state == Some(CatalogState::HistoryLost))
    });
    assert!(
        noticed.is_some(),
        "the catalog does not notice that its file is old: {:?}",
        run.status()
    );
    let before = run.acknowledged();
    run.elapse_ms(800, 1_200);
    assert_eq!(run.acknowledged(), before, "trades with an old file");
    rebuild(run);
    run.healthy();
}

/// Stops catalog and replicas, and makes the catalog's file from the longest log.
fn rebuild(run: &mut Run) {
    for service in [Catalog, Order(1), Order(2), Order(3)] {
        if run.bazaar.cluster.pid(service).is_some() {
            run.stop(service);
        }
    }
    let logs = (1..=3).map(|id| database(run, Order(id)));
    let rows = |log: &PathBuf| {
        tool::run("order", &["dump", log.to_str().expect("UTF-8")], &[])
            .out
            .lines()
            .count()
    };
    let longest = logs.max_by_key(rows).expect("three logs");
    let ran = run_rebuild(run, &longest, "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    run.refusals_are_lost();
    for service in [Catalog, Order(1), Order(2), Order(3)] {
        run.revive(service);
    }
}

/// Runs `catalog rebuild`, to die at a crash point if one is named.
fn run_rebuild(run: &Run, log: &Path, crash_at: &str) -> tool::Ran {
    let variables = run.bazaar.cluster.spec().environment(Catalog);
    let mut variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    variables.push((crash::VARIABLE, crash_at));
    let arguments = ["rebuild", "--from", log.to_str().expect("UTF-8")];
    tool::run("catalog", &arguments, &variables)
}

/// `catalog rebuild` dies between any two of its steps, beside a file that a killed catalog left,
/// with its `-wal`: the next start finds the old file or the new one, whole, and every order.
fn rebuild_dies(run: &mut Run) {
    if !super::crashes::compiled_in() {
        run.note("skipped: the binaries were built without crash points".into());
        return;
    }
    for point in crash::FILE_POINTS {
        run.progress(30);
        run.kill(Catalog);
        for id in 1..=3 {
            run.stop(Order(id));
        }
        let file = database(run, Catalog);
        run.fault();
        let ran = run_rebuild(run, &database(run, Order(3)), point);
        assert_eq!(ran.code, None, "{point}: it was to die: {ran:?}");
        run.refusals_are_lost();
        for service in [Catalog, Order(1), Order(2), Order(3)] {
            run.revive(service);
        }
        run.healthy();
        let [draft, ready] = [".draft", ".ready"].map(|ending| {
            let mut path = file.as_os_str().to_owned();
            path.push(ending);
            PathBuf::from(path)
        });
        assert!(!ready.exists(), "{point}: the last steps are not finished");
        // A draft that is left is removed by the next one.
        let _ = fs::remove_file(draft);
    }
}

/// One bit is flipped, at places all over the catalog's file: the catalog either refuses to serve,
/// and `catalog rebuild` mends it, or what it serves is right.
fn catalog_file_damaged(run: &mut Run) {
    run.progress(200);
    let file = database(run, Catalog);
    let mut refused = 0;
    for step in 0..OFFSETS {
        run.stop(Catalog);
        tool::checkpoint(&file);
        let length = fs::metadata(&file).expect("a file").len();
        let at = offset(run, step, length);
        flip(&file, at);
        run.fault();
        run.start(Catalog);
        refused += u64::from(refuses(run));
    }
    // Damage that no step met so far must not be met by the checks at the end.
    rebuild(run);
    run.note(format!(
        "refused to serve {refused} of {OFFSETS} damaged files"
    ));
}

/// A catalog that was killed leaves a -wal: a bit of it is flipped, or it is cut. Commits
/// are lost then: the catalog refuses until `catalog rebuild`.
fn catalog_wal_damaged(run: &mut Run) {
    let mut refused = 0;
    for step in 0..4 {
        run.progress(60);
        run.kill(Catalog);
        // A refusal may be lost with the end of the file, and no log has it.
        run.refusals_are_lost();
        let wal = parts(&database(run, Catalog))
            .into_iter()
            .find(|part| part.to_string_lossy().ends_with("-wal"));
        let wal = wal.expect("a killed catalog leaves what it wrote last");
        let at = run.rng.u64(..written(&wal));
        if step % 2 == 0 {
            flip(&wal, at);
        } else {
            File::options()
                .write(true)
                .open(&wal)
                .and_then(|file| file.set_len(at))
                .expect("cut");
        }
        run.fault();
        run.start(Catalog);
        refused += u64::from(refuses(run));
        run.healthy();
    }
    run.note(format!("refused to serve {refused} of 4 damaged files"));
}

/// Whether a catalog that was started with a damaged file refuses; it is mended then. It ends, says
/// that it cannot serve, or trades: then the damage was in no row, and the closing checks would see
/// what it did.
fn refuses(run: &mut Run) -> bool {
    let before = run.acknowledged();
    let trades = wait::until(SOON / 4, || {
        (run.acknowledged() >= before + 10).then_some(())
    });
    if trades.is_some() {
        return false;
    }
    run.forget_refused_start(Catalog);
    if run.bazaar.cluster.pid(Catalog).is_some() {
        run.kill(Catalog);
    }
    // Not a copy of before: a few orders may have traded until the damage was met.
    rebuild(run);
    true
}

/// A replica is given the longer file of another cluster: it never follows, leads or changes
/// either, and everyone else goes on, over a restart of the catalog too; with its own file back it
/// does.
fn another_cluster(run: &mut Run) {
    let other = crate::harness::Bazaar::start();
    for _ in 0..300 {
        other
            .trade("FishCo", common::wire::order::Side::Sell, 1)
            .expect("trades");
    }
    other.wait_level();
    let foreign = other.cluster.spec().database(Order(1)).expect("a file");
    let folder = run.bazaar.folder();
    let replica = Order(run.leader());
    run.stop(replica);
    let own = database(run, replica);
    tool::checkpoint(&own);
    let kept = folder.join("own.db");
    fs::rename(&own, &kept).expect("moved");
    // A consistent copy, though the other cluster runs.
    let connection = rusqlite::Connection::open(&foreign).expect("opens");
    connection
        .execute("VACUUM INTO ?", [own.to_str().expect("UTF-8")])
        .expect("copied");
    drop(connection);
    let before = fs::read(&own).expect("read");
    run.fault();
    run.start(replica);
    let Order(id) = replica else {
        unreachable!("a replica")
    };
    let shown = wait::until(SOON, || {
        let status = run.status()?;
        let own = status.replicas.into_iter().find(|r| u8::from(r.id) == id)?;
        (own.state == ReplicaState::Foreign).then_some(())
    });
    assert!(shown.is_some(), "the foreign file is not shown");
    run.progress(30);
    run.stop(Catalog);
    run.revive(Catalog);
    run.progress(30);
    let health = run.bazaar.health(id).ok();
    let follows = health.as_ref().is_some_and(|h| h.leading.is_some());
    assert!(!follows, "a replica of another cluster leads: {health:?}");
    run.bazaar.cluster.died();
    if run.bazaar.cluster.pid(replica).is_some() {
        run.kill(replica);
    }
    let kept_foreign = fs::read_dir(&folder)
        .expect("a folder")
        .flatten()
        .any(|entry| {
            fs::read(entry.path()).is_ok_and(|bytes| {
                bytes.len() >= before.len() && bytes[100..] == before[100..before.len()]
            })
        });
    run.note(format!(
        "the other cluster's file was {}",
        if kept_foreign {
            "left as it was"
        } else {
            "opened, and not followed"
        }
    ));
    remove(&own);
    fs::rename(&kept, &own).expect("moved back");
    run.revive(replica);
    run.healthy();
    other.close();
}

/// The bytes of a replica's file that say whose it is are damaged: it refuses to start, leaves the
/// file alone, and fetches the log again once someone has removed it.
fn another_program(run: &mut Run) {
    let replica = Order(run.follower());
    run.stop(replica);
    let file = database(run, replica);
    tool::checkpoint(&file);
    flip(&file, APPLICATION);
    let before = fs::read(&file).expect("read");
    run.fault();
    run.start(replica);
    let died = wait::until(SOON, || {
        Some(run.bazaar.cluster.died()).filter(|died| !died.is_empty())
    });
    let died: Vec<_> = died
        .unwrap_or_default()
        .into_iter()
        .map(|(who, status)| (who, status.code()))
        .collect();
    assert_eq!(died, [(replica, Some(2))], "who refused to start");
    let log = fs::read_to_string(run.bazaar.cluster.log_path(replica)).expect("a log");
    assert!(
        log.contains(file.to_str().expect("UTF-8")),
        "the file is not named"
    );
    assert!(
        fs::read(&file).is_ok_and(|after| after == before),
        "the file was changed"
    );
    remove(&file);
    run.revive(replica);
    run.healthy();
}
