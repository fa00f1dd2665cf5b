//! A front-end with two catalogs: it follows the active one, for reads, the session and the term.

mod support;

use common::wire::catalog::RegisterRequest;
use support::catalog::FakeCatalog;
use support::replica::FakeReplica;
use support::{Bazaar, wait_for};

/// A bazaar whose first catalog is active under epoch 1, and whose second one stands by.
fn bazaar(second: &FakeCatalog) -> Bazaar {
    let prepare = |first: &FakeCatalog, _: &[FakeReplica]| {
        second.with(|state| state.standby = Some(Some(first.url())));
        first.with(|state| state.epoch = 1);
    };
    Bazaar::with_catalogs(prepare, &[], &[second.url()])
}

fn quantity(bazaar: &Bazaar, name: &str) -> u64 {
    let answer = bazaar.client.get(&format!("/stocks/{name}"));
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.body["data"]["quantity"].as_u64().expect("a number")
}

fn set(catalog: &FakeCatalog, name: &str, quantity: u64) {
    catalog.with(|state| state.stocks.get_mut(name).expect("a stock").quantity = quantity);
}

/// Reads, session and status follow the active catalog when another one takes over. Answers
/// that the deposed one still gives under its older epoch count for nothing.
#[test]
fn the_active_catalog_is_followed() {
    let second = FakeCatalog::start();
    let bazaar = bazaar(&second);
    bazaar.wait_ready();
    assert_eq!(quantity(&bazaar, "FishCo"), 100);
    let shown = bazaar.status()["catalogs"].clone();
    let expected = [("catalog", "active", 1), ("catalog2", "standby", 0)];
    for (member, (id, role, epoch)) in shown.as_array().expect("a list").iter().zip(expected) {
        assert_eq!((&member["id"], &member["role"]), (&id.into(), &role.into()));
        assert_eq!(member["epoch"], epoch);
    }
    let before = bazaar.catalog.with(|state| state.session.clone());
    let term = bazaar.catalog.with(|state| state.term);
    // The first one does not know yet that it was deposed, as if it had been paused.
    set(&second, "BoarCo", 3);
    second.with(|state| {
        (state.term, state.standby, state.epoch) = (term, None, 2);
    });
    wait_for("a session at the second", || {
        second.with(|state| state.session.is_some())
    });
    assert_eq!(quantity(&bazaar, "BoarCo"), 3);
    let after = second.with(|state| state.session.clone());
    let id = |session: Option<RegisterRequest>| session.expect("registered").session;
    assert_ne!(id(before), id(after), "each registration has its own id");
    wait_for("the status", || {
        let status = bazaar.status();
        status["ready"] == true && status["catalogs"][1]["epoch"] == 2
    });
}

/// While all catalogs answer and none is active the leader stays, and readiness says why.
#[test]
fn no_election_begins_while_no_catalog_is_active() {
    let second = FakeCatalog::start();
    let bazaar = bazaar(&second);
    bazaar.wait_ready();
    let before = bazaar.status()["term"].clone();
    for catalog in [&second, &bazaar.catalog] {
        catalog.with(|state| state.standby = Some(None));
    }
    wait_for("the reason", || {
        bazaar.status()["reasons"]
            .to_string()
            .contains("no catalog is active")
    });
    let status = bazaar.status();
    assert_eq!(status["term"], before);
    assert!(!status["leader"].is_null(), "{status}");
    bazaar.catalog.with(|state| {
        (state.standby, state.epoch) = (None, 3);
    });
    wait_for("it is ready again", || bazaar.status()["ready"] == true);
    assert_eq!(bazaar.status()["term"], before);
}
