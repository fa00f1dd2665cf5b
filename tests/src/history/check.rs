//! Judges a history by the order log: the sequence of all trades is known, so what is left to find
//! is a moment for each call.
//!
//! For one stock the log gives the versions 0, 1, 2, … of its quantity. Each trade happened once,
//! at a moment between the start and the end of its call, in the sequence of the numbers; a read or
//! a refusal at a moment at which the version fitted. The sweep over one stock goes through starts
//! and ends in time and keeps the version as low as it can: it moves on only when a call ends that
//! needs it. That loses nothing (from a lower version every higher one whose calls have begun can
//! still be reached, and fits the same open calls), so the verdict is exact, in linear time.

use super::{Answer, Call, Event};
use crate::closing::DumpRow;
use common::wire::order::{Genesis, OrderKey, Side};
use common::wire::public::NewOrder;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// The kinds of errors in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An acknowledged order is not in the log, or is another one there.
    Lost,
    /// A trade without an order, a key that traded twice, or a number that two orders have.
    Doubled,
    /// A read, or a refusal, for which no moment fits.
    Stale,
    /// Numbers are not in the sequence in which calls followed each other.
    Disordered,
    /// An order answered as refused, or as "nothing happened", traded.
    Broken,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Its kind.
    pub fault: Fault,
    /// The findings.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.fault, self.text)
    }
}

/// Everything that is wrong with a history, given the initial stocks and the rows of the log.
pub fn history(genesis: &Genesis, rows: &[DumpRow], events: &[Event]) -> Vec<Violation> {
    let mut found = Vec::new();
    let spans = claim(rows, events, &mut found);
    sequence(&spans, &mut found);
    queries(rows, &spans, events, &mut found);
    for initial in &genesis.stocks {
        let trades: Vec<Trade> = rows
            .iter()
            .zip(&spans)
            .filter(|(row, _)| row.order.name == initial.name)
            .map(|(row, span)| Trade {
                order: &row.order,
                span: *span,
            })
            .collect();
        stock(&initial.name, initial.quantity, &trades, events, &mut found);
    }
    found
}

/// When a trade can have happened: from the start of its call to the end, if its response named the
/// trade.
#[derive(Debug, Clone, Copy)]
struct Span {
    start_us: u64,
    end_us: Option<u64>,
}

/// A row of the log with its span.
#[derive(Debug)]
struct Trade<'a> {
    order: &'a NewOrder,
    span: Span,
}

/// Finds the call of each row. Rows of clients' keys are found by the key; others by the number,
/// and what is left by the content, the calls without an answer in the sequence of their starts
/// (which excludes nothing: equal orders can change places).
fn claim(rows: &[DumpRow], events: &[Event], found: &mut Vec<Violation>) -> Vec<Span> {
    let mut keyed: HashMap<String, &Event> = HashMap::new();
    let mut numbered: HashMap<u64, &Event> = HashMap::new();
    let mut open: Vec<&Event> = Vec::new();
    for event in events {
        let Call::Order { key, order } = &event.call else {
            continue;
        };
        if let Answer::Number(number) = event.answer {
            acknowledged(rows, event, number, key.as_deref(), order, found);
            if let Some(other) = numbered
                .insert(number, event)
                .filter(|other| other.call != event.call)
            {
                push(
                    found,
                    Fault::Doubled,
                    format!("number {number} was given to two orders: {other:?}, {event:?}"),
                );
            }
        }
        match (key, &event.answer) {
            (Some(key), _) => {
                keyed.insert(OrderKey::from_client(key).to_string(), event);
            }
            (None, Answer::Unknown) => open.push(event),
            (None, _) => {}
        }
    }
    open.sort_by_key(|event| event.start_us);
    let mut spans = Vec::new();
    let mut traded = HashMap::new();
    for row in rows {
        if let Some(other) = traded.insert(&row.key, row.number) {
            push(
                found,
                Fault::Doubled,
                format!("one key traded as {other} and as {row:?}"),
            );
        }
        spans.push(span_of(row, &keyed, &numbered, &mut open, found));
    }
    spans
}

