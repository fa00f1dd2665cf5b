//! Crash experiments. While clients trade or read their orders back, a round kills one or two
//! replicas, or pauses the leader, and brings them back. Each round has new clients, ends with the
//! lab's final check, and compares the clients' orders with the replicas' files.

mod audit;

use super::plan::{Fault, Plan, Round};
use super::progress::Progress;
use super::tables::{Cache, CrashRow, EventRow, TimelineRow, round};
use super::target::{CacheSetting, FileSummary, ReplicaAction, Target};
use super::worker::{Check, Sample, Task, WorkerReport, Workers, now_us};
use client::stats::Kind;
use cluster::wait;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time until all replicas have every order. Generous, for a busy machine.
const LEVEL: Duration = Duration::from_secs(60);
/// A slice of the timeline.
const SLICE_MS: u64 = 50;
/// Warm-up of a round, which the usual gap leaves out.
const WARM_UP_US: u64 = 200_000;

#[derive(Debug, Default)]
pub struct Measured {
    pub rounds: Vec<CrashRow>,
    pub timeline: Vec<TimelineRow>,
    pub events: Vec<EventRow>,
}

/// Runs every round for which the target has the commands.
///
/// # Errors
/// When the bazaar or a client fails in a way that no row can describe.
pub fn measure(
    target: &mut Target,
    plan: &Plan,
    progress: &mut Progress,
) -> Result<Measured, String> {
    let mut measured = Measured::default();
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    let mut clock_ms = 0;
    target.set_cache(CacheSetting {
        cache: Cache::On,
        capacity: None,
    })?;
    for (number, planned) in (1..).zip(&plan.crashes) {
        progress.step(
            &format!(
                "crash {number} of {}: {}",
                plan.crashes.len(),
                planned.fault.label()
            ),
            plan.crash_estimate(),
        );
        let (harm, mend) = fault_and_repair(planned.fault);
        if !(target.can(harm) && target.can(mend)) {
            continue;
        }
        let finished = run_round(target, plan, *planned, number, &mut rng, progress)?;
        measured.rounds.push(judge(target, &finished)?);
        clock_ms = finished.draw(clock_ms, &mut measured);
    }
    Ok(measured)
}

fn fault_and_repair(fault: Fault) -> (ReplicaAction, ReplicaAction) {
    if fault == Fault::PauseLeader {
        (ReplicaAction::Pause, ReplicaAction::Resume)
    } else {
        (ReplicaAction::Kill, ReplicaAction::Restart)
    }
}

/// A finished round; times in µs since boot.
#[derive(Debug)]
struct FinishedRound {
    number: u32,
    planned: Round,
    replicas: Vec<u8>,
    leader_before: u8,
    leader_after: u8,
    began: u64,
    harmed: u64,
    mended: u64,
    caught_up: u64,
    /// End of the trading; in the final check, of the reading back.
    ended: u64,
    seen: Vec<WorkerReport>,
}

fn run_round(
    target: &mut Target,
    plan: &Plan,
    planned: Round,
    number: u32,
    rng: &mut fastrand::Rng,
    progress: &Progress,
) -> Result<FinishedRound, String> {
    let what = format!(
        "crash {number} of {}: {}",
        plan.crashes.len(),
        planned.fault.label()
    );
    let leader_before = wait_level(target)?;
    let replicas = choose(planned.fault, leader_before, rng);
    let (harm, mend) = fault_and_repair(planned.fault);
    let task = Task {
        url: target.url(),
        probability: f64::from(plan.usual_percent) / 100.0,
        seed: plan.seed.wrapping_add(u64::from(number) * 1_000),
    };
    let began = now_us();
    let mut workers = Workers::start(plan.clients, &task)?;
    progress.wait(&what, plan.around_fault);
    if planned.in_final_check {
        workers.check(Check::UntilFinish)?;
        progress.wait(&what, plan.around_fault / 2);
    }
    let harmed = now_us();
    let done = target.act(harm, &replicas);
    progress.wait(&what, plan.away);
    let status = target.status();
    let mended = now_us();
    // Before any error returns: a bazaar elsewhere must get all of its replicas back.
    let undone = target.act(mend, &replicas);
    done?;
    let last = status?
        .replicas
        .into_iter()
        .filter_map(|replica| replica.last)
        .max();
    undone?;
    let level_again = wait::until(LEVEL, || target.follow_again(&replicas, last).then(now_us));
    let caught_up = level_again.ok_or_else(|| {
        format!(
            "replicas {replicas:?} do not follow with every order {} s after the {what}",
            LEVEL.as_secs()
        )
    })?;
    progress.wait(&what, plan.around_fault);
    let ended = now_us();
    if !planned.in_final_check {
        workers.check(Check::Once)?;
    }
    let seen = workers.finish()?;
    let leader_after = wait_level(target)?;
    Ok(FinishedRound {
        number,
        planned,
        replicas,
        leader_before,
        leader_after,
        began,
        harmed,
        mended,
        caught_up,
        ended,
        seen,
    })
}

