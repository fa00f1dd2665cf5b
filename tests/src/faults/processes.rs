//! Processes that are killed, paused and stopped, one at a time and several at once.

use super::Scenario;
use super::run::{Run, elapse};
use cluster::service::Service::{Catalog, Frontend, Order};
use std::time::Duration;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new("kill-each", kill_each),
    Scenario::new("pause-leader", pause_leader),
    Scenario::new("catalog-back-quickly", catalog_back_quickly),
    Scenario::new("pause-each", pause_each),
    Scenario::new("stop-each", stop_each),
    Scenario::new("kill-two-replicas", kill_two_replicas),
    Scenario::new("kill-all-replicas", kill_all_replicas),
    Scenario::new("restart-orders", restart_orders),
    Scenario::new("kill-everything", kill_everything),
    Scenario::new("catalog-and-front-end", catalog_and_front_end),
];

/// Times that a bound on a delay is measured before it counts as exceeded: other programs share the
/// machine.
const MEASUREMENTS: u32 = 3;

/// Every service is killed and comes back, the leader first.
fn kill_each(run: &mut Run) {
    let leader = Order(run.leader());
    let mut services = run.shuffled();
    services.retain(|service| *service != leader);
    services.insert(0, leader);
    for service in services {
        run.kill(service);
        run.elapse_ms(100, 900);
        run.revive(service);
        run.progress(20);
    }
}

/// The leader is paused for 3 s: another one takes over, and no order is late by 1.5 s.
fn pause_leader(run: &mut Run) {
    measure(
        run,
        Duration::from_millis(1_500),
        "leader paused for 3 s",
        |run| {
            let leader = Order(run.leader());
            run.pause(leader);
            elapse(Duration::from_secs(3));
            run.resume(leader);
            run.progress(20);
        },
    );
}

/// The catalog is killed and started again after 0.3 s: orders are late by less than 2.5 s in all.
fn catalog_back_quickly(run: &mut Run) {
    measure(
        run,
        Duration::from_millis(2_500),
        "catalog back after 0.3 s",
        |run| {
            run.kill(Catalog);
            elapse(Duration::from_millis(300));
            run.revive(Catalog);
            run.progress(20);
        },
    );
}

/// Does something until the worst delay that it causes is below the bound, a few times at most.
fn measure(run: &mut Run, bound: Duration, what: &str, fault: fn(&mut Run)) {
    let mut delays = Vec::new();
    for _ in 0..MEASUREMENTS {
        run.healthy();
        let start_us = run.now_us();
        fault(run);
        let worst = run.worst_since(start_us);
        delays.push(worst);
        if worst < bound {
            run.note(format!(
                "{what}: worst delay {} ms (bound {} ms)",
                worst.as_millis(),
                bound.as_millis()
            ));
            return;
        }
    }
    panic!("{what}: orders were late by {delays:?}, and less than {bound:?} is promised");
}

/// Every service is paused for less and for more than it takes to notice.
fn pause_each(run: &mut Run) {
    for service in run.shuffled() {
        for longest in [150, 1_800] {
            run.pause(service);
            run.elapse_ms(20, longest);
            run.resume(service);
            run.progress(10);
        }
    }
}

/// Every service is stopped by SIGTERM in the middle of trading, and started again.
fn stop_each(run: &mut Run) {
    for service in run.shuffled() {
        run.stop(service);
        run.elapse_ms(0, 400);
        run.revive(service);
        run.progress(20);
    }
}

/// Each two replicas die at the same moment; the third goes on alone.
fn kill_two_replicas(run: &mut Run) {
    for survivor in 1..=3 {
        let dying: Vec<_> = (1..=3).filter(|id| *id != survivor).map(Order).collect();
        for service in &dying {
            run.kill(*service);
        }
        run.progress(20);
        for service in dying {
            run.revive(service);
        }
        run.healthy();
    }
}

/// All replicas die at the same moment; each in turn returns first, and trades alone.
fn kill_all_replicas(run: &mut Run) {
    for first in 1..=3 {
        for id in 1..=3 {
            run.kill(Order(id));
        }
        run.elapse_ms(0, 500);
        run.revive(Order(first));
        run.progress(20);
        run.healthy();
    }
}

/// All replicas die, and return in each of the six sequences, with random times between.
fn restart_orders(run: &mut Run) {
    for sequence in [
        [1, 2, 3],
        [1, 3, 2],
        [2, 1, 3],
        [2, 3, 1],
        [3, 1, 2],
        [3, 2, 1],
    ] {
        for id in sequence {
            run.kill(Order(id));
        }
        for id in sequence {
            run.start(Order(id));
            run.elapse_ms(0, 150);
        }
        run.progress(20);
    }
}

/// All six services die at the same moment, and are started in a random sequence.
fn kill_everything(run: &mut Run) {
    for _ in 0..3 {
        for service in run.shuffled() {
            run.kill(service);
        }
        for service in run.shuffled() {
            run.start(service);
            run.elapse_ms(0, 200);
        }
        run.healthy();
    }
}

/// Catalog and a front-end die with orders in flight, in both sequences and together with the
/// leader.
fn catalog_and_front_end(run: &mut Run) {
    for pair in [[Catalog, Frontend(1)], [Frontend(2), Catalog]] {
        for service in pair {
            run.kill(service);
            run.elapse_ms(0, 50);
        }
        for service in pair {
            run.revive(service);
        }
        run.healthy();
    }
    let leader = Order(run.leader());
    for service in [Catalog, leader] {
        run.kill(service);
    }
    for service in [leader, Catalog] {
        run.revive(service);
    }
}
