//! The steps of the demo.

use super::{Screen, Tone};
use client::api::Api;
use client::report::Report;
use client::workload::{self, Control, Options, Outcome};
use cluster::Cluster;
use cluster::service::Service;
use cluster::temporary::TemporaryCluster;
use cluster::wait;
use common::wire::order::Side;
use common::wire::public::{NewOrder, ReplicaState, Status};
use std::thread;
use std::time::{Duration, Instant};

/// How long clients trade between two steps.
const TRADE: Duration = Duration::from_secs(5);
/// How long the leader is paused.
const PAUSE: Duration = Duration::from_secs(3);
/// Time between two lines about the trading.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Deadline for steps that usually take less than a second.
const SOON: Duration = Duration::from_secs(30);
const CLIENTS: usize = 5;

#[derive(Debug, Clone)]
pub struct Shown {
    pub report: Report,
    pub files_equal: bool,
    /// From the kill to the next leader.
    pub failover: Duration,
    /// From the pause to the next leader.
    pub pause_failover: Duration,
}

impl Shown {
    pub fn is_well(&self) -> bool {
        self.report.clean && self.files_equal
    }
}

pub(super) fn show(screen: &mut Screen) -> Result<Shown, String> {
    screen.line(
        Tone::Heading,
        "A catalog, an order service of three replicas, and a front-end, each a process",
    );
    let mut bazaar = TemporaryCluster::start(|spec| {
        spec.set("BAZAAR_LOG", "warn");
        Ok(())
    })?;
    let api = Api::new(&bazaar.cluster.url(0));
    // A front-end is ready before its first lease, but its cache answers only with a lease.
    wait::until(SOON, || {
        status(&api).ok().filter(|status| status.cache.leased)
    })
    .ok_or("the cache gets no lease")?;
    print_status(screen, &api)?;
    look_and_buy(screen, &api)?;

    screen.line(Tone::Plain, "");
    screen.line(Tone::Heading, "Five clients trade as fast as they can");
    let options = Options {
        probability: 0.8,
        iterations: u64::MAX,
        clients: CLIENTS,
        ..Options::new(&bazaar.cluster.url(0))
    };
    let control = Control::default();
    let (outcome, failover, pause_failover) = thread::scope(|scope| {
        let clients = scope.spawn(|| workload::run(&options, &control));
        let failures = injure(screen, &mut bazaar, &api, &control);
        control.stop_trading();
        let outcome = clients.join().expect("the workload ends without panic");
        failures.and_then(|(failover, pause)| Ok((outcome?, failover, pause)))
    })?;
    let report = Report::new(&options, &outcome);
    final_check(screen, &report, &outcome);
    let files_equal = compare_files(screen, &mut bazaar)?;
    Ok(Shown {
        report,
        files_equal,
        failover,
        pause_failover,
    })
}

fn look_and_buy(screen: &mut Screen, api: &Api) -> Result<(), String> {
    screen.line(Tone::Plain, "");
    screen.line(
        Tone::Heading,
        "Reads come from the front-end's cache, and are never stale",
    );
    for _ in 0..2 {
        let hits = status(api)?.cache.hits;
        let started = Instant::now();
        let stock = api.stock("GameStart").map_err(|e| e.to_string())?;
        let took = started.elapsed().as_micros();
        let source = if status(api)?.cache.hits > hits {
            "the cache"
        } else {
            "the catalog"
        };
        screen.line(Tone::Command, "GET /stocks/GameStart");
        screen.line(
            Tone::Plain,
            &format!("  quantity {}, from {source}, {took} µs", stock.quantity),
        );
    }
    let order = NewOrder {
        name: "GameStart".into(),
        quantity: 5,
        side: Side::Buy,
    };
    let number = api.order(&order, None).map_err(|e| e.to_string())?;
    screen.line(
        Tone::Command,
        "POST /orders {\"name\":\"GameStart\",\"quantity\":5,\"type\":\"buy\"}",
    );
    screen.line(
        Tone::Plain,
        &format!(
            "  order number {number}; before its answer, the catalog invalidated GameStart in \
             every cache"
        ),
    );
    let stock = api.stock("GameStart").map_err(|e| e.to_string())?;
    screen.line(Tone::Command, "GET /stocks/GameStart");
    screen.line(Tone::Plain, &format!("  quantity {}", stock.quantity));
    Ok(())
}

