//! The rule with a clock of the test's own; then the threads, explored in virtual time.

use super::rule::{HELD_WAIT, Next, OVERLAP_AT, RETURN_WAIT, Rule};
use super::*;
use explore::{explore, random, sleep, spawn, when_all_sleep};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// Two forwarders that sleep, and the time.
fn asleep() -> (Rule, Instant) {
    let (mut rule, now) = (Rule::new(2), Instant::now());
    for me in 0..2 {
        assert_eq!(rule.look(me, 0, now), Next::Sleep(None));
    }
    (rule, now)
}

/// Forwarder 1, the warmest, leaves with one order.
fn one_away() -> (Rule, Instant) {
    let (mut rule, now) = asleep();
    assert_eq!(rule.wake(1, now), Some(1), "the one that slept last");
    assert_eq!(rule.look(1, 1, now), Next::Take);
    rule.left(1, 1, now);
    (rule, now)
}

#[test]
fn a_lone_order_leaves_at_once() {
    let (rule, now) = asleep();
    assert_eq!(rule.due(0, now), None);
    assert_eq!(rule.due(1, now), Some(now));
}

/// The bug: the answer moved the deadline from 20 ms to 150 µs, and only the one who slept for the
/// 20 ms would have looked.
#[test]
fn a_second_order_leaves_soon_after_the_answer() {
    let (mut rule, start) = one_away();
    assert_eq!(rule.due(1, start), Some(start + HELD_WAIT));
    assert_eq!(rule.wake(1, start), Some(0), "somebody keeps watch");
    assert_eq!(
        rule.look(0, 1, start),
        Next::Sleep(Some(start + HELD_WAIT)),
        "for a batch that is never answered"
    );
    let answered = start + MS;
    assert_eq!(
        rule.look(1, 1, answered),
        Next::Sleep(Some(answered + RETURN_WAIT)),
        "the one that comes back watches the nearer deadline"
    );
    assert_eq!(rule.wake(1, answered), None);
    assert_eq!(rule.look(1, 1, answered + RETURN_WAIT), Next::Take);
}

#[test]
fn many_orders_leave_beside_a_batch_under_way() {
    let (mut rule, now) = one_away();
    assert_eq!(rule.due(OVERLAP_AT, now), Some(now));
    assert_eq!(rule.wake(OVERLAP_AT, now), Some(0));
    assert_eq!(rule.wake(OVERLAP_AT + 1, now), None, "one is on its way");
}

#[test]
fn the_clients_of_an_answered_batch_are_waited_for() {
    let (mut rule, now) = one_away();
    assert_eq!(rule.look(1, 1, now), Next::Sleep(Some(now + RETURN_WAIT)));
    assert_eq!(
        rule.due(2, now),
        Some(now),
        "the one answered, and one more"
    );
    assert_eq!(rule.wake(2, now), Some(1), "although an alarm was set");
}

#[test]
fn a_hung_batch_holds_nobody_for_long() {
    let (rule, start) = one_away();
    let later = start + HELD_WAIT;
    assert_eq!(rule.due(1, later), Some(later));
}

/// Of two batches under way, the older one hung: what the younger one held leaves with its answer.
#[test]
fn an_answered_batch_holds_nobody_beside_a_hung_one() {
    let (mut rule, start) = one_away();
    let later = start + HELD_WAIT;
    assert_eq!(rule.look(0, 1, later), Next::Take);
    rule.left(0, 1, later);
    assert_eq!(rule.due(1, later + MS), Some(later + HELD_WAIT));
    let answered = later + 2 * MS;
    let alarm = Some(answered + RETURN_WAIT);
    assert_eq!(rule.look(0, 1, answered), Next::Sleep(alarm));
}

/// An order that waits is watched after any sequence of events, and nobody is woken for nothing
/// twice.
#[test]
fn orders_that_wait_are_watched() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..2_000 {
        let (mut rule, mut now, mut waiting) = (Rule::new(3), Instant::now(), 0);
        // The forwarders that are to look: woken, or back from a batch.
        let mut running = vec![0, 1, 2];
        let mut sleeping: Vec<(usize, Option<Instant>)> = Vec::new();
        let mut away = Vec::new();
        for _ in 0..60 {
            now += Duration::from_micros(random.u64(0..400) * random.u64(0..60));
            sleeping.retain(|(who, alarm)| {
                let rings = alarm.is_some_and(|at| at <= now);
                if rings {
                    running.push(*who);
                }
                !rings
            });
            match random.u8(0..4) {
                0 => waiting += random.usize(1..20),
                1 if !away.is_empty() => running.push(away.swap_remove(0)),
                _ if !running.is_empty() => {
                    let me = running.swap_remove(random.usize(0..running.len()));
                    match rule.look(me, waiting, now) {
                        Next::Take => {
                            let count = waiting.min(25);
                            waiting -= count;
                            rule.left(me, count, now);
                            away.push(me);
                        }
                        Next::Sleep(alarm) => sleeping.push((me, alarm)),
                        Next::End => panic!("it is not closed"),
                    }
                }
                _ => {}
            }
            if let Some(woken) = rule.wake(waiting, now) {
                let slept = sleeping.iter().position(|(who, _)| *who == woken);
                sleeping.remove(slept.expect("only sleepers are woken"));
                running.push(woken);
            }
            assert_eq!(rule.wake(waiting, now), None);
            let watched = |at| {
                !running.is_empty()
                    || sleeping
                        .iter()
                        .any(|(_, alarm)| alarm.is_some_and(|alarm| alarm <= at))
            };
            if let Some(due) = rule.due(waiting, now) {
                assert!(watched(due) || sleeping.is_empty(), "{rule:?} at {now:?}");
            }
        }
    }
}

