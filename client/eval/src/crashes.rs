//! Crash experiments: replicas are killed, two at once too, or paused, while clients trade or read
//! their orders back, and are brought back. Each round has new clients, which end with the lab's
//! final check, and is judged by itself.

mod audit;

use super::plan::{Fault, Plan, Round};
use super::progress::Progress;
use super::tables::{Cache, CrashRow, EventRow, TimelineRow, round};
use super::target::{CacheSetting, Deed, FileSummary, Target};
use super::worker::{Crew, Seen, Task, now_us};
use client::stats::Kind;
use cluster::wait;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long replicas may take to be level, on a busy machine.
const LEVEL: Duration = Duration::from_secs(60);
/// A slice of the timeline.
const SLICE_MS: u64 = 50;
/// What of a round counts as warm-up, for the usual gap.
const WARM_UP_US: u64 = 200_000;

/// What was measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// One row per round.
    pub rounds: Vec<CrashRow>,
    /// What clients saw, in slices of time.
    pub timeline: Vec<TimelineRow>,
    /// What was done when.
    pub events: Vec<EventRow>,
}

/// Makes every round that can be made: elsewhere only those for which there is a command.
///
/// # Errors
/// When the bazaar or a client fails in a way that is no finding.
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
        let (harm, mend) = deeds(planned.fault);
        if !(target.can(harm) && target.can(mend)) {
            continue;
        }
        let happened = happen(target, plan, *planned, number, &mut rng, progress)?;
        measured.rounds.push(judge(target, &happened)?);
        clock_ms = happened.draw(clock_ms, &mut measured);
    }
    Ok(measured)
}

fn deeds(fault: Fault) -> (Deed, Deed) {
    if fault == Fault::PauseLeader {
        (Deed::Pause, Deed::Resume)
    } else {
        (Deed::Kill, Deed::Restart)
    }
}

/// A round that has happened; times in µs since boot.
#[derive(Debug)]
struct Happened {
    number: u32,
    planned: Round,
    replicas: Vec<u8>,
    leader_before: u8,
    leader_after: u8,
    began: u64,
    harmed: u64,
    mended: u64,
    caught_up: u64,
    /// The trading ended here, or in the final check the reading back.
    ended: u64,
    seen: Vec<Seen>,
}

