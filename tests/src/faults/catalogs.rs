//! Two catalogs over one PostgreSQL: the active one is killed, paused, stopped, cut off from its
//! database and from its callers, alone and together with others, and dies at each crash point.
//! The two never call each other, so there is no way between them to cut.
//! The rounds of each scenario begin with the catalog that is active then, so both have their turn.

use super::Scenario;
use super::crashes::compiled_in;
use super::network::Way;
use super::run::{Run, elapse};
use cluster::proxy::Harm;
use cluster::service::Service::{self, Catalog, Frontend, Order};
use common::crash;
use std::time::Duration;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new("catalogs-kill", kill).with_two_catalogs(),
    Scenario::new("catalogs-stop", stop).with_two_catalogs(),
    Scenario::new("catalogs-pause", pause).with_two_catalogs(),
    Scenario::new("catalogs-standby", standby).with_two_catalogs(),
    Scenario::new("catalogs-both", both).with_two_catalogs(),
    Scenario::new("catalogs-in-takeover", in_takeover).with_two_catalogs(),
    Scenario::new("catalogs-and-others", and_others).with_two_catalogs(),
    Scenario::new("catalogs-cut-database", cut_database)
        .with_two_catalogs()
        .with_network(),
    Scenario::new("catalogs-harm-database", harm_database)
        .with_two_catalogs()
        .with_network(),
    Scenario::new("catalogs-cut-callers", cut_callers)
        .with_two_catalogs()
        .with_network(),
    Scenario::new("catalogs-cut-and-others", cut_and_others)
        .with_two_catalogs()
        .with_network(),
    Scenario::new("database-restarts", database_restarts).with_two_catalogs(),
    Scenario::new("database-fails-over", database_fails_over)
        .with_two_catalogs()
        .with_replication(),
];

/// A scenario per crash point of a takeover, a move and a clean stop; its name is the point's.
pub const CRASHES: &[Scenario] = &[
    crash(0, |run| crash_at(run, 0)),
    crash(1, |run| crash_at(run, 1)),
    crash(2, |run| crash_at(run, 2)),
    crash(3, |run| crash_at(run, 3)),
    crash(4, |run| crash_at(run, 4)),
    crash(5, |run| crash_at(run, 5)),
    crash(6, |run| crash_at(run, 6)),
    crash(7, |run| crash_at(run, 7)),
    crash(8, |run| crash_at(run, 8)),
];

const _: () = assert!(CRASHES.len() == crash::CATALOG_POINTS.len());

/// Scenarios that measure: run by their name only.
pub const MEASUREMENTS: &[Scenario] =
    &[Scenario::new("takeover-times", takeover_times).with_two_catalogs()];

const fn crash(point: usize, run: fn(&mut Run)) -> Scenario {
    Scenario::new(crash::CATALOG_POINTS[point], run)
        .with_two_catalogs()
        .with_network()
}

const CUTS: [Harm; 4] = [
    Harm::CutRequests,
    Harm::CutAnswers,
    Harm::CutBoth,
    Harm::Refuse,
];
/// Rounds: each catalog is active in half of them.
const ROUNDS: u32 = 4;
/// Tries of a move to the next epoch.
const MOVES: u32 = 10;
/// Takeovers that are measured, of each kind.
const MEASURED: usize = 20;

/// An end of a service's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Kill,
    Stop,
    Pause,
}

impl End {
    fn of(self, run: &mut Run, service: Service) {
        match self {
            Self::Kill => run.kill(service),
            Self::Stop => run.stop(service),
            Self::Pause => run.pause(service),
        }
    }

    fn undo(self, run: &mut Run, service: Service) {
        match self {
            Self::Kill | Self::Stop => run.revive(service),
            Self::Pause => run.resume(service),
        }
    }
}

/// A service that has trouble together with a catalog.
#[derive(Debug, Clone, Copy)]
enum Partner {
    Leader,
    Follower,
    Frontend(u8),
    /// The catalog that stands by.
    Standby,
}

