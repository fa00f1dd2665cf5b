//! Several catalogs over one database, explored: the design holds in every state within the bounds,
//! and each rule that is switched off is caught. The name of such a test is the rule's name in
//! [`Rules`], and its consequence when it is off.

use tests::model::catalogs::Catalogs;
use tests::model::catalogs::config::{Config, Faults, Rules, StoreKind};
use tests::model::catalogs::properties as is;
use tests::model::run::{breaks, holds};

const NONE: Faults = Faults {
    crashes: 0,
    lost_connections: 0,
    late_renewals: 0,
    cancels: 0,
    promotions: 0,
    stops: 0,
    front_crashes: 0,
    front_stops: 0,
};

/// One order, one takeover, no front-end.
fn base() -> Config {
    Config {
        store: StoreKind::Postgres,
        catalogs: 2,
        fronts: 0,
        keys: 1,
        epochs: 2,
        renewals: true,
        synchronous: true,
        one_flight: false,
        old_fronts: false,
        registrations: 1,
        keep_alives: false,
        settles: false,
        faults: NONE,
        rules: Rules::DESIGN,
        reached: vec![],
    }
}

/// The writer thread of one of them loses its connection once.
fn disconnected() -> Config {
    let faults = Faults {
        lost_connections: 1,
        ..NONE
    };
    Config { faults, ..base() }
}

/// The database's standby is promoted once.
fn promoted() -> Config {
    let faults = Faults {
        promotions: 1,
        ..NONE
    };
    Config { faults, ..base() }
}

/// One of them stops cleanly.
fn stopped() -> Config {
    let faults = Faults { stops: 1, ..NONE };
    Config { faults, ..base() }
}

/// With a front-end that registers once.
fn cached(config: Config) -> Config {
    Config {
        fronts: 1,
        ..config
    }
}

/// One catalog on its own file, which stops and crashes, and a front-end.
fn file() -> Config {
    let faults = Faults {
        crashes: 1,
        stops: 1,
        ..NONE
    };
    let config = Config {
        store: StoreKind::Sqlite,
        catalogs: 1,
        faults,
        ..base()
    };
    cached(config)
}

/// Explores a configuration in which everything must hold, and at least `states` states must be
/// found.
fn explore(name: &str, states: usize, config: Config) {
    let explored = holds(name, Catalogs(config));
    assert!(
        explored.states >= states,
        "{name}: only {} states, {states} are expected",
        explored.states
    );
}

/// Two orders, two takeovers, pauses at any moment.
#[test]
fn takeovers() {
    let reached = vec![is::TAKEN_OVER, is::OLD_COMMIT, is::LOCKED_OUT, is::LAPSED];
    let config = Config {
        keys: 2,
        epochs: 3,
        settles: true,
        reached,
        ..base()
    };
    explore("takeovers", 17_000, config);
}

/// A connection is lost at any moment. A statement sent before may be executed at any later one.
#[test]
fn lost_connections() {
    let reached = vec![is::LATE_COMMIT, is::BUMPED, is::LATE_TAKEOVER];
    let config = Config {
        keys: 2,
        settles: true,
        reached,
        ..disconnected()
    };
    explore("lost connections", 42_700, config);
}

/// The same with batches that travel in one flight, which depends on its fence.
#[test]
fn lost_connections_in_one_flight() {
    let config = Config {
        keys: 2,
        one_flight: true,
        reached: vec![is::LATE_COMMIT, is::BUMPED, is::OLD_COMMIT],
        ..disconnected()
    };
    explore("lost connections, one flight", 63_000, config);
}

/// A catalog crashes at any moment.
#[test]
fn crashes() {
    let faults = Faults { crashes: 1, ..NONE };
    let config = Config {
        keys: 2,
        settles: true,
        faults,
        reached: vec![is::TAKEN_OVER],
        ..base()
    };
    explore("crashes", 22_500, config);
}

/// A cache answers while its catalog is active, and no longer.
#[test]
fn one_front_end() {
    let reached = vec![is::WAITED];
    explore(
        "one front-end",
        24_700,
        cached(Config { reached, ..base() }),
    );
}

/// A catalog stops cleanly at any moment, and is followed at once.
#[test]
fn clean_stop() {
    let reached = vec![is::CLEAN, is::ENDED];
    let config = Config {
        renewals: false,
        reached,
        ..stopped()
    };
    explore("clean stop", 25_700, cached(config));
}

/// A front-end stops or crashes at any moment.
#[test]
fn front_end_stop() {
    let faults = Faults {
        front_stops: 1,
        front_crashes: 1,
        ..NONE
    };
    let config = Config {
        renewals: false,
        faults,
        ..base()
    };
    explore("front-end stop", 8_000, cached(config));
}

