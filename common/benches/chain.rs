//! The hash chain: each order is hashed once at the catalog and once at each replica.

use common::chain::{Hash, row_hashes};
use common::wire::order::{Order, OrderKey, Side};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// Rows of one batch, as 64 connections make it.
const ROWS: u64 = 64;

fn chain(criterion: &mut Criterion) {
    let orders: Vec<Order> = (0..ROWS)
        .map(|n| Order {
            key: OrderKey::from_time(1_700_000_000_000 + n, u128::from(n) << 40),
            name: "GameStart".into(),
            side: if n % 2 == 0 { Side::Buy } else { Side::Sell },
            quantity: 1 + n,
        })
        .collect();
    let mut group = criterion.benchmark_group("chain");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("64 rows", |bencher| {
        bencher.iter(|| row_hashes(black_box(Hash([7; 32])), 0, black_box(&orders)).last());
    });
    group.finish();
}

criterion_group!(benches, chain);
criterion_main!(benches);