fn span_of(
    row: &DumpRow,
    keyed: &HashMap<String, &Event>,
    numbered: &HashMap<u64, &Event>,
    open: &mut Vec<&Event>,
    found: &mut Vec<Violation>,
) -> Span {
    let unkeyed = |event: &&&Event| matches!(event.call, Call::Order { key: None, .. });
    if let Some(event) = keyed
        .get(&row.key)
        .or_else(|| numbered.get(&row.number).filter(unkeyed))
    {
        let same = matches!(&event.call, Call::Order { order, .. } if *order == row.order);
        match event.answer {
            Answer::Refused | Answer::Nothing => {
                push(
                    found,
                    Fault::Broken,
                    format!("answered as {:?}, but traded: {row:?}", event.answer),
                );
            }
            _ if !same => push(
                found,
                Fault::Lost,
                format!("{event:?} traded as another order: {row:?}"),
            ),
            _ => {}
        }
        let answered = matches!(event.answer, Answer::Number(_));
        return Span {
            start_us: event.start_us,
            end_us: answered.then_some(event.end_us),
        };
    }
    let same =
        |event: &&Event| matches!(&event.call, Call::Order { order, .. } if *order == row.order);
    if let Some(at) = open.iter().position(same) {
        return Span {
            start_us: open.remove(at).start_us,
            end_us: None,
        };
    }
    push(
        found,
        Fault::Doubled,
        format!("nobody asked for this trade (again): {row:?}"),
    );
    Span {
        start_us: 0,
        end_us: None,
    }
}

fn acknowledged(
    rows: &[DumpRow],
    event: &Event,
    number: u64,
    key: Option<&str>,
    order: &NewOrder,
    found: &mut Vec<Violation>,
) {
    let row = usize::try_from(number).ok().and_then(|at| rows.get(at));
    let fits = row.is_some_and(|row| {
        row.order == *order
            && key.is_none_or(|key| row.key == OrderKey::from_client(key).to_string())
    });
    if !fits {
        push(
            found,
            Fault::Lost,
            format!("{event:?} is {row:?} in the log"),
        );
    }
}

/// An order that ended before another one began has the lower number.
fn sequence(spans: &[Span], found: &mut Vec<Violation>) {
    // From the highest number down: no later row may have ended before this one began.
    let mut earliest_end: Option<(u64, usize)> = None;
    for (number, span) in spans.iter().enumerate().rev() {
        if let Some((end, later)) = earliest_end.filter(|(end, _)| *end < span.start_us) {
            let text = format!(
                "order {number} began at {} µs, after order {later} had ended at {end} µs",
                span.start_us
            );
            push(found, Fault::Disordered, text);
        }
        if let Some(end) = span.end_us
            && earliest_end.is_none_or(|(earliest, _)| end < earliest)
        {
            earliest_end = Some((end, number));
        }
    }
}

/// A queried order is the one of the log, not found before it was asked for, and never missing once
/// it, or a later one, was acknowledged.
fn queries(rows: &[DumpRow], spans: &[Span], events: &[Event], found: &mut Vec<Violation>) {
    // For each number the earliest end of an order with that number or a higher one.
    let mut known_from: Vec<u64> = spans
        .iter()
        .map(|span| span.end_us.unwrap_or(u64::MAX))
        .collect();
    for at in (1..known_from.len()).rev() {
        known_from[at - 1] = known_from[at - 1].min(known_from[at]);
    }
    for event in events {
        let Call::Query { number } = event.call else {
            continue;
        };
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        match &event.answer {
            Answer::Found(order) if rows.get(at).is_none_or(|row| row.order != *order) => {
                push(
                    found,
                    Fault::Lost,
                    format!("{event:?} is {:?} in the log", rows.get(at)),
                );
            }
            Answer::Found(_) if spans[at].start_us > event.end_us => {
                push(
                    found,
                    Fault::Disordered,
                    format!("{event:?} was seen before it was ordered"),
                );
            }
            Answer::Missing
                if known_from
                    .get(at)
                    .is_some_and(|known| *known < event.start_us) =>
            {
                push(
                    found,
                    Fault::Stale,
                    format!("{event:?}, though it was acknowledged before"),
                );
            }
            _ => {}
        }
    }
}

/// The condition of a read or a refusal on the quantity at its moment.
fn needs(event: &Event, stock: &str) -> Option<Need> {
    match (&event.call, &event.answer) {
        (Call::Read { name }, Answer::Quantity(quantity)) if name == stock => {
            Some(Need::Exactly(*quantity))
        }
        (Call::Order { order, .. }, Answer::Refused) if order.name == stock => match order.side {
            Side::Buy => Some(Need::Below(order.quantity)),
            // A sale is never refused: no quantity is below 0.
            Side::Sell => Some(Need::Below(0)),
        },
        _ => None,
    }
}

