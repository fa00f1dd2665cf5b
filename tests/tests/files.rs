//! Files that are damaged, deleted or lost: what is fetched again, what is refused, and what `order
//! verify` says.

use cluster::service::Service::{self, Catalog, Order};
use cluster::wait;
use common::wire::catalog::CatalogState;
use common::wire::order::Side;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tests::harness::{Bazaar, SOON};
use tests::tool;

/// A database file with what SQLite keeps beside it.
fn parts(database: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|ending| {
        let mut path = database.as_os_str().to_owned();
        path.push(ending);
        path.into()
    })
}

fn database(bazaar: &Bazaar, service: Service) -> PathBuf {
    bazaar.cluster.spec().database(service).expect("it has one")
}

fn trade(bazaar: &Bazaar, orders: u64) {
    for _ in 0..orders {
        bazaar.trade("MenhirCo", Side::Sell, 1).expect("trades");
    }
}

/// Overwrites a few bytes of the rows.
fn damage(file: &Path) {
    let length = fs::metadata(file).expect("a file").len();
    let mut file = fs::File::options().write(true).open(file).expect("opens");
    // In the last quarter: there are rows, behind the pages of the small tables.
    file.seek(SeekFrom::Start(length / 4 * 3))
        .and_then(|_| file.write_all(&[0xa5; 600]))
        .expect("written");
}

/// A replica whose file was deleted fetches its log again, follower or leader.
#[test]
fn replica_file_deleted() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    trade(&bazaar, 30);
    for id in [1, 3] {
        bazaar.cluster.stop(Order(id)).expect("stopped");
        for part in parts(&database(&bazaar, Order(id))) {
            if part.exists() {
                fs::remove_file(part).expect("removed");
            }
        }
        bazaar.leader();
        trade(&bazaar, 5);
        bazaar.cluster.restart(Order(id)).expect("restarted");
        bazaar.wait_level();
    }
    bazaar.close();
}

/// A replica whose file was damaged sets it aside, never deletes it, and fetches the log again.
#[test]
fn replica_file_damaged() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    trade(&bazaar, 300);
    bazaar.cluster.stop(Order(1)).expect("stopped");
    let file = database(&bazaar, Order(1));
    // Into the file what is still beside it, so that the damage hits rows.
    tool::checkpoint(&file);
    damage(&file);
    let broken = fs::read(&file).expect("read");
    let verified = tool::run("order", &["verify", file.to_str().expect("UTF-8")], &[]);
    assert_eq!(verified.code, Some(1), "damage is noticed: {verified:?}");
    bazaar.cluster.restart(Order(1)).expect("restarted");
    bazaar.wait_level();
    let kept = fs::read_dir(bazaar.folder())
        .expect("a folder")
        .filter_map(|entry| Some(entry.ok()?.path()));
    // Behind the header, which says from the opening on that the file is in use.
    let same = |bytes: Vec<u8>| bytes.len() == broken.len() && bytes[100..] == broken[100..];
    let kept: Vec<_> = kept.filter(|path| fs::read(path).is_ok_and(same)).collect();
    assert_eq!(
        kept.len(),
        1,
        "the damaged file is kept under another name: {kept:?}"
    );
    bazaar.close();
}

/// `order verify` separates different logs from equal ones by its exit code, and names what
/// it cannot read.
#[test]
fn verify_tells_differences() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    trade(&bazaar, 3);
    bazaar.wait_level();
    bazaar.cluster.stop(Order(1)).expect("stopped");
    trade(&bazaar, 1);
    bazaar.cluster.stop(Order(2)).expect("stopped");
    let [one, two] = [1, 2].map(|id| database(&bazaar, Order(id)).display().to_string());
    let differ = tool::run("order", &["verify", &one, &two], &[]);
    assert_eq!(differ.code, Some(3), "one is behind: {differ:?}");
    let alone = tool::run("order", &["verify", &two], &[]);
    assert!(
        alone.code == Some(0) && alone.out.contains('4'),
        "{alone:?}"
    );
    let missing = tool::run("order", &["verify", &one, "/nowhere/order9.db"], &[]);
    assert!(missing.code != Some(0), "{missing:?}");
    assert!(
        format!("{}{}", missing.out, missing.err).contains("order9.db"),
        "{missing:?}"
    );
    bazaar.close();
}

/// A catalog that lost its file takes no trade and answers no stock: no number is given twice, and
/// no initial quantity is shown beside logs that know better. With its file back, all goes on.
#[test]
fn catalog_file_lost() {
    let mut bazaar = Bazaar::start();
    bazaar.wait_led_by(3, &[1, 2, 3]);
    trade(&bazaar, 5);
    bazaar.wait_level();
    bazaar.cluster.stop(Catalog).expect("stopped");
    let aside = bazaar.folder().join("aside");
    fs::create_dir(&aside).expect("a folder");
    let moved: Vec<(PathBuf, PathBuf)> = parts(&database(&bazaar, Catalog))
        .into_iter()
        .filter(|part| part.exists())
        .map(|part| (part.clone(), aside.join(part.file_name().expect("a name"))))
        .collect();
    for (from, to) in &moved {
        fs::rename(from, to).expect("moved");
    }
    bazaar.cluster.restart(Catalog).expect("restarted");
    let api = bazaar.api();
    for path in ["/stocks", "/stocks/MenhirCo", "/readyz"] {
        let answer = api.get(path).expect("answered");
        assert!(
            answer.status == 503 && answer.error_message().is_ok(),
            "{path}: {answer:?}"
        );
    }
    let refused = bazaar.trade("MenhirCo", Side::Buy, 1).expect_err("refused");
    assert_eq!(refused.status(), Some(503), "{refused}");
    bazaar.wait_status("the loss to be noticed", |status| {
        status.catalog.state == Some(CatalogState::HistoryLost)
    });
    assert_eq!(
        api.order_by_number(4).map(|order| order.quantity),
        Ok(1),
        "what was ordered is still known"
    );

    bazaar.cluster.stop(Catalog).expect("stopped");
    for part in parts(&database(&bazaar, Catalog)) {
        if part.exists() {
            fs::remove_file(part).expect("removed");
        }
    }
    for (from, to) in &moved {
        fs::rename(to, from).expect("moved back");
    }
    bazaar.cluster.restart(Catalog).expect("restarted");
    let number = wait::until(SOON, || bazaar.trade("MenhirCo", Side::Buy, 1).ok());
    assert_eq!(number, Some(5));
    bazaar.close();
}