/// Kills the leader and brings it back, then pauses the next one. Returns the times until the next
/// leader was known.
fn injure(
    screen: &mut Screen,
    bazaar: &mut TemporaryCluster,
    api: &Api,
    control: &Control,
) -> Result<(Duration, Duration), String> {
    watch(screen, control, TRADE);
    let killed = leader(api)?;
    screen.line(
        Tone::Bad,
        &format!("  kill -9 of replica {killed}, the leader"),
    );
    let harmed = Instant::now();
    bazaar
        .cluster
        .kill(Service::Order(killed))
        .map_err(|e| e.to_string())?;
    let failover = succeeded(screen, api, killed, harmed)?;
    watch(screen, control, TRADE);

    screen.line(Tone::Bad, &format!("  replica {killed} is started again"));
    bring_back(screen, bazaar, api, killed, |cluster, service| {
        cluster.start_service(service).map(drop)
    })?;
    watch(screen, control, TRADE / 2);

    let paused = leader(api)?;
    screen.line(
        Tone::Bad,
        &format!("  SIGSTOP to replica {paused}, the leader: it neither answers nor ends"),
    );
    let harmed = Instant::now();
    bazaar
        .cluster
        .pause(Service::Order(paused))
        .map_err(|e| e.to_string())?;
    let pause_failover = succeeded(screen, api, paused, harmed)?;
    watch(screen, control, PAUSE);
    screen.line(
        Tone::Bad,
        &format!("  SIGCONT: replica {paused} goes on, and finds that its term is over"),
    );
    bring_back(screen, bazaar, api, paused, Cluster::resume)?;
    watch(screen, control, TRADE / 2);
    print_status(screen, api)?;
    Ok((failover, pause_failover))
}

/// Brings a replica back, and waits until it has every order of the moment before.
fn bring_back(
    screen: &mut Screen,
    bazaar: &mut TemporaryCluster,
    api: &Api,
    replica: u8,
    how: fn(&mut Cluster, Service) -> cluster::Result<()>,
) -> Result<(), String> {
    let began = Instant::now();
    // Before it runs: with the orders of later the goal would move away.
    let goal = status(api)?
        .replicas
        .into_iter()
        .filter_map(|replica| replica.last)
        .max();
    how(&mut bazaar.cluster, Service::Order(replica)).map_err(|e| e.to_string())?;
    caught_up(screen, api, replica, goal, began)
}

fn final_check(screen: &mut Screen, report: &Report, outcome: &Outcome) {
    screen.line(Tone::Plain, "");
    screen.line(
        Tone::Heading,
        "The clients have read every order back; their times in milliseconds",
    );
    // Without the first line, which has the address of this run.
    let table = report.table();
    let table = table
        .split_once('\n')
        .map_or(table.as_str(), |(_, rest)| rest);
    screen.line(Tone::Plain, table.trim());
    if outcome.is_clean() {
        screen.line(
            Tone::Good,
            "every acknowledged order is there, once, with its content",
        );
    } else {
        screen.line(Tone::Bad, "an order differs, or a request was not answered");
    }
}

fn compare_files(screen: &mut Screen, bazaar: &mut TemporaryCluster) -> Result<bool, String> {
    bazaar.cluster.stop_all().map_err(|e| e.to_string())?;
    screen.line(Tone::Plain, "");
    screen.line(Tone::Heading, "The files of the three replicas");
    screen.line(Tone::Command, "order verify order1.db order2.db order3.db");
    let verified = bazaar.order_tool("verify", &[1, 2, 3])?;
    for line in verified.lines() {
        screen.line(Tone::Plain, &format!("  {}", shortened(line)));
    }
    let equal = verified.lines().last() == Some("equal");
    screen.line(
        if equal { Tone::Good } else { Tone::Bad },
        if equal {
            "the files are equal"
        } else {
            "the files DIFFER"
        },
    );
    Ok(equal)
}

