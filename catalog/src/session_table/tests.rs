//! The rules of sessions and leases as stories: each script in `scripts/` is one case. After every
//! command it shows the time and the sessions.
//! `UPDATE_GOLDENFILES=1 cargo test -p catalog session_table` writes the output anew.

use super::*;
use std::fmt::Write as _;
use stories::{Command, Context, Failure, Runner};

/// A table under test; time passes by command.
#[derive(Default)]
struct Story {
    table: SessionTable,
    now_ms: u64,
}

impl Story {
    fn now(&self) -> BootInstant {
        BootInstant::from_millis(self.now_ms)
    }

    fn state(&self) -> String {
        let mut text = format!("{} ms:", self.now_ms);
        for id in self.table.ids() {
            let over_at = self.table.over_at(id).expect("it is in the table");
            let over_in = over_at.saturating_since(self.now()).as_millis();
            write!(text, " {id} is over in {over_in} ms").expect("a text");
        }
        if self.table.is_empty() {
            text.push_str(" no session");
        }
        text
    }
}

impl Runner for Story {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Failure> {
        let mut words = command.consume_args();
        let word = words.next_pos().ok_or("which session, or how long?")?;
        words.reject_next()?;
        let (id, now) = (SessionId(word.into()), self.now());
        let mut text = match command.name.as_str() {
            // Time passes, in milliseconds.
            "wait" => {
                self.now_ms += word.parse::<u64>()?;
                String::new()
            }
            // A probe push was acknowledged.
            "grant" if self.table.grant(id.clone(), now) => "granted\n".into(),
            "grant" => "this id is in use\n".into(),
            "keep-alive" => format!("{:?}\n", self.table.keep_alive(&id, now)),
            "push" => {
                self.table.push_begun(&id, now);
                String::new()
            }
            "acknowledge" => {
                self.table.push_answered(&id);
                String::new()
            }
            // The writer or the keeper looks whether the session is over.
            "drop" if self.table.drop_if_over(&id, now) => "gone\n".into(),
            "drop" => "not over\n".into(),
            // Its front-end left it.
            "leave" => {
                self.table.remove(&id);
                String::new()
            }
            other => return Err(format!("there is no command '{other}'").into()),
        };
        writeln!(text, "{}", self.state())?;
        Ok(text)
    }
}

stories::stories! {
    "src/session_table/scripts",
    Story::default(),
    a_session_that_its_front_end_left_is_gone_at_once
    a_session_lasts_a_lease_and_the_margin
    an_unanswered_push_ends_renewals
}

#[test]
#[should_panic(expected = "a lease never gets shorter")]
fn a_lease_never_gets_shorter() {
    let (mut table, id) = (SessionTable::default(), SessionId("a".into()));
    assert!(table.grant(id.clone(), BootInstant::from_millis(500)));
    table.keep_alive(&id, BootInstant::from_millis(499));
}
