//! The catalog's two stores: one suite for both, and the behaviour of PostgreSQL that the rules of
//! several catalogs rely on.

use catalog::batch::stage;
use catalog::migrate::migrate;
use catalog::store::postgres::activity::{Activity, ActivityRow, Outcome};
use catalog::store::postgres::transfer::import;
use catalog::store::postgres::{PostgresJournal, PostgresStore, PostgresUrl};
use catalog::store::sqlite::{SqliteJournal, SqliteStore};
use catalog::store::{Database, FRONTEND_REFUSALS, Journal, Snapshot, Store, StoreError};
use common::timing::TAIL_CHECK_ROWS;
use common::wire::catalog::TermInfo;
use common::wire::money::Price;
use common::wire::order::{
    ClusterId, Genesis, InitialStock, Order, OrderKey, ReplicaId, Side, Verdict,
};
use postgres::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tests::postgres::Server;

const HOLDER: &str = "first";

fn genesis(cluster: &str) -> Genesis {
    let stock = |name: &str, quantity| InitialStock {
        name: name.into(),
        price: Price::from_cents(599).expect("a price"),
        quantity,
    };
    Genesis {
        cluster: ClusterId(cluster.into()),
        stocks: vec![stock("BoarCo", 100), stock("FishCo", 5)],
    }
}

fn order(key: OrderKey, side: Side, quantity: u64) -> Order {
    Order {
        key,
        name: "FishCo".into(),
        side,
        quantity,
    }
}

fn buy(key: u64, quantity: u64) -> Order {
    order(OrderKey::from_time(key, 0), Side::Buy, quantity)
}

fn sell(key: u64, quantity: u64) -> Order {
    order(OrderKey::from_time(key, 0), Side::Sell, quantity)
}

fn database(url: &str) -> PostgresUrl {
    url.parse().expect("a URL")
}

fn open(url: &str, holder: &str) -> PostgresStore {
    PostgresStore::open(&database(url), holder, || Ok(genesis("ab"))).expect("opens")
}

fn activity(url: &str, holder: &str) -> Activity {
    Activity::new(
        database(url),
        holder.into(),
        format!("http://{holder}:7100"),
    )
}

fn done(outcome: Outcome) -> ActivityRow {
    match outcome {
        Outcome::Done(row) => row,
        other => panic!("not done: {other:?}"),
    }
}

/// An open store whose holder is active, and its state.
fn active(url: &str, holder: &str) -> (PostgresStore, Snapshot, Activity, u64) {
    let mut store = open(url, holder);
    let mut own = activity(url, holder);
    let seen = own.look().expect("looks");
    let epoch = done(own.take_over(&seen)).epoch;
    let state = store.load(epoch).expect("loads");
    (store, state, own, epoch)
}

/// Decides, writes, commits, and takes the result into memory, as the writer does.
fn trade(
    store: &mut dyn Store,
    state: &mut Snapshot,
    orders: &[Order],
) -> Result<Vec<Verdict>, StoreError> {
    let orders: Vec<&Order> = orders.iter().collect();
    let mut batch = store.begin(state, &orders)?;
    let staged = stage(state, &orders, batch.recorded());
    batch.write(state, &staged)?;
    batch.commit()?;
    state.position = staged.position;
    for (name, quantity) in &staged.quantities {
        state.market.get_mut(name).expect("a stock").quantity = *quantity;
    }
    Ok(staged.verdicts)
}

