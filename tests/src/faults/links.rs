//! Networks that cut, delay, break off, lose and repeat.

use super::Scenario;
use super::network::Way;
use super::run::Run;
use crate::harness::SOON;
use cluster::proxy::Harm;
use cluster::service::Service::{Catalog, Frontend, Order};
use cluster::wait;
use std::time::Duration;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new("cut-links", cut_links).with_network(),
    Scenario::new("cut-off-replicas", cut_off_replicas).with_network(),
    Scenario {
        set: |spec| {
            spec.set("ORDER_MIN_COPIES", "2");
        },
        ..Scenario::new("cut-leader-from-followers", cut_leader_from_followers).with_network()
    },
    Scenario::new("cut-invalidations", cut_invalidations).with_network(),
    Scenario::new("delays", delays).with_network(),
    Scenario::new("slow-links", slow_links).with_network(),
    Scenario::new("resets", resets).with_network(),
    Scenario::new("lose-answers", lose_answers).with_network(),
    Scenario::new("repeats", repeats).with_network(),
];

const CUTS: [Harm; 4] = [
    Harm::CutRequests,
    Harm::CutAnswers,
    Harm::CutBoth,
    Harm::Refuse,
];

/// The leader's ways to the catalog, to a follower, and from a front-end: each is cut in each
/// manner.
fn cut_links(run: &mut Run) {
    for harm in CUTS {
        for kind in 0..3 {
            let leader = Order(run.leader());
            let follower = Order(run.follower());
            let way = match kind {
                0 => (leader, Catalog),
                1 => (leader, follower),
                _ => (Frontend(1), leader),
            };
            harm_for(run, way, harm, 1_000);
            run.progress(10);
        }
    }
}

/// A replica is cut off from everyone, the leader and a follower, one way and both ways.
fn cut_off_replicas(run: &mut Run) {
    for harm in CUTS {
        for leads in [true, false] {
            let replica = Order(if leads { run.leader() } else { run.follower() });
            for way in run.network.ways() {
                if way.0 == replica || way.1 == replica {
                    run.network.harm(way, harm);
                }
            }
            run.fault();
            run.elapse_ms(500, 1_500);
            // The others go on without it.
            run.progress(20);
            run.network.heal();
            run.progress(10);
        }
    }
}

/// The leader reaches catalog and front-ends, but no follower, and two copies are wanted: another
/// replica relieves it, and orders go on.
fn cut_leader_from_followers(run: &mut Run) {
    for harm in CUTS {
        let leader = run.leader();
        for follower in (1..=3).filter(|id| *id != leader) {
            run.network.harm((Order(leader), Order(follower)), harm);
        }
        run.fault();
        let relieved = wait::until(SOON, || {
            let next = run.status()?.leader.map(u8::from);
            (next.is_some() && next != Some(leader)).then_some(())
        });
        assert!(relieved.is_some(), "{leader} is not relieved: {harm:?}");
        run.progress(20);
        run.network.heal();
        run.progress(10);
    }
}

/// Invalidations, or their acknowledgements, do not arrive; and keep-alives do not: trades wait for
/// a lease at most, and no read is stale.
fn cut_invalidations(run: &mut Run) {
    for harm in CUTS {
        harm_for(run, (Catalog, Frontend(1)), harm, 1_500);
        run.progress(20);
        harm_for(run, (Frontend(1), Catalog), harm, 1_500);
        run.progress(20);
    }
}

/// Everything is late, by less and by more than the heartbeats bear.
fn delays(run: &mut Run) {
    for ms in [5, 30, 70] {
        everywhere(run, Harm::Delay(Duration::from_millis(ms)), 20);
    }
    for way in [(Catalog, Frontend(2)), (Frontend(2), Catalog)] {
        harm_for(run, way, Harm::Delay(Duration::from_millis(400)), 2_000);
        run.progress(10);
    }
}

/// Ways on which few bytes a second pass.
fn slow_links(run: &mut Run) {
    let leader = Order(run.leader());
    let follower = Order(run.follower());
    for way in [
        (leader, follower),
        (leader, Catalog),
        (Frontend(1), leader),
        (Catalog, Frontend(1)),
    ] {
        harm_for(run, way, Harm::Slow(4_000), 2_000);
        run.progress(10);
    }
}

/// Requests and answers are broken off in the middle, on all ways.
fn resets(run: &mut Run) {
    everywhere(run, Harm::ResetRequests(9), 40);
    everywhere(run, Harm::ResetAnswers(9), 40);
}

/// Requests are delivered, their answers are lost, on all ways; and on the ways of the trades,
/// nearly every one.
fn lose_answers(run: &mut Run) {
    everywhere(run, Harm::LoseAnswers(9), 40);
    let leader = Order(run.leader());
    for way in [(leader, Catalog), (Frontend(1), leader)] {
        harm_for(run, way, Harm::LoseAnswers(3), 2_000);
        run.progress(10);
    }
}

/// Requests are delivered twice, on all ways.
fn repeats(run: &mut Run) {
    everywhere(run, Harm::Repeat(2), 100);
    everywhere(run, Harm::Repeat(1), 100);
}

/// Harm on one way for a time; some of it must have met something.
fn harm_for(run: &mut Run, way: Way, harm: Harm, longest_ms: u64) {
    run.network.harm(way, harm);
    run.fault();
    run.elapse_ms(longest_ms / 2, longest_ms);
    // Heartbeats, keep-alives and trades use every way in turn; how soon depends on who leads.
    let met = wait::until(SOON, || (run.network.met(way) > 0).then_some(()));
    assert!(met.is_some(), "nothing met {harm:?} on {way:?}");
    run.network.harm(way, Harm::None);
}

/// Harm on all ways until so many orders were acknowledged.
fn everywhere(run: &mut Run, harm: Harm, orders: u64) {
    run.network.harm_all(harm);
    run.progress(orders);
    assert!(run.network.met_all() > 0, "nothing met {harm:?}");
    for _ in run.network.ways() {
        run.fault();
    }
    run.network.heal();
    run.progress(10);
}
