//! The election's cases as scripts: each file in `scripts` is one story, named by the sentence that
//! it shows. `UPDATE_GOLDENFILES=1 cargo test -p frontend election` writes the results anew: read
//! the difference before you keep it.
//!
//! Replicas 1, 2 and 3 take part. Health says `last=100` where a probe names no other row.
//!
//! | command | effect |
//! |---|---|
//! | `start`, `start fresh` | a front-end that has run for long; one that starts now |
//! | `led` | a leader: replica 3 in term 7 |
//! | `probe ID…` | probes that begin and end now, answered with health |
//! | … `leading=T`, `claiming=T`, `last=N` | in that health |
//! | … `follows=ID@T`, `copies=PRESENT/WANTED` | in that health |
//! | … `ineligible`, `foreign` | it cannot write; its file is another bazaar's |
//! | … `refused`, `missed`, `wrong-replica=ID` | no health instead |
//! | … `ago=MS` | the probe began so long ago |
//! | `term T owner=ID`, `term none` | the catalog's response to the read of the term, or none |
//! | `lead leading=T`, `claiming=T`, `wait=MS` | the candidate's response |
//! | `lead outdated`, `refused`, `failed` | the candidate's refusal |
//! | … `judgement=N` | it belongs to an older judgement |
//! | `failed T` | a call to the leader of this term failed |
//! | `wait MS` | time passes, then a tick |
//! | `beat ID… leader=ID@T copies=P/W times=N` | heartbeats, until one has a consequence |
//! | `answer ID… refused=ID term=T owner=ID` | ticks; each judgement gets these responses |
//! | `cluster` | the bazaar that the catalog named last |
//!
//! `answer` ends when a replica is asked to lead. Below the line stand the election's commands, and
//! its phase where that changed.

use super::*;
use common::wire::replica::{Copies, LeadAnswer};
use std::fmt::Write;
use std::str::FromStr;
use stories::{ArgumentConsumer, Failure, key, parse, word};

/// Above every wait in the scripts of `answer`.
const PATIENCE_MS: u64 = 10_000;

struct Story {
    election: Election,
    now: BootInstant,
    commands: Vec<Command>,
    /// The phase that the script shows already.
    shown: Option<Phase>,
}

fn id(n: u8) -> ReplicaId {
    ReplicaId::try_from(n).expect("an id")
}

/// Two numbers with a sign between them, such as `3@7`.
fn pair<A: FromStr, B: FromStr>(text: &str, sign: char) -> Result<(A, B), Failure> {
    let (one, other) = text
        .split_once(sign)
        .ok_or(format!("'{text}' has no '{sign}'"))?;
    Ok((parse(one)?, parse(other)?))
}

fn health(n: u8) -> Health {
    Health {
        replica: id(n),
        leading: None,
        claiming: None,
        eligible: true,
        catching_up: false,
        last: Some(100),
        cluster: Some(ClusterId("ours".into())),
        term: 0,
        leader: None,
        in_sync: Vec::new(),
        copies: None,
        protocol: "1.0".into(),
        version: String::new(),
    }
}

fn leading(n: u8, term: Term) -> Health {
    Health {
        leading: Some(term),
        term,
        leader: Some(id(n)),
        ..health(n)
    }
}

fn following(n: u8, leader: u8, term: Term) -> Health {
    Health {
        term,
        leader: Some(id(leader)),
        ..health(n)
    }
}

