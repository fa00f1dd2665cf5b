//! Name servers, disks and clocks that are not as they should be.

use crate::hosts::bazaar::{Hosts, SOON};
use crate::hosts::engine::run as execute;
use crate::hosts::host::{Host, Layout};
use crate::hosts::links;
use crate::hosts::run::Run;
use client::api::Api;
use cluster::service::Service::{Catalog, Frontend, Order};
use cluster::wait;
use std::fs;

/// No name resolves anywhere. Nobody's address has changed, so all goes on; also when the leader
/// dies, when a replica comes back, and when the database starts again.
pub fn names_silent(run: &mut Run) {
    for service in run.hosts.layout.services() {
        links::silence_names(&mut run.hosts, service);
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
    run.hosts.start_host(leader);
    links::silence_names(&mut run.hosts, leader);
    run.progress(20);
    if run.hosts.layout == Layout::TwoCatalogs {
        // The catalogs connect again, to the address that they know.
        run.fault();
        run.hosts.kill(Host::Database);
        run.hosts.start_host(Host::Database);
        run.progress(20);
    }
}

/// The volume of a follower, the leader and the catalog is full for a while. A replica is left out
/// until there is room; without the catalog's disk nothing can be traded, and nothing is lost.
pub fn volume_full(run: &mut Run) {
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
pub fn clock_off(run: &mut Run) {
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