/// One behaviour, whatever the store: verdicts and their repeats, refusals, rows, terms, lost
/// history, a restart.
fn conforms(
    mut store: Box<dyn Store>,
    epoch: u64,
    reopen: impl Fn() -> Box<dyn Store>,
    mut journal: Box<dyn Journal>,
) {
    let seed = store.seed();
    let mut state = store.load(epoch).expect("loads");
    assert_eq!((state.position.last, state.position.hash), (None, seed));
    assert_eq!((state.term.term, state.term.owner), (0, None));
    assert_eq!(store.genesis(), &genesis("ab"));

    // Decides, and gives recorded verdicts again.
    let client = |key: &str, quantity| order(OrderKey::from_client(key), Side::Buy, quantity);
    let first = [buy(1, 3), buy(2, 3), client("a", 9), sell(3, 1)];
    let accepted = Verdict::Accepted;
    let refused = Verdict::InsufficientQuantity;
    let verdicts = trade(&mut *store, &mut state, &first).expect("commits");
    assert_eq!(verdicts, [accepted(0), refused, refused, accepted(1)]);
    let again = [
        buy(1, 3),
        buy(2, 3),
        client("a", 9),
        sell(3, 1),
        buy(1, 2),
        client("a", 1),
    ];
    let reused = Verdict::KeyReused;
    let verdicts = trade(&mut *store, &mut state, &again).expect("commits");
    assert_eq!(
        verdicts,
        [accepted(0), refused, refused, accepted(1), reused, reused]
    );
    let unknown = Order {
        name: "Nobody".into(),
        ..buy(4, 1)
    };
    let verdicts = trade(&mut *store, &mut state, &[unknown, buy(5, 1)]).expect("commits");
    assert_eq!(verdicts, [Verdict::UnknownStock, accepted(2)]);
    assert_eq!(state.market["FishCo"].quantity, 2);
    assert_eq!(store.load(epoch).expect("loads"), state);

    // A batch that is dropped leaves nothing.
    let orders = [sell(6, 1)];
    let orders: Vec<&Order> = orders.iter().collect();
    let mut batch = store.begin(&state, &orders).expect("begins");
    let staged = stage(&state, &orders, batch.recorded());
    batch.write(&state, &staged).expect("writes");
    drop(batch);
    assert_eq!(store.load(epoch).expect("loads"), state);

    // Rows, checked against the chain, from the writer's connection and another one.
    let all = store.rows(0, 10).expect("reads");
    assert_eq!(all.orders, [buy(1, 3), sell(3, 1), buy(5, 1)]);
    assert_eq!(all.hash, state.position.hash);
    assert_eq!(journal.rows(seed, 0, 10).expect("reads"), all);
    // A start asks for all rows of the journal's end.
    let rest = journal.rows(seed, 1, usize::MAX >> 1).expect("reads");
    assert_eq!(rest.orders, all.orders[1..]);
    let page = journal.rows(seed, 1, 1).expect("reads");
    assert_eq!((page.first, &page.orders[..]), (1, &all.orders[1..2]));
    assert_eq!(store.hash_before(2).expect("reads"), Some(page.hash));
    assert_eq!(store.hash_before(0).expect("reads"), Some(seed));
    for beyond in [5, i64::MAX as u64, u64::MAX] {
        assert_eq!(store.hash_before(beyond).expect("reads"), None);
        assert!(store.rows(beyond, 10).expect("reads").orders.is_empty());
    }
    assert!(journal.rows(seed, 3, 10).expect("reads").orders.is_empty());

    // A term rises; what is probed changes nothing.
    let term = TermInfo {
        term: 7,
        owner: Some(ReplicaId::try_from(2).expect("an id")),
    };
    store.set_term(term).expect("writes");
    state.term = term;
    store.probe(16).expect("writes");
    store.probe(32 * 1_024).expect("writes");
    assert_eq!(store.load(epoch).expect("loads"), state);

    // More rows than a start reads of the journal's end.
    for first in (100..100 + TAIL_CHECK_ROWS + 1_000).step_by(500) {
        let pairs = |key| [sell(key, 1), buy(key + 1, 1)];
        let batch: Vec<Order> = (first..first + 500).step_by(2).flat_map(pairs).collect();
        let verdicts = trade(&mut *store, &mut state, &batch).expect("commits");
        assert!(
            verdicts
                .iter()
                .all(|verdict| matches!(verdict, Verdict::Accepted(_)))
        );
    }

    // A restart finds everything, lost history too.
    assert_eq!(store.history_lost().expect("reads"), None);
    store.set_history_lost("cut").expect("writes");
    drop(store);
    let mut store = reopen();
    assert_eq!(store.load(epoch).expect("loads"), state);
    assert_eq!(store.history_lost().expect("reads").as_deref(), Some("cut"));
    assert_eq!(
        trade(&mut *store, &mut state, &[buy(2, 3)]).expect("commits"),
        [refused]
    );
    let older = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.set_term(term)));
    older.expect_err("a term that does not rise is a mistake of ours");
}

