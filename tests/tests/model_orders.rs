//! The order protocol, explored: the design holds in every state within the bounds, and each rule
//! that is switched off is caught.

use tests::model::orders::Orders;
use tests::model::orders::config::{Config, Faults, Rules, buy, sell};
use tests::model::orders::properties as is;
use tests::model::run::{breaks, holds};

const NONE: Faults = Faults {
    crashes: 0,
    file_losses: 0,
    catalog_restarts: 0,
    duplicates: 0,
    missed_followers: 0,
    missed_answers: 0,
};

/// One order that is sent twice, two candidates, one failover.
fn base() -> Config {
    Config {
        orders: vec![buy(0, 2)],
        initial: [1, 0],
        candidates: vec![2, 1],
        terms: 2,
        queries: false,
        min_copies: 1,
        misdirected: None,
        faults: NONE,
        rules: Rules::DESIGN,
        reached: vec![],
    }
}

/// A buy that is refused, a sell that restocks, the same buy again.
fn restock() -> Config {
    Config {
        initial: [0, 0],
        orders: vec![buy(0, 2), sell(0, 1)],
        candidates: vec![2],
        terms: 1,
        ..base()
    }
}

/// Explores a configuration in which everything must hold, and at least `states` states must be
/// found.
fn explore(name: &str, states: usize, config: Config) {
    let explored = holds(name, Orders(config));
    assert!(
        explored.states >= states,
        "{name}: only {} states, {states} are expected",
        explored.states
    );
}

/// A refused order stays refused after a restock, whatever answers are given up and whatever is
/// repeated.
#[test]
fn refusals() {
    let faults = Faults {
        missed_answers: 1,
        duplicates: 1,
        ..NONE
    };
    let reached = vec![is::REFUSED_AGAIN, is::ROWS_CAUGHT_UP, is::THREE_COPIES];
    explore(
        "refusal and restock",
        264_000,
        Config {
            faults,
            reached,
            ..restock()
        },
    );
}

/// Two orders of one stock over a change of leader without any fault but slowness: what the old
/// leader has on its way is fenced.
#[test]
fn failover() {
    let orders = vec![buy(0, 1), sell(0, 1)];
    let reached = vec![is::AFTER_FAILOVER, is::OLD_LEADER, is::COMPLETING];
    explore(
        "failover",
        152_000,
        Config {
            orders,
            queries: true,
            reached,
            ..base()
        },
    );
}

/// A replica crashes at any moment.
#[test]
fn crash() {
    let faults = Faults { crashes: 1, ..NONE };
    explore(
        "crash",
        103_000,
        Config {
            faults,
            queries: true,
            ..base()
        },
    );
}

/// A replica loses its file at any moment, and may lead again with a log from the journal.
#[test]
fn lost_file() {
    let faults = Faults {
        file_losses: 1,
        ..NONE
    };
    explore(
        "lost file",
        85_000,
        Config {
            faults,
            queries: true,
            reached: vec![is::REFILLED],
            ..base()
        },
    );
}

/// The catalog restarts at any moment; claims go on during its wait.
#[test]
fn catalog_restart() {
    let faults = Faults {
        catalog_restarts: 1,
        ..NONE
    };
    explore(
        "catalog restart",
        75_000,
        Config {
            faults,
            reached: vec![is::WAITING],
            ..base()
        },
    );
}

/// Any message arrives twice.
#[test]
fn duplicates() {
    explore(
        "duplicates",
        156_000,
        Config {
            faults: Faults {
                duplicates: 1,
                ..NONE
            },
            ..base()
        },
    );
}

/// Followers and answers come too late, with one copy and with two wanted.
#[test]
fn slowness() {
    let faults = Faults {
        missed_followers: 1,
        missed_answers: 1,
        ..NONE
    };
    explore("slowness", 93_000, Config { faults, ..base() });
    explore(
        "slowness, two copies",
        85_000,
        Config {
            faults,
            min_copies: 2,
            ..base()
        },
    );
}

/// A URL was given twice: nobody counts twice, and two copies are the most.
#[test]
fn misdirected() {
    let config = Config {
        misdirected: Some((0, 1)),
        min_copies: 2,
        ..base()
    };
    explore("misdirected", 2_400, config);
}

/// Repeats, three terms, three orders: `make model`.
#[test]
#[ignore = "minutes in release: make model"]
fn deeper() {
    let reached = vec![
        is::AFTER_FAILOVER,
        is::OLD_LEADER,
        is::COMPLETING,
        is::ROWS_CAUGHT_UP,
        is::REFUSED_AGAIN,
    ];
    let faults = Faults {
        missed_answers: 1,
        ..NONE
    };
    let config = Config {
        initial: [0, 0],
        orders: vec![buy(0, 2), sell(0, 1)],
        faults,
        reached,
        ..base()
    };
    explore("deep: repeats over a failover", 845_000, config);
    let config = Config {
        orders: vec![buy(0, 1)],
        terms: 3,
        candidates: vec![0, 1, 2],
        queries: true,
        ..base()
    };
    explore("deep: three terms", 569_000, config);
    let orders = vec![buy(0, 1), buy(0, 1), sell(1, 1)];
    explore(
        "deep: three orders",
        65_000,
        Config {
            orders,
            terms: 1,
            candidates: vec![2],
            ..base()
        },
    );
}