/// Shortens hashes to their first digits.
fn shortened(line: &str) -> String {
    let word = |word: &str| {
        if word.len() == 64 {
            format!("{}…", &word[..12])
        } else {
            word.to_owned()
        }
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Prints the rates of the trading each second, for a time.
fn watch(screen: &mut Screen, control: &Control, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        let (orders, lookups, started) = (control.acknowledged(), control.done(), Instant::now());
        thread::sleep(REPORT_EVERY.min(until.saturating_duration_since(started)));
        let seconds = started.elapsed().as_secs_f64();
        if seconds < 0.2 {
            break;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of seconds")]
        let rate = |now: u64, before: u64| (now - before) as f64 / seconds;
        let (orders_rate, lookups_rate) = (
            rate(control.acknowledged(), orders),
            rate(control.done(), lookups),
        );
        screen.line(
            Tone::Plain,
            &format!(
                "  {:>7} orders so far; {orders_rate:>6.0} orders/s, {lookups_rate:>6.0} lookups/s",
                control.acknowledged()
            ),
        );
    }
}

fn succeeded(screen: &mut Screen, api: &Api, old: u8, since: Instant) -> Result<Duration, String> {
    let new = wait::until(SOON, || {
        status(api)
            .ok()
            .filter(|s| s.leader.is_some_and(|leader| u8::from(leader) != old))
    });
    let new = new.ok_or("no other replica came to lead")?;
    let took = since.elapsed();
    let leader = new.leader.map_or(0, u8::from);
    screen.line(
        Tone::Good,
        &format!(
            "  replica {leader} leads term {} after {} ms",
            new.term,
            took.as_millis()
        ),
    );
    Ok(took)
}

fn caught_up(
    screen: &mut Screen,
    api: &Api,
    replica: u8,
    goal: Option<u64>,
    since: Instant,
) -> Result<(), String> {
    let done = wait::until(SOON, || {
        let status = status(api).ok()?;
        let own = status
            .replicas
            .into_iter()
            .find(|r| u8::from(r.id) == replica)?;
        (own.state == ReplicaState::Follower && own.last >= goal).then_some(())
    });
    done.ok_or_else(|| format!("replica {replica} does not catch up"))?;
    screen.line(
        Tone::Good,
        &format!(
            "  replica {replica} follows with every order after {} ms",
            since.elapsed().as_millis()
        ),
    );
    Ok(())
}

fn leader(api: &Api) -> Result<u8, String> {
    let leader = wait::until(SOON, || status(api).ok()?.leader);
    leader
        .map(u8::from)
        .ok_or_else(|| "there is no leader".into())
}

fn status(api: &Api) -> Result<Status, String> {
    api.status().map_err(|e| format!("GET /status: {e}"))
}

fn print_status(screen: &mut Screen, api: &Api) -> Result<(), String> {
    let status = status(api)?;
    let replicas: Vec<String> = status
        .replicas
        .iter()
        .map(|replica| {
            let state = match replica.state {
                ReplicaState::Leader => "leads",
                ReplicaState::Claiming => "claims",
                ReplicaState::Follower => "follows",
                ReplicaState::CatchingUp => "catches up",
                ReplicaState::Down => "is down",
                ReplicaState::WrongReplica => "is another replica",
                ReplicaState::Foreign => "is of another bazaar",
            };
            format!("replica {} {state}", u8::from(replica.id))
        })
        .collect();
    screen.line(Tone::Command, "GET /status");
    screen.line(
        Tone::Plain,
        &format!("  {}; term {}", replicas.join(", "), status.term),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only hashes are shortened.
    #[test]
    fn hashes() {
        let line = format!(
            "order1.db: orders 5 last_hash {} sha256 {}",
            "a".repeat(64),
            "b".repeat(64)
        );
        assert_eq!(
            shortened(&line),
            "order1.db: orders 5 last_hash aaaaaaaaaaaa… sha256 bbbbbbbbbbbb…"
        );
    }
}
