//! Every interval, time-out and bound that more than one service relies on. Some must be longer
//! than others, which is asserted below: a change that breaks this order does not build.

use std::time::Duration;

/// How often each front-end asks each replica for its health.
pub const HEARTBEAT: Duration = Duration::from_millis(100);
/// How long a health probe may take before it counts as a miss.
pub const PROBE_TIMEOUT: Duration = Duration::from_millis(150);
/// Misses in a row after which a replica (or, for a leader, the catalog) counts as unreachable.
pub const MISSES: u32 = 2;
/// How often a leader reads the term from the catalog.
pub const TERM_READ: Duration = Duration::from_millis(100);
/// The catalog lets a claim wait within this time of the last granted one, so that two front-ends
/// that see different replicas cannot depose each other's leader for ever.
pub const CLAIM_SPACING: Duration = Duration::from_millis(200);
/// A leader whose oldest append is older than this stops saying that it leads.
pub const APPEND_OVERDUE: Duration = Duration::from_millis(1_000);
/// A leader that has had too few copies for so long is relieved: a front-end asks another replica
/// to lead, from which more of them may be reached.
pub const COPIES_MISSING: Duration = Duration::from_millis(300);
/// The least time between two reliefs. Where no replica reaches enough others, the leadership goes
/// round, and must not do so at full speed.
pub const RELIEF_SPACING: Duration = Duration::from_millis(1_000);
/// Orders wait at the front-ends for copies that are missing for less than this; afterwards they
/// are refused at once. Long enough that a new leader's followers come into sync meanwhile, and
/// that a leader that is cut off from its followers is relieved.
pub const COPIES_GRACE: Duration = Duration::from_millis(800);
/// How long a front-end waits after a refused claim before it asks for one again. Each further
/// refusal doubles the wait.
pub const CLAIM_BACK_OFF: Duration = Duration::from_millis(100);
/// The longest wait after refused claims.
pub const CLAIM_BACK_OFF_MOST: Duration = Duration::from_millis(5_000);
/// A claim whose log does not grow for so long has stalled: the front-end asks another replica to
/// lead.
pub const CLAIM_STALL: Duration = Duration::from_millis(1_000);
/// A replica gives up its own claim when its log does not grow for so long. Longer than
/// [`CLAIM_STALL`]: the grant of another replica is the usual end of a stalled claim, and this one
/// is for the case that no front-end is there to ask.
pub const CLAIM_GIVE_UP: Duration = Duration::from_millis(3_000);
/// How long a fresh front-end waits for the replica with the highest id before it takes a lower
/// one.
pub const FIRST_CHOICE_WAIT: Duration = Duration::from_millis(1_000);

/// How often a front-end renews its cache lease.
pub const KEEP_ALIVE: Duration = Duration::from_millis(250);
/// How long a cache lease lasts: the front-end counts from before it asked, the catalog from when
/// it was asked.
pub const LEASE: Duration = Duration::from_millis(1_000);
/// The wait of the catalog beyond a lease's end, for the difference of two clocks' rates.
pub const LEASE_MARGIN: Duration = Duration::from_millis(100);
/// How often an invalidation that was not acknowledged is pushed again.
pub const PUSH_REPEAT: Duration = Duration::from_millis(10);
/// A session with a push unanswered for longer than this is not renewed.
pub const PUSH_OVERDUE: Duration = Duration::from_millis(200);

/// Bound of a leader's call to the catalog. Longer than the catalog's start-up wait, so that an
/// order in flight survives a restart of the catalog.
pub const LEADER_TO_CATALOG: Duration = Duration::from_millis(1_600);
/// Largest replication time-out that can be set.
pub const MAX_REPLICATION_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Time of a front-end's call to the leader beyond [`LEADER_TO_CATALOG`] and the replication
/// time-out.
pub const LEADER_SLACK: Duration = Duration::from_millis(400);
/// A front-end's whole time for one order, retries included; then 503 "outcome unknown".
pub const ORDER_TOTAL: Duration = Duration::from_millis(5_000);
/// A front-end's whole time for one read, retries included; then 503.
pub const READ_TOTAL: Duration = Duration::from_millis(3_000);
/// How long a well-behaved client waits for a response.
pub const CLIENT_TIMEOUT: Duration = Duration::from_millis(10_000);
/// How long a service that stops finishes the requests in flight.
pub const STOP_GRACE: Duration = Duration::from_millis(5_000);
/// How long a caller keeps a connection that it does not use.
pub const CALLER_IDLE: Duration = Duration::from_millis(300_000);
/// Bound of connecting to a service of ours.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(150);

