//! Packets that are late, lost, doubled, and links that are slow.

use crate::hosts::host::Host;
use crate::hosts::links::{self, Harm, Way};
use crate::hosts::run::Run;
use cluster::service::Service::{Catalog, Frontend, Order};

/// All ways to and from a host: the leader, the catalog, a front-end.
fn around(run: &Run) -> Vec<Vec<Way>> {
    let layout = run.hosts.layout;
    let ways = |host: Host| -> Vec<Way> {
        let others = layout.hosts().into_iter();
        let talking = others.filter(|other| layout.talk(host, *other));
        talking
            .flat_map(|other| [(host, other), (other, host)])
            .collect()
    };
    let hosts = [Order(run.leader()), Catalog, Frontend(1)];
    hosts.map(|service| ways(service.into())).into()
}

/// Packets are late, and some overtake others.
pub fn late_packets(run: &mut Run) {
    for ways in around(run) {
        let to_it: Vec<Way> = ways.iter().skip(1).step_by(2).copied().collect();
        for (delay_ms, jitter_ms) in [(5, 0), (10, 60), (60, 60)] {
            // One host's queue holds what comes from all others.
            let harm = Harm::Late {
                delay_ms,
                jitter_ms,
            };
            run.harm(&to_it[..1], harm);
            for way in &to_it[1..] {
                links::also_late(&mut run.hosts, *way);
            }
            run.progress(20);
            run.heal();
        }
    }
}

/// Packets are lost on all ways around a host.
pub fn lost_packets(run: &mut Run) {
    for ways in around(run) {
        for hundredth in [2, 15] {
            let met = run.harm_for(&ways, Harm::Lose(hundredth), 300, 600);
            assert!(met > 0, "no packet was lost");
            run.progress(20);
            run.heal();
        }
    }
}

/// Packets arrive twice on all ways around a host.
pub fn doubled_packets(run: &mut Run) {
    for ways in around(run) {
        let met = run.harm_for(&ways, Harm::Repeat(40), 500, 1_000);
        assert!(met > 0, "no packet was doubled");
        run.progress(20);
        run.heal();
    }
}

/// Few bytes a second leave the leader, a follower, the catalog, a front-end.
pub fn slow_link(run: &mut Run) {
    let (leader, follower) = (run.leader(), run.follower());
    for host in [Order(leader), Order(follower), Catalog, Frontend(2)] {
        for kilobits in [2_000, 300] {
            run.fault();
            links::slow(&mut run.hosts, host, kilobits);
            run.elapse_ms(1_000, 2_000);
            run.progress(10);
            run.heal();
        }
    }
}