#[test]
fn a_file_conforms() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.db");
    let open = || -> Box<dyn Store> {
        Box::new(SqliteStore::open(&path, || Ok(genesis("ab"))).expect("opens"))
    };
    let store = open();
    let journal = SqliteJournal::open(&path).expect("opens");
    conforms(store, 0, open, Box::new(journal));
}

#[test]
fn a_server_conforms() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("conforms");
    let (store, _, _own, epoch) = active(&url, HOLDER);
    let reopen = || -> Box<dyn Store> { Box::new(open(&url, HOLDER)) };
    let journal = PostgresJournal::open(&database(&url)).expect("connects");
    conforms(Box::new(store), epoch, reopen, Box::new(journal));
}

/// Of two catalogs that start at once on an empty database one writes the genesis, once.
#[test]
fn two_starters_at_once_write_one_genesis() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("two_starters");
    let written = Arc::new(AtomicU32::new(0));
    let starters: Vec<_> = (0..4_u8)
        .map(|id| {
            let (url, written) = (url.clone(), Arc::clone(&written));
            thread::spawn(move || {
                let begin = || {
                    written.fetch_add(1, Ordering::SeqCst);
                    Ok(genesis(&format!("c{id}")))
                };
                let store = PostgresStore::open(&database(&url), HOLDER, begin).expect("opens");
                store.genesis().cluster.clone()
            })
        })
        .collect();
    let clusters: Vec<ClusterId> = starters
        .into_iter()
        .map(|s| s.join().expect("ends"))
        .collect();
    assert!(
        clusters.windows(2).all(|two| two[0] == two[1]),
        "{clusters:?}"
    );
    assert_eq!(written.load(Ordering::SeqCst), 1);
}

#[test]
fn a_ring_of_refusals_forgets_the_oldest() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("ring");
    let (mut store, mut state, _own, _) = active(&url, HOLDER);
    let refuse = |key| buy(key, 1_000);
    trade(&mut store, &mut state, &[refuse(1), refuse(2), refuse(3)]).expect("commits");
    // The ring as it is when it is full: the ids go on.
    let full = format!(
        "UPDATE frontend_refusals SET id = id + {}",
        FRONTEND_REFUSALS - 2
    );
    server
        .connect("ring")
        .expect("connects")
        .batch_execute(&full)
        .expect("sets");
    trade(&mut store, &mut state, &[refuse(4), refuse(5)]).expect("commits");
    let mut client = server.connect("ring").expect("connects");
    let ids = client
        .query("SELECT id FROM frontend_refusals ORDER BY id", &[])
        .expect("reads");
    let ids: Vec<i64> = ids.iter().map(|row| row.get(0)).collect();
    let last = i64::try_from(FRONTEND_REFUSALS).expect("fits") + 3;
    assert_eq!(ids, (last - 4..=last).collect::<Vec<_>>());
    assert_eq!(ids.len(), 5, "none is beyond the ring yet");
    let cut = "UPDATE frontend_refusals SET id = id - 100000 \
               WHERE id < (SELECT max(id) FROM frontend_refusals)";
    client.batch_execute(cut).expect("sets");
    trade(&mut store, &mut state, &[refuse(6)]).expect("commits");
    let left = client
        .query("SELECT 1 FROM frontend_refusals", &[])
        .expect("reads");
    assert_eq!(left.len(), 2);
}

