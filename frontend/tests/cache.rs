//! The cache over HTTP: what is answered without asking the catalog, and what must not be.

mod support;

use common::wire::catalog::SessionId;
use common::wire::frontend::InvalidateRequest;
use support::{Bazaar, wait_for};

fn quantity(bazaar: &Bazaar, name: &str) -> u64 {
    let answer = bazaar.client.get(&format!("/stocks/{name}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["data"]["quantity"].as_u64().expect("a number")
}

fn push(bazaar: &Bazaar, request: &InvalidateRequest) -> u16 {
    bazaar
        .internal()
        .post(
            "/invalidate",
            &serde_json::to_string(request).expect("serialises"),
        )
        .status
}

fn set(bazaar: &Bazaar, name: &str, quantity: u64) {
    bazaar
        .catalog
        .with(|state| state.stocks.get_mut(name).expect("exists").quantity = quantity);
}

/// A second read asks nobody; an invalidation makes the next one ask, for that name only.
#[test]
fn reads_are_cached_until_invalidated() {
    let bazaar = Bazaar::ready();
    for _ in 0..3 {
        assert_eq!(
            (quantity(&bazaar, "FishCo"), quantity(&bazaar, "BoarCo")),
            (100, 7)
        );
    }
    assert_eq!(bazaar.catalog.lookups(), 2);
    set(&bazaar, "FishCo", 60);
    assert_eq!(
        quantity(&bazaar, "FishCo"),
        100,
        "the catalog has not pushed yet, so no such trade is acknowledged"
    );
    assert_eq!(push(&bazaar, &bazaar.catalog.push(&["FishCo"])), 200);
    assert_eq!(
        (quantity(&bazaar, "FishCo"), quantity(&bazaar, "BoarCo")),
        (60, 7)
    );
    assert_eq!(bazaar.catalog.lookups(), 3);
    assert_eq!(bazaar.client.get("/stocks").status, 200);
    assert_eq!(
        bazaar.catalog.with(|state| state.lookups.last().cloned()),
        Some(None),
        "all: always from the catalog"
    );
}

/// An invalidation for a session that is not ours is refused, and changes nothing.
#[test]
fn other_sessions_are_refused() {
    let bazaar = Bazaar::ready();
    quantity(&bazaar, "FishCo");
    let session = SessionId("0".repeat(32));
    assert_eq!(
        push(
            &bazaar,
            &InvalidateRequest {
                session,
                names: vec!["FishCo".into()]
            }
        ),
        409
    );
    quantity(&bazaar, "FishCo");
    assert_eq!(bazaar.catalog.lookups(), 1);
}

/// An answer that was on its way when its stock was invalidated is given to its reader, but not
/// stored.
#[test]
fn a_fill_in_flight_is_voided() {
    let bazaar = Bazaar::ready();
    bazaar.catalog.with(|state| state.hold_lookups = true);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| quantity(&bazaar, "FishCo"));
        wait_for("the catalog is asked", || bazaar.catalog.lookups() == 1);
        set(&bazaar, "FishCo", 60);
        assert_eq!(push(&bazaar, &bazaar.catalog.push(&["FishCo"])), 200);
        bazaar.catalog.with(|state| state.hold_lookups = false);
        assert_eq!(reader.join().expect("is answered"), 100);
    });
    assert_eq!(quantity(&bazaar, "FishCo"), 60);
    assert!(bazaar.metric("bazaar_cache_fills_voided_total") >= 1.0);
}

/// A reader that arrives during a call is not answered by it, but by a call sent after it came.
#[test]
fn a_later_reader_gets_a_later_call() {
    let bazaar = Bazaar::with(|_, _| {}, &[("FRONTEND_CACHE", "off")]);
    bazaar.wait_ready();
    bazaar.catalog.with(|state| state.hold_lookups = true);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| quantity(&bazaar, "FishCo"));
        wait_for("the catalog is asked", || bazaar.catalog.lookups() == 1);
        set(&bazaar, "FishCo", 60);
        let second = scope.spawn(|| quantity(&bazaar, "FishCo"));
        wait_for("the catalog is asked again", || {
            bazaar.catalog.lookups() == 2
        });
        bazaar.catalog.with(|state| state.hold_lookups = false);
        assert_eq!(
            (
                first.join().expect("answered"),
                second.join().expect("answered")
            ),
            (100, 60)
        );
    });
}

/// Readers that wait together are answered by one call for the distinct names.
#[test]
fn waiting_readers_share_a_call() {
    let bazaar = Bazaar::ready();
    bazaar.catalog.with(|state| state.hold_lookups = true);
    std::thread::scope(|scope| {
        // As many calls as there are threads, so that everybody else waits.
        let busy = frontend::reads::lookups::THREADS;
        for n in 0..busy {
            let name = format!("/stocks/None{n}");
            let bazaar = &bazaar;
            scope.spawn(move || bazaar.client.get(&name));
            wait_for("the catalog is asked", || bazaar.catalog.lookups() == n + 1);
        }
        let readers: Vec<_> = (0..8)
            .map(|n| {
                let (bazaar, name) = (&bazaar, ["FishCo", "BoarCo"][n % 2]);
                scope.spawn(move || quantity(bazaar, name))
            })
            .collect();
        wait_for("they wait", || {
            bazaar.metric("bazaar_queue_depth{queue=\"lookups\"}") == 8.0
        });
        bazaar.catalog.with(|state| state.hold_lookups = false);
        let sum: u64 = readers
            .into_iter()
            .map(|reader| reader.join().expect("is answered"))
            .sum();
        assert_eq!(sum, 4 * 107);
        // One call, unless another thread got hold of the last few.
        let later = bazaar.catalog.with(|state| state.lookups.split_off(busy));
        assert!(later.len() <= busy, "{later:?}");
        let names = ["BoarCo", "FishCo"].map(String::from).to_vec();
        assert!(later.contains(&Some(names)), "{later:?}");
    });
}

