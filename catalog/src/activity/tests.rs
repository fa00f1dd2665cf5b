use super::*;

fn at(ms: u64) -> BootInstant {
    BootInstant::from_millis(ms)
}

fn seen(epoch: Epoch, beat: u64) -> Seen {
    Seen {
        epoch,
        beat,
        clean: false,
        url: None,
    }
}

/// A look at `ms` that is answered 10 ms later.
fn look(watch: &mut Watch, ms: u64, seen: &Seen) -> Option<Takeover> {
    watch.answered(seen, at(ms), at(ms + 10))
}

/// The wait is a lease and the margin, counted from the receipt of the first answer that showed the
/// pair; a new beat and a new epoch begin it anew.
#[test]
fn a_standby_takes_over_after_a_lease_and_the_margin() {
    let mut watch = Watch::default();
    assert_eq!(look(&mut watch, 0, &seen(3, 7)), None);
    assert_eq!(look(&mut watch, 500, &seen(3, 8)), None);
    // 1 100 ms after the look was sent, but not after its receipt.
    let early = watch.answered(&seen(3, 8), at(1_600), at(1_609));
    assert_eq!(early, None);
    let due = Takeover {
        from: 3,
        requires: Requires::Beat(8),
    };
    let taken = watch.answered(&seen(3, 8), at(1_600), at(1_610));
    assert_eq!((taken, due.epoch()), (Some(due), 4));
    assert_eq!(look(&mut watch, 1_700, &seen(4, 8)), None, "another epoch");
}

/// A look that failed or was slow begins the wait anew.
#[test]
fn a_failed_or_slow_look_begins_the_wait_anew() {
    for slow in [false, true] {
        let mut watch = Watch::default();
        assert_eq!(look(&mut watch, 0, &seen(3, 7)), None);
        if slow {
            assert_eq!(watch.answered(&seen(3, 7), at(1_000), at(1_250)), None);
        } else {
            watch.failed();
        }
        assert_eq!(look(&mut watch, 1_300, &seen(3, 7)), None);
        assert_eq!(look(&mut watch, 2_350, &seen(3, 7)), None);
        assert!(look(&mut watch, 2_400, &seen(3, 7)).is_some());
    }
}

/// A clean stop, and a row that nobody ever held, need no wait. A slow look shows neither.
#[test]
fn a_clean_stop_needs_no_wait() {
    let clean = Seen {
        clean: true,
        ..seen(3, 7)
    };
    let mut watch = Watch::default();
    assert_eq!(watch.answered(&clean, at(0), at(250)), None);
    let taken = look(&mut watch, 300, &clean).expect("at once");
    assert_eq!((taken.from, taken.requires), (3, Requires::Clean));
    let first = look(&mut Watch::default(), 0, &seen(0, 0)).expect("at once");
    assert_eq!((first.from, first.requires), (0, Requires::Beat(0)));
}

/// A lease counts from before the newest renewal that succeeded was sent, whatever the order of the
/// answers; one that ended goes on with the next renewal.
#[test]
fn a_lease_counts_from_the_sending() {
    let mut lease = Lease::taken(4, at(100));
    assert_eq!(lease.holds_until(at(1_099)), Some(at(1_100)));
    assert_eq!(lease.holds_until(at(1_100)), None);
    lease.renewed(4, at(900));
    lease.renewed(4, at(600));
    assert_eq!(lease.holds_until(at(1_899)), Some(at(1_900)));
    assert_eq!(lease.holds_until(at(1_900)), None);
    lease.renewed(4, at(2_500));
    assert_eq!(lease.holds_until(at(2_600)), Some(at(3_500)));
    lease.end();
    lease.renewed(4, at(2_700));
    assert_eq!(lease.holds_until(at(2_800)), None, "the end is final");
}

/// A renewal that finds its epoch gone deposes nobody who moved, or is moving, to a newer one.
#[test]
fn who_moved_is_not_deposed() {
    let mut lease = Lease::taken(4, at(0));
    assert_eq!(lease.no_row(4), NoRow::Deposed);
    let own = lease.begin_move();
    assert_eq!((own.from, own.requires), (4, Requires::Own));
    assert_eq!(lease.no_row(4), NoRow::Moved, "its answer is on its way");
    lease.moved(own.epoch(), at(300));
    assert_eq!((lease.epoch(), lease.no_row(4)), (5, NoRow::Moved));
    assert_eq!(lease.no_row(5), NoRow::Deposed);
    assert_eq!(lease.holds_until(at(1_200)), Some(at(1_300)));
}

/// Without a sign of life of the writer there is no renewal.
#[test]
fn a_silent_writer_gets_no_renewal() {
    let mut lease = Lease::taken(4, at(0));
    assert_eq!(lease.to_renew(at(1_999)), Some(4));
    assert_eq!(lease.to_renew(at(2_000)), None);
    lease.show_life(at(2_100));
    assert_eq!(lease.to_renew(at(2_200)), Some(4));
    lease.end();
    assert_eq!(lease.to_renew(at(2_200)), None);
}

#[test]
#[should_panic(expected = "epochs only rise: 4 after 4")]
fn an_epoch_never_falls() {
    Lease::taken(4, at(0)).moved(4, at(1));
}
