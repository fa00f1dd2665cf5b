//! `bazaar status`: services, roles, term, numbers, lag and cache on one screen, from `GET
//! /status`; for a bazaar of `bazaar run` also the process ids.

use crate::launcher::{Running, running, saved_url};
use client::api::Api;
use common::shutdown::StopSignal;
use common::terminal::{self, escape};
use common::wire::catalog::{CatalogRole, CatalogState};
use common::wire::public::{CacheStatus, CatalogMember, ReplicaState, Status};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Time-out of a request to the front-end.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two screens of `--watch`.
const EVERY: Duration = Duration::from_secs(1);
/// How often `--watch` checks for a signal.
const STEP: Duration = Duration::from_millis(50);
/// The default front-end.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// How long the command repeats the request until every part of the status is newer than the
/// command. After that it shows the age.
const FRESH: Duration = Duration::from_secs(1);
/// Pause between two such requests.
const AGAIN: Duration = Duration::from_millis(30);

#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// The bazaar of the front-end with this URL.
    Url(&'a str),
    /// The bazaar in this folder, and no other.
    Folder(&'a Path),
    /// The bazaar in this default folder; if none runs there, the one at [`DEFAULT_URL`].
    Usual(&'a Path),
}

/// The content of the screen.
#[derive(Debug)]
pub struct StatusScreen {
    pub url: String,
    /// The status, or the reason for a missing one.
    pub status: Result<Status, String>,
    /// Process ids by service, if `bazaar run` on this machine started the bazaar.
    pub pids: BTreeMap<String, u32>,
    /// Whether services still run although their launcher has ended.
    pub orphaned: bool,
}

impl StatusScreen {
    /// Whether the bazaar accepts orders.
    pub fn is_ready(&self) -> bool {
        self.status.as_ref().is_ok_and(|status| status.ready)
    }
}

/// Collects the content of the screen once.
///
/// # Errors
/// When no bazaar runs in the named folder. Then it asks no front-end.
pub fn look(target: Target<'_>) -> Result<StatusScreen, String> {
    let (url, running) = match target {
        // Processes of this machine may belong to another bazaar than the one at this URL.
        Target::Url(url) => (url.into(), Running::default()),
        Target::Folder(folder) | Target::Usual(folder) => {
            let running = running(folder);
            let none = !running.is_any();
            if none && matches!(target, Target::Folder(_)) {
                return Err(format!(
                    "no bazaar runs in {}: start one with 'bazaar run --dir', \
                     or name a front-end with --url",
                    folder.display()
                ));
            }
            // If none runs, the URL in the folder is of an earlier run.
            let url = saved_url(folder).filter(|_| !none);
            (url.unwrap_or_else(|| DEFAULT_URL.into()), running)
        }
    };
    // Launcher and front-end have ended, so a front-end on that port is of another bazaar.
    let orphaned = !running.launcher && running.is_any();
    let status = if orphaned && !running.pids.contains_key("frontend") {
        Err("it does not run".into())
    } else {
        ask(&url)
    };
    Ok(StatusScreen {
        status,
        url,
        orphaned,
        pids: running.pids,
    })
}

/// The status, with every part newer than this call if that comes within [`FRESH`]. A front-end
/// probes the others each heartbeat, so its first answer may be older than a kill, or than the last
/// orders of a load.
fn ask(url: &str) -> Result<Status, String> {
    let api = Api::with_timeout(url, TIMEOUT);
    let began = Instant::now();
    loop {
        let status = api.status().map_err(|error| error.to_string())?;
        if newer_than(&status, began.elapsed()) || began.elapsed() >= FRESH {
            return Ok(status);
        }
        thread::sleep(AGAIN);
    }
}

/// Whether every part is newer than `age`. A service without an answer counts only after
/// [`SILENCE`]: before, its answer could still come.
fn newer_than(status: &Status, age: Duration) -> bool {
    let ages = status.replicas.iter().map(|replica| replica.age_ms);
    ages.chain([status.catalog.age_ms])
        .map(|ms| ms.map_or(SILENCE, Duration::from_millis))
        .all(|seen| seen < age)
}

/// Time after which a front-end shows a silent service as down.
const SILENCE: Duration = Duration::from_millis(200);

/// Prints it once. False when the bazaar cannot trade, or its front-end does not answer.
///
/// # Errors
/// When standard output cannot be written.
pub fn show(target: Target<'_>) -> io::Result<bool> {
    match look(target) {
        Ok(picture) => {
            terminal::print(&picture.to_string())?;
            Ok(picture.is_ready())
        }
        Err(why) => {
            terminal::print(&format!("{why}\n"))?;
            Ok(false)
        }
    }
}

/// Prints it every second, in the same place where that is a terminal, until `stop`.
///
/// # Errors
/// When standard output cannot be written.
pub fn watch(target: Target<'_>, stop: &StopSignal) -> io::Result<()> {
    let clear = if io::stdout().is_terminal() {
        "\x1b[H\x1b[J"
    } else {
        ""
    };
    let mut first = true;
    while stop.received().is_none() {
        let looked = Instant::now();
        let picture = look(target).map_or_else(|why| format!("{why}\n"), |p| p.to_string());
        let gap = if clear.is_empty() && !first { "\n" } else { "" };
        clear_screen(clear)?;
        terminal::print(&format!("{gap}{picture}"))?;
        first = false;
        while looked.elapsed() < EVERY && stop.received().is_none() {
            thread::sleep(STEP);
        }
    }
    Ok(())
}

fn clear_screen(clear: &str) -> io::Result<()> {
    io::stdout().lock().write_all(clear.as_bytes())
}

impl std::fmt::Display for StatusScreen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.orphaned {
            writeln!(
                f,
                "The launcher of this bazaar is gone; services that it started still run. \
                 End them by their process ids.\n"
            )?;
        }
        match &self.status {
            Ok(status) => f.write_str(&self.table(status)?),
            Err(why) => {
                let (url, why) = (escape(&self.url), escape(why));
                writeln!(f, "The front-end at {url} does not answer: {why}")?;
                self.pids
                    .iter()
                    .try_for_each(|(service, pid)| writeln!(f, "{service:<10} runs, process {pid}"))
            }
        }
    }
}