/// A journal that does not end where the last commit left it stops the next batch.
#[test]
fn lost_rows_are_noticed_by_the_next_batch() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("lost");
    let (mut store, mut state, _own, _) = active(&url, HOLDER);
    trade(&mut store, &mut state, &[buy(1, 1), buy(2, 1)]).expect("commits");
    let mut client = server.connect("lost").expect("connects");
    client
        .batch_execute("DELETE FROM orders WHERE number = 1")
        .expect("cuts");
    let lost = trade(&mut store, &mut state, &[buy(3, 1)]).expect_err("refused");
    assert!(
        matches!(&lost, StoreError::RowsLost(why) if why.contains("rows were lost")),
        "{lost}"
    );
    assert!(lost.is_damage());
}

/// A stock that is not what the trades left is never written over.
#[test]
fn a_changed_stock_stops_the_batch() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("changed");
    let (mut store, mut state, _own, _) = active(&url, HOLDER);
    let mut client = server.connect("changed").expect("connects");
    client
        .batch_execute("UPDATE stocks SET quantity = 50")
        .expect("sets");
    let wrong = trade(&mut store, &mut state, &[buy(1, 1)]).expect_err("refused");
    assert!(matches!(wrong, StoreError::Damaged(_)), "{wrong}");
    assert!(
        client
            .query("SELECT 1 FROM orders", &[])
            .expect("reads")
            .is_empty()
    );
}

/// A database of a newer version is refused by name.
#[test]
fn a_newer_format_is_refused() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("newer");
    drop(open(&url, HOLDER));
    let mut client = server.connect("newer").expect("connects");
    client
        .batch_execute("UPDATE format SET version = 99")
        .expect("sets");
    let refused =
        PostgresStore::open(&database(&url), HOLDER, || Ok(genesis("ab"))).expect_err("refused");
    let text = refused.to_string();
    assert!(
        text.contains("format 99") && text.contains("update this program"),
        "{text}"
    );
}

/// Each activity statement requires what its rule says.
#[test]
fn activity_statements_require_what_their_rules_say() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("activity");
    drop(open(&url, HOLDER));
    let (mut one, mut two) = (activity(&url, "one"), activity(&url, "two"));
    let never = one.look().expect("looks");
    assert_eq!((never.epoch, never.beat, never.clean), (0, 0, true));
    let row = done(one.take_over_clean(never.epoch));
    assert_eq!(
        (row.epoch, row.clean, &*row.holder, &*row.url),
        (1, false, "one", "http://one:7100")
    );
    assert_eq!(two.take_over_clean(1), Outcome::Refused, "it is not clean");
    let beaten = done(one.renew(1));
    assert_eq!(beaten.beat, row.beat + 1);
    assert_eq!(two.take_over(&row), Outcome::Refused, "the beat moved");
    assert_eq!(two.renew(1), Outcome::Refused, "the epoch is another run's");
    assert_eq!(two.set_clean(1), Outcome::Refused);
    assert_eq!(two.bump(1), Outcome::Refused);
    let bumped = done(one.bump(1));
    assert_eq!((bumped.epoch, &*bumped.holder), (2, "one"));
    assert_eq!(one.renew(1), Outcome::Refused, "it moved on itself");
    assert!(done(one.set_clean(2)).clean);
    let taken = done(two.take_over_clean(2));
    assert_eq!(
        (taken.epoch, taken.clean, &*taken.holder),
        (3, false, "two")
    );
    assert_eq!(one.set_clean(2), Outcome::Refused, "deposed");
    assert_eq!(done(one.take_over(&taken)).epoch, 4);
    let columns = "SELECT epoch, holder, url, clean, beat FROM activity";
    let rows = server
        .connect("activity")
        .expect("connects")
        .query(columns, &[])
        .expect("reads");
    assert_eq!(rows.len(), 1, "one row");
}