const PARTNERS: [Partner; 4] = [
    Partner::Leader,
    Partner::Follower,
    Partner::Frontend(1),
    Partner::Frontend(2),
];

impl Partner {
    fn choose(self, run: &mut Run) -> Service {
        match self {
            Self::Leader => Order(run.leader()),
            Self::Follower => Order(run.follower()),
            Self::Frontend(n) => Frontend(n),
            Self::Standby => run.other_catalog(run.active()),
        }
    }
}

/// The active catalog ends, the other one takes over and trades, the first one comes back.
fn takeover(run: &mut Run, end: End) {
    let active = run.active();
    let other = run.other_catalog(active);
    end.of(run, active);
    run.wait_active(other);
    run.progress(20);
    end.undo(run, active);
}

/// Takeovers of one kind, and the longest order among them.
fn takeovers(run: &mut Run, end: End) {
    let start_us = run.now_us();
    for _ in 0..ROUNDS {
        takeover(run, end);
        run.healthy();
    }
    let worst = run.worst_since(start_us).as_millis();
    run.note(format!("{ROUNDS} takeovers: longest order {worst} ms"));
}

/// The active catalog is killed.
fn kill(run: &mut Run) {
    takeovers(run, End::Kill);
}

/// The active catalog is stopped as SIGTERM does.
fn stop(run: &mut Run) {
    takeovers(run, End::Stop);
}

/// The active catalog is paused for less than its lease, and until the other one has traded.
fn pause(run: &mut Run) {
    for _ in 0..ROUNDS {
        let active = run.active();
        run.pause(active);
        run.elapse_ms(50, 900);
        run.resume(active);
        run.progress(10);
    }
    takeovers(run, End::Pause);
}

/// The standby ends, in each way: orders go on.
fn standby(run: &mut Run) {
    for end in [End::Kill, End::Pause, End::Stop, End::Kill] {
        let active = run.active();
        let other = run.other_catalog(active);
        end.of(run, other);
        run.elapse_ms(50, 1_500);
        run.progress(20);
        end.undo(run, other);
        // The other one's turn to be active.
        run.healthy();
        takeover(run, End::Stop);
        run.healthy();
    }
}

/// Both catalogs end at nearly the same moment, and come back in a random sequence.
fn both(run: &mut Run) {
    for end in [End::Kill, End::Pause, End::Kill, End::Stop, End::Pause] {
        let mut catalogs = run.bazaar.cluster.spec().catalogs();
        run.rng.shuffle(&mut catalogs);
        for catalog in &catalogs {
            end.of(run, *catalog);
            run.elapse_ms(0, 100);
        }
        run.elapse_ms(0, 2_000);
        run.rng.shuffle(&mut catalogs);
        for catalog in catalogs {
            end.undo(run, catalog);
            run.elapse_ms(0, 300);
        }
        run.healthy();
    }
}

/// The catalog that takes over ends in the middle of that, or just after.
fn in_takeover(run: &mut Run) {
    for end in [End::Kill, End::Pause, End::Kill, End::Pause] {
        let active = run.active();
        let other = run.other_catalog(active);
        run.kill(active);
        // The lease and its margin, more or less.
        run.elapse_ms(950, 1_300);
        end.of(run, other);
        run.elapse_ms(0, 300);
        run.revive(active);
        run.elapse_ms(0, 1_500);
        end.undo(run, other);
        run.healthy();
    }
}

/// The active catalog ends together with the leader, a follower, or a front-end, in either
/// sequence.
fn and_others(run: &mut Run) {
    for end in [End::Kill, End::Pause, End::Stop] {
        for kind in PARTNERS {
            let other = kind.choose(run);
            let other_end = if run.rng.bool() {
                End::Kill
            } else {
                End::Pause
            };
            let mut pair = [(run.active(), end), (other, other_end)];
            run.rng.shuffle(&mut pair);
            for (service, end) in pair {
                end.of(run, service);
                run.elapse_ms(0, 100);
            }
            run.elapse_ms(0, 1_800);
            run.rng.shuffle(&mut pair);
            for (service, end) in pair {
                end.undo(run, service);
                run.elapse_ms(0, 100);
            }
            run.healthy();
        }
    }
}