impl StatusScreen {
    fn table(&self, status: &Status) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let led = status
            .leader
            .map_or("no leader now".into(), |id| format!("led by order{id}"));
        writeln!(
            text,
            "The bazaar at {}: term {}, {led}",
            self.url, status.term
        )?;
        if !status.ready {
            let why = &status.reasons.join("; ");
            writeln!(text, "It cannot trade now: {}", escape(why))?;
        }
        writeln!(
            text,
            "\n{:<10} {:<16} {:>9} {:>7} {:>9}",
            "service", "state", "last", "behind", "process"
        )?;
        let catalog = match status.catalog.state {
            Some(_) if status.catalog.write_fault.is_some() => "CANNOT WRITE",
            state => state.map_or("down", catalog_state),
        };
        if status.catalogs.len() < 2 {
            self.row(&mut text, "catalog", catalog, None, None)?;
        }
        // Of several the active one has the state of all, and each its role.
        for member in status.catalogs.iter().filter(|_| status.catalogs.len() > 1) {
            let state = match member.role {
                Some(CatalogRole::Active) => catalog,
                Some(CatalogRole::Standby) => "standby",
                None => "down",
            };
            self.row(&mut text, &member.id, state, None, None)?;
        }
        let longest = status
            .replicas
            .iter()
            .filter_map(|replica| replica.last)
            .max();
        for replica in &status.replicas {
            // Rows that the longest log has and this one lacks.
            let rows = |last: Option<u64>| last.map_or(0, |last| last + 1);
            let up = !replica.state.counts_as_down();
            let behind = up.then(|| rows(longest).saturating_sub(rows(replica.last)));
            self.row(
                &mut text,
                &format!("order{}", replica.id),
                replica_state(replica.state),
                replica.last,
                behind,
            )?;
        }
        let frontend = if status.ready { "ready" } else { "not ready" };
        self.row(&mut text, "frontend", frontend, None, None)?;
        writeln!(text, "\n{}", cache_line(&status.cache))?;
        if let Some(active) = active_of_several(status) {
            let (id, epoch) = (escape(&active.id), active.epoch.unwrap_or_default());
            writeln!(text, "{id} is active, in epoch {epoch}")?;
        }
        let ages = status.replicas.iter().filter_map(|replica| replica.age_ms);
        if let Some(oldest) = ages.max() {
            writeln!(text, "replicas were asked at most {oldest} ms ago")?;
        }
        Ok(text)
    }

    fn row(
        &self,
        text: &mut String,
        service: &str,
        state: &str,
        last: Option<u64>,
        behind: Option<u64>,
    ) -> std::fmt::Result {
        let number = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
        let pid = number(self.pids.get(service).map(|pid| u64::from(*pid)));
        writeln!(
            text,
            "{service:<10} {state:<16} {:>9} {:>7} {pid:>9}",
            number(last),
            number(behind)
        )
    }
}

