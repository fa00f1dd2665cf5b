//! The checkers of histories are checked: right histories pass, each kind of wrong one does not,
//! and both checkers agree on random ones.

use common::wire::money::Price;
use common::wire::order::{ClusterId, Genesis, InitialStock, OrderKey, Side};
use common::wire::public::NewOrder;
use proptest::prelude::*;
use tests::closing::DumpRow;
use tests::history::check::{self, Fault};
use tests::history::{self, Answer, Call, Event, search};

const STOCK: &str = "FishCo";

/// A history with its log.
#[derive(Debug, Clone)]
struct Made {
    initial: u64,
    rows: Vec<DumpRow>,
    events: Vec<Event>,
}

impl Made {
    /// The verdict of the checker that knows the log.
    fn faults(&self) -> Vec<Fault> {
        let price = Price::from_cents(100).expect("a price");
        let stocks = vec![InitialStock {
            name: STOCK.into(),
            price,
            quantity: self.initial,
        }];
        let genesis = Genesis {
            cluster: ClusterId("c".into()),
            stocks,
        };
        check::history(&genesis, &self.rows, &self.events)
            .into_iter()
            .map(|violation| violation.fault)
            .collect()
    }

    /// The verdict of the checker that does not know it.
    fn is_linearizable(&self) -> bool {
        search::linearizable(STOCK, self.initial, &self.events)
    }
}