/// A decision of an older epoch is not written.
#[test]
fn an_older_epoch_writes_nothing() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("older");
    let (mut store, mut state, mut own, epoch) = active(&url, HOLDER);
    trade(&mut store, &mut state, &[buy(1, 1)]).expect("commits");
    let (mut second, mut newer, _, _) = active(&url, "second");
    for fenced in [
        trade(&mut store, &mut state, &[buy(2, 1)]).map(drop),
        store.set_term(TermInfo {
            term: 9,
            owner: None,
        }),
        store.set_history_lost("not written"),
        store.probe(16),
        store.set_clean(),
        store.load(epoch).map(drop),
    ] {
        assert!(matches!(fenced, Err(StoreError::Fenced)), "{fenced:?}");
    }
    assert_eq!(own.renew(epoch), Outcome::Refused);
    assert_eq!(second.history_lost().expect("reads"), None);
    assert_eq!(
        trade(&mut second, &mut newer, &[buy(2, 1)]).expect("commits"),
        [Verdict::Accepted(1)]
    );
    // An epoch belongs to one run.
    let stolen = open(&url, "third").load(epoch + 1);
    assert!(matches!(stolen, Err(StoreError::Fenced)), "{stolen:?}");
}

/// Waits until some session of the database waits for a lock.
fn until_one_waits(client: &mut Client) {
    let waits = "SELECT 1 FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let found = cluster::wait::until(Duration::from_secs(10), || {
        client.query_opt(waits, &[]).expect("reads")
    });
    assert!(found.is_some(), "nobody waits for a lock");
}

const TAKEN: &str = "UPDATE activity SET epoch = epoch + 1, beat = beat + 1, holder = 'other'";

/// ▲ From two rows PostgreSQL would let it succeed.
#[test]
fn a_renewal_that_waits_for_a_takeover_fails_after_it() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("renewal");
    let (_store, _, mut own, epoch) = active(&url, HOLDER);
    let mut watch = server.connect("renewal").expect("connects");
    let mut other = server.connect("renewal").expect("connects");
    other
        .batch_execute(&format!("BEGIN; {TAKEN}"))
        .expect("takes over");
    let renewal = thread::spawn(move || own.renew(epoch));
    until_one_waits(&mut watch);
    other.batch_execute("COMMIT").expect("commits");
    assert_eq!(renewal.join().expect("ends"), Outcome::Refused);
}

/// ▲ A batch that has the fence is over before another catalog is active; a renewal waits for
/// neither.
#[test]
fn a_takeover_waits_for_a_fence() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("fence");
    let (mut store, state, mut own, epoch) = active(&url, HOLDER);
    let mut watch = server.connect("fence").expect("connects");
    let orders = [buy(1, 1)];
    let orders: Vec<&Order> = orders.iter().collect();
    let mut batch = store.begin(&state, &orders).expect("begins");
    let row = done(own.renew(epoch));
    let mut second = activity(&url, "second");
    let takeover = thread::spawn(move || second.take_over(&row));
    until_one_waits(&mut watch);
    assert!(!takeover.is_finished());
    let staged = stage(&state, &orders, batch.recorded());
    batch.write(&state, &staged).expect("writes");
    batch.commit().expect("commits");
    assert_eq!(done(takeover.join().expect("ends")).epoch, epoch + 1);
    // The new one sees the row.
    let mut second = open(&url, "second");
    assert_eq!(
        second.load(epoch + 1).expect("loads").position.last,
        Some(0)
    );
}

