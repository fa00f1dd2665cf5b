//! Trading without faults: many clients, the cache, two front-ends, keys.

use client::api::Api;
use client::workload::{self, Control};
use common::wire::order::Side;
use std::thread;
use std::time::{Duration, Instant};
use tests::harness::{Bazaar, seed};

/// 16 clients at once through two front-ends: nothing is lost, doubled or made up. (The closing
/// checks count.)
#[test]
fn sixteen_clients_conserve_quantities() {
    let bazaar = Bazaar::start_with(2, |_| {});
    let options = bazaar.workload(16, 60, 0.8);
    let outcome = workload::run(&options, &Control::default()).expect("runs");
    bazaar.recorder.note_all(&outcome);
    assert!(
        outcome.is_clean() && !outcome.noticed_during_orders,
        "{:?} {:?}",
        outcome.mismatches,
        outcome.examples
    );
    assert!(
        outcome.acknowledged.len() > 300,
        "most orders trade: {}",
        outcome.acknowledged.len()
    );
    bazaar.close();
}

/// 16 clients that all want the same scarce stock: exactly as many are sold as there were.
#[test]
fn scarce_stock() {
    let bazaar = Bazaar::start();
    let bought: usize = thread::scope(|scope| {
        let buy = || {
            (0..10)
                .filter(|_| bazaar.trade("MenhirCo", Side::Buy, 1).is_ok())
                .count()
        };
        let clients: Vec<_> = (0..16).map(|_| scope.spawn(buy)).collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("joins"))
            .sum()
    });
    assert_eq!((bought, bazaar.quantity("MenhirCo")), (100, 0));
    bazaar.close();
}

/// A second look at a stock comes from the cache; a trade empties it before it is acknowledged.
#[test]
fn cache_on() {
    let bazaar = Bazaar::start();
    bazaar.wait_status("a lease", |status| status.cache.leased);
    let before = bazaar.status().cache;
    for _ in 0..10 {
        assert_eq!(bazaar.quantity("FishCo"), 100);
    }
    let after = bazaar.status().cache;
    assert_eq!(
        (after.misses - before.misses, after.hits - before.hits),
        (1, 9)
    );
    assert_eq!(after.entries, 1);
    for bought in 1..=20 {
        bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
        assert_eq!(bazaar.quantity("FishCo"), 100 - bought);
    }
    bazaar.close();
}

/// With the cache off every read goes to the catalog, and all else is the same.
#[test]
fn cache_off() {
    let bazaar = Bazaar::start_with(1, |spec| {
        spec.set("FRONTEND_CACHE", "off");
    });
    for bought in 1..=20 {
        bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
        assert_eq!(bazaar.quantity("FishCo"), 100 - bought);
    }
    let cache = bazaar.status().cache;
    assert!(
        !cache.enabled && !cache.leased && cache.entries == 0 && cache.hits == 0,
        "{cache:?}"
    );
    bazaar.close();
}

/// A cache smaller than what is read stays within its bound and stays right.
#[test]
fn small_cache() {
    let bazaar = Bazaar::start_with(1, |spec| {
        spec.set("FRONTEND_CACHE_SIZE", "3");
    });
    bazaar.wait_status("a lease", |status| status.cache.leased);
    let stocks = bazaar.api().stocks().expect("stocks");
    for stock in stocks.iter().chain(&stocks) {
        assert_eq!(bazaar.api().stock(&stock.name).as_ref(), Ok(stock));
    }
    let cache = bazaar.status().cache;
    assert!(cache.entries <= 3 && cache.capacity == 3, "{cache:?}");
    assert_eq!(
        cache.hits, 0,
        "the least recently used goes first: a round over more than it holds never hits"
    );
    bazaar.close();
}

fn front_ends(bazaar: &Bazaar) -> Vec<Api> {
    let urls = bazaar.cluster.urls();
    urls.iter().map(|url| Api::new(url)).collect()
}

