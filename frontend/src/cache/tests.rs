//! The cache's rules as stories: each script in `scripts` is one case, named by the sentence that
//! it shows. `UPDATE_GOLDENFILES=1 cargo test -p frontend cache` writes the results anew.
//!
//! | command | effect |
//! |---|---|
//! | `register ID` | a registration is sent |
//! | `registered ID until=MS` | its reply arrives, with the end of the lease |
//! | `renew ID until=MS` | a keep-alive was answered |
//! | `unknown ID` | the catalog does not know the session |
//! | `end ID` | the catalog ends the session |
//! | `leave` | the front-end stops |
//! | `invalidate ID NAME…` | the catalog is about to change stocks |
//! | `ask NAME`, `ask NAME as=CALL` | a fill begins, as the call NAME or CALL |
//! | `answer CALL BODY` | its fill ends; without a body the answer may not be cached |
//! | `read NAME at=MS` | a client reads |
//! | `capacity N` | an empty cache for so many stocks |
//!
//! Below the line stands the effect, then the cache as it is. `at=0` is a moment within any lease.

use super::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use stories::{Command, Context, Failure, Runner, key, parse, word};

mod stale_reads;

struct Story {
    cache: Cache,
    /// Fills in flight, by the name of their call.
    calls: BTreeMap<String, Fill>,
}

impl Story {
    fn new() -> Self {
        Self {
            cache: Cache::new(8),
            calls: BTreeMap::new(),
        }
    }

    /// Session, lease, entries with the most recently used one first, and fills in flight.
    fn state(&self) -> String {
        let cache = &self.cache;
        let mut text = match &cache.current {
            Some(id) => {
                let lease_ms = cache
                    .lease_end
                    .saturating_since(BootInstant::BOOT)
                    .as_millis();
                format!("session {} until {lease_ms}", id.0)
            }
            None => "no session".into(),
        };
        if let Some(id) = &cache.pending {
            write!(text, ", {} pending", id.0).expect("a text");
        }
        let entries = cache.entries.iter().rev().map(|(name, body)| {
            let body = String::from_utf8_lossy(body);
            format!("{name} = {body}")
        });
        let entries: Vec<_> = entries.collect();
        assert_eq!(entries.len(), cache.entries());
        if !entries.is_empty() {
            write!(text, "; holds {}", entries.join(", ")).expect("a text");
        }
        let mut flights: Vec<_> = cache.in_flight.iter().collect();
        flights.sort_by_key(|(name, _)| Arc::clone(name));
        for (name, flight) in flights {
            write!(text, "; {} in flight for {name}", flight.count).expect("a text");
        }
        text
    }
}

impl Runner for Story {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Failure> {
        let mut words = command.consume_args();
        let until = key::<u64>(&mut words, "until")?.map(BootInstant::from_millis);
        let until = until.ok_or("until when?");
        let first = match command.name.as_str() {
            "leave" => "",
            _ => word(&mut words, "the name")?,
        };
        let session = SessionId(first.into());
        let mut text = String::new();
        match command.name.as_str() {
            "register" => self.cache.begin_session(session),
            "registered" if self.cache.install_session(&session, until?) => {}
            "registered" => text.push_str("nothing is installed\n"),
            "renew" => self.cache.renew(&session, until?),
            "unknown" => self.cache.lose(&session),
            "leave" => {
                let ids = self.cache.leave();
                let ids: Vec<_> = ids.into_iter().map(|id| id.0).collect();
                writeln!(text, "to be ended at the catalog: {}", ids.join(", "))?;
            }
            "end" if self.cache.end(&session) => text.push_str("ended\n"),
            "end" => text.push_str("refused: not our session\n"),
            "invalidate" => {
                let names: Vec<_> =
                    std::iter::from_fn(|| words.next_pos().map(String::from)).collect();
                text.push_str(if self.cache.invalidate(&session, &names) {
                    "acknowledged\n"
                } else {
                    "refused: not our session\n"
                });
            }
            "ask" => {
                let call = words.take_key("as").unwrap_or(first);
                let fill = self.cache.begin_fill(first);
                let before = self.calls.insert(call.into(), fill);
                assert!(before.is_none(), "call {call} is in flight already");
            }
            "answer" => {
                let fill = self.calls.remove(first).ok_or("no such call")?;
                let body = words.next_pos().map(|body| Arc::from(body.as_bytes()));
                writeln!(text, "{:?}", self.cache.finish_fill(&fill, body))?;
            }
            "read" => {
                let now = key(&mut words, "at")?.map(BootInstant::from_millis);
                let now = now.ok_or("read when?")?;
                match self.cache.get(first, now) {
                    Some(body) => writeln!(text, "{}", String::from_utf8_lossy(&body))?,
                    None if self.cache.leased(now) => writeln!(text, "miss")?,
                    None => writeln!(text, "miss: no lease")?,
                }
            }
            "capacity" => self.cache = Cache::new(parse(first)?),
            other => return Err(format!("there is no command '{other}'").into()),
        }
        words.reject_next()?;
        writeln!(text, "{}", self.state())?;
        Ok(text)
    }
}

stories::stories! {
    "src/cache/scripts",
    Story::new(),
    a_lost_session_leaves_nothing_behind
    a_front_end_that_stops_leaves_nothing_behind
    a_new_session_starts_empty
    an_ended_session_leaves_nothing_behind
    an_invalidation_for_another_session_is_refused
    an_invalidation_voids_fills_in_flight
    only_cacheable_answers_are_stored
    reads_end_with_the_lease
    the_least_recently_used_entry_makes_room
}