/// ▲ The fence looks again when the takeover that it waited for is committed.
#[test]
fn a_fence_that_waited_sees_no_row() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("waited");
    let (mut store, mut state, _own, _) = active(&url, HOLDER);
    let mut watch = server.connect("waited").expect("connects");
    let mut other = server.connect("waited").expect("connects");
    other
        .batch_execute(&format!("BEGIN; {TAKEN}"))
        .expect("takes over");
    let batch = thread::spawn(move || trade(&mut store, &mut state, &[buy(1, 1)]));
    until_one_waits(&mut watch);
    other.batch_execute("COMMIT").expect("commits");
    let fenced = batch.join().expect("ends");
    assert!(matches!(fenced, Err(StoreError::Fenced)), "{fenced:?}");
    assert!(
        watch
            .query("SELECT 1 FROM orders", &[])
            .expect("reads")
            .is_empty()
    );
}

/// ▲ A catalog that pauses inside a transaction holds a takeover up no longer than the server's
/// time-out, and commits nothing when it wakes.
#[test]
fn the_lock_of_a_paused_catalog_is_freed() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("paused");
    let (mut store, state, mut own, epoch) = active(&url, HOLDER);
    let orders = [buy(1, 1)];
    let orders: Vec<&Order> = orders.iter().collect();
    // It sends nothing from here on, as a process that is stopped.
    let mut batch = store.begin(&state, &orders).expect("begins");
    let row = own.look().expect("looks");
    let began = Instant::now();
    let taken = done(activity(&url, "second").take_over(&row));
    assert_eq!(taken.epoch, epoch + 1);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let staged = stage(&state, &orders, batch.recorded());
    let written = batch.write(&state, &staged);
    assert!(written.is_err(), "the server ended the transaction");
    drop(batch);
    let fenced = store.load(epoch);
    assert!(matches!(fenced, Err(StoreError::Fenced)), "{fenced:?}");
}

/// ▲ After a commit whose outcome is unknown nothing is written before the next epoch.
#[test]
fn an_unknown_outcome_bars_its_epoch() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("unknown");
    let (mut store, state, mut own, epoch) = active(&url, HOLDER);
    let orders = [buy(1, 1)];
    let orders: Vec<&Order> = orders.iter().collect();
    let mut batch = store.begin(&state, &orders).expect("begins");
    let staged = stage(&state, &orders, batch.recorded());
    batch.write(&state, &staged).expect("writes");
    let mut client = server.connect("unknown").expect("connects");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND state = 'idle in transaction'";
    client.batch_execute(end).expect("ends it");
    batch.commit().expect_err("the connection is gone");
    for barred in [store.load(epoch).map(drop), store.probe(16)] {
        assert!(
            matches!(barred, Err(StoreError::UnknownBefore { .. })),
            "{barred:?}"
        );
    }
    let next = done(own.bump(epoch)).epoch;
    let mut state = store.load(next).expect("loads");
    let verdict = trade(&mut store, &mut state, &[buy(1, 1)]).expect("commits");
    assert_eq!(verdict, [Verdict::Accepted(0)]);
}

/// ▲ PostgreSQL reports success, with a warning, for a commit whose wait for the standby was
/// cancelled: the store calls it unknown.
#[test]
fn a_commit_with_a_warning_is_unknown() {
    let Some(server) = Server::start() else {
        return;
    };
    let url = server.database("warned");
    let (mut store, mut state, _own, _) = active(&url, HOLDER);
    let mut admin = server.connect("warned").expect("connects");
    // A standby that is not there.
    for statement in [
        "ALTER SYSTEM SET synchronous_standby_names = 'nobody'",
        "SELECT pg_reload_conf()",
    ] {
        admin.batch_execute(statement).expect("sets");
    }
    let shown = cluster::wait::until(Duration::from_secs(10), || {
        let row = admin
            .query_one("SHOW synchronous_standby_names", &[])
            .expect("reads");
        (row.get::<_, String>(0) == "nobody").then_some(())
    });
    shown.expect("reloaded");
    let batch = thread::spawn(move || {
        let result = trade(&mut store, &mut state, &[buy(1, 1)]);
        (result, store)
    });
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
                  WHERE wait_event = 'SyncRep' AND datname = current_database()";
    let cancelled = cluster::wait::until(Duration::from_secs(10), || {
        admin.query_opt(cancel, &[]).expect("reads")
    });
    cancelled.expect("it waits for the standby");
    let (result, mut store) = batch.join().expect("ends");
    let error = result.expect_err("unknown");
    assert!(error.to_string().contains("warning"), "{error}");
    assert!(matches!(
        store.probe(16),
        Err(StoreError::UnknownBefore { .. })
    ));
}

