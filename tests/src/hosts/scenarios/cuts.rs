//! Partitions: ways between hosts on which nothing arrives.

use crate::hosts::bazaar::SOON;
use crate::hosts::host::Host;
use crate::hosts::links::{Harm, Way, way};
use crate::hosts::run::Run;
use client::api::Api;
use cluster::service::Service::{Catalog, Frontend, Order};
use cluster::wait;
use std::time::Duration;

/// Every pair that talks is cut: one way, the other way, and both.
pub fn cut_pairs(run: &mut Run) {
    let hosts = run.hosts.layout.hosts();
    let mut pairs: Vec<Way> = Vec::new();
    for (at, one) in hosts.iter().enumerate() {
        let others = hosts[at + 1..].iter();
        let talking = others.filter(|other| run.hosts.layout.talk(*one, **other));
        pairs.extend(talking.map(|other| (*one, *other)));
    }
    run.rng.shuffle(&mut pairs);
    let (mut cuts, mut met) = (0, 0);
    for (one, other) in pairs {
        for ways in [
            &[(one, other)][..],
            &[(other, one)],
            &[(one, other), (other, one)],
        ] {
            cuts += 1;
            met += u32::from(run.harm_for(ways, Harm::Cut, 300, 1_000) > 0);
            run.heal();
        }
    }
    // Two followers have little to say to each other, all others talk many times a second.
    assert!(met * 2 > cuts, "only {met} of {cuts} cuts met a packet");
}

/// Both ways between some hosts and all others.
pub fn apart(run: &Run, some: &[Host]) -> Vec<Way> {
    let hosts = run.hosts.layout.hosts();
    let others = hosts.into_iter().filter(|host| !some.contains(host));
    let both = |other| {
        some.iter()
            .flat_map(move |one| [(*one, other), (other, *one)])
    };
    others.flat_map(both).collect()
}

/// The leader and a front-end are cut from all others: the majority elects another leader, with the
/// catalog and the other front-end, and trades.
pub fn minority_leader(run: &mut Run) {
    for _ in 0..2 {
        let leader = run.leader();
        let frontend = Frontend(run.rng.u8(1..=2));
        let ways = apart(run, &[Order(leader).into(), frontend.into()]);
        run.harm(&ways, Harm::Cut);
        another_leads(run, leader);
        run.progress(20);
        run.heal();
    }
}

/// The leader alone loses the catalog, one way, the other way and both: another one leads.
pub fn catalog_leader_cut(run: &mut Run) {
    for both in [false, true] {
        for back in [false, true] {
            let leader = run.leader();
            let mut ways = vec![way(Order(leader), Catalog), way(Catalog, Order(leader))];
            if !both {
                ways.remove(usize::from(!back));
            }
            run.harm(&ways, Harm::Cut);
            another_leads(run, leader);
            run.progress(20);
            run.heal();
        }
    }
}

/// Waits until a front-end names another leader.
pub fn another_leads(run: &Run, leader: u8) {
    // The front-end of a minority still names the old one: all are asked.
    let other = wait::until(SOON, || {
        let urls = run.hosts.urls();
        let apis = urls
            .iter()
            .map(|url| Api::with_timeout(url, Duration::from_secs(1)));
        let mut leaders = apis.filter_map(|api| api.status().ok()?.leader);
        leaders.find(|id| u8::from(*id) != leader)
    });
    assert!(
        other.is_some(),
        "{leader} is cut off, and nobody else leads"
    );
}

/// A front-end alone loses the catalog: trades wait for its lease at most, and none of its reads is
/// older than an acknowledged trade, which the verdict on the history shows.
pub fn frontend_catalog_cut(run: &mut Run) {
    for n in [1, 2] {
        let (there, back) = (way(Frontend(n), Catalog), way(Catalog, Frontend(n)));
        for ways in [&[there][..], &[back], &[there, back]] {
            run.harm(ways, Harm::Cut);
            run.elapse_ms(500, 1_500);
            run.progress(20);
            run.elapse_ms(500, 1_500);
            run.heal();
        }
    }
}