fn happen(
    target: &mut Target,
    plan: &Plan,
    planned: Round,
    number: u32,
    rng: &mut fastrand::Rng,
    progress: &Progress,
) -> Result<Happened, String> {
    let what = format!(
        "crash {number} of {}: {}",
        plan.crashes.len(),
        planned.fault.label()
    );
    let leader_before = level(target)?;
    let replicas = choose(planned.fault, leader_before, rng);
    let (harm, mend) = deeds(planned.fault);
    let task = Task {
        url: target.url(),
        probability: f64::from(plan.usual_percent) / 100.0,
        seed: plan.seed.wrapping_add(u64::from(number) * 1_000),
    };
    let began = now_us();
    let mut crew = Crew::start(plan.clients, &task)?;
    progress.wait(&what, plan.around_fault);
    if planned.in_final_check {
        crew.check(true)?;
        progress.wait(&what, plan.around_fault / 2);
    }
    let harmed = now_us();
    let done = target.act(harm, &replicas);
    progress.wait(&what, plan.away);
    let status = target.status();
    let mended = now_us();
    // Whatever went wrong: a bazaar elsewhere is left with all of its replicas.
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
            "replicas {replicas:?} do not follow {} s after the {what}",
            LEVEL.as_secs()
        )
    })?;
    progress.wait(&what, plan.around_fault);
    let ended = now_us();
    if !planned.in_final_check {
        crew.check(false)?;
    }
    let seen = crew.finish()?;
    let leader_after = level(target)?;
    Ok(Happened {
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

/// Waits until there is a leader and every replica has every order; names the leader.
fn level(target: &Target) -> Result<u8, String> {
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
    leader.ok_or_else(|| format!("the replicas do not get level within {} s", LEVEL.as_secs()))
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

fn judge(target: &Target, happened: &Happened) -> Result<CrashRow, String> {
    let files = target.files()?;
    let dump = target.dump()?;
    let found = audit::audit(&happened.seen, dump.as_deref())?;
    let sum = |of: fn(&Seen) -> u64| happened.seen.iter().map(of).sum();
    let clients = |of: fn(&Seen) -> bool| {
        u32::try_from(happened.seen.iter().filter(|seen| of(seen)).count())
            .expect("a handful of clients")
    };
    let (gap_ms, usual_gap_ms) = happened.gaps();
    let names: Vec<String> = happened.replicas.iter().map(u8::to_string).collect();
    Ok(CrashRow {
        round: happened.number,
        fault: happened.planned.fault.label().into(),
        during: if happened.planned.in_final_check {
            "final check"
        } else {
            "orders"
        }
        .into(),
        replicas: names.join(" "),
        leader_before: happened.leader_before,
        leader_after: happened.leader_after,
        gap_ms,
        usual_gap_ms,
        slowest_lookup_ms: happened.slowest(Kind::Lookup),
        slowest_order_ms: happened.slowest(Kind::Order),
        slowest_query_ms: happened.slowest(Kind::OrderQuery),
        retries: sum(|seen| seen.failures.retries),
        unanswered: sum(|seen| seen.failures.unanswered),
        unexpected: sum(|seen| seen.failures.unexpected),
        noticed_during_orders: clients(|seen| seen.noticed_during_orders),
        noticed_in_final_check: clients(|seen| seen.noticed_in_final_check),
        acknowledged: happened
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
        catch_up_ms: ms(happened.caught_up - happened.mended),
    })
}

/// One that could not be read is missing in the list, so that all three must be there.
fn all_equal(files: &[FileSummary]) -> bool {
    files.len() == 3 && files.windows(2).all(|pair| pair[0] == pair[1])
}

impl Happened {
    fn samples(&self) -> impl Iterator<Item = &(Kind, u64, u64)> {
        self.seen.iter().flat_map(|seen| &seen.samples)
    }

    /// The slowest answer that came after the fault began; an earlier one is not its doing.
    fn slowest(&self, kind: Kind) -> f64 {
        let after = |(k, began, took): &&(Kind, u64, u64)| {
            *k == kind && began + took / 1_000 >= self.harmed
        };
        ns_as_ms(
            self.samples()
                .filter(after)
                .map(|(_, _, took)| *took)
                .max()
                .unwrap_or(0),
        )
    }

    /// The longest time without an answer to an order, in the final check to a query: around the
    /// fault or after it, and before it.
    fn gaps(&self) -> (f64, f64) {
        let kind = if self.planned.in_final_check {
            Kind::OrderQuery
        } else {
            Kind::Order
        };
        let ends = self
            .samples()
            .filter(|(k, _, _)| *k == kind)
            .map(|(_, began, took)| began + took / 1_000);
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

    /// Appends this round to the timeline, which begins at `offset`; gives where it ends.
    fn draw(&self, offset: u64, measured: &mut Measured) -> u64 {
        let at = |us: u64| offset + us.saturating_sub(self.began) / 1_000;
        let mut slices: BTreeMap<(u64, Kind), (u64, u64)> = BTreeMap::new();
        let mut end = at(self.ended);
        for (kind, began, took) in self.samples() {
            let ended = at(began + took / 1_000);
            end = end.max(ended);
            let slice = slices
                .entry((ended / SLICE_MS * SLICE_MS, *kind))
                .or_default();
            *slice = (slice.0 + 1, slice.1.max(*took));
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

    /// The leader is among the chosen exactly where the fault says so.
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

    /// The gap is the longest silence around or after the fault, the usual one the longest before;
    /// the timeline has the slowest of each slice.
    #[test]
    fn gaps_and_timeline() {
        let mut samples: Vec<(Kind, u64, u64)> = (0..100)
            .map(|i| (Kind::Order, 1_000 + i * 10_000, 5_000_000))
            .collect();
        samples.push((Kind::Order, 1_001_000, 300_000_000));
        samples.extend((0..10).map(|i| (Kind::Order, 1_310_000 + i * 10_000, 5_000_000)));
        samples.push((Kind::Lookup, 1_020_000, 1_000_000));
        let happened = Happened {
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
            seen: vec![Seen {
                samples,
                ..Seen::default()
            }],
        };
        assert_eq!(happened.gaps(), (305.0, 10.0), "from 0.996 s to 1.301 s");
        assert_eq!(
            (
                happened.slowest(Kind::Order),
                happened.slowest(Kind::OrderQuery)
            ),
            (300.0, 0.0)
        );
        let mut measured = Measured::default();
        assert_eq!(happened.draw(10_000, &mut measured), 11_450);
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

    /// Files are equal only when all three were read and say the same.
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