#[derive(Debug, Clone, Copy)]
enum Need {
    Exactly(u64),
    Below(u64),
}

impl Need {
    fn fits(self, quantity: u64) -> bool {
        match self {
            Self::Exactly(wanted) => quantity == wanted,
            Self::Below(wanted) => quantity < wanted,
        }
    }
}

/// The sequence at one microsecond: what begins comes before what ends, so that calls that touch
/// overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// A read or refusal begins.
    Begins(usize),
    /// A trade's call ends: it has happened.
    Traded(usize),
    /// A read or refusal ends: its moment was.
    Ends(usize),
}

/// The sweep over one stock; see the top of this file.
fn stock(
    name: &str,
    initial: u64,
    trades: &[Trade<'_>],
    events: &[Event],
    found: &mut Vec<Violation>,
) {
    let mut versions = vec![initial];
    for trade in trades {
        let before = versions.last().copied().unwrap_or(initial);
        let after = match trade.order.side {
            Side::Buy => before.checked_sub(trade.order.quantity),
            Side::Sell => Some(before + trade.order.quantity),
        };
        let Some(after) = after else {
            return push(
                found,
                Fault::Disordered,
                format!("{name} falls below 0: {:?} from {before}", trade.order),
            );
        };
        versions.push(after);
    }
    let looks: Vec<(&Event, Need)> = events
        .iter()
        .filter_map(|event| needs(event, name).map(|need| (event, need)))
        .collect();
    let mut moments: Vec<(u64, Moment)> = Vec::new();
    for (at, (event, _)) in looks.iter().enumerate() {
        moments.push((event.start_us, Moment::Begins(at)));
        moments.push((event.end_us, Moment::Ends(at)));
    }
    let ends = trades
        .iter()
        .zip(1..)
        .filter_map(|(trade, v)| Some((trade.span.end_us?, Moment::Traded(v))));
    moments.extend(ends);
    moments.sort_unstable();

    let mut sweep = Sweep {
        versions: &versions,
        trades,
        looks: &looks,
        version: 0,
        open: BTreeMap::new(),
    };
    for (now, moment) in moments {
        if let Err(text) = sweep.step(now, moment) {
            push(found, Fault::Stale, format!("{name}: {text}"));
        }
    }
}

#[derive(Debug)]
struct Sweep<'a> {
    versions: &'a [u64],
    trades: &'a [Trade<'a>],
    looks: &'a [(&'a Event, Need)],
    version: usize,
    /// Reads and refusals that have begun and have no moment yet.
    open: BTreeMap<usize, Need>,
}

impl Sweep<'_> {
    fn step(&mut self, now: u64, moment: Moment) -> Result<(), String> {
        match moment {
            Moment::Begins(at) => {
                let need = self.looks[at].1;
                if !need.fits(self.versions[self.version]) {
                    self.open.insert(at, need);
                }
                Ok(())
            }
            Moment::Traded(version) => self.advance(now, version),
            Moment::Ends(at) => {
                let Some(need) = self.open.remove(&at) else {
                    return Ok(());
                };
                let begun = self.trades[self.version..]
                    .iter()
                    .take_while(|trade| trade.span.start_us <= now)
                    .count();
                let reachable = self.version + 1..=self.version + begun;
                let quantity = self.versions[self.version];
                match reachable
                    .clone()
                    .find(|version| need.fits(self.versions[*version]))
                {
                    Some(version) => self.advance(now, version),
                    None => Err(format!(
                        "no moment fits {:?}: version {} has {quantity}, and up to version {} none \
                         does",
                        self.looks[at].0,
                        self.version,
                        reachable.end()
                    )),
                }
            }
        }
    }

    /// Moves on to a version, through all between; open calls that fit one of them have had their
    /// moment.
    fn advance(&mut self, now: u64, to: usize) -> Result<(), String> {
        while self.version < to {
            let next = &self.trades[self.version];
            self.version += 1;
            let quantity = self.versions[self.version];
            self.open.retain(|_, need| !need.fits(quantity));
            if next.span.start_us > now {
                return Err(format!(
                    "the trade {:?} had not begun at {now} µs, when a later one had ended",
                    next.order
                ));
            }
        }
        Ok(())
    }
}

fn push(found: &mut Vec<Violation>, fault: Fault, text: String) {
    found.push(Violation { fault, text });
}
