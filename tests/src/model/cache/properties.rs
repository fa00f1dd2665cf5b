//! The properties of every state, and the states that must be reached.

use super::Caches;
use super::config::Config;
use super::settle::Continuation;
use super::world::World;
use stateright::Property;

/// A cached read is current.
pub const CURRENT: &str = "7: what a cache would answer now is what the catalog shows now";
/// A read that went to the catalog is current.
pub const LINEAR: &str = "7: no reader gets a value from before it came";
/// A run without further faults answers.
pub const SETTLES: &str = "live: without further faults readers are answered and trades shown";
/// The same with a front-end that cannot be reached, but reaches the catalog.
pub const SETTLES_ONE_WAY: &str = "live: with a front-end cut off one way trades are shown";

/// A cache answers after a trade.
pub const CACHED: &str = "reached: a cache answers with a traded value";
/// A fill was voided while its answer was on its way.
pub const VOIDED: &str = "reached: a fill is voided";
/// An answer that may not be cached.
pub const NOT_CACHEABLE: &str = "reached: an answer that may not be cached";
/// A push finds a session whose reply has not arrived.
pub const PENDING: &str = "reached: a trade pushes to a session whose reply is on its way";
/// A trade waits for a lease alone.
pub const WAITED: &str = "reached: a trade is shown after a silent session was dropped";
/// A cache answers while the catalog is away.
pub const AWAY: &str = "reached: a cache answers during the catalog's start-up wait";
/// A commit whose response was lost.
pub const UNTOLD: &str = "reached: a trade is durable, not shown, and the catalog restarts";
/// A lease that only the margin protects.
pub const SLOW: &str = "reached: a slow clock's lease runs although it is over at the catalog";

/// The properties of a configuration.
pub fn all(config: &Config) -> Vec<Property<Caches>> {
    let mut all = vec![
        Property::always(CURRENT, |_, w: &World| {
            (0..w.fronts.len())
                .all(|front| w.cached(front).is_none_or(|value| value == w.catalog.shown))
        }),
        Property::always(LINEAR, |_, w: &World| !w.stale),
        Property::always(SETTLES, |m: &Caches, w: &World| {
            w.settles(&m.0, Continuation::Healed)
        }),
        Property::always(SETTLES_ONE_WAY, |m: &Caches, w: &World| {
            (0..w.fronts.len()).all(|front| w.settles(&m.0, Continuation::Silent(front)))
        }),
    ];
    all.extend(config.reached.iter().map(|name| reached(name)));
    all
}

/// The states that must be reached.
///
/// # Panics
/// For a name that is none of the above.
fn reached(name: &'static str) -> Property<Caches> {
    let reached: fn(&Caches, &World) -> bool = match name {
        CACHED => {
            |_, w| (0..w.fronts.len()).any(|front| w.cached(front).is_some_and(|value| value > 0))
        }
        VOIDED => |_, w| {
            let void = |f: &super::front::Front| {
                f.calls
                    .iter()
                    .any(|c| c.answer.is_some() && f.cache.is_void(c.fill))
            };
            w.fronts.iter().any(void)
        },
        NOT_CACHEABLE => |_, w| {
            let mut answers = w
                .fronts
                .iter()
                .flat_map(|front| &front.calls)
                .filter_map(|call| call.answer);
            answers.any(|(_, cacheable)| !cacheable)
        },
        PENDING => |_, w| {
            let mut pushed = w.catalog.batch.iter().flat_map(|batch| &batch.outstanding);
            pushed.any(|(session, acknowledged)| {
                *acknowledged && w.fronts[session.0].cache.pending == Some(*session)
            })
        },
        WAITED => |_, w| {
            let silent = |f: &super::front::Front| {
                f.cache.entry().is_some_and(|entry| entry < w.catalog.shown)
            };
            w.fronts.iter().any(silent)
        },
        AWAY => |_, w| {
            !w.catalog.serving() && (0..w.fronts.len()).any(|front| w.cached(front).is_some())
        },
        UNTOLD => |_, w| !w.catalog.serving() && w.catalog.durable > w.catalog.shown,
        SLOW => |_, w| {
            let slow = |front: usize| w.fronts[front].slow && w.cached(front).is_some();
            let lapsed = |front: usize| w.fronts[front].cache.lease_end <= w.now;
            (0..w.fronts.len()).any(|front| slow(front) && lapsed(front))
        },
        other => panic!("nothing is known about '{other}'"),
    };
    Property::sometimes(name, reached)
}
