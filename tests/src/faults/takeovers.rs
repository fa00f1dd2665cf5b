//! A second fault comes while the first is being mended: takeovers and catch-ups that are
//! interrupted.

use super::Scenario;
use super::run::Run;
use crate::harness::SOON;
use cluster::proxy::Harm;
use cluster::service::Service::{Frontend, Order};
use cluster::wait;
use std::time::Duration;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new("flapping-leader", flapping_leader),
    Scenario::new("double-failover", double_failover),
    Scenario::new("restart-in-catch-up", restart_in_catch_up),
    Scenario::new("donor-dies", donor_dies),
    Scenario {
        faithful: true,
        ..Scenario::new("two-views", two_views).with_network()
    },
];

/// The leader is killed and started again at once, many times.
fn flapping_leader(run: &mut Run) {
    for _ in 0..8 {
        let leader = Order(run.leader());
        run.kill(leader);
        run.start(leader);
        run.elapse_ms(50, 700);
    }
    run.progress(20);
}

/// The leader dies, and the one that takes over dies in the middle of that, or just after.
fn double_failover(run: &mut Run) {
    for within_ms in [0, 150, 300, 600] {
        run.healthy();
        let first = run.leader();
        // The highest of the others is chosen.
        let second = if first == 3 { 2 } else { 3 };
        run.kill(Order(first));
        run.elapse_ms(within_ms, within_ms + 100);
        run.kill(Order(second));
        run.progress(20);
        run.revive(Order(second));
        run.revive(Order(first));
    }
}

/// A replica that has missed much is killed again and again while it catches up.
fn restart_in_catch_up(run: &mut Run) {
    for _ in 0..2 {
        let follower = Order(run.follower());
        run.kill(follower);
        run.progress(200);
        for _ in 0..4 {
            run.start(follower);
            run.elapse_ms(5, 120);
            run.kill(follower);
        }
        run.revive(follower);
        run.healthy();
    }
}

/// The leader, from which a returning replica fetches what it missed, is killed or paused
/// meanwhile.
fn donor_dies(run: &mut Run) {
    for round in 0..3 {
        let follower = run.follower();
        run.kill(Order(follower));
        run.progress(200);
        let donor = Order(run.leader());
        run.start(Order(follower));
        run.elapse_ms(5, 100);
        if round == 1 {
            run.pause(donor);
            run.elapse_ms(500, 1_500);
            run.resume(donor);
        } else {
            run.kill(donor);
            run.elapse_ms(100, 500);
            run.revive(donor);
        }
        run.healthy();
    }
}

/// Two front-ends of which each reaches one replica only: neither starves, though each would like
/// another leader.
fn two_views(run: &mut Run) {
    let views = [(1, 1), (2, 3)];
    for (frontend, reached) in views {
        for id in (1..=3).filter(|id| *id != reached) {
            run.network
                .harm((Frontend(frontend), Order(id)), Harm::Refuse);
            run.fault();
        }
    }
    // Clients keep to one front-end: an even one to the first, an odd one to the second.
    let before = run.acknowledged_by_client();
    let both = wait::until(SOON * 2, || {
        let now = run.acknowledged_by_client();
        let gained = |start: usize| {
            (start..now.len())
                .step_by(2)
                .map(|at| now[at] - before[at])
                .sum::<u64>()
        };
        (gained(0) >= 10 && gained(1) >= 10).then_some(now)
    });
    assert!(
        both.is_some(),
        "a front-end starves: {before:?}, and later {:?}",
        run.acknowledged_by_client()
    );
    super::run::elapse(Duration::from_secs(2));
}