/// A synchronous standby of the database is promoted at any moment, and a COMMIT is cancelled.
#[test]
fn promotion() {
    let faults = Faults {
        cancels: 1,
        ..promoted().faults
    };
    let config = Config {
        settles: true,
        faults,
        reached: vec![is::CANCELLED],
        ..base()
    };
    explore("promotion", 6_200, config);
}

/// A standby of the database is promoted that lacks acknowledged rows: that is found, and no number
/// is given twice.
#[test]
fn promotion_of_one_that_is_behind() {
    let config = Config {
        keys: 2,
        renewals: false,
        synchronous: false,
        settles: true,
        reached: vec![is::LOST],
        ..promoted()
    };
    explore("promotion of one that is behind", 21_200, config);
}

/// SQLite: one catalog stops and crashes at any moments.
#[test]
fn own_file() {
    let config = Config {
        reached: vec![is::NO_WAIT],
        settles: true,
        ..file()
    };
    explore("own file", 1_100, config);
}

/// More orders, epochs and faults: `make model`.
#[test]
#[ignore = "minutes in release: make model"]
fn deeper() {
    let config = Config {
        keys: 3,
        epochs: 4,
        settles: true,
        ..base()
    };
    explore("deep: takeovers", 163_800, config);
    let faults = Faults {
        late_renewals: 1,
        ..disconnected().faults
    };
    let config = Config {
        keys: 2,
        settles: true,
        faults,
        ..base()
    };
    explore("deep: lost connections", 180_600, config);
    let faults = Faults {
        lost_connections: 2,
        ..NONE
    };
    explore(
        "deep: two lost connections",
        21_500,
        Config { faults, ..base() },
    );
    let config = Config {
        one_flight: true,
        faults,
        ..base()
    };
    explore("deep: two lost connections, one flight", 37_900, config);
    let faults = Faults {
        crashes: 1,
        ..disconnected().faults
    };
    let config = Config {
        keys: 2,
        faults,
        ..base()
    };
    explore("deep: crash and lost connection", 140_800, config);
    let faults = Faults {
        cancels: 1,
        ..promoted().faults
    };
    let config = Config {
        keys: 2,
        settles: true,
        faults,
        ..base()
    };
    explore("deep: promotion", 46_200, config);
    let config = Config {
        keys: 2,
        synchronous: false,
        settles: true,
        ..promoted()
    };
    explore("deep: promotion of one that is behind", 378_400, config);
}

/// Front-ends with more sessions, renewals and faults: `make model`.
#[test]
#[ignore = "minutes in release: make model"]
fn deeper_with_front_ends() {
    let config = Config {
        registrations: 2,
        reached: vec![is::CACHED, is::WAITED],
        ..base()
    };
    explore("deep: two sessions", 220_000, cached(config));
    let config = Config {
        keep_alives: true,
        ..base()
    };
    explore("deep: keep-alives", 103_400, cached(config));
    let config = Config {
        fronts: 2,
        renewals: false,
        ..base()
    };
    explore("deep: two front-ends", 88_400, config);
    explore("deep: clean stop", 175_500, cached(stopped()));
    explore("deep: lost connection", 161_400, cached(disconnected()));
    let config = Config {
        registrations: 2,
        renewals: false,
        ..stopped()
    };
    explore("deep: clean stop, two sessions", 203_800, cached(config));
}

/// Several faults at any moments: `make model`.
#[test]
#[ignore = "minutes in release: make model"]
fn deeper_with_several_faults() {
    let faults = Faults {
        crashes: 1,
        stops: 1,
        ..disconnected().faults
    };
    let config = Config { faults, ..base() };
    explore("deep: crash, stop, lost connection", 153_600, config);
    let faults = Faults {
        stops: 1,
        ..disconnected().faults
    };
    let config = Config { faults, ..base() };
    explore(
        "deep: stop and lost connection, cached",
        1_102_000,
        cached(config),
    );
}

/// Catalogs and front-ends stop at any moments: `make model`.
#[test]
#[ignore = "minutes in release: make model"]
fn deeper_with_stops() {
    let faults = Faults {
        stops: 1,
        front_stops: 1,
        ..NONE
    };
    let config = Config {
        keep_alives: true,
        renewals: false,
        faults,
        ..base()
    };
    explore("deep: both stop, with keep-alives", 110_000, cached(config));
    let config = Config {
        fronts: 2,
        renewals: false,
        ..stopped()
    };
    explore("deep: clean stop, two front-ends", 605_000, config);
}

