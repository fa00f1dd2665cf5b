//! The programs over a real PostgreSQL, as a user runs them: the launcher with two catalogs,
//! backup, restore and rebuild, and connections with TLS.

use catalog::store::postgres::{PostgresStore, PostgresUrl};
use client::api::Api;
use cluster::addresses::PortBlock;
use cluster::wait;
use common::wire::catalog::CatalogState;
use common::wire::money::Price;
use common::wire::order::{ClusterId, Genesis, InitialStock, Side};
use common::wire::public::NewOrder;
use rustix::process::Signal;
use std::path::Path;
use tests::harness::SOON;
use tests::postgres::Server;
use tests::tool::{self, Ran, Running};

/// A launcher with two catalogs in a folder of its own.
struct Launched {
    launcher: Running,
    api: Api,
}

/// A user's folder, database and ports.
struct User {
    folder: tempfile::TempDir,
    database: String,
    ports: PortBlock,
}

impl User {
    fn new(server: &Server, database: &str) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            database: server.database(database),
            ports: PortBlock::take().expect("free ports"),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn launch(&self) -> Launched {
        let first = self.ports.ports().next().expect("a port");
        let (run, port) = (self.path("run"), first.to_string());
        let mut words = vec!["run", "--dir", &run, "--ports-from", &port];
        words.extend(["--catalogs", "2"]);
        let mut launcher = tool::start("bazaar", &words, &[("CATALOG_DB", &self.database)]);
        launcher.wait_for("The bazaar is open at ");
        let api = Api::new(&format!("http://127.0.0.1:{}", first + 5));
        Launched { launcher, api }
    }

    /// Runs a program with the database in its settings. It succeeds.
    fn run(&self, program: &str, words: &[&str]) -> Ran {
        let ran = tool::run(program, words, &[("CATALOG_DB", &self.database)]);
        assert_eq!(ran.code, Some(0), "{program} {words:?}: {ran:?}");
        ran
    }

    fn bazaar(&self, words: &[&str]) -> Ran {
        let run = self.path("run");
        self.run("bazaar", &[words, &["--dir", &run]].concat())
    }
}

impl Launched {
    /// Sells one, with patience: a catalog may be about to take over. Returns the number.
    fn sell(&self, key: &str) -> u64 {
        let order = NewOrder {
            name: "FishCo".into(),
            quantity: 1,
            side: Side::Sell,
        };
        let mut last = None;
        let number = wait::until(SOON, || match self.api.order(&order, Some(key)) {
            Ok(number) => Some(number),
            Err(error) => {
                last = Some(error);
                None
            }
        });
        number.unwrap_or_else(|| panic!("{key} does not trade: {last:?}"))
    }

    fn fish(&self) -> u64 {
        let read = wait::until(SOON, || self.api.stock("FishCo").ok());
        read.expect("a stock is read").quantity
    }

