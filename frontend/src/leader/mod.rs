//! The leader's election, and the failover when it fails.
//!
//! This page explains failover. It can be read alone, in about ten minutes.
//!
//! # Who decides
//!
//! Replicas cannot agree among themselves on who leads without consensus, since a slow replica
//! looks like a dead one (Fischer, Lynch, Paterson 1985). They need not: the catalog, where every
//! trade commits, keeps `{term, owner}`, and refuses a trade of any other term. So the work is
//! split:
//!
//! - **Front-ends judge**: they see the replicas' health, and ask one to lead.
//! - **The catalog decides**: the asked replica claims the next term, a compare-and-set.
//! - **The term fences**: whatever a front-end believed, only one leader can trade.
//!
//! A wrong judgement costs a failover, never an order. That is why the rules here may be simple.
//!
//! # A failover
//!
//! ```text
//!   front-end          order 3 (leads 7)     order 2              catalog {7, 3}
//!      │ probe ────────────► crashed            │                     │
//!      │ read the term ─────────────────────────┼────────────────────►│
//!      │◄──────────────────────────────────────────────── {7, owner 3}┤
//!      │ probe all: 2 and 1 answer              │                     │
//!      ├─── PUT /leader {seen 7} ──────────────►│                     │
//!      │                                        ├─ claim {seen 7} ───►│
//!      │                                        │◄──── granted 8 ─────┤ durable, 7 is fenced
//!      │                                        ├─ missing rows ─────►│
//!      │◄────────────── leads 8 ────────────────┤                     │
//!      │ read the term: {8, owner 2}; probe 2: it leads 8: adopted     │
//!      │ orders in flight, same order keys ────►│                     │
//! ```
//!
//! 1. **Notice.** One prober per replica asks `GET /health` each 100 ms. A leader has failed when
//!    it refuses connections, misses two heartbeats, or does not say that it leads. A failed call
//!    only triggers a probe: calls fail for many reasons.
//! 2. **Read the term.** If the owner says that it leads that term, it is adopted. A front-end that
//!    starts, or that was cut off for a while, deposes nobody.
//! 3. **Probe and choose.** All replicas are probed at once. The highest id that answers and is
//!    within 10 000 orders of the longest log is asked to lead. A log far behind would take long to
//!    complete, and orders wait meanwhile.
//! 4. **Claim.** The replica claims with `seen`, the term that this front-end read in step 2. The
//!    catalog grants only if that is still the current term.
//! 5. **Complete.** The new leader fills its log from the journal, and leads.
//! 6. **Resend.** The forwarders send held orders to the new leader with the same order keys. The
//!    catalog recognises those that traded already.
//!
//! # Why each rule is there
//!
//! **`seen` comes from the front-end, never read afresh by the replica.** Suppose the replica read
//! it. Front-end A judges in term 7 and asks replica 2; the message is delayed. Front-end B makes
//! replica 1 leader of term 8, and orders flow. A's message arrives, replica 2 reads 8 and claims
//! 9: a healthy leader is deposed on the ground of an old judgement. With `seen` = 7 the claim is
//! refused.
//!
//! **Within 200 ms of a grant the next claim waits.** Two front-ends that each reach another
//! replica would otherwise fence each other's leaders for ever, each before the other's has served
//! an order.
//!
//! **Only health that was asked for after the judgement began counts in it.** An answer on its way
//! may describe the time before the leader died.
//!
//! **A leader must say that it leads.** A replica that answers health but does not lead (it
//! restarted, it was fenced, its disk hangs) would otherwise hold all orders up. A leader stops
//! saying so when its oldest append is older than a second, when a write failed, or when two reads
//! of the catalog's term went unanswered: orders that cannot commit there had better go elsewhere.
//!
//! **Only the catalog's owner is adopted.** A replica that merely says that it leads the term may
//! have an old file, or another bazaar's.
//!
//! **A returning higher id does not depose the leader.** The lab's rule "the highest id leads"
//! holds for the first election and for the choice among candidates. A failover that helps nobody
//! costs every client a slow order.
//!
//! **Claims that fail are repeated slowly.** From 100 ms doubling to 5 s, and a change is logged
//! once: a catalog on a full disk must not drown in elections.
//!
//! # Held orders
//!
//! While there is no leader the forwarders hold their orders. Each term has a pool of connections
//! of its own; when the next term's leader is named, the old pool is shut down, so that a call to a
//! leader that hangs ends at once. A client sees one slower answer and no error. After 5 s it gets
//! a 503 that says whether the outcome is unknown.
//!
//! # Modules
//!
//! | module | one idea |
//! |---|---|
//! | [`election`] | the rules above, pure: events in, commands out, time as a parameter |
//! | [`monitor`] | the one thread that decides; it never blocks |
//! | [`prober`], [`catalog_prober`] | the threads that probe each replica, and the catalog |
//! | [`election_calls`] | the thread that makes the two calls of an election |
//! | [`health_table`] | the newest answers of all of them, for the status |
//! | [`cell`] | the leader as the senders of orders and queries see it |

pub mod catalog_prober;
pub mod cell;
pub mod election;
pub mod election_calls;
pub mod health_table;
pub mod monitor;
pub mod prober;
