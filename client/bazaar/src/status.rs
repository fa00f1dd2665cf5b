//! `bazaar status`: services, roles, term, numbers, lag and cache on one screen, as `GET /status`
//! tells them; for a bazaar of `bazaar run` with the process ids.

use crate::launcher::{pids, saved_url};
use client::api::Api;
use common::shutdown::StopSignal;
use common::terminal::{self, escape};
use common::wire::catalog::CatalogState;
use common::wire::public::{CacheStatus, ReplicaState, Status};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long the front-end may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(1);
/// How soon `--watch` notices that it is to end.
const STEP: Duration = Duration::from_millis(50);
/// Where a front-end is when nothing says otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// What is shown.
#[derive(Debug)]
pub struct Picture {
    /// The front-end that was asked.
    pub url: String,
    /// What it says; or why it does not.
    pub status: Result<Status, String>,
    /// Why it cannot trade, when it cannot.
    pub not_ready: Option<String>,
    /// Process ids by service, where the bazaar was started by `bazaar run` on this machine.
    pub pids: BTreeMap<String, u32>,
}

/// Looks once. Without `url` at the front-end of the bazaar in `folder`, or at the documented
/// address.
#[must_use]
pub fn look(folder: &Path, url: Option<&str>) -> Picture {
    // What runs on this machine says nothing of a bazaar elsewhere.
    let pids = if url.is_some() {
        BTreeMap::new()
    } else {
        pids(folder)
    };
    let url = url
        .map(Into::into)
        .or_else(|| saved_url(folder))
        .unwrap_or_else(|| DEFAULT_URL.into());
    let api = Api::with_timeout(&url, TIMEOUT);
    let status = api.status().map_err(|error| error.to_string());
    let ready = api.get("/readyz");
    let not_ready = ready
        .ok()
        .filter(|answer| answer.status != 200)
        .map(|answer| answer.error_message());
    Picture {
        url,
        status,
        not_ready: not_ready.map(|message| message.unwrap_or_else(|why| why)),
        pids,
    }
}

/// Prints it once. False when the front-end does not answer.
///
/// # Errors
/// When standard output cannot be written.
pub fn show(folder: &Path, url: Option<&str>) -> io::Result<bool> {
    let picture = look(folder, url);
    terminal::print(&picture.to_string())?;
    Ok(picture.status.is_ok())
}

/// Prints it every second, in the same place where that is a terminal, until `stop`.
///
/// # Errors
/// When standard output cannot be written.
pub fn watch(folder: &Path, url: Option<&str>, stop: &StopSignal) -> io::Result<()> {
    let clear = if io::stdout().is_terminal() {
        "\x1b[H\x1b[J"
    } else {
        ""
    };
    let mut first = true;
    while stop.received().is_none() {
        let looked = Instant::now();
        let picture = look(folder, url);
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

impl std::fmt::Display for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.status {
            Ok(status) => f.write_str(&self.picture(status)?),
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

impl Picture {
    fn picture(&self, status: &Status) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let led = status
            .leader
            .map_or("no leader now".into(), |id| format!("led by order{id}"));
        writeln!(
            text,
            "The bazaar at {}: term {}, {led}",
            self.url, status.term
        )?;
        if let Some(why) = &self.not_ready {
            writeln!(text, "It cannot trade now: {}", escape(why))?;
        }
        writeln!(
            text,
            "\n{:<10} {:<16} {:>9} {:>7} {:>9}",
            "service", "state", "last", "behind", "process"
        )?;
        let catalog = status.catalog.state.map_or("down", catalog_state);
        self.row(&mut text, "catalog", catalog, None, None)?;
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
        let frontend = if self.not_ready.is_none() {
            "ready"
        } else {
            "not ready"
        };
        self.row(&mut text, "frontend", frontend, None, None)?;
        writeln!(text, "\n{}", cache_line(&status.cache))?;
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

    fn picture(status: Result<Status, String>) -> Picture {
        let pids = [("order3".into(), 77)].into();
        Picture {
            url: "http://a:1".into(),
            status,
            not_ready: None,
            pids,
        }
    }

    /// Roles, numbers, lag, process ids and the cache's share are where a person looks for them.
    #[test]
    fn shows_the_cluster() {
        let status = json!({
            "leader": 3, "term": 4,
            "replicas": [
                {"id": 1, "state": "down", "last": null},
                {"id": 2, "state": "catching-up", "last": 30},
                {"id": 3, "state": "leader", "last": 41},
            ],
            "catalog": {"state": "serving"},
            "cache": {"enabled": true, "leased": true, "entries": 2, "capacity": 8, "hits": 3, "misses": 1},
        });
        let mut picture = picture(Ok(serde_json::from_value(status).expect("a status")));
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
        ] {
            assert!(
                lines.iter().any(|line| line == expected),
                "{expected}:\n{text}"
            );
        }
        picture.not_ready = Some("not ready: no leader".into());
        assert!(
            picture
                .to_string()
                .contains("It cannot trade now: not ready: no leader")
        );
    }

    /// A front-end that does not answer is told, with what runs here.
    #[test]
    fn no_answer() {
        let text = picture(Err("no answer: refused".into())).to_string();
        assert!(
            text.contains("http://a:1 does not answer")
                && text.contains("order3")
                && text.contains("77"),
            "{text}"
        );
    }
}