/// Nothing that was acknowledged is lost with the primary.
#[test]
fn the_promotion_of_a_synchronous_standby_loses_nothing() {
    let Some(mut primary) = Server::start() else {
        return;
    };
    let _ = primary.database("shop");
    let standby = primary.standby("standby");
    primary.require("standby");
    let url = Server::url_of(&[&primary, &standby], "shop");
    let (mut store, mut state, mut own, epoch) = active(&url, HOLDER);
    for key in 0..20 {
        trade(&mut store, &mut state, &[sell(key, 1)]).expect("commits");
    }
    primary.kill();
    let gone = trade(&mut store, &mut state, &[sell(20, 1)]);
    assert!(gone.is_err(), "{gone:?}");
    standby.promote();
    // Its connection is gone with the primary: to send on it is an unknown outcome, and not done.
    assert!(matches!(own.bump(epoch), Outcome::Unknown(_)));
    let next = done(own.bump(epoch)).epoch;
    let loaded = store.load(next).expect("loads");
    assert_eq!(loaded, state);
    let verdict = trade(&mut store, &mut state, &[sell(20, 1), sell(3, 1)]).expect("commits");
    assert_eq!(verdict, [Verdict::Accepted(20), Verdict::Accepted(3)]);
}

/// An asynchronous standby that lacks acknowledged rows is found out by the next batch, as soon as
/// it was promoted.
#[test]
fn a_standby_that_lost_rows_is_found() {
    let Some(mut primary) = Server::start() else {
        return;
    };
    let _ = primary.database("shop");
    let mut standby = primary.standby("standby");
    let url = Server::url_of(&[&primary, &standby], "shop");
    let (mut store, mut state, _own, _) = active(&url, HOLDER);
    trade(&mut store, &mut state, &[sell(0, 1)]).expect("commits");
    // It has the epoch and the first row, and lags from here on.
    let mut there = standby.connect("shop").expect("connects");
    let received = cluster::wait::until(Duration::from_secs(10), || {
        there.query_opt("SELECT 1 FROM orders", &[]).ok()?
    });
    received.expect("replicated");
    drop(there);
    standby.stop();
    trade(&mut store, &mut state, &[sell(1, 1)]).expect("commits");
    primary.kill();
    standby.up();
    standby.promote();
    // The first call shows that the connection is gone.
    let lost = cluster::wait::until(Duration::from_secs(10), || {
        match trade(&mut store, &mut state, &[sell(2, 1)]) {
            Err(StoreError::RowsLost(why)) => Some(why),
            Err(StoreError::Server(_)) => None,
            other => panic!("neither lost nor unreachable: {other:?}"),
        }
    });
    let why = lost.expect("found out");
    assert!(
        why.contains("last order is 0") && why.contains("is 1 ("),
        "{why}"
    );
}

