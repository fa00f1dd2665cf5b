//! Random faults on all services and ways, until the time is up.

use super::Scenario;
use super::run::Run;
use cluster::proxy::Harm;
use cluster::service::Service::Order;
use std::time::Duration;

/// A round of random faults, on a bazaar of its own: histories stay short enough to be judged at
/// once.
pub const ROUND: Scenario = Scenario::new("soak", round).with_network();

/// The same with two catalogs over one PostgreSQL.
pub const SHARED_ROUND: Scenario = ROUND.with_two_catalogs();

/// Faults of a round.
const FAULTS: u32 = 14;

fn round(run: &mut Run) {
    for _ in 0..FAULTS {
        let services = run.shuffled();
        let (service, other) = (services[0], services[1]);
        match run.rng.u32(..9) {
            0 | 1 => {
                run.kill(service);
                run.elapse_ms(0, 1_500);
                run.revive(service);
            }
            2 => {
                run.kill(service);
                run.kill(other);
                run.elapse_ms(0, 1_000);
                run.revive(other);
                run.revive(service);
            }
            3 => {
                run.pause(service);
                run.elapse_ms(10, 2_500);
                run.resume(service);
            }
            4 => {
                run.pause(service);
                run.kill(other);
                run.elapse_ms(10, 1_500);
                run.resume(service);
                run.revive(other);
            }
            5 => {
                run.stop(service);
                run.revive(service);
            }
            6 => {
                let leader = Order(run.leader());
                let catalog = run.active();
                run.kill(leader);
                run.kill(catalog);
                run.revive(catalog);
                run.revive(leader);
            }
            _ => harm(run),
        }
        run.progress(10);
    }
}

/// Harm on a few random ways.
fn harm(run: &mut Run) {
    let kinds = [
        Harm::CutRequests,
        Harm::CutAnswers,
        Harm::CutBoth,
        Harm::Refuse,
        Harm::Delay(Duration::from_millis(run.rng.u64(1..300))),
        Harm::Slow(run.rng.u32(2_000..50_000)),
        Harm::ResetRequests(run.rng.u32(1..9)),
        Harm::ResetAnswers(run.rng.u32(1..9)),
        Harm::LoseAnswers(run.rng.u32(1..9)),
        Harm::Repeat(run.rng.u32(1..4)),
    ];
    let ways = run.network.ways();
    for _ in 0..run.rng.u32(1..4) {
        let way = ways[run.rng.usize(..ways.len())];
        let harm = kinds[run.rng.usize(..kinds.len())];
        run.network.harm(way, harm);
        run.fault();
    }
    let databases = run.network.databases();
    if !databases.is_empty() && run.rng.bool() {
        let catalog = databases[run.rng.usize(..databases.len())];
        // The last one repeats requests, which no database's protocol knows.
        let harm = kinds[run.rng.usize(..kinds.len() - 1)];
        run.network.harm_database(catalog, harm);
        run.fault();
    }
    run.elapse_ms(100, 2_500);
    run.network.heal();
}
