//! Hosts that die, freeze, stop, are replaced, and lose their network.

use crate::hosts::host::Host;
use crate::hosts::run::Run;
use cluster::service::Service::Order;

/// Every host is killed in turn, and its container started again.
pub fn kill_each(run: &mut Run) {
    for host in run.shuffled() {
        run.fault();
        run.hosts.kill(host);
        run.elapse_ms(0, 1_500);
        run.hosts.start_host(host);
        run.progress(10);
    }
}

/// Every host is frozen in turn, the leader last, for less and for more than the heartbeats
/// bear.
pub fn pause_each(run: &mut Run) {
    let leader = Order(run.leader());
    for host in run.shuffled().into_iter().chain([leader.into()]) {
        run.fault();
        run.hosts.pause(host);
        run.elapse_ms(50, 2_500);
        run.hosts.resume(host);
        run.progress(10);
    }
}

/// Every host is stopped as an engine does, and must end with code 0.
pub fn stop_each(run: &mut Run) {
    for host in run.shuffled() {
        run.fault();
        run.hosts.stop(host);
        run.hosts.start_host(host);
        run.progress(10);
    }
}

/// Every host dies and comes back as another container with another address.
pub fn other_address(run: &mut Run) {
    for host in run.shuffled() {
        run.fault();
        run.hosts.kill(host);
        run.hosts.recreate(host);
        run.progress(10);
        run.hosts.wait_ready();
    }
}

/// An upgrade: every container is stopped and replaced in turn, followers before the leader, and
/// the bazaar is whole again before the next one.
pub fn rolling_replacement(run: &mut Run) {
    let leader = Host::Of(Order(run.leader()));
    let mut hosts = run.hosts.layout.hosts();
    let rank = |host: &Host| match host {
        Host::Of(Order(_)) => u8::from(*host == leader),
        Host::Of(_) => 2,
        Host::Database => 3,
    };
    hosts.sort_by_key(rank);
    for host in hosts {
        run.fault();
        run.hosts.stop(host);
        run.hosts.recreate(host);
        run.healthy();
    }
}

/// Every host loses its network, and comes back on another address.
pub fn disconnect_each(run: &mut Run) {
    for host in run.shuffled() {
        run.fault();
        run.hosts.disconnect(host);
        run.elapse_ms(200, 2_000);
        run.hosts.reconnect(host);
        run.progress(10);
        run.hosts.wait_ready();
    }
}
