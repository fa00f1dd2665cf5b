//! A bazaar of real processes on this machine: catalog, replicas of the order service, front-ends.
//! The launcher, the tests and the evaluation start, stop, kill, pause, resume and restart services
//! with it, one by one.
//!
//! | module | one idea |
//! |---|---|
//! | [`Spec`] | the settings of a cluster, and the environment of each service |
//! | [`service`] | the names of the services |
//! | [`addresses`] | their addresses, and blocks of free ports |
//! | [`binaries`] | the folder of the services' binaries |
//! | [`process`] | one process, which dies with this program |
//! | [`temporary`] | a cluster in a temporary folder, on free ports |
//! | [`proxy`] | a TCP proxy that delays, cuts and injures a link |
//! | [`wait`] | waiting for a condition with a deadline |
//!
//! - Database files and logs are in one folder. A service appends its standard output and error to
//!   `<folder>/logs/<service>.log`. That is never a pipe: a full pipe would block the service.
//! - Dropping a cluster kills and reaps all of its processes. When this program dies in another
//!   way, they die with it where `setpriv` (util-linux) is installed; see [`process`].
//! - Nothing restarts by itself.

pub mod addresses;
pub mod binaries;
pub mod process;
pub mod proxy;
pub mod service;
mod spec;
pub mod temporary;
pub mod wait;

pub use spec::Spec;

use client::api::Api;
use common::timing::STOP_GRACE;
use process::Process;
use rustix::process::Signal;
use service::Service;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::mem;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Longest time until a service answers, and until a front-end is ready. Generous: only a start
/// that failed reaches it, also on a busy machine.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time from SIGTERM to the end of a service: its own grace, and more for a busy machine.
const STOP_TIMEOUT: Duration = Duration::from_millis(STOP_GRACE.as_millis() as u64 + 10_000);
/// Name of the folder of the logs, in the cluster's folder.
pub const LOGS: &str = "logs";
/// Time-out of one request to a service that starts.
const POLL_TIMEOUT: Duration = Duration::from_millis(500);

/// Why an action on a cluster failed. Each text names the service and the log to read.
#[derive(Debug)]
pub struct ClusterError {
    message: String,
    port_taken: bool,
}

impl ClusterError {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            port_taken: false,
        }
    }

    /// Whether a service found its port taken. Then another try on other ports may succeed.
    #[must_use]
    pub fn is_port_taken(&self) -> bool {
        self.port_taken
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ClusterError {}

/// Result of an action on a cluster.
pub type Result<T> = std::result::Result<T, ClusterError>;

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    spec: Spec,
    running: BTreeMap<Service, Process>,
    /// The exit statuses of services that ran before and do not run now.
    ended: BTreeMap<Service, ExitStatus>,
    /// Unexpected ends that [`Cluster::died`] has not returned yet.
    unreported: Vec<(Service, ExitStatus)>,
}

impl Cluster {
    /// Starts every service at once (they wait for each other), and waits until all answer and
    /// every front-end is ready.
    ///
    /// # Errors
    /// When a service cannot be started or ends at once, with the end of its log.
    pub fn start(spec: Spec) -> Result<Self> {
        // All at once: services wait for each other, and a fixed order would hide where they do
        // not.
        let mut cluster = Self::spawn(spec)?;
        for service in cluster.services() {
            cluster.wait_live(service)?;
        }
        for index in 0..cluster.spec.addresses.frontends.len() {
            cluster.wait_ready(index)?;
        }
        Ok(cluster)
    }

    /// Starts every service, and does not wait for their answers.
    ///
    /// # Errors
    /// When a binary or the folder is missing, or the system refuses a process.
    pub fn spawn(spec: Spec) -> Result<Self> {
        let mut cluster = Self::prepare(spec)?;
        for service in cluster.services() {
            cluster.start_service(service)?;
        }
        Ok(cluster)
    }

    /// A cluster without a running service yet.
    ///
    /// # Errors
    /// When the folder for the logs cannot be made.
    pub fn prepare(spec: Spec) -> Result<Self> {
        let logs = spec.folder.join(LOGS);
        fs::create_dir_all(&logs)
            .map_err(|e| ClusterError::new(format!("cannot make {}: {e}", logs.display())))?;
        Ok(Self {
            spec,
            running: BTreeMap::new(),
            ended: BTreeMap::new(),
            unreported: Vec::new(),
        })
    }

    /// All services of the cluster, running or not.
    pub fn services(&self) -> Vec<Service> {
        self.spec.services()
    }

    /// The settings of the cluster.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The settings, to change them. A service takes a change at its next start.
    pub fn spec_mut(&mut self) -> &mut Spec {
        &mut self.spec
    }

    /// Public URL of a front-end, counted from 0.
    pub fn url(&self, frontend: usize) -> String {
        format!(
            "http://{}",
            addresses::reachable(self.spec.addresses.frontends[frontend].public)
        )
    }