/// The content of a file and of a database, through a migration in both directions.
#[test]
fn a_migration_brings_everything_over_and_back() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("migrated");
    let folder = tempfile::tempdir().expect("a folder");
    let (there, back) = (
        folder.path().join("catalog.db"),
        folder.path().join("back.db"),
    );
    let mut file = SqliteStore::open(&there, || Ok(genesis("ab"))).expect("opens");
    let mut state = file.load(0).expect("loads");
    let key = OrderKey::from_client("a");
    let orders = [
        sell(1, 3),
        buy(2, 900),
        order(key, Side::Buy, 900),
        buy(3, 2),
    ];
    let verdicts = trade(&mut file, &mut state, &orders).expect("commits");
    let owner = Some(ReplicaId::try_from(3).expect("an id"));
    let term = TermInfo { term: 4, owner };
    file.set_term(term).expect("writes");
    state.term = term;
    drop(file);

    let (from, to) = (Database::File(there), Database::Server(database(&url)));
    let copied = migrate(&from, &to).expect("copies");
    assert_eq!((copied.position, copied.term), (state.position, 4));
    let again = migrate(&from, &to).expect_err("it is not empty");
    assert!(
        again.to_string().contains("name an empty database"),
        "{again}"
    );
    let mut store = open(&url, HOLDER);
    let mut own = activity(&url, HOLDER);
    let seen = own.look().expect("looks");
    assert!(!seen.clean, "caches may hold values of the file");
    let epoch = done(own.take_over(&seen)).epoch;
    assert_eq!(store.load(epoch).expect("loads"), state);
    assert_eq!(
        trade(&mut store, &mut state, &orders).expect("repeats"),
        verdicts
    );
    trade(&mut store, &mut state, &[buy(4, 1)]).expect("commits");
    drop(store);

    let copied = migrate(&to, &Database::File(back.clone())).expect("copies back");
    assert_eq!(copied.position, state.position);
    let mut file = SqliteStore::open(&back, || Err("it has one".into())).expect("opens");
    assert_eq!(file.load(0).expect("loads"), state);
    assert_eq!(
        trade(&mut file, &mut state, &orders).expect("repeats"),
        verdicts
    );
    let there = migrate(&to, &Database::File(back)).expect_err("it is there");
    assert!(there.to_string().contains("exists already"), "{there}");
}

/// A copy of a damaged file leaves the database empty; one that replaces refuses while a catalog
/// renews, and fences the one that only slept.
#[test]
fn a_copy_that_fails_leaves_nothing_and_one_that_replaces_takes_an_epoch() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database("replaced");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.db");
    let mut file = SqliteStore::open(&path, || Ok(genesis("ab"))).expect("opens");
    let mut state = file.load(0).expect("loads");
    trade(&mut file, &mut state, &[sell(1, 3)]).expect("commits");
    drop(file);
    let source = rusqlite::Connection::open(&path).expect("opens");
    source
        .execute_batch("UPDATE stocks SET quantity = 77")
        .expect("damages");
    let target = database(&url);
    import(&source, &target, false).expect_err("it is damaged");
    let mut client = server.connect("replaced").expect("connects");
    let schema = "SELECT 1 FROM pg_namespace WHERE nspname LIKE 'bazaar%'";
    assert!(client.query(schema, &[]).expect("reads").is_empty());
    let mend = "UPDATE stocks SET quantity = iif(name = 'FishCo', 8, 100)";
    source.execute_batch(mend).expect("mends");

    let (mut store, mut old, mut own, epoch) = active(&url, HOLDER);
    trade(&mut store, &mut old, &[buy(9, 1)]).expect("commits");
    let renews = thread::spawn(move || {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(2_500) {
            done(own.renew(epoch));
        }
        own
    });
    let refused = import(&source, &target, true).expect_err("it is active");
    assert!(
        refused.to_string().contains("stop all catalogs first"),
        "{refused}"
    );
    let mut own = renews.join().expect("ends");
    let (copied, kept) = import(&source, &target, true).expect("copies");
    assert_eq!(copied.position, state.position);
    assert!(kept.expect("kept").starts_with("bazaar_replaced_"));
    assert_eq!(client.query(schema, &[]).expect("reads").len(), 2);
    let fenced = trade(&mut store, &mut old, &[buy(10, 1)]);
    assert!(matches!(fenced, Err(StoreError::Fenced)), "{fenced:?}");
    assert_eq!(own.renew(epoch), Outcome::Refused);
    let seen = own.look().expect("looks");
    assert!(seen.epoch > epoch + 1 && !seen.clean, "{seen:?}");
}