/// A trade through one front-end is seen by a read through the other at once, though both had the
/// stock in their caches.
#[test]
fn two_front_ends() {
    let bazaar = Bazaar::start_with(2, |_| {});
    let fronts = front_ends(&bazaar);
    let mut rng = fastrand::Rng::with_seed(seed());
    let (mut left, mut hits) = (100, 0);
    for _ in 0..100 {
        let (one, other) = if rng.bool() {
            (&fronts[0], &fronts[1])
        } else {
            (&fronts[1], &fronts[0])
        };
        let quantity = rng.u64(1..=5);
        let side = if left >= quantity && rng.bool() {
            Side::Buy
        } else {
            Side::Sell
        };
        bazaar
            .trade_at(one, "BoarCo", side, quantity, None)
            .expect("trades");
        left = if side == Side::Buy {
            left - quantity
        } else {
            left + quantity
        };
        for api in [other, one, other, one] {
            assert_eq!(api.stock("BoarCo").expect("the stock").quantity, left);
        }
    }
    for api in &fronts {
        hits += api.status().expect("status").cache.hits;
    }
    assert!(hits > 50, "the caches were in use: {hits} hits");
    bazaar.close();
}

/// One key, one trade: the same answer through any front-end; another body is a 422; a refusal
/// stays a refusal.
#[test]
fn keys() {
    let bazaar = Bazaar::start_with(2, |_| {});
    let fronts = front_ends(&bazaar);
    let buy =
        |api: &Api, quantity, key| bazaar.trade_at(api, "FishCo", Side::Buy, quantity, Some(key));
    let number = buy(&fronts[0], 30, "one").expect("trades");
    for api in [&fronts[0], &fronts[1], &fronts[0]] {
        assert_eq!(buy(api, 30, "one"), Ok(number));
    }
    assert_eq!(
        buy(&fronts[1], 31, "one")
            .expect_err("another body")
            .status(),
        Some(422)
    );
    assert_eq!(bazaar.quantity("FishCo"), 70);
    assert_eq!(
        buy(&fronts[0], 71, "much").expect_err("too few").status(),
        Some(409)
    );
    bazaar.trade("FishCo", Side::Sell, 50).expect("trades");
    assert_eq!(
        buy(&fronts[1], 71, "much")
            .expect_err("stays refused")
            .status(),
        Some(409)
    );
    assert!(buy(&fronts[1], 71, "again").is_ok());
    assert_eq!(bazaar.quantity("FishCo"), 49);
    bazaar.close();
}

/// The same key from many threads at once trades once, and all get the same number.
#[test]
fn one_key_at_once() {
    let bazaar = Bazaar::start_with(2, |_| {});
    let numbers: Vec<u64> = thread::scope(|scope| {
        let urls = bazaar.cluster.urls();
        let order =
            |url: &String| bazaar.trade_at(&Api::new(url), "FishCo", Side::Buy, 7, Some("same"));
        let clients: Vec<_> = (0..12)
            .map(|i| (urls[i % 2].clone(), order))
            .map(|(u, o)| scope.spawn(move || o(&u)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("joins").expect("trades"))
            .collect()
    });
    assert!(numbers.iter().all(|number| *number == 0), "{numbers:?}");
    assert_eq!(bazaar.quantity("FishCo"), 93);
    bazaar.close();
}

/// Nothing waits for a delayed acknowledgement: half of all cached lookups and of all orders are
/// far below 40 ms.
#[test]
fn no_forty_milliseconds() {
    let bazaar = Bazaar::start();
    let api = bazaar.api();
    let lookup = median(|| api.stock("FishCo").expect("found"));
    let all = median(|| api.stocks().expect("found"));
    let order = median(|| {
        bazaar
            .trade_at(&api, "FishCo", Side::Sell, 1, None)
            .expect("trades")
    });
    let query = median(|| api.order_by_number(0).expect("found"));
    println!("medians: lookup {lookup:?}, all stocks {all:?}, order {order:?}, query {query:?}");
    for (what, took) in [
        ("lookup", lookup),
        ("all stocks", all),
        ("order", order),
        ("query", query),
    ] {
        assert!(took < Duration::from_millis(35), "{what}: {took:?}");
    }
    bazaar.close();
}

fn median<T>(request: impl Fn() -> T) -> Duration {
    let timed = |_| {
        let started = Instant::now();
        request();
        started.elapsed()
    };
    let mut times: Vec<Duration> = (0..41).map(timed).collect();
    times.sort();
    times[times.len() / 2]
}
