//! The choice of the leader, event by event, with invented times.

use super::*;
use common::timing::HEARTBEAT;

/// A choice among replicas 1, 2 and 3 under test, with what it commanded last.
struct Bench {
    choice: Choice,
    now: BootInstant,
    commands: Vec<Command>,
}

fn id(n: u8) -> ReplicaId {
    ReplicaId::try_from(n).expect("an id")
}

fn health(n: u8) -> Health {
    Health {
        replica: id(n),
        leading: None,
        claiming: None,
        eligible: true,
        catching_up: false,
        last: Some(100),
        cluster: None,
        term: 0,
        leader: None,
        in_sync: Vec::new(),
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

impl Bench {
    /// A front-end that runs for long: the wait for the highest id is over.
    fn old() -> Self {
        let mut bench = Self::young();
        bench.choice.first_choice_until = None;
        bench
    }

    fn young() -> Self {
        let now = BootInstant::from_millis(10_000);
        let mut bench = Self {
            choice: Choice::new([id(1), id(2), id(3)], now),
            now,
            commands: Vec::new(),
        };
        bench.tick();
        bench
    }

    fn tick(&mut self) {
        self.commands.clear();
        self.choice.tick(self.now, &mut self.commands);
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        self.tick();
    }

    fn on(&mut self, event: &Event) {
        self.commands.clear();
        self.choice.on(event, self.now, &mut self.commands);
    }

    /// A probe that begins and ends now.
    fn probe(&mut self, n: u8, outcome: Outcome) {
        self.on(&Event::Probe(
            id(n),
            Probe {
                began: self.now,
                outcome,
            },
        ));
    }

    fn sees(&mut self, health: Health) {
        self.probe(u8::from(health.replica), Outcome::Health(health));
    }

    fn term(&mut self, term: Term, owner: Option<u8>) {
        let round = self.choice.round;
        self.on(&Event::Term(
            round,
            Some(TermView {
                term,
                owner: owner.map(id),
            }),
        ));
    }

    fn lead_answer(&mut self, answer: Answer) {
        let round = self.choice.round;
        self.on(&Event::Lead(round, answer));
    }

    fn asked(&self) -> Option<(ReplicaId, Term)> {
        self.commands.iter().find_map(|command| match command {
            Command::AskToLead {
                candidate, seen, ..
            } => Some((*candidate, *seen)),
            _ => None,
        })
    }

    fn adopted(&self) -> Option<(ReplicaId, Term)> {
        match self.commands.first() {
            Some(Command::Adopt { leader, term }) => Some((*leader, *term)),
            _ => None,
        }
    }

    fn released(&self) -> bool {
        self.commands
            .iter()
            .any(|command| matches!(command, Command::Release { .. }))
    }

    fn judging(&self) -> bool {
        matches!(self.choice.phase, Phase::Reading { .. })
    }

    /// Led by 3 in term 7.
    fn led() -> Self {
        let mut bench = Self::old();
        bench.term(7, Some(3));
        bench.sees(leading(3, 7));
        assert_eq!(bench.adopted(), Some((id(3), 7)));
        bench.now = bench.now + Duration::from_millis(1);
        bench
    }
}

/// A judgement reads the term and probes everybody at once.
#[test]
fn a_judgement_begins_with_term_and_probes() {
    let bench = Bench::old();
    assert_eq!(bench.commands[0], Command::ReadTerm(1));
    assert_eq!(
        bench.commands[1..],
        [1, 2, 3].map(|n| Command::ProbeNow(id(n)))
    );
}

/// A sitting leader is adopted as soon as its health is known, although a higher id is there, and
/// everybody hears of it.
#[test]
fn a_sitting_leader_is_adopted() {
    let mut bench = Bench::old();
    bench.sees(health(3));
    bench.sees(leading(2, 4));
    bench.term(4, Some(2));
    assert_eq!(bench.adopted(), Some((id(2), 4)));
    let announced = [1, 3].map(|n| Command::Announce {
        to: id(n),
        term: 4,
        leader: id(2),
    });
    assert_eq!(bench.commands[1..], announced);
    // A fresh front-end adopts it too, without waiting for the highest id.
    let mut bench = Bench::young();
    bench.term(4, Some(2));
    bench.sees(leading(2, 4));
    assert_eq!(bench.adopted(), Some((id(2), 4)));
}

/// Who leads an older term than the catalog's is not adopted; the highest id is asked, with the
/// term that was read.
#[test]
fn an_older_leader_is_not_adopted() {
    let mut bench = Bench::old();
    bench.term(5, Some(1));
    bench.sees(leading(2, 4));
    bench.sees(health(1));
    assert_eq!(bench.asked(), None, "3 may still answer");
    bench.sees(health(3));
    assert_eq!(bench.asked(), Some((id(3), 5)));
}

/// Who is known to be dead is not waited for; who is silent for longer than a probe's time neither.
#[test]
fn the_silent_are_not_waited_for() {
    let mut bench = Bench::old();
    bench.term(0, None);
    bench.probe(3, Outcome::Refused);
    bench.sees(health(1));
    bench.sees(health(2));
    assert_eq!(bench.asked(), Some((id(2), 0)));

    let mut bench = Bench::old();
    bench.term(0, None);
    bench.sees(health(1));
    bench.sees(health(2));
    bench.wait(149);
    assert_eq!(bench.asked(), None);
    bench.wait(1);
    assert_eq!(bench.asked(), Some((id(2), 0)));
}

/// A probe that began before the judgement says nothing in it.
#[test]
fn old_probes_do_not_count() {
    let mut bench = Bench::old();
    bench.term(4, Some(2));
    let began = bench.now - Duration::from_millis(1);
    bench.on(&Event::Probe(
        id(2),
        Probe {
            began,
            outcome: Outcome::Health(leading(2, 4)),
        },
    ));
    assert!(bench.adopted().is_none() && !bench.choice.is_led());
}

/// A short log or a file that cannot be written keeps a replica from being asked; exactly 10 000
/// orders behind does not.
#[test]
fn only_the_fit_are_asked() {
    let judge = |three: Health| {
        let mut bench = Bench::old();
        bench.term(1, None);
        bench.sees(health(1));
        bench.sees(Health {
            last: Some(20_000),
            eligible: false,
            ..health(2)
        });
        bench.sees(three);
        bench.asked()
    };
    assert_eq!(
        judge(Health {
            last: Some(10_000),
            ..health(3)
        }),
        Some((id(3), 1))
    );
    assert_eq!(
        judge(Health {
            last: Some(9_999),
            ..health(3)
        }),
        None,
        "1 is as far behind"
    );
    assert_eq!(
        judge(Health {
            last: Some(20_000),
            eligible: false,
            ..health(3)
        }),
        None
    );
}

/// A fresh front-end waits a second for the highest id, then takes a lower one.
#[test]
fn the_first_choice_waits_for_the_highest() {
    let mut bench = Bench::young();
    let mut waited = 0;
    while bench.asked().is_none() {
        assert!(waited <= 1_200, "asks at last");
        bench.wait(10);
        waited += 10;
        if bench.judging() {
            bench.probe(3, Outcome::Refused);
            bench.sees(health(1));
            bench.sees(health(2));
            bench.term(0, None);
        }
    }
    assert!((1_000..1_100).contains(&waited), "{waited}");
    assert_eq!(bench.asked(), Some((id(2), 0)));

    let mut bench = Bench::young();
    bench.term(0, None);
    bench.sees(health(1));
    bench.sees(health(2));
    bench.sees(health(3));
    assert_eq!(bench.asked(), Some((id(3), 0)), "no wait when it is there");
}

/// Refused connections end a leader at once; then the judgement begins, and the next one is asked
/// as soon as all have answered.
#[test]
fn a_refused_connection_ends_the_leader() {
    let mut bench = Bench::led();
    bench.on(&Event::Failed(7));
    assert_eq!(bench.commands, [Command::ProbeNow(id(3))]);
    bench.probe(3, Outcome::Refused);
    assert!(bench.released() && bench.judging());
    bench.sees(health(2));
    bench.sees(health(1));
    bench.term(7, Some(3));
    assert_eq!(bench.asked(), Some((id(2), 7)));
    bench.lead_answer(Answer::Lead(LeadAnswer::Leading(8)));
    assert_eq!(bench.adopted(), Some((id(2), 8)));
    assert!(
        !bench.commands.contains(&Command::Announce {
            to: id(3),
            term: 8,
            leader: id(2)
        }),
        "3 is dead"
    );
}

/// One miss is forgiven, two in a row are not.
#[test]
fn two_misses_end_the_leader() {
    let mut bench = Bench::led();
    bench.probe(3, Outcome::Missed);
    assert!(!bench.released());
    bench.sees(leading(3, 7));
    bench.probe(3, Outcome::Missed);
    assert!(!bench.released());
    bench.probe(3, Outcome::Missed);
    assert!(bench.released());
}

/// A leader that does not say that it leads has failed; a probe from before its adoption says
/// nothing of it.
#[test]
fn a_leader_must_say_so() {
    let mut bench = Bench::led();
    let began = bench.now - Duration::from_millis(2);
    bench.on(&Event::Probe(
        id(3),
        Probe {
            began,
            outcome: Outcome::Health(health(3)),
        },
    ));
    bench.on(&Event::Probe(
        id(3),
        Probe {
            began,
            outcome: Outcome::Refused,
        },
    ));
    assert!(!bench.released());
    bench.sees(health(3));
    assert!(bench.released());
}

/// A failed call only triggers a check, of an older term not even that; the answer confirms the
/// leader.
#[test]
fn failed_calls_trigger_a_check() {
    let mut bench = Bench::led();
    bench.on(&Event::Failed(6));
    assert!(bench.commands.is_empty());
    bench.on(&Event::Failed(7));
    assert_eq!(bench.commands, [Command::ProbeNow(id(3))]);
    let began = bench.now - Duration::from_millis(1);
    bench.on(&Event::Probe(
        id(3),
        Probe {
            began,
            outcome: Outcome::Health(leading(3, 7)),
        },
    ));
    assert!(
        bench.commands.is_empty(),
        "that probe began before the failure"
    );
    bench.sees(leading(3, 7));
    assert_eq!(bench.commands, [Command::Confirm]);
    bench.sees(leading(3, 7));
    assert!(bench.commands.is_empty());
}

/// A returning higher id, or one that leads an older term, does not depose the leader; it is told
/// who leads.
#[test]
fn a_returning_replica_is_told() {
    let mut bench = Bench::old();
    bench.term(4, Some(1));
    bench.sees(leading(1, 4));
    bench.sees(leading(3, 2));
    assert_eq!(
        bench.commands,
        [Command::Announce {
            to: id(3),
            term: 4,
            leader: id(1)
        }]
    );
    bench.sees(Health {
        term: 4,
        leader: Some(id(1)),
        ..health(3)
    });
    assert!(bench.commands.is_empty() && bench.choice.is_led());
}

/// A newer term that somebody leads ends the older one, and is adopted.
#[test]
fn a_newer_term_wins() {
    let mut bench = Bench::led();
    bench.sees(leading(2, 8));
    assert!(bench.released());
    bench.now = bench.now + Duration::from_millis(1);
    bench.sees(leading(2, 8));
    bench.term(8, Some(2));
    assert_eq!(bench.adopted(), Some((id(2), 8)));
}

/// A replica that claims the catalog's term is left alone while its log grows, and adopted when it
/// leads.
#[test]
fn a_claimer_is_left_alone_while_it_grows() {
    let claiming = |last| Health {
        claiming: Some(9),
        last: Some(last),
        ..health(1)
    };
    let mut bench = Bench::old();
    bench.term(9, Some(1));
    bench.sees(health(3));
    bench.sees(claiming(5));
    for step in 1..30 {
        bench.wait(100);
        assert_eq!(bench.commands, [Command::ProbeNow(id(1))]);
        bench.sees(claiming(5 + step));
        assert!(bench.asked().is_none() && !bench.judging());
    }
    bench.sees(leading(1, 9));
    assert_eq!(bench.adopted(), Some((id(1), 9)));
}

/// A claim that does not move on for a second is given up, and another replica is asked.
#[test]
fn a_stalled_claim_is_given_up() {
    let claiming = Health {
        claiming: Some(9),
        ..health(3)
    };
    let mut bench = Bench::old();
    bench.term(9, Some(3));
    bench.sees(claiming.clone());
    bench.wait(1_000);
    assert!(!bench.judging());
    bench.wait(1);
    assert!(bench.judging());
    bench.sees(claiming.clone());
    bench.sees(health(1));
    bench.sees(health(2));
    bench.term(9, Some(3));
    assert_eq!(bench.asked(), Some((id(2), 9)));
    // One that dies is given up at once, and so is one that a newer term has passed.
    for passed in [false, true] {
        let mut bench = Bench::old();
        bench.term(9, Some(3));
        bench.sees(claiming.clone());
        if passed {
            bench.sees(leading(1, 10))
        } else {
            bench.probe(3, Outcome::Refused)
        }
        assert!(bench.judging());
    }
}

/// Every answer to a request to lead has its consequence.
#[test]
fn answers_of_a_candidate() {
    let asking = || {
        let mut bench = Bench::old();
        bench.term(7, Some(1));
        bench.sees(health(1));
        bench.sees(health(2));
        bench.sees(health(3));
        assert_eq!(bench.asked(), Some((id(3), 7)));
        bench
    };
    let mut bench = asking();
    bench.lead_answer(Answer::Lead(LeadAnswer::Wait(80)));
    bench.wait(79);
    assert!(!bench.judging());
    bench.wait(1);
    assert!(bench.judging(), "judged anew, with a term read afresh");

    let mut bench = asking();
    bench.lead_answer(Answer::Outdated);
    bench.wait(10);
    assert!(bench.judging());

    let mut bench = asking();
    bench.lead_answer(Answer::Lead(LeadAnswer::Claiming(8)));
    bench.sees(Health {
        claiming: Some(8),
        ..health(3)
    });
    assert!(!bench.judging() && bench.adopted().is_none());
    bench.sees(leading(3, 8));
    assert_eq!(bench.adopted(), Some((id(3), 8)));

    let mut bench = asking();
    bench.lead_answer(Answer::Failed);
    bench.wait(10);
    bench.term(7, Some(1));
    bench.sees(health(1));
    bench.sees(health(2));
    bench.sees(health(3));
    assert_eq!(bench.asked(), Some((id(2), 7)), "3 could not: 2 is next");
    bench.lead_answer(Answer::Failed);
    bench.wait(600);
    bench.term(7, Some(1));
    bench.sees(health(2));
    bench.probe(1, Outcome::Refused);
    bench.sees(health(3));
    assert_eq!(
        bench.asked(),
        Some((id(3), 7)),
        "a while later it may try again"
    );
}

/// A candidate that dies while it is asked is not waited for; one whose health says that it leads
/// neither.
#[test]
fn a_candidate_is_watched_while_it_is_asked() {
    let asking = || {
        let mut bench = Bench::old();
        bench.term(7, None);
        (1..=3).for_each(|n| bench.sees(health(n)));
        assert_eq!(bench.asked(), Some((id(3), 7)));
        bench
    };
    let mut bench = asking();
    bench.probe(3, Outcome::Refused);
    assert_eq!(
        bench.commands[..2],
        [Command::Abandon, Command::ReadTerm(2)]
    );
    bench.on(&Event::Lead(1, Answer::Lead(LeadAnswer::Leading(8))));
    assert!(
        bench.commands.is_empty(),
        "an answer to an older judgement is ignored"
    );

    let mut bench = asking();
    bench.sees(leading(3, 8));
    assert_eq!(bench.adopted(), Some((id(3), 8)));
    assert!(bench.commands.contains(&Command::Abandon));
}

/// While the catalog is away the choice tries again, without asking anybody to lead.
#[test]
fn without_the_catalog_nobody_is_asked() {
    let mut bench = Bench::old();
    for _ in 0..20 {
        let round = bench.choice.round;
        (1..=3).for_each(|n| bench.sees(health(n)));
        bench.on(&Event::Term(round, None));
        assert!(bench.asked().is_none());
        bench.wait(u64::try_from(HEARTBEAT.as_millis()).expect("small"));
        assert!(bench.judging());
    }
}