/// The active catalog is cut off from the database, in each manner: the other one takes over.
fn cut_database(run: &mut Run) {
    for harm in CUTS {
        let active = run.active();
        let other = run.other_catalog(active);
        run.network.harm_database(active, harm);
        run.fault();
        run.wait_active(other);
        run.progress(20);
        assert!(
            run.network.met_database(active) > 0,
            "nothing met {harm:?} on the way of {active} to the database"
        );
        run.network.heal();
        run.healthy();
    }
}

/// The active catalog is cut off from the database, in each manner, and meanwhile something befalls
/// the leader, a follower, a front-end or the other catalog.
fn cut_and_others(run: &mut Run) {
    let mut partners = PARTNERS.to_vec();
    partners.push(Partner::Standby);
    for partner in partners {
        for harm in CUTS {
            let active = run.active();
            let other = partner.choose(run);
            run.network.harm_database(active, harm);
            run.fault();
            // At least the time between two renewals, so that something meets the harm.
            run.elapse_ms(300, 1_300);
            let ends = [End::Kill, End::Pause, End::Stop];
            let end = ends[run.rng.usize(..ends.len())];
            end.of(run, other);
            run.elapse_ms(0, 1_500);
            let met = run.network.met_database(active);
            assert!(met > 0, "nothing met {harm:?} on the way to the database");
            if run.rng.bool() {
                run.network.heal();
                run.elapse_ms(0, 300);
                end.undo(run, other);
            } else {
                end.undo(run, other);
                run.elapse_ms(0, 300);
                run.network.heal();
            }
            run.healthy();
        }
    }
}

/// Answers of the database are lost, statements broken off, everything late: the active catalog
/// moves to newer epochs, or is replaced.
fn harm_database(run: &mut Run) {
    for harm in [
        Harm::LoseAnswers(30),
        Harm::LoseAnswers(3),
        Harm::ResetRequests(20),
        Harm::ResetAnswers(20),
        Harm::Delay(Duration::from_millis(20)),
        Harm::Delay(Duration::from_millis(150)),
        Harm::Slow(20_000),
    ] {
        let active = run.active();
        run.network.harm_database(active, harm);
        run.fault();
        run.elapse_ms(500, 2_000);
        assert!(
            run.network.met_database(active) > 0,
            "nothing met {harm:?} on the way of {active} to the database"
        );
        run.network.heal();
        run.healthy();
    }
}

/// The active catalog reaches the database, but front-ends or replicas do not reach it, one way or
/// both; and it does not reach the front-ends. It stays active, and all goes on when that ends.
fn cut_callers(run: &mut Run) {
    for harm in CUTS {
        for kind in 0..4 {
            let active = run.active();
            let is_cut = |(from, to): Way| match kind {
                0 => to == active && matches!(from, Frontend(_)),
                1 => to == active && matches!(from, Order(_)),
                2 => from == Catalog,
                _ => to == active || from == Catalog,
            };
            let ways = run.network.ways();
            for way in ways.into_iter().filter(|way| is_cut(*way)) {
                run.network.harm(way, harm);
            }
            run.fault();
            run.elapse_ms(300, 1_500);
            assert!(run.network.met_all() > 0, "nothing met {harm:?}");
            run.network.heal();
            run.progress(10);
        }
        run.healthy();
        // The other one's turn.
        takeover(run, End::Stop);
        run.healthy();
    }
}

/// The database server is killed and stopped, and starts again: no order is lost, and one of the
/// catalogs goes on.
fn database_restarts(run: &mut Run) {
    for kill in [true, false, true] {
        run.fault();
        let away = Duration::from_millis(run.rng.u64(0..2_000));
        run.store.restart_database(kill, || elapse(away));
        run.progress(20);
        run.healthy();
    }
}