/// A stock that is about to change is returned, but not stored.
#[test]
fn a_changing_stock_is_not_cached() {
    let bazaar = Bazaar::ready();
    bazaar
        .catalog
        .with(|state| state.stocks.get_mut("FishCo").expect("exists").cacheable = false);
    for n in 1..4 {
        quantity(&bazaar, "FishCo");
        assert_eq!(bazaar.catalog.lookups(), n);
    }
}

/// When the catalog forgets the session, the cache is emptied and a new session is registered,
/// under another id.
#[test]
fn a_forgotten_session_is_replaced() {
    let bazaar = Bazaar::ready();
    quantity(&bazaar, "FishCo");
    let old = bazaar.catalog.push(&[]);
    set(&bazaar, "FishCo", 60);
    bazaar.catalog.with(|state| state.session = None);
    wait_for("a new session", || {
        bazaar.catalog.with(|state| state.session.is_some())
    });
    wait_for("its lease", || bazaar.status()["cache"]["leased"] == true);
    assert_eq!(quantity(&bazaar, "FishCo"), 60);
    let new = bazaar.catalog.push(&[]);
    assert_ne!(new.session, old.session);
    assert_eq!((push(&bazaar, &old), push(&bazaar, &new)), (409, 200));
    assert_eq!(bazaar.metric("bazaar_cache_lease_losses_total"), 1.0);
}

/// Without renewal the lease ends, and every read goes to the catalog; a renewal brings the entries
/// back.
#[test]
fn a_lease_that_is_not_renewed_ends() {
    let bazaar = Bazaar::ready();
    quantity(&bazaar, "FishCo");
    bazaar.catalog.with(|state| state.lease_ms = 0);
    wait_for("the lease ends", || {
        bazaar.status()["cache"]["leased"] == false
    });
    let before = bazaar.catalog.lookups();
    quantity(&bazaar, "FishCo");
    quantity(&bazaar, "FishCo");
    assert_eq!(bazaar.catalog.lookups(), before + 2);
    bazaar.catalog.with(|state| state.lease_ms = 1_000);
    wait_for("the lease is back", || {
        bazaar.status()["cache"]["leased"] == true
    });
    quantity(&bazaar, "FishCo");
    assert_eq!(bazaar.catalog.lookups(), before + 2);
    assert_eq!(bazaar.catalog.with(|state| state.registrations), 1);
}

/// Switched off, there is no session, and every read asks the catalog.
#[test]
fn switched_off() {
    let bazaar = Bazaar::with(|_, _| {}, &[("FRONTEND_CACHE", "off")]);
    bazaar.wait_ready();
    for n in 1..4 {
        quantity(&bazaar, "FishCo");
        assert_eq!(bazaar.catalog.lookups(), n);
    }
    assert_eq!(bazaar.catalog.with(|state| state.registrations), 0);
    assert_eq!(bazaar.status()["cache"]["enabled"], false);
    assert_eq!(bazaar.metric("bazaar_cache_misses_total"), 3.0);
}

/// The least recently used stock leaves a full cache.
#[test]
fn a_small_cache_keeps_what_was_used_last() {
    let bazaar = Bazaar::with(|_, _| {}, &[("FRONTEND_CACHE_SIZE", "1")]);
    bazaar.wait_ready();
    for name in ["FishCo", "FishCo", "BoarCo", "FishCo"] {
        quantity(&bazaar, name);
    }
    assert_eq!(bazaar.catalog.lookups(), 3);
    assert_eq!(bazaar.status()["cache"]["entries"], 1);
}

/// Reads wait for a catalog that is away, and are answered once it is back; one that stays away is
/// a 503.
#[test]
fn reads_wait_for_the_catalog() {
    let bazaar = Bazaar::ready();
    bazaar.catalog.with(|state| state.away = true);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| quantity(&bazaar, "FishCo"));
        wait_for("the front-end notices", || {
            bazaar.client.get("/readyz").status == 503
        });
        bazaar.catalog.with(|state| state.away = false);
        assert_eq!(reader.join().expect("is answered"), 100);
    });
    bazaar.catalog.with(|state| state.away = true);
    let answer = bazaar.client.get("/stocks/BoarCo");
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert!(
        answer
            .message()
            .contains("the catalog does not answer stock reads now"),
        "{answer:?}"
    );
}

/// A front-end that stops ends its session at the catalog, so that no trade waits for its lease.
/// The cache is empty by then: the session's pushes are refused, as for a front-end that holds
/// nothing.
#[test]
fn a_front_end_that_stops_ends_its_session() {
    let bazaar = Bazaar::ready();
    quantity(&bazaar, "FishCo");
    let session = bazaar.catalog.push(&[]).session;
    let Bazaar {
        frontend, catalog, ..
    } = bazaar;
    drop(frontend);
    catalog.with(|state| {
        assert_eq!(state.ended, [session]);
        assert!(state.session.is_none(), "it registered no more");
    });
}
