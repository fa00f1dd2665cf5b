//! The commit tracker's rules as stories: each script in `scripts/` is one case. After every
//! command it shows the batches that ended, and the tracker's state.
//! `UPDATE_GOLDENFILES=1 cargo test -p order commit` writes the output anew.

use super::*;
use goldenscript::{Command, Context, Runner};
use proptest::prelude::*;
use std::error::Error;
use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

type Failure = Box<dyn Error>;

fn id(n: u8) -> ReplicaId {
    ReplicaId::try_from(n).expect("an id")
}

/// A tracker under test, whose batches are named; time passes by command.
struct Story {
    tracker: CommitTracker<String>,
    start: Instant,
    now: Instant,
}

impl Story {
    /// A new leader with 10 rows, followers 1 and 2, and `min_copies` of 1.
    fn new() -> Self {
        let start = Instant::now();
        Self {
            tracker: Self::leader(1),
            start,
            now: start,
        }
    }

    fn leader(min_copies: usize) -> CommitTracker<String> {
        CommitTracker::new(min_copies, 10, [id(1), id(2)].into_iter())
    }

    fn state(&self) -> String {
        let t = &self.tracker;
        let in_sync: Vec<String> = t.in_sync().map(|id| id.to_string()).collect();
        let mut text = format!(
            "leader: {} rows, {} of {} copies, in sync: [{}]",
            t.local,
            t.copies(),
            t.min_copies,
            in_sync.join(" ")
        );
        for batch in &t.waiting {
            write!(text, ", {} needs {} rows", batch.waiter, batch.needed).expect("a text");
        }
        for (id, since) in [1, 2].map(id).map(|id| (id, t.waiting_since(id))) {
            if let Some(since) = since {
                let ms = since.duration_since(self.start).as_millis();
                write!(text, ", a batch waits for {id} since {ms} ms").expect("a text");
            }
        }
        text
    }
}

fn word<T: FromStr<Err: Into<Failure>>>(text: Option<&str>, what: &str) -> Result<T, Failure> {
    let text = text.ok_or_else(|| format!("which {what}?"))?;
    text.parse().map_err(Into::into)
}

impl Runner for Story {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Failure> {
        let mut words = command.consume_args();
        let ended = match command.name.as_str() {
            // A new leadership.
            "leader" => {
                self.tracker = Self::leader(word(words.take_key("min_copies"), "min_copies")?);
                vec![]
            }
            // Time passes.
            "wait" => {
                self.now += Duration::from_millis(word(words.next_pos(), "time in ms")?);
                vec![]
            }
            "submit" => {
                let batch = word(words.next_pos(), "batch")?;
                let needed = word(words.take_key("needs"), "rows (needs=)")?;
                self.tracker.submit(needed, batch, self.now)
            }
            // Rows are durable at the leader.
            "local" => self.tracker.local_durable(word(words.next_pos(), "rows")?),
            // A follower answered with the rows that it has.
            "follower" => {
                let follower = word(words.next_pos(), "follower")?;
                let rows = word(words.take_key("rows"), "rows (rows=)")?;
                let enough = word(words.take_key("enough"), "rows (enough=)")?;
                let progress = Progress { rows, enough };
                self.tracker.follower_durable(follower, progress)
            }
            // A follower did not answer in time.
            "lost" => {
                let follower = word(words.next_pos(), "follower")?;
                self.tracker.follower_lost(follower).1
            }
            // The leadership ends.
            "abandon" => {
                let waiters = self.tracker.abandon();
                return Ok(format!("not acknowledged: {}\n", waiters.join(" ")));
            }
            other => return Err(format!("there is no command '{other}'").into()),
        };
        words.reject_next()?;
        let mut text = String::new();
        for (batch, outcome) in ended {
            writeln!(text, "{batch} ends: {outcome:?}")?;
        }
        writeln!(text, "{}", self.state())?;
        Ok(text)
    }
}

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/leading/commit/scripts");

fn story(name: &str) {
    goldenscript::run(&mut Story::new(), format!("{SCRIPTS}/{name}")).expect("the script runs");
}

#[test]
fn a_new_leader_acknowledges_alone_until_a_follower_has_caught_up() {
    story("a_new_leader_starts_alone");
}

#[test]
fn followers_in_sync_are_waited_for_until_they_are_lost_or_lose_rows() {
    story("followers_in_sync_are_waited_for");
}

#[test]
fn a_batch_that_outlives_its_followers_ends_with_too_few_copies() {
    story("too_few_copies");
}

/// A script that no test names would never run.
#[test]
fn every_script_is_run() {
    assert_eq!(std::fs::read_dir(SCRIPTS).expect("a folder").count(), 3);
}

#[test]
#[should_panic(expected = "a leader's log only grows: 9 rows after 10")]
fn a_leaders_log_only_grows() {
    let _ = Story::leader(1).local_durable(9);
}

proptest! {
    /// Nothing is acknowledged before it is durable at the leader and at every follower in
    /// sync, and no batch ends twice.
    #[test]
    fn never_too_early(
        events in proptest::collection::vec((0..5_u8, 1..3_u8, 0..40_u64), 1..80),
    ) {
        let mut t: CommitTracker<u32> = CommitTracker::new(1, 10, [id(1), id(2)].into_iter());
        let (mut local, mut acked) = (10, BTreeMap::from([(1, 0), (2, 0)]));
        let mut needs = Vec::new();
        let mut ended = Vec::new();
        for (what, who, rows) in events {
            let done = match what {
                0 => {
                    needs.push(rows);
                    t.submit(rows, u32::try_from(needs.len() - 1).expect("few"), Instant::now())
                }
                1 | 2 => {
                    local = local.max(rows);
                    t.local_durable(local)
                }
                3 => {
                    acked.insert(who, rows);
                    t.follower_durable(id(who), Progress { rows, enough: 10 })
                }
                _ => t.follower_lost(id(who)).1,
            };
            for (batch, outcome) in done {
                prop_assert_eq!(outcome, Outcome::Durable);
                let need = needs[batch as usize];
                prop_assert!(local >= need);
                for follower in t.in_sync() {
                    prop_assert!(acked[&u8::from(follower)] >= need);
                }
                prop_assert!(!ended.contains(&batch));
                ended.push(batch);
            }
        }
        prop_assert_eq!(ended.len() + t.abandon().len(), needs.len());
    }
}