/// Switches a rule off and expects one of these properties to break.
fn caught(config: Config, off: impl FnOnce(&mut Rules), expected: &'static str) {
    let mut rules = Rules::DESIGN;
    off(&mut rules);
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a rule is off").to_owned();
    breaks(&name, Catalogs(Config { rules, ..config }), &[expected]);
}

/// A catalog that was paused answers after another one has taken over and traded.
#[test]
fn reads_need_lease_or_a_deposed_catalog_answers() {
    caught(base(), |r| r.reads_need_lease = false, is::READ);
}

/// From two rows, a renewal that waited for a takeover beats on, for a lease of an epoch that is
/// gone.
#[test]
fn one_row_or_a_renewal_outlives_a_takeover() {
    caught(base(), |r| r.one_row = false, is::READ);
}

/// A deposed catalog renews the epoch of another one.
#[test]
fn renewal_requires_epoch_or_the_deposed_renew() {
    caught(base(), |r| r.renewal_requires_epoch = false, is::READ);
}

/// The answer comes after the standby's wait, and a lease begins.
#[test]
fn lease_from_sending_or_a_late_answer_outlives_the_wait() {
    caught(base(), |r| r.lease_from_sending = false, is::READ);
}

/// A takeover while the lease runs.
#[test]
fn takeover_waits_or_two_are_active() {
    caught(base(), |r| r.takeover_waits = false, is::READ);
}

/// The renewal was sent after the look, and executed before it: its lease outlives the wait.
#[test]
fn wait_from_receipt_or_a_slow_look_shortens_the_wait() {
    caught(base(), |r| r.wait_from_receipt = false, is::READ);
}

/// A renewal comes between the last look and the takeover.
#[test]
fn takeover_requires_beat_or_a_renewal_after_the_last_look_is_missed() {
    caught(base(), |r| r.takeover_requires_beat = false, is::READ);
}

/// A takeover is lost with the database's primary; its epoch is taken again by another catalog,
/// and both write.
#[test]
fn epoch_has_holder_or_a_lost_takeover_gives_an_epoch_twice() {
    caught(
        Config {
            keys: 2,
            renewals: false,
            synchronous: false,
            faults: Faults {
                lost_connections: 1,
                promotions: 1,
                ..NONE
            },
            ..base()
        },
        |r| r.epoch_has_holder = false,
        is::HONEST,
    );
}

/// A renewal of the epoch before a bump finds no row, after the bump is done.
#[test]
fn moved_is_not_deposed_or_a_bump_deposes_its_own_catalog() {
    caught(
        disconnected(),
        |r| r.moved_is_not_deposed = false,
        is::STAYS,
    );
}

/// The same, before the bump's answer has come.
#[test]
fn moving_is_not_deposed_or_a_bump_deposes_its_own_catalog_before_its_answer() {
    caught(
        disconnected(),
        |r| r.moving_is_not_deposed = false,
        is::STAYS,
    );
}

/// A takeover that was not executed yet is taken for done; its first renewal finds no row.
#[test]
fn unknown_takeover_stands_by_or_its_first_renewal_deposes_it() {
    caught(
        disconnected(),
        |r| r.unknown_takeover_stands_by = false,
        is::STAYS,
    );
}

/// A writer thread hangs, and the catalog renews for ever.
#[test]
fn renewal_needs_writer_or_a_hanging_catalog_stays_active() {
    caught(
        Config {
            settles: true,
            ..base()
        },
        |r| r.renewal_needs_writer = false,
        is::SETTLES_HANGING,
    );
}

/// A fenced batch commits after the next catalog has loaded, which then takes history for lost.
#[test]
fn takeover_waits_for_fences_or_a_batch_commits_behind_the_load() {
    caught(
        Config { keys: 2, ..base() },
        |r| r.takeover_waits_for_fences = false,
        is::HONEST,
    );
}

/// A late load of a deposed catalog has a row that the active one has committed and not shown; it
/// answers the verdict.
#[test]
fn load_is_fenced_or_a_deposed_catalog_repeats_what_is_not_visible() {
    caught(
        Config {
            epochs: 3,
            ..base()
        },
        |r| r.load_is_fenced = false,
        is::READ,
    );
}

/// A deposed catalog commits and acknowledges.
#[test]
fn batch_is_fenced_or_a_deposed_catalog_trades() {
    caught(base(), |r| r.batch_is_fenced = false, is::READ);
}

