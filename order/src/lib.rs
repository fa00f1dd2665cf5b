//! A replica of the order service: a copy of the catalog's journal, and, while it leads, the way of
//! every order to the catalog.
//!
//! This page explains the order protocol. It can be read alone, in about ten minutes; the terms are
//! those of `docs/glossary.md`.
//!
//! # The problem
//!
//! A client sends an order and gets a number. From then on the order must be there, once, under
//! that number, whatever crashes. Meanwhile the client may have lost the answer and asked again,
//! the leader may have been replaced, and the old leader may still be running, paused in the middle
//! of a line.
//!
//! Two things have to change together: the stock's quantity, at the catalog, and the order log, at
//! the replicas. A crash between the two leaves a trade without an order, or an order without a
//! trade. Two-phase commit would close that gap and block whenever its coordinator is away. A log
//! that the replicas agree on by consensus would close it too, and would need a majority of them.
//!
//! # The idea
//!
//! **A trade commits in one place: the catalog's transaction. Everything after copies an immutable
//! fact.** The catalog decides an order, gives it the next number and writes both into its journal,
//! with one fsync. Row *n* of the journal never changes. The replicas' logs are copies of the
//! journal, so they cannot disagree, only be behind. A crash at any point leaves either nothing, or
//! a row in the journal that every log will have.
//!
//! The price is plain: while the catalog is down, no order trades.
//!
//! # An order's way
//!
//! ```text
//!              POST /orders                       POST /trades
//!  front-end ─────────────► sequencer ───────────────────────► catalog (decides, numbers, commits)
//!                               │ rows
//!                ┌──────────────┴─────────────┐
//!                ▼                            ▼
//!           log writer                 replication-<id>, one per other replica
//!      (one fsync per batch)              POST /log ──► its log writer
//!                └──────────────┬─────────────┘
//!                               ▼
//!          commit tracker: durable here and at every follower in sync ► answer
//! ```
//!
//! 1. The front-end gives the order an **order key**: 128 bits, made from the client's idempotency
//!    key, or from time and random bits. All attempts at this order carry this key.
//! 2. The leader's **sequencer** sends its queue to the catalog in one batch, with its term and
//!    with the position of the last row that it received.
//! 3. The catalog refuses a batch of another term than its own. For each order it looks the key up
//!    in the journal: a known key gets its recorded verdict again, a new one is decided, and its
//!    trade or refusal recorded. One transaction holds the whole batch. The catalog marks the
//!    stocks, pushes the invalidations, commits while these travel, waits for the acknowledgements,
//!    makes the new quantities visible, and only then answers: with a verdict for each order, and
//!    every row after the leader's last one.
//! 4. The leader appends those rows to its log while it sends them to the followers, who do the
//!    same. It already takes the next batch to the catalog meanwhile. A lone batch has one thread
//!    for all of it (`leading/lone.rs`); under load the threads above share the work.
//! 5. The **commit tracker** acknowledges an order once its row is durable at the leader and at
//!    every follower in sync. A follower that does not answer in time falls out of sync, and orders
//!    go on without it until it has caught up.
//!
//! # Why each rule is there
//!
//! **Keys are judged at the catalog alone.** Suppose the leader kept a table of keys. A client
//! retries through a new leader whose table lacks the key, because the row had not reached it: the
//! order trades twice. The journal is the only table that has every trade by definition.
//!
//! **A refusal is recorded like a trade.** Suppose only trades were. A buy is refused, the answer
//! is lost, another client sells, and the retry trades. The client may have seen the refusal on
//! one connection and the trade on another: one request, two answers.
//!
//! **The answer carries every row from `last` + 1, not only the rows of this batch.** Suppose batch
//! A commits rows 5 to 9 and its answer is lost. Batch B commits row 10. With only its own rows,
//! the leader would have 10 and a gap before it. So the leader says where it stands, and the
//! catalog answers from there.
//!
//! **A batch carries a term, and an older term commits nothing.** A leader is paused after it took
//! a batch; another one leads; the first wakes and sends. Its numbers would interleave with those
//! of the new leader. The catalog compares the term inside the transaction's thread, so there is no
//! moment in between. This is fencing.
//!
//! **Rows are chained.** Row *n* carries a hash of row *n* − 1's hash and of its own content. Two
//! logs that agree in one hash agree in everything before it. A leader's `last` with another hash
//! shows the catalog that its own file was lost or cut: it refuses, so that no number is given
//! twice.
//!
//! **A new leader is complete before it leads.** It fills its log from the journal up to the end at
//! the grant of its term. Otherwise it would say "no such order" of one that was acknowledged.
//!
//! **A new leader counts a follower as in sync only after an answer from it.** Otherwise the first
//! order waits a whole time-out for a follower that is dead, and `ORDER_MIN_COPIES` counts a copy
//! that nobody makes.
//!
//! **"Not found" needs a confirmed term.** A found row is true for ever and may come from anywhere.
//! A missing row proves absence only if this replica led the same term before and after the read:
//! another leader may have acknowledged the order meanwhile.
//!
//! # Catch-up and replication are one loop
//!
//! A leader's thread for a follower asks where its log ends, sends the missing rows in pages, then
//! new rows as they come. A returning replica also asks the others for what it missed, so that it
//! is close before the leader notices it. Nothing has to be decided about when catch-up ends: a
//! follower that lacks no more than the 1 000 newest rows comes into sync, and every order from
//! then on waits for it.
//!
//! # Files
//!
//! The log is one SQLite file: the genesis (cluster id and initial stocks, which seed the chain)
//! and the rows. A damaged file is set aside, never deleted, and fetched again; until then the
//! replica does not offer itself as leader.
//!
//! # Threads and invariants
//!
//! `sequencer`, `log-writer`, `replication-<id>` (one per other replica), `reader-<n>` (orders by
//! number, pages), `confirmer` (proves that a row is missing), `takeover` (claims a term, completes
//! the log, leads), `term-keeper` (reads the term each 100 ms, and stops the replica from saying
//! that it leads when it cannot), `genesis` (fetches the genesis for an empty file), `check` (reads
//! old rows once after a start).
//!
//! - The log is a prefix of the journal, with a valid hash chain; a row is never overwritten.
//! - It leads a term only after the catalog granted it and its log was complete up to the journal's
//!   end at the grant.
//! - It acknowledges an order only when it is durable at the catalog, here and at every follower in
//!   sync.
//!
//! On purpose it does not recognise repeats (the catalog does), number orders, or choose who leads
//! (front-ends do: `frontend::leader`).

mod api;
pub mod leading;
pub mod log;
mod metrics;
mod queries;
mod replica;
pub mod role;
pub mod service;
pub mod settings;