fn cache_line(cache: &CacheStatus) -> String {
    if !cache.enabled {
        return "cache off: every read goes to the catalog".into();
    }
    let reads = cache.hits + cache.misses;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of counts, for a person"
    )]
    let share = if reads == 0 {
        "-".into()
    } else {
        format!("{:.1} %", 100.0 * cache.hits as f64 / reads as f64)
    };
    let lease = if cache.leased {
        "leased"
    } else {
        "without a lease: every read goes to the catalog"
    };
    format!(
        "cache: {} of {} stocks, {lease}; {} hits, {} misses, {share} hits",
        cache.entries, cache.capacity, cache.hits, cache.misses
    )
}

/// The active catalog, where there are several.
fn active_of_several(status: &Status) -> Option<&CatalogMember> {
    let active = |member: &&CatalogMember| member.role == Some(CatalogRole::Active);
    let several = status.catalogs.len() > 1;
    let newest = status
        .catalogs
        .iter()
        .filter(active)
        .max_by_key(|member| member.epoch);
    newest.filter(|_| several)
}

fn catalog_state(state: CatalogState) -> &'static str {
    match state {
        CatalogState::Serving => "serving",
        CatalogState::StartUpWait => "start-up wait",
        CatalogState::AwaitingClaim => "awaiting claim",
        CatalogState::HistoryLost => "HISTORY LOST",
    }
}