/// Two faults of different kinds at any two moments: `make model`.
#[test]
#[ignore = "minutes in release: make model"]
fn deeper_with_faults() {
    let faults = Faults {
        crashes: 1,
        duplicates: 1,
        ..NONE
    };
    explore(
        "deep: crash and duplicate",
        941_000,
        Config {
            faults,
            queries: true,
            ..base()
        },
    );
    let faults = Faults {
        crashes: 1,
        file_losses: 1,
        ..NONE
    };
    explore(
        "deep: crash and lost file",
        365_000,
        Config {
            faults,
            queries: true,
            ..base()
        },
    );
    let faults = Faults {
        crashes: 1,
        catalog_restarts: 1,
        ..NONE
    };
    explore(
        "deep: crash and restart",
        390_000,
        Config { faults, ..base() },
    );
    let faults = Faults {
        file_losses: 1,
        missed_followers: 1,
        ..NONE
    };
    explore(
        "deep: lost file and slowness",
        267_000,
        Config {
            faults,
            queries: true,
            ..base()
        },
    );
}

/// Switches a rule off and expects one of these properties to break.
fn caught(name: &str, config: Config, off: impl FnOnce(&mut Rules), expected: &[&'static str]) {
    let mut rules = Rules::DESIGN;
    off(&mut rules);
    breaks(name, Orders(Config { rules, ..config }), expected);
}

/// Without fencing a deposed leader goes on trading, and the new one does not know what it
/// acknowledged.
#[test]
fn no_fencing() {
    caught("no fencing", base(), |r| r.fencing = false, &[is::FENCED]);
    caught("no fencing", base(), |r| r.fencing = false, &[is::READABLE]);
}

/// A table at the leader that is trimmed lets a late repeat trade twice.
#[test]
fn dedupe_at_the_leader() {
    let config = Config {
        initial: [9, 0],
        orders: vec![buy(0, 2), buy(0, 1)],
        candidates: vec![2],
        terms: 1,
        ..base()
    };
    caught(
        "dedupe at the leader",
        config,
        |r| r.dedupe_at_catalog = false,
        &[is::ONCE],
    );
}

/// A refusal that is not recorded is forgotten by the time stock is back.
#[test]
fn refusals_not_recorded() {
    caught(
        "refusals not recorded",
        restock(),
        |r| r.refusals_recorded = false,
        &[is::ONCE],
    );
}

/// An answer with the batch's own rows only leaves a gap at a leader that missed the answer before.
#[test]
fn rows_of_the_batch_only() {
    let config = Config {
        faults: Faults {
            missed_answers: 1,
            ..NONE
        },
        ..restock()
    };
    let config = Config {
        initial: [9, 0],
        orders: vec![buy(0, 1), buy(0, 1)],
        ..config
    };
    caught(
        "rows of the batch only",
        config,
        |r| r.rows_from_last = false,
        &[is::PREFIX],
    );
}

/// A replica that leads before its log is complete cannot read what was acknowledged.
#[test]
fn leading_too_early() {
    caught(
        "leading before complete",
        base(),
        |r| r.complete_before_leading = false,
        &[is::READABLE],
    );
}

/// A replica that looks for an order before it leads, and leads by the time it is asked, denies an
/// acknowledged order.
#[test]
fn denial_by_a_fresh_leader() {
    let config = Config {
        queries: true,
        ..base()
    };
    caught(
        "looked before leading",
        config,
        |r| r.led_before_looking = false,
        &[is::FOUND],
    );
}

/// An answer before the row is durable.
#[test]
fn answer_before_durable() {
    caught(
        "answer before durable",
        base(),
        |r| r.durable_before_answer = false,
        &[is::DURABLE],
    );
}

/// A leader that lost the catalog and still answers "I lead" is adopted and dropped for ever.
#[test]
fn unreachable_leader_says_it_leads() {
    caught(
        "unreachable leader",
        base(),
        |r| r.unreachable_leader_refuses = false,
        &[is::SETTLES_CUT_OFF],
    );
}

/// One replica that answers under two URLs counts for two copies, and the one that is named has
/// none.
#[test]
fn followers_are_not_identified() {
    let config = Config {
        misdirected: Some((0, 1)),
        ..base()
    };
    caught(
        "followers are not identified",
        config,
        |r| r.identify_followers = false,
        &[is::DURABLE],
    );
}