    /// Public URLs of all front-ends.
    pub fn urls(&self) -> Vec<String> {
        (0..self.spec.addresses.frontends.len())
            .map(|index| self.url(index))
            .collect()
    }

    /// A client of a service's internal listener, with the cluster's token.
    pub fn internal(&self, service: Service) -> Api {
        let api = Api::with_timeout(&self.spec.internal_url(service), POLL_TIMEOUT * 10);
        match &self.spec.token {
            Some(token) => api.with_token(token),
            None => api,
        }
    }

    /// Path of a service's log.
    pub fn log_path(&self, service: Service) -> PathBuf {
        self.spec.log_path(service)
    }

    /// Process id of a service that runs.
    pub fn pid(&self, service: Service) -> Option<u32> {
        self.running.get(&service).map(Process::pid)
    }

    /// The exit status of a service that ran and ended.
    pub fn how_ended(&self, service: Service) -> Option<ExitStatus> {
        self.ended.get(&service).copied()
    }

    /// Starts a service that does not run, and does not wait; see [`Cluster::wait_live`].
    ///
    /// # Errors
    /// When it runs, its binary is missing, or the system refuses the process.
    pub fn start_service(&mut self, service: Service) -> Result<u32> {
        // A service that died has its end noted before it is started again.
        self.check_ended(service);
        if let Some(process) = self.running.get(&service) {
            return Err(ClusterError::new(format!(
                "{service} runs already, with process id {}",
                process.pid()
            )));
        }
        if !self.services().contains(&service) {
            return Err(ClusterError::new(format!("this cluster has no {service}")));
        }
        let process = Process::start(&self.spec, service)?;
        let pid = process.pid();
        // Its earlier end is over: `how_ended` speaks of a service that does not run.
        self.forget_end(service);
        self.running.insert(service, process);
        Ok(pid)
    }

    /// Waits until a service answers on its internal listener.
    ///
    /// # Errors
    /// When it ends instead, or does not answer in time; with the end of its log.
    pub fn wait_live(&mut self, service: Service) -> Result<()> {
        let api = Api::with_timeout(&self.spec.internal_url(service), POLL_TIMEOUT);
        self.wait_for(service, "/livez", &api)
    }

    /// Waits until a front-end is ready to trade.
    ///
    /// # Errors
    /// As [`Cluster::wait_live`].
    pub fn wait_ready(&mut self, frontend: usize) -> Result<()> {
        let api = Api::with_timeout(&self.url(frontend), POLL_TIMEOUT);
        let service = self.spec.frontend(frontend);
        self.wait_for(service, "/readyz", &api)
    }

    fn wait_for(&mut self, service: Service, path: &str, api: &Api) -> Result<()> {
        let mut last = String::from("it was not asked");
        let outcome = wait::until(START_TIMEOUT, || {
            // Looked at in each round, so that a start that failed is reported at once and not
            // after the time-out.
            if let Some(status) = self.check_ended(service) {
                return Some(Err(
                    self.explain(service, &format!("{service} ended: {status}"))
                ));
            }
            match api.get(path) {
                Ok(answer) if answer.status == 200 => Some(Ok(())),
                Ok(answer) => {
                    last = format!("{}: {}", answer.status, answer.body);
                    None
                }
                Err(error) => {
                    last = error.to_string();
                    None
                }
            }
        });
        outcome.unwrap_or_else(|| {
            let what = format!(
                "{service} did not answer {path} within {} s: {last}",
                START_TIMEOUT.as_secs()
            );
            Err(self.explain(service, &what))
        })
    }

    /// An error with the end of the service's log.
    fn explain(&self, service: Service, what: &str) -> ClusterError {
        let path = self.log_path(service);
        let log = process::tail(&path);
        // A service has no other way to report it: its exit code is that of any failed start.
        let port_taken = log.contains("cannot listen");
        ClusterError {
            message: format!("{what}\nthe end of {}:\n{log}", path.display()),
            port_taken,
        }
    }

    /// Sends SIGTERM to a service and waits for its end.
    ///
    /// # Errors
    /// When it does not run, or did not stop in time; then it was killed.
    pub fn stop(&mut self, service: Service) -> Result<ExitStatus> {
        // A paused process handles no signal until it continues.
        self.signal(service, Signal::CONT)?;
        self.signal(service, Signal::TERM)?;
        if let Some(status) = wait::until(STOP_TIMEOUT, || self.check_ended(service)) {
            // It was asked to stop, so its end is no death to be reported.
            self.unreported.retain(|(ended, _)| *ended != service);
            return Ok(status);
        }
        // A test must not leave it behind, and the log says how far it came.
        self.kill(service)?;
        Err(self.explain(
            service,
            &format!(
                "{service} did not stop within {} s and was killed",
                STOP_TIMEOUT.as_secs()
            ),
        ))
    }

