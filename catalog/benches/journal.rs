//! The journal insert: batches of orders into a catalog's real file, each made durable. The file
//! lies with what cargo builds, hence on a disk: a folder in memory would make an fsync cost
//! nothing.

use catalog::store::Store;
use common::chain::row_hash;
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
        let (mut number, mut hash) = (0, store.seed());
        group.throughput(Throughput::Elements(rows));
        group.bench_function(format!("batch of {rows}"), |bencher| {
            bencher.iter(|| {
                let batch = store.begin().expect("begins");
                for _ in 0..rows {
                    let order = order(number);
                    hash = row_hash(hash, number, &order);
                    batch.accept(number, &order, hash).expect("inserts");
                    number += 1;
                }
                batch.set_quantity(NAME, number).expect("sets");
                batch.commit().expect("commits");
            });
        });
    }
    group.finish();
}

fn open(path: &Path) -> Store {
    let price = Price::from_cents(1_599).expect("a price");
    let stocks = vec![InitialStock {
        name: NAME.into(),
        price,
        quantity: 100,
    }];
    Store::open(path, || {
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
