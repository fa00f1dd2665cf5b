//! The election of the leader, event by event, with invented times.

use super::*;
use common::wire::replica::Copies;

/// A election among replicas 1, 2 and 3 under test, with what it commanded last.
struct Bench {
    election: Election,
    now: BootInstant,
    commands: Vec<Command>,
}

fn id(n: u8) -> ReplicaId {
    ReplicaId::try_from(n).expect("an id")
}

fn ours() -> ClusterId {
    ClusterId("ours".into())
}

fn health(n: u8) -> Health {
    Health {
        replica: id(n),
        leading: None,
        claiming: None,
        eligible: true,
        catching_up: false,
        last: Some(100),
        cluster: Some(ours()),
        term: 0,
        leader: None,
        in_sync: Vec::new(),
        copies: None,
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
        bench.election.first_election_until = None;
        bench
    }

    fn young() -> Self {
        let now = BootInstant::from_millis(10_000);
        let mut bench = Self {
            election: Election::new([id(1), id(2), id(3)], now),
            now,
            commands: Vec::new(),
        };
        bench.tick();
        bench
    }

    fn tick(&mut self) {
        self.commands.clear();
        self.election.tick(self.now, &mut self.commands);
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        self.tick();
    }

    fn on(&mut self, event: &Event) {
        self.commands.clear();
        self.election.on(event, self.now, &mut self.commands);
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
        let judgement = self.election.judgement;
        self.on(&Event::Term(
            judgement,
            Some(TermAnswer {
                term,
                owner: owner.map(id),
                cluster: ours(),
            }),
        ));
    }

    fn lead_answer(&mut self, answer: LeadOutcome) {
        let judgement = self.election.judgement;
        self.on(&Event::Lead(judgement, answer));
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

    fn reads_term(&self) -> bool {
        self.commands
            .iter()
            .any(|command| matches!(command, Command::ReadTerm(_)))
    }

    /// A judgement in which all three answer with `health`, in the term of the catalog.
    fn judged(&mut self, health: impl Fn(u8) -> Health, term: Term, owner: Option<u8>) {
        (1..=3).for_each(|n| self.sees(health(n)));
        self.term(term, owner);
    }

    fn judging(&self) -> bool {
        matches!(self.election.phase, Phase::Reading { .. })
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
    assert!(bench.adopted().is_none() && !bench.election.is_led());
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
    bench.lead_answer(LeadOutcome::Lead(LeadAnswer::Leading(8)));
    assert!(bench.judging(), "the catalog is asked whose the term is");
    bench.sees(leading(2, 8));
    bench.term(8, Some(2));
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
    assert!(bench.commands.is_empty() && bench.election.is_led());
}

/// A newer term that somebody leads is looked for at the catalog; there it ends the older one, and
/// is adopted.
#[test]
fn a_newer_term_wins() {
    let mut bench = Bench::led();
    bench.sees(leading(2, 8));
    assert!(!bench.released() && bench.reads_term());
    bench.term(8, Some(2));
    assert!(bench.released() && bench.judging());
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
    bench.term(9, Some(1));
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
    bench.lead_answer(LeadOutcome::Lead(LeadAnswer::Wait(80)));
    bench.wait(79);
    assert!(!bench.judging());
    bench.wait(1);
    assert!(bench.judging(), "judged anew, with a term read afresh");

    let mut bench = asking();
    bench.lead_answer(LeadOutcome::Outdated);
    bench.wait(10);
    assert!(bench.judging());

    let mut bench = asking();
    bench.lead_answer(LeadOutcome::Lead(LeadAnswer::Claiming(8)));
    bench.sees(Health {
        claiming: Some(8),
        ..health(3)
    });
    assert!(!bench.judging() && bench.adopted().is_none());
    bench.sees(leading(3, 8));
    bench.term(8, Some(3));
    assert_eq!(bench.adopted(), Some((id(3), 8)));

    let mut bench = asking();
    bench.lead_answer(LeadOutcome::Failed);
    bench.wait(10);
    bench.term(7, Some(1));
    bench.sees(health(1));
    bench.sees(health(2));
    bench.sees(health(3));
    assert_eq!(bench.asked(), Some((id(2), 7)), "3 could not: 2 is next");
    bench.lead_answer(LeadOutcome::Failed);
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
    bench.on(&Event::Lead(1, LeadOutcome::Lead(LeadAnswer::Leading(8))));
    assert!(
        bench.commands.is_empty(),
        "an answer to an older judgement is ignored"
    );

    let mut bench = asking();
    bench.sees(leading(3, 8));
    assert!(bench.commands.contains(&Command::Abandon) && bench.judging());
    bench.term(8, Some(3));
    assert_eq!(bench.adopted(), Some((id(3), 8)));
}

/// While the catalog is away the election tries again, without asking anybody to lead.
#[test]
fn without_the_catalog_nobody_is_asked() {
    let mut bench = Bench::old();
    for _ in 0..20 {
        let judgement = bench.election.judgement;
        (1..=3).for_each(|n| bench.sees(health(n)));
        bench.on(&Event::Term(judgement, None));
        assert!(bench.asked().is_none());
        bench.wait(u64::try_from(HEARTBEAT.as_millis()).expect("small"));
        assert!(bench.judging());
    }
}

/// A replica that says that it leads the catalog's term is not adopted when the catalog's owner is
/// another one; neither is one that says so of a term that the catalog never granted. Neither stops
/// the others.
#[test]
fn only_the_catalogs_owner_is_adopted() {
    let mut bench = Bench::old();
    bench.judged(
        |n| if n == 3 { leading(3, 7) } else { health(n) },
        7,
        Some(1),
    );
    assert_eq!((bench.adopted(), bench.asked()), (None, Some((id(3), 7))));
    bench.lead_answer(LeadOutcome::Lead(LeadAnswer::Leading(7)));
    assert!(bench.judging() && bench.adopted().is_none());
    bench.judged(
        |n| if n == 3 { leading(3, 7) } else { health(n) },
        7,
        Some(1),
    );
    assert_eq!(bench.asked(), Some((id(2), 7)), "the others go first then");

    let mut bench = Bench::old();
    bench.judged(
        |n| if n == 3 { leading(3, 99) } else { health(n) },
        7,
        Some(1),
    );
    assert_eq!(
        bench.asked(),
        None,
        "the term may have been read before the grant"
    );
    bench.wait(10);
    bench.judged(
        |n| if n == 3 { leading(3, 99) } else { health(n) },
        7,
        Some(1),
    );
    assert_eq!(bench.asked(), Some((id(3), 7)), "it was read again, once");
    assert!(bench.adopted().is_none());

    // A sitting leader stays, and the catalog is asked once.
    let mut bench = Bench::led();
    bench.sees(leading(2, 99));
    assert!(bench.reads_term());
    bench.term(7, Some(3));
    bench.sees(leading(2, 99));
    assert!(!bench.released() && !bench.reads_term() && bench.election.is_led());
}

fn foreign(health: Health) -> Health {
    Health {
        cluster: Some(ClusterId("theirs".into())),
        ..health
    }
}

/// A replica with another bazaar's file is never asked, never part of the longest log, never told
/// who leads, and its terms end no leader; whether it answers before or after the term was read.
#[test]
fn a_foreign_replica_counts_for_nothing() {
    let theirs = || {
        foreign(Health {
            last: Some(1_000_000),
            ..leading(3, 99)
        })
    };
    for first in [true, false] {
        let mut bench = Bench::old();
        if first {
            bench.sees(theirs());
        }
        bench.term(7, Some(1));
        bench.sees(health(1));
        bench.sees(health(2));
        if !first {
            bench.sees(theirs());
        }
        let asked = Command::AskToLead {
            judgement: 1,
            candidate: id(2),
            seen: 7,
            longest: Some(100),
        };
        assert_eq!(bench.commands, [asked]);
    }
    let mut bench = Bench::led();
    bench.sees(foreign(leading(2, 99)));
    assert!(bench.commands.is_empty() && bench.election.is_led());
    bench.sees(foreign(leading(3, 7)));
    assert!(
        bench.released(),
        "the leader's own file is another bazaar's now"
    );
    assert_eq!(
        bench.election.cluster().map(|cluster| cluster.0.as_str()),
        Some("ours")
    );
}

/// While the catalog has granted no term, its file may be a new one in the place of a lost one: all
/// logs count, so that it hears of them.
#[test]
fn before_the_first_term_every_log_counts() {
    let mut bench = Bench::old();
    bench.judged(|n| foreign(health(n)), 0, None);
    let asked = Command::AskToLead {
        judgement: 1,
        candidate: id(3),
        seen: 0,
        longest: Some(100),
    };
    assert_eq!(bench.commands, [asked]);
}

/// Another replica under a replica's URL counts as if nobody answered there, at once.
#[test]
fn another_replica_under_a_url_is_no_leader() {
    let mut bench = Bench::led();
    bench.probe(3, Outcome::Stranger(Stranger::Replica(id(1))));
    assert!(bench.released());
    bench.sees(health(1));
    bench.sees(health(2));
    bench.term(7, Some(3));
    assert_eq!(bench.asked(), Some((id(2), 7)));
}

/// Claims that the catalog refuses are repeated after 100 ms, doubling to 5 s. Another term, or a
/// leader that another front-end chose, ends the wait.
#[test]
fn refused_claims_are_repeated_ever_more_rarely() {
    let mut bench = Bench::old();
    let mut waits = Vec::new();
    let mut waited = 0;
    let mut refuse = |bench: &mut Bench| loop {
        if bench.judging() {
            bench.judged(health, 7, Some(1));
        }
        if bench.asked().is_some() {
            waits.push(waited);
            waited = 0;
            bench.lead_answer(LeadOutcome::Refused);
            return;
        }
        bench.wait(10);
        waited += 10;
    };
    (0..9).for_each(|_| refuse(&mut bench));
    for (wait, expected) in waits[1..]
        .iter()
        .zip([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000])
    {
        assert!((expected..expected + 30).contains(wait), "{waits:?}");
    }
    bench.wait(110);
    assert!(bench.judging(), "the term is read on");
    bench.judged(health, 8, None);
    assert_eq!(bench.asked(), Some((id(3), 8)), "that is news");
    bench.lead_answer(LeadOutcome::Refused);
    bench.wait(110);
    bench.judged(
        |n| if n == 2 { leading(2, 9) } else { health(n) },
        9,
        Some(2),
    );
    assert_eq!(bench.adopted(), Some((id(2), 9)));
    bench.probe(2, Outcome::Refused);
    bench.sees(health(1));
    bench.sees(health(3));
    bench.term(9, Some(2));
    assert_eq!(
        bench.asked(),
        Some((id(3), 9)),
        "a leader forgets the refusals"
    );
}

fn with_copies(present: usize, wanted: usize) -> Health {
    Health {
        copies: Some(Copies { present, wanted }),
        ..leading(3, 7)
    }
}

impl Bench {
    /// A heartbeat in which `others` answer and the leader says that it has so many copies.
    fn beat(&mut self, others: &[u8], present: usize, wanted: usize) -> bool {
        self.now = self.now + HEARTBEAT;
        others.iter().for_each(|n| {
            self.sees(Health {
                term: 7,
                leader: Some(id(3)),
                ..health(*n)
            });
        });
        self.sees(with_copies(present, wanted));
        self.reads_term()
    }
}

/// A leader that has had too few copies for 300 ms is relieved: the term is read, and another
/// replica is asked. Orders keep their leader meanwhile.
#[test]
fn a_leader_with_too_few_copies_is_relieved() {
    let mut bench = Bench::led();
    assert!((0..3).all(|_| !bench.beat(&[1, 2], 1, 2)));
    assert!(bench.beat(&[1, 2], 1, 2), "300 ms after it was seen first");
    assert!(bench.election.is_led());
    bench.term(7, Some(3));
    assert_eq!(bench.asked(), Some((id(2), 7)));
    assert!(!bench.released());
    bench.lead_answer(LeadOutcome::Lead(LeadAnswer::Leading(8)));
    bench.sees(leading(2, 8));
    bench.term(8, Some(2));
    assert_eq!(bench.adopted(), Some((id(2), 8)));
}

/// Nobody is relieved whose copies are back in time, nor where too few replicas answer for another
/// one to have more, nor where nobody else may lead, nor when the term has passed on.
#[test]
fn a_leader_is_not_relieved_in_vain() {
    let mut bench = Bench::led();
    for _ in 0..20 {
        assert!(!bench.beat(&[1, 2], 1, 2) && !bench.beat(&[1, 2], 1, 2));
        assert!(!bench.beat(&[1, 2], 2, 2), "back in time");
    }
    let mut bench = Bench::led();
    assert!((0..20).all(|_| !bench.beat(&[], 1, 2)), "it is alone");
    let mut bench = Bench::led();
    assert!(
        (0..20).all(|_| !bench.beat(&[2], 2, 3)),
        "two cannot make three copies"
    );
    let mut bench = Bench::led();
    let reads = (0..4).filter(|_| bench.beat(&[1, 2], 1, 2)).count();
    assert_eq!(reads, 1, "the term is read once");
    bench.term(8, Some(1));
    assert!(bench.released() && bench.asked().is_none());
}

/// Where nobody reaches enough others, the leadership goes round all of them, once a second.
#[test]
fn the_leadership_goes_round_slowly() {
    let mut bench = Bench::led();
    let (mut leader, mut term, mut beats) = (3, 7, 0);
    let mut rounds = Vec::new();
    for _ in 0..60 {
        beats += 1;
        bench.now = bench.now + HEARTBEAT;
        for n in (1..=3).filter(|n| *n != leader) {
            bench.sees(Health {
                term,
                leader: Some(id(leader)),
                ..health(n)
            });
        }
        bench.sees(Health {
            copies: Some(Copies {
                present: 1,
                wanted: 2,
            }),
            ..leading(leader, term)
        });
        if bench.reads_term() {
            bench.term(term, Some(leader));
            let (next, _) = bench.asked().expect("another one is asked");
            rounds.push((u8::from(next), beats));
            (leader, term) = (u8::from(next), term + 1);
            bench.lead_answer(LeadOutcome::Lead(LeadAnswer::Leading(term)));
            bench.sees(leading(leader, term));
            bench.term(term, Some(leader));
            assert_eq!(bench.adopted(), Some((id(leader), term)));
        }
    }
    assert!(rounds.len() >= 5, "{rounds:?}");
    assert_eq!(
        rounds.iter().map(|(n, _)| *n).take(5).collect::<Vec<_>>(),
        [2, 1, 3, 2, 1]
    );
    assert!(
        rounds.windows(2).all(|pair| pair[1].1 - pair[0].1 >= 10),
        "{rounds:?}"
    );
}

/// A replica that was asked to relieve the leader and cannot leaves it where it was.
#[test]
fn a_relief_that_fails_changes_nothing() {
    let mut bench = Bench::led();
    let reads = (0..4).filter(|_| bench.beat(&[1, 2], 1, 2)).count();
    assert_eq!(reads, 1, "the term is read once");
    bench.term(7, Some(3));
    assert_eq!(bench.asked(), Some((id(2), 7)));
    bench.lead_answer(LeadOutcome::Failed);
    bench.wait(20);
    bench.judged(
        |n| if n == 3 { with_copies(1, 2) } else { health(n) },
        7,
        Some(3),
    );
    assert_eq!(bench.adopted(), Some((id(3), 7)));
}

/// While a term is read, no other read is begun, whatever replicas say; one that got no answer
/// allows the next.
#[test]
fn one_read_of_the_term_at_a_time() {
    let mut bench = Bench::led();
    bench.sees(leading(2, 50));
    assert!(bench.reads_term());
    let judgement = bench.election.judgement;
    for term in 51..70 {
        bench.sees(leading(2, term));
        assert!(!bench.reads_term());
    }
    bench.on(&Event::Term(judgement, None));
    assert!(bench.election.is_led());
    bench.sees(leading(2, 70));
    assert!(bench.reads_term());
}