    /// Kills a service (SIGKILL), paused or not, and reaps it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, service: Service) -> Result<()> {
        self.signal(service, Signal::KILL)?;
        if let Some(mut process) = self.running.remove(&service) {
            // Reaped at once: until then its port and its lock may still be held.
            let status = process.reap();
            self.ended.extend(status.map(|status| (service, status)));
        }
        Ok(())
    }

    /// Pauses a service's process (SIGSTOP): it neither answers nor ends.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&mut self, service: Service) -> Result<()> {
        self.signal(service, Signal::STOP)
    }

    /// Resumes a paused service (SIGCONT).
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&mut self, service: Service) -> Result<()> {
        self.signal(service, Signal::CONT)
    }

    /// Stops a service where it runs, starts it, and waits until it answers.
    ///
    /// # Errors
    /// When it does not stop, start, or answer.
    pub fn restart(&mut self, service: Service) -> Result<()> {
        self.check_ended(service);
        if self.running.contains_key(&service) {
            self.stop(service)?;
        }
        self.start_service(service)?;
        self.wait_live(service)
    }

    /// Stops every running service: front-ends first, because they need the others to finish their
    /// requests, and the catalog last.
    ///
    /// # Errors
    /// The first error; the other services are stopped nevertheless.
    pub fn stop_all(&mut self) -> Result<()> {
        let mut failed = None;
        // In the reverse of the start: a front-end needs the others to answer what is in flight.
        for service in self.services().into_iter().rev() {
            self.check_ended(service);
            if self.running.contains_key(&service)
                && let Err(error) = self.stop(service)
            {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Services that ended unexpectedly, with their exit status. It returns each end once,
    /// whichever call noticed the end.
    pub fn died(&mut self) -> Vec<(Service, ExitStatus)> {
        for service in self.services() {
            self.check_ended(service);
        }
        mem::take(&mut self.unreported)
    }

    fn forget_end(&mut self, service: Service) {
        self.ended.remove(&service);
        self.unreported.retain(|(ended, _)| *ended != service);
    }

    /// The exit status of a service that has ended. Reaps its process if that just ended.
    fn check_ended(&mut self, service: Service) -> Option<ExitStatus> {
        if let Some(process) = self.running.get_mut(&service) {
            let status = process.try_reap()?;
            self.running.remove(&service);
            self.ended.insert(service, status);
            // Each end is noted once, whichever call saw it.
            self.unreported.push((service, status));
        }
        self.ended.get(&service).copied()
    }

    fn signal(&mut self, service: Service, signal: Signal) -> Result<()> {
        // While the process is not reaped, its id cannot belong to another process.
        if self.check_ended(service).is_none()
            && let Some(process) = self.running.get(&service)
        {
            return process.signal(signal);
        }
        let how = self.ended.get(&service).map_or_else(
            || "was not started".into(),
            |status| format!("ended: {status}"),
        );
        Err(ClusterError::new(format!(
            "{service} is not running; it {how}"
        )))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Kill, not stop: a caller that wants a clean end calls `stop_all`, and a failing test must
        // not wait.
        for process in self.running.values_mut() {
            process.kill_and_reap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use addresses::Addresses;
    use std::os::unix::fs::PermissionsExt;

    /// `died` returns every unexpected end once, whichever call noticed it first, and no other end.
    #[test]
    fn an_unexpected_end_is_reported_once() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, script) in [
            ("catalog", "exit 3"),
            ("order", "exec sleep 60"),
            ("frontend", "exit 0"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("executable");
        }
        // Nothing listens on these ports: the services are scripts.
        let mut spec = Spec::new(folder.path(), Addresses::consecutive(10_000, 3, 1));
        spec.binaries = folder.path().into();
        let mut cluster = Cluster::spawn(spec).expect("starts");
        let ended = wait::until(START_TIMEOUT, || cluster.check_ended(Service::Catalog));
        assert_eq!(ended.and_then(|status| status.code()), Some(3));
        assert!(
            cluster
                .kill(Service::Catalog)
                .expect_err("has ended")
                .to_string()
                .contains("not running")
        );
        cluster.kill(Service::Order(2)).expect("killed");
        assert_eq!(
            cluster
                .stop(Service::Order(1))
                .map(|status| status.success())
                .ok(),
            Some(false),
            "by the signal"
        );
        assert!(wait::until(START_TIMEOUT, || cluster.check_ended(Service::Frontend(1))).is_some());
        let died: Vec<Service> = cluster
            .died()
            .into_iter()
            .map(|(service, _)| service)
            .collect();
        assert_eq!(died, [Service::Catalog, Service::Frontend(1)]);
        assert!(cluster.died().is_empty());
        assert!(cluster.pid(Service::Order(3)).is_some());
        assert!(
            cluster
                .start_service(Service::Order(3))
                .expect_err("runs")
                .to_string()
                .contains("runs already")
        );
    }
}