/// One call of a generated history: what it does, and its span around the moment at which it
/// happens.
#[derive(Debug, Clone)]
struct Plan {
    kind: Kind,
    quantity: u64,
    /// How long before its moment it begins, and after it ends.
    around: (u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Buy,
    Sell,
    /// A buy whose answer is lost.
    OpenBuy,
    Read,
}

/// Lets calls happen one by one, 10 µs apart: whatever their spans, the history is right.
fn simulate(initial: u64, plans: &[Plan]) -> Made {
    let mut made = Made {
        initial,
        rows: Vec::new(),
        events: Vec::new(),
    };
    let mut left = initial;
    for (plan, at) in plans.iter().zip(0_u32..) {
        let moment = 1_000 + u64::from(at) * 10;
        let side = if plan.kind == Kind::Sell {
            Side::Sell
        } else {
            Side::Buy
        };
        let order = NewOrder {
            name: STOCK.into(),
            quantity: plan.quantity,
            side,
        };
        let key = format!("key-{at}");
        let after = match side {
            Side::Buy => left.checked_sub(plan.quantity),
            Side::Sell => Some(left + plan.quantity),
        };
        let (call, answer) = match (plan.kind, after) {
            (Kind::Read, _) => (Call::Read { name: STOCK.into() }, Answer::Quantity(left)),
            (kind, Some(after)) => {
                let number = made.rows.len() as u64;
                let hash_key = OrderKey::from_client(&key).to_string();
                made.rows.push(DumpRow {
                    number,
                    key: hash_key,
                    order: order.clone(),
                });
                left = after;
                let answer = if kind == Kind::OpenBuy {
                    Answer::Unknown
                } else {
                    Answer::Number(number)
                };
                (
                    Call::Order {
                        key: Some(key),
                        order,
                    },
                    answer,
                )
            }
            (kind, None) => {
                let answer = if kind == Kind::OpenBuy {
                    Answer::Unknown
                } else {
                    Answer::Refused
                };
                (
                    Call::Order {
                        key: Some(key),
                        order,
                    },
                    answer,
                )
            }
        };
        let (start_us, end_us) = (moment - plan.around.0, moment + plan.around.1);
        made.events.push(Event {
            client: at,
            start_us,
            end_us,
            tries: 1,
            call,
            answer,
        });
    }
    made
}

/// Calls one after the other.
fn one_by_one(plans: &[(Kind, u64)]) -> Made {
    let plan = |(kind, quantity): &(Kind, u64)| Plan {
        kind: *kind,
        quantity: *quantity,
        around: (3, 3),
    };
    simulate(100, &plans.iter().map(plan).collect::<Vec<_>>())
}

/// Asserts that a change to a right history is noticed as this, by the search too where it can
/// know.
fn assert_noticed(right: &Made, fault: Fault, by_search: bool, change: impl FnOnce(&mut Made)) {
    assert_eq!(right.faults(), [], "right before the change");
    assert!(right.is_linearizable(), "right before the change");
    let mut wrong = right.clone();
    change(&mut wrong);
    assert!(
        wrong.faults().contains(&fault),
        "{fault:?} is not among {:?}",
        wrong.faults()
    );
    assert_eq!(
        wrong.is_linearizable(),
        !by_search,
        "the search, for {fault:?}"
    );
}

/// A read of a quantity that an order, acknowledged before, had changed.
#[test]
fn stale_read() {
    let right = one_by_one(&[(Kind::Buy, 5), (Kind::Read, 0)]);
    assert_noticed(&right, Fault::Stale, true, |made| {
        made.events[1].answer = Answer::Quantity(100)
    });
    assert_noticed(&right, Fault::Stale, true, |made| {
        made.events[1].answer = Answer::Quantity(1)
    });
}

/// Two reads, one after the other, beside one long order: new, then old.
#[test]
fn reads_that_go_back() {
    let mut right = one_by_one(&[(Kind::Buy, 5), (Kind::Read, 0), (Kind::Read, 0)]);
    right.events[0].end_us = 9_000;
    assert_noticed(&right, Fault::Stale, true, |made| {
        made.events[2].answer = Answer::Quantity(100)
    });
    // The other way round is right: the order happened between them.
    right.events[1].answer = Answer::Quantity(100);
    assert!(right.faults().is_empty() && right.is_linearizable());
}

/// An acknowledged order that the log does not have, or has with other content; only who knows the
/// log can see it.
#[test]
fn lost_order() {
    let right = one_by_one(&[(Kind::Buy, 5), (Kind::Sell, 7)]);
    assert_noticed(&right, Fault::Lost, false, |made| drop(made.rows.pop()));
    assert_noticed(&right, Fault::Lost, false, |made| {
        made.rows[1].order.quantity = 8
    });
}

/// A trade without an order, one key that traded twice, one number for two orders.
#[test]
fn doubled_order() {
    let right = one_by_one(&[(Kind::Buy, 5), (Kind::Sell, 7)]);
    let again = |made: &mut Made, key: &str| {
        let row = DumpRow {
            number: 2,
            key: key.into(),
            order: made.rows[1].order.clone(),
        };
        made.rows.push(row);
    };
    assert_noticed(&right, Fault::Doubled, false, |made| again(made, "0f"));
    let key = right.rows[1].key.clone();
    assert_noticed(&right, Fault::Doubled, false, |made| again(made, &key));
    assert_noticed(&right, Fault::Doubled, true, |made| {
        made.events[1].answer = Answer::Number(0)
    });
}

/// Orders that were numbered against the sequence in which one ended before the other began.
#[test]
fn renumbered_orders() {
    let right = one_by_one(&[(Kind::Sell, 5), (Kind::Sell, 7)]);
    assert_noticed(&right, Fault::Disordered, true, |made| {
        made.rows.swap(0, 1);
        made.rows[0].number = 0;
        made.rows[1].number = 1;
        made.events[0].answer = Answer::Number(1);
        made.events[1].answer = Answer::Number(0);
    });
}

/// An order answered as refused, or as "nothing happened", that traded; a refusal while enough was
/// left.
#[test]
fn refused_then_traded() {
    let right = one_by_one(&[(Kind::Buy, 5), (Kind::Buy, 200)]);
    assert_eq!(right.events[1].answer, Answer::Refused);
    assert_noticed(&right, Fault::Broken, true, |made| {
        made.events[0].answer = Answer::Refused
    });
    assert_noticed(&right, Fault::Broken, false, |made| {
        made.events[0].answer = Answer::Nothing
    });
    assert_noticed(&right, Fault::Stale, true, |made| {
        let Call::Order { order, .. } = &mut made.events[1].call else {
            unreachable!("an order")
        };
        order.quantity = 90;
    });
}

/// Queries: another order than the log's, and one that is missing although it was acknowledged.
#[test]
fn wrong_queries() {
    let mut right = one_by_one(&[(Kind::Buy, 5), (Kind::Read, 0)]);
    let order = right.rows[0].order.clone();
    right.events[1].call = Call::Query { number: 0 };
    right.events[1].answer = Answer::Found(order.clone());
    assert_noticed(&right, Fault::Lost, false, |made| {
        made.events[1].answer = Answer::Found(NewOrder {
            quantity: 6,
            ..order
        });
    });
    assert_noticed(&right, Fault::Stale, false, |made| {
        made.events[1].answer = Answer::Missing
    });
}

/// Orders without keys: an open one explains one row of its content, not two.
#[test]
fn open_orders_without_keys() {
    let mut right = one_by_one(&[(Kind::OpenBuy, 5), (Kind::Read, 0)]);
    let Call::Order { key, .. } = &mut right.events[0].call else {
        unreachable!("an order")
    };
    *key = None;
    right.rows[0].key = "0a".into();
    assert_noticed(&right, Fault::Doubled, false, |made| {
        let order = made.rows[0].order.clone();
        made.rows.push(DumpRow {
            number: 1,
            key: "0b".into(),
            order,
        });
    });
    // The open order may also not have happened, when the log does not have it and the read does
    // not either.
    let mut other = right.clone();
    other.rows.clear();
    assert_eq!(other.faults(), [Fault::Stale]);
    other.events[1].answer = Answer::Quantity(100);
    assert!(other.faults().is_empty() && other.is_linearizable());
}

/// A history is read from its file as it was written.
#[test]
fn files() {
    let made = one_by_one(&[
        (Kind::Buy, 5),
        (Kind::Read, 0),
        (Kind::OpenBuy, 3),
        (Kind::Buy, 500),
    ]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    history::write(file.path(), &made.events).expect("written");
    assert_eq!(history::read(file.path()).expect("read"), made.events);
}

/// The effect of a mutation on one call.
#[derive(Debug, Clone)]
enum Mutation {
    /// Another quantity is read.
    Read(u64),
    /// The call has another span.
    Span(u64, u64),
    /// An order of this quantity was refused.
    Refused(u64),
}

fn plans(open: bool) -> impl Strategy<Value = Vec<Plan>> {
    let kinds = [
        Kind::Buy,
        Kind::Buy,
        Kind::Sell,
        Kind::Read,
        Kind::Read,
        if open { Kind::OpenBuy } else { Kind::Read },
    ];
    let plan = (
        prop::sample::select(kinds.to_vec()),
        1_u64..5,
        (0_u64..60, 0_u64..60),
    );
    prop::collection::vec(
        plan.prop_map(|(kind, quantity, around)| Plan {
            kind,
            quantity,
            around,
        }),
        1..12,
    )
}

fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, Mutation)>> {
    let mutation = prop_oneof![
        (0_u64..10).prop_map(Mutation::Read),
        (900_u64..1_150, 0_u64..60)
            .prop_map(|(start, length)| Mutation::Span(start, start + length)),
        (1_u64..10).prop_map(Mutation::Refused),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), mutation), 0..4)
}

