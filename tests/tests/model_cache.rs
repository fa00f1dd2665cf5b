//! The cache, explored: no reader ever gets a stale value in any state within the bounds, and each
//! rule that is switched off is caught.

use tests::model::cache::Caches;
use tests::model::cache::config::{Config, Rules};
use tests::model::cache::properties as is;
use tests::model::run::{breaks, holds};

/// One front-end, two trades, one session.
fn base() -> Config {
    Config {
        fronts: 1,
        trades: 2,
        misses: 2,
        calls: 1,
        registrations: 1,
        keep_alives: 1,
        ticks: 4,
        restarts: 0,
        front_crashes: 0,
        skew: true,
        rules: Rules::DESIGN,
        reached: vec![],
    }
}

/// The same with clocks that agree.
fn in_step() -> Config {
    Config {
        skew: false,
        ..base()
    }
}

/// Explores a configuration in which everything must hold, and at least `states` states must be
/// found.
fn explore(name: &str, states: usize, config: Config) {
    let explored = holds(name, Caches(config));
    assert!(
        explored.states >= states,
        "{name}: only {} states, {states} are expected",
        explored.states
    );
}

/// Fills, joiners, invalidations, a lease that is renewed and one that runs out.
#[test]
fn one_front_end() {
    let reached = vec![
        is::CACHED,
        is::VOIDED,
        is::NOT_CACHEABLE,
        is::PENDING,
        is::WAITED,
        is::SLOW,
    ];
    explore(
        "one front-end",
        587_000,
        Config {
            ticks: 3,
            reached,
            ..base()
        },
    );
}

/// Two calls of one front-end at the same time.
#[test]
fn two_calls() {
    explore(
        "two calls",
        95_000,
        Config {
            calls: 2,
            trades: 1,
            ticks: 3,
            keep_alives: 0,
            ..base()
        },
    );
}

/// A session that was lost is followed by another, whose registration may be given up and arrive
/// late.
#[test]
fn two_sessions() {
    explore(
        "two sessions",
        307_000,
        Config {
            registrations: 2,
            trades: 1,
            misses: 1,
            ticks: 3,
            ..base()
        },
    );
}

/// The catalog restarts at any moment, also between a commit and its publication.
#[test]
fn catalog_restart() {
    let reached = vec![is::AWAY, is::UNTOLD];
    explore(
        "catalog restart",
        313_000,
        Config {
            restarts: 1,
            trades: 1,
            misses: 1,
            reached,
            ..base()
        },
    );
}

/// A front-end crashes and comes back under the same address.
#[test]
fn front_end_crash() {
    let config = Config {
        front_crashes: 1,
        registrations: 2,
        keep_alives: 0,
        trades: 1,
        misses: 1,
        ..base()
    };
    explore("front-end crash", 343_000, config);
}

/// Two front-ends: a trade waits for both.
#[test]
fn two_front_ends() {
    let config = Config {
        fronts: 2,
        trades: 1,
        misses: 1,
        keep_alives: 0,
        ticks: 2,
        skew: false,
        ..base()
    };
    explore("two front-ends", 749_000, config);
}

/// The same with more of everything: `make model`.
#[test]
#[ignore = "minutes in release: make model"]
fn deeper() {
    explore("deep: one front-end", 1_350_000, base());
    explore("deep: two calls", 5_553_000, Config { calls: 2, ..base() });
    let config = Config {
        fronts: 2,
        trades: 1,
        misses: 1,
        keep_alives: 0,
        ticks: 3,
        skew: false,
        ..base()
    };
    explore("deep: two front-ends", 2_517_000, config);
}

/// Restarts, crashes and second sessions with more time: `make model`.
#[test]
#[ignore = "minutes in release: make model"]
fn deeper_with_faults() {
    let sessions = Config {
        registrations: 2,
        trades: 1,
        ..base()
    };
    explore("deep: two sessions", 2_099_000, sessions.clone());
    explore(
        "deep: catalog restart",
        3_571_000,
        Config {
            restarts: 1,
            misses: 1,
            ticks: 5,
            ..sessions.clone()
        },
    );
    explore(
        "deep: front-end crash",
        4_844_000,
        Config {
            front_crashes: 1,
            ..sessions
        },
    );
}

/// Switches a rule off and expects one of these properties to break.
fn caught(name: &str, config: Config, off: impl FnOnce(&mut Rules), expected: &[&'static str]) {
    let mut rules = Rules::DESIGN;
    off(&mut rules);
    breaks(name, Caches(Config { rules, ..config }), expected);
}

/// A reader that joins a call under way gets what left the catalog before it came.
#[test]
fn joiners_share_a_call() {
    caught(
        "joiners share a call",
        in_step(),
        |r| r.joiners_wait = false,
        &[is::LINEAR],
    );
}

/// A fill from before the registration survives it, and no push voids it.
#[test]
fn registration_keeps_the_cache() {
    caught(
        "registration keeps the cache",
        in_step(),
        |r| r.registration_empties = false,
        &[is::CURRENT],
    );
}

/// The answer of a call overtaken by an invalidation is stored.
#[test]
fn fills_survive_invalidations() {
    caught(
        "fills survive invalidations",
        in_step(),
        |r| r.fills_are_voided = false,
        &[is::CURRENT],
    );
}

/// A catalog that serves at once after a restart shows what a running lease still hides.
#[test]
fn no_wait_after_a_restart() {
    let config = Config {
        restarts: 1,
        ..in_step()
    };
    caught(
        "no wait after a restart",
        config,
        |r| r.wait_after_start = false,
        &[is::CURRENT],
    );
}

/// A trade is shown while a cache still answers with the value before.
#[test]
fn shown_before_acknowledged() {
    caught(
        "shown before acknowledged",
        in_step(),
        |r| r.acknowledged_before_shown = false,
        &[is::CURRENT],
    );
}

/// An entry of a lapsed lease is taken, and handed out under the lease of the next session.
#[test]
fn entry_before_lease() {
    let config = Config {
        registrations: 2,
        trades: 1,
        misses: 1,
        ..in_step()
    };
    caught(
        "entry before lease",
        config,
        |r| r.lease_before_entry = false,
        &[is::LINEAR],
    );
}

/// A session that begins between the list and the mark is neither pushed to nor warned.
#[test]
fn list_before_mark() {
    caught(
        "list before mark",
        in_step(),
        |r| r.mark_before_list = false,
        &[is::CURRENT],
    );
    caught(
        "marked is cached",
        in_step(),
        |r| r.marked_is_not_cached = false,
        &[is::CURRENT],
    );
}

/// A clock that is a little slow goes on with a lease that the catalog took for ended.
#[test]
fn no_margin() {
    caught("no margin", base(), |r| r.margin = false, &[is::CURRENT]);
}

/// A lease that counts from the answer outlives the catalog's.
#[test]
fn lease_from_the_answer() {
    caught(
        "lease from the answer",
        base(),
        |r| r.lease_from_asking = false,
        &[is::CURRENT],
    );
}

/// A push to a session whose reply is on its way is refused, and the session goes on without
/// pushes.
#[test]
fn pending_is_refused() {
    caught(
        "pending is refused",
        in_step(),
        |r| r.pending_counts = false,
        &[is::CURRENT],
    );
}

/// A front-end that is cut off one way renews for ever, and no trade is shown.
#[test]
fn silent_is_renewed() {
    caught(
        "silent is renewed",
        in_step(),
        |r| r.silent_is_not_renewed = false,
        &[is::SETTLES_ONE_WAY],
    );
}
