//! A cache hit: clock, lease and entry under the lock, as each cached read takes them.

use common::clock::BootInstant;
use common::metrics::Metrics;
use common::wire::catalog::{SessionId, Stock};
use common::wire::money::Price;
use criterion::{Criterion, criterion_group, criterion_main};
use frontend::cache::shared::{FoundStock, SharedCache};
use frontend::metrics::CacheMetrics;
use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

/// Stocks in the cache, as many as fit by default.
const STOCKS: usize = 1_024;

fn hit(criterion: &mut Criterion) {
    let cache = SharedCache::new(true, STOCKS, CacheMetrics::new(&Metrics::new()));
    let session = SessionId("0".repeat(32));
    cache.begin_session(&session);
    let lease_end = BootInstant::now() + Duration::from_secs(86_400);
    assert!(cache.install_session(&session, lease_end));
    let names: Vec<String> = (0..STOCKS).map(|n| format!("Stock{n}")).collect();
    let found = names
        .iter()
        .map(|name| (name.as_str(), FoundStock::from(&stock(name))))
        .collect::<HashMap<_, _>>();
    cache.finish_fills(cache.begin_fills(names.iter().map(String::as_str)), &found);
    let mut at = 0;
    criterion.bench_function("cache hit", |bencher| {
        bencher.iter(|| {
            // A stride, so that the least recently used list is really changed.
            at = (at + 389) % STOCKS;
            cache.get(black_box(&names[at])).expect("is cached")
        });
    });
}

fn stock(name: &str) -> Stock {
    Stock {
        name: name.into(),
        price: Price::from_cents(1_599).expect("a price"),
        quantity: 100,
        cacheable: true,
    }
}

criterion_group!(benches, hit);
criterion_main!(benches);