fn replica_state(state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::Leader => "leader",
        ReplicaState::Claiming => "claiming",
        ReplicaState::Follower => "follower",
        ReplicaState::CatchingUp => "catching up",
        ReplicaState::Down => "down",
        ReplicaState::WrongReplica => "WRONG REPLICA",
        ReplicaState::Foreign => "OTHER BAZAAR",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn picture(status: Result<Status, String>) -> StatusScreen {
        let pids = [("order3".into(), 77)].into();
        StatusScreen {
            url: "http://a:1".into(),
            status,
            orphaned: false,
            pids,
        }
    }

    /// Roles, numbers, lag, process ids and the cache's share are where a person looks for them.
    #[test]
    fn shows_the_cluster() {
        let status = json!({
            "ready": true, "reasons": [], "leader": 3, "term": 4,
            "replicas": [
                {"id": 1, "state": "down", "last": null, "age_ms": null},
                {"id": 2, "state": "catching-up", "last": 30, "age_ms": 20},
                {"id": 3, "state": "leader", "last": 41, "age_ms": 33},
            ],
            "catalog": {"state": "serving", "write_fault": null, "age_ms": 9},
            "cache": {
                "enabled": true, "leased": true, "entries": 2, "capacity": 8, "hits": 3, "misses": 1
            },
        });
        let mut picture = picture(Ok(serde_json::from_value(status).expect("a status")));
        assert!(picture.is_ready());
        let text = picture.to_string();
        let words = |line: &str| {
            line.split_whitespace()
                .map(ToOwned::to_owned)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let lines: Vec<String> = text.lines().map(words).collect();
        for expected in [
            "The bazaar at http://a:1: term 4, led by order3",
            "catalog serving - - -",
            "order1 down - - -",
            "order2 catching up 30 11 -",
            "order3 leader 41 0 77",
            "frontend ready - - -",
            "cache: 2 of 8 stocks, leased; 3 hits, 1 misses, 75.0 % hits",
            "replicas were asked at most 33 ms ago",
        ] {
            assert!(
                lines.iter().any(|line| line == expected),
                "{expected}:\n{text}"
            );
        }
        let status = picture.status.as_mut().expect("a status");
        (status.ready, status.reasons) = (false, vec!["no room".into()]);
        status.catalog.write_fault = Some("no room".into());
        assert!(!picture.is_ready());
        let text = picture.to_string();
        assert!(
            text.contains("It cannot trade now: no room") && text.contains("CANNOT WRITE"),
            "{text}"
        );
        let status = picture.status.as_mut().expect("a status");
        status.catalog.write_fault = None;
        let member = |id: &str, role, epoch| CatalogMember {
            id: id.into(),
            role,
            epoch,
            age_ms: Some(9),
        };
        status.catalogs = vec![
            member("catalog", Some(CatalogRole::Standby), Some(3)),
            member("catalog2", Some(CatalogRole::Active), Some(4)),
            member("catalog3", None, None),
        ];
        let text = picture.to_string();
        let lines: Vec<String> = text.lines().map(words).collect();
        for expected in [
            "catalog standby - - -",
            "catalog2 serving - - -",
            "catalog3 down - - -",
            "catalog2 is active, in epoch 4",
        ] {
            assert!(
                lines.iter().any(|line| line == expected),
                "{expected}:\n{text}"
            );
        }
    }

    /// A status counts as new when every part of it is newer than the command; a silent service
    /// counts only after a while.
    #[test]
    fn numbers_are_of_after_the_command() {
        let status = |age: Option<u64>| -> Status {
            serde_json::from_value(json!({
                "ready": true, "reasons": [], "leader": 3, "term": 4,
                "replicas": [{"id": 3, "state": "leader", "last": 41, "age_ms": age}],
                "catalog": {"state": "serving", "write_fault": null, "age_ms": 9},
                "cache": {
                    "enabled": false, "leased": false, "entries": 0, "capacity": 8, "hits": 0,
                    "misses": 0
                },
            }))
            .expect("a status")
        };
        let ms = Duration::from_millis;
        assert!(!newer_than(&status(Some(60)), ms(50)));
        assert!(newer_than(&status(Some(40)), ms(50)));
        assert!(!newer_than(&status(None), ms(150)));
        assert!(newer_than(&status(None), ms(201)));
    }

    /// For a folder without a running bazaar the error says so, whatever listens elsewhere, and
    /// even when an earlier run left the id of a process that lives.
    #[test]
    fn stale_process_ids_are_nobodys() {
        let folder = tempfile::tempdir().expect("a folder");
        let pids = folder.path().join("pids");
        std::fs::create_dir(&pids).expect("made");
        for service in ["catalog", "order1", "frontend"] {
            let own = std::process::id().to_string();
            std::fs::write(pids.join(format!("{service}.pid")), own).expect("written");
        }
        std::fs::write(folder.path().join("url"), "http://127.0.0.1:9\n").expect("written");
        let why = look(Target::Folder(folder.path())).expect_err("none runs");
        assert!(why.contains("no bazaar runs in"), "{why}");
        // One service is left after a kill of the launcher: only it is shown, and no front-end
        // asked.
        let lock = common::filelock::FileLock::take(&folder.path().join("order1.db"));
        let picture = look(Target::Folder(folder.path())).expect("one runs");
        assert!(picture.orphaned && !picture.is_ready());
        let expected = [("order1".to_owned(), std::process::id())].into();
        assert_eq!(picture.pids, expected);
        drop(lock);
    }

    /// For a silent front-end the screen says so, with the processes that run here.
    #[test]
    fn a_silent_front_end_is_named_with_the_processes_here() {
        let text = picture(Err("no answer: refused".into())).to_string();
        assert!(
            text.contains("http://a:1 does not answer")
                && text.contains("order3")
                && text.contains("77"),
            "{text}"
        );
    }
}