/// Items leave in order; a full queue refuses, and a closed one; what waits at the close still
/// leaves.
#[test]
fn a_full_or_closed_queue_refuses() {
    fn scenario() {
        let (queue, receivers) = order_batcher(3, 1);
        for n in 0..3 {
            assert_eq!(queue.put(n), Ok(()));
        }
        assert_eq!((queue.put(9), queue.len()), (Err(9), 3));
        let taker = spawn(move || {
            let mut taken = Vec::new();
            for mut receiver in receivers {
                while let Some(batch) = receiver.take(2) {
                    taken.extend(batch);
                }
            }
            taken
        });
        sleep(MS);
        let last = queue.put(3).map_or_else(|_| 3, |()| 4);
        queue.close();
        assert_eq!(queue.put(9), Err(9), "nobody might take it");
        assert_eq!(taker.join(), (0..last).collect::<Vec<_>>());
    }
    explore(scenario);
}

/// An order: when it came, and the parker of its client.
type Explored = (Instant, Unparker);

/// Forwarders that answer after `service`, clients that think for up to `think_us`. Returns what
/// the forwarders saw: how long each order waited for its batch to leave.
fn trade(
    forwarders: usize,
    clients: u64,
    think_us: u64,
    service: fn() -> Duration,
) -> Vec<Duration> {
    let (queue, receivers) = order_batcher::<Explored>(16, forwarders);
    when_all_sleep({
        let queue = queue.clone();
        move |now, next| {
            let state = queue.0.state.lock();
            let due = state.rule.due(state.waiting.len(), now);
            assert!(
                due.is_none_or(|due| due >= next) || !state.rule.has_sleepers(),
                "a batch is due, and all sleep for {:?} more: {:?}",
                next.duration_since(now),
                state.rule
            );
        }
    });
    let forwarders: Vec<_> = receivers
        .into_iter()
        .map(|mut receiver| {
            spawn(move || {
                let mut waits = Vec::new();
                while let Some(batch) = receiver.take(3) {
                    let left = explore::now();
                    sleep(service());
                    for (came, client) in batch {
                        waits.push(left.duration_since(came));
                        client.unpark();
                    }
                }
                waits
            })
        })
        .collect();
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let queue = queue.clone();
            spawn(move || {
                let answered = Parker::new();
                for _ in 0..2 {
                    sleep(Duration::from_micros(random(think_us)));
                    let order = (explore::now(), answered.unparker().clone());
                    assert!(queue.put(order).is_ok(), "there is room");
                    answered.park();
                }
            })
        })
        .collect();
    clients.into_iter().for_each(explore::JoinHandle::join);
    queue.close();
    let waits = forwarders.into_iter().flat_map(explore::JoinHandle::join);
    waits.collect()
}

/// Every interleaving of orders, answers and alarms: each order leaves, once, and no batch that is
/// due waits while a forwarder sleeps. Time that passes at a look at the clock counts some.
#[test]
fn no_wake_up_is_lost_or_misplaced() {
    fn scenario() {
        let service = || Duration::from_micros(500 + random(700));
        let waits = trade(2, 3, 1_500, service);
        assert_eq!(waits.len(), 6, "each order leaves once");
        let longest = waits.iter().max().expect("there are some");
        assert!(
            *longest < Duration::from_millis(5),
            "an order waited {longest:?} behind batches of a millisecond"
        );
    }
    explore(scenario);
}

/// The same with batches that hang now and then.
#[test]
fn no_wake_up_is_lost_beside_hung_batches() {
    fn scenario() {
        let service = || Duration::from_millis(if random(3) == 0 { 70 } else { 1 });
        assert_eq!(trade(2, 3, 30_000, service).len(), 6);
    }
    explore(scenario);
}