impl Story {
    fn new() -> Self {
        let now = BootInstant::from_millis(10_000);
        Self {
            election: Election::new([id(1), id(2), id(3)], now),
            now,
            commands: Vec::new(),
            shown: None,
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    fn tick(&mut self) {
        self.election.tick(self.now, &mut self.commands);
    }

    fn on(&mut self, event: &Event) {
        self.election.on(event, self.now, &mut self.commands);
    }

    fn probe(&mut self, n: u8, ago_ms: u64, outcome: Outcome) {
        let began = self.now - Duration::from_millis(ago_ms);
        self.on(&Event::Probe(id(n), Probe { began, outcome }));
    }

    fn term(&mut self, term: Term, owner: Option<u8>) {
        let answer = TermAnswer {
            term,
            owner: owner.map(id),
            cluster: ClusterId("ours".into()),
        };
        self.on(&Event::Term(self.election.judgement, Some(answer)));
    }

    fn start(&mut self, fresh: bool) {
        *self = Self::new();
        if !fresh {
            self.election.first_election_until = None;
        }
        self.tick();
    }

    fn led(&mut self) {
        self.start(false);
        self.term(7, Some(3));
        self.probe(3, 0, Outcome::Health(leading(3, 7)));
        // Later probes begin after the adoption, older ones before.
        self.pass(1);
        self.commands.clear();
    }

    fn probes(&mut self, words: &mut ArgumentConsumer<'_>) -> Result<(), Failure> {
        let leads = key(words, "leading")?;
        let claiming = key(words, "claiming")?;
        let last = key(words, "last")?.unwrap_or(100);
        let ago_ms = key(words, "ago")?.unwrap_or(0);
        let follows = words
            .take_key("follows")
            .map(|text| pair(text, '@'))
            .transpose()?;
        let copies = words
            .take_key("copies")
            .map(|text| pair(text, '/'))
            .transpose()?;
        let wrong = key::<u8>(words, "wrong-replica")?;
        let (mut ids, mut said) = (Vec::new(), Vec::new());
        while let Some(word) = words.next_pos() {
            match word.parse::<u8>() {
                Ok(n) => ids.push(n),
                Err(_) => said.push(word),
            }
        }
        for n in ids {
            let mut health = match (leads, follows) {
                (Some(term), _) => leading(n, term),
                (None, Some((leader, term))) => following(n, leader, term),
                (None, None) => health(n),
            };
            health.claiming = claiming;
            health.last = Some(last);
            health.copies = copies.map(|(present, wanted)| Copies { present, wanted });
            let mut outcome = wrong.map(|n| Outcome::WrongReplica(id(n)));
            for word in &said {
                match *word {
                    "refused" => outcome = Some(Outcome::Refused),
                    "missed" => outcome = Some(Outcome::Missed),
                    "foreign" => health.cluster = Some(ClusterId("theirs".into())),
                    "ineligible" => health.eligible = false,
                    _ => return Err(format!("'{word}' is said of no probe").into()),
                }
            }
            self.probe(n, ago_ms, outcome.unwrap_or(Outcome::Health(health)));
        }
        Ok(())
    }

    fn lead(&mut self, words: &mut ArgumentConsumer<'_>) -> Result<(), Failure> {
        let judgement = key(words, "judgement")?.unwrap_or(self.election.judgement);
        let answers = [
            key(words, "leading")?.map(LeadAnswer::Leading),
            key(words, "claiming")?.map(LeadAnswer::Claiming),
            key(words, "wait")?.map(LeadAnswer::Wait),
        ];
        let outcome = match answers.into_iter().flatten().next() {
            Some(answer) => LeadOutcome::Lead(answer),
            None => match words.next_pos() {
                Some("outdated") => LeadOutcome::Outdated,
                Some("refused") => LeadOutcome::Refused,
                Some("failed") => LeadOutcome::Failed,
                other => return Err(format!("{other:?} is no outcome").into()),
            },
        };
        self.on(&Event::Lead(judgement, outcome));
        Ok(())
    }

    fn beats(
        &mut self,
        words: &mut ArgumentConsumer<'_>,
        text: &mut String,
    ) -> Result<(), Failure> {
        let (leader, term) = pair(words.take_key("leader").ok_or("no leader")?, '@')?;
        let mut others: Vec<u8> = Vec::new();
        while let Some(word) = words.next_pos() {
            others.push(parse(word)?);
        }
        let (present, wanted) = pair(words.take_key("copies").ok_or("no copies")?, '/')?;
        let times = key::<u32>(words, "times")?.unwrap_or(1);
        for beat in 1..=times {
            self.now = self.now + HEARTBEAT;
            for n in &others {
                self.probe(*n, 0, Outcome::Health(following(*n, leader, term)));
            }
            let copies = Some(Copies { present, wanted });
            let health = Health {
                copies,
                ..leading(leader, term)
            };
            self.probe(leader, 0, Outcome::Health(health));
            if !self.commands.is_empty() {
                writeln!(text, "at beat {beat}:")?;
                return Ok(());
            }
        }
        writeln!(text, "{times} beats without consequence")?;
        Ok(())
    }

    fn answer(
        &mut self,
        words: &mut ArgumentConsumer<'_>,
        text: &mut String,
    ) -> Result<(), Failure> {
        let term = key(words, "term")?.ok_or("no term")?;
        let owner = key(words, "owner")?;
        let refused = key::<u8>(words, "refused")?;
        let mut ids: Vec<u8> = Vec::new();
        while let Some(word) = words.next_pos() {
            ids.push(parse(word)?);
        }
        let mut waited = 0;
        loop {
            self.commands.clear();
            if matches!(self.election.phase, Phase::Reading { .. }) {
                refused
                    .into_iter()
                    .for_each(|n| self.probe(n, 0, Outcome::Refused));
                ids.iter()
                    .for_each(|n| self.probe(*n, 0, Outcome::Health(health(*n))));
                self.term(term, owner);
            }
            if matches!(self.election.phase, Phase::Asking { .. }) {
                writeln!(text, "after {waited} ms:")?;
                return Ok(());
            }
            if waited > PATIENCE_MS {
                return Err(format!("nobody was asked within {PATIENCE_MS} ms").into());
            }
            self.pass(10);
            waited += 10;
            self.tick();
        }
    }

    /// The commands since the last line, and the phase if it is another one.
    fn show(&mut self, text: &mut String) -> Result<(), Failure> {
        let mut probes = Vec::new();
        let commands = std::mem::take(&mut self.commands);
        for command in &commands {
            if let Command::ProbeNow(id) = command {
                probes.push(id.to_string());
            } else {
                writeln!(text, "{}", describe(command))?;
            }
        }
        if !probes.is_empty() {
            writeln!(text, "probe {}", probes.join(", "))?;
        }
        let phase = self.election.phase;
        if self.shown.replace(phase) != Some(phase) {
            writeln!(text, "=> {}", describe_phase(phase, self.now))?;
        }
        Ok(())
    }
}

fn describe(command: &Command) -> String {
    match command {
        Command::ReadTerm(judgement) => format!("read the term for judgement {judgement}"),
        Command::ProbeNow(id) => format!("probe {id}"),
        Command::AskToLead {
            candidate,
            seen,
            newest_row,
            ..
        } => {
            let end = newest_row.map_or("no row".into(), |last| format!("row {last}"));
            format!("ask {candidate} to lead: term {seen} seen, longest log ends at {end}")
        }
        Command::Abandon => "abandon the request to lead".into(),
        Command::Announce { to, term, leader } => {
            format!("announce to {to}: {leader} leads {term}")
        }
        Command::Adopt { leader, term } => format!("adopt {leader} in term {term}"),
        Command::Release { leader, term, why } => format!("release {leader} of term {term}: {why}"),
        Command::Confirm => "confirm the leader".into(),
    }
}

fn describe_phase(phase: Phase, now: BootInstant) -> String {
    let by = |owner: Option<ReplicaId>| owner.map_or("nobody".into(), |id| id.to_string());
    match phase {
        Phase::Led(Leadership {
            leader,
            term,
            doubted,
            ..
        }) => {
            let doubt = if doubted.is_some() { ", doubted" } else { "" };
            format!("{leader} leads term {term}{doubt}")
        }
        Phase::Reading { .. } => "reading the term".into(),
        Phase::Probing { seen, .. } => {
            format!("probing: term {} is owned by {}", seen.term, by(seen.owner))
        }
        Phase::Asking { candidate, .. } => format!("asking {candidate}"),
        Phase::Completing {
            owner,
            term,
            length,
            ..
        } => format!("{owner} completes its log for term {term}: {length} rows"),
        Phase::Resting { until } => format!("resting for {:?}", until.saturating_since(now)),
    }
}

impl stories::Runner for Story {
    type Command = stories::Command;

    fn run(&mut self, command: &stories::Command, _: &stories::Context) -> Result<String, Failure> {
        let mut words = command.consume_args();
        let mut text = String::new();
        match command.name.as_str() {
            "start" => {
                let fresh = words.next_pos() == Some("fresh");
                self.start(fresh);
            }
            "led" => self.led(),
            "probe" => self.probes(&mut words)?,
            "term" => {
                let judgement = key(&mut words, "judgement")?.unwrap_or(self.election.judgement);
                let owner = key(&mut words, "owner")?;
                match words.next_pos() {
                    Some("none") => self.on(&Event::Term(judgement, None)),
                    Some(term) => self.term(parse(term)?, owner),
                    None => return Err("which term?".into()),
                }
            }
            "lead" => self.lead(&mut words)?,
            "failed" => {
                let term = parse(word(&mut words, "the term")?)?;
                self.on(&Event::Failed(term));
            }
            "wait" => {
                self.pass(parse(word(&mut words, "the time")?)?);
                self.tick();
            }
            "beat" => self.beats(&mut words, &mut text)?,
            "answer" => self.answer(&mut words, &mut text)?,
            "cluster" => writeln!(text, "{:?}", self.election.cluster().map(|c| c.0.as_str()))?,
            other => return Err(format!("there is no command '{other}'").into()),
        }
        words.reject_next()?;
        self.show(&mut text)?;
        Ok(text)
    }
}

stories::stories! {
    "src/leader/election/scripts",
    Story::new(),
    a_candidate_is_watched_while_it_is_asked
    a_candidate_says_how_long_to_wait
    a_candidate_that_cannot_lead_is_passed_over
    a_candidate_that_claims_is_completed
    a_claimer_is_left_alone_while_it_grows
    a_foreign_replica_counts_for_nothing
    a_judgement_begins_with_term_and_probes
    a_leader_is_not_relieved_in_vain
    a_leader_must_say_so
    a_leader_with_too_few_copies_is_relieved
    a_newer_term_wins
    a_refused_connection_ends_the_leader
    a_relief_that_fails_changes_nothing
    a_returning_replica_is_informed
    a_sitting_leader_is_adopted
    a_stalled_claim_is_given_up
    an_older_leader_is_not_adopted
    an_outdated_judgement_begins_anew
    another_replica_under_a_url_is_no_leader
    before_the_first_term_every_log_counts
    failed_calls_trigger_a_check
    old_probes_do_not_count
    one_read_of_the_term_at_a_time
    only_the_catalogs_owner_is_adopted
    only_the_fit_are_asked
    refused_claims_are_repeated_ever_more_rarely
    the_first_election_waits_for_the_highest
    the_leadership_goes_round_slowly
    the_silent_are_not_waited_for
    two_misses_end_the_leader
    without_the_catalog_nobody_is_asked
}