/// The fence finds no row, and the COMMIT behind it in the same flight goes on.
#[test]
fn fence_is_awaited_or_a_fence_without_row_stops_nothing() {
    caught(base(), |r| r.fence_is_awaited = false, is::READ);
}

/// A batch was decided in an earlier time as active, and is sent in a later one.
#[test]
fn fence_of_the_decision_or_an_old_decision_commits() {
    caught(
        Config {
            keys: 2,
            epochs: 3,
            ..base()
        },
        |r| r.fence_of_the_decision = false,
        is::HONEST,
    );
}

/// The database lost rows; the next one leaves a gap.
#[test]
fn last_row_is_required_or_a_number_is_left_out() {
    caught(
        Config {
            keys: 2,
            renewals: false,
            synchronous: false,
            ..promoted()
        },
        |r| r.last_row_is_required = false,
        is::DENSE,
    );
}

/// A deposed catalog sees a leader with more rows than itself.
#[test]
fn lost_history_is_written_or_a_deposed_catalog_calls_history_lost() {
    caught(base(), |r| r.lost_history_is_written = false, is::HONEST);
}

/// The COMMIT of a lost connection is executed after the load; the next batch takes history for
/// lost.
#[test]
fn bump_after_unknown_or_a_late_commit_follows_the_load() {
    caught(
        Config {
            keys: 2,
            ..disconnected()
        },
        |r| r.bump_after_unknown = false,
        is::HONEST,
    );
}

/// A deposed catalog with an unknown outcome takes the epoch from the active one, without any
/// wait.
#[test]
fn bump_requires_epoch_or_a_deposed_catalog_takes_the_epoch_back() {
    caught(
        disconnected(),
        |r| r.bump_requires_epoch = false,
        is::ONE_SPEAKS,
    );
}

/// A session that begins after the unknown outcome caches the old value; nobody pushes to it.
#[test]
fn marked_until_loaded_or_a_value_is_cached_that_has_changed() {
    caught(
        cached(disconnected()),
        |r| r.marked_until_loaded = false,
        is::CACHE,
    );
}

/// A catalog is paused between fence and COMMIT: no takeover gets past its lock.
#[test]
fn idle_transactions_end_or_a_paused_catalog_locks_all_out() {
    caught(
        Config {
            settles: true,
            ..base()
        },
        |r| r.idle_transactions_end = false,
        is::SETTLES_PAUSED,
    );
}

/// A cancelled COMMIT is acknowledged, and lost with the primary.
#[test]
fn warning_is_unknown_or_an_acknowledged_order_is_lost() {
    caught(
        Config {
            faults: Faults {
                cancels: 1,
                ..promoted().faults
            },
            ..base()
        },
        |r| r.warning_is_unknown = false,
        is::KEPT,
    );
}

/// A renewal is lost with the primary, its lease is not: the standby's pair is there again.
#[test]
fn renewals_are_synchronous_or_a_promotion_takes_a_beat_back() {
    caught(promoted(), |r| r.renewals_are_synchronous = false, is::READ);
}

/// A reader took a value, the catalog was deposed, and took over again; the reader's lease check
/// succeeds.
#[test]
fn lease_of_the_values_epoch_or_a_value_is_told_under_a_later_lease() {
    caught(
        Config {
            epochs: 3,
            ..base()
        },
        |r| r.lease_of_the_values_epoch = false,
        is::READ,
    );
}

/// A restarted catalog trades on in its old epoch, and pushes to none of the sessions that it
/// granted.
#[test]
fn restart_stands_by_or_sessions_of_the_earlier_run_are_forgotten() {
    caught(
        cached(Config {
            renewals: false,
            faults: Faults { crashes: 1, ..NONE },
            ..base()
        }),
        |r| r.restart_stands_by = false,
        is::CACHE,
    );
}

/// A session's lease runs on after the takeover.
#[test]
fn sessions_are_capped_or_a_cache_outlives_its_catalog() {
    caught(
        cached(Config {
            renewals: false,
            ..base()
        }),
        |r| r.sessions_are_capped = false,
        is::CACHE,
    );
}

/// The session was given up and its trade shown; a registration of the same id comes late, and a
/// keep-alive revives the old entry.
#[test]
fn new_session_ids_or_a_late_registration_revives_a_session() {
    caught(
        cached(Config {
            epochs: 1,
            renewals: false,
            registrations: 2,
            keep_alives: true,
            ..base()
        }),
        |r| r.new_session_ids = false,
        is::CACHE,
    );
}

/// A takeover and its trades are lost with the primary; the catalog before it renews its epoch and
/// answers.
#[test]
fn older_epochs_are_refused_or_a_lost_takeover_shows_older_stocks() {
    caught(
        cached(Config {
            registrations: 0,
            synchronous: false,
            ..promoted()
        }),
        |r| r.older_epochs_are_refused = false,
        is::FORWARD,
    );
}

