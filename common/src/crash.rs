//! Crash points: named places between two steps of the protocol at which a fault test lets the
//! process die, as `kill -9` would. They are compiled in by the feature `crash-points` only;
//! without it [`point`] is nothing.

/// The crash points in the way of an order.
pub const POINTS: [&str; 9] = [
    "catalog-before-commit",
    "catalog-after-commit",
    "catalog-after-publish",
    "leader-after-catalog",
    "leader-after-append",
    "leader-after-follower",
    "leader-before-answer",
    "replica-in-append",
    "frontend-before-answer",
];

/// Crash points where a catalog takes over from another one, moves itself to a newer epoch, or
/// stops cleanly.
pub const CATALOG_POINTS: [&str; 9] = [
    "catalog-before-takeover",
    "catalog-after-takeover",
    "catalog-after-load",
    "catalog-before-move",
    "catalog-after-move",
    "catalog-stop-begins",
    "catalog-stop-ends-sessions",
    "catalog-stop-silent",
    "catalog-stop-clean",
];

/// Crash points between the steps in which a database file is made and takes its name.
pub const FILE_POINTS: [&str; 7] = [
    "draft-filled",
    "draft-synced",
    "draft-checked",
    "draft-ready",
    "file-moved-aside",
    "part-moved-aside",
    "file-installed",
];

/// Name of the variable that says where and when to die: `<point>` or `<point>:<n>`, at the n-th
/// time that the point is reached.
pub const VARIABLE: &str = "BAZAAR_CRASH_AT";

fn all() -> impl Iterator<Item = &'static str> {
    POINTS.into_iter().chain(CATALOG_POINTS).chain(FILE_POINTS)
}

/// A place at which the process may be made to die.
pub fn point(name: &'static str) {
    // A point that nobody lists is one that no fault run ever reaches.
    debug_assert!(
        all().any(|point| point == name),
        "{name} is not in the list of crash points"
    );
    fail::fail_point!(name);
}

/// Reads [`VARIABLE`]. Called once, by `main`.
///
/// # Errors
/// When the variable names no crash point, or this program was built without them.
pub fn start() -> Result<(), String> {
    match std::env::var_os(VARIABLE) {
        // An empty value counts as unset, as with all variables.
        Some(value) if !value.is_empty() => arm(&value.to_string_lossy()),
        _ => Ok(()),
    }
}

#[cfg(not(feature = "crash-points"))]
fn arm(value: &str) -> Result<(), String> {
    // Refused rather than ignored: a fault run would otherwise report that nothing broke.
    Err(format!(
        "{VARIABLE}={value}: this program was built without the feature crash-points; unset it"
    ))
}

#[cfg(feature = "crash-points")]
fn arm(value: &str) -> Result<(), String> {
    use std::sync::atomic::{AtomicU64, Ordering};
    let (name, times) = value.split_once(':').unwrap_or((value, "1"));
    let wanted = all()
        .find(|point| *point == name)
        .zip(times.parse::<u64>().ok().filter(|n| *n > 0));
    let (name, nth) = wanted.ok_or_else(|| {
        format!(
            "{VARIABLE}={value}: write <point>:<n> with one of {}",
            all().collect::<Vec<_>>().join(", ")
        )
    })?;
    let reached = AtomicU64::new(0);
    fail::cfg_callback(name, move || {
        // Counted over all threads: the n-th time is one moment of the whole process.
        if reached.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            tracing::warn!(point = name, nth, "crash point reached: dying as asked");
            // As `kill -9`: no destructor runs and nothing is flushed.
            std::process::abort();
        }
    })
}