/// The primary of the database is killed, alone or just after the active catalog, and its
/// synchronous standby takes its place: what was acknowledged is there. The killed one comes back
/// as the standby, and is promoted in its turn.
fn database_fails_over(run: &mut Run) {
    let start_us = run.now_us();
    for with_catalog in [false, true, false, true] {
        run.fault();
        let active = run.active();
        if with_catalog {
            run.kill(active);
            run.elapse_ms(0, 100);
        }
        let away = Duration::from_millis(run.rng.u64(0..1_000));
        run.store.fail_over(|| elapse(away));
        run.progress(20);
        run.store.rejoin();
        run.healthy();
    }
    let worst = run.worst_since(start_us).as_millis();
    run.note(format!(
        "4 failovers of the database, begun up to 1 s after its end: longest order {worst} ms"
    ));
}

/// A catalog dies at the point, the other one is active then, and the first one comes back. Each
/// has its turn.
fn crash_at(run: &mut Run, point: usize) {
    let point = crash::CATALOG_POINTS[point];
    if !compiled_in() {
        run.note("skipped: the binaries were built without crash points".into());
        return;
    }
    for round in 0..ROUNDS {
        let active = run.active();
        let dying = run.other_catalog(active);
        arm(run, dying, point);
        // Its takeovers are of both kinds.
        let end = if round < ROUNDS / 2 {
            End::Kill
        } else {
            End::Stop
        };
        end.of(run, active);
        if point.ends_with("-takeover") || point.ends_with("-load") {
            run.wait_death(dying);
            run.revive(active);
        } else {
            run.wait_active(dying);
            run.revive(active);
            run.healthy();
            die_while_active(run, dying, point);
        }
        run.wait_active(active);
        run.progress(20);
        let spec = run.bazaar.cluster.spec_mut();
        spec.set_for(dying, crash::VARIABLE, "");
        run.healthy();
    }
}

/// Lets a catalog that stands by die when it reaches the point.
fn arm(run: &mut Run, catalog: Service, point: &str) {
    run.stop(catalog);
    let spec = run.bazaar.cluster.spec_mut();
    spec.set_for(catalog, crash::VARIABLE, point);
    run.revive(catalog);
    run.healthy();
}

/// The active catalog dies in a move to the next epoch, or in its clean stop.
fn die_while_active(run: &mut Run, active: Service, point: &str) {
    if point.ends_with("-move") {
        return die_in_a_move(run, active);
    }
    run.fault();
    let ended = run.bazaar.cluster.stop(active);
    let ended = ended.unwrap_or_else(|error| panic!("{error}"));
    assert!(!ended.success(), "it was to die at {point}: {ended}");
}

/// Answers of the database are lost until it dies. The answer to the move itself may be among them:
/// the catalog then stands by, and is made active again.
fn die_in_a_move(run: &mut Run, catalog: Service) {
    for _ in 0..MOVES {
        let every = run.rng.u32(20..40);
        run.network.harm_database(catalog, Harm::LoseAnswers(every));
        run.fault();
        let died = run.dies_within(catalog, Duration::from_secs(2));
        run.network.heal();
        if died {
            return;
        }
        run.healthy();
        if run.active() != catalog {
            takeover(run, End::Stop);
            run.healthy();
        }
    }
    panic!("{catalog} reaches no crash point in {MOVES} tries");
}

/// The longest order over each of 20 takeovers after a kill, and of 20 after a clean stop.
fn takeover_times(run: &mut Run) {
    for (end, what, goal_ms) in [
        (End::Kill, "kill -9", 1_500),
        (End::Stop, "a clean stop", 300),
    ] {
        let mut times: Vec<u128> = Vec::new();
        while times.len() < MEASURED {
            run.healthy();
            let start_us = run.now_us();
            takeover(run, end);
            times.push(run.worst_since(start_us).as_millis());
        }
        times.sort_unstable();
        let (median, worst) = (times[MEASURED / 2], times[MEASURED - 1]);
        run.note(format!(
            "longest order over {MEASURED} takeovers after {what}: median {median} ms, worst \
             {worst} ms (goal: median below {goal_ms} ms); all: {times:?}"
        ));
        assert!(median < goal_ms, "after {what}: {times:?}");
    }
}
