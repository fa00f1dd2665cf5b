//! Disks that are full, refuse writes, or are read-only. Scenarios that need a mount are skipped,
//! in so many words, where the system allows none.

use super::Scenario;
use super::files::database;
use super::run::Run;
use crate::harness::SOON;
use cluster::service::Service::{self, Catalog, Order};
use cluster::wait;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::new("disk-full", disk_full),
    Scenario::new("read-only", read_only),
    Scenario::new("write-fails", write_fails),
];

/// A file system of a test's own; unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// One of 3 MB.
    ///
    /// # Errors
    /// Why there is none.
    pub fn new(at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).map_err(|e| e.to_string())?;
        execute(
            "mount",
            &["-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs"],
            at,
        )?;
        Ok(Self { at: at.into() })
    }

    fn remount(&self, option: &str) {
        execute("mount", &["-o", &format!("remount,{option}")], &self.at)
            .expect("what was mounted is mounted again");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a service that a failing test left may still have a file open.
        let _ = execute("umount", &["--lazy"], &self.at);
    }
}

fn execute(program: &str, arguments: &[&str], at: &Path) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .arg(at)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// Moves a service's file onto a disk of its own.
fn move_to_own_disk(run: &mut Run, service: Service) -> Option<Mount> {
    let mount = match Mount::new(&run.bazaar.folder().join(format!("disk-{service}"))) {
        Ok(mount) => mount,
        Err(why) => {
            run.note(format!(
                "skipped: this system lets the test mount nothing ({why})"
            ));
            return None;
        }
    };
    let file = database(run, service);
    let there = mount.at.join(file.file_name().expect("a name"));
    move_file(run, service, &file, &there);
    Some(mount)
}

/// Moves the file back to where the closing checks look for it.
fn move_back(run: &mut Run, service: Service, mount: Mount) {
    let file = database(run, service);
    let there = mount.at.join(file.file_name().expect("a name"));
    move_file(run, service, &there, &file);
    drop(mount);
}

fn move_file(run: &mut Run, service: Service, from: &Path, to: &Path) {
    run.stop(service);
    // Into the file what is beside it: only the file is copied.
    crate::tool::checkpoint(from);
    fs::copy(from, to).expect("copied");
    let variable = if service == Catalog {
        "CATALOG_DB"
    } else {
        "ORDER_DB"
    };
    let spec = run.bazaar.cluster.spec_mut();
    spec.set_for(service, variable, to.to_str().expect("UTF-8"));
    run.revive(service);
    run.healthy();
}

/// Waits until nothing is acknowledged any more, lets that last, ends it, and waits for trades.
fn outage(run: &mut Run, service: Service, end: impl FnOnce()) {
    if service == Catalog {
        let mut before = run.acknowledged();
        let stands = wait::until(SOON, || {
            super::run::elapse(std::time::Duration::from_millis(300));
            let now = run.acknowledged();
            let stands = now == before;
            before = now;
            stands.then_some(())
        });
        assert!(
            stands.is_some(),
            "a catalog that cannot write goes on trading"
        );
        let api = run.bazaar.api();
        let refused = api
            .post("/orders", r#"{"name":"FishCo","quantity":1,"type":"sell"}"#)
            .expect("answered");
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.error_message().is_ok(), "{refused:?}");
        // Readiness says so, and the status with it; liveness stays apart.
        let why = wait::until(SOON, || {
            let ready = api.get("/readyz").expect("answered");
            (ready.status == 503).then_some(ready.body)
        });
        assert!(why.is_some(), "ready, while no order can be taken");
        run.bazaar.wait_status("the reason", |status| {
            !status.ready && !status.reasons.is_empty()
        });
        assert_eq!(api.get("/livez").expect("answered").status, 200);
    } else {
        // The others go on without it.
        run.progress(30);
    }
    end();
    // A service that refused to start on its disk is started again after the mend.
    run.forget_refused_start(service);
    run.healthy();
}

/// A follower, the leader and the catalog, unless that keeps its state in a database: its disk is
/// the database's business.
fn with_files(run: &mut Run) -> Vec<Service> {
    let services = [Order(run.follower()), Order(run.leader()), Catalog];
    let spec = run.bazaar.cluster.spec();
    let mut with = services.to_vec();
    with.retain(|service| spec.database(*service).is_some());
    if with.len() < services.len() {
        run.note("the catalog was skipped: it has no file".into());
    }
    with
}

/// The disk of a follower, of the leader and of the catalog is full for a while.
fn disk_full(run: &mut Run) {
    for service in with_files(run) {
        let Some(mount) = move_to_own_disk(run, service) else {
            return;
        };
        let filler = mount.at.join("filler");
        run.fault();
        // Ends when there is no room left: that is the point.
        let _ = fs::write(&filler, vec![0; 4 << 20]);
        outage(run, service, || fs::remove_file(&filler).expect("removed"));
        move_back(run, service, mount);
    }
}

/// The disk of a follower, of the leader and of the catalog refuses every write. (Permissions would
/// not bind a test that runs as root.)
fn read_only(run: &mut Run) {
    for service in with_files(run) {
        let Some(mount) = move_to_own_disk(run, service) else {
            return;
        };
        run.fault();
        // Files that are open for writing keep a disk from becoming read-only: the service starts
        // on it.
        run.kill(service);
        mount.remount("ro");
        run.start(service);
        // It may refuse to start, or wait: an order must not be acknowledged with it either way.
        outage(run, service, || mount.remount("rw"));
        move_back(run, service, mount);
    }
}

/// Writes fail for a running service: its files may not grow beyond their present size. The system
/// says so by a signal that a shell between turns off.
fn write_fails(run: &mut Run) {
    let own = run.bazaar.cluster.spec().binaries.clone();
    let folder = run.bazaar.folder().join("binaries");
    fs::create_dir(&folder).expect("a folder");
    for name in ["catalog", "order", "frontend"] {
        let script = format!(
            "#!/bin/sh\ntrap '' XFSZ\nexec '{}' \"$@\"\n",
            own.join(name).display()
        );
        fs::write(folder.join(name), script).expect("written");
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o700))
            .expect("executable");
    }
    run.bazaar.cluster.spec_mut().binaries = folder;
    for service in with_files(run) {
        run.stop(service);
        run.revive(service);
        run.healthy();
        let pid = run
            .bazaar
            .cluster
            .pid(service)
            .expect("it runs")
            .to_string();
        let limit = |bytes: &str| {
            let arguments = ["--pid", &pid, &format!("--fsize={bytes}:unlimited")];
            Command::new("prlimit")
                .args(arguments)
                .status()
                .is_ok_and(|status| status.success())
        };
        if !limit("4096") {
            run.note("skipped: there is no prlimit".into());
            return;
        }
        run.fault();
        outage(run, service, || {
            assert!(limit("unlimited"), "the limit is lifted")
        });
    }
}
