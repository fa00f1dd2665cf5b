//! The properties of every state, and the states that must be reached.

use super::Catalogs;
use super::catalog::Outcome;
use super::config::Config;
use super::settle::Continuation;
use super::store::{Phase, Task};
use super::world::{Broken, World};
use stateright::Property;

/// One key and one number have one verdict.
pub const ONE_VERDICT: &str = "1: a key and a number have one verdict for ever";
/// Numbers are dense.
pub const DENSE: &str = "1: numbers are dense";
/// Acknowledged orders are kept.
pub const KEPT: &str = "3: an acknowledged order is in the journal";
/// Cached reads are current.
pub const CACHE: &str = "7: no cache answers with a value older than an acknowledged order";
/// Direct reads are current.
pub const READ: &str = "7: no catalog answers with a value older than an acknowledged order";
/// Only one catalog speaks.
pub const ONE_SPEAKS: &str = "7: only the holder of the epoch makes statements about now";
/// Reads do not go back to an older epoch, even where the database loses a takeover.
pub const FORWARD: &str = "7: no caller gets an older value from an older epoch";
/// History is called lost for a reason.
pub const HONEST: &str = "history is called lost only when the database lost rows";
/// No standing by without need.
pub const STAYS: &str = "live: no catalog stands by while it holds the epoch";
/// A run without further faults trades.
pub const SETTLES: &str = "live: without further faults a new order is acknowledged";
/// The same when a catalog is paused for ever.
pub const SETTLES_PAUSED: &str = "live: with a paused catalog a new order is acknowledged";
/// The same when a writer thread hangs.
pub const SETTLES_HANGING: &str = "live: with a hanging writer thread a new order is acknowledged";

/// A trade after a takeover.
pub const TAKEN_OVER: &str = "reached: an order commits after a takeover";
/// A deposed catalog sends COMMIT.
pub const OLD_COMMIT: &str = "reached: a fence finds that its epoch is gone";
/// A takeover waits for a fence.
pub const LOCKED_OUT: &str = "reached: a takeover waits for the lock of a fence";
/// A COMMIT is executed after its connection was lost.
pub const LATE_COMMIT: &str = "reached: a batch is found committed after its connection was lost";
/// A bump is executed before the late COMMIT.
pub const BUMPED: &str = "reached: a catalog goes on after it took the epoch from itself";
/// A takeover is executed after its sender gave it up.
pub const LATE_TAKEOVER: &str = "reached: a takeover is executed that nobody waits for";
/// A lease ends while the epoch is its own.
pub const LAPSED: &str = "reached: a lease runs again after it had ended";
/// A cache answers from a session with the second catalog.
pub const CACHED: &str = "reached: a cache answers with a value of the second catalog";
/// A trade waits for a session only.
pub const WAITED: &str = "reached: a committed order waits for a session's lease";
/// A clean takeover.
pub const CLEAN: &str = "reached: a catalog that stopped cleanly is followed at once";
/// A stop that ends sessions.
pub const ENDED: &str = "reached: a catalog that stops has ended its sessions";
/// A lost history.
pub const LOST: &str = "reached: lost rows are found";
/// A cancelled COMMIT.
pub const CANCELLED: &str = "reached: a COMMIT is reported with a warning";
/// A start without a wait.
pub const NO_WAIT: &str = "reached: an order commits after a start without a wait";

/// The properties of a configuration. A database that answers before it replicates can lose a
/// takeover, and so what reads and acknowledgements rest on: there only the journal's own promises
/// are left.
#[must_use]
pub fn all(config: &Config) -> Vec<Property<Catalogs>> {
    let mut all = vec![
        Property::always(ONE_VERDICT, |_, w: &World| {
            let mut keys = w.store.rows.clone();
            keys.sort_unstable();
            !w.broken.contains(&Broken::TwoVerdicts) && keys.windows(2).all(|two| two[0] != two[1])
        }),
        Property::always(DENSE, |_, w: &World| !w.broken.contains(&Broken::Gap)),
        Property::always(KEPT, |m: &Catalogs, w: &World| {
            // A database that answers before it replicates may lose rows: that must be found.
            !m.0.synchronous && w.rows_lost || w.store.rows.starts_with(&w.acknowledged)
        }),
        Property::always(CACHE, |m: &Catalogs, w: &World| {
            let stale = |value| m.0.synchronous && w.is_stale(value);
            w.fronts
                .iter()
                .all(|front| !front.cached().is_some_and(stale))
        }),
        Property::always(READ, |m: &Catalogs, w: &World| {
            let stale = |own: usize| w.answers(&m.0, own) && w.is_stale(w.visible(own));
            let old = m.0.synchronous && (0..w.catalogs.len()).any(stale);
            !old && !w.broken.contains(&Broken::Stale)
        }),
        Property::always(ONE_SPEAKS, |m: &Catalogs, w: &World| {
            let deposed = |own: usize| w.answers(&m.0, own) && w.store.holder != own;
            !m.0.synchronous || !(0..w.catalogs.len()).any(deposed)
        }),
        Property::always(FORWARD, |_, w: &World| {
            !w.broken.contains(&Broken::WentBack)
        }),
        Property::always(HONEST, |_, w: &World| {
            !w.broken.contains(&Broken::LostWrongly) && (w.rows_lost || !w.store.lost)
        }),
        Property::always(STAYS, |_, w: &World| {
            !w.broken.contains(&Broken::DeposedItself)
        }),
    ];
    if config.settles {
        all.push(Property::always(SETTLES, |m: &Catalogs, w: &World| {
            w.settles(&m.0, Continuation::Healed)
        }));
        all.push(Property::always(
            SETTLES_PAUSED,
            |m: &Catalogs, w: &World| {
                (0..w.catalogs.len()).all(|own| w.settles(&m.0, Continuation::Paused(own)))
            },
        ));
        all.push(Property::always(
            SETTLES_HANGING,
            |m: &Catalogs, w: &World| {
                (0..w.catalogs.len()).all(|own| w.settles(&m.0, Continuation::Hanging(own)))
            },
        ));
    }
    all.extend(config.reached.iter().map(|name| reached(name)));
    all
}