/// Orders that may wait in a queue of orders; beyond, 503 at once.
pub const ORDER_QUEUE: usize = 4_096;
/// Orders that one batch carries at most.
pub const MAX_BATCH: usize = 512;
/// Rows that one page of journal or log carries at most.
pub const PAGE_ROWS: usize = 1_000;
/// Orders that one page of `GET /orders` carries at most.
pub const MAX_ORDERS_PAGE: usize = PAGE_ROWS;
/// Orders of such a page when its request names no limit.
pub const ORDERS_PAGE: usize = 100;
/// Rows that the response to a batch carries at most; the leader fetches the rest by pages.
pub const ANSWER_ROWS: usize = PAGE_ROWS;
/// A replica this many orders behind the longest log is not asked to lead.
pub const ELIGIBLE_LAG: u64 = 10_000;
/// Rows at the end of a log that are verified before a replica offers itself; the rest is verified
/// in the background.
pub const TAIL_CHECK_ROWS: u64 = 10_000;
/// The pause after each page of rows that are verified in the background, in times of that page: a
/// process takes a tenth of a processor for it. A share and not a fixed pause: slow machines and
/// disks get longer pauses by themselves.
pub const CHECK_PAUSE: u32 = 9;

/// Largest body that the public listener takes, in bytes.
pub const PUBLIC_BODY_LIMIT_BYTES: usize = 64 * 1024;
/// Largest body that an internal listener takes, in bytes.
pub const INTERNAL_BODY_LIMIT_BYTES: usize = 4 * 1024 * 1024;
/// Largest quantity of one order.
pub const MAX_ORDER_QUANTITY: u64 = 1_000_000;
/// Largest quantity that a stock starts with.
pub const MAX_INITIAL_QUANTITY: u64 = 1_000_000_000_000;

const fn ms(d: Duration) -> u128 {
    d.as_millis()
}

// A lease survives two lost keep-alives.
const _: () = assert!(ms(LEASE) > 3 * ms(KEEP_ALIVE));
// A session whose pushes are not answered loses its lease well before the leader's call gives up.
const _: () = assert!(ms(PUSH_OVERDUE) + ms(KEEP_ALIVE) < ms(LEASE));
// An order that waits out a lease, or the catalog's start, is answered within the leader's call.
const _: () = assert!(ms(LEASE) + ms(LEASE_MARGIN) + 400 < ms(LEADER_TO_CATALOG));
// The front-end's call outlives the leader's, and its whole time leaves room for one more try.
const _: () = assert!(
    ms(LEADER_TO_CATALOG) + ms(MAX_REPLICATION_TIMEOUT) + ms(LEADER_SLACK) + 1_600
        < ms(ORDER_TOTAL)
);
const _: () = assert!(ms(ORDER_TOTAL) < ms(CLIENT_TIMEOUT));
const _: () = assert!(ms(PROBE_TIMEOUT) < 2 * ms(HEARTBEAT));
const _: () = assert!(MAX_BATCH <= ANSWER_ROWS);
// A front-end asks another replica before the claiming one gives up.
const _: () = assert!(ms(CLAIM_STALL) < ms(CLAIM_GIVE_UP));
// A relieved leader's orders still wait when the next one leads.
const _: () = assert!(ms(COPIES_MISSING) + ms(CLAIM_SPACING) + ms(HEARTBEAT) < ms(COPIES_GRACE));
const _: () = assert!(ms(COPIES_GRACE) < ms(ORDER_TOTAL));
