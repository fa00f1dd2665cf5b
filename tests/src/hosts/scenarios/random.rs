//! Random faults, for the soak.

use crate::hosts::host::Host;
use crate::hosts::links::{self, Harm, Way};
use crate::hosts::run::Run;

/// A random fault, and its end.
pub fn random(run: &mut Run) {
    let hosts = run.shuffled();
    match run.rng.u32(..12) {
        kind @ 0..5 => of_a_host(run, kind, hosts[0], hosts[1]),
        5 => {
            run.fault();
            let kilobits = run.rng.u32(200..2_000);
            links::slow(&mut run.hosts, hosts[0], kilobits);
            run.elapse_ms(500, 2_000);
        }
        6 => {
            run.fault();
            for host in &hosts {
                links::silence_names(&mut run.hosts, *host);
            }
            run.elapse_ms(500, 2_000);
        }
        kind => of_ways(run, kind, &hosts),
    }
    run.heal();
}

fn of_a_host(run: &mut Run, kind: u32, host: Host, other: Host) {
    run.fault();
    match kind {
        0 => {
            run.hosts.kill(host);
            run.elapse_ms(0, 1_500);
            run.hosts.start_host(host);
        }
        1 => {
            run.fault();
            run.hosts.kill(host);
            run.hosts.kill(other);
            run.elapse_ms(0, 1_000);
            run.hosts.recreate(other);
            run.hosts.recreate(host);
        }
        2 => {
            run.hosts.pause(host);
            run.elapse_ms(10, 2_500);
            run.hosts.resume(host);
        }
        3 => {
            run.hosts.stop(host);
            run.hosts.recreate(host);
        }
        _ => {
            run.hosts.disconnect(host);
            run.elapse_ms(200, 2_000);
            run.hosts.reconnect(host);
        }
    }
}

fn of_ways(run: &mut Run, kind: u32, hosts: &[Host]) {
    let mut ways: Vec<Way> = vec![(hosts[0], hosts[1])];
    if run.rng.bool() {
        ways.push((hosts[1], hosts[0]));
    }
    if run.rng.bool() {
        ways.push((hosts[2], hosts[3]));
    }
    let harm = match kind {
        7 => Harm::Lose(run.rng.u32(1..30)),
        8 => Harm::Repeat(run.rng.u32(1..60)),
        _ => Harm::Cut,
    };
    run.harm(&ways, harm);
    run.elapse_ms(100, 3_000);
}
