//! Schedules of faults between hosts. Each begins and ends with a healthy bazaar under load.

use super::bazaar::{Hosts, SERVICES, SOON};
use super::engine::run as execute;
use super::links::{self, Harm, Way};
use super::run::Run;
use client::api::Api;
use cluster::service::Service::{self, Catalog, Frontend, Order};
use cluster::wait;
use std::fs;
use std::time::Duration;

/// A name, and what is done.
pub type Scenario = (&'static str, fn(&mut Run));

/// All, in the sequence in which they run.
pub const ALL: &[Scenario] = &[
    ("host-kill-each", kill_each),
    ("host-pause-each", pause_each),
    ("host-stop-each", stop_each),
    ("host-other-address", other_address),
    ("host-rolling-replacement", rolling_replacement),
    ("host-disconnect-each", disconnect_each),
    ("host-cut-pairs", cut_pairs),
    ("host-minority-leader", minority_leader),
    ("host-catalog-leader-cut", catalog_leader_cut),
    ("host-frontend-catalog-cut", frontend_catalog_cut),
    ("host-late-packets", late_packets),
    ("host-lost-packets", lost_packets),
    ("host-doubled-packets", doubled_packets),
    ("host-slow-link", slow_link),
    ("host-names-silent", names_silent),
    ("host-volume-full", volume_full),
    ("host-clock-off", clock_off),
];

/// Every service is killed in turn, and its container started again.
fn kill_each(run: &mut Run) {
    for service in run.shuffled() {
        run.fault();
        run.hosts.kill(service);
        run.elapse_ms(0, 1_500);
        run.hosts.start_service(service);
        run.progress(10);
    }
}

/// Every service is frozen in turn, the leader last, for less and for more than the heartbeats
/// bear.
fn pause_each(run: &mut Run) {
    let leader = Order(run.leader());
    for service in run.shuffled().into_iter().chain([leader]) {
        run.fault();
        run.hosts.pause(service);
        run.elapse_ms(50, 2_500);
        run.hosts.resume(service);
        run.progress(10);
    }
}

/// Every service is stopped as an engine does, and must end with code 0.
fn stop_each(run: &mut Run) {
    for service in run.shuffled() {
        run.fault();
        run.hosts.stop(service);
        run.hosts.start_service(service);
        run.progress(10);
    }
}

/// Every service dies and comes back as another container with another address.
fn other_address(run: &mut Run) {
    for service in run.shuffled() {
        run.fault();
        run.hosts.kill(service);
        run.hosts.recreate(service);
        run.progress(10);
        run.hosts.wait_ready();
    }
}

/// An upgrade: every container is stopped and replaced in turn, followers first, and the bazaar is
/// whole again before the next one.
fn rolling_replacement(run: &mut Run) {
    let leader = run.leader();
    let followers = (1..=3).filter(|id| *id != leader).map(Order);
    let others = [Order(leader), Catalog, Frontend(1), Frontend(2)];
    for service in followers.chain(others).collect::<Vec<_>>() {
        run.fault();
        run.hosts.stop(service);
        run.hosts.recreate(service);
        run.healthy();
    }
}

/// Every service loses its network, and comes back on another address.
fn disconnect_each(run: &mut Run) {
    for service in run.shuffled() {
        run.fault();
        run.hosts.disconnect(service);
        run.elapse_ms(200, 2_000);
        run.hosts.reconnect(service);
        run.progress(10);
        run.hosts.wait_ready();
    }
}

/// Every pair that talks is cut: one way, the other way, and both.
fn cut_pairs(run: &mut Run) {
    let mut pairs: Vec<Way> = Vec::new();
    for (at, one) in SERVICES.into_iter().enumerate() {
        for other in &SERVICES[at + 1..] {
            // Two front-ends have nothing to say to each other.
            if !matches!((one, other), (Frontend(_), Frontend(_))) {
                pairs.push((one, *other));
            }
        }
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

/// The leader and a front-end are cut from all others: the majority elects another leader, with the
/// catalog and the other front-end, and trades.
fn minority_leader(run: &mut Run) {
    for _ in 0..2 {
        let leader = run.leader();
        let minority = [Order(leader), Frontend(run.rng.u8(1..=2))];
        let ways: Vec<Way> = SERVICES
            .into_iter()
            .filter(|service| !minority.contains(service))
            .flat_map(|other| minority.map(|one| [(one, other), (other, one)]))
            .flatten()
            .collect();
        run.harm(&ways, Harm::Cut);
        another_leads(run, leader);
        run.progress(20);
        run.heal();
    }
}

/// The leader alone loses the catalog, one way, the other way and both: another one leads.
fn catalog_leader_cut(run: &mut Run) {
    for both in [false, true] {
        for back in [false, true] {
            let leader = run.leader();
            let mut ways = vec![(Order(leader), Catalog), (Catalog, Order(leader))];
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

fn another_leads(run: &Run, leader: u8) {
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
fn frontend_catalog_cut(run: &mut Run) {
    for n in [1, 2] {
        let (there, back) = ((Frontend(n), Catalog), (Catalog, Frontend(n)));
        for ways in [&[there][..], &[back], &[there, back]] {
            run.harm(ways, Harm::Cut);
            run.elapse_ms(500, 1_500);
            run.progress(20);
            run.elapse_ms(500, 1_500);
            run.heal();
        }
    }
}

/// All ways to and from a host: the leader, the catalog, a front-end.
fn around(run: &Run) -> Vec<Vec<Way>> {
    let hosts = [Order(run.leader()), Catalog, Frontend(1)];
    let others = |host| SERVICES.into_iter().filter(move |other| *other != host);
    let ways = |host| -> Vec<Way> {
        let talks = |other: &Service| !matches!((host, *other), (Frontend(_), Frontend(_)));
        let pairs = others(host).filter(talks);
        pairs
            .flat_map(|other| [(host, other), (other, host)])
            .collect()
    };
    hosts.into_iter().map(ways).collect()
}

/// Packets are late, and some overtake others.
fn late_packets(run: &mut Run) {
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
                links::also_late(&run.hosts, *way);
            }
            run.progress(20);
            run.heal();
        }
    }
}

/// Packets are lost on all ways around a host.
fn lost_packets(run: &mut Run) {
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
fn doubled_packets(run: &mut Run) {
    for ways in around(run) {
        let met = run.harm_for(&ways, Harm::Repeat(40), 500, 1_000);
        assert!(met > 0, "no packet was doubled");
        run.progress(20);
        run.heal();
    }
}

/// Few bytes a second leave the leader, a follower, the catalog, a front-end.
fn slow_link(run: &mut Run) {
    let (leader, follower) = (run.leader(), run.follower());
    for host in [Order(leader), Order(follower), Catalog, Frontend(2)] {
        for kilobits in [2_000, 300] {
            run.fault();
            links::slow(&run.hosts, host, kilobits);
            run.elapse_ms(1_000, 2_000);
            run.progress(10);
            run.heal();
        }
    }
}

/// No name resolves anywhere. Nobody's address has changed, so all goes on; also when the leader
/// dies, and when a replica comes back.
fn names_silent(run: &mut Run) {
    for service in SERVICES {
        links::silence_names(&run.hosts, service);
    }
    run.fault();
    run.elapse_ms(500, 1_500);
    run.progress(20);
    let leader = Order(run.leader());
    run.hosts.kill(leader);
    run.fault();
    run.progress(20);
    // Its refused connections made the front-ends ask for its address.
    let asked = wait::until(SOON, || {
        (links::met(&run.hosts, Frontend(1)) > 0).then_some(())
    });
    assert!(asked.is_some(), "nobody asked the silent name server");
    run.hosts.start_service(leader);
    links::silence_names(&run.hosts, leader);
    run.progress(20);
}

/// The volume of a follower, the leader and the catalog is full for a while. A replica is left out
/// until there is room; without the catalog's disk nothing can be traded, and nothing is lost.
fn volume_full(run: &mut Run) {
    for kind in 0..3 {
        let service = match kind {
            0 => Order(run.follower()),
            1 => Order(run.leader()),
            _ => Catalog,
        };
        let data = run.hosts.data(service);
        let path = data.to_str().expect("UTF-8").to_owned();
        let aside = format!("{path}.aside");
        run.hosts.stop(service);
        fs::create_dir(&aside).expect("a folder");
        copy(&path, &aside);
        let mount = Mount::at(&path);
        copy(&aside, &path);
        run.hosts.recreate(service);
        run.healthy();

        let ballast = data.join("ballast");
        let full = fs::write(&ballast, vec![1; Mount::BYTES]);
        assert!(full.is_err(), "the volume of {service} is not full");
        run.fault();
        if service == Catalog {
            stands_still(run);
        } else {
            run.elapse_ms(1_000, 2_000);
            run.progress(20);
        }
        fs::remove_file(&ballast).expect("there is a ballast");
        run.progress(20);
        run.healthy();

        run.hosts.stop(service);
        for file in fs::read_dir(&aside).expect("a folder").flatten() {
            fs::remove_file(file.path()).expect("removed");
        }
        copy(&path, &aside);
        drop(mount);
        for file in fs::read_dir(&data).expect("a folder").flatten() {
            fs::remove_file(file.path()).expect("removed");
        }
        copy(&aside, &path);
        run.hosts.recreate(service);
        run.healthy();
    }
}

/// Waits until a front-end says that the catalog's disk takes no order. Until then orders may find
/// room in the part of the file that SQLite uses again.
fn stands_still(run: &Run) {
    let urls = run.hosts.urls();
    let why = wait::until(SOON, || {
        let ready = Api::with_timeout(&urls[0], SOON).get("/readyz").ok()?;
        (ready.status == 503).then_some(ready.body)
    });
    assert!(why.is_some(), "ready, although the catalog cannot write");
}

/// Copies a stopped service's files, with their owner.
fn copy(from: &str, to: &str) {
    execute("cp", &["--archive", &format!("{from}/."), to])
        .unwrap_or_else(|error| panic!("{error}"));
}

/// A small file system; unmounted when dropped.
struct Mount(String);

impl Mount {
    /// Its size.
    const BYTES: usize = 24 << 20;

    fn at(path: &str) -> Self {
        let options = format!("size={},mode=700,uid=10001,gid=10001", Self::BYTES);
        execute("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", path])
            .unwrap_or_else(|error| panic!("{error}"));
        Self(path.into())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a service that a failing test left may still have a file open.
        let _ = execute("umount", &["--lazy", &self.0]);
    }
}

/// The wall clocks of the catalog, the leader and a front-end are days off, in both directions.
fn clock_off(run: &mut Run) {
    let leader = Order(run.leader());
    for (service, offset) in [(Catalog, "+3d"), (leader, "-2d"), (Frontend(1), "+400d")] {
        let Some(clock) = Hosts::other_clock(offset) else {
            let required = std::env::var_os("BAZAAR_HOSTS_REQUIRED").is_some();
            assert!(!required, "libfaketime is missing: apt install libfaketime");
            println!("host-clock-off is skipped: libfaketime is missing");
            return;
        };
        run.fault();
        run.hosts.set(service, clock);
        run.hosts.stop(service);
        run.hosts.recreate(service);
        run.healthy();
    }
    let date = Api::new(&run.hosts.urls()[0])
        .get("/livez")
        .expect("answered");
    let date = date.header("date").expect("a date").to_owned();
    let today = execute("date", &["-u", "+%a, %d %b %Y"]).expect("the date");
    assert!(
        !date.starts_with(&today),
        "the front-end's clock is not off: {date}"
    );
    run.progress(40);
    for service in [Catalog, leader, Frontend(1)] {
        run.hosts.set(service, Vec::new());
        run.hosts.stop(service);
        run.hosts.recreate(service);
        run.healthy();
    }
}

/// A random fault, for the soak.
pub fn random(run: &mut Run) {
    let services = run.shuffled();
    let (service, other) = (services[0], services[1]);
    let seconds = run.rng.u64(1..4);
    match run.rng.u32(..12) {
        0 => {
            run.fault();
            run.hosts.kill(service);
            run.elapse_ms(0, 1_500);
            run.hosts.start_service(service);
        }
        1 => {
            for service in [service, other] {
                run.fault();
                run.hosts.kill(service);
            }
            run.elapse_ms(0, 1_000);
            run.hosts.recreate(other);
            run.hosts.recreate(service);
        }
        2 => {
            run.fault();
            run.hosts.pause(service);
            run.elapse_ms(10, 2_500);
            run.hosts.resume(service);
        }
        3 => {
            run.fault();
            run.hosts.stop(service);
            run.hosts.recreate(service);
        }
        4 => {
            run.fault();
            run.hosts.disconnect(service);
            run.elapse_ms(200, 2_000);
            run.hosts.reconnect(service);
        }
        5 => {
            run.fault();
            links::slow(&run.hosts, service, run.rng.u32(200..2_000));
            run.elapse_ms(500, 2_000);
        }
        6 => {
            run.fault();
            for service in SERVICES {
                links::silence_names(&run.hosts, service);
            }
            run.elapse_ms(500, 2_000);
        }
        kind => {
            let mut ways: Vec<Way> = vec![(service, other)];
            if run.rng.bool() {
                ways.push((other, service));
            }
            if run.rng.bool() {
                ways.push((services[2], services[3]));
            }
            let harm = match kind {
                7 => Harm::Lose(run.rng.u32(1..30)),
                8 => Harm::Repeat(run.rng.u32(1..60)),
                _ => Harm::Cut,
            };
            run.harm(&ways, harm);
            run.elapse_ms(100, seconds * 1_000);
        }
    }
    run.heal();
}