/// Waits until a leader is known and every replica has every order. Returns the leader.
fn wait_level(target: &Target) -> Result<u8, String> {
    let leader = wait::until(LEVEL, || {
        let status = target.status().ok()?;
        let leader = u8::from(status.leader?);
        let last = status
            .replicas
            .iter()
            .filter_map(|replica| replica.last)
            .max();
        let others: Vec<u8> = status
            .replicas
            .iter()
            .map(|r| u8::from(r.id))
            .filter(|id| *id != leader)
            .collect();
        let all = status.replicas.iter().all(|replica| replica.last == last);
        (all && target.follow_again(&others, last)).then_some(leader)
    });
    leader.ok_or_else(|| {
        format!(
            "the replicas differ after {} s: one lacks orders, or none leads",
            LEVEL.as_secs()
        )
    })
}

fn choose(fault: Fault, leader: u8, rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut followers: Vec<u8> = (1..=3).filter(|id| *id != leader).collect();
    let one = followers[rng.usize(..followers.len())];
    match fault {
        Fault::KillLeader | Fault::PauseLeader => vec![leader],
        Fault::KillFollower => vec![one],
        Fault::KillLeaderAndFollower => vec![leader, one],
        Fault::KillFollowers => {
            followers.sort_unstable();
            followers
        }
    }
}

fn judge(target: &Target, finished: &FinishedRound) -> Result<CrashRow, String> {
    let files = target.files()?;
    let dump = target.dump()?;
    let found = audit::audit(&finished.seen, dump.as_deref())?;
    let sum = |of: fn(&WorkerReport) -> u64| finished.seen.iter().map(of).sum();
    let clients = |of: fn(&WorkerReport) -> bool| {
        u32::try_from(finished.seen.iter().filter(|seen| of(seen)).count())
            .expect("a handful of clients")
    };
    let (gap_ms, usual_gap_ms) = finished.gaps();
    let names: Vec<String> = finished.replicas.iter().map(u8::to_string).collect();
    Ok(CrashRow {
        round: finished.number,
        fault: finished.planned.fault.label().into(),
        during: if finished.planned.in_final_check {
            "final check"
        } else {
            "orders"
        }
        .into(),
        replicas: names.join(" "),
        leader_before: finished.leader_before,
        leader_after: finished.leader_after,
        gap_ms,
        usual_gap_ms,
        slowest_lookup_ms: finished.slowest(Kind::Lookup),
        slowest_order_ms: finished.slowest(Kind::Order),
        slowest_query_ms: finished.slowest(Kind::OrderQuery),
        retries: sum(|seen| seen.failures.retries),
        unanswered: sum(|seen| seen.failures.unanswered),
        unexpected: sum(|seen| seen.failures.unexpected),
        noticed_during_orders: clients(|seen| seen.noticed_during_orders),
        noticed_in_final_check: clients(|seen| seen.noticed_in_final_check),
        acknowledged: finished
            .seen
            .iter()
            .map(|seen| seen.acknowledged.len())
            .sum(),
        lost: found.lost,
        doubled: found.doubled,
        files_equal: files.as_ref().map(|files| all_equal(files)),
        orders_in_files: files
            .as_ref()
            .and_then(|files| files.first())
            .map(|file| file.orders),
        sha256: files
            .and_then(|files| files.into_iter().next())
            .map(|file| file.sha256),
        catch_up_ms: ms(finished.caught_up - finished.mended),
    })
}

/// The list lacks a file that could not be read, so all three must be in it.
fn all_equal(files: &[FileSummary]) -> bool {
    files.len() == 3 && files.windows(2).all(|pair| pair[0] == pair[1])
}