fn mutate(made: &mut Made, mutations: Vec<(prop::sample::Index, Mutation)>) {
    for (at, mutation) in mutations {
        let at = at.index(made.events.len());
        let event = &mut made.events[at];
        match (mutation, &mut event.call, &mut event.answer) {
            (Mutation::Read(quantity), Call::Read { .. }, answer) => {
                *answer = Answer::Quantity(quantity)
            }
            (Mutation::Span(start, end), ..) => (event.start_us, event.end_us) = (start, end),
            (Mutation::Refused(quantity), Call::Order { order, .. }, Answer::Refused) => {
                order.quantity = quantity
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// A history of calls one by one is right, for both checkers.
    #[test]
    fn simulated_histories_pass(plans in plans(true), initial in 0_u64..8) {
        let made = simulate(initial, &plans);
        prop_assert_eq!(made.faults(), []);
        prop_assert!(made.is_linearizable());
    }

    /// Without open orders, which the log alone can settle, both say the same of any history.
    #[test]
    fn checkers_agree(plans in plans(false), initial in 0_u64..8, mutations in mutations()) {
        let mut made = simulate(initial, &plans);
        mutate(&mut made, mutations);
        prop_assert_eq!(made.faults().is_empty(), made.is_linearizable(), "{:?}", made.faults());
    }

    /// With open orders, who knows the log is at least as strict.
    #[test]
    fn log_is_stricter(plans in plans(true), initial in 0_u64..8, mutations in mutations()) {
        let mut made = simulate(initial, &plans);
        mutate(&mut made, mutations);
        prop_assert!(!made.faults().is_empty() || made.is_linearizable(), "{:?}", made);
    }
}
