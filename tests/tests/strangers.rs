//! Strangers at each internal listener in turn, while few descriptors are to be had: every service
//! lives, orders go on, and what the strangers took is given back.

#![allow(clippy::print_stdout, reason = "for the person who runs the test")]

use cluster::service::Service;
use cluster::wait;
use parking_lot::Mutex;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::harness::{Bazaar, INTERNAL_SERVER, wait_steps};
use tests::hostile::Attack;

/// The limit of open files of each service.
const DESCRIPTORS: usize = 400;
/// How long one attack on one service lasts.
const LASTS: Duration = Duration::from_millis(800);
/// Clients that trade meanwhile.
const CLIENTS: usize = 4;
/// When descriptors and memory are back at the latest.
const BACK: Duration = Duration::from_secs(60);
/// Descriptors and memory that a service may keep of them: connections that its callers opened
/// meanwhile, an allocator's reserve.
const MORE_DESCRIPTORS: usize = 40;
const MORE_KB: u64 = 24 * 1_024;

/// Not both at once: their rates are compared with what the machine can do.
static ALONE: Mutex<()> = Mutex::new(());

/// With tiny_http orders keep a third of their rate. (A machine that does other things besides is
/// granted half of that.)
#[test]
fn strangers_end_no_service_behind_tiny_http() {
    attack_all("tiny_http", 0.3 / 2.0);
}

/// With the edge orders keep most of their rate.
#[test]
fn strangers_end_no_service_behind_the_edge() {
    attack_all("edge", 0.8 / 2.0);
}

fn attack_all(server: &str, least: f64) {
    let _alone = ALONE.lock();
    let binaries = with_few_descriptors(&cluster::binaries::folder());
    let mut bazaar = Bazaar::start_with(1, |spec| {
        spec.binaries = binaries.path().into();
        spec.set(INTERNAL_SERVER, server);
    });
    let leader = bazaar.leader();
    let services = [
        Service::Catalog,
        Service::Order(leader),
        Service::Order(if leader == 1 { 2 } else { 1 }),
        Service::Frontend(1),
    ];
    bazaar.trade_while(CLIENTS, |bazaar, control| {
        wait_steps(control, 500);
        let before = services.map(|service| taken(bazaar, service));
        let rate = |lasts: Duration, meanwhile: &dyn Fn()| {
            let (steps, begun) = (control.done(), Instant::now());
            meanwhile();
            wait::until(lasts.saturating_sub(begun.elapsed()), || None::<()>);
            (control.done() - steps) as f64 / begun.elapsed().as_secs_f64()
        };
        let mut shares = Vec::new();
        for service in services {
            let url = bazaar.cluster.spec().internal_url(service);
            let address = url
                .trim_start_matches("http://")
                .parse()
                .expect("an address");
            for attack in Attack::ALL {
                let alone = rate(LASTS / 2, &|| ());
                let attacked = rate(LASTS, &|| attack.run(address, LASTS));
                println!("{server} {service} {attack:?}: {attacked:.0} of {alone:.0} steps/s");
                shares.push(attacked / alone);
                assert!(bazaar.cluster.died().is_empty(), "{attack:?} on {service}");
            }
        }
        let share = shares.iter().sum::<f64>() / shares.len() as f64;
        let worst = shares.iter().copied().fold(f64::INFINITY, f64::min);
        println!("{server}: {share:.2} of the rate on average, {worst:.2} at worst");
        assert!(share >= least, "{server}: {share:.2} of the rate");
        wait_steps(control, 500);
        for (service, before) in services.into_iter().zip(before) {
            let mut now = before;
            let back = wait::until(BACK, || {
                now = taken(bazaar, service);
                let fits = now.0 <= before.0 + MORE_DESCRIPTORS && now.1 <= before.1 + MORE_KB;
                fits.then_some(())
            });
            println!("{server} {service}: descriptors and KB {before:?}, now {now:?}");
            assert!(back.is_some(), "{service} had {before:?}, has {now:?}");
        }
    });
    bazaar.close();
}

/// Descriptors and resident memory of a service.
fn taken(bazaar: &Bazaar, service: Service) -> (usize, u64) {
    let process = format!("/proc/{}", bazaar.cluster.pid(service).expect("it runs"));
    let descriptors = fs::read_dir(format!("{process}/fd"))
        .expect("there")
        .count();
    let status = fs::read_to_string(format!("{process}/status")).expect("there");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kb = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    (descriptors, kb.expect("a number"))
}

/// The binaries of the services, each behind a script that lowers its limits first.
fn with_few_descriptors(binaries: &Path) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for name in ["catalog", "order", "frontend"] {
        let script = folder.path().join(name);
        let binary = binaries.join(name);
        let text = format!(
            "#!/bin/sh\nulimit -n {DESCRIPTORS}\nexec '{}' \"$@\"\n",
            binary.display()
        );
        fs::write(&script, text).expect("written");
        fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("executable");
    }
    folder
}