/// The states that must be reached.
///
/// # Panics
/// For a name that is none of the above.
fn reached(name: &'static str) -> Property<Catalogs> {
    let reached: fn(&Catalogs, &World) -> bool = match name {
        TAKEN_OVER => |_, w| {
            let committed = |c: &super::catalog::Catalog| {
                c.epoch() > Some(1) && {
                    let outcome = c.batch.as_ref().map(|b| &b.outcome);
                    matches!(outcome, Some(Outcome::Committed(_)))
                }
            };
            w.catalogs.iter().skip(1).any(committed)
        },
        OLD_COMMIT => |_, w| {
            w.statements
                .iter()
                .any(|s| matches!(s.task, Task::Trade(..)) && s.phase == Phase::NoRow)
        },
        LOCKED_OUT => |m, w| {
            w.statements.iter().any(|s| {
                matches!(s.task, Task::Takeover(..))
                    && s.phase == Phase::Sent
                    && !w.can_execute(&m.0, s)
            })
        },
        LATE_COMMIT => |_, w| {
            w.catalogs.iter().enumerate().any(|(own, c)| {
                let unknown = c.batch.as_ref().map(|b| &b.outcome) == Some(&Outcome::Unknown);
                unknown && w.store.rows.len() > usize::from(w.visible(own))
            })
        },
        BUMPED => |_, w| {
            w.catalogs.iter().any(|c| {
                matches!(c.role, super::catalog::Role::Active { epoch, since } if epoch > since)
                    && c.batch
                        .as_ref()
                        .is_some_and(|b| matches!(b.outcome, Outcome::Committed(_)))
            })
        },
        LATE_TAKEOVER => |_, w| w.catalogs[w.store.holder].stands_by() && w.store.epoch > 1,
        LAPSED => |_, w| {
            w.catalogs.iter().enumerate().any(|(own, c)| {
                c.memory.is_some()
                    && c.lease.is_none()
                    && w.renews(own).is_some_and(|s| s.phase == Phase::Done)
            })
        },
        CACHED => |_, w| {
            let second = |f: &super::front::Front| {
                f.cached().is_some()
                    && f.session
                        .is_some_and(|s| w.catalogs[1].sessions.contains(&s))
            };
            w.fronts.iter().any(second)
        },
        WAITED => |_, w| {
            w.catalogs.iter().any(|c| {
                c.batch.as_ref().is_some_and(|b| {
                    matches!(b.outcome, Outcome::Committed(_)) && !b.outstanding.is_empty()
                })
            })
        },
        CLEAN => |_, w| {
            w.statements.iter().any(|s| {
                matches!(s.task, Task::Takeover(super::store::Requires::Clean, _))
                    && s.phase == Phase::Done
            })
        },
        ENDED => |_, w| w.store.clean && w.fronts.iter().any(|f| f.session.is_none()),
        LOST => |_, w| w.catalogs.iter().any(|c| c.lost) && w.store.lost,
        CANCELLED => |_, w| w.statements.iter().any(|s| s.phase == Phase::Warned),
        NO_WAIT => |m, w| {
            m.0.faults.stops > w.faults.stops
                && w.catalogs[0].stopping.is_none()
                && w.catalogs[0].batch.is_some()
                && w.faults.crashes == m.0.faults.crashes
        },
        other => panic!("nothing is known about '{other}'"),
    };
    Property::sometimes(name, reached)
}