/// A session is granted after those that are ended were listed.
#[test]
fn stop_grants_nothing_or_a_session_begins_after_the_ends() {
    caught(
        cached(Config {
            renewals: false,
            ..stopped()
        }),
        |r| r.stop_grants_nothing = false,
        is::CACHE,
    );
}

/// The next catalog takes over at once, while a cache still answers.
#[test]
fn stop_ends_sessions_or_a_cache_outlives_its_catalogs_stop() {
    caught(
        cached(Config {
            renewals: false,
            ..stopped()
        }),
        |r| r.stop_ends_sessions = false,
        is::CACHE,
    );
}

/// The old catalog answers until it exits; the next one is active before that.
#[test]
fn silent_before_clean_or_the_old_one_answers_beside_the_new() {
    caught(stopped(), |r| r.silent_before_clean = false, is::READ);
}

/// A deposed catalog sets `clean` for the epoch of the active one, which is taken from it at once.
#[test]
fn clean_is_fenced_or_a_deposed_catalog_opens_the_door() {
    caught(
        Config {
            epochs: 3,
            ..stopped()
        },
        |r| r.clean_is_fenced = false,
        is::READ,
    );
}

/// The outcome of `clean` is unknown, the catalog serves on, and the next one takes over at once.
#[test]
fn stop_exits_or_clean_comes_late() {
    caught(
        Config {
            faults: Faults {
                lost_connections: 1,
                ..stopped().faults
            },
            ..base()
        },
        |r| r.stop_exits = false,
        is::READ,
    );
}

/// `clean` of an earlier stop lets a third takeover skip its wait.
#[test]
fn takeover_clears_clean_or_clean_is_used_twice() {
    caught(
        Config {
            epochs: 3,
            ..stopped()
        },
        |r| r.takeover_clears_clean = false,
        is::READ,
    );
}

/// SQLite: stop, start, crash; the second start does not wait.
#[test]
fn start_clears_clean_or_a_crash_is_taken_for_a_stop() {
    caught(file(), |r| r.start_clears_clean = false, is::CACHE);
}

/// SQLite: crash, a stop during the wait; the next start does not wait.
#[test]
fn no_clean_while_waiting_or_a_stop_ends_the_wait_of_a_crash() {
    caught(file(), |r| r.no_clean_while_waiting = false, is::CACHE);
}

/// The end overtakes the registration's answer, which installs a session that nobody pushes to.
#[test]
fn end_counts_for_pending_or_a_session_begins_that_was_ended() {
    caught(
        cached(Config {
            renewals: false,
            ..stopped()
        }),
        |r| r.end_counts_for_pending = false,
        is::CACHE,
    );
}

/// A front-end of an older version answers 404 to the end of its session, and goes on.
#[test]
fn only_its_answer_counts_or_an_old_front_end_keeps_its_cache() {
    caught(
        cached(Config {
            old_fronts: true,
            renewals: false,
            ..stopped()
        }),
        |r| r.only_its_answer_counts = false,
        is::CACHE,
    );
}

/// A front-end that stops ends its session first, and still answers.
#[test]
fn forgets_before_end_or_a_session_ends_before_its_cache() {
    caught(
        cached(Config {
            renewals: false,
            faults: Faults {
                front_stops: 1,
                ..NONE
            },
            ..base()
        }),
        |r| r.forgets_before_end = false,
        is::CACHE,
    );
}

/// The registration's answer comes after the end of its session.
#[test]
fn forgets_pending_or_the_answer_installs_an_ended_session() {
    caught(
        cached(Config {
            renewals: false,
            faults: Faults {
                front_stops: 1,
                ..NONE
            },
            ..base()
        }),
        |r| r.forgets_pending = false,
        is::CACHE,
    );
}

/// Not needed for safety: that a deposed catalog forgets its stocks. Their epoch is not its next
/// one's.
#[test]
fn deposed_forgets_or_not_nothing_breaks() {
    let mut rules = Rules::DESIGN;
    rules.deposed_forgets = false;
    let config = Config {
        epochs: 3,
        rules,
        ..base()
    };
    let traded = Config {
        keys: 2,
        settles: true,
        ..config.clone()
    };
    explore("a deposed catalog remembers", 19_000, traded);
    let config = Config {
        renewals: false,
        ..config
    };
    explore(
        "a deposed catalog remembers, with a cache",
        8_600,
        cached(config),
    );
}
