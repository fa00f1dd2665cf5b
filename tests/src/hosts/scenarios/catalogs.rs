//! Two catalogs over one PostgreSQL: each ends, and is cut off from the database, from the other
//! one and from its callers; the database ends, and its link is bad.

use super::cuts::{another_leads, apart};
use crate::hosts::host::Host;
use crate::hosts::links::{self, Harm, Way, way};
use crate::hosts::run::Run;
use cluster::service::Service::{self, Frontend, Order};

/// One way, the other way, and both.
fn three_cuts(one: impl Into<Host>, other: impl Into<Host>) -> [Vec<Way>; 3] {
    let (one, other) = (one.into(), other.into());
    let (there, back) = (way(one, other), way(other, one));
    [vec![there], vec![back], vec![there, back]]
}

/// The active catalog ends, in each manner: the other one takes over and trades.
pub fn active_ends(run: &mut Run) {
    for manner in 0..4 {
        let active = run.hosts.active();
        run.fault();
        match manner {
            0 | 3 => run.hosts.kill(active),
            1 => run.hosts.pause(active),
            _ => run.hosts.stop(active),
        }
        run.hosts.wait_active(run.other_catalog(active));
        run.progress(20);
        match manner {
            0 | 2 => run.hosts.start_host(active),
            1 => run.hosts.resume(active),
            // Its callers have to find its new address when it is active again.
            _ => run.hosts.recreate(active),
        }
        run.healthy();
    }
}

/// Each catalog loses the database, one way, the other way and both: where it was active, the other
/// one takes over. Then both lose it: nothing trades until it is back.
pub fn database_cut(run: &mut Run) {
    for cut in 0..3 {
        let active = run.hosts.active();
        let standby = run.other_catalog(active);
        run.harm(&three_cuts(standby, Host::Database)[cut], Harm::Cut);
        run.elapse_ms(500, 1_500);
        run.progress(20);
        run.heal();
        run.healthy();

        let active = run.hosts.active();
        run.harm(&three_cuts(active, Host::Database)[cut], Harm::Cut);
        run.hosts.wait_active(run.other_catalog(active));
        run.progress(20);
        run.heal();
        run.healthy();
    }
    for cut in 0..3 {
        let catalogs = run.hosts.layout.catalogs();
        let ways = catalogs
            .into_iter()
            .flat_map(|catalog| three_cuts(catalog, Host::Database)[cut].clone());
        run.harm(&ways.collect::<Vec<_>>(), Harm::Cut);
        run.elapse_ms(500, 3_000);
        run.heal();
        run.healthy();
    }
}

/// The catalogs lose each other, and nothing follows: they agree through the database alone. The
/// active one is killed meanwhile, and then is cut from the database too.
pub fn catalogs_cut(run: &mut Run) {
    let (one, other) = {
        let active = run.hosts.active();
        (active, run.other_catalog(active))
    };
    let [_, _, both] = three_cuts(one, other);
    run.harm(&both, Harm::Cut);
    run.progress(20);
    run.fault();
    run.hosts.kill(one);
    run.hosts.wait_active(other);
    run.progress(20);
    run.heal();
    run.healthy();

    let active = run.hosts.active();
    let mut ways = both;
    ways.extend(three_cuts(active, Host::Database)[2].clone());
    run.harm(&ways, Harm::Cut);
    run.hosts.wait_active(run.other_catalog(active));
    run.progress(20);
    run.heal();
}

/// A front-end alone loses the active catalog, and has the other one: the others trade, and none of
/// its reads is older than an acknowledged trade.
pub fn frontend_cut(run: &mut Run) {
    for n in [1, 2] {
        for cut in 0..3 {
            let active = run.hosts.active();
            run.harm(&three_cuts(Frontend(n), active)[cut], Harm::Cut);
            run.elapse_ms(500, 1_500);
            run.progress(20);
            run.elapse_ms(500, 1_500);
            run.heal();
        }
        run.healthy();
        takeover(run);
    }
}

/// The active catalog is stopped, so that the other one has its turn.
fn takeover(run: &mut Run) {
    let active = run.hosts.active();
    run.fault();
    run.hosts.stop(active);
    run.hosts.wait_active(run.other_catalog(active));
    run.hosts.start_host(active);
    run.healthy();
}

/// The active catalog has the database, and nobody else has it. It stays active, and trades stand
/// still until that ends, or until it is stopped, as docs/high-availability.md says.
pub fn active_unreached(run: &mut Run) {
    for is_stopped in [false, true] {
        let active = run.hosts.active();
        let ways = apart(run, &[active.into()]);
        let is_database = |way: &Way| way.0 == Host::Database || way.1 == Host::Database;
        let ways: Vec<Way> = ways.into_iter().filter(|way| !is_database(way)).collect();
        run.harm(&ways, Harm::Cut);
        run.elapse_ms(500, 2_500);
        if is_stopped {
            run.fault();
            run.hosts.stop(active);
            run.hosts.wait_active(run.other_catalog(active));
            run.progress(20);
        }
        run.heal();
        run.healthy();
    }
}

/// The active catalog, the leader and a front-end are cut from all others and from the database:
/// the others take over, and trade.
pub fn minority(run: &mut Run) {
    for _ in 0..2 {
        let (active, leader) = (run.hosts.active(), run.leader());
        let some: [Service; 3] = [active, Order(leader), Frontend(run.rng.u8(1..=2))];
        let ways = apart(run, &some.map(Host::Of));
        run.harm(&ways, Harm::Cut);
        run.hosts.wait_active(run.other_catalog(active));
        another_leads(run, leader);
        run.progress(20);
        run.heal();
        run.healthy();
    }
}

/// The database is frozen, killed, stopped, and replaced by a container with another address.
pub fn database_away(run: &mut Run) {
    for manner in 0..5 {
        run.fault();
        match manner {
            0 | 1 => run.hosts.pause(Host::Database),
            2 => run.hosts.stop(Host::Database),
            _ => run.hosts.kill(Host::Database),
        }
        // Less than the lease at first.
        let (from, to) = if manner == 0 { (50, 600) } else { (0, 2_500) };
        run.elapse_ms(from, to);
        match manner {
            0 | 1 => run.hosts.resume(Host::Database),
            2 | 3 => run.hosts.start_host(Host::Database),
            _ => run.hosts.recreate(Host::Database),
        }
        run.progress(20);
        run.healthy();
    }
}

/// Packets between the active catalog and the database are late, lost and doubled; then few bytes
/// a second leave the database.
pub fn database_harm(run: &mut Run) {
    let late = |delay_ms, jitter_ms| Harm::Late {
        delay_ms,
        jitter_ms,
    };
    for harm in [
        late(20, 0),
        late(10, 60),
        Harm::Lose(3),
        Harm::Lose(20),
        Harm::Repeat(40),
    ] {
        let active = run.hosts.active();
        let ways = match harm {
            // One queue, at the database.
            Harm::Late { .. } => vec![way(active, Host::Database)],
            _ => three_cuts(active, Host::Database)[2].clone(),
        };
        run.harm(&ways, harm);
        run.elapse_ms(500, 1_500);
        run.progress(10);
        run.heal();
        run.healthy();
    }
    for kilobits in [2_000, 300] {
        run.fault();
        links::slow(&mut run.hosts, Host::Database, kilobits);
        run.elapse_ms(500, 1_500);
        run.progress(10);
        run.heal();
        run.healthy();
    }
}