impl FinishedRound {
    fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.seen.iter().flat_map(|seen| &seen.samples)
    }

    /// The slowest answer that came after the fault began: the fault cannot have slowed an earlier
    /// one.
    fn slowest(&self, kind: Kind) -> f64 {
        let after = |sample: &&Sample| sample.kind == kind && sample.ended_us() >= self.harmed;
        ns_as_ms(
            self.samples()
                .filter(after)
                .map(|sample| sample.took_ns)
                .max()
                .unwrap_or(0),
        )
    }

    /// The longest time without an answer to an order (in the final check: to a query), first from
    /// the fault on, then before the fault.
    fn gaps(&self) -> (f64, f64) {
        let kind = if self.planned.in_final_check {
            Kind::OrderQuery
        } else {
            Kind::Order
        };
        let ends = self
            .samples()
            .filter(|sample| sample.kind == kind)
            .map(Sample::ended_us);
        let mut ends: Vec<u64> = ends.filter(|end| *end < self.ended).collect();
        ends.sort_unstable();
        let first = ends.first().copied().unwrap_or(self.harmed);
        ends.push(self.ended);
        let pairs = || ends.windows(2).map(|pair| (pair[0], pair[1]));
        let longest = |pairs: &mut dyn Iterator<Item = (u64, u64)>| {
            ms(pairs.map(|(a, b)| b - a).max().unwrap_or(0))
        };
        let warm = first + WARM_UP_US;
        let after = longest(&mut pairs().filter(|(_, end)| *end >= self.harmed));
        (
            after,
            longest(&mut pairs().filter(|(start, end)| *start >= warm && *end < self.harmed)),
        )
    }

    /// Appends this round to the timeline at `offset`. Returns the offset of the next round.
    fn draw(&self, offset: u64, measured: &mut Measured) -> u64 {
        let at = |us: u64| offset + us.saturating_sub(self.began) / 1_000;
        let mut slices: BTreeMap<(u64, Kind), (u64, u64)> = BTreeMap::new();
        let mut end = at(self.ended);
        for sample in self.samples() {
            let ended = at(sample.ended_us());
            end = end.max(ended);
            let slice = slices
                .entry((ended / SLICE_MS * SLICE_MS, sample.kind))
                .or_default();
            *slice = (slice.0 + 1, slice.1.max(sample.took_ns));
        }
        measured.timeline.extend(
            slices
                .into_iter()
                .map(|((at_ms, request), (count, slowest))| TimelineRow {
                    at_ms,
                    request,
                    count,
                    slowest_ms: ns_as_ms(slowest),
                }),
        );
        let paused = self.planned.fault == Fault::PauseLeader;
        let names: Vec<String> = self.replicas.iter().map(u8::to_string).collect();
        let words = if paused {
            ["paused", "resumed"]
        } else {
            ["killed", "restarted"]
        };
        for (event, time) in [
            (words[0], self.harmed),
            (words[1], self.mended),
            ("caught up", self.caught_up),
        ] {
            measured.events.push(EventRow {
                at_ms: at(time),
                round: self.number,
                event: event.into(),
                replicas: names.join(" "),
                leader: self.replicas.contains(&self.leader_before),
            });
        }
        (end / SLICE_MS + 1) * SLICE_MS
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn ms(us: u64) -> f64 {
    round(us as f64 / 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn ns_as_ms(ns: u64) -> f64 {
    round(ns as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chosen replicas contain the leader exactly where the fault names it.
    #[test]
    fn choices() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..20 {
            assert_eq!(choose(Fault::KillLeader, 3, &mut rng), [3]);
            let one = choose(Fault::KillFollower, 2, &mut rng);
            assert!(one == [1] || one == [3], "{one:?}");
            let two = choose(Fault::KillLeaderAndFollower, 2, &mut rng);
            assert!(two.len() == 2 && two[0] == 2 && two[1] != 2, "{two:?}");
            assert_eq!(choose(Fault::KillFollowers, 1, &mut rng), [2, 3]);
        }
    }

    /// The gap is the longest time without an answer from the fault on, the usual gap the longest
    /// before; the timeline has the slowest request of each slice.
    #[test]
    fn gaps_and_timeline() {
        let sample = |kind, began_us, took_ns| Sample {
            kind,
            began_us,
            took_ns,
        };
        let mut samples: Vec<Sample> = (0..100)
            .map(|i| sample(Kind::Order, 1_000 + i * 10_000, 5_000_000))
            .collect();
        samples.push(sample(Kind::Order, 1_001_000, 300_000_000));
        samples.extend((0..10).map(|i| sample(Kind::Order, 1_310_000 + i * 10_000, 5_000_000)));
        samples.push(sample(Kind::Lookup, 1_020_000, 1_000_000));
        let finished = FinishedRound {
            number: 1,
            planned: Round {
                fault: Fault::KillLeader,
                in_final_check: false,
            },
            replicas: vec![3],
            leader_before: 3,
            leader_after: 2,
            began: 0,
            harmed: 1_000_000,
            mended: 1_200_000,
            caught_up: 1_250_000,
            ended: 1_410_000,
            seen: vec![WorkerReport {
                samples,
                ..WorkerReport::default()
            }],
        };
        assert_eq!(finished.gaps(), (305.0, 10.0), "from 0.996 s to 1.301 s");
        assert_eq!(
            (
                finished.slowest(Kind::Order),
                finished.slowest(Kind::OrderQuery)
            ),
            (300.0, 0.0)
        );
        let mut measured = Measured::default();
        assert_eq!(finished.draw(10_000, &mut measured), 11_450);
        let slowest = measured
            .timeline
            .iter()
            .find(|row| row.at_ms == 11_300 && row.request == Kind::Order);
        assert_eq!(slowest.map(|row| row.slowest_ms), Some(300.0));
        let killed = &measured.events[0];
        assert_eq!(
            (killed.at_ms, killed.event.as_str(), killed.leader),
            (11_000, "killed", true)
        );
    }

    /// Files are equal only when all three were read and have one hash.
    #[test]
    fn equal_files() {
        let file = |orders| FileSummary {
            orders,
            sha256: "ab".into(),
        };
        assert!(all_equal(&[file(1), file(1), file(1)]));
        assert!(!all_equal(&[file(1), file(1)]) && !all_equal(&[file(1), file(1), file(2)]));
    }
}