    fn stop(mut self) {
        self.launcher.signal(Signal::TERM);
        let ended = self.launcher.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

/// `bazaar run --catalogs 2` starts two catalogs over one database; each may be killed by its name,
/// and orders go on. A backup of both is restored, and a rebuild brings back what the longest log
/// has.
#[test]
fn two_catalogs_are_launched_killed_backed_up_restored_and_rebuilt() {
    let Some(server) = Server::shared() else {
        return;
    };
    let user = User::new(&server, "launched");
    let mut launched = user.launch();
    let shown = user.bazaar(&["status"]);
    let both = ["catalog ", "catalog2", "active", "standby"];
    assert!(both.iter().all(|w| shown.out.contains(w)), "{}", shown.out);
    assert_eq!(launched.sell("a"), 0);
    for (service, key, number) in [("catalog2", "b", 1), ("catalog", "c", 2)] {
        user.bazaar(&["kill", service]);
        let loud = format!("{} WAS KILLED", service.to_uppercase());
        launched.launcher.wait_for(&loud);
        assert_eq!(launched.sell(key), number, "without {service}");
        user.bazaar(&["restart", service]);
    }

    let backup = user.path("backup");
    user.bazaar(&["backup", &backup]);
    assert_eq!(launched.sell("d"), 3, "after the backup");
    launched.stop();
    let restored = user.bazaar(&["restore", &backup, "--replace"]);
    assert!(restored.out.contains("schema bazaar_"), "{restored:?}");
    let launched = user.launch();
    assert_eq!(launched.fish(), 103, "as the backup has it");
    assert_eq!(launched.sell("c"), 2, "a key of before");
    assert_eq!(launched.sell("e"), 3);
    launched.stop();

    let log = user.path("run/order2.db");
    let rebuilt = user.run("catalog", &["rebuild", "--from", &log]);
    assert!(rebuilt.out.contains(": 4 orders"), "{rebuilt:?}");
    let launched = user.launch();
    assert_eq!(launched.fish(), 104);
    assert_eq!(launched.sell("e"), 3, "a key of before");
    assert_eq!(launched.sell("f"), 4);
    launched.stop();
    let logs = ["order1.db", "order2.db", "order3.db"].map(|log| user.path(&format!("run/{log}")));
    tool::order("verify", &logs.each_ref().map(Path::new));
}

/// A failover to a standby that lacked acknowledged orders is noticed: no stock is shown, nothing
/// trades, and so no number is given twice. A rebuild from the longest log brings the orders back.
#[test]
fn a_failover_that_lost_orders_is_noticed_and_mended_by_a_rebuild() {
    let Some(mut primary) = Server::start() else {
        return;
    };
    let mut user = User::new(&primary, "shop");
    let mut standby = primary.standby("standby");
    user.database = Server::url_of(&[&primary, &standby], "shop");
    let launched = user.launch();
    assert_eq!(launched.sell("a"), 0);
    let mut there = standby.connect("shop").expect("connects");
    let received = wait::until(SOON, || {
        there.query_opt("SELECT 1 FROM orders", &[]).ok().flatten()
    });
    received.expect("the first order is replicated");
    drop(there);
    standby.stop();
    assert_eq!(launched.sell("b"), 1, "nobody waits for the standby");
    primary.kill();
    standby.up();
    standby.promote();

    let lost = wait::until(SOON, || {
        let status = launched.api.status().ok()?;
        (status.catalog.state == Some(CatalogState::HistoryLost)).then_some(())
    });
    assert!(lost.is_some(), "{:?}", launched.api.status());
    for path in ["/stocks", "/stocks/FishCo", "/readyz"] {
        let answer = launched.api.get(path).expect("answered");
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
    }
    let order = NewOrder {
        name: "FishCo".into(),
        quantity: 1,
        side: Side::Sell,
    };
    let refused = launched.api.order(&order, Some("c")).expect_err("refused");
    assert_eq!(refused.status(), Some(503), "{refused}");
    let known = launched.api.order_by_number(1).expect("the logs have it");
    assert_eq!(known.quantity, 1);
    launched.stop();

    let logs = ["order1.db", "order2.db", "order3.db"].map(|log| user.path(&format!("run/{log}")));
    tool::order("verify", &logs.each_ref().map(Path::new));
    let rebuilt = user.run("catalog", &["rebuild", "--from", &logs[2]]);
    assert!(rebuilt.out.contains(": 2 orders"), "{rebuilt:?}");
    let launched = user.launch();
    assert_eq!(launched.sell("b"), 1, "a key of before");
    assert_eq!(launched.sell("c"), 2);
    assert_eq!(launched.fish(), 103);
    launched.stop();
}

/// Opens a database; makes what a catalog makes at its first start.
fn open(url: &str) -> Result<PostgresStore, String> {
    let url: PostgresUrl = url.parse()?;
    let stock = InitialStock {
        name: "FishCo".into(),
        price: Price::from_cents(599).expect("a price"),
        quantity: 100,
    };
    let begin = || {
        Ok(Genesis {
            cluster: ClusterId("ab".into()),
            stocks: vec![stock.clone()],
        })
    };
    PostgresStore::open(&url, "holder", begin).map_err(|error| error.to_string())
}

/// `sslmode=require` encrypts, and refuses a server without TLS. `verify-full` takes a certificate
/// of the authority that it is given, for the host that it connects to, and no other.
#[test]
fn tls_encrypts_and_verifies_the_server() {
    let Some((server, authority)) = Server::start_with_tls() else {
        return;
    };
    let plain = server.database("shop");
    let named = plain.replace("127.0.0.1", "localhost");
    let encrypted = || {
        let mut client = server.connect("shop").expect("connects");
        let sessions = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                        WHERE datname = 'shop' AND ssl";
        let row = client.query_one(sessions, &[]).expect("reads");
        row.get::<_, i64>(0)
    };
    let verified = format!("?sslmode=verify-full&sslrootcert={}", authority.display());
    for url in [
        format!("{plain}?sslmode=require"),
        format!("{named}{verified}"),
    ] {
        let store = open(&url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(encrypted() > 0, "{url}");
        drop(store);
        let ended = wait::until(SOON, || (encrypted() == 0).then_some(()));
        assert!(ended.is_some(), "{url}: its sessions stay");
    }

    let other_host = open(&format!("{plain}{verified}")).expect_err("it is not its name");
    assert!(other_host.contains("certificate"), "{other_host}");
    let (_other, stranger) = Server::start_with_tls().expect("another one");
    let strangers = format!("?sslmode=verify-full&sslrootcert={}", stranger.display());
    let unknown = open(&format!("{named}{strangers}")).expect_err("another authority");
    assert!(unknown.contains("certificate"), "{unknown}");
    let without = Server::shared().expect("a server without TLS");
    let refused = open(&format!("{}?sslmode=require", without.database("bare")));
    let refused = refused.expect_err("it has no TLS");
    assert!(refused.contains("TLS"), "{refused}");
}
