//! The journal insert: batches of orders into a catalog's real file, each made durable. The file
//! lies with what cargo builds, hence on a disk: a folder in memory would make an fsync cost
//! nothing.

use catalog::batch::decide_batch;
use catalog::store::Store;
use catalog::store::sqlite::SqliteStore;
use common::wire::money::Price;
use common::wire::order::{ClusterId, Genesis, InitialStock, Order, OrderKey, Side};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::path::Path;

const NAME: &str = "GameStart";

fn journal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal");
    for rows in [1, 64] {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let mut store = open(&folder.path().join("catalog.db"));
        let mut state = store.load(0).expect("loads");
        group.throughput(Throughput::Elements(rows));
        group.bench_function(format!("batch of {rows}"), |bencher| {
            bencher.iter(|| {
                let next = state.position.next();
                let orders: Vec<Order> = (next..next + rows).map(order).collect();
                let orders: Vec<&Order> = orders.iter().collect();
                let mut batch = store.begin(&state, &orders).expect("begins");
                let decided = decide_batch(&state, &orders, batch.recorded());
                batch.write(&state, &decided).expect("writes");
                batch.commit().expect("commits");
                state.position = decided.position;
                state.market.get_mut(NAME).expect("a stock").quantity = decided.quantities[NAME];
            });
        });
    }
    group.finish();
}

fn open(path: &Path) -> SqliteStore {
    let price = Price::from_cents(1_599).expect("a price");
    let stocks = vec![InitialStock {
        name: NAME.into(),
        price,
        quantity: 100,
    }];
    SqliteStore::open(path, || {
        Ok(Genesis {
            cluster: ClusterId("0".repeat(32)),
            stocks,
        })
    })
    .expect("opens")
}

/// An order with a front-end's key: in the sequence of time, as the index on it gets them.
fn order(number: u64) -> Order {
    let key = OrderKey::from_time(1_700_000_000_000 + number / 10, u128::from(number));
    Order {
        key,
        name: NAME.into(),
        side: Side::Sell,
        quantity: 1,
    }
}

criterion_group!(benches, journal);
criterion_main!(benches);
